"""Positions of a pattern gathered into rows and columns: tokens, words or lines, all or some, alone or in bins.

Patterns of the heads that somebody asked to see, gathered from blocks of rows: exact, or pooled.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from attncli.attention.positions import Position
from attncli.attention.selection import View
from attncli.results.patterns import Bins, Pattern, equal_spans
from attncli.results.tokens import Token

#: Sequences up to this length are kept exact unless bins were asked for; longer ones get `DEFAULT_BINS`.
EXACT_LIMIT = 1024
DEFAULT_BINS = 64


@dataclass(frozen=True)
class Axis:
    """One side of a pattern.

    units: what its rows or columns stand for before they are pooled: tokens, or words and lines as if they were ones.
    group: the row or column that each position belongs to, −1 for none; int64 (positions, padding included).
    spans: the units of each row or column where they are pooled; None where each is its own.
    """

    units: tuple[Token, ...]
    group: Tensor
    spans: tuple[tuple[int, int], ...] | None = None

    @property
    def length(self) -> int:
        return len(self.units) if self.spans is None else len(self.spans)

    @property
    def whole(self) -> bool:
        """Whether it is the sequence itself, position by position."""
        return self.spans is None and torch.equal(self.group, torch.arange(len(self.group)))

    def pooled(self, bins: int) -> Axis:
        """The same in at most so many bins."""
        spans = equal_spans(len(self.units), bins)
        sizes = torch.tensor([stop - start for start, stop in spans])
        of_unit = torch.cat([torch.repeat_interleave(torch.arange(len(spans)), sizes), torch.tensor([-1])])
        return Axis(self.units, of_unit[self.group], spans)


@dataclass(frozen=True)
class Axes:
    """Both sides of a pattern. renormalised: what is left of each row is made to sum to 1 again."""

    rows: Axis
    columns: Axis
    renormalised: bool = False

    @property
    def bins(self) -> Bins | None:
        if self.rows.spans is None or self.columns.spans is None:
            return None
        return Bins(self.rows.spans, self.columns.spans)

    def fitting(self, wish: int | None) -> Axes:
        """As they are, or in bins: so many as wished for, else `DEFAULT_BINS` where there are too many units."""
        bins = choose_bins(len(self.rows.units), len(self.columns.units), wish)
        return self if bins is None else Axes(self.rows.pooled(bins), self.columns.pooled(bins), self.renormalised)


def build_axis(view: View, tokens: Sequence[Token], real: Tensor, position: Position | None) -> Axis:
    """One side. tokens: of one text.  real: bool (positions), True at those of the tokens.

    Raises UsageError for a position that isn't there.
    """
    shown = view.shown(tokens, position)
    group = torch.full((len(tokens),), -1)
    for number, (start, stop) in enumerate(shown):
        group[start:stop] = number
    if view.hide_special:
        group[[place for place, token in enumerate(tokens) if token.special]] = -1
    everywhere = torch.full((len(real),), -1)
    everywhere[real.nonzero().flatten()] = group
    return Axis(tuple(merge_tokens(tokens[start:stop]) for start, stop in shown), everywhere)


def choose_bins(queries: int, keys: int, wish: int | None) -> int | None:
    """How many bins a side a pattern gets; None for an exact one."""
    if wish is not None:
        return wish if wish < max(queries, keys) else None
    return DEFAULT_BINS if max(queries, keys) > EXACT_LIMIT else None


def unit_lines(units: Sequence[Token], view: View) -> tuple[int | None, ...] | None:
    """The lines in which units of a text begin, from 1, and None for those that stand in none; None but by line."""
    if view.by != "line":
        return None
    return tuple(None if unit.start is None else bisect_right(view.line_starts, unit.start) for unit in units)


def merge_tokens(tokens: Sequence[Token]) -> Token:
    """Several tokens as one: from where the first begins to where the last ends."""
    first, last = tokens[0], tokens[-1]
    if len(tokens) == 1:
        return first
    gaps = [" " * (before.end is not None and before.end != after.start) for before, after in pairwise(tokens)]
    text = "".join(token.text + gap for token, gap in zip(tokens, [*gaps, ""], strict=True))
    raw = "".join(token.token for token in tokens)
    return first._replace(
        token=raw, text=text, end=last.end, byte_end=last.byte_end, special=all(token.special for token in tokens)
    )


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
