"""Adapters applied by peft: patterns, states and text as `peft.PeftModel` gives them, for every kind and task."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import attncli
from attncli.errors import ModelError, UsageError
from attncli.models.loading.loaded_model import wrap_peft_model
from attncli.render.common.terminal import Terminal
from attncli.render.formats import FORMATS, Look, render
from tests import tiny
from tests.models.adapter_kinds import (
    IDS,
    TOLERANCE,
    base_folder,
    heads_patterns,
    kinds,
    peft_model,
    peft_patterns,
    save_adapter,
    stack_patterns,
    sweep,
)
from tests.opening import load

peft = pytest.importorskip("peft", reason="the extra adapters isn't installed")

CAUSAL, SEQ2SEQ = transformers.AutoModelForCausalLM, transformers.AutoModelForSeq2SeqLM
CLASSIFIER, BASE = transformers.AutoModelForSequenceClassification, transformers.AutoModel
ROWS = torch.tensor([IDS])
FIRST_QUERY, SECOND_KEY = "model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.k_proj"


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> tiny.Folders:
    """Tiny models with their heads, by family."""
    heads = {
        "llama": transformers.LlamaForCausalLM,
        "bert": transformers.BertForSequenceClassification,
        "t5": transformers.T5ForConditionalGeneration,
        "bart": transformers.BartForConditionalGeneration,
    }
    return tiny.Folders(
        tmp_path_factory.mktemp("bases"),
        lambda folder, family: base_folder(folder, tiny.FAMILIES[family](), heads[family]),
    )


def lora(**settings: Any) -> Any:
    given = {"task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "k_proj"], **settings}
    return peft.LoraConfig(**given)


def assert_equal(ours: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(ours, expected, atol=TOLERANCE)


CAUSAL_KINDS: dict[str, Callable[[], Any]] = {
    "a factor by full names": lambda: lora(alpha_pattern={FIRST_QUERY: 64, SECOND_KEY: 1}),
    "a factor by an anchored name": lambda: lora(alpha_pattern={f"^{FIRST_QUERY}": 64}),
    "ranks by name": lambda: lora(rank_pattern={FIRST_QUERY: 8, "k_proj": 2}),
    "some layers": lambda: lora(layers_to_transform=[1]),
    "a regex on full names": lambda: lora(target_modules=r"model\.layers\.[01]\.self_attn\.(q|k)_proj"),
    "full names": lambda: lora(target_modules=[FIRST_QUERY]),
    "a saved embedding": lambda: lora(modules_to_save=["embed_tokens"]),
    "rsLoRA": lambda: lora(use_rslora=True),
    "DoRA": lambda: lora(use_dora=True),
    "PiSSA": lambda: lora(init_lora_weights="pissa"),
    "aLoRA": lambda: lora(alora_invocation_tokens=[9, 10]),
    "no task": lambda: lora(task_type=None),
    "prefix": lambda: peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    "prompt": lambda: peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
}


#: Neighbours of those that every run of the suite looks at.
RARE = (
    "a factor by an anchored name",
    "ranks by name",
    "full names",
    "a saved embedding",
    "rsLoRA",
    "PiSSA",
    "no task",
)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.sweep) if name in RARE else name for name in CAUSAL_KINDS]
)
def test_patterns_are_those_of_peft(name: str, bases: tiny.Folders, tmp_path: Path) -> None:
    save_adapter(tmp_path, bases["llama"], CAUSAL, CAUSAL_KINDS[name]())
    expected = peft_patterns(peft_model(bases["llama"], tmp_path, CAUSAL))
    assert_equal(heads_patterns(tmp_path), expected)
    assert_equal(heads_patterns(tmp_path, layer=1), expected[1:2])
    plain = peft_patterns(CAUSAL.from_pretrained(bases["llama"], attn_implementation="eager"))
    assert np.abs(expected[..., -12:] - plain if name == "prefix" else expected[..., -12:, -12:] - plain).max() > 0.1


def test_other_kinds() -> None:
    """One that counts the layers, one that wraps them, one that is refused; all of the registry is for the sweep."""
    results = {outcome.kind: outcome.result for outcome in sweep(["UNILORA", "SHADOW", "XLORA"])}
    assert results == {"UNILORA": "agrees", "SHADOW": "agrees", "XLORA": "refused"}


@pytest.mark.sweep
def test_every_kind_of_the_registry_agrees_or_is_refused_as_peft_refuses_it() -> None:
    outcomes = list(sweep(kinds()))
    print("\n".join(f"{outcome.kind:24} {outcome.result:10} {outcome.detail}" for outcome in outcomes))
    assert {outcome.kind: outcome.detail for outcome in outcomes if outcome.result not in ("agrees", "refused")} == {}
    refused = {outcome.kind for outcome in outcomes if outcome.result == "refused"}
    assert refused <= {"MULTITASK_PROMPT_TUNING", "POLY", "XLORA"}


@pytest.mark.parametrize(
    ("auto", "task", "labels", "query"),
    [
        (CLASSIFIER, "SEQ_CLS", 5, "bert.encoder.layer.0.attention.self.query"),
        (transformers.AutoModelForMaskedLM, None, 2, "bert.encoder.layer.0.attention.self.query"),
        (BASE, "FEATURE_EXTRACTION", 2, "encoder.layer.0.attention.self.query"),
    ],
)  # fmt: skip
def test_the_class_and_its_labels_are_those_that_were_trained(
    auto: Any, task: str | None, labels: int, query: str, bases: tiny.Folders, tmp_path: Path
) -> None:
    """The base was saved as a classifier of two labels."""
    config = peft.LoraConfig(task_type=task, r=4, target_modules=["query", "key"], alpha_pattern={query: 64})
    options = {"num_labels": labels, "ignore_mismatched_sizes": True}
    save_adapter(tmp_path, bases["bert"], auto, config, **options)
    assert_equal(heads_patterns(tmp_path), peft_patterns(peft_model(bases["bert"], tmp_path, auto, **options)))


def test_texts_of_one_batch_for_a_classifier_that_knows_no_padding(tmp_path: Path) -> None:
    config = tiny.llama()
    config.pad_token_id = None
    base_folder(tmp_path / "base", config, transformers.LlamaForCausalLM)
    save_adapter(tmp_path / "a", tmp_path / "base", CLASSIFIER, lora(task_type="SEQ_CLS"), num_labels=3)
    found = attncli.heads(input_ids=[[5, 6, 7], [8, 9, 10, 11]], model=tmp_path / "a", device="cpu")
    single = [attncli.heads(input_ids=ids, model=tmp_path / "a", device="cpu") for ids in ([5, 6, 7], [8, 9, 10, 11])]
    first = [result.stacks[0].metrics[0].values["entropy"] for result in (found, *single)]
    assert first[0] == pytest.approx(np.mean(first[1:]), abs=1e-5)


SEQ2SEQ_KINDS = {
    "lora": lambda query: peft.LoraConfig(task_type="SEQ_2_SEQ_LM", r=4, target_modules=[query]),
    # As many virtual tokens as the text has: the decoder's keys are no encoder's.
    "prefix": lambda _: peft.PrefixTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=len(IDS)),
    "prompt": lambda _: peft.PromptTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=3),
}


@pytest.mark.parametrize(
    ("family", "query", "kind"),
    [
        ("t5", "q", "lora"),
        ("t5", "q", "prompt"),
        ("bart", "q_proj", "prefix"),
        pytest.param("bart", "q_proj", "lora", marks=pytest.mark.sweep),
        pytest.param("bart", "q_proj", "prompt", marks=pytest.mark.sweep),
        pytest.param("t5", "q", "prefix", marks=pytest.mark.sweep),
    ],
)
def test_encoder_decoders(family: str, query: str, kind: str, bases: tiny.Folders, tmp_path: Path) -> None:
    save_adapter(tmp_path, bases[family], SEQ2SEQ, SEQ2SEQ_KINDS[kind](query))
    model, target = peft_model(bases[family], tmp_path, SEQ2SEQ), [2, 20, 21, 22, 23]
    decoder = torch.tensor([target])
    for name, ours in zip(("encoder", "decoder", "cross"), stack_patterns(tmp_path, target_ids=target), strict=True):
        expected = peft_patterns(model, name=f"{name}_attentions", decoder_input_ids=decoder, use_cache=False)
        assert_equal(ours, expected)


# --- Virtual tokens


@pytest.mark.parametrize(("kind", "queries"), [("prefix", 12), ("prompt", 15)])
def test_virtual_tokens_are_special_columns_or_rows_too(
    kind: str, queries: int, bases: tiny.Folders, tmp_path: Path
) -> None:
    save_adapter(tmp_path, bases["llama"], CAUSAL, CAUSAL_KINDS[kind]())
    found = attncli.heads(input_ids=list(IDS), model=tmp_path, device="cpu", patterns=True)
    (stack,) = found.stacks
    names = ["[P0]", "[P1]", "[P2]"]
    assert [key.token for key in stack.keys[:4]] == [*names, stack.keys[3].token] and len(stack.keys) == 15
    assert [key.special for key in stack.keys] == [True] * 3 + [False] * 12
    assert [key.index for key in stack.keys] == list(range(-3, 12))
    assert (len(stack.queries), stack.stack, stack.causal) == (queries, "decoder", True)
    assert "[P0] to [P2] are virtual tokens of the adapter" in found.notes[0]
    # The metrics count from where a query is among the keys.
    weights, values = stack.patterns[5].weights[-12:], stack.metrics[5].values
    places = np.arange(12)
    assert values["current"] == pytest.approx(_mean_with_virtual(stack, weights[places, places + 3], queries, 0), 1e-4)
    text = attncli.heads(input_ids=list(IDS), model=tmp_path, device="cpu", patterns=True, query="3", key="5:8")
    assert [token.index for token in (*text.stacks[0].queries, *text.stacks[0].keys)] == [3, 5, 6, 7]
    one = attncli.heads(input_ids=list(IDS), model=tmp_path, device="cpu", query="-1", key="P1").stacks[0]
    ranked = {head.name: head.weight for head in one.ranking.heads}
    assert ranked["1.1"] == pytest.approx(float(weights[-1, 1]), abs=1e-6)


@pytest.mark.parametrize("kind", ["prefix", "prompt"])
def test_every_view_names_virtual_tokens(kind: str, bases: tiny.Folders, tmp_path: Path) -> None:
    """Text, steps, table, page, arrays and figure."""
    save_adapter(tmp_path, bases["llama"], CAUSAL, CAUSAL_KINDS[kind]())
    given = {"input_ids": list(IDS), "model": tmp_path, "device": "cpu"}
    one, steps = (attncli.heads(**given, head="1.1", steps=on) for on in (False, True))
    reading = attncli.heads(**given, query="-1", top=15)
    for result in (one, steps, reading):
        assert "[P0]" in str(render(result, FORMATS["text"], Look(Terminal(width=200, full=True))))
        assert "[P0]" in str(render(result, FORMATS["html"], Look()))
    cells = list(csv.DictReader(str(render(one, FORMATS["csv"], Look(cells=True))).splitlines()))
    assert [cell["key_token"] for cell in cells[:3]] == ["[P0]", "[P1]", "[P2]"]
    assert [int(cell["key_index"]) for cell in cells[:4]] == [-3, -2, -1, 0]
    listed = csv.DictReader(str(render(steps, FORMATS["csv"], Look())).splitlines())
    assert "[P2]" in {row["key_token"] for row in listed}
    if find_spec("matplotlib") is not None:
        for result in (one, reading):
            drawn = render(result, FORMATS["svg"], Look())
            assert b"[P0]" in (drawn if isinstance(drawn, bytes) else drawn.encode())


@pytest.mark.parametrize("kind", ["prefix", "prompt"])
def test_effects_under_virtual_tokens(kind: str, bases: tiny.Folders, tmp_path: Path) -> None:
    """Ablation against a hook before the output projection of peft's own model."""
    save_adapter(tmp_path, bases["llama"], CAUSAL, CAUSAL_KINDS[kind]())
    found = attncli.heads(input_ids=list(IDS), model=tmp_path, device="cpu", effect="zero", answer=7)
    model = peft_model(bases["llama"], tmp_path, CAUSAL)

    def outcome() -> float:
        with torch.no_grad():
            logits = model(input_ids=ROWS, attention_mask=torch.ones_like(ROWS)).logits[0, -1]
        return float(logits[7] - logits.mean())

    whole = outcome()
    for effect in found.stacks[0].effects:
        hook = output_projection(model, effect.layer).register_forward_pre_hook(without_head(effect.head))
        assert effect.values["zero"] == pytest.approx(whole - outcome(), abs=1e-4)
        hook.remove()


def output_projection(model: Any, layer: int) -> Any:
    return model.get_base_model().model.layers[layer].self_attn.o_proj


def without_head(head: int) -> Callable[[Any, tuple[torch.Tensor]], tuple[torch.Tensor]]:
    """A hook that puts zeros in the place of one of four heads."""

    def change(_: Any, given: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        heads = given[0].unflatten(-1, (4, -1)).clone()
        heads[..., head, :] = 0
        return (heads.flatten(-2),)

    return change


def _mean_with_virtual(stack: Any, text: np.ndarray, queries: int, offset: int) -> float:
    """The mean over the text's queries and those of virtual tokens, if these have any."""
    extra = stack.patterns[5].weights[: queries - 12]
    return float(np.mean([*(row[place + offset] for place, row in enumerate(extra)), *text]))


def test_a_prefix_by_every_metric_of_position(bases: tiny.Folders, tmp_path: Path) -> None:
    save_adapter(tmp_path, bases["llama"], CAUSAL, CAUSAL_KINDS["prefix"]())
    (stack,) = attncli.heads(input_ids=list(IDS), model=tmp_path, device="cpu", patterns=True).stacks
    rows, columns = np.mgrid[3:15, 0:15]
    ids = np.array([-1, -2, -3, *IDS])
    copies = (ids[rows] == ids[columns]) & (columns < rows)
    after = np.roll(ids, 1)[columns]
    induced = (ids[rows] == after) & (columns < rows) & (columns > 0)
    for head, pattern in zip(stack.metrics, stack.patterns, strict=True):
        weights = pattern.weights
        assert head.values["distance"] == pytest.approx((weights * np.abs(rows - columns)).sum(1).mean(), abs=1e-4)
        assert head.values["previous"] == pytest.approx(weights[rows - 1 == columns].mean(), abs=1e-5)
        assert head.values["first"] == pytest.approx(weights[:, 3].mean(), abs=1e-5)
        assert head.values["special"] == pytest.approx(weights[:, :3].sum(1).mean(), abs=1e-5)
        for name, keys in (("duplicate", copies), ("induction", induced)):
            shown = (weights * keys).sum(1)[keys.any(1)]
            assert head.values[name] == pytest.approx(shown.mean(), abs=1e-5)
    with pytest.raises(UsageError, match="virtual tokens are only keys"):
        attncli.heads(input_ids=list(IDS), model=tmp_path, device="cpu", rollout=True)


@pytest.mark.parametrize("kind", ["prefix", "prompt"])
def test_a_walk_from_a_query_behind_virtual_tokens(kind: str, bases: tiny.Folders, tmp_path: Path) -> None:
    save_adapter(tmp_path, bases["llama"], CAUSAL, CAUSAL_KINDS[kind]())
    given = {"input_ids": list(IDS), "model": tmp_path, "device": "cpu", "head": "1.2"}
    (steps,) = attncli.heads(**given, steps=True, query="4").steps
    (pattern,) = attncli.heads(**given, query="4").stacks[0].patterns
    assert steps.query.index == 4
    np.testing.assert_allclose(steps.weights, pattern.weights[0], atol=1e-6)


def test_positions_are_room_for_virtual_tokens(tmp_path: Path) -> None:
    base_folder(tmp_path / "base", tiny.gpt2(), transformers.GPT2LMHeadModel)
    save_adapter(tmp_path / "a", tmp_path / "base", CAUSAL, CAUSAL_KINDS["prompt"]())
    assert load(tmp_path / "a").max_positions == 61


# --- States, text, and the matrices around a head


@pytest.mark.parametrize(
    ("family", "kind"), [("llama", "prompt"), ("llama", "aLoRA"), ("t5", "prompt"), ("t5", "lora")]
)
def test_states_are_those_of_peft(family: str, kind: str, bases: tiny.Folders, tmp_path: Path) -> None:
    auto = SEQ2SEQ if family == "t5" else CAUSAL
    save_adapter(tmp_path, bases[family], auto, SEQ2SEQ_KINDS[kind]("q") if family == "t5" else CAUSAL_KINDS[kind]())
    loaded, states = load(tmp_path, eager=False), []
    arguments = {"input_ids": ROWS, "attention_mask": torch.ones_like(ROWS)}
    count = loaded.run_states(loaded.lists[0], dict(arguments), lambda _, state: states.append(state))
    name = "encoder_hidden_states" if family == "t5" else "hidden_states"
    if family == "t5":
        arguments["decoder_input_ids"] = torch.zeros(1, 1, dtype=torch.long)
    with torch.no_grad():
        output = peft_model(bases[family], tmp_path, auto)(**arguments, output_hidden_states=True)
    assert count == 4
    for ours, expected in zip(states, output[name], strict=True):
        assert_equal(ours.numpy(), expected[:, -12:].numpy())


@pytest.mark.parametrize(("family", "kind"), [("llama", "aLoRA"), ("t5", "lora")])
def test_it_writes_as_peft_does(family: str, kind: str, bases: tiny.Folders, tmp_path: Path) -> None:
    auto = SEQ2SEQ if family == "t5" else CAUSAL
    save_adapter(tmp_path, bases[family], auto, SEQ2SEQ_KINDS[kind]("q") if family == "t5" else CAUSAL_KINDS[kind]())
    given = {"input_ids": ROWS, "attention_mask": torch.ones_like(ROWS), "max_new_tokens": 4, "do_sample": False}
    with torch.no_grad():
        ids = peft_model(bases[family], tmp_path, auto).generate(**given)[0].tolist()
    found = attncli.heads(input_ids=list(IDS), model=tmp_path, device="cpu", generate=4)
    assert list(found.generated.ids) == ids[1 if family == "t5" else 12 :]


@pytest.mark.parametrize("kind", ["prefix", "prompt"])
def test_what_it_writes_is_the_most_likely_of_every_pass(kind: str, bases: tiny.Folders, tmp_path: Path) -> None:
    """peft's own `generate` forgets a prefix, and miscounts the positions after a prompt."""
    save_adapter(tmp_path, bases["llama"], CAUSAL, CAUSAL_KINDS[kind]())
    model, ids = peft_model(bases["llama"], tmp_path, CAUSAL), list(IDS)
    with torch.no_grad():
        for _ in range(3):
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    found = attncli.heads(input_ids=list(IDS), model=tmp_path, device="cpu", generate=3)
    assert list(found.generated.ids) == ids[12:]


def test_the_output_matrix_of_a_head_is_the_adapted_one(bases: tiny.Folders, tmp_path: Path) -> None:
    targets = ["q_proj", "v_proj", "o_proj"]
    save_adapter(tmp_path / "a", bases["llama"], CAUSAL, lora(target_modules=targets, use_dora=True))
    merged = peft_model(bases["llama"], tmp_path / "a", CAUSAL).merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    given = {"input_ids": list(IDS), "device": "cpu", "head": "1.2"}
    one, other = (attncli.heads(model=tmp_path / name, norm_weighted=True, **given) for name in ("a", "merged"))
    assert_equal(one.stacks[0].patterns[0].weights, other.stacks[0].patterns[0].weights)
    one, other = (attncli.heads(model=tmp_path / name, steps=True, **given) for name in ("a", "merged"))
    assert_equal(one.steps[0].written.output, other.steps[0].written.output)
    assert one.steps[0].origin.query is not None


def test_where_the_output_matrix_depends_on_the_position_there_is_none(bases: tiny.Folders, tmp_path: Path) -> None:
    save_adapter(tmp_path, bases["llama"], CAUSAL, lora(target_modules=["o_proj"], alora_invocation_tokens=[9, 10]))
    given = {"input_ids": list(IDS), "model": tmp_path, "device": "cpu", "head": "1.2"}
    with pytest.raises(UsageError, match="--norm-weighted needs"):
        attncli.heads(norm_weighted=True, **given)
    assert attncli.heads(steps=True, **given).steps[0].written is None


def test_a_peft_model_in_python(bases: tiny.Folders, tmp_path: Path) -> None:
    save_adapter(tmp_path, bases["llama"], CAUSAL, CAUSAL_KINDS["prefix"]())
    loaded = wrap_peft_model(peft_model(bases["llama"], tmp_path, CAUSAL), "mine")
    assert (loaded.name, loaded.class_name, loaded.virtual_tokens) == ("mine", "LlamaForCausalLM", 3)


# --- What is said of adapters that don't fit


def test_a_second_softmax_is_noted(bases: tiny.Folders, tmp_path: Path) -> None:
    config = peft.AdaptionPromptConfig(task_type="CAUSAL_LM", adapter_len=4, adapter_layers=2)
    save_adapter(tmp_path, bases["llama"], CAUSAL, config)
    (warning,) = attncli.heads(input_ids=list(IDS), model=tmp_path, device="cpu").warnings
    assert "a second softmax" in warning


def _with_field(folder: Path, **fields: Any) -> Path:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **fields}))
    return folder


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"target_modules": ["query"]}, "can't be applied to LlamaForCausalLM: Target modules"),
        ({"layers_to_transform": [0, 1]}, "doesn't fit its base model: LlamaForCausalLM has no base_model.model.model"),
        ({"target_modules": ["q_proj", "k_proj", "v_proj"]}, r"base_model.*v_proj.*isn't in its weights"),
        ({"r": 8}, "can't be applied to LlamaForCausalLM"),
        ({"task_type": "FEATURE_EXTRACTION"}, "doesn't fit its base model"),
        ({"peft_type": "QUANTUM"}, "doesn't know the type of the adapter"),
        ({"megatron_config": {"a": 1}, "megatron_core": "antigravity"}, "names a module to import"),
        ({"peft_type": "SHADOW", "shadow_model": "org/other"}, "it needs a second model, 'org/other'"),
    ],
)
def test_an_adapter_that_does_not_fit(
    fields: dict[str, Any], message: str, bases: tiny.Folders, tmp_path: Path
) -> None:
    save_adapter(tmp_path, bases["llama"], CAUSAL, lora())
    with pytest.raises(ModelError, match=message) as caught:
        load(_with_field(tmp_path, **fields))
    assert caught.value.hint


def test_a_kind_that_needs_more_than_a_text_says_what(bases: tiny.Folders, tmp_path: Path) -> None:
    config = peft.PolyConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj"])
    save_adapter(tmp_path, bases["llama"], CAUSAL, config)
    with pytest.raises(ModelError, match=r"\(POLY\) can't be run on a text: task_ids should not be None"):
        heads_patterns(tmp_path)
