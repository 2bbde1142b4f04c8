"""Tables of names and numbers that fit the width by leaving out spare columns; and facts under a label.

Facts look like `memory   float32 29.9 GiB · bfloat16 15.0 GiB`, wrapped between them if necessary. This is for the
paths that would notice rich's import; other views make tables of rich's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from attncli.render.common.cells import bar, cell_width, glyphs, pad
from attncli.render.common.escape import ascii_safe, fit_width
from attncli.render.common.lines import BOLD, DIM, PLAIN, Line, Style, StyledSpan, flow, joined
from attncli.render.common.terminal import Terminal

_GAP = 2
_MIN_NAME_CELLS = 8
_LABEL_CELLS = 12
_MIN_LABEL_WIDTH = 50
#: A blue that is legible on black and on white, also for colour-blind readers.
_BAR_STYLE = Style(fg=(0x2E, 0x8F, 0xC2))
_BAR_WIDTHS = (20, 14, 8)


class Column(NamedTuple):
    """A column. right: right-aligned.  spare: the order in which columns are left out if they don't fit; 0 is never."""

    title: str
    right: bool = True
    spare: int = 0
    dim: bool = False


class Row(NamedTuple):
    """One row, a printable text for each column.  share: drawn as a bar beside the row, where there is room."""

    texts: tuple[str, ...]
    bold: bool = False
    share: float | None = None


class Table(NamedTuple):
    """Columns and rows. Columns without any text are left out, and so are headings if all are empty."""

    columns: Sequence[Column]
    rows: Sequence[Row]


def has_room(table: Table, terminal: Terminal) -> bool:
    """Whether all columns but the spare ones fit without shortening a name."""
    needed = [index for index, column in enumerate(table.columns) if not column.spare]
    return _total_width(needed, _widths(_ascii_safe(table, terminal))) <= terminal.width


def table_lines(table: Table, terminal: Terminal) -> list[Line]:
    """A heading and the rows, in aligned columns. If necessary, the first column is shortened."""
    table = _ascii_safe(table, terminal)
    widths = _widths(table)
    filled = [index for index in range(len(table.columns)) if any(row.texts[index].strip() for row in table.rows)]
    room = terminal.width - _total_width(filled, widths) - _GAP
    bar_width = next((width for width in _BAR_WIDTHS if width <= room), 0)
    shown = _fit_columns(table.columns, filled, widths, terminal.width)
    lines = []
    if any(column.title for column in table.columns):
        lines.append(_line([column.title for column in table.columns], DIM, table.columns, shown, widths, terminal))
    for row in table.rows:
        line = _line(row.texts, BOLD if row.bold else PLAIN, table.columns, shown, widths, terminal)
        if row.share is not None and bar_width:
            drawn = StyledSpan(bar(row.share, bar_width, terminal), _BAR_STYLE)
            line = Line((*line.spans, StyledSpan(" " * _GAP), drawn))
        lines.append(line)
    return lines


def _ascii_safe(table: Table, terminal: Terminal) -> Table:
    safe = [row._replace(texts=tuple(ascii_safe(text, terminal) for text in row.texts)) for row in table.rows]
    return table._replace(rows=safe)


def _widths(table: Table) -> dict[int, int]:
    return {
        index: max([cell_width(column.title), *(cell_width(row.texts[index]) for row in table.rows)])
        for index, column in enumerate(table.columns)
    }


def _fit_columns(columns: Sequence[Column], filled: Sequence[int], widths: dict[int, int], width: int) -> list[int]:
    """The indices of the columns that fit; if the others alone are too wide, the first one's width is reduced."""
    shown = list(filled)
    while _total_width(shown, widths) > width and (spare := [index for index in shown if columns[index].spare]):
        shown.remove(min(spare, key=lambda index: columns[index].spare))
    over = _total_width(shown, widths) - width
    if over > 0 and shown:
        widths[shown[0]] = max(widths[shown[0]] - over, min(_MIN_NAME_CELLS, widths[shown[0]]))
    return shown


def _total_width(shown: Sequence[int], widths: dict[int, int]) -> int:
    return sum(widths[index] for index in shown) + _GAP * max(len(shown) - 1, 0)


def _line(
    texts: Sequence[str],
    style: Style,
    columns: Sequence[Column],
    shown: Sequence[int],
    widths: dict[int, int],
    terminal: Terminal,
) -> Line:
    spans: list[StyledSpan] = []
    for place, index in enumerate(shown):
        text = fit_width(texts[index], widths[index], terminal, right=columns[index].right)
        own = DIM if columns[index].dim else PLAIN
        spans += [StyledSpan(" " * (_GAP if place else 0)), StyledSpan(text, own if style == PLAIN else style)]
    return Line(tuple(spans))


def fact_lines(label: str, facts: Iterable[str], terminal: Terminal) -> list[Line]:
    """The printable facts after one another with indented lines; a long fact is wrapped between words."""
    indent = _LABEL_CELLS if terminal.width >= _MIN_LABEL_WIDTH else 2
    room = terminal.width - indent
    lines: list[Line] = []
    pending: list[Line] = []
    separator = glyphs(terminal).separator
    for fact in (ascii_safe(fact, terminal) for fact in facts):
        if cell_width(fact) <= room:
            pending.append(Line.of(fact))
            continue
        lines += flow(pending, separator=separator, width=room)
        lines += flow([Line.of(word) for word in fact.split(" ")], separator=" ", width=room)
        pending = []
    lines += flow(pending, separator=separator, width=room)
    indented = [joined([Line.of(" " * indent), line]) for line in lines]
    if not lines or cell_width(label) >= indent:
        return [Line.of(StyledSpan(label, DIM)), *indented] if lines else []
    return [joined([Line.of(StyledSpan(pad(label, indent), DIM)), lines[0]]), *indented[1:]]
