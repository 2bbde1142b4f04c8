"""The rows and columns of an attention pattern, and the sums that fill it from blocks of rows.

`Axis` maps the positions of a text to rows or columns: tokens, words or lines, all or some, each its own or pooled into
bins. `PatternSums` gathers the patterns of the chosen heads along two axes.
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

#: Patterns of up to so many rows and columns are exact unless bins are requested; larger ones get `DEFAULT_BINS`.
EXACT_LIMIT = 1024
DEFAULT_BINS = 64


@dataclass(frozen=True)
class Axis:
    """The rows or the columns of a pattern.

    units: the tokens, words or lines before pooling; words and lines are merged into one `Token` each.
    group: the row or column of each position, −1 for none; int64 (positions,), including padding.
    spans: the units of each row or column, half open; None where they aren't pooled.
    """

    units: tuple[Token, ...]
    group: Tensor
    spans: tuple[tuple[int, int], ...] | None = None

    @property
    def length(self) -> int:
        return len(self.units) if self.spans is None else len(self.spans)

    def pooled(self, bins: int) -> Axis:
        """This axis in at most `bins` bins of nearly equal size."""
        spans = equal_spans(len(self.units), bins)
        sizes = torch.tensor([stop - start for start, stop in spans])
        # The last entry is for positions in no group (−1).
        unit_bins = torch.cat([torch.repeat_interleave(torch.arange(len(spans)), sizes), torch.tensor([-1])])
        return Axis(self.units, unit_bins[self.group], spans)


@dataclass(frozen=True)
class Axes:
    """Rows and columns of a pattern. renormalised: each row is divided by its sum, since columns were left out."""

    rows: Axis
    columns: Axis
    renormalised: bool = False

    @property
    def bins(self) -> Bins | None:
        if self.rows.spans is None or self.columns.spans is None:
            return None
        return Bins(self.rows.spans, self.columns.spans)

    def pooled_to_fit(self, requested: int | None) -> Axes:
        """These axes, pooled into as many bins a side as were requested, or as `EXACT_LIMIT` says."""
        longest = max(len(self.rows.units), len(self.columns.units))
        bins = requested or (DEFAULT_BINS if longest > EXACT_LIMIT else longest)
        return self if bins >= longest else Axes(self.rows.pooled(bins), self.columns.pooled(bins), self.renormalised)


def build_axis(view: View, tokens: Sequence[Token], real: Tensor, position: Position | None) -> Axis:
    """The rows or columns of a text that `view` shows at a position.

    tokens: of one text.  real: bool (positions,), True where a position holds one of the tokens and no padding.
    Raises UsageError for a position that isn't there.
    """
    spans = view.unit_spans(tokens, position)
    group = torch.full((len(tokens),), -1)
    for number, (start, stop) in enumerate(spans):
        group[start:stop] = number
    if view.hide_special:
        group[[index for index, token in enumerate(tokens) if token.special]] = -1
    padded_group = torch.full((len(real),), -1)
    padded_group[real.nonzero().flatten()] = group
    return Axis(tuple(merge_tokens(tokens[start:stop]) for start, stop in spans), padded_group)


def unit_lines(units: Sequence[Token], view: View) -> tuple[int | None, ...] | None:
    """The lines in which units begin, counted from 1, None for special tokens; None unless the view is by line."""
    if view.by != "line":
        return None
    return tuple(None if unit.start is None else bisect_right(view.line_starts, unit.start) for unit in units)


def merge_tokens(tokens: Sequence[Token]) -> Token:
    """Consecutive tokens as one token."""
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
    """Running sums of the patterns of some heads of one layer and one text; head None stands for all heads together.

    Rows of a group are averaged and columns summed: attention to a word is the sum over its tokens, attention from a
    word the mean over them (Clark et al. 2019).
    """

    layer: int
    heads: tuple[int | None, ...]
    axes: Axes
    _sums: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self._sums = torch.zeros(len(self.heads), self.axes.rows.length, self.axes.columns.length, dtype=torch.float32)

    @property
    def rows(self) -> tuple[int, int]:
        """The range of queries that are needed, half open."""
        queries = (self.axes.rows.group >= 0).nonzero().flatten()
        return (int(queries[0]), int(queries[-1]) + 1) if len(queries) else (0, 0)

    def add(self, start: int, weights: Tensor) -> None:
        """Add the rows from `start` of the chosen heads, float32 (heads, rows, keys)."""
        rows = self.axes.rows.group[start : start + weights.shape[1]].to(weights.device)
        columns = self.axes.columns.group.to(weights.device)
        shown = weights[:, rows >= 0][:, :, columns >= 0]
        by_column = weights.new_zeros(*shown.shape[:2], self.axes.columns.length)
        by_column.index_add_(2, columns[columns >= 0], shown)
        if self.axes.renormalised:
            by_column = by_column / by_column.sum(-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        self._sums.index_add_(1, rows[rows >= 0].cpu(), by_column.cpu())

    def add_pooled(self, pooled: Tensor) -> None:
        """Add whole patterns that are already pooled, rows averaged: (heads, row groups, column groups)."""
        self._sums += pooled.cpu() * self._row_counts()

    def patterns(self) -> tuple[Pattern, ...]:
        weights = (self._sums / self._row_counts()).numpy()
        return tuple(Pattern(self.layer, head, weights[index], self.axes.bins) for index, head in enumerate(self.heads))

    def _row_counts(self) -> Tensor:
        group = self.axes.rows.group
        return group[group >= 0].bincount(minlength=self.axes.rows.length)[:, None]
