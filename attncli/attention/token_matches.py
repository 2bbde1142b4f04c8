"""Pairs of a query and an earlier key that two metrics add up: copies of the query's token, and what followed them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from attncli.attention.metrics import QueryKeySides

#: A list of pairs may have so many for each token; where a text repeats itself more, they are found tile by tile.
_MAX_MATCHES_PER_TOKEN = 256

#: The pairs in a tile of rows × columns: text, row and column of each, counted from the tile's corner.
TileMatches = Callable[[slice, slice], tuple[Tensor, Tensor, Tensor]]


@dataclass(frozen=True)
class TokenMatches:
    """All pairs of a text, found once for all layers.

    A query's duplicates are the real keys before it with its token; its induction keys those that follow such a key
    and still come before it.
    """

    pair: QueryKeySides
    _lists: dict[tuple[str, int, int], TileMatches] = field(default_factory=dict)

    def in_tiles(self, metric: str, rows: int, columns: int) -> TileMatches:
        """What finds the pairs of a metric in tiles of a size whose corners are multiples of it."""
        key = (metric, rows, columns)
        if key not in self._lists:
            self._lists[key] = self._listed(*key) if self._are_few() else self._compared(metric)
        return self._lists[key]

    def _are_few(self) -> bool:
        copies, _ = count_earlier_matches(self.pair)
        return int(copies[self.pair.keys.real].sum()) <= _MAX_MATCHES_PER_TOKEN * self.pair.keys.ids.numel()

    def _listed(self, metric: str, rows: int, columns: int) -> TileMatches:
        """From a list of them all, in the order of the tiles."""
        texts, queries, keys = _list_earlier_copies(self.pair)
        if metric == "induction":
            texts, queries, keys = (part[keys + 1 < queries] for part in (texts, queries, keys + 1))
        across = -(-self.pair.keys.length // columns)
        tiles = queries // rows * across + keys // columns
        order = tiles.argsort()
        texts, queries, keys = (part[order] for part in (texts, queries, keys))
        ends = [0, *tiles.bincount().cumsum(0).tolist()]

        def in_tile(row: slice, column: slice) -> tuple[Tensor, Tensor, Tensor]:
            tile = row.start // rows * across + column.start // columns
            inside = slice(ends[tile], ends[tile + 1]) if tile + 1 < len(ends) else slice(0, 0)
            return texts[inside], queries[inside] - row.start, keys[inside] - column.start

        return in_tile

    def _compared(self, metric: str) -> TileMatches:
        """By comparing every query of a tile with every key."""
        ids = self.pair.keys.ids.masked_fill(~self.pair.keys.real, -1)
        if metric == "induction":
            ids = torch.cat([ids.new_full((ids.shape[0], 1), -1), ids[:, :-1]], dim=1)
        queries = self.pair.queries.ids
        places = torch.arange(ids.shape[1], device=ids.device)

        def in_tile(row: slice, column: slice) -> tuple[Tensor, Tensor, Tensor]:
            earlier = places[None, column] < places[row, None]
            texts, rows, columns = ((ids[:, None, column] == queries[:, row, None]) & earlier).nonzero(as_tuple=True)
            return texts, rows, columns

        return in_tile


def count_earlier_matches(pair: QueryKeySides) -> tuple[Tensor, Tensor]:
    """For each query, how many real keys before it hold its token, and how many follow such a key and come before it.

    (batch, queries) each. The key that follows the copy just before a query is the query itself, and isn't counted.
    """
    ids = pair.keys.ids.masked_fill(~pair.keys.real, -1)
    copies, _, _ = _rank_among_equal_ids(ids)
    just_before = torch.zeros_like(copies)
    just_before[:, 1:] = (ids[:, 1:] == ids[:, :-1]).long()
    return copies, copies - just_before


def _rank_among_equal_ids(ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How many earlier places hold the same id; the places in order of their ids; and in it where each id begins.

    All (batch, places); the last two are in the order of the ids.
    """
    order = ids.argsort(dim=1, stable=True)
    ranked = ids.gather(1, order)
    begins = torch.searchsorted(ranked, ranked, side="left")
    ranks = torch.arange(ids.shape[1], device=ids.device).expand_as(ids) - begins
    return torch.empty_like(ranks).scatter_(1, order, ranks), order, begins


def _list_earlier_copies(pair: QueryKeySides) -> tuple[Tensor, Tensor, Tensor]:
    """Text, query and key of every pair of equal real tokens, the key before the query."""
    ids = pair.keys.ids.masked_fill(~pair.keys.real, -1)
    copies, order, begins = _rank_among_equal_ids(ids)
    texts, queries = pair.keys.real.nonzero(as_tuple=True)
    counts = copies[texts, queries]
    place_in_order = torch.empty_like(order).scatter_(
        1, order, torch.arange(ids.shape[1], device=ids.device).expand_as(order)
    )
    starts = begins[texts, place_in_order[texts, queries]]
    within = torch.arange(int(counts.sum()), device=ids.device) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    texts, queries, starts = (part.repeat_interleave(counts) for part in (texts, queries, starts))
    return texts, queries, order[texts, starts + within]
