"""The metrics of uniform attention, spread evenly over the visible keys: the baseline of every measured value.

It depends on the tokens and the mask alone, so all heads of all layers that share a mask share one baseline. For causal
and full masks each metric has a closed form of running sums, O(N); for other masks it is computed in blocks of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attncli.attention.metrics import (
    ColumnSums,
    QueryKeySides,
    RowValues,
    compute_row_metrics,
    float64_device,
    uniform_weights,
)
from attncli.attention.token_matches import TokenMatches, count_earlier_matches

if TYPE_CHECKING:
    from attncli.models.capture.lazy_mask import Visibility


@dataclass(frozen=True)
class UniformBaseline:
    """The metrics of uniform attention for every query, with the queries for which each is defined.

    rows: (batch, 1, queries) each.  columns: the sums over the queries of the weight on each key.
    causal: no query sees a later key.  matches: positions with equal tokens.
    """

    rows: dict[str, RowValues]
    columns: ColumnSums
    causal: bool
    matches: TokenMatches


def compute_uniform_baseline(sides: QueryKeySides, visibility: Visibility) -> UniformBaseline:
    """The metrics of uniform attention under a mask."""
    if visibility.shape == "other" or sides.keys.length != visibility.keys:
        return _baseline_by_blocks(sides, visibility)
    causal, device = visibility.shape == "causal", sides.keys.ids.device
    sides_float64 = sides.to(float64_device(device))
    rows = _closed_form_metrics(sides_float64, _VisibleKeys.count(sides_float64, causal=causal))
    moved = {name: (value.to(device), shows.to(device)) for name, (value, shows) in rows.items()}
    columns = ColumnSums.uniform(sides_float64, causal=causal)
    return UniformBaseline(moved, columns, causal, TokenMatches(sides))


def _baseline_by_blocks(sides: QueryKeySides, visibility: Visibility) -> UniformBaseline:
    """Block by block of the mask's rows, for masks of any form."""
    parts: list[dict[str, RowValues]] = []
    columns: list[ColumnSums] = []
    causal = True
    for start, stop, visible in visibility.blocks(sides.keys.ids.shape[0]):
        real = sides.queries.real[:, None, start:stop, None]
        seen = visible & sides.keys.real[:, None, None, :] & real
        causal &= not bool(seen.triu(start + 1).any())
        uniform = uniform_weights(seen)
        parts.append(compute_row_metrics(sides, start, uniform, visible))
        columns.append(ColumnSums.of_block(sides, start, uniform, visible))
    rows = {name: _concatenate([part[name] for part in parts]) for name in parts[0]}
    return UniformBaseline(rows, sum(columns[1:], columns[0]), causal, TokenMatches(sides))


def _concatenate(parts: list[RowValues]) -> RowValues:
    values, shows = zip(*((value, shown.expand_as(value)) for value, shown in parts), strict=True)
    return torch.cat(values, dim=-1), torch.cat(shows, dim=-1)


@dataclass(frozen=True)
class _VisibleKeys:
    """Sums over the keys that each query sees under a causal or full mask.

    counts: how many keys each query sees, float64 (batch, queries).
    """

    sides: QueryKeySides
    causal: bool
    counts: Tensor

    @classmethod
    def count(cls, sides: QueryKeySides, *, causal: bool) -> _VisibleKeys:
        visible = cls(sides, causal, sides.keys.real)
        return cls(sides, causal, visible.sum(sides.keys.real))

    def sum(self, values: Tensor) -> Tensor:
        """Σ over visible keys of a value per key (batch, keys): float64 (batch, queries)."""
        real = values.double() * self.sides.keys.real
        if self.causal:
            return real.cumsum(1)
        return real.sum(1, keepdim=True).expand(-1, self.sides.queries.length)

    def contain(self, columns: Tensor) -> Tensor:
        """Whether each query sees the key at its entry of `columns`, (batch, queries)."""
        inside = (columns >= 0) & (columns < self.sides.keys.length)
        real = self.sides.keys.real.gather(1, columns.clamp(0, self.sides.keys.length - 1))
        rows = torch.arange(self.sides.queries.length, device=columns.device)
        return inside & real & ((columns <= rows) if self.causal else True)


def _closed_form_metrics(sides: QueryKeySides, visible: _VisibleKeys) -> dict[str, RowValues]:
    count = visible.counts.clamp(min=1)
    shown = {
        "entropy": (count.log(), visible.counts > 0),
        "confidence": (1 / count, visible.counts > 0),
        "virtual_sink": (torch.zeros_like(count), visible.counts > 0),
        "special": _weight_on_keys(visible.sum(sides.keys.special), count),
        "first": _weight_at_key(visible, sides.keys.first[:, None].expand(-1, sides.queries.length), count),
    }
    if sides.same_sequence:
        shown |= _positional_metrics(sides, visible, count)
    real = sides.queries.real
    return {name: (value.float()[:, None], (shows & real)[:, None]) for name, (value, shows) in shown.items()}


def _positional_metrics(sides: QueryKeySides, visible: _VisibleKeys, count: Tensor) -> dict[str, RowValues]:
    positions = torch.arange(sides.keys.length, device=count.device).expand_as(sides.keys.ids)
    duplicates, induction_keys = count_earlier_matches(sides)
    return {
        "distance": (_distance_sum(sides, visible, positions) / count, visible.counts > 0),
        "previous": _weight_at_key(visible, positions - 1, count),
        "current": _weight_at_key(visible, positions, count),
        "next": _weight_at_key(visible, positions + 1, count),
        "duplicate": _weight_on_keys(duplicates.double(), count),
        "induction": _weight_on_keys(induction_keys.double(), count),
    }


def _distance_sum(sides: QueryKeySides, visible: _VisibleKeys, positions: Tensor) -> Tensor:
    """Σ |i − j| over visible keys j: those before the query and, under a full mask, those after it."""
    real = sides.keys.real.double()
    before, before_positions = real.cumsum(1), (real * positions).cumsum(1)
    behind = positions * before - before_positions
    if visible.causal:
        return behind
    after = real.sum(1, keepdim=True) - before
    after_positions = (real * positions).sum(1, keepdim=True) - before_positions
    return behind + after_positions - positions * after


def _weight_on_keys(keys: Tensor, count: Tensor) -> RowValues:
    return keys / count, keys > 0


def _weight_at_key(visible: _VisibleKeys, columns: Tensor, count: Tensor) -> RowValues:
    return 1 / count, visible.contain(columns)
