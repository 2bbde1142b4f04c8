"""The tables of a walk: the scores of the keys, and what is read of their values."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from attncli.render.cells import cell_width
from attncli.render.glyphs import glyphs
from attncli.render.heads.numbers import place_number
from attncli.render.layout import joined, padded
from attncli.render.lines import BOLD, DIM, Line, Style, StyledSpan
from attncli.render.terminal import Terminal
from attncli.render.token_text import in_place, token_text
from attncli.results.steps import Steps, Vector

_LONGEST_TOKEN = 12
_MOST_NUMBERS = 6
_BAR = 16
# Cells of a line that has room to say what z is.
_ROOM_FOR_SUM = 30


class Symbols(NamedTuple):
    """The signs of formulas."""

    times: str
    dot: str
    over: str
    root: str
    sum: str
    minus: str
    infinity: str


_UNICODE = Symbols("×", "·", "÷", "√", "Σ", "−", "∞")
_ASCII = Symbols("x", ".", "/", "sqrt ", "sum of", "-", "inf")


def symbols(terminal: Terminal) -> Symbols:
    """Those that this terminal can show."""
    return _UNICODE if terminal.unicode else _ASCII


class Column(NamedTuple):
    """Numbers under a heading, right-aligned, the last of them of the keys that aren't listed.

    worth: a column of less goes before one of more where there is no room for all.
    """

    heading: str
    cells: tuple[str, ...]
    style: Style = Style()
    worth: int = 9

    @property
    def width(self) -> int:
        return max(map(cell_width, (self.heading, *self.cells)))

    def lines(self, hidden: Collection[int] = ()) -> Iterator[Line]:
        """The heading and the cells; those of hidden keys are grey."""
        yield Line.of(StyledSpan(" " * (self.width - cell_width(self.heading)) + self.heading, DIM))
        for row, cell in enumerate(self.cells):
            yield Line.of(StyledSpan(cell.rjust(self.width), DIM if row in hidden else self.style))


def shown_vector(name: str, vector: Vector, norm: float, terminal: Terminal) -> Line:
    """`  q = [0.41 -0.22 … 30 more]  norm 5.21`: as many numbers as there is room for."""
    more = glyphs(terminal).ellipsis
    end = f"  norm {_number(norm)}"
    for count in range(min(len(vector), _MOST_NUMBERS + 2), 0, -1):
        rest = len(vector) - count
        numbers = " ".join(_number(each) for each in vector[:count])
        text = f"  {name} = [{numbers}{f' {more} {rest:,} more' if rest else ''}]"
        if cell_width(text + end) <= terminal.width:
            return Line.of(text, StyledSpan(end, DIM))
    return Line.of(f"  {end.strip()}")


def score_table(steps: Steps, terminal: Terminal) -> list[Line]:
    """A row a key: k, q·k, what becomes of it, and the weight."""
    signs = symbols(terminal)
    columns = [Column(f"q{signs.dot}k", _cells(steps.products, steps), worth=1)]
    if steps.scale != 1:
        scale = f"{signs.over}{1 / steps.scale:.2f}" if steps.scale < 1 else f"{signs.times}{steps.scale:.3g}"
        columns.append(Column(scale, _cells(steps.scaled, steps), worth=2))
    if steps.capped is not None:
        columns.append(Column("capped", _cells(steps.capped, steps), worth=2))
    if steps.bias is not None:
        columns.append(Column("+bias", _cells(steps.bias, steps), worth=2))
    hidden = frozenset(np.flatnonzero(~steps.visible).tolist())
    if steps.bias is not None or hidden:
        scores = (
            f"{signs.minus}{signs.infinity}" if row in hidden else cell
            for row, cell in enumerate(_cells(steps.scores, steps))
        )
        columns.append(Column("score", tuple(scores), worth=3))
    weights = [*steps.weights.tolist(), *([steps.others.weight] if steps.others.visible else [])]
    shown = ("0" if row in hidden else weight for row, weight in enumerate(_weights(weights)))
    columns.append(Column("weight", tuple(shown), BOLD))
    labels = _labels(steps, terminal)
    columns = _fitting(columns, terminal.width - labels[0].width)
    taken = labels[0].width + sum(column.width + 2 for column in columns)
    bars = _bars(weights, min(_BAR, terminal.width - taken - 2), terminal)
    norms = Column("norm", _cells(steps.key_norms, steps))
    room = terminal.width - taken - 2 - max(line.width for line in bars)
    if room >= norms.width + 2:
        columns.insert(0, norms)
        room -= norms.width + 2
    vectors = _vectors("k", steps.key_vectors, steps, room - 2, terminal)
    return _table(labels, [*vectors, *columns], bars, hidden)


def read_table(steps: Steps, terminal: Terminal) -> list[Line]:
    """A row a key: its weight and v; and their sum."""
    signs = symbols(terminal)
    labels = [*_labels(steps, terminal), Line.of(" z, their sum" if terminal.width >= _ROOM_FOR_SUM else " z")]
    width = max(line.width for line in labels)
    others = bool(steps.others.visible)
    weights = [*steps.weights.tolist(), *([steps.others.weight] if others else [])]
    times = Column("weight", (*(f"{weight} {signs.times}" for weight in _weights(weights)), ""), BOLD)
    norms = (*(_number(norm) for norm in steps.value_norms.tolist()), *([""] * others), _number(steps.sum_norm))
    columns = _fitting([times, Column("norm", norms, worth=1)], terminal.width - width)
    room = terminal.width - width - sum(column.width + 2 for column in columns)
    vectors = _vectors("v", steps.values, steps, room, terminal, total=steps.weighted_sum)
    lines = [padded(line, width) for line in labels]
    return _table(lines, [times, *vectors, *columns[1:]], [Line()] * len(lines))


def _weights(weights: Sequence[float]) -> tuple[str, ...]:
    return tuple(place_number(weight, 2) for weight in weights)


def _fitting(columns: Sequence[Column], room: int) -> list[Column]:
    """The columns without those of least worth, as many as have room; the last that is worth most stays in any case."""
    kept = list(columns)
    while len(kept) > 1 and sum(column.width + 2 for column in kept) > room:
        kept.remove(min(kept, key=lambda column: column.worth))
    return kept


def _labels(steps: Steps, terminal: Terminal) -> list[Line]:
    """The heading, then each key by its place and token, then those that aren't listed."""
    places = max((len(str(token.index)) for token in steps.keys), default=1)
    texts = [token_text(token, terminal) for token in steps.keys]
    widest = min(max(map(cell_width, texts), default=3), _LONGEST_TOKEN, terminal.width // 4)
    rows = [
        Line.of(
            StyledSpan(f" {token.index:>{places}} ", DIM),
            StyledSpan(in_place(text, widest, terminal), Style() if seen else DIM),
        )
        for token, text, seen in zip(steps.keys, texts, steps.visible.tolist(), strict=True)
    ]
    if steps.others.visible:
        rows.append(Line.of(StyledSpan(f" {glyphs(terminal).ellipsis} {steps.others.visible:,} others", DIM)))
    whole = max((line.width for line in rows), default=0)
    return [padded(Line.of(StyledSpan(f" {'key':>{places}}", DIM)), whole), *(padded(line, whole) for line in rows)]


def _cells(values: Vector, steps: Steps) -> tuple[str, ...]:
    return (*map(_number, values.tolist()), *([""] if steps.others.visible else []))


def _number(value: float) -> str:
    return f"{value:z.2f}" if abs(value) < 1000 else f"{value:.3g}"


def _vectors(
    name: str, vectors: Vector, steps: Steps, room: int, terminal: Terminal, *, total: Vector | None = None
) -> list[Column]:
    """The first numbers of a vector a row, in `room` cells; nothing where not even one fits."""
    for count in range(min(vectors.shape[1], _MOST_NUMBERS), 0, -1):
        rows = [*vectors[:, :count].tolist(), *([] if total is None else [total[:count].tolist()])]
        widest = max((len(_number(each)) for row in rows for each in row), default=0)
        more = f" {glyphs(terminal).ellipsis}" if count < vectors.shape[1] else ""
        cells = [f"[{' '.join(_number(each).rjust(widest) for each in row)}{more}]" for row in rows]
        others = [""] if steps.others.visible else []
        listed = len(steps.keys)
        column = Column("", (*cells[:listed], *others, *cells[listed:]))
        if column.width + 2 <= room:
            return [column._replace(heading=f" {name}".ljust(column.width))]
    return []


def _bars(weights: Sequence[float], width: int, terminal: Terminal) -> list[Line]:
    """A bar a weight, the longest for the largest; blank where there is no room."""
    largest = max(weights, default=0.0) or 1.0
    ink = "█" if terminal.unicode else "#"
    bars = [Line.of(ink * round(width * weight / largest)) if width >= 4 else Line() for weight in weights]
    return [Line(), *bars]


def _table(
    labels: Sequence[Line], columns: Sequence[Column], bars: Sequence[Line], hidden: Collection[int] = ()
) -> list[Line]:
    rows = zip(labels, *(column.lines(hidden) for column in columns), bars, strict=True)
    # What is blank at the end takes no room.
    return [joined(row if row[-1].width else row[:-1], "  ") for row in rows]
