"""What the positions on one side of a pattern are: tokens of a text, patches of a picture, moments of a sound.

A head's attention as a matrix, whole or pooled.

What one position reads: each key's weight over the chosen heads, or each head's weight on one key.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from attncli.results.base import short_repr
from attncli.results.tokens import Token

AxisKind = Literal["tokens", "patches", "frames"]


class Grid(NamedTuple):
    """Patches in rows and columns, row by row. first: the position of the patch 0,0; a class token may stand before."""

    rows: int
    columns: int
    first: int

    @property
    def patches(self) -> range:
        """The positions that are patches."""
        return range(self.first, self.first + self.rows * self.columns)

    def cell(self, position: int) -> tuple[int, int] | None:
        """The row and the column of a position; None where it is no patch."""
        return divmod(position - self.first, self.columns) if position in self.patches else None

    def to_dict(self) -> dict[str, int]:
        return self._asdict()


@short_repr
class Medium(NamedTuple):
    """What positions are.

    grid: where patches lie in the picture.  window: of how many patches a side each sees no more than its own.
    seconds: how long a frame of a sound is.
    """

    kind: AxisKind = "tokens"
    grid: Grid | None = None
    window: int | None = None
    seconds: float | None = None

    def to_dict(self) -> dict[str, object]:
        grid = None if self.grid is None else self.grid.to_dict()
        return {"kind": self.kind, "grid": grid, "window": self.window, "seconds": self.seconds}

    def stretch(self, first: int, last: int) -> str | None:
        """From the start of one frame to the end of another, as `0.20–0.40s`; None where positions are no frames."""
        return None if self.seconds is None else f"{first * self.seconds:.2f}–{(last + 1) * self.seconds:.2f}s"


TOKENS = Medium()


@short_repr
@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as small as it can be drawn over its patches: uint8 (height, width, 3), the part that the model saw.

    It is for renderers, and in no data.
    """

    pixels: npt.NDArray[np.uint8]

    def resized(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        """Means of the pixels that fall into each of height × width cells, or the nearest one where there are less."""
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


Weights = npt.NDArray[np.float32]
Span = tuple[int, int]


@short_repr
@dataclass(frozen=True, slots=True)
class Bins:
    """Half-open spans of positions that the rows and the columns of a pooled pattern stand for."""

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    def to_dict(self) -> dict[str, object]:
        return {"rows": [list(span) for span in self.rows], "columns": [list(span) for span in self.columns]}


def equal_spans(length: int, bins: int) -> tuple[Span, ...]:
    """Cut 0…length into `bins` spans whose sizes differ by one at most (fewer spans where the length is smaller)."""
    bins = min(bins, length)
    edges = [length * index // bins for index in range(bins + 1)] if bins else [0]
    return tuple(pairwise(edges))


@short_repr
@dataclass(frozen=True, slots=True)
class Pattern:
    """One head's attention, (queries, keys), rows summing to 1; or pooled: rows averaged and columns summed per bin.

    layer, head: from 0; head: None where it is of all heads together, a rollout up to this layer.
    weights: the matrix.  bins: what its rows and columns stand for, where it is pooled.
    """

    layer: int
    head: int | None
    weights: Weights
    bins: Bins | None = None

    def pooled(self, rows: int, columns: int) -> Pattern:
        """The same pattern in at most `rows` × `columns` cells; itself where it is that small already."""
        row_count, column_count = self.weights.shape
        if row_count <= rows and column_count <= columns:
            return self
        row_groups, column_groups = equal_spans(row_count, rows), equal_spans(column_count, columns)
        # A bin that stands for more queries weighs more in the mean of its group.
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

    def to_dict(self) -> dict[str, object]:
        return {
            "layer": self.layer,
            "head": self.head,
            "weights": self.weights.tolist(),
            "bins": None if self.bins is None else self.bins.to_dict(),
        }


def _merge_spans(spans: tuple[Span, ...], groups: tuple[Span, ...]) -> tuple[Span, ...]:
    return tuple((spans[a][0], spans[b - 1][1]) for a, b in groups)


KeyWeights = npt.NDArray[np.float32]


class KeyRead(NamedTuple):
    """One key that a position reads. place: among the keys of the stack.  head: the one that reads it most; None for a
    rollout, which is of all heads together.

    weight: the mean over the heads, or of a rollout what of the key reaches the position.  uniform: what attention
    spread evenly would give it; None where that is no measure, as for weights times norms.
    """

    place: int
    weight: float
    uniform: float | None
    head: str | None
    head_weight: float

    def to_dict(self) -> dict[str, object]:
        return self._asdict()


@short_repr
@dataclass(frozen=True, slots=True)
class RowReading:
    """What one position reads, as the mean over some heads.

    query: the position, a word of several tokens as one.  heads: how many the weights are means over.
    weights: float32 (keys,), in the order of the stack's keys.  uniform: likewise of even attention, or None.
    visible: bool (keys,), which of them the position sees at all.
    top: the keys that it reads most, the largest weight first.
    own: the places of the keys that are the position itself.
    query_tokens: how many tokens it has.
    query_line, lines: the line of the text, from 1, in which the query and each key begin; None but by line, and for
    what stands in none.
    """

    query: Token
    heads: int
    weights: KeyWeights
    uniform: KeyWeights | None
    visible: npt.NDArray[np.bool_]
    top: tuple[KeyRead, ...]
    own: tuple[int, ...] = ()
    query_line: int | None = None
    lines: tuple[int | None, ...] | None = None
    query_tokens: int = 1

    def to_dict(self) -> dict[str, object]:
        return {
            "query": self.query.to_dict(),
            "heads": self.heads,
            "weights": self.weights.tolist(),
            "uniform": None if self.uniform is None else self.uniform.tolist(),
            "top": [key.to_dict() for key in self.top],
            "own": list(self.own),
            **({} if self.lines is None else {"query_line": self.query_line, "lines": list(self.lines)}),
        }


class HeadWeight(NamedTuple):
    """What one head lets a position read of one key.

    rank: the key's place among the `keys` that the position sees, 1 for the one with the largest weight; None where it
    doesn't see this key.
    """

    name: str
    layer: int
    head: int
    weight: float
    uniform: float | None
    rank: int | None
    keys: int

    def to_dict(self) -> dict[str, object]:
        return self._asdict()


@short_repr
@dataclass(frozen=True, slots=True)
class Ranking:
    """The chosen heads by one weight, that of a query on a key; the largest first.

    key: the whole word or line, where weights are of those.  query_tokens, key_tokens: how many tokens they have.
    query_line, key_line: the lines in which they begin, from
    1; None but by line.
    """

    query: Token
    key: Token
    heads: tuple[HeadWeight, ...]
    query_line: int | None = None
    key_line: int | None = None
    query_tokens: int = 1
    key_tokens: int = 1

    def to_dict(self) -> dict[str, object]:
        lines = {"query_line": self.query_line, "key_line": self.key_line}
        return {
            "query": self.query.to_dict(),
            "key": self.key.to_dict(),
            "heads": [head.to_dict() for head in self.heads],
            **({} if self.key_line is None else lines),
        }
