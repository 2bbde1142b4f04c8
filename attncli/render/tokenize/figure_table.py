"""Tables of figures: rows under the names of their columns, each with what it means, in as many parts as fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from attncli.render.cells import cell_width, pad
from attncli.render.layout import flow, joined
from attncli.render.lines import BOLD, DIM, PLAIN, Line, Style, StyledSpan
from attncli.render.terminal import Terminal

#: A line of a table: what it is about, and a value a column.
Row = tuple[str, Sequence[str]]

_GAP = "  "

#: With less room than this beside the values, what they mean is written beneath them.
_MEANING_ROOM = 30


def figure_table(
    title: str, names: Sequence[str], rows: Sequence[Row], terminal: Terminal, meanings: Sequence[str] = ()
) -> list[Line]:
    """Rows under the names of their columns, in as many parts as the width asks for.

    meanings: one a row, beside the first part or beneath its rows.
    """
    side = max(cell_width(label) for label in (title, *(label for label, _ in rows)))
    cells = list(zip(*(values for _, values in rows), strict=True))
    headed = [(name, column) for name, column in zip(names or [""] * len(cells), cells, strict=True)]
    lines: list[Line] = []
    for number, part in enumerate(_fitting(headed, terminal.width - side)):
        if lines:
            lines.append(Line())
        if names:
            lines.append(_row(title, side, [(name, _width(name, column)) for name, column in part], BOLD))
        for index, (label, _) in enumerate(rows):
            row = _row(label, side, [(column[index], _width(name, column)) for name, column in part], PLAIN)
            lines += _explained(row, meanings[index] if meanings and not number else "", terminal)
    return lines


def _fitting(columns: Sequence[tuple[str, Sequence[str]]], room: int) -> Iterator[list[tuple[str, Sequence[str]]]]:
    """The columns in parts that are no wider than there is room, but for one that is alone."""
    part: list[tuple[str, Sequence[str]]] = []
    taken = 0
    for name, column in columns:
        width = len(_GAP) + _width(name, column)
        if part and taken + width > room:
            yield part
            part, taken = [], 0
        part.append((name, column))
        taken += width
    if part:
        yield part


def _width(name: str, column: Iterable[str]) -> int:
    return max(cell_width(text) for text in (name, *column))


def _row(label: str, side: int, cells: Iterable[tuple[str, int]], style: Style) -> Line:
    values = [StyledSpan(_GAP + pad(text, width, right=True), style) for text, width in cells]
    return Line.of(StyledSpan(pad(label, side), style), *values)


def _explained(row: Line, meaning: str, terminal: Terminal) -> list[Line]:
    room = terminal.width - row.width - len(_GAP)
    if not meaning:
        return [row]
    words = [Line.of(StyledSpan(word, DIM)) for word in meaning.split()]
    beside = room >= _MEANING_ROOM
    lines = flow(words, separator=" ", width=room if beside else max(terminal.width - 2, 1))
    if not beside:
        return [row, *(joined([Line.of(_GAP), line]) for line in lines)]
    return [joined([row if not index else Line.of(" " * row.width), line], _GAP) for index, line in enumerate(lines)]
