"""Attention that isn't a whole matrix of queries and keys: windows put at their true columns, and parts of a matrix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attncli.models.call import Attention, HandedOut, RowBlock, WithoutStates, row_spans


@dataclass(frozen=True)
class PlacedAttention(HandedOut):
    """Attention of each query to a few keys, and which keys these are.

    weights: (batch, heads, queries, slots).  columns: the key of every slot, (queries, slots), −1 where there is none.
    keys: how many keys there are.
    """

    columns: Tensor
    keys: int

    @property
    def has_sink(self) -> bool:
        """Some families give a part of each row to summaries of the text, which have no column."""
        totals = (self.weights * (self.columns >= 0)).float().sum(-1)
        return bool(((totals > 0) & (totals < 0.99)).any())

    def blocks(self, heads: Sequence[int] | None = None, rows: tuple[int, int] | None = None) -> Iterator[RowBlock]:
        chosen = list(range(self.heads)) if heads is None else list(heads)
        first, last = rows or (0, self.queries)
        for start, stop in row_spans(last - first, self.weights.shape[0] * self.heads * self.keys):
            start, stop = first + start, first + stop
            weights = self._rows(start, stop)
            # No mask is to be had here either; a weight outside of the window, or masked, is 0 in every head.
            yield RowBlock(start, stop, weights[:, chosen], (weights != 0).any(dim=1, keepdim=True))

    def _rows(self, start: int, stop: int) -> Tensor:
        """Whole rows, (batch, heads, stop − start, keys)."""
        weights, columns = self.weights[:, :, start:stop].float(), self.columns[start:stop]
        # Slots without a key go to a column of their own, which is cut off again.
        places = torch.where(columns < 0, self.keys, columns).expand(weights.shape)
        rows = weights.new_zeros(*weights.shape[:3], self.keys + 1)
        return rows.scatter_add_(3, places, weights)[..., : self.keys]


@dataclass(frozen=True)
class Section(WithoutStates):
    """Some rows and columns of an attention that reads more than a text: rows sum to what they give to these keys.

    row, column: of its first query and key.
    """

    whole: Attention
    row: int
    column: int
    queries: int
    keys: int

    @property
    def heads(self) -> int:
        return self.whole.heads

    @property
    def device(self) -> torch.device:
        return self.whole.device

    @property
    def has_sink(self) -> bool:
        return True

    def blocks(self, heads: Sequence[int] | None = None, rows: tuple[int, int] | None = None) -> Iterator[RowBlock]:
        first, last = rows or (0, self.queries)
        span = slice(self.column, self.column + self.keys)
        for block in self.whole.blocks(heads, (first + self.row, last + self.row)):
            # A mask may be one column for all keys.
            visible = block.visible.expand(*block.visible.shape[:3], self.whole.keys)[..., span]
            yield RowBlock(block.start - self.row, block.stop - self.row, block.weights[..., span], visible)


def window_columns(queries: int, width: int, keys: int, device: torch.device) -> Tensor:
    """The keys of windows around each query, (queries, width): slot s of query i is key i + s − width // 2.

    Longformer hands its weights out like this (Beltagy et al. 2020).
    """
    offsets = torch.arange(width, device=device) - width // 2
    return _existing(torch.arange(queries, device=device)[:, None] + offsets[None, :], keys)


def neighbour_columns(queries: int, block: int, slots: int, keys: int, device: torch.device) -> Tensor:
    """The keys of blocks that see themselves and both neighbours, (queries, slots): slot s of a query in block b is key
    (b − 1) · block + s. Slots from 3 · block on are summaries of the text, and no keys.

    LongT5's local attention (Guo et al. 2022).
    """
    first = (torch.arange(queries, device=device) // block - 1) * block
    places = torch.arange(slots, device=device)
    columns = _existing(first[:, None] + places[None, :], keys)
    return torch.where(places[None, :] < 3 * block, columns, -1)


def _existing(columns: Tensor, keys: int) -> Tensor:
    return torch.where((columns >= 0) & (columns < keys), columns, -1)
