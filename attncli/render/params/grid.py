"""Tables of names and numbers that keep to the width: what matters least goes first where there is no room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from attncli.render.cells import cell_width
from attncli.render.lines import PLAIN, Line, Style, StyledSpan
from attncli.render.terminal import Terminal
from attncli.render.token_text import in_place, name_text

_GAP = 2
_LEAST_NAME = 8


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
    return _taken(needed, _widths(columns, _safe(rows, terminal))) <= terminal.width


def table(columns: Sequence[Column], rows: Sequence[Cells], terminal: Terminal) -> list[Line]:
    """A heading and the rows, columns aligned. The first column is cut where nothing else helps.

    Texts may come from outside, and are made safe for a terminal here.
    """
    rows = _safe(rows, terminal)
    kept, widths = _fitting(columns, rows, terminal.width)
    heading = Cells(tuple(column.title for column in columns), Style(dim=True))
    lines = [heading, *rows] if any(column.title for column in columns) else rows
    return [_line(row, columns, kept, widths, terminal) for row in lines]


def _safe(rows: Sequence[Cells], terminal: Terminal) -> list[Cells]:
    return [Cells(tuple(name_text(text, terminal) for text in row.texts), row.style) for row in rows]


def _widths(columns: Sequence[Column], rows: Sequence[Cells]) -> dict[int, int]:
    return {
        index: max([cell_width(column.title), *(cell_width(row.texts[index]) for row in rows)])
        for index, column in enumerate(columns)
    }


def _fitting(columns: Sequence[Column], rows: Sequence[Cells], width: int) -> tuple[list[int], dict[int, int]]:
    """The columns that fit, by their places, and their widths."""
    widths = _widths(columns, rows)
    kept = [index for index in range(len(columns)) if any(row.texts[index].strip() for row in rows)]
    while _taken(kept, widths) > width:
        spare = [index for index in kept if columns[index].spare]
        if not spare:
            break
        kept.remove(min(spare, key=lambda index: columns[index].spare))
    over = _taken(kept, widths) - width
    if over > 0 and kept:
        widths[kept[0]] = max(widths[kept[0]] - over, min(_LEAST_NAME, widths[kept[0]]))
    return kept, widths


def _taken(kept: Sequence[int], widths: dict[int, int]) -> int:
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
