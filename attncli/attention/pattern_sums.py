"""The rows and columns of an attention pattern, and the sums that fill it from blocks of rows.

`Axis` maps the positions of a text to rows or columns: tokens, words or lines, all or some, each its own or pooled into
bins. `PatternSums` gathers the patterns of the chosen heads along two axes; `read_row` those of one position, whose row
alone is computed, O(N·d) per head. A position of several tokens has the mean of their rows.

`Rollout` estimates how much of each input token is in each position, if attention alone moved information:

    Â = rownorm(mean_h A + I),   R_l = Â_l R_{l−1},   R_{−1} = I          Abnar & Zuidema 2020

The identity stands for the residual stream. Rows of R sum to 1; in a causal model they tend to the first token.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from attncli.attention.metrics import QueryKeySides, uniform_weights
from attncli.attention.positions import Position
from attncli.attention.selection import View
from attncli.errors import UsageError
from attncli.results.patterns import Bins, Pattern, equal_spans
from attncli.results.tokens import Token

if TYPE_CHECKING:
    from attncli.models.capture.attention_types import Attention

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

    def weights(self) -> npt.NDArray[np.float32]:
        """The patterns, (heads, rows, columns)."""
        return (self._sums / self._row_counts()).numpy()

    def patterns(self) -> Iterator[Pattern]:
        for head, weights in zip(self.heads, self.weights(), strict=True):
            yield Pattern(self.layer, head, weights, self.axes.bins)

    def _row_counts(self) -> Tensor:
        group = self.axes.rows.group
        return group[group >= 0].bincount(minlength=self.axes.rows.length)[:, None]


# --- The row of one position

#: The weights of some heads of one layer on each key, float32 (heads, keys), and those of uniform attention, (keys,).
RowWeights = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


def read_row(
    attention: Attention, sides: QueryKeySides, view: View, heads: Sequence[int], norms: Tensor | None = None
) -> RowWeights:
    """What the position of `view` reads through the chosen heads of one layer, in a batch of one text.

    norms: factors of the weights, (batch, heads, keys).
    """
    axes = _row_axes(view, sides)
    sums, uniform = PatternSums(0, tuple(heads), axes), PatternSums(0, (None,), axes)
    for block in attention.blocks(heads, sums.rows):
        weights = block.weights[0]
        sums.add(block.start, weights if norms is None else weights * norms[0, list(heads), None])
        seen = sides.seen(block.start, block.stop, block.visible)
        uniform.add(block.start, uniform_weights(seen)[0].mean(0, keepdim=True))
    return sums.weights()[:, 0], uniform.weights()[0, 0]


def read_rollout(rolled: Tensor, sides: QueryKeySides, view: View) -> RowWeights:
    """How much of each key reaches the position of `view` through all layers up to one, in a batch of one text.

    rolled: the rollout, float32 (queries, keys). A key of which nothing arrives counts as hidden.
    """
    sums = PatternSums(0, (None,), _row_axes(view, sides))
    sums.add(0, rolled[None])
    row = sums.weights()[:, 0]
    return row, (row[0] > 0).astype(np.float32)


def read_column(
    attention: Attention, sides: QueryKeySides, view: View, heads: Sequence[int], norms: Tensor | None = None
) -> RowWeights:
    """How much each position reads the key of `view` through the chosen heads of one layer, in a batch of one text.

    norms: factors of the weights, (batch, heads, keys).  Returns the weights of each head, (heads, queries), and those
    of uniform attention, (queries,).
    """
    axes = _column_axes(view, sides)
    sums, uniform = PatternSums(0, tuple(heads), axes), PatternSums(0, (None,), axes)
    for block in attention.blocks(heads):
        weights = block.weights[0]
        sums.add(block.start, weights if norms is None else weights * norms[0, list(heads), None])
        seen = sides.seen(block.start, block.stop, block.visible)
        uniform.add(block.start, uniform_weights(seen)[0].mean(0, keepdim=True))
    return sums.weights()[:, :, 0], uniform.weights()[0, :, 0]


def _column_axes(view: View, sides: QueryKeySides) -> Axes:
    """All positions as rows; the whole key as one column, and all other keys as another."""
    rows, keys, every_key = (
        build_axis(view, side.tokens[0], side.real[0].cpu(), position)
        for side, position in ((sides.queries, None), (sides.keys, view.key), (sides.keys, None))
    )
    group = torch.where(keys.group >= 0, 0, torch.where(every_key.group >= 0, 1, -1))
    return Axes(rows, Axis((keys.units[0], keys.units[0]), group), view.hide_special)


def _row_axes(view: View, sides: QueryKeySides) -> Axes:
    """All tokens of the position as one row; the keys that are shown, or all keys where one is ranked among them."""
    rows = build_axis(view, sides.queries.tokens[0], sides.queries.real[0].cpu(), view.query)
    one_row = Axis(rows.units[:1], torch.where(rows.group >= 0, 0, -1))
    position = None if view.has_one_key else view.key
    return Axes(one_row, build_axis(view, sides.keys.tokens[0], sides.keys.real[0].cpu(), position), view.hide_special)


# --- Attention rollout

#: R is a whole matrix: for more tokens it takes too much memory and time.
MAX_ROLLOUT_TOKENS = 8192


class Rollout:
    """R of one stack, layer by layer: float32 (batch, positions, positions).

    R_l = Â_l R_{l−1}, with Â the heads' mean plus the identity, rows scaled to sum to 1 (Abnar & Zuidema 2020).
    corrected: in a causal model early tokens are in the receptive field of more positions than late ones, so R favours
    them whatever the model does; the authors remark that attention is then to be normalised by receptive field, and
    give no formula. Here R is divided by U, the rollout of attention spread evenly over the same visible keys:
    C_ij ∝ R_ij / U_ij, rows scaled to sum to 1, and 0 where U_ij is 0. Where no mask hides anything, and in any model
    that attends evenly, C favours no position.
    """

    def __init__(self, batch: int, length: int, device: torch.device, *, corrected: bool = False) -> None:
        if length > MAX_ROLLOUT_TOKENS:
            raise UsageError(
                f"--rollout is limited to {MAX_ROLLOUT_TOKENS:,} tokens, and the text has {length:,}",
                hint="give a shorter text, or leave --rollout out",
            )
        self.product = torch.eye(length, dtype=torch.float32, device=device).expand(batch, -1, -1)
        self.even = self.product if corrected else None

    def add_layer(self, attention: Attention) -> Tensor:
        """Multiply one more layer in, and return R up to it, or C."""
        parts, even_parts = [], []
        for block in attention.blocks():
            parts.append(_with_residual(block.weights, block.start) @ self.product)
            if self.even is not None:
                even_parts.append(_with_residual(uniform_weights(block.visible), block.start) @ self.even)
        self.product = torch.cat(parts, dim=1)
        if self.even is None:
            return self.product
        self.even = torch.cat(even_parts, dim=1)
        ratio = torch.where(self.even > 0, self.product / self.even, 0)
        return ratio / ratio.sum(-1, keepdim=True)


def _with_residual(weights: Tensor, start: int) -> Tensor:
    """Rows from `start` on of Â, (batch, rows, keys), of weights (batch, heads, rows, keys)."""
    mean = weights.float().mean(dim=1)
    rows = torch.arange(mean.shape[1], device=mean.device)
    mean[:, rows, rows + start] += 1
    return mean / mean.sum(-1, keepdim=True)
