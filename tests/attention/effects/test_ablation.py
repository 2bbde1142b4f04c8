"""Ablation and patching against naive runs: hooks on transformers' own modules, found by the names of a family."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

import attncli
from attncli.attention.effects.ablation import AblatedRun, ablate, mean_writes, patch, patching_way
from attncli.attention.effects.direct import direct_effects
from attncli.attention.effects.outcome import CosineOutcome, pool_position
from attncli.attention.effects.prediction import record_run
from attncli.attention.inputs import build_inputs
from attncli.models.loading.loaded_model import LoadedModel, wrap_model
from tests import tiny
from tests.attention.effects.predicting import DIFFERENCE, IDS, POSITION, PREDICTING, TARGET, build
from tests.attention.effects.replay import Family

#: Another text, with the same token at the position.
SOURCE = [21, 40, 6, 8, 15, 8, 60]
HEADS = 4

#: What a module's states become in a row of the batch.
Change = Callable[[Tensor], Tensor]


@cache
def model_of(family: str) -> LoadedModel:
    return wrap_model(build(PREDICTING[family][0]()), family)


def arguments(loaded: LoadedModel, ids: list[int] = IDS) -> dict[str, Any]:
    target = tiny.tokens(TARGET) if loaded.is_encoder_decoder else None
    return dict(build_inputs(loaded, [tiny.tokens(ids)], target=target).arguments)


@cache
def run_of(family: str, ids: tuple[int, ...] = tuple(IDS)) -> AblatedRun:
    loaded = model_of(family)
    return AblatedRun.of(loaded, arguments(loaded, list(ids)), DIFFERENCE, POSITION)


def site_paths(run: AblatedRun) -> list[str]:
    """The paths of the modules that take the heads."""
    paths = {id(module): name for name, module in run.model.module.named_modules()}
    return [paths[id(site.module)] for site in run.sites]


def naive(
    loaded: LoadedModel, given: dict[str, Any], path: str, changes: list[Change], family: Family, *, output: bool
) -> list[float]:
    """The outcome with each change of a module's input (or output) by itself, one row of a batch each."""
    rows = len(changes)

    def changed(states: Tensor) -> Tensor:
        by_row = states.clone().view(rows, -1, states.shape[-1])
        for row, change in enumerate(changes):
            by_row[row] = change(by_row[row])
        return by_row.view(states.shape)

    module: nn.Module = dict(loaded.module.named_modules())[path]
    if output:
        handle = module.register_forward_hook(
            lambda _m, _i, out: changed(out) if isinstance(out, Tensor) else (changed(out[0]), *out[1:])
        )
    else:
        handle = module.register_forward_pre_hook(lambda _m, inputs: (changed(inputs[0]), *inputs[1:]))
    batch = {name: value.repeat(rows, 1) if isinstance(value, Tensor) else value for name, value in given.items()}
    with torch.no_grad():
        logits = loaded.module(**batch).logits[:, POSITION].double()
    handle.remove()
    if family.cap is not None:
        logits = torch.atanh(logits / family.cap) * family.cap
    return DIFFERENCE.values(logits).tolist()


def head_change(head: int, value: Tensor | float) -> Change:
    """(tokens, heads · d) with one head's part replaced by (tokens, d), (d,) or a number."""

    def change(states: Tensor) -> Tensor:
        changed = states.clone().view(states.shape[0], HEADS, -1)
        changed[:, head] = value
        return changed.view(states.shape)

    return change


def inputs_of(loaded: LoadedModel, given: dict[str, Any], path: str) -> Tensor:
    """What a module is given, (tokens, width)."""
    seen: list[Tensor] = []
    module: nn.Module = dict(loaded.module.named_modules())[path]
    handle = module.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        loaded.module(**given)
    handle.remove()
    return seen[0].reshape(-1, seen[0].shape[-1])


FAMILIES = [family for family in PREDICTING if family != "hybrid"]


@pytest.mark.parametrize("family", PREDICTING)
def test_the_matrix_that_takes_the_heads_is_found(family: str) -> None:
    _, names = PREDICTING[family]
    run = run_of(family)
    paths = site_paths(run)
    assert len(paths) == (9 if run.model.is_encoder_decoder else 1 if family == "hybrid" else 3)
    assert len(set(paths)) == len(paths)
    assert all(re.search(f"({names.output}|{names.cross})$", path) for path in paths)


@pytest.mark.parametrize("family", PREDICTING)
def test_zero_ablation_agrees_with_a_run_of_its_own(family: str) -> None:
    _, names = PREDICTING[family]
    run, loaded = run_of(family), model_of(family)
    effects = ablate(run, None)
    own = float(run.base.outcome[0])
    for site, path in zip(run.sites, site_paths(run), strict=True):
        changes = [head_change(head, 0) for head in range(HEADS)]
        expected = naive(loaded, arguments(loaded), path, changes, names, output=False)
        found = [effects.heads[site.path, site.call, head] for head in range(HEADS)]
        assert found == pytest.approx([own - each for each in expected], abs=1e-4)
    assert max(abs(value or 0) for value in effects.heads.values()) > 0.02


@pytest.mark.parametrize("family", PREDICTING)
def test_zero_ablation_of_mlps_agrees_with_a_run_of_its_own(family: str) -> None:
    _, names = PREDICTING[family]
    run, loaded = run_of(family), model_of(family)
    effects = ablate(run, None)
    own = float(run.base.outcome[0])
    stack = "decoder" if loaded.is_encoder_decoder else ""
    paths = [name for name, _ in loaded.module.named_modules()
             if name.startswith(("model." * (family == "bart")) + stack) and re.search(f"({names.mlp})$", name)
             and re.search(r"\d\.", name) and not re.search(r"mlp\..*mlp", name)]  # fmt: skip
    assert [name for name in effects.parts if name.startswith("mlp")] == [f"mlp.{n}" for n in range(len(paths))]
    for number, path in enumerate(paths):
        (expected,) = naive(loaded, arguments(loaded), path, [torch.zeros_like], names, output=True)
        assert effects.parts[f"mlp.{number}"] == pytest.approx(own - expected, abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_mean_ablation_is_over_the_ordinary_positions(family: str) -> None:
    _, names = PREDICTING[family]
    run, loaded = run_of(family), model_of(family)
    given = arguments(loaded)
    ordinary = {}
    for site, states in zip(run.sites, run.recorded.heads, strict=True):
        kept = torch.ones(states.shape[1], dtype=torch.bool)
        kept[0] = False
        ordinary[site.path, site.call] = kept
    effects = ablate(run, mean_writes(run, ordinary))
    own = float(run.base.outcome[0])
    for site, path in zip(run.sites, site_paths(run), strict=True):
        z = inputs_of(loaded, given, path)
        means = z.view(z.shape[0], HEADS, -1)[1:].mean(0)
        changes = [head_change(head, means[head]) for head in range(HEADS)]
        expected = naive(loaded, given, path, changes, names, output=False)
        found = [effects.heads[site.path, site.call, head] for head in range(HEADS)]
        assert found == pytest.approx([own - each for each in expected], abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_patching_agrees_with_a_run_of_its_own(family: str) -> None:
    _, names = PREDICTING[family]
    run, source, loaded = run_of(family), run_of(family, tuple(SOURCE)), model_of(family)
    effects = patch(run, source)
    own, other = float(run.base.outcome[0]), float(source.base.outcome[0])
    assert patching_way(run, source) == other - own
    for site, path in zip(run.sites, site_paths(run), strict=True):
        z = inputs_of(loaded, arguments(loaded, SOURCE), path)
        parts = z.view(z.shape[0], HEADS, -1)
        changes = [head_change(head, parts[:, head]) for head in range(HEADS)]
        expected = naive(loaded, arguments(loaded), path, changes, names, output=False)
        found = [effects.heads[site.path, site.call, head] for head in range(HEADS)]
        assert found == pytest.approx([(each - own) / (other - own) for each in expected], abs=1e-4, rel=1e-4)


@pytest.mark.parametrize("family", PREDICTING)
def test_patching_everything_is_1(family: str) -> None:
    run, source = run_of(family), run_of(family, tuple(SOURCE))
    assert run.patched_everywhere(source) == pytest.approx(1, abs=1e-3)


def test_patching_from_a_text_with_the_same_outcome_is_null() -> None:
    effects = patch(run_of("gpt2"), run_of("gpt2"))
    assert set(effects.heads.values()) == {None} and set(effects.parts.values()) == {None}


def test_small_batches_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ablate(run_of("gpt2"), None)
    monkeypatch.setattr("attncli.attention.effects.ablation._BATCH_TOKENS", 14)
    after = ablate(run_of("gpt2"), None)
    assert after.heads == pytest.approx(before.heads, abs=1e-5)


def test_chosen_heads_alone_are_ablated(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    outcomes = AblatedRun.outcomes

    def noted(run: AblatedRun, changes: Any, progress: Any) -> Any:
        ran.append(len(changes))
        return outcomes(run, changes, progress)

    monkeypatch.setattr(AblatedRun, "outcomes", noted)
    whole, one = (
        attncli.heads(input_ids=IDS, model=model_of("gpt2").module, effect="zero", answer=7, head=head)
        for head in (None, "1.2")
    )
    values = {head.name: head.values for stack in whole.stacks for head in stack.effects}
    assert [head.name for head in one.stacks[0].effects] == ["1.2"]
    assert one.stacks[0].effects[0].values["zero"] == pytest.approx(values["1.2"]["zero"], abs=1e-5)
    assert ran == [15, 4]  # twelve heads or one, and three MLPs


def test_the_vector_of_a_model_without_a_head() -> None:
    loaded = tiny.loaded("bert")
    given = arguments(loaded)
    with torch.no_grad():
        states = loaded.module(**given)[0]
    outcome = CosineOutcome.of_run(pool_position(POSITION), states)
    run = AblatedRun.of(loaded, given, outcome, POSITION)
    effects = ablate(run, None)
    path = site_paths(run)[0]
    handle = dict(loaded.module.named_modules())[path].register_forward_pre_hook(
        lambda _m, inputs: (head_change(2, 0)(inputs[0][0])[None],)
    )
    with torch.no_grad():
        changed = loaded.module(**given)[0]
    handle.remove()
    expected = 1 - float(torch.cosine_similarity(states[0, POSITION], changed[0, POSITION], dim=-1))
    assert effects.heads[run.sites[0].path, 0, 2] == pytest.approx(expected, abs=1e-5)
    assert expected > 1e-3 and not effects.log_probabilities


def test_a_shared_block_is_ablated_once_for_each_of_its_layers() -> None:
    torch.manual_seed(0)
    module = transformers.AlbertForMaskedLM(tiny.FAMILIES["albert"]()).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.2)
    loaded = wrap_model(module, "albert")
    run = AblatedRun.of(loaded, arguments(loaded), DIFFERENCE, POSITION)
    effects = ablate(run, None)
    assert [(site.call, site.block_call) for site in run.sites] == [(0, 0), (1, 1), (2, 2)]
    (path,) = {site.path for site in run.sites}
    assert len({effects.heads[path, call, 0] for call in range(3)}) == 3


def test_layers_that_read_keys_of_layers_below() -> None:
    """Replayed blocks keep no keys for later ones: the batch then begins at the first block."""
    config = transformers.Gemma3nTextConfig(
        **{**tiny.GROUPED, "num_hidden_layers": 4}, head_dim=8, sliding_window=4, num_kv_shared_layers=2,
        hidden_size_per_layer_input=8, vocab_size_per_layer_input=99, laurel_rank=4, altup_num_inputs=2,
        layer_types=["sliding_attention", "full_attention"] * 2, activation_sparsity_pattern=[0.0] * 4,
    )  # fmt: skip
    loaded = wrap_model(build(config), "gemma3n")
    run = AblatedRun.of(loaded, arguments(loaded), DIFFERENCE, POSITION)
    effects = ablate(run, None)
    own = float(run.base.outcome[0])
    site, path = run.sites[3], site_paths(run)[3]
    names = Family(r"o_proj", r"mlp", cap=config.final_logit_softcapping)
    expected = naive(loaded, arguments(loaded), path, [head_change(h, 0) for h in range(HEADS)], names, output=False)
    found = [effects.heads[site.path, site.call, head] for head in range(HEADS)]
    assert found == pytest.approx([own - each for each in expected], abs=1e-4)


def test_states_with_the_tokens_first_are_replayed_ablated_and_read(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = build(tiny.xlnet())
    loaded = wrap_model(module, "tiny")
    given = arguments(loaded)
    run = AblatedRun.of(loaded, given, DIFFERENCE, POSITION)
    own, starts, batch = float(run.base.outcome[0]), [], AblatedRun._batch

    def noted(run: AblatedRun, changes: Any, start: int) -> Any:
        starts.append(start)
        return batch(run, changes, start)

    monkeypatch.setattr(AblatedRun, "_batch", noted)
    found = ablate(run, None)
    assert starts == [0, 1]  # nothing was run again from the first block on

    def without(*changed: Tensor) -> float:
        kept = [each.clone() for each in changed]
        with torch.no_grad():
            for each in changed:
                each.zero_()
            value = float(DIFFERENCE.values(module(**given).logits[:, POSITION].double()))
            for each, before in zip(changed, kept, strict=True):
                each.copy_(before)
        return own - value

    for number, layer in enumerate(module.transformer.layer):
        for head in range(HEADS):
            share = found.heads[f"transformer.layer.{number}.rel_attn", 0, head]
            assert share == pytest.approx(without(layer.rel_attn.o[:, head]), abs=1e-5)
        written = without(layer.ff.layer_2.weight, layer.ff.layer_2.bias)
        assert found.parts[f"mlp.{number}"] == pytest.approx(written, abs=1e-5)
    recorded = record_run(loaded, given, POSITION)
    assert abs(direct_effects(recorded, DIFFERENCE).unexplained) < 1e-4
    logits = recorded.logits_of_states([recorded.at_position(call.output[0]) for call in recorded.calls])
    assert torch.allclose(logits.own[-1], recorded.logits.own[0], atol=1e-5)
