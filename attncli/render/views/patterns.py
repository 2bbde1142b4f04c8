"""Patterns as views show them: pooled to a number of cells, with the cells that a mask hides, and strips of a row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from attncli.render.views.sentences import line_numbers
from attncli.results.heads import HeadMetrics, Stack
from attncli.results.patterns import Bins, Medium, Pattern, RowReading, Span, equal_spans
from attncli.results.tokens import Token

Mask = npt.NDArray[np.bool_]


def full_scale(patterns: Iterable[Pattern]) -> float:
    """The largest absolute weight of the patterns, for one scale for all of them."""
    return max((float(np.abs(pattern.weights).max(initial=0.0)) for pattern in patterns), default=0.0)


def pooled_evenly(pattern: Pattern, rows: int, columns: int) -> Pattern:
    """The pattern pooled to at most `rows` × `columns` cells, each of about the same number of weights.

    Cells of one and of two weights side by side would show stripes that the pattern doesn't have.
    """
    sizes = zip(pattern.weights.shape, (rows, columns), strict=True)
    return pattern.pooled(*(ceil(count / ceil(count / most)) if count else 0 for count, most in sizes))


def spans_of(pattern: Pattern) -> Bins:
    """The positions that each row and each column covers: one each where the pattern isn't pooled."""
    if pattern.bins is not None:
        return pattern.bins
    rows, columns = pattern.weights.shape
    return Bins(tuple((i, i + 1) for i in range(rows)), tuple((i, i + 1) for i in range(columns)))


def hidden_cells(stack: Stack, pattern: Pattern) -> Mask:
    """Which cells stay blank, because in a causal stack all their keys come after their queries: (rows, columns)."""
    if not stack.causal:
        return np.zeros(pattern.weights.shape, dtype=np.bool_)
    spans = spans_of(pattern)
    last_query = np.array([stack.queries[end - 1].index for _, end in spans.rows])
    first_key = np.array([stack.keys[start].index for start, _ in spans.columns])
    hidden: Mask = (first_key[None, :] > last_query[:, None]) & (pattern.weights == 0)
    return hidden


def visible_weights(stack: Stack, pattern: Pattern) -> npt.NDArray[np.float64]:
    """The weights, (rows, columns), with nan in the hidden cells."""
    return np.where(hidden_cells(stack, pattern), np.nan, pattern.weights.astype(np.float64))


def is_one_weight(pattern: Pattern) -> bool:
    """Whether there is only one weight, which is written as a number in place of a picture."""
    return pattern.weights.shape == (1, 1) and pattern.bins is None


def head_of(stack: Stack, pattern: Pattern) -> HeadMetrics | None:
    """The head that a pattern is of; None for a rollout."""
    return next((head for head in stack.metrics if (head.layer, head.head) == (pattern.layer, pattern.head)), None)


class Axis(NamedTuple):
    """The rows or the columns of a pattern.

    lines: the number of each token's line, where they are lines of a text.  spans: the tokens of each row or column.
    """

    tokens: Sequence[Token]
    medium: Medium
    lines: Sequence[int | None] | None
    unit: str
    spans: Sequence[Span]

    @property
    def numbers(self) -> list[int]:
        """The position of each token, or the number of its line; without gaps."""
        return [token.index for token in self.tokens] if self.lines is None else line_numbers(self.lines)


def axes_of(stack: Stack, pattern: Pattern | None) -> tuple[Axis, Axis]:
    """Rows and columns of a pattern, or of all queries and keys."""
    queries, keys = len(stack.queries), len(stack.keys)
    bins = Bins(equal_spans(queries, queries), equal_spans(keys, keys)) if pattern is None else spans_of(pattern)
    return (
        Axis(stack.queries, stack.query_medium, stack.query_lines, stack.unit, bins.rows),
        Axis(stack.keys, stack.key_medium, stack.key_lines, stack.unit, bins.columns),
    )


class StripView(NamedTuple):
    """One row of weights as cells, each of one or more keys.

    values: nan where the mask hides all keys of a cell.  note: of how many keys the cells are, empty if of one each.
    query: the cell of the query; None if it is not among the keys.
    """

    pooled: Pattern
    values: npt.NDArray[np.float64]
    spans: tuple[Span, ...]
    query: int | None
    unit: str
    whole: str
    note: str


def strip_view(stack: Stack, reading: RowReading, most: int) -> StripView:
    """A reading in at most `most` cells."""
    pooled = pooled_evenly(Pattern(0, None, reading.weights[None]), 1, most)
    spans = spans_of(pooled).columns
    seen = np.array([reading.visible[start:end].any() for start, end in spans])
    values = np.where(seen, pooled.weights[0].astype(np.float64), np.nan)
    query = next((at for at, (_, end) in enumerate(spans) if reading.own and reading.own[0] < end), None)
    unit, whole = (stack.unit, "text") if stack.key_medium.kind == "tokens" else ("frame", "sound")
    many = f"{len(stack.keys):,} {unit}s in {len(spans)} cells, each the sum of its {unit}s"
    return StripView(pooled, values, spans, query, unit, whole, many if len(spans) < len(stack.keys) else "")
