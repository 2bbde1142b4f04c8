"""Earlier keys that repeat the query's token, and the keys that follow them: what `duplicate` and `induction` sum over.

A query's duplicates are the real keys before it with the same token. Its induction keys are those that follow a
duplicate and still come before the query.
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
    _by_tile_size: dict[tuple[str, int, int], TileMatches] = field(default_factory=dict)

    def in_tiles(self, metric: str, rows: int, columns: int) -> TileMatches:
        """A function that finds the matches of a metric in a tile whose corner is at multiples of `rows`, `columns`."""
        key = (metric, rows, columns)
        if key not in self._by_tile_size:
            self._by_tile_size[key] = self._from_list(*key) if self._are_few() else self._by_comparison(metric)
        return self._by_tile_size[key]

    def _are_few(self) -> bool:
        copies, _ = count_earlier_matches(self.sides)
        return int(copies[self.sides.keys.real].sum()) <= _MAX_MATCHES_PER_TOKEN * self.sides.keys.ids.numel()

    def _from_list(self, metric: str, rows: int, columns: int) -> TileMatches:
        """From a list of all matches, sorted by tile."""
        texts, queries, keys = _list_earlier_copies(self.sides)
        if metric == "induction":
            texts, queries, keys = (part[keys + 1 < queries] for part in (texts, queries, keys + 1))
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

    def _by_comparison(self, metric: str) -> TileMatches:
        """By comparing every query of a tile with every key."""
        ids = self.sides.keys.ids.masked_fill(~self.sides.keys.real, -1)
        if metric == "induction":
            ids = torch.cat([ids.new_full((ids.shape[0], 1), -1), ids[:, :-1]], dim=1)
        queries = self.sides.queries.ids
        positions = torch.arange(ids.shape[1], device=ids.device)

        def in_tile(row: slice, column: slice) -> tuple[Tensor, Tensor, Tensor]:
            earlier = positions[None, column] < positions[row, None]
            texts, rows, columns = ((ids[:, None, column] == queries[:, row, None]) & earlier).nonzero(as_tuple=True)
            return texts, rows, columns

        return in_tile


def count_earlier_matches(sides: QueryKeySides) -> tuple[Tensor, Tensor]:
    """The number of duplicates and of induction keys of each query: (batch, queries) each.

    The key that follows a copy just before the query is the query itself, and isn't counted.
    """
    ids = sides.keys.ids.masked_fill(~sides.keys.real, -1)
    copies, _, _ = _rank_among_equal_ids(ids)
    just_before = torch.zeros_like(copies)
    just_before[:, 1:] = (ids[:, 1:] == ids[:, :-1]).long()
    return copies, copies - just_before


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
    ids = sides.keys.ids.masked_fill(~sides.keys.real, -1)
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
