"""Attention patterns of heads and rows of them, with what the positions on each axis are.

Positions are tokens of a text, patches of a picture or frames of a sound.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from attncli.results.base import struct
from attncli.results.marks import OPTIONAL, PACKED, Beside
from attncli.results.struct import Struct
from attncli.results.tokens import Token

AxisKind = Literal["tokens", "patches", "frames"]
#: The matrix of a pattern, (queries, keys).
Weights = npt.NDArray[np.float32]
#: The weights of one query, (keys,).
KeyWeights = npt.NDArray[np.float32]
Span = tuple[int, int]


@struct(short=False)
class Grid(NamedTuple):
    """Patches in rows and columns, row by row. first: the position of patch 0,0; a class token may precede it."""

    rows: int
    columns: int
    first: int

    @property
    def patches(self) -> range:
        """The positions that are patches."""
        return range(self.first, self.first + self.rows * self.columns)

    def cell(self, position: int) -> tuple[int, int] | None:
        """The row and column of a position; None for one that is no patch."""
        return divmod(position - self.first, self.columns) if position in self.patches else None


@struct(short=False)
class PatchGrid(NamedTuple):
    """The tokens that stand for a picture, by their rows and columns over it.

    picture: the number of the picture, from 0.  view: whether they are of the small view of the whole picture, beside
    its tiles.  places: the positions of the tokens, row by row; None where the picture has no token.
    """

    picture: int
    view: bool
    rows: int
    columns: int
    places: tuple[int | None, ...]

    @property
    def name(self) -> str:
        """What stands before `ROW,COLUMN` in the names of its tokens: `2:`, `view:`, or nothing."""
        return ("" if self.picture == 0 else f"{self.picture + 1}:") + ("view:" if self.view else "")


@struct()
class Medium(NamedTuple):
    """What the positions on an axis are.

    grid: of the patches.  window: patches a side of an attention window; None without windows.
    seconds: the length of a frame of sound.  start: the second of the sound at which the first one begins, unless 0.
    pictures: those that stand among the positions.
    """

    kind: AxisKind = "tokens"
    grid: Grid | None = None
    window: int | None = None
    seconds: float | None = None
    pictures: Annotated[tuple[PatchGrid, ...], OPTIONAL] = ()
    start: Annotated[float | None, OPTIONAL] = None

    def moment(self, index: int) -> float:
        """The second of the sound at which a frame begins."""
        return (self.start or 0.0) + index * (self.seconds or 0.0)

    def time_range(self, first: int, last: int) -> str | None:
        """The time from one frame to the end of another, as `0.20–0.40s`; None for other positions."""
        return None if self.seconds is None else f"{self.moment(first):.2f}–{self.moment(last + 1):.2f}s"


TOKENS = Medium()


class Picture(Struct):
    """The picture that the model saw, at low resolution: uint8 (height, width, 3)."""

    pixels: Annotated[npt.NDArray[np.uint8], PACKED]

    def resized(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        """The mean pixel of each of height × width cells; the nearest pixel where there are more cells than pixels."""
        rows, columns = (
            _cell_edges(size, wanted) for size, wanted in zip(self.pixels.shape, (height, width), strict=False)
        )
        values = self.pixels.astype(np.float32)
        cells = [[values[a:b, c:d].mean((0, 1)) for c, d in columns] for a, b in rows]
        return np.asarray(cells).round().astype(np.uint8)


def _cell_edges(size: int, wanted: int) -> list[tuple[int, int]]:
    starts = [size * place // wanted for place in range(wanted)]
    ends = [max(size * (place + 1) // wanted, start + 1) for place, start in enumerate(starts)]
    return list(zip(starts, ends, strict=True))


class Bins(Struct):
    """The half-open spans of positions that the rows and columns of a pooled pattern represent."""

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]


def equal_spans(length: int, bins: int) -> tuple[Span, ...]:
    """Cut 0…length into `bins` spans whose sizes differ by one at most (fewer spans where the length is smaller)."""
    bins = min(bins, length)
    edges = [length * index // bins for index in range(bins + 1)] if bins else [0]
    return tuple(pairwise(edges))


class Pattern(Struct):
    """One head's attention, (queries, keys), rows summing to 1; or pooled: rows averaged and columns summed per bin.

    layer, head: from 0; head: None for a rollout up to this layer, which is of all heads together.
    weights: the matrix.  bins: of its rows and columns, where it is pooled.
    """

    layer: int
    head: int | None
    weights: Weights
    bins: Bins | None = None

    def pooled(self, rows: int, columns: int) -> Pattern:
        """The pattern pooled to at most `rows` × `columns` cells; itself where it is small enough."""
        row_count, column_count = self.weights.shape
        if row_count <= rows and column_count <= columns:
            return self
        row_groups, column_groups = equal_spans(row_count, rows), equal_spans(column_count, columns)
        # A bin of more queries has a larger weight in the mean of its group.
        sizes = [b - a for a, b in self._spans(0)]
        summed = np.add.reduceat(self.weights, [a for a, _ in column_groups], axis=1)
        weighed = summed * np.asarray(sizes, dtype=np.float32)[:, None]
        starts = [a for a, _ in row_groups]
        pooled = np.add.reduceat(weighed, starts, axis=0) / np.add.reduceat(sizes, starts)[:, None]
        bins = Bins(_merge_spans(self._spans(0), row_groups), _merge_spans(self._spans(1), column_groups))
        return Pattern(self.layer, self.head, pooled.astype(np.float32), bins)

    def _spans(self, axis: int) -> tuple[Span, ...]:
        if self.bins is not None:
            return self.bins.rows if axis == 0 else self.bins.columns
        return tuple((index, index + 1) for index in range(self.weights.shape[axis]))


def _merge_spans(spans: tuple[Span, ...], groups: tuple[Span, ...]) -> tuple[Span, ...]:
    return tuple((spans[a][0], spans[b - 1][1]) for a, b in groups)


@struct(short=False)
class KeyRead(NamedTuple):
    """One key that a position attends to.

    place: its index among the keys of the stack.  weight: the mean over the heads, or the rollout.
    uniform: the weight of uniform attention; None where that doesn't compare, as for weights times norms.
    head: the one with the largest weight on it; None for a rollout, which is of all heads together.
    """

    place: int
    weight: float
    uniform: float | None
    head: str | None
    head_weight: float


@struct(short=False)
class HeadRead(NamedTuple):
    """The ordinary key that one head reads most from a position, or how much it reads one key.

    place: of the key among the keys of the stack; of a column, None.  weight: on it, or the mean of the column.
    uniform: that of uniform attention; None where that doesn't compare, as for weights times norms.
    """

    name: str
    layer: int
    head: int
    place: int | None
    weight: float
    uniform: float | None


class RowReading(Struct):
    """The attention of one position, as the mean over some heads.

    query: the position; a word of several tokens is one.  heads: how many the weights are means over.
    weights: float32 (keys,), in the order of the stack's keys.  uniform: the same of uniform attention, or None.
    visible: bool (keys,), whether the position may attend to each.
    top: the keys with the largest weights, in descending order.
    own: the indices of the keys that are the position itself.
    query_tokens: how many tokens the position has.
    strongest: the heads by what they read most of the ordinary keys, other than the position itself; those that are the
    furthest above uniform attention first. Keys on which heads rest don't count: see `resting_places`.
    query_line, lines: the line, from 1, in which the query and each key begin; None unless positions are lines, and for
    a position in no line.
    """

    query: Token
    heads: int
    weights: KeyWeights
    uniform: KeyWeights | None
    visible: npt.NDArray[np.bool_]
    top: tuple[KeyRead, ...]
    own: tuple[int, ...] = ()
    query_line: Annotated[int | None, Beside("lines")] = None
    lines: Annotated[tuple[int | None, ...] | None, OPTIONAL] = None
    query_tokens: int = 1
    strongest: tuple[HeadRead, ...] = ()


class ColumnReading(Struct):
    """Who reads one key: the weight of every position on it, as the mean over some heads.

    key: a word of several tokens is one, with the sum of their weights.  key_tokens: how many it has.
    heads: how many the weights are means over.  weights: float32 (queries,).  uniform: of uniform attention, or None.
    visible: bool (queries,), whether each position may attend to the key.  own: the places of those that are the key.
    top: the positions with the largest weights other than the key itself, in descending order; `place` is theirs.
    ranked: the heads by their mean weight on the key from all other positions that see it, in descending order.
    """

    key: Token
    heads: int
    weights: KeyWeights
    uniform: KeyWeights | None
    visible: npt.NDArray[np.bool_]
    top: tuple[KeyRead, ...]
    ranked: tuple[HeadRead, ...]
    own: tuple[int, ...] = ()
    key_tokens: int = 1


@struct(short=False)
class HeadWeight(NamedTuple):
    """The weight of one head from a position on one key.

    rank: the key's rank among the `keys` that are visible, 1 for the largest weight; None where this key is hidden.
    """

    name: str
    layer: int
    head: int
    weight: float
    uniform: float | None
    rank: int | None
    keys: int


class Ranking(Struct):
    """The chosen heads by their weight from a query on a key, the largest first.

    key: the whole word or line, where positions are those.  query_tokens, key_tokens: how many tokens they have.
    query_line, key_line: the lines in which they begin, from 1; None unless positions are lines.
    """

    query: Token
    key: Token
    heads: tuple[HeadWeight, ...]
    query_line: Annotated[int | None, Beside("key_line")] = None
    key_line: Annotated[int | None, OPTIONAL] = None
    query_tokens: int = 1
    key_tokens: int = 1
