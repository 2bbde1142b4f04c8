"""What one position reads: its row of the attention, averaged over heads, and the heads that read one key most.

Only the rows of that position are computed, O(N·d) per head. A position of several tokens has the mean of their rows, a
key of several tokens the sum of their columns (Clark et al. 2019). The rows of all heads of all layers are then
averaged, and for each key the head with the largest weight on it is recorded.

`Rollout` estimates how much of each input token is in each position, if attention alone moved information:

    Â = rownorm(mean_h A + I),   R_l = Â_l R_{l−1},   R_{−1} = I          Abnar & Zuidema 2020

The identity stands for the residual stream. Rows of R sum to 1; in a causal model they tend to the first token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from attncli.attention.metrics import QueryKeySides, uniform_weights
from attncli.attention.pattern_axes import Axes, Axis, PatternSums, build_axis, merge_tokens, unit_lines
from attncli.attention.positions import Position, Span
from attncli.attention.selection import View
from attncli.errors import UsageError
from attncli.results.patterns import HeadWeight, KeyRead, KeyWeights, Ranking, RowReading
from attncli.results.tokens import Token

if TYPE_CHECKING:
    from attncli.models.capture.attention_types import Attention


# --- Rows of one position

#: The name of each head, by its layer and number.
HeadNames = Mapping[tuple[int, int], str]


class KeyWeight(NamedTuple):
    """One head's weight on a key, and the key's rank among the `keys` that are visible; None if it is hidden."""

    head: int
    weight: float
    rank: int | None
    keys: int


@dataclass(frozen=True)
class LayerReading:
    """What a position reads through some heads of one layer; (keys,) each.

    total: the sum of the heads' weights.  largest, largest_head: the largest weight, and the head that has it.
    uniform: the weights of uniform attention.  key_weights: of every head, where one key was chosen.
    """

    layer: int
    heads: int
    total: KeyWeights
    largest: KeyWeights
    largest_head: npt.NDArray[np.int64]
    uniform: KeyWeights
    key_weights: tuple[KeyWeight, ...] = ()


def read_layer(
    attention: Attention,
    sides: QueryKeySides,
    view: View,
    layer: int,
    heads: Sequence[int],
    norms: Tensor | None = None,
) -> LayerReading:
    """What the position of `view` reads through the chosen heads of one layer, in a batch of one text.

    norms: factors of the weights, (batch, heads, keys).
    """
    axes = _row_axes(view, sides)
    sums, uniform = PatternSums(layer, tuple(heads), axes), PatternSums(layer, (None,), axes)
    for block in attention.blocks(heads, sums.rows):
        weights = block.weights[0]
        sums.add(block.start, weights if norms is None else weights * norms[0, list(heads), None])
        seen = sides.seen(block.start, block.stop, block.visible)
        uniform.add(block.start, uniform_weights(seen)[0].mean(0, keepdim=True))
    rows = np.stack([pattern.weights[0] for pattern in sums.patterns()])
    (uniform_row,) = (pattern.weights[0] for pattern in uniform.patterns())
    largest_head = np.asarray(heads, dtype=np.int64)[rows.argmax(axis=0)]
    key_weights = _key_weights(rows, uniform_row, heads, _key_units(view, sides)) if view.has_one_key else ()
    return LayerReading(layer, len(heads), rows.sum(axis=0), rows.max(axis=0), largest_head, uniform_row, key_weights)


def read_rollout(rolled: Tensor, sides: QueryKeySides, view: View, layer: int, heads: int) -> LayerReading:
    """How much of each key reaches the position of `view` through all layers up to one, in a batch of one text.

    rolled: the rollout, float32 (queries, keys). A key of which nothing arrives counts as hidden.
    """
    sums = PatternSums(layer, (None,), _row_axes(view, sides))
    sums.add(0, rolled[None])
    (row,) = (pattern.weights[0] for pattern in sums.patterns())
    no_head = np.zeros(len(row), dtype=np.int64)
    return LayerReading(layer, heads, row * heads, row, no_head, np.asarray(row > 0, dtype=np.float32))


def _row_axes(view: View, sides: QueryKeySides) -> Axes:
    """All tokens of the position as one row; the keys that are shown, or all keys where one is ranked among them."""
    rows = build_axis(view, sides.queries.tokens[0], sides.queries.real[0].cpu(), view.query)
    one_row = Axis((_query_token(view, sides),), torch.where(rows.group >= 0, 0, -1))
    position = None if view.has_one_key else view.key
    return Axes(one_row, build_axis(view, sides.keys.tokens[0], sides.keys.real[0].cpu(), position), view.hide_special)


def _span(position: Position | None, tokens: Sequence[Token]) -> Span:
    assert position is not None
    return position.span(tokens)


def _query_token(view: View, sides: QueryKeySides) -> Token:
    tokens = sides.queries.tokens[0]
    return merge_tokens(tokens[slice(*_span(view.query, tokens))])


def _key_units(view: View, sides: QueryKeySides) -> list[int]:
    """The units of the whole axis that the key consists of."""
    tokens = sides.keys.tokens[0]
    return _overlapping(view.unit_spans(tokens, None), _span(view.key, tokens))


def _overlapping(units: Sequence[Span], span: Span) -> list[int]:
    return [unit for unit, (start, stop) in enumerate(units) if start < span[1] and stop > span[0]]


def _key_weights(
    rows: KeyWeights, uniform: KeyWeights, heads: Sequence[int], units: list[int]
) -> tuple[KeyWeight, ...]:
    """Each head's weight on the key, and the key's rank among the visible keys."""
    others = uniform > 0
    others[units] = False
    weights = rows[:, units].sum(axis=1)
    above = (rows[:, others] > weights[:, None]).sum(axis=1)
    is_visible = bool((uniform[units] > 0).any())
    keys = int(others.sum()) + is_visible
    by_head = zip(heads, weights.tolist(), above.tolist(), strict=True)
    return tuple(KeyWeight(head, weight, more + 1 if is_visible else None, keys) for head, weight, more in by_head)


def average_reading(
    layers: Sequence[LayerReading],
    sides: QueryKeySides,
    view: View,
    names: HeadNames | None,
    *,
    top: int,
    shares: bool = True,
) -> RowReading:
    """The mean row over all heads of all layers, and its `top` keys.

    names: None for a rollout, which belongs to no head.
    shares: whether weights are shares of 1, so that uniform attention is their baseline.
    """
    counts = np.array([layer.heads for layer in layers], dtype=np.float64)
    heads = int(counts.sum())
    weights = np.asarray(np.stack([layer.total for layer in layers]).sum(axis=0) / heads, dtype=np.float32)
    uniform = np.asarray(counts @ np.stack([layer.uniform for layer in layers]) / heads, dtype=np.float32)
    reading = RowReading(_query_token(view, sides), heads, weights, uniform if shares else None, uniform > 0, ())
    tokens = sides.keys.tokens[0]
    units = view.unit_spans(tokens, view.key)
    # The shown units that contain the position itself.
    own = _overlapping(units, _span(view.query, tokens)) if sides.same_sequence else []
    start, stop = _span(view.query, sides.queries.tokens[0])
    (query_line,) = unit_lines([reading.query], view) or (None,)
    return replace(
        reading,
        top=_top_keys(reading, layers, names, top),
        own=tuple(own),
        query_tokens=stop - start,
        lines=unit_lines([tokens[first] for first, _ in units], view),
        query_line=query_line,
    )


def _top_keys(
    reading: RowReading, layers: Sequence[LayerReading], names: HeadNames | None, count: int
) -> tuple[KeyRead, ...]:
    best_layer = np.stack([layer.largest for layer in layers]).argmax(axis=0)
    order = [key for key in np.argsort(-reading.weights, kind="stable").tolist() if reading.visible[key]]
    keys = []
    for key in order[:count]:
        layer = layers[best_layer[key]]
        uniform = None if reading.uniform is None else float(reading.uniform[key])
        name = None if names is None else names[layer.layer, int(layer.largest_head[key])]
        keys.append(KeyRead(key, float(reading.weights[key]), uniform, name, float(layer.largest[key])))
    return tuple(keys)


def rank_heads(
    layers: Sequence[LayerReading], sides: QueryKeySides, view: View, names: HeadNames, *, shares: bool = True
) -> Ranking:
    """The heads by their weight on the key, the largest first; ties in the order of layers and heads."""
    units = _key_units(view, sides)
    heads = [
        HeadWeight(
            names[layer.layer, weight.head],
            layer.layer,
            weight.head,
            weight.weight,
            float(layer.uniform[units].sum()) if shares else None,
            weight.rank,
            weight.keys,
        )
        for layer in layers
        for weight in layer.key_weights
    ]
    tokens = sides.keys.tokens[0]
    spans = view.unit_spans(tokens, None)
    start, stop = spans[units[0]][0], spans[units[-1]][1]
    key, query = merge_tokens(tokens[start:stop]), _query_token(view, sides)
    query_start, query_stop = _span(view.query, sides.queries.tokens[0])
    ordered = tuple(sorted(heads, key=lambda head: -head.weight))
    query_line, key_line = unit_lines([query, key], view) or (None, None)
    return Ranking(query, key, ordered, query_line, key_line, query_stop - query_start, stop - start)


# --- Attention rollout

#: R is a whole matrix: for more tokens it takes too much memory and time.
MAX_ROLLOUT_TOKENS = 8192


class Rollout:
    """R of one stack, layer by layer: float32 (batch, positions, positions)."""

    def __init__(self, batch: int, length: int, device: torch.device) -> None:
        if length > MAX_ROLLOUT_TOKENS:
            raise UsageError(
                f"--rollout needs the whole matrix of {length:,} tokens, and takes {MAX_ROLLOUT_TOKENS:,} at most",
                hint="--truncate cuts the text, or leave --rollout out",
            )
        self.product = torch.eye(length, dtype=torch.float32, device=device).expand(batch, -1, -1)

    def add_layer(self, attention: Attention) -> Tensor:
        """Multiply one more layer in, and return R up to it."""
        parts = []
        for block in attention.blocks():
            mean = block.weights.mean(dim=1).to(self.product.device)
            positions = torch.arange(block.start, block.stop, device=mean.device)
            mean[:, positions - block.start, positions] += 1
            parts.append((mean / mean.sum(-1, keepdim=True)) @ self.product)
        self.product = torch.cat(parts, dim=1)
        return self.product
