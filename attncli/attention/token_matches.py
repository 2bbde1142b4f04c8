"""Earlier keys that repeat the query's token, or follow such a key: what `WeightOnCopies` sums over.

A query's copies are the real keys before it with the same token; with a shift, the keys so many tokens after a copy
that still come before the query.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from attncli.attention.metrics import QueryKeySides

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
            self._by_tile_size[key] = self._from_list(*key) if self._are_few() else self._by_comparison(shift)
        return self._by_tile_size[key]

    def _are_few(self) -> bool:
        real = self.sides.keys.real
        return int(count_earlier_matches(self.sides)[real].sum()) <= _MAX_MATCHES_PER_TOKEN * real.numel()

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
