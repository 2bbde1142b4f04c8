"""Readouts without the matrix against the explicit matrix of the same queries and keys, on every path."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from transformers.masking_utils import (
    causal_mask_function,
    create_bidirectional_mask,
    create_causal_mask,
    create_sliding_window_causal_mask,
    sliding_window_bidirectional_mask_function,
)

from attncli.attention import collector, token_matches
from attncli.attention.metrics import MetricSums, QueryKeySides, Side, uniform_weights
from attncli.attention.pattern_axes import Axes, Axis, PatternSums
from attncli.attention.readouts import read_metrics
from attncli.attention.selection import HeadsRequest, parse_selection
from attncli.attention.stacks import read_heads_of_each
from attncli.attention.token_matches import TokenMatches, count_earlier_matches
from attncli.attention.uniform_baseline import compute_uniform_baseline
from attncli.metrics import METRICS, Metric, WeightAt
from attncli.models.capture import fused_attention
from attncli.models.capture import lazy_mask as masks
from attncli.models.capture.attention_types import QueryKeyAttention
from attncli.models.capture.lazy_mask import lazy_mask
from tests import tiny
from tests.attention.test_agreement import IDS, inputs_for

LENGTH = 37
TOLERANCE = {"distance": 1e-4 * LENGTH}

PADDINGS = {
    "none": [[1] * LENGTH] * 2,
    "right": [[1] * LENGTH, [1] * 30 + [0] * 7],
    "left": [[1] * LENGTH, [0] * 7 + [1] * 30],
}


def side(padding: str, vocabulary: int = 9) -> Side:
    ids = torch.randint(0, vocabulary, (2, LENGTH))
    real = torch.tensor(PADDINGS[padding]).bool()
    return Side(ids, ids == 3, real, ((), ()))


def rule(kind: str, padding: str):
    """The mask that transformers would ask us for."""
    arguments = {
        "batch_size": 2,
        "q_length": LENGTH,
        "kv_length": LENGTH,
        "attention_mask": torch.tensor(PADDINGS[padding]).bool(),
    }
    if kind == "causal":
        return lazy_mask(**arguments, mask_function=causal_mask_function, allow_is_causal_skip=True)
    if kind == "full":
        full = sliding_window_bidirectional_mask_function(10 * LENGTH)
        return lazy_mask(**arguments, mask_function=full, allow_is_bidirectional_skip=True)
    window = sliding_window_bidirectional_mask_function(6)
    return lazy_mask(**arguments, mask_function=window, allow_is_bidirectional_skip=True, local_size=6)


def attention(
    mask: torch.Tensor | None, *, groups: int = 1, width: int = 16, value_width: int = 16, sinks: bool = False, **kwargs
) -> QueryKeyAttention:
    heads = 4
    return QueryKeyAttention(
        query=torch.randn(2, heads, LENGTH, width) * 2,
        key=torch.randn(2, heads // groups, LENGTH, width) + 3,
        value=torch.randn(2, heads // groups, LENGTH, value_width),
        mask=mask,
        is_causal=True,
        scaling=0.4,
        sinks=torch.randn(heads) * 3 if sinks else None,
        **kwargs,
    )


def explicit(call: QueryKeyAttention, sides: QueryKeySides) -> tuple[MetricSums, MetricSums, bool]:
    metrics, baseline, causal = MetricSums(sides, call.has_sink, 4), MetricSums(sides, call.has_sink), True
    for block in call.blocks():
        real = sides.queries.real[:, None, block.start : block.stop, None]
        visible = block.visible & sides.keys.real[:, None, None, :] & real
        metrics.add(block.start, block.weights, block.visible)
        baseline.add(block.start, uniform_weights(visible), block.visible)
        causal &= not bool(visible.triu(block.start + 1).any())
    return metrics, baseline, causal


def assert_same(found: MetricSums, expected: MetricSums) -> None:
    for ours, theirs in zip(found.means(), expected.means(), strict=True):
        for head, other in zip(ours, theirs, strict=True):
            for name in METRICS:
                assert head[name] == pytest.approx(other[name], abs=TOLERANCE.get(name, 1e-4)), name


def assert_equals_explicit(call: QueryKeyAttention, sides: QueryKeySides) -> None:
    assert call.fused is not None
    baseline = compute_uniform_baseline(sides, call.fused.visibility)
    readouts = read_metrics(call.fused, sides, baseline)
    metrics, baseline_sums = MetricSums(sides, call.has_sink, 4), MetricSums(sides, call.has_sink)
    metrics.add_rows({name: (value, baseline.rows[name][1]) for name, value in readouts.rows.items()})
    metrics.add_columns(readouts.columns)
    baseline_sums.add_rows(baseline.rows)
    baseline_sums.add_columns(baseline.columns)
    expected, uniform_expected, causal = explicit(call, sides)
    assert_same(metrics, expected)
    assert_same(baseline_sums, uniform_expected)
    assert readouts.finite and baseline.causal is causal
    for text in range(2):
        assert metrics.query_counts(text) == {
            k: v for k, v in expected.query_counts(text).items() if k in {*readouts.rows, "token"}
        }


@pytest.fixture(autouse=True)
def seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small blocks and tiles, so that there are several of them."""
    torch.manual_seed(0)
    monkeypatch.setattr(masks, "_MASK_ELEMENTS", 2 * LENGTH * 10)
    monkeypatch.setattr(fused_attention, "_TILE_ELEMENTS", 2 * 4 * 16 * 16)


@pytest.mark.parametrize("kind", ["causal", "full", "window"])
@pytest.mark.parametrize("padding", PADDINGS)
def test_every_metric_under_every_mask(kind: str, padding: str) -> None:
    one = side(padding)
    assert_equals_explicit(attention(rule(kind, padding)), QueryKeySides(one, one, same_sequence=True))


@pytest.mark.parametrize(
    "kwargs",
    [
        {"groups": 2},
        {"groups": 4},
        {"sinks": True},
        {"width": 24, "value_width": 16},
        {"width": 8, "value_width": 32},
        {"groups": 2, "sinks": True, "width": 24},
    ],
    ids=lambda kwargs: "-".join(kwargs),
)
@pytest.mark.parametrize("kind", ["causal", "window"])
def test_grouped_heads_sinks_and_widths(kind: str, kwargs: dict[str, object]) -> None:
    one = side("right")
    assert_equals_explicit(attention(rule(kind, "right"), **kwargs), QueryKeySides(one, one, same_sequence=True))  # type: ignore[arg-type]


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kind", ["causal", "full"])
def test_as_many_key_heads_at_once_as_there_are_threads(
    kind: str, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # For two texts: three key heads a call, so that one call is shorter.
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    one, call = side("right"), attention(rule(kind, "right"), groups=groups)
    parts = [reading.heads for reading in call.fused.weighted_sums()]
    assert parts == ([slice(0, 3), slice(3, 4)] if groups == 1 else [slice(0, 4)])
    assert_equals_explicit(call, QueryKeySides(one, one, same_sequence=True))


@pytest.mark.parametrize("kind", ["causal", "full", "window"])
def test_an_entry_is_all_that_a_further_metric_needs(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recent = Metric("recent", WeightAt((-2, -1)), "weight on the two before", source="nobody")
    monkeypatch.setitem(METRICS, "recent", recent)  # type: ignore[arg-type]
    one, call = side("none"), attention(rule(kind, "none"))
    sides = QueryKeySides(one, one, same_sequence=True)
    assert_equals_explicit(call, sides)
    weights = torch.cat([block.weights for block in call.blocks()], dim=2)[0, 0]
    by_hand = (weights.diagonal(-1).sum() + weights.diagonal(-2).sum()) / (LENGTH - 1)
    assert explicit(call, sides)[0].means()[0][0]["recent"] == pytest.approx(float(by_hand), abs=1e-5)


@pytest.mark.parametrize("mask", ["none", "bool", "added"])
def test_masks_of_other_makes(mask: str) -> None:
    one = side("none")
    triangle = torch.ones(1, 1, LENGTH, LENGTH).tril().bool()
    mask_tensors = {
        "none": None,
        "bool": triangle,
        "added": torch.zeros(triangle.shape).masked_fill(~triangle, torch.finfo(torch.float32).min),
    }
    assert_equals_explicit(attention(mask_tensors[mask]), QueryKeySides(one, one, same_sequence=True))


def test_keys_of_another_sequence() -> None:
    queries, keys = side("none"), side("right")
    call = attention(rule("full", "right"))
    sides = QueryKeySides(queries, keys, same_sequence=False)
    baseline = compute_uniform_baseline(sides, call.visibility)
    assert set(read_metrics(call.fused, sides, baseline).rows) == {"entropy", "confidence", "special", "first"}
    assert_equals_explicit(call, sides)


def test_a_bias_or_a_soft_cap_is_no_product_of_queries_and_keys() -> None:
    assert attention(None, bias=torch.randn(1, 4, LENGTH, LENGTH)).fused is None
    assert attention(None, softcap=5.0).fused is None
    assert attention(torch.randn(1, 1, LENGTH, LENGTH)).fused is None


@pytest.mark.parametrize("kind", ["causal", "full", "window"])
def test_pooled_heatmaps(kind: str) -> None:
    one, call = side("right"), attention(rule(kind, "right"), groups=2)
    sides = QueryKeySides(one, one, same_sequence=True)
    everything = Axis(tiny.tokens(list(range(LENGTH))), torch.arange(LENGTH))
    some = Axis(everything.units[:33], (torch.arange(LENGTH) - 4).clamp(min=-1))  # the first four are in no bin
    axes = Axes(everything.pooled(5), some.pooled(5))
    bins = axes.rows.group, axes.columns.group
    pooled = read_metrics(
        call.fused, sides, compute_uniform_baseline(sides, call.visibility), metrics=(), bins=bins
    ).pooled
    sums = PatternSums(0, tuple(range(4)), axes)
    for block in call.blocks():
        sums.add(block.start, block.weights[0])
    for head, pattern in enumerate(sums.patterns()):
        torch.testing.assert_close(pooled[0, head], torch.tensor(pattern.weights), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kwargs", [{}, {"groups": 2}, {"sinks": True}, {"width": 8, "value_width": 32}])
@pytest.mark.parametrize("kind", ["causal", "full", "window"])
def test_the_output_is_the_weighted_sum(kind: str, kwargs: dict[str, object]) -> None:
    call = attention(rule(kind, "none"), **kwargs)  # type: ignore[arg-type]
    weights = torch.cat([block.weights for block in call.blocks()], dim=2)
    value = call.value.repeat_interleave(4 // call.value.shape[1], dim=1)
    fresh = QueryKeyAttention(**{name: getattr(call, name) for name in call.__dataclass_fields__ if name[0] != "_"})
    for output in (call.output(), fresh.output()):
        torch.testing.assert_close(output, (weights @ value).transpose(1, 2), atol=1e-4, rtol=0)


def test_half_precision_is_read_as_what_it_is() -> None:
    one, call = side("none"), attention(rule("causal", "none"))
    half = QueryKeyAttention(call.query.bfloat16(), call.key.bfloat16(), call.value.bfloat16(), call.mask, True, 0.4)
    assert_equals_explicit(half, QueryKeySides(one, one, same_sequence=True))
    assert half.output().dtype == torch.bfloat16


def test_blocks_of_selected_rows_and_heads() -> None:
    call = attention(rule("window", "right"), groups=2, sinks=True)
    whole = torch.cat([block.weights for block in call.blocks()], dim=2)
    some = torch.cat([block.weights for block in call.blocks((1, 3), (5, 9))], dim=2)
    torch.testing.assert_close(some, whole[:, [1, 3], 5:9], atol=1e-6, rtol=0)
    assert next(call.blocks((0,), (5, 9))).start == 5


def test_earlier_copies_are_counted() -> None:
    ids = torch.tensor([[5, 6, 5, 5, 7, 6, 5]])
    one = Side(ids, ids < 0, torch.tensor([[1, 1, 1, 1, 1, 1, 0]]).bool(), ((),))
    sides = QueryKeySides(one, one, same_sequence=True)
    copies, followed = count_earlier_matches(sides), count_earlier_matches(sides, 1)
    assert copies[0, :6].tolist() == [0, 0, 1, 2, 0, 1]
    # What follows the copy at place 2 is the query at place 3 itself.
    assert followed[0, :6].tolist() == [0, 0, 1, 1, 0, 1]


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("limit", [0, 256])
def test_pairs_are_found_tile_by_tile(shift: int, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_matches, "_MAX_MATCHES_PER_TOKEN", limit)
    one = side("left", vocabulary=4)
    in_tile = TokenMatches(QueryKeySides(one, one, same_sequence=True)).in_tiles(shift, 10, 16)
    found = set()
    for start in range(0, LENGTH, 10):
        for first in range(0, LENGTH, 16):
            parts = in_tile(slice(start, min(start + 10, LENGTH)), slice(first, min(first + 16, LENGTH)))
            found |= {(t, start + r, first + c) for t, r, c in torch.stack(parts, 1).tolist()}
    ids, real = one.ids.tolist(), one.real.tolist()
    assert found == {
        (text, query, key + shift)
        for text in range(2)
        for query in range(LENGTH)
        for key in range(query - shift)
        if real[text][key] and real[text][query] and ids[text][key] == ids[text][query]
    }


@pytest.mark.parametrize(
    ("family", "pad_left"),
    [*((family, False) for family in tiny.FAMILIES), *((family, True) for family in ("bert", "llama", "t5"))],
)
def test_whole_models_read_as_they_are_computed(family: str, pad_left: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny.loaded(family)
    inputs = inputs_for(loaded, [IDS, IDS[:6]], pad_left=pad_left)
    request = HeadsRequest(parse_selection(head="1.2"), patterns=True, bins=4)
    computed = read_heads_of_each(loaded, inputs, request)
    monkeypatch.setattr(collector, "MAX_EXPLICIT_WEIGHTS", 0)
    for text, (ours, theirs) in enumerate(zip(read_heads_of_each(loaded, inputs, request), computed, strict=True)):
        for stack, other in zip(ours, theirs, strict=True):
            assert (stack.stack, stack.causal, len(stack.patterns)) == (other.stack, other.causal, 1)
            if text == 0:  # heatmaps are of a text without padding
                weights = (torch.tensor(each.patterns[0].weights) for each in (stack, other))
                torch.testing.assert_close(*weights, atol=1e-4, rtol=0)
            for head, expected in zip(stack.metrics, other.metrics, strict=True):
                assert head.values == pytest.approx(expected.values, abs=1e-3) and head.labels == expected.labels
            for layer in stack.baselines:
                assert stack.baselines[layer] == pytest.approx(other.baselines[layer], abs=1e-5)


def test_the_shape_of_what_transformers_asks_for() -> None:
    """The shape of a mask follows from what transformers' own functions pass to `lazy_mask`."""
    config = tiny.mistral()
    config._attn_implementation = "attncli_probe"
    states = torch.zeros(2, LENGTH, 32)

    def shape(make: Callable[..., object], attention_mask: torch.Tensor | None = None, **kwargs: object) -> str:
        mask = make(config=config, inputs_embeds=states, attention_mask=attention_mask, past_key_values=None, **kwargs)
        return mask.definition.shape

    causal = {"position_ids": torch.arange(LENGTH)[None]}
    assert shape(create_causal_mask, **causal) == "causal"
    assert shape(create_causal_mask, torch.tensor(PADDINGS["left"]), **causal) == "causal"
    config.sliding_window = 10 * LENGTH
    assert shape(create_sliding_window_causal_mask, **causal) == "causal"
    config.sliding_window = 5
    assert shape(create_sliding_window_causal_mask, **causal) == "other"
    packed = torch.cat([torch.arange(20), torch.arange(LENGTH - 20)])[None]
    assert shape(create_causal_mask, position_ids=packed) == "other"
    bidirectional = create_bidirectional_mask(config=config, inputs_embeds=states, attention_mask=None)
    assert bidirectional.definition.shape == "full"
