"""Patterns of the heads that somebody asked to see, gathered from blocks of rows: exact, or pooled into bins."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from attncli.results.heads import Bins, Pattern, equal_spans

#: Sequences up to this length are kept exact unless bins were asked for; longer ones get `DEFAULT_BINS`.
EXACT_LIMIT = 1024
DEFAULT_BINS = 64


def bins_for(queries: int, keys: int, wish: int | None) -> int | None:
    """How many bins a side a pattern gets; None for an exact one."""
    if wish is not None:
        return wish if wish < max(queries, keys) else None
    return DEFAULT_BINS if max(queries, keys) > EXACT_LIMIT else None


@dataclass
class PatternSums:
    """The patterns of some heads of one layer and one text, growing row by row."""

    layer: int
    heads: tuple[int, ...]
    queries: int
    keys: int
    bins: int | None
    _parts: list[Tensor] = field(default_factory=list)

    def add(self, start: int, weights: Tensor) -> None:
        """Take in the rows from `start` of the chosen heads, float32 (heads, rows, keys)."""
        self._parts.append((weights if self.bins is None else self._pool(start, weights)).cpu())

    def add_pooled(self, pooled: Tensor) -> None:
        """Take in the whole patterns of the chosen heads that were pooled already, (heads, row bins, column bins)."""
        assert self.bins is not None
        sizes = bin_of(self.queries, self.bins, pooled.device).bincount()
        self._parts.append((pooled * sizes[:, None]).cpu())

    def binning(self, device: torch.device) -> tuple[Tensor, Tensor] | None:
        """The bin of every query and of every key; None where the patterns are exact."""
        if self.bins is None:
            return None
        return bin_of(self.queries, self.bins, device), bin_of(self.keys, self.bins, device)

    def patterns(self) -> tuple[Pattern, ...]:
        if self.bins is None:
            whole, bins = torch.cat(self._parts, dim=1), None
        else:
            rows, columns = equal_spans(self.queries, self.bins), equal_spans(self.keys, self.bins)
            sizes = torch.tensor([b - a for a, b in rows], dtype=torch.float32)
            whole, bins = torch.stack(self._parts).sum(0) / sizes[:, None], Bins(rows, columns)
        return tuple(Pattern(self.layer, head, whole[place].numpy(), bins) for place, head in enumerate(self.heads))

    def _pool(self, start: int, weights: Tensor) -> Tensor:
        """Sums of these rows in their bins, (heads, row bins, column bins)."""
        assert self.bins is not None
        rows = bin_of(self.queries, self.bins, weights.device)[start : start + weights.shape[1]]
        columns = bin_of(self.keys, self.bins, weights.device)
        row_bins, column_bins = min(self.bins, self.queries), min(self.bins, self.keys)
        by_column = weights.new_zeros(*weights.shape[:2], column_bins).index_add_(2, columns, weights)
        return weights.new_zeros(len(self.heads), row_bins, column_bins).index_add_(1, rows, by_column)


def bin_of(length: int, bins: int, device: torch.device) -> Tensor:
    """The bin of every position, (length,), as `equal_spans` cuts them."""
    spans = equal_spans(length, bins)
    sizes = torch.tensor([b - a for a, b in spans], device=device)
    return torch.repeat_interleave(torch.arange(len(spans), device=device), sizes)
