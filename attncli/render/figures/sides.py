"""What stands beside rows and above columns: every text where there is room for it, else true positions."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log10
from typing import TYPE_CHECKING

from attncli.render.figures.lettering import POINTS, room_for, text_width, type_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Points that a label needs across its reading direction, and of the numbers that stand for texts.
_LEAST_LINE, _NUMBER_TYPE = 5.6, 7.0
#: Inches between two numbers.
_BETWEEN = 0.16
#: Characters of numbers of heads and the like, which lie above their columns, as many as there is room for.
_LONGEST_LYING = 3


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a picture.

    texts: of each row or column.  starts: where each begins, as a reader counts (tokens, lines, seconds); and where
    the last one ends.  None where there is nothing to count, or where the texts are numbers already.
    unit: what follows a number.  numbered: whether numbers say more than texts, as of bins.
    """

    texts: Sequence[str]
    starts: Sequence[float] | None = None
    unit: str = ""
    numbered: bool = False

    def shows_texts(self, cell: float) -> bool:
        """Whether cells of so many inches have room for a text each."""
        return not self.numbered and (self.starts is None or cell * POINTS >= _LEAST_LINE)

    def room(self, cell: float) -> float:
        """Inches that the labels take away from the cells."""
        if self.shows_texts(cell):
            return room_for(self.texts, type_size(cell)) + 0.08
        return room_for([self._number(self._end)], _NUMBER_TYPE) + 0.08

    def height(self, cell: float) -> float:
        """The same above columns, where short texts and numbers lie."""
        return self.room(cell) if self.is_turned(cell) else 0.22

    def is_turned(self, cell: float) -> bool:
        """Whether texts stand upright above columns of so many inches. Short ones that are thinned out lie."""
        if not self.shows_texts(cell):
            return False
        if self.starts is None and max(map(len, self.texts), default=0) <= _LONGEST_LYING:
            return False
        size = type_size(cell)
        return any(text_width(text, size) > 0.92 * cell for text in self.texts)

    @property
    def _end(self) -> float:
        assert self.starts is not None
        return self.starts[-1]

    @property
    def _mean_width(self) -> float:
        assert self.starts is not None
        return (self._end - self.starts[0]) / len(self.texts)

    def _number(self, position: float) -> str:
        return f"{position:,.0f}{self.unit}" if float(position).is_integer() else f"{position:g}{self.unit}"

    def marks(self, cell: float, *, lying: bool) -> list[tuple[float, str]]:
        """Places in cells, and what stands there. lying: whether numbers stand beside one another."""
        if self.shows_texts(cell):
            size = type_size(cell)
            needs = room_for(self.texts, size) - 0.04 if lying and not self.is_turned(cell) else size * 1.1 / POINTS
            step = _round_step(needs / cell)
            return [(place + 0.5, self.texts[place]) for place in range(0, len(self.texts), step)]
        return list(self._positions(cell, lying=lying))

    def _positions(self, cell: float, *, lying: bool) -> Iterator[tuple[float, str]]:
        """Round positions where they truly are, as many as can be told apart."""
        assert self.starts is not None
        needs = text_width(self._number(self._end), _NUMBER_TYPE) if lying else _NUMBER_TYPE / POINTS
        apart = (needs + _BETWEEN) / cell
        wide = max(b - a for a, b in pairwise(self.starts)) if self.numbered else self._mean_width
        step = _nice(max(apart * wide, 0.0 if self.unit else 1.0))
        last = -apart
        for number in range(ceil(self.starts[0] / step), int(self._end / step) + 1):
            place = self._place(number * step)
            if place is not None and place - last >= apart:
                last = place
                yield place, self._number(round(number * step, 6))

    def _place(self, position: float) -> float | None:
        """Where a position lies among the cells: in the middle of its own, or a part of the way through one of many."""
        assert self.starts is not None
        cell = bisect_right(self.starts, position) - 1
        if not 0 <= cell < len(self.texts):
            return None
        start, end = self.starts[cell], self.starts[cell + 1]
        return cell + 0.5 if end - start <= 1 and not self.unit else cell + (position - start) / (end - start)


def labels(axes: Axes, rows: Side, columns: Side, *, cell: float, tall: float | None = None) -> None:
    """Texts or positions beside the rows and above the columns.

    cell: inches of a column, and of a row but where rows are as `tall` as that.
    """
    axes.xaxis.tick_top()
    axes.tick_params(pad=3)
    for axis, side, length in ((axes.xaxis, columns, cell), (axes.yaxis, rows, tall or cell)):
        marks = side.marks(length, lying=axis is axes.xaxis)
        axis.set_ticks([place for place, _ in marks], [text for _, text in marks])
        shows = side.shows_texts(length)
        axis.set_tick_params(labelsize=type_size(length) if shows else _NUMBER_TYPE, length=0 if shows else 2)
    axes.tick_params(axis="x", labelrotation=90 if columns.is_turned(cell) else 0)


def _nice(least: float) -> float:
    """The next of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** floor(log10(least))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= least)


def _round_step(least: float) -> int:
    """How many go from one label to the next: beyond ten 20, 50, 100 and so on, so that times and numbers are round."""
    return ceil(least) if least <= 10 else int(_nice(least))
