"""Tables of names and numbers that keep to the width: what matters least goes first where there is no room.

Facts under a label: `memory   float32 29.9 GiB · bfloat16 15.0 GiB`, wrapped between the facts where it must be.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from attncli.render.common.cells import cell_width, glyphs, pad
from attncli.render.common.escape import in_place, name_text
from attncli.render.common.lines import DIM, PLAIN, Line, Style, StyledSpan, flow, joined
from attncli.render.common.terminal import Terminal

_GAP = 2
_MIN_NAME_CELLS = 8
#: Cells that labels take.
LABEL_CELLS = 12
_MIN_LABEL_WIDTH = 50


class Column(NamedTuple):
    """A column of a table. right: numbers are.  spare: in which order columns go where there is no room; 0 never."""

    title: str
    right: bool = True
    spare: int = 0
    style: Style = PLAIN


class Cells(NamedTuple):
    """One row, a text a column."""

    texts: tuple[str, ...]
    style: Style = PLAIN


def has_room(columns: Sequence[Column], rows: Sequence[Cells], terminal: Terminal) -> bool:
    """Whether a table keeps all columns but the spare ones, and no name in it is cut."""
    needed = [index for index, column in enumerate(columns) if not column.spare]
    return _total_width(needed, _widths(columns, _printable_rows(rows, terminal))) <= terminal.width


def table(columns: Sequence[Column], rows: Sequence[Cells], terminal: Terminal) -> list[Line]:
    """A heading and the rows, columns aligned. The first column is cut where nothing else helps.

    Texts may come from outside, and are made safe for a terminal here.
    """
    rows = _printable_rows(rows, terminal)
    kept, widths = _fit_columns(columns, rows, terminal.width)
    heading = Cells(tuple(column.title for column in columns), Style(dim=True))
    lines = [heading, *rows] if any(column.title for column in columns) else rows
    return [_line(row, columns, kept, widths, terminal) for row in lines]


def _printable_rows(rows: Sequence[Cells], terminal: Terminal) -> list[Cells]:
    return [Cells(tuple(name_text(text, terminal) for text in row.texts), row.style) for row in rows]


def _widths(columns: Sequence[Column], rows: Sequence[Cells]) -> dict[int, int]:
    return {
        index: max([cell_width(column.title), *(cell_width(row.texts[index]) for row in rows)])
        for index, column in enumerate(columns)
    }


def _fit_columns(columns: Sequence[Column], rows: Sequence[Cells], width: int) -> tuple[list[int], dict[int, int]]:
    """The columns that fit, by their places, and their widths."""
    widths = _widths(columns, rows)
    kept = [index for index in range(len(columns)) if any(row.texts[index].strip() for row in rows)]
    while _total_width(kept, widths) > width:
        spare = [index for index in kept if columns[index].spare]
        if not spare:
            break
        kept.remove(min(spare, key=lambda index: columns[index].spare))
    over = _total_width(kept, widths) - width
    if over > 0 and kept:
        widths[kept[0]] = max(widths[kept[0]] - over, min(_MIN_NAME_CELLS, widths[kept[0]]))
    return kept, widths


def _total_width(kept: Sequence[int], widths: dict[int, int]) -> int:
    return sum(widths[index] for index in kept) + _GAP * max(len(kept) - 1, 0)


def _line(
    row: Cells, columns: Sequence[Column], kept: Sequence[int], widths: dict[int, int], terminal: Terminal
) -> Line:
    spans: list[StyledSpan] = []
    for place, index in enumerate(kept):
        text = in_place(row.texts[index], widths[index], terminal, right=columns[index].right)
        style = row.style if row.style != PLAIN else columns[index].style
        spans.append(StyledSpan(" " * (_GAP if place else 0)))
        spans.append(StyledSpan(text, style))
    return Line(tuple(spans))


def fact_lines(label: str, facts: Iterable[str], terminal: Terminal) -> list[Line]:
    """The facts after one another, lines after the first indented; a long one is wrapped between its words.

    They may hold names from outside, and are made safe for a terminal here.
    """
    indent = LABEL_CELLS if terminal.width >= _MIN_LABEL_WIDTH else 2
    room = terminal.width - indent
    lines: list[Line] = []
    pending: list[Line] = []
    separator = glyphs(terminal).separator
    for fact in (name_text(fact, terminal) for fact in facts):
        if cell_width(fact) <= room:
            pending.append(Line.of(fact))
            continue
        lines += flow(pending, separator=separator, width=room)
        lines += flow([Line.of(word) for word in fact.split(" ")], separator=" ", width=room)
        pending = []
    lines += flow(pending, separator=separator, width=room)
    return _with_label(label, lines, indent)


def _with_label(label: str, lines: list[Line], indent: int) -> list[Line]:
    """The label before the first line; above it where it is too long, or the terminal too narrow."""
    if not lines:
        return []
    if cell_width(label) >= indent:
        return [Line.of(StyledSpan(label, DIM)), *(joined([Line.of(" " * indent), line]) for line in lines)]
    heads = [Line.of(StyledSpan(pad(label, indent), DIM)), *[Line.of(" " * indent)] * (len(lines) - 1)]
    return [joined([head, line]) for head, line in zip(heads, lines, strict=True)]
