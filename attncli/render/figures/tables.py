"""Tables as parts of a figure: what a ranking or a list says beside the maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from attncli.render.figures.panels import EDGE, Part
from attncli.render.figures.text_layout import (
    DIM_COLOR,
    HEADING_SIZE,
    LABEL_SIZE,
    line_height,
    room_for,
    wrap_text,
    write_line,
    write_lines,
)

#: Inches between two columns, beneath a title, and above the sentences under a table.
_GAP, _BENEATH_TITLE, _ABOVE_SENTENCES = 0.12, 0.04, 0.1


class Column(NamedTuple):
    """A column of a table. right: cells end at its right edge, as numbers do."""

    heading: str
    cells: Sequence[str]
    right: bool = False


def table_part(title: str, columns: Sequence[Column], sentences: Sequence[str] = (), *, least: float = 0.0) -> Part:
    """A title, a heading line, a row for each entry, and sentences beneath.

    least: inches that the sentences may take across where the table is narrower.
    """
    widths = [room_for([column.heading, *column.cells], LABEL_SIZE) for column in columns]
    width = max(sum(widths) + _GAP * (len(widths) - 1), least)
    titles = wrap_text(title, width, HEADING_SIZE) if title else []
    said = [line for each in sentences for line in wrap_text(each, width, LABEL_SIZE)]
    rows = max((len(column.cells) for column in columns), default=0)
    above = len(titles) * line_height(HEADING_SIZE) + _BENEATH_TITLE
    line = line_height(LABEL_SIZE)
    table = above + (rows + 1) * line

    def draw(figure: Figure, top: float) -> None:
        write_lines(figure, titles, top=top, left=EDGE, size=HEADING_SIZE)
        left = EDGE
        for column, wide in zip(columns, widths, strict=True):
            for place, text in enumerate((column.heading, *column.cells)):
                at = left + wide - room_for([text], LABEL_SIZE) if column.right else left
                color = DIM_COLOR if place == 0 else "black"
                write_line(figure, text, top=top + above + place * line, left=at, size=LABEL_SIZE, color=color)
            left += wide + _GAP
        write_lines(figure, said, top=top + table + _ABOVE_SENTENCES, left=EDGE, size=LABEL_SIZE)

    return Part(EDGE + width, table + (_ABOVE_SENTENCES + len(said) * line if said else 0.0), draw)
