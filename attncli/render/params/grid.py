"""Tables of names and numbers that fit the width, by leaving out spare columns; and facts under a label.

Facts look like `memory   float32 29.9 GiB · bfloat16 15.0 GiB`, wrapped between them if necessary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from attncli.render.common.cells import cell_width, glyphs, pad
from attncli.render.common.escape import fit_width, name_text
from attncli.render.common.lines import DIM, PLAIN, Line, Style, StyledSpan, flow, joined
from attncli.render.common.terminal import Terminal

_GAP = 2
_MIN_NAME_CELLS = 8
#: Cells of a label.
LABEL_CELLS = 12
_MIN_LABEL_WIDTH = 50


class Column(NamedTuple):
    """A column. right: right-aligned.  spare: the order in which columns are left out if they don't fit; 0 is never."""

    title: str
    right: bool = True
    spare: int = 0
    style: Style = PLAIN


class Cells(NamedTuple):
    """One row, a text for each column."""

    texts: tuple[str, ...]
    style: Style = PLAIN


def has_room(columns: Sequence[Column], rows: Sequence[Cells], terminal: Terminal) -> bool:
    """Whether all columns but the spare ones fit without shortening a name."""
    needed = [index for index, column in enumerate(columns) if not column.spare]
    return _total_width(needed, _widths(columns, _printable_rows(rows, terminal))) <= terminal.width


def table(columns: Sequence[Column], rows: Sequence[Cells], terminal: Terminal) -> list[Line]:
    """A heading and the rows, in aligned columns. If necessary, the first column is shortened.

    Texts are escaped here.
    """
    rows = _printable_rows(rows, terminal)
    shown, widths = _fit_columns(columns, rows, terminal.width)
    heading = Cells(tuple(column.title for column in columns), Style(dim=True))
    lines = [heading, *rows] if any(column.title for column in columns) else rows
    return [_line(row, columns, shown, widths, terminal) for row in lines]


def _printable_rows(rows: Sequence[Cells], terminal: Terminal) -> list[Cells]:
    return [Cells(tuple(name_text(text, terminal) for text in row.texts), row.style) for row in rows]


def _widths(columns: Sequence[Column], rows: Sequence[Cells]) -> dict[int, int]:
    return {
        index: max([cell_width(column.title), *(cell_width(row.texts[index]) for row in rows)])
        for index, column in enumerate(columns)
    }


def _fit_columns(columns: Sequence[Column], rows: Sequence[Cells], width: int) -> tuple[list[int], dict[int, int]]:
    """The indices of the columns that fit, and the widths of all columns."""
    widths = _widths(columns, rows)
    shown = [index for index in range(len(columns)) if any(row.texts[index].strip() for row in rows)]
    while _total_width(shown, widths) > width:
        spare = [index for index in shown if columns[index].spare]
        if not spare:
            break
        shown.remove(min(spare, key=lambda index: columns[index].spare))
    over = _total_width(shown, widths) - width
    if over > 0 and shown:
        widths[shown[0]] = max(widths[shown[0]] - over, min(_MIN_NAME_CELLS, widths[shown[0]]))
    return shown, widths


def _total_width(shown: Sequence[int], widths: dict[int, int]) -> int:
    return sum(widths[index] for index in shown) + _GAP * max(len(shown) - 1, 0)


def _line(
    row: Cells, columns: Sequence[Column], shown: Sequence[int], widths: dict[int, int], terminal: Terminal
) -> Line:
    spans: list[StyledSpan] = []
    for place, index in enumerate(shown):
        text = fit_width(row.texts[index], widths[index], terminal, right=columns[index].right)
        style = row.style if row.style != PLAIN else columns[index].style
        spans.append(StyledSpan(" " * (_GAP if place else 0)))
        spans.append(StyledSpan(text, style))
    return Line(tuple(spans))


def fact_lines(label: str, facts: Iterable[str], terminal: Terminal) -> list[Line]:
    """The facts after one another with indented lines; a long fact is wrapped between words.

    Facts are escaped here.
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
    """The lines with the label before the first; above it if the label is too long or the terminal too narrow."""
    if not lines:
        return []
    if cell_width(label) >= indent:
        return [Line.of(StyledSpan(label, DIM)), *(joined([Line.of(" " * indent), line]) for line in lines)]
    heads = [Line.of(StyledSpan(pad(label, indent), DIM)), *[Line.of(" " * indent)] * (len(lines) - 1)]
    return [joined([head, line]) for head, line in zip(heads, lines, strict=True)]
