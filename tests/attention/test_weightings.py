"""Rollout and norm-weighted patterns against their definitions, written out."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor, nn

from attncli.api.heads import heads
from attncli.attention import collector
from attncli.attention.inputs import build_inputs
from attncli.attention.pattern_sums import MAX_ROLLOUT_TOKENS, Rollout
from attncli.attention.selection import HeadsRequest, parse_selection
from attncli.errors import UsageError
from attncli.models.capture.attention_types import WeightsAttention
from attncli.models.loading.loaded_model import LoadedModel, wrap_model
from attncli.render.common.terminal import Terminal
from attncli.render.heads.text import heads_text
from attncli.render.html.heads import heads_html
from tests import tiny
from tests.tiny import read_heads

IDS = [5, 7, 9, 11, 5, 7, 9, 13, 17]

#: Where each family keeps the matrix behind its heads, (heads · d, width), and by which call it gets values.
OUTPUTS: dict[str, Callable[[nn.Module], Tensor]] = {
    "llama": lambda model: model.layers[1].self_attn.o_proj.weight.T,
    "gpt2": lambda model: model.h[1].attn.c_proj.weight,
    "bert": lambda model: model.encoder.layer[1].attention.output.dense.weight.T,
    "gpt_oss": lambda model: model.layers[1].self_attn.o_proj.weight.T,
}


def patterns(loaded: LoadedModel, request: HeadsRequest) -> dict[tuple[int, int | None], Tensor]:
    (stack,) = read_heads(loaded, build_inputs(loaded, [tiny.tokens(IDS)]), request)
    return {(pattern.layer, pattern.head): torch.tensor(pattern.weights) for pattern in stack.patterns}


@pytest.mark.parametrize("family", OUTPUTS)
def test_weights_times_the_norm_of_what_is_read(family: str) -> None:
    model = tiny.build(tiny.FAMILIES[family]())
    loaded, values = wrap_model(model), []
    inputs = build_inputs(loaded, [tiny.tokens(IDS)])
    loaded.run_attention(inputs.arguments, lambda _, attention: values.append(attention.with_values.value))
    value = values[1][0].repeat_interleave(4 // values[1].shape[1], dim=0)
    matrix = OUTPUTS[family](model).detach().reshape(4, value.shape[-1], -1)
    plain = patterns(loaded, HeadsRequest(patterns=True))
    weighted = patterns(loaded, HeadsRequest(parse_selection(layer=1), patterns=True, weighting="norm"))
    assert set(weighted) == {(1, head) for head in range(4)}
    for head in range(4):
        read = value[head] @ matrix[head]
        expected = (plain[1, head][..., None] * read).norm(dim=-1)
        torch.testing.assert_close(weighted[1, head], expected, atol=1e-5, rtol=1e-4)
        assert not torch.allclose(expected, plain[1, head], atol=1e-2)


def test_weights_alone_have_no_norms() -> None:
    loaded = tiny.loaded("deberta")
    with pytest.raises(UsageError, match="needs the value vectors"):
        patterns(loaded, HeadsRequest(patterns=True, weighting="norm"))


def test_rollout_by_hand() -> None:
    first = torch.tensor([[[[1.0, 0.0], [0.5, 0.5]], [[1.0, 0.0], [0.0, 1.0]]]])
    second = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [1.0, 0.0]]]])
    rollout = Rollout(1, 2, torch.device("cpu"))
    # Heads averaged and the residual stream added: rows (1, 0) and (0.25, 0.75) become (1, 0) and (0.125, 0.875).
    assert rollout.add_layer(WeightsAttention(first))[0].tolist() == [[1.0, 0.0], [0.125, 0.875]]
    # Then (1, 0) and (1, 0) become (1, 0) and (0.5, 0.5), applied to the former.
    assert rollout.add_layer(WeightsAttention(second))[0].tolist() == [[1.0, 0.0], [0.5625, 0.4375]]


def test_even_attention_favours_no_token_once_corrected() -> None:
    even = torch.ones(1, 2, 4, 4).tril() / torch.arange(1, 5)[:, None]
    shares = torch.ones(4, 4).tril() / torch.arange(1, 5)[:, None]
    plain, rollout = Rollout(1, 4, torch.device("cpu")), Rollout(1, 4, torch.device("cpu"), corrected=True)
    for _ in range(3):
        favoured = plain.add_layer(WeightsAttention(even))[0, 3]
        torch.testing.assert_close(rollout.add_layer(WeightsAttention(even))[0], shares)
    assert favoured[0] > 1.5 * favoured[2]


def test_the_correction_by_hand() -> None:
    """R = [[1, 0], [0.125, 0.875]] over U = [[1, 0], [0.25, 0.75]]: the second row is 0.5 to 7/6."""
    weights = torch.tensor([[[[1.0, 0.0], [0.5, 0.5]], [[1.0, 0.0], [1e-9, 1.0]]]])
    found = Rollout(1, 2, torch.device("cpu"), corrected=True).add_layer(WeightsAttention(weights))[0]
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.0], [0.3, 0.7]]))


def test_a_rollout_of_a_causal_model_says_what_it_favours() -> None:
    model = tiny.build(tiny.FAMILIES["llama"]())
    plain, corrected = (heads(model=model, input_ids=IDS, rollout=True, receptive_field=on) for on in (False, True))
    assert any("--receptive-field corrects it" in note for note in plain.notes)
    assert not any("--receptive-field" in note for note in corrected.notes)
    assert corrected.to_dict()["receptive_field"] is True
    first = [result.stacks[0].patterns[0].weights[-1, 0] for result in (plain, corrected)]
    assert first[1] < first[0]
    named = "rollout to layer 2, corrected by receptive field"
    for result, is_corrected in ((plain, False), (corrected, True)):
        title = named.replace("to layer", "up to layer")
        assert (title in heads_text(result, Terminal())) is is_corrected
        assert ("attncli's own formula" in heads_html(result)) is is_corrected
        if find_spec("matplotlib") is not None:
            from attncli.render.figures.heads import heads_figure

            assert (named in heads_figure(result, "svg").decode()) is is_corrected
    with pytest.raises(UsageError, match="--receptive-field works only with a rollout"):
        heads(model=model, input_ids=IDS, receptive_field=True)


@pytest.mark.parametrize("limit", [0, collector.MAX_EXPLICIT_WEIGHTS])
def test_rollout_of_a_model(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "MAX_EXPLICIT_WEIGHTS", limit)
    loaded = tiny.loaded("llama")
    plain = patterns(loaded, HeadsRequest(patterns=True))
    expected = torch.eye(len(IDS))
    for layer in range(3):
        mean = torch.stack([plain[layer, head] for head in range(4)]).mean(0) + torch.eye(len(IDS))
        expected = (mean / mean.sum(-1, keepdim=True)) @ expected
        found = patterns(loaded, HeadsRequest(parse_selection(layer=layer), patterns=True, weighting="rollout"))
        torch.testing.assert_close(found[layer, None], expected, atol=1e-5, rtol=0)


def test_rollout_has_an_end() -> None:
    with pytest.raises(UsageError, match="--rollout is limited to"):
        Rollout(1, MAX_ROLLOUT_TOKENS + 1, torch.device("cpu"))


def test_the_last_layer_is_rolled_out_to() -> None:
    model = tiny.build(tiny.FAMILIES["bert"]())
    result = heads(model=model, input_ids=IDS, rollout=True)
    assert [(pattern.layer, pattern.head) for pattern in result.stacks[0].patterns] == [(2, None)]
    assert result.to_dict()["weighting"] == "rollout"
    for wrong in ({"head": "1.1"}, {"norm_weighted": True}):
        with pytest.raises(UsageError):
            heads(model=model, input_ids=IDS, rollout=True, **wrong)  # type: ignore[arg-type]


def test_what_shapes_patterns_is_noted_where_none_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "MAX_SHORT_SKETCHES", 0)
    model = tiny.build(tiny.FAMILIES["bert"]())
    notes = [note for note in heads(model=model, input_ids=IDS, by="word").notes if "has no effect" in note]
    assert [note.split(" has")[0] for note in notes] == ["--by word"]
    for refused in ("norm_weighted", "hide_special"):
        with pytest.raises(UsageError, match="changes patterns, and the map of all heads shows none"):
            heads(model=model, input_ids=IDS, **{refused: True})
    shaped = {"norm_weighted": True, "by": "word"}
    for shows in ({"layer": 1}, {"query": 3}, {"patterns": True}):
        result = heads(model=model, input_ids=IDS, **shaped, **shows)  # type: ignore[arg-type]
        assert not any("has no effect" in note for note in result.notes)
