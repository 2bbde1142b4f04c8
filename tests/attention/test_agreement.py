"""Every kind of attention against what transformers itself returns under eager, layer by layer, head by head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from attncli.attention.collector import Collector
from attncli.attention.inputs import ModelInputs, build_inputs
from attncli.attention.metrics import Side
from attncli.attention.selection import HeadsRequest, parse_selection
from attncli.models.loading.loaded_model import wrap_model
from attncli.results.heads import Stack
from tests import tiny
from tests.tiny import read_heads_of_each

IDS = [5, 7, 9, 11, 5, 7, 9, 13, 17]
TARGETS = ([0, 4, 5, 6], [0, 8, 9, 5])
TOLERANCE = 1e-4


def inputs_for(loaded, texts: list[list[int]], *, pad_left: bool = False) -> ModelInputs:
    inputs = build_inputs(loaded, [tiny.tokens(ids) for ids in texts], pad_left=pad_left)
    if inputs.target is None:
        return inputs
    ids = torch.tensor(TARGETS[: len(texts)])
    real = torch.ones_like(ids, dtype=torch.bool)
    target = Side(ids, ~real, real, tuple(tiny.tokens(row) for row in TARGETS[: len(texts)]))
    return replace(inputs, arguments={**inputs.arguments, "decoder_input_ids": ids}, target=target)


def expected(reference: dict[str, tuple[torch.Tensor, ...]], stack: Stack, inputs: ModelInputs, text: int, layer: int):
    """transformers' weights of one layer, (heads, queries, keys), with the padding of the text cut away."""
    weights = reference["only" if "only" in reference else stack.stack][layer][text].float().numpy()
    main = inputs.main.real[text].numpy()
    whole = np.ones(weights.shape[1], dtype=bool)
    rows = whole if stack.stack in ("decoder", "cross") and inputs.target is not None else main
    columns = np.ones(weights.shape[2], dtype=bool) if stack.stack == "decoder" and inputs.target is not None else main
    return weights[:, rows][:, :, columns]


#: Where padding stands matters to each kind of position: learned, rotary, relative, linear, and in a window.
PADDED = [(family, False) for family in tiny.FAMILIES] + [
    (family, True) for family in ("gpt2", "llama", "t5", "bloom", "mistral")
]


@pytest.mark.parametrize(("family", "pad_left"), PADDED)
def test_patterns_equal_output_attentions_on_a_padded_batch(family: str, pad_left: bool) -> None:
    model = tiny.build(tiny.FAMILIES[family]())
    loaded = wrap_model(model, family)
    inputs = inputs_for(loaded, [IDS, IDS[:6]], pad_left=pad_left)
    found = read_heads_of_each(loaded, inputs, HeadsRequest(patterns=True))
    reference = tiny.reference(model, {k: v for k, v in inputs.arguments.items() if k != "use_cache"})
    for text, stacks in enumerate(found):
        assert sum(len(stack.patterns) for stack in stacks) == sum(len(layers) * 4 for layers in reference.values())
        assert_stacks(family, stacks)
        for stack in stacks:
            for pattern in stack.patterns:
                weights = expected(reference, stack, inputs, text, pattern.layer)[pattern.head]
                np.testing.assert_allclose(pattern.weights, weights, atol=TOLERANCE)


def assert_stacks(family: str, stacks: tuple[Stack, ...]) -> None:
    """Names, direction, layers and heads."""
    names = {stack.stack: stack.causal for stack in stacks}
    if family in ("t5", "bart"):
        assert names == {"encoder": False, "decoder": True, "cross": False}
    else:
        assert names == ({"encoder": False} if family in ("bert", "albert", "deberta") else {"decoder": True})
    for stack in stacks:
        assert [(layer.layer, layer.heads, layer.mixer) for layer in stack.layers] == [(n, 4, None) for n in range(3)]
        prefix = f"{stack.stack}." if len(stacks) > 1 else ""
        assert [head.name for head in stack.metrics] == [f"{prefix}{n}.{h}" for n in range(3) for h in range(4)]


def test_a_window_shorter_than_the_text_hides_what_is_beyond_it() -> None:
    loaded = tiny.loaded("mistral")
    ((stack,),) = read_heads_of_each(loaded, inputs_for(loaded, [IDS]), HeadsRequest(patterns=True))
    for pattern in stack.patterns:
        rows, columns = np.nonzero(pattern.weights)
        assert (columns > rows - 3).all() and (columns <= rows).all()
        np.testing.assert_allclose(pattern.weights.sum(1), 1, atol=1e-5)


def test_sinks_take_a_part_of_every_row() -> None:
    loaded = tiny.loaded("gpt_oss")
    ((stack,),) = read_heads_of_each(loaded, inputs_for(loaded, [IDS]), HeadsRequest(patterns=True))
    assert max(head.values["virtual_sink"] for head in stack.metrics) > 0.1
    for head, pattern in zip(stack.metrics, stack.patterns, strict=True):
        missing = 1 - pattern.weights.sum(1)
        assert (missing > 0).all()
        assert head.values["virtual_sink"] == pytest.approx(missing.mean(), abs=1e-5)


def test_a_softcap_changes_the_pattern() -> None:
    """The agreement test would say nothing about softcapping if the cap were too high to bite."""
    config = tiny.gemma2()
    capped = tiny.build(config)
    config.attn_logit_softcapping = 1e6
    free = tiny.build(config)
    patterns = []
    for model in (capped, free):
        loaded = wrap_model(model)
        ((stack,),) = read_heads_of_each(loaded, inputs_for(loaded, [IDS]), HeadsRequest(patterns=True))
        patterns.append(stack.patterns[0].weights)
    assert np.abs(patterns[0] - patterns[1]).max() > 0.05


def test_only_the_chosen_heads_are_kept() -> None:
    loaded = tiny.loaded("bart")
    request = HeadsRequest(parse_selection(head="cross.1.2,decoder.0.3"), patterns=True)
    (stacks,) = read_heads_of_each(loaded, inputs_for(loaded, [IDS]), request)
    selected = {stack.stack: [(p.layer, p.head) for p in stack.patterns] for stack in stacks}
    assert selected == {"encoder": [], "decoder": [(0, 3)], "cross": [(1, 2)]}
    assert [head.name for stack in stacks for head in stack.metrics] == ["decoder.0.3", "cross.1.2"]


def test_pooled_patterns_are_the_exact_ones_pooled() -> None:
    loaded = tiny.loaded("gpt2")
    inputs = inputs_for(loaded, [IDS])
    ((exact,),), ((pooled,),) = (
        read_heads_of_each(loaded, inputs, HeadsRequest(patterns=True, bins=bins)) for bins in (None, 4)
    )
    for whole, binned in zip(exact.patterns, pooled.patterns, strict=True):
        again = whole.pooled(4, 4)
        assert binned.bins == again.bins
        np.testing.assert_allclose(binned.weights, again.weights, atol=1e-6)
        np.testing.assert_allclose(binned.weights.sum(1), 1, atol=1e-5)


def test_nothing_is_computed_of_a_layer_that_nobody_asked_for() -> None:
    loaded = tiny.loaded("llama")
    collector = Collector(loaded, inputs_for(loaded, [IDS]), HeadsRequest(parse_selection("2"), patterns=True))
    loaded.run_attention(collector.inputs.arguments, collector)
    (seen,) = collector.layers.values()
    assert [bool(layer.chosen) for layer in seen.values()] == [False, False, True]
