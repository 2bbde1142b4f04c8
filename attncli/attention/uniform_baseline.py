"""The metrics of uniform attention, spread evenly over the visible keys: the baseline of every measured value.

It depends on the tokens and the mask alone, so all heads of all layers that share a mask share one baseline. For causal
and full masks each metric has a closed form of running sums, O(N); for other masks it is computed in blocks of rows.

`TokenMatches` finds earlier keys that repeat the query's token, or follow such a key: what `WeightOnCopies` sums over.
A query's copies are the real keys before it with the same token; with a shift, the keys so many tokens after a copy
that still come before the query.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
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
    visible_at,
)
from attncli.metrics import (
    METRICS,
    Distance,
    Entropy,
    Formula,
    LargestWeight,
    Place,
    Unattended,
    WeightAt,
    WeightOnCopies,
    WeightOnSpecial,
)

if TYPE_CHECKING:
    from attncli.models.capture.lazy_mask import Visibility


@dataclass(frozen=True)
class UniformBaseline:
    """The metrics of uniform attention for every query, with the queries for which each is defined.

    rows: (batch, 1, queries) each.  sees: whether a query sees any key.  sees_at: whether it sees the one at a place.
    columns: the sums over the queries of the weight on each key.
    causal: no query sees a later key.  matches: positions with equal tokens.
    """

    rows: Mapping[str, RowValues]
    sees: Tensor
    sees_at: Mapping[Place, Tensor]
    columns: ColumnSums
    causal: bool
    matches: TokenMatches


def compute_uniform_baseline(sides: QueryKeySides, visibility: Visibility) -> UniformBaseline:
    """The metrics of uniform attention under a mask."""
    at = (metric.formula for metric in METRICS.values() if isinstance(metric.formula, WeightAt))
    # The query itself too, which sums of columns leave out.
    every = dict.fromkeys((0, *(place for formula in at for place in formula.places)))
    places = [place for place in every if sides.same_sequence or place == "first"]
    if visibility.shape == "other" or sides.keys.length != visibility.keys:
        return _baseline_by_blocks(sides, visibility, places)
    causal, device = visibility.shape == "causal", sides.keys.ids.device
    visible = _VisibleKeys(sides.to(float64_device(device)), causal)
    rows: dict[str, RowValues] = {}
    for name, metric in METRICS.items():
        if not metric.of_one_key and (sides.same_sequence or not metric.needs_one_sequence):
            value, shows = visible.row_values(metric.formula)
            rows[name] = value[:, None].to(device), shows[:, None].to(device)
    return UniformBaseline(
        rows,
        (visible.counts > 0)[:, None].to(device),
        {place: visible.contain(place)[:, None].to(device) for place in places},
        ColumnSums.uniform(visible.sides, causal=causal),
        causal,
        TokenMatches(sides),
    )


def _baseline_by_blocks(sides: QueryKeySides, visibility: Visibility, places: list[Place]) -> UniformBaseline:
    """Block by block of the mask's rows, for masks of any form."""
    parts: list[dict[str, RowValues]] = []
    columns: list[ColumnSums] = []
    sees: list[list[Tensor]] = []
    causal = True
    for start, stop, visible in visibility.blocks(sides.keys.ids.shape[0]):
        seen = sides.seen(start, stop, visible)
        causal &= not bool(seen.triu(start + 1).any())
        uniform, rows = uniform_weights(seen), torch.arange(start, stop, device=seen.device)
        parts.append(compute_row_metrics(sides, start, uniform, visible))
        columns.append(ColumnSums.of_block(sides, start, uniform, visible))
        sees.append([seen.any(-1), *(visible_at(seen, sides.keys_at(place, rows)) for place in places)])
    whole = {
        name: (torch.cat([part[name][0] for part in parts], -1), torch.cat([part[name][1] for part in parts], -1))
        for name in parts[0]
    }
    sees_any, *sees_each = (torch.cat(each, dim=-1) for each in zip(*sees, strict=True))
    by_place = dict(zip(places, sees_each, strict=True))
    return UniformBaseline(whole, sees_any, by_place, sum(columns[1:], columns[0]), causal, TokenMatches(sides))


@dataclass(frozen=True)
class _VisibleKeys:
    """Sums over the keys that each query sees under a causal or full mask."""

    sides: QueryKeySides
    causal: bool

    @cached_property
    def counts(self) -> Tensor:
        """How many keys each query sees, float64 (batch, queries), 0 for padding."""
        return self.sum(self.sides.keys.real) * self.sides.queries.real

    def sum(self, values: Tensor) -> Tensor:
        """Σ over visible keys of a value per key (batch, keys): float64 (batch, queries)."""
        real = values.double() * self.sides.keys.real
        return real.cumsum(1) if self.causal else real.sum(1, keepdim=True).expand(-1, self.sides.queries.length)

    def contain(self, place: Place) -> Tensor:
        """Whether each query sees the key at a place: (batch, queries)."""
        rows = torch.arange(self.sides.queries.length, device=self.sides.keys.ids.device)
        columns = self.sides.keys_at(place, rows)
        inside = (columns >= 0) & (columns < self.sides.keys.length) & self.sides.queries.real
        real = self.sides.keys.real.gather(1, columns.clamp(0, self.sides.keys.length - 1))
        return inside & real & ((columns <= rows) if self.causal else True)

    def row_values(self, formula: Formula) -> tuple[Tensor, Tensor]:
        """A metric of every query, float32, and for which it is defined: (batch, queries) each."""
        count, shows = self.counts.clamp(min=1), self.counts > 0
        match formula:
            case Entropy():
                value = count.log()
            case Distance():
                value = self._distance_sum() / count
            case LargestWeight():
                value = 1 / count
            case Unattended():
                value = torch.zeros_like(count)
            case WeightAt(places):
                keys = torch.stack([self.contain(place) for place in places]).sum(0)
                value, shows = keys / count, keys > 0
            case WeightOnSpecial():
                keys = self.sum(self.sides.keys.special)
                value, shows = keys / count, shows & (keys > 0)
            case WeightOnCopies(shift):
                keys = count_earlier_matches(self.sides, shift).double()
                value, shows = keys / count, shows & (keys > 0)
            case _:
                raise TypeError(f"{formula} is of no single row")
        return value.float(), shows

    def _distance_sum(self) -> Tensor:
        """Σ |i − j| over visible keys j: those before the query and, under a full mask, those after it."""
        real = self.sides.keys.real.double()
        positions = torch.arange(self.sides.keys.length, device=real.device)
        before, before_positions = real.cumsum(1), (real * positions).cumsum(1)
        behind = positions * before - before_positions
        if self.causal:
            return behind
        after = real.sum(1, keepdim=True) - before
        after_positions = (real * positions).sum(1, keepdim=True) - before_positions
        return behind + after_positions - positions * after


# --- Earlier keys with the same token

#: Texts with up to so many matches per token get one list of them all; the matches of texts that repeat themselves more
#: are found tile by tile.
_MAX_MATCHES_PER_TOKEN = 256

#: Finds the matches in a tile of rows × columns: text, row and column of each, counted from the tile's corner.
TileMatches = Callable[[slice, slice], tuple[Tensor, Tensor, Tensor]]


@dataclass(frozen=True)
class TokenMatches:
    """All matches of a batch, found once for all layers."""

    sides: QueryKeySides
    _by_tile_size: dict[tuple[int, int, int], TileMatches] = field(default_factory=dict)

    def in_tiles(self, shift: int, rows: int, columns: int) -> TileMatches:
        """A function that finds the matches of a shift in a tile whose corner is at multiples of `rows`, `columns`."""
        key = (shift, rows, columns)
        if key not in self._by_tile_size:
            real = self.sides.keys.real
            are_few = int(count_earlier_matches(self.sides)[real].sum()) <= _MAX_MATCHES_PER_TOKEN * real.numel()
            self._by_tile_size[key] = self._from_list(*key) if are_few else self._by_comparison(shift)
        return self._by_tile_size[key]

    def _from_list(self, shift: int, rows: int, columns: int) -> TileMatches:
        """From a list of all matches, sorted by tile."""
        texts, queries, keys = _list_earlier_copies(self.sides)
        texts, queries, keys = (part[keys + shift < queries] for part in (texts, queries, keys + shift))
        across = -(-self.sides.keys.length // columns)
        tiles = queries // rows * across + keys // columns
        order = tiles.argsort()
        texts, queries, keys = (part[order] for part in (texts, queries, keys))
        ends = [0, *tiles.bincount().cumsum(0).tolist()]

        def in_tile(row: slice, column: slice) -> tuple[Tensor, Tensor, Tensor]:
            tile = row.start // rows * across + column.start // columns
            inside = slice(ends[tile], ends[tile + 1]) if tile + 1 < len(ends) else slice(0, 0)
            return texts[inside], queries[inside] - row.start, keys[inside] - column.start

        return in_tile

    def _by_comparison(self, shift: int) -> TileMatches:
        """By comparing every query of a tile with every key."""
        ids = self.sides.ids_before(shift)
        queries = self.sides.queries.ids
        positions = torch.arange(ids.shape[1], device=ids.device)

        def in_tile(row: slice, column: slice) -> tuple[Tensor, Tensor, Tensor]:
            earlier = positions[None, column] < positions[row, None]
            texts, rows, columns = ((ids[:, None, column] == queries[:, row, None]) & earlier).nonzero(as_tuple=True)
            return texts, rows, columns

        return in_tile


def count_earlier_matches(sides: QueryKeySides, shift: int = 0) -> Tensor:
    """The number of matches of each query, (batch, queries). Copies less than `shift` before it have none."""
    ids = sides.ids_before(0)
    count, _, _ = _rank_among_equal_ids(ids)
    for step in range(1, shift + 1):
        count[:, step:] -= (ids[:, step:] == ids[:, :-step]).long()
    return count


def _rank_among_equal_ids(ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The number of earlier positions with the same id; the positions sorted by id; and where each id begins there.

    All (batch, positions); the last two in sorted order.
    """
    order = ids.argsort(dim=1, stable=True)
    sorted_ids = ids.gather(1, order)
    begins = torch.searchsorted(sorted_ids, sorted_ids, side="left")
    ranks = torch.arange(ids.shape[1], device=ids.device).expand_as(ids) - begins
    return torch.empty_like(ranks).scatter_(1, order, ranks), order, begins


def _list_earlier_copies(sides: QueryKeySides) -> tuple[Tensor, Tensor, Tensor]:
    """Text, query and key of every two equal real tokens, the key before the query."""
    ids = sides.ids_before(0)
    copies, order, begins = _rank_among_equal_ids(ids)
    texts, queries = sides.keys.real.nonzero(as_tuple=True)
    counts = copies[texts, queries]
    index_in_order = torch.empty_like(order).scatter_(
        1, order, torch.arange(ids.shape[1], device=ids.device).expand_as(order)
    )
    starts = begins[texts, index_in_order[texts, queries]]
    within = torch.arange(int(counts.sum()), device=ids.device) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    texts, queries, starts = (part.repeat_interleave(counts) for part in (texts, queries, starts))
    return texts, queries, order[texts, starts + within]
