"""Patterns of the heads that somebody asked to see, gathered from blocks of rows: exact, or pooled."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from attncli.attention.axes import Axes
from attncli.results.patterns import Pattern


@dataclass
class PatternSums:
    """The patterns of some heads of one layer and one text, growing row by row; the head None is all of them together.

    Rows of a group are averaged, columns summed: a word is looked at with the sum of what its pieces get, and looks
    with the mean of what they do (Clark et al. 2019).
    """

    layer: int
    heads: tuple[int | None, ...]
    axes: Axes
    _sums: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self._sums = torch.zeros(len(self.heads), self.axes.rows.length, self.axes.columns.length)

    @property
    def rows(self) -> tuple[int, int]:
        """The queries from…to that are needed, half open."""
        places = (self.axes.rows.group >= 0).nonzero().flatten()
        return (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 0)

    def add(self, start: int, weights: Tensor) -> None:
        """Take in the rows from `start` of the chosen heads, float32 (heads, rows, keys)."""
        rows = self.axes.rows.group[start : start + weights.shape[1]].to(weights.device)
        columns = self.axes.columns.group.to(weights.device)
        kept = weights[:, rows >= 0][:, :, columns >= 0]
        by_column = weights.new_zeros(*kept.shape[:2], self.axes.columns.length)
        by_column.index_add_(2, columns[columns >= 0], kept)
        if self.axes.renormalised:
            by_column = by_column / by_column.sum(-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        self._sums.index_add_(1, rows[rows >= 0].cpu(), by_column.cpu())

    def add_pooled(self, pooled: Tensor) -> None:
        """Take in whole patterns that were pooled already, rows averaged: (heads, row groups, column groups)."""
        self._sums += pooled.cpu() * self._sizes()

    def patterns(self) -> tuple[Pattern, ...]:
        weights = (self._sums / self._sizes()).numpy()
        return tuple(Pattern(self.layer, head, weights[place], self.axes.bins) for place, head in enumerate(self.heads))

    def _sizes(self) -> Tensor:
        group = self.axes.rows.group
        return group[group >= 0].bincount(minlength=self.axes.rows.length)[:, None]
