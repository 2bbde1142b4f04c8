"""What texts, tokens and heads are called in figures.

What stands beside rows and above columns: every text where there is room for it, else true positions.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log10
from typing import TYPE_CHECKING

from attncli.render.common.escape import visible
from attncli.render.figures.panels import FigureText
from attncli.render.figures.text_layout import POINTS_PER_INCH, drawable, room_for, text_width, type_size
from attncli.render.heads.difference_view import DIFFERENCE
from attncli.render.heads.header import is_cross, model_lines, stack_lines
from attncli.render.heads.heatmap import spans_of
from attncli.render.heads.metric_words import label_of, weight_number
from attncli.render.heads.shaded_text import line_numbers, numbered, plain_text, running
from attncli.render.html.page import PAGE, SEPARATOR, joined_text, printed
from attncli.results.heads import HeadsResult, Stack
from attncli.results.patterns import Medium, Pattern
from attncli.results.tokens import Token

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MAX_TOKEN_CHARACTERS, _MAX_LINE_CHARACTERS = 18, 34
#: Frames of a sound that are named one by one.
_MAX_NAMED_FRAMES = 16
#: Points that a label needs across its reading direction, and of the numbers that stand for texts.
_MIN_TEXT_POINTS, _NUMBER_SIZE = 5.6, 7.0
#: Inches between two numbers.
_NUMBER_GAP = 0.16
#: Characters of numbers of heads and the like, which lie above their columns, as many as there is room for.
_MAX_HORIZONTAL_CHARACTERS = 3


# --- Texts


def visible_title(text: str) -> str:
    """A title: spaces stay spaces."""
    return visible(text).replace("·", " ") if " " in text else visible(text)


def figure_text(result: HeadsResult, form: str, title: str | None, notes: Sequence[str] = ()) -> FigureText:
    """Title, model, shape and text; of an only stack. Several have their own above each."""
    model = joined_text(model_lines(result, PAGE))
    known = stack_facts(result.stacks[0]) if len(result.stacks) == 1 else []
    known.append(model.removeprefix(f"{printed(result.model)}{SEPARATOR}") if title is None else model)
    said = [drawable(each, form) for each in known]
    return FigureText(
        drawable(visible_title(title or result.model), form), said, [drawable(note, form) for note in notes]
    )


def stack_facts(stack: Stack) -> list[str]:
    """What there is to see in a stack, and the text, where its keys are one."""
    shape = joined_text(stack_lines(stack, PAGE))
    whole = stack.whole is None or stack.whole[1] == len(stack.keys)
    text = running(stack.keys) if whole and stack.key_medium.kind == "tokens" and not is_cross(stack) else ""
    return [shape, f"text: {text}"] if text else [shape]


def key_labels(stack: Stack, pattern: Pattern, form: str) -> AxisLabels:
    """What stands above the columns of a pattern."""
    return _axis_labels(stack, stack.keys, stack.key_medium, stack.key_lines, pattern, 1, form)


def query_labels(stack: Stack, pattern: Pattern, form: str) -> AxisLabels:
    """What stands beside its rows."""
    return _axis_labels(stack, stack.queries, stack.query_medium, stack.query_lines, pattern, 0, form)


def _axis_labels(
    stack: Stack,
    tokens: Sequence[Token],
    medium: Medium,
    lines: Sequence[int | None] | None,
    pattern: Pattern,
    axis: int,
    form: str,
) -> AxisLabels:
    spans = (spans_of(pattern).rows, spans_of(pattern).columns)[axis]
    numbers: list[float] = [*(line_numbers(lines) if lines is not None else (token.index for token in tokens))]
    numbers.append(numbers[-1] + 1)
    seconds = medium.seconds
    if seconds is not None:
        numbers = [number * seconds for number in numbers]
    starts = [numbers[a] for a, _ in spans] + [numbers[spans[-1][1]]]
    unit = "" if seconds is None else "s"
    if pattern.bins is not None or (seconds is not None and len(tokens) > _MAX_NAMED_FRAMES):
        return AxisLabels([f"{start:g}{unit}" for start in starts[:-1]], starts, unit, numbered=True)
    of_line = lines if lines is not None else [None] * len(tokens)
    texts = [label_text(token, stack.unit, form, line) for token, line in zip(tokens, of_line, strict=True)]
    return AxisLabels(texts, starts, unit)


def label_text(token: Token, unit: str, form: str, line: int | None = None) -> str:
    """A token as it is, a word, or a line behind its number."""
    if unit == "token":
        return drawable(_shorten(visible(token.text or token.token or str(token.id)), _MAX_TOKEN_CHARACTERS), form)
    text = " ".join(plain_text(token).split())
    if line is not None:
        return drawable(_shorten(f"{line:,}  {text}", _MAX_LINE_CHARACTERS), form)
    return drawable(_shorten(text, _MAX_TOKEN_CHARACTERS if unit == "word" else _MAX_LINE_CHARACTERS), form)


def _shorten(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def head_title(stack: Stack, pattern: Pattern) -> str:
    """`head 5.1, looks at the next token`."""
    head = next((one for one in stack.metrics if (one.layer, one.head) == (pattern.layer, pattern.head)), None)
    if head is None:
        return f"rollout to layer {pattern.layer}"
    said = "".join(f", {label_of(label).sentence}" for label in head.labels[:1])
    return f"{'' if head.name.startswith(DIFFERENCE) else 'head '}{head.name}{said}"


def position_text(token: Token, form: str, line: int | None = None, count: int = 1) -> str:
    """A position as it is called in a sentence: its text and its number, or those of its `count` tokens."""
    text = " ".join(plain_text(token).split()) or visible(token.text or token.token)
    return drawable(f"{_shorten(text, _MAX_LINE_CHARACTERS)} ({numbered(token.index, count, line)})", form)


@dataclass(frozen=True, slots=True)
class AxisLabels:
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
        return not self.numbered and (self.starts is None or cell * POINTS_PER_INCH >= _MIN_TEXT_POINTS)

    def room(self, cell: float) -> float:
        """Inches that the labels take away from the cells."""
        if self.shows_texts(cell):
            return room_for(self.texts, type_size(cell)) + 0.08
        return room_for([self._number(self._end)], _NUMBER_SIZE) + 0.08

    def height(self, cell: float) -> float:
        """The same above columns, where short texts and numbers lie."""
        return self.room(cell) if self.is_turned(cell) else 0.22

    def is_turned(self, cell: float) -> bool:
        """Whether texts stand upright above columns of so many inches. Short ones that are thinned out lie."""
        if not self.shows_texts(cell):
            return False
        if self.starts is None and max(map(len, self.texts), default=0) <= _MAX_HORIZONTAL_CHARACTERS:
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
            needs = (
                room_for(self.texts, size) - 0.04
                if lying and not self.is_turned(cell)
                else size * 1.1 / POINTS_PER_INCH
            )
            step = _label_step(needs / cell)
            return [(place + 0.5, self.texts[place]) for place in range(0, len(self.texts), step)]
        return list(self._positions(cell, lying=lying))

    def _positions(self, cell: float, *, lying: bool) -> Iterator[tuple[float, str]]:
        """Round positions where they truly are, as many as can be told apart."""
        assert self.starts is not None
        needs = text_width(self._number(self._end), _NUMBER_SIZE) if lying else _NUMBER_SIZE / POINTS_PER_INCH
        apart = (needs + _NUMBER_GAP) / cell
        wide = max(b - a for a, b in pairwise(self.starts)) if self.numbered else self._mean_width
        step = _round_up(max(apart * wide, 0.0 if self.unit else 1.0))
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


def draw_labels(axes: Axes, rows: AxisLabels, columns: AxisLabels, *, cell: float, tall: float | None = None) -> None:
    """Texts or positions beside the rows and above the columns.

    cell: inches of a column, and of a row but where rows are as `tall` as that.
    """
    axes.xaxis.tick_top()
    axes.tick_params(pad=3)
    for axis, side, length in ((axes.xaxis, columns, cell), (axes.yaxis, rows, tall or cell)):
        marks = side.marks(length, lying=axis is axes.xaxis)
        axis.set_ticks([place for place, _ in marks], [text for _, text in marks])
        shows = side.shows_texts(length)
        axis.set_tick_params(labelsize=type_size(length) if shows else _NUMBER_SIZE, length=0 if shows else 2)
    axes.tick_params(axis="x", labelrotation=90 if columns.is_turned(cell) else 0)


def _round_up(least: float) -> float:
    """The next of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** floor(log10(least))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= least)


def _label_step(least: float) -> int:
    """How many go from one label to the next: beyond ten 20, 50, 100 and so on, so that times and numbers are round."""
    return ceil(least) if least <= 10 else int(_round_up(least))


def span_text(values: Iterable[float]) -> str:
    """A number, or from the smallest to the largest of several."""
    found = list(dict.fromkeys(map(short_number, sorted(values))))
    return found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}"


def short_number(value: float) -> str:
    """Three digits behind the point, or two that count where it is small."""
    return weight_number(value) if value >= 0.01 or not value else f"{value:.2g}"
