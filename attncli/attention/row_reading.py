"""Attention rollout: how much of each token of the input is in each position, if attention alone carried it.

    Â = rownorm(mean_h A + I),   R_l = Â_l R_{l−1},   R_{−1} = I          Abnar & Zuidema 2020

The identity stands for the residual stream. Rows of R sum to 1; in a causal model they tend to the first token.

One position and what it reads, O(N·d) a head: the rows of that position alone are computed.

A position of several tokens reads the mean of what they do, a key of several tokens gets the sum of what they do (Clark
et al. 2019). The heads of all layers are then averaged, and each key remembers the head that reads it most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from attncli.attention.metrics import QueryKeySides, uniform
from attncli.attention.pattern_axes import Axes, Axis, PatternSums, axis, lines_of, merged
from attncli.attention.selection import View
from attncli.errors import UsageError
from attncli.results.patterns import HeadWeight, KeyRead, KeyWeights, Ranking, RowReading
from attncli.results.tokens import Token

if TYPE_CHECKING:
    from attncli.models.capture.attention_types import Attention

#: R is a whole matrix: beyond this many tokens it takes too much memory and time to be worth it.
LONGEST = 8192


class Rollout:
    """R of one stack, layer after layer: float32 (batch, positions, positions)."""

    def __init__(self, batch: int, length: int, device: torch.device) -> None:
        if length > LONGEST:
            raise UsageError(
                f"--rollout needs the whole matrix of {length:,} tokens, and takes {LONGEST:,} at most",
                hint="--truncate cuts the text, or leave --rollout out",
            )
        self.product = torch.eye(length, device=device).expand(batch, -1, -1)

    def step(self, attention: Attention) -> Tensor:
        """Take one layer in, and answer with R so far."""
        parts = []
        for block in attention.blocks():
            mean = block.weights.mean(dim=1).to(self.product.device)
            places = torch.arange(block.start, block.stop, device=mean.device)
            mean[:, places - block.start, places] += 1
            parts.append((mean / mean.sum(-1, keepdim=True)) @ self.product)
        self.product = torch.cat(parts, dim=1)
        return self.product


#: What a head is called, by its layer and number.
Names = Mapping[tuple[int, int], str]


class AtKey(NamedTuple):
    """One head's weight on a key, and the key's place among those that are seen."""

    head: int
    weight: float
    rank: int | None
    keys: int


@dataclass(frozen=True)
class LayerReading:
    """What a position reads through some heads of one layer; (keys,) each.

    total: the weights of all heads together.  most, by: the largest of them, and the head that it is of.
    even: the weights of even attention.  at_key: of every head, where one key was asked for.
    """

    layer: int
    heads: int
    total: KeyWeights
    most: KeyWeights
    by: npt.NDArray[np.int64]
    even: KeyWeights
    at_key: tuple[AtKey, ...] = ()


def read_layer(
    attention: Attention, pair: QueryKeySides, view: View, layer: int, heads: Sequence[int], norms: Tensor | None = None
) -> LayerReading:
    """Read the position of `view` through the chosen heads of one layer, for a text that is alone.

    norms: what every weight is multiplied with, (batch, heads, keys).
    """
    axes = _axes(view, pair)
    read, even = PatternSums(layer, tuple(heads), axes), PatternSums(layer, (None,), axes)
    for block in attention.blocks(heads, read.rows):
        weights = block.weights[0]
        read.add(block.start, weights if norms is None else weights * norms[0, list(heads), None])
        real = pair.queries.real[:, None, block.start : block.stop, None]
        seen = block.visible & pair.keys.real[:, None, None, :] & real
        even.add(block.start, uniform(seen)[0].mean(0, keepdim=True))
    rows = np.stack([pattern.weights[0] for pattern in read.patterns()])
    (spread,) = (pattern.weights[0] for pattern in even.patterns())
    by = np.asarray(heads, dtype=np.int64)[rows.argmax(axis=0)]
    at_key = _at_key(rows, spread, heads, _key_units(view, pair)) if view.reads_one_key else ()
    return LayerReading(layer, len(heads), rows.sum(axis=0), rows.max(axis=0), by, spread, at_key)


def read_rollout(rolled: Tensor, pair: QueryKeySides, view: View, layer: int, heads: int) -> LayerReading:
    """What of each key reaches the position of `view` through all layers up to one, for a text that is alone.

    rolled: the rollout, float32 (queries, keys). A key of which nothing arrives counts as one that isn't seen.
    """
    sums = PatternSums(layer, (None,), _axes(view, pair))
    sums.add(0, rolled[None])
    (row,) = (pattern.weights[0] for pattern in sums.patterns())
    nobody = np.zeros(len(row), dtype=np.int64)
    return LayerReading(layer, heads, row * heads, row, nobody, np.asarray(row > 0, dtype=np.float32))


def _axes(view: View, pair: QueryKeySides) -> Axes:
    """All tokens of the position as one row; the keys that are shown, or all where one is to be placed among them."""
    rows = axis(view, pair.queries.tokens[0], pair.queries.real[0].cpu(), view.query)
    one = Axis((_position_token(view, pair),), torch.where(rows.group >= 0, 0, -1))
    position = None if view.reads_one_key else view.key
    return Axes(one, axis(view, pair.keys.tokens[0], pair.keys.real[0].cpu(), position), view.hide_special)


def _position_token(view: View, pair: QueryKeySides) -> Token:
    assert view.query is not None
    tokens = pair.queries.tokens[0]
    return merged(tokens[slice(*view.query.span(tokens))])


def _query_tokens(view: View, pair: QueryKeySides) -> int:
    assert view.query is not None
    start, stop = view.query.span(pair.queries.tokens[0])
    return stop - start


def _key_units(view: View, pair: QueryKeySides) -> list[int]:
    """Which units of the whole axis the key is."""
    assert view.key is not None
    tokens = pair.keys.tokens[0]
    start, stop = view.key.span(tokens)
    return [place for place, (a, b) in enumerate(view.shown(tokens, None)) if a < stop and b > start]


def _at_key(rows: KeyWeights, even: KeyWeights, heads: Sequence[int], units: list[int]) -> tuple[AtKey, ...]:
    """The key's weight by each head, and its place among the keys that are seen; None where it is none of these."""
    others = even > 0
    others[units] = False
    weights = rows[:, units].sum(axis=1)
    above = (rows[:, others] > weights[:, None]).sum(axis=1)
    is_seen = bool((even[units] > 0).any())
    keys = int(others.sum()) + is_seen
    found = zip(heads, weights.tolist(), above.tolist(), strict=True)
    return tuple(AtKey(head, weight, more + 1 if is_seen else None, keys) for head, weight, more in found)


def mean_reading(
    layers: Sequence[LayerReading],
    pair: QueryKeySides,
    view: View,
    names: Names | None,
    *,
    top: int,
    shares: bool = True,
) -> RowReading:
    """The mean over all heads of all layers, and its `top` keys.

    names: None for a rollout, which is of no head.
    shares: whether weights are shares of 1, so that even attention is their measure.
    """
    counts = np.array([layer.heads for layer in layers], dtype=np.float64)
    heads = int(counts.sum())
    weights = np.asarray(np.stack([layer.total for layer in layers]).sum(axis=0) / heads, dtype=np.float32)
    even = np.asarray(counts @ np.stack([layer.even for layer in layers]) / heads, dtype=np.float32)
    reading = RowReading(_position_token(view, pair), heads, weights, even if shares else None, even > 0, ())
    own = _own(view, pair) if pair.same else ()
    reading = replace(reading, top=_top(reading, layers, names, top), own=own, query_tokens=_query_tokens(view, pair))
    return _with_lines(reading, view, pair) if view.by == "line" else reading


def _top(reading: RowReading, layers: Sequence[LayerReading], names: Names | None, count: int) -> tuple[KeyRead, ...]:
    most = np.stack([layer.most for layer in layers])
    best = most.argmax(axis=0)
    order = [place for place in np.argsort(-reading.weights, kind="stable").tolist() if reading.visible[place]]
    found = []
    for place in order[:count]:
        layer = layers[best[place]]
        even = None if reading.uniform is None else float(reading.uniform[place])
        name = None if names is None else names[layer.layer, int(layer.by[place])]
        found.append(KeyRead(place, float(reading.weights[place]), even, name, float(layer.most[place])))
    return tuple(found)


def _own(view: View, pair: QueryKeySides) -> tuple[int, ...]:
    """The places of the position itself among the keys that are shown."""
    assert view.query is not None
    tokens = pair.keys.tokens[0]
    start, stop = view.query.span(tokens)
    return tuple(place for place, (a, b) in enumerate(view.shown(tokens, view.key)) if a < stop and b > start)


def _with_lines(reading: RowReading, view: View, pair: QueryKeySides) -> RowReading:
    tokens = pair.keys.tokens[0]
    (line,) = lines_of([reading.query], view) or (None,)
    keys = [tokens[start] for start, _ in view.shown(tokens, view.key)]
    return replace(reading, lines=lines_of(keys, view), query_line=line)


def ranking(
    layers: Sequence[LayerReading], pair: QueryKeySides, view: View, names: Names, *, shares: bool = True
) -> Ranking:
    """The heads by their weight on the key, the largest first; the first heads first where they are the same."""
    assert view.key is not None
    tokens = pair.keys.tokens[0]
    units = _key_units(view, pair)
    found = [
        HeadWeight(
            names[layer.layer, at.head],
            layer.layer,
            at.head,
            at.weight,
            float(layer.even[units].sum()) if shares else None,
            at.rank,
            at.keys,
        )
        for layer in layers
        for at in layer.at_key
    ]
    spans = view.shown(tokens, None)
    start, stop = spans[units[0]][0], spans[units[-1]][1]
    key, query = merged(tokens[start:stop]), _position_token(view, pair)
    ordered = tuple(sorted(found, key=lambda head: -head.weight))
    query_line, key_line = lines_of([query, key], view) or (None, None)
    return Ranking(query, key, ordered, query_line, key_line, _query_tokens(view, pair), stop - start)
