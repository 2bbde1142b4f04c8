"""Labels in figures: names of tokens, positions and heads, and the texts or positions beside rows and above columns."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log10

from matplotlib.axes import Axes

from attncli.render.common.escape import visible
from attncli.render.common.numbers import two_digits, weight_number
from attncli.render.figures.text_layout import POINTS_PER_INCH, drawable, room_for, text_width, type_size
from attncli.render.views.difference import DIFFERENCE
from attncli.render.views.header import CORRECTED
from attncli.render.views.metric_words import label_of
from attncli.render.views.overview import shown_labels
from attncli.render.views.patterns import Axis, axes_of
from attncli.render.views.sentences import Position, raw_text, shorten_plain
from attncli.results.heads import Stack
from attncli.results.patterns import Pattern
from attncli.results.tokens import Token

_MAX_TOKEN_CHARACTERS, _MAX_LINE_CHARACTERS = 18, 34
#: Frames of a sound up to which each has a label.
_MAX_NAMED_FRAMES = 16
#: Points of a cell that has room for a text, and the font size of positions.
_MIN_TEXT_POINTS, _NUMBER_SIZE = 5.6, 7.0
#: Inches between two positions.
_NUMBER_GAP = 0.16
#: Characters of short labels (as of heads), which are horizontal above columns, thinned out if necessary.
_MAX_HORIZONTAL_CHARACTERS = 3


def axis_labels(stack: Stack, pattern: Pattern, form: str) -> tuple[AxisLabels, AxisLabels]:
    """The labels beside the rows and above the columns of a pattern."""
    rows, columns = axes_of(stack, pattern)
    binned = pattern.bins is not None
    return _axis_labels(rows, form, binned=binned), _axis_labels(columns, form, binned=binned)


def _axis_labels(axis: Axis, form: str, *, binned: bool) -> AxisLabels:
    seconds, unit = axis.medium.seconds, "" if axis.medium.seconds is None else "s"
    numbers = [*axis.numbers, axis.numbers[-1] + 1]
    places = [numbers[place] for place in (*(a for a, _ in axis.spans), axis.spans[-1][1])]
    starts = places if seconds is None else [axis.medium.moment(place) for place in places]
    if binned or (seconds is not None and len(axis.tokens) > _MAX_NAMED_FRAMES):
        return AxisLabels([f"{start:g}{unit}" for start in starts[:-1]], starts, unit, numbered=True)
    lines = axis.lines or [None] * len(axis.tokens)
    texts = [label_text(token, axis.unit, form, line) for token, line in zip(axis.tokens, lines, strict=True)]
    return AxisLabels(texts, starts, unit)


def label_text(token: Token, unit: str, form: str, line: int | None = None) -> str:
    """The text of a token, of a word, or of a line after its number."""
    if unit == "token":
        text, longest = visible(raw_text(token)), _MAX_TOKEN_CHARACTERS
    else:
        text = f"{'' if line is None else f'{line:,}  '}{Position(token).text}"
        longest = _MAX_TOKEN_CHARACTERS if unit == "word" and line is None else _MAX_LINE_CHARACTERS
    return drawable(shorten_plain(text, longest), form)


def head_title(stack: Stack, layer: int, head: int | None, *, corrected: bool = False) -> str:
    """`head 5.1, looks at the next token`; of a rollout, whether it is corrected by receptive field."""
    found = next((one for one in stack.metrics if (one.layer, one.head) == (layer, head)), None)
    if found is None:
        return f"rollout to layer {layer}{CORRECTED if corrected else ''}"
    label = "".join(f", {label_of(label).sentence}" for label in shown_labels(found, stack)[:1])
    return f"{'' if found.name.startswith(DIFFERENCE) else 'head '}{found.name}{label}"


def position_text(position: Position, form: str) -> str:
    """A position in a sentence: its text and number, or the numbers of its tokens."""
    text = position.text or visible(position.token.text or position.token.token)
    return drawable(f"{shorten_plain(text, _MAX_LINE_CHARACTERS)} ({position.place})", form)


@dataclass(frozen=True)
class AxisLabels:
    """The labels of the rows or columns of an array.

    texts: of each row or column.  starts: the position (in tokens, lines or seconds) where each begins, and where the
    last one ends; empty if there are no positions.  unit: follows a position.  numbered: whether positions are shown in
    place of texts, as for bins.
    """

    texts: Sequence[str]
    starts: Sequence[float] = ()
    unit: str = ""
    numbered: bool = False

    def shows_texts(self, cell: float) -> bool:
        """Whether texts are shown and fit cells of `cell` inches."""
        return not self.numbered and (not self.starts or cell * POINTS_PER_INCH >= _MIN_TEXT_POINTS)

    def room(self, cell: float) -> float:
        """Inches that the labels beside rows take."""
        if self.shows_texts(cell):
            return room_for(self.texts, type_size(cell)) + 0.08
        return room_for([self._number(self.starts[-1])], _NUMBER_SIZE) + 0.08

    def height(self, cell: float) -> float:
        """Inches that the labels above columns take."""
        return self.room(cell) if self.is_rotated(cell) else 0.22

    def is_rotated(self, cell: float) -> bool:
        """Whether texts above columns of `cell` inches are rotated. Short ones are thinned out instead."""
        short = not self.starts and max(map(len, self.texts), default=0) <= _MAX_HORIZONTAL_CHARACTERS
        if short or not self.shows_texts(cell):
            return False
        return any(text_width(text, type_size(cell)) > 0.92 * cell for text in self.texts)

    def _number(self, position: float) -> str:
        return f"{position:,.0f}{self.unit}" if float(position).is_integer() else f"{position:g}{self.unit}"

    def ticks(self, cell: float, *, horizontal: bool) -> list[tuple[float, str]]:
        """Places, in cells, and their labels.  horizontal: whether labels are beside one another."""
        if not self.shows_texts(cell):
            return list(self._positions(cell, horizontal=horizontal))
        size = type_size(cell)
        beside = horizontal and not self.is_rotated(cell)
        needs = room_for(self.texts, size) - 0.04 if beside else size * 1.1 / POINTS_PER_INCH
        # Beyond ten 20, 50, 100 and so on, so that positions are round.
        step = ceil(needs / cell) if needs / cell <= 10 else int(_round_up(needs / cell))
        return [(place + 0.5, self.texts[place]) for place in range(0, len(self.texts), step)]

    def _positions(self, cell: float, *, horizontal: bool) -> Iterator[tuple[float, str]]:
        """Round positions at their exact places, as many as fit."""
        first, end = self.starts[0], self.starts[-1]
        needs = text_width(self._number(end), _NUMBER_SIZE) if horizontal else _NUMBER_SIZE / POINTS_PER_INCH
        apart = (needs + _NUMBER_GAP) / cell
        wide = max(b - a for a, b in pairwise(self.starts)) if self.numbered else (end - first) / len(self.texts)
        step = _round_up(max(apart * wide, 0.0 if self.unit else 1.0))
        last = -apart
        for number in range(ceil(first / step), int(end / step) + 1):
            place = self._place(number * step)
            if place is not None and place - last >= apart:
                last = place
                yield place, self._number(round(number * step, 6))

    def _place(self, position: float) -> float | None:
        """The place of a position in cells: the middle of its cell, or within a cell of several positions."""
        cell = bisect_right(self.starts, position) - 1
        if not 0 <= cell < len(self.texts):
            return None
        start, end = self.starts[cell], self.starts[cell + 1]
        return cell + 0.5 if end - start <= 1 and not self.unit else cell + (position - start) / (end - start)


def draw_labels(axes: Axes, rows: AxisLabels, columns: AxisLabels, *, cell: float, tall: float | None = None) -> None:
    """Draw the labels beside the rows and above the columns.

    cell: inches of a column.  tall: inches of a row, if that differs.
    """
    axes.xaxis.tick_top()
    axes.tick_params(pad=3)
    for axis, side, length in ((axes.xaxis, columns, cell), (axes.yaxis, rows, tall or cell)):
        ticks = side.ticks(length, horizontal=axis is axes.xaxis)
        axis.set_ticks([place for place, _ in ticks], [text for _, text in ticks])
        shows = side.shows_texts(length)
        axis.set_tick_params(labelsize=type_size(length) if shows else _NUMBER_SIZE, length=0 if shows else 2)
    axes.tick_params(axis="x", labelrotation=90 if columns.is_rotated(cell) else 0)


def _round_up(least: float) -> float:
    """The next of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** floor(log10(least))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= least)


def span_text(values: Iterable[float]) -> str:
    """A number, or the smallest and the largest of several."""
    texts = list(dict.fromkeys(map(short_number, sorted(values))))
    return texts[0] if len(texts) == 1 else f"{texts[0]} to {texts[-1]}"


def short_number(value: float) -> str:
    """The number to three decimals, or if it is small to two significant digits."""
    return weight_number(value) if value >= 0.01 or not value else two_digits(value)
