"""Two pictures of a state in a terminal: the matrix of similarities as a heatmap, and a map of two components."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
from rich.console import RenderableType
from rich.style import Style
from rich.text import Text

from attncli.render.common.cells import cell_width, glyphs, pad
from attncli.render.common.colormap import has_colormap, text_color_on, weight_color
from attncli.render.common.console import rgb_style, sentence, text
from attncli.render.common.escape import ascii_safe
from attncli.render.common.numbers import percent_text
from attncli.render.common.terminal import Terminal
from attncli.render.compare.context import context_line, group_style
from attncli.render.views.compare import CompareView, cosine_text
from attncli.results.compare import Matrix, State

DENSITY_RAMP = " .:-=+*#%@"
#: Cells of a value: as `0.93` with its shade, as hundredths with a shade, as a shade alone.
_DECIMAL_CELLS, _HUNDREDTHS_CELLS, _SHADE_CELLS = 6, 4, 2
_SCALE_CELLS = 20
#: The size of the map; terminal cells are about twice as high as wide.
_MAX_COLUMNS, _MAP_ROWS, _FEWEST_MAP_ROWS = 72, 13, 6
#: Cells of a sentence beside the matrix at least, and between the two.
MIN_BESIDE, _GAP = 20, 2
#: Occurrences up to which each has its number on the map; of more, a cell shows its most frequent group as a letter.
_MAX_NUMBERS = 60
#: Occurrences up to which labels stand beside the numbers, on maps of at least the width below.
_MAX_LABELS = 12
_MIN_LABEL_WIDTH = 50
#: Columns that a number may be moved without a remark.
_MAX_SILENT_SHIFT = 3
#: From few occurrences in a cell to many.
_DENSITY = ".:oO@"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
#: What is drawn on the map, by row and column.
Marks = dict[tuple[int, int], Text]


class MatrixScale(NamedTuple):
    """The values at the ends of the colour scale (or of the density ramp)."""

    low: float
    high: float
    terminal: Terminal

    def share(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low) if self.high - self.low > 1e-9 else 1.0

    def cell(self, value: float, width: int) -> tuple[str, str | Style]:
        """One value in `width` cells: a number on its shade, or without colours the number or the shade alone."""
        hundredths = str(round(100 * value)) if width >= _HUNDREDTHS_CELLS else ""
        number = cosine_text(value) if width >= _DECIMAL_CELLS else hundredths
        if has_colormap(self.terminal.color):
            color = weight_color(self.share(value), self.terminal.color)
            return number.rjust(width - 1) + " ", rgb_style(text_color_on(color), color)
        ink = DENSITY_RAMP[round(min(max(self.share(value), 0.0), 1.0) * (len(DENSITY_RAMP) - 1))]
        return f"{number.rjust(width - 1)} " if number else ink * width, ""

    def legend(self) -> Text:
        """The scale with its ends: `0.78 <ramp> 0.97`."""
        low, high = cosine_text(self.low), cosine_text(self.high)
        if not has_colormap(self.terminal.color):
            return Text(f"{low} [{DENSITY_RAMP}] {high}")
        steps = (weight_color(step / (_SCALE_CELLS - 1), self.terminal.color) for step in range(_SCALE_CELLS))
        return Text.assemble(f"{low} ", *((" ", rgb_style(bg=color)) for color in steps), f" {high}")


def matrix_scale(matrix: Matrix, terminal: Terminal) -> MatrixScale:
    """The scale from the least to the greatest value off the diagonal."""
    values = matrix[~np.eye(len(matrix), dtype=bool)]
    return MatrixScale(float(values.min()), float(values.max()), terminal)


class MatrixLayout(NamedTuple):
    """How wide the columns of a matrix are: of the numbers, the labels beside them, and the cells."""

    names: int
    tags: int
    cell: int

    @property
    def margin(self) -> int:
        return self.names + 1 + (self.tags + 1 if self.tags else 0)

    @property
    def shows_numbers(self) -> bool:
        return self.cell != _SHADE_CELLS

    @classmethod
    def fit(cls, view: CompareView, width: int) -> MatrixLayout | None:
        """The layout with the widest cells that fit; None if none do."""
        names, tags = max(map(len, view.names)), max(map(cell_width, view.tags))
        room = (width - cls(names, tags, 0).margin) // len(view.names)
        widths = _DECIMAL_CELLS, _HUNDREDTHS_CELLS, _SHADE_CELLS
        cell = next((it for it in widths if it <= room and names < it + (it == _SHADE_CELLS)), None)
        return None if cell is None else cls(names, tags, cell)


def matrix_rows(matrix: Matrix, view: CompareView, layout: MatrixLayout, terminal: Terminal) -> list[RenderableType]:
    """The heatmap, ordered by label, its sentences beside it where there is room for them."""
    names, cell = view.names, layout.cell
    order = sorted(range(len(names)), key=view.group)
    scale = matrix_scale(matrix, terminal)
    room = terminal.width - layout.margin - len(names) * cell - _GAP
    same = (glyphs(terminal).dot.rjust(cell - 1).ljust(cell), "dim")
    rows: list[RenderableType] = []
    for index in order:
        name = text(names[index].rjust(layout.names), group_style(view, index, terminal))
        tag = text(f" {pad(view.tags[index], layout.tags)} " if layout.tags else " ")
        cells = (same if other == index else scale.cell(float(matrix[index, other]), cell) for other in order)
        beside = context_line(view.result.occurrences[index], room, view) if room >= MIN_BESIDE else text("")
        rows.append(Text.assemble(name, tag, *cells, " " * _GAP, beside))
    end = 0 if cell == _SHADE_CELLS else 1
    headings = "".join(f"{names[index]:>{cell - end}}{' ' * end}" for index in order)
    return [Text.assemble(" " * layout.margin, (headings, "dim")), *rows]


def shows_sentences(view: CompareView, layout: MatrixLayout | None, terminal: Terminal) -> bool:
    """Whether `matrix_rows` shows the sentences beside the matrix."""
    return layout is not None and terminal.width - layout.margin - len(view.names) * layout.cell - _GAP >= MIN_BESIDE


def scale_parts(matrix: Matrix, layout: MatrixLayout, terminal: Terminal) -> list[Text]:
    """The legend of a matrix: its scale, where there are colours or shades, and what hundredths mean."""
    shaded = has_colormap(terminal.color) or not layout.shows_numbers
    hundredths = [text("50 means 0.50", "dim")] if layout.cell == _HUNDREDTHS_CELLS else []
    return [*([matrix_scale(matrix, terminal).legend()] if shaded else []), *hundredths]


def map_rows(state: State, view: CompareView, terminal: Terminal, *, room: int | None = None) -> list[RenderableType]:
    """The map between bars, and the share of the variance that it shows.

    room: how many lines it may take; no map for too few.
    """
    if state.positions is None or state.explained is None:
        return []
    width = min(terminal.width - 2, _MAX_COLUMNS)
    rows = _MAP_ROWS if len(view.names) > 6 else _MAP_ROWS - 4
    if room is not None:
        rows = min(rows, room - 1)
        if rows < _FEWEST_MAP_ROWS:
            return []
    if len(view.names) <= _MAX_NUMBERS:
        marks, moved = _number_marks(state.positions, view, width, rows, terminal)
        key = " (some numbers are moved to be readable)" if moved else ""
    else:
        marks = _group_marks(state.positions, view, width, rows, terminal)
        letters = (
            f"{_LETTERS[place % len(_LETTERS)]} {group or 'no label'}" for place, group in enumerate(view.groups)
        )
        key = f" ({', '.join(letters)})" if view.has_groups else " (. few occurrences, @ many)"
    across, up = (percent_text(share) for share in state.explained)
    title = f"Map (two principal components with {across} and {up} of the variance){key}"
    return [sentence(ascii_safe(title, terminal)), *(_map_row(row, marks, width, terminal) for row in range(rows))]


def _number_marks(
    positions: Matrix, view: CompareView, width: int, rows: int, terminal: Terminal
) -> tuple[Marks, bool]:
    """Every number (with its label, if these are few) at its place or the nearest free one; and if any moved far."""
    labelled = len(view.names) <= _MAX_LABELS and width >= _MIN_LABEL_WIDTH
    texts = [
        text(f"{name} {tag}".rstrip() if labelled else name, group_style(view, index, terminal))
        for index, (name, tag) in enumerate(zip(view.names, view.tags, strict=True))
    ]
    widest = max(mark.cell_len for mark in texts)
    marks: Marks = {}
    taken: set[tuple[int, int]] = set()
    moved = False
    for mark, place in zip(texts, _map_cells(positions, width - widest, rows), strict=True):
        free = _nearest_free(place, mark.cell_len, width, rows, taken)
        if free is None:
            continue
        moved = moved or abs(free[0] - place[0]) > 1 or abs(free[1] - place[1]) > _MAX_SILENT_SHIFT
        marks[free] = mark
        # A free cell on both sides, so that two numbers don't read as one.
        taken |= {(free[0], cell) for cell in range(free[1] - 1, free[1] + mark.cell_len + 1)}
    return marks, moved


def _nearest_free(
    place: tuple[int, int], length: int, width: int, rows: int, taken: set[tuple[int, int]]
) -> tuple[int, int] | None:
    """The place nearest to the given one where so many cells of a row are free."""
    free = (
        (row, column)
        for row, column in product(range(rows), range(width - length + 1))
        if not any((row, column + step) in taken for step in range(length))
    )
    return min(free, key=lambda it: (4 * (it[0] - place[0]) ** 2 + (it[1] - place[1]) ** 2, it), default=None)


def _group_marks(positions: Matrix, view: CompareView, width: int, rows: int, terminal: Terminal) -> Marks:
    """In each cell the most frequent group, or without groups the density."""
    cells: dict[tuple[int, int], Counter[str]] = {}
    for tag, cell in zip(view.tags, _map_cells(positions, width, rows), strict=True):
        cells.setdefault(cell, Counter())[tag] += 1
    if not view.has_groups:
        most = max(counted.total() for counted in cells.values())
        steps = {cell: len(_DENSITY) * (counted.total() - 1) // most for cell, counted in cells.items()}
        return {cell: Text(_DENSITY[min(step, len(_DENSITY) - 1)]) for cell, step in steps.items()}
    marks = {}
    for cell, counted in cells.items():
        group = counted.most_common(1)[0][0]
        letter = _LETTERS[view.groups.index(group) % len(_LETTERS)]
        marks[cell] = Text(letter, group_style(view, view.tags.index(group), terminal))
    return marks


def _map_cells(positions: Matrix, width: int, rows: int) -> Iterator[tuple[int, int]]:
    """The row and column of each point, with both axes to one scale."""
    low, high = positions.min(axis=0), positions.max(axis=0)
    span = high - low
    unit = max(span[0] / max(width - 1, 1), span[1] / max(2 * (rows - 1), 1), 1e-12)
    middle = (low + high) / 2
    for across, up in positions:
        column = (across - middle[0]) / unit + (width - 1) / 2
        row = (rows - 1) / 2 - (up - middle[1]) / (2 * unit)
        yield round(min(max(row, 0), rows - 1)), round(min(max(column, 0), width - 1))


def _map_row(row: int, marks: Marks, width: int, terminal: Terminal) -> Text:
    side = ("│" if terminal.unicode else "|", "dim")
    parts: list[Text | str] = []
    column = 0
    for place, mark in sorted((place[1], mark) for place, mark in marks.items() if place[0] == row):
        parts += [" " * (place - column), mark]
        column = place + mark.cell_len
    return Text.assemble(side, *parts, " " * (width - column), side)
