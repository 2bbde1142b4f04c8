"""Two pictures of a state in a terminal: the matrix of similarities as a heatmap, and a map of two components."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from attncli.render.common.cells import cell_width, glyphs, pad
from attncli.render.common.colormap import has_colormap, text_color_on, weight_color
from attncli.render.common.lines import DIM, Line, Style, StyledSpan, flow
from attncli.render.common.terminal import Terminal
from attncli.render.compare.paths import Tags, ascii_safe, cosine_text, paragraph, percent_text
from attncli.results.compare import Matrix, State

DENSITY_RAMP = " .:-=+*#%@"
#: Cells of a value: as `0.93` with its shade, as hundredths with a shade, as a shade alone.
_DECIMAL_CELLS, _HUNDREDTHS_CELLS, _SHADE_CELLS = 6, 4, 2
_SCALE_CELLS = 20
#: The size of the map; terminal cells are about twice as high as wide.
_MAX_COLUMNS, _MAP_ROWS = 72, 13
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


class MatrixScale(NamedTuple):
    """The values at the ends of the colour scale (or of the density ramp)."""

    low: float
    high: float
    terminal: Terminal

    @classmethod
    def from_matrix(cls, matrix: Matrix, terminal: Terminal) -> MatrixScale:
        """From the least to the greatest value off the diagonal."""
        values = matrix[~np.eye(len(matrix), dtype=bool)]
        return cls(float(values.min()), float(values.max()), terminal)

    def share(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low) if self.high - self.low > 1e-9 else 1.0

    def cell(self, value: float, width: int) -> StyledSpan:
        """One value in `width` cells."""
        text = _value_text(value, width, self.terminal)
        if has_colormap(self.terminal.color):
            color = weight_color(self.share(value), self.terminal.color)
            return StyledSpan(text.rjust(width - 1) + " ", Style(fg=text_color_on(color), bg=color))
        ink = DENSITY_RAMP[round(min(max(self.share(value), 0.0), 1.0) * (len(DENSITY_RAMP) - 1))]
        return StyledSpan(text.rjust(width - 1) + ink if text else ink * width)

    def legend(self) -> Line:
        """The scale with its ends: `0.78 <ramp> 0.97`."""
        low, high = cosine_text(self.low, self.terminal), cosine_text(self.high, self.terminal)
        if not has_colormap(self.terminal.color):
            return Line.of(f"{low} [{DENSITY_RAMP}] {high}")
        steps = (weight_color(step / (_SCALE_CELLS - 1), self.terminal.color) for step in range(_SCALE_CELLS))
        return Line.of(f"{low} ", *(StyledSpan(" ", Style(bg=color)) for color in steps), f" {high}")


def _value_text(value: float, width: int, terminal: Terminal) -> str:
    if width >= _DECIMAL_CELLS:
        return cosine_text(value, terminal)
    return str(round(100 * value)) if width >= _HUNDREDTHS_CELLS else ""


def matrix_lines(matrix: Matrix, names: Sequence[str], tags: Tags, terminal: Terminal) -> list[Line]:
    """The heatmap, ordered by label. No lines if it doesn't fit the terminal."""
    margin = max(map(len, names)) + 1 + (tags.width + 1 if tags.width else 0)
    cell = _cell_width(len(names), max(map(len, names)), terminal.width - margin)
    if cell is None:
        return []
    order = sorted(range(len(names)), key=lambda index: tags.groups.index(tags.texts[index]))
    scale = MatrixScale.from_matrix(matrix, terminal)
    rows = [_matrix_row(index, order, matrix, names, tags, cell, scale) for index in order]
    end = 0 if cell == _SHADE_CELLS else 1
    headings = "".join(f"{names[index]:>{cell - end}}{' ' * end}" for index in order)
    legend = [scale.legend()]
    if cell == _HUNDREDTHS_CELLS:
        legend.append(Line.of(StyledSpan("50 means 0.50", DIM)))
    below = flow(legend, separator="   ", width=terminal.width)
    return [Line.of(" " * margin, StyledSpan(headings, DIM)), *rows, Line(), *below]


def _matrix_row(
    index: int, order: Sequence[int], matrix: Matrix, names: Sequence[str], tags: Tags, cell: int, scale: MatrixScale
) -> Line:
    name = StyledSpan(names[index].rjust(max(map(len, names))), tags.style(index))
    tag = StyledSpan(f" {pad(tags.texts[index], tags.width)}" if tags.width else "")
    same = StyledSpan(glyphs(scale.terminal).dot.rjust(cell - 1).ljust(cell), DIM)
    cells = [same if other == index else scale.cell(float(matrix[index, other]), cell) for other in order]
    return Line.of(name, tag, " ", *cells)


def _cell_width(count: int, name: int, room: int) -> int | None:
    for width in (_DECIMAL_CELLS, _HUNDREDTHS_CELLS, _SHADE_CELLS):
        if count * width <= room and name < width + (width == _SHADE_CELLS):
            return width
    return None


class _Mark(NamedTuple):
    text: str
    style: Style
    width: int = 1


def map_lines(state: State, names: Sequence[str], tags: Tags, terminal: Terminal) -> list[Line]:
    """The map between bars, and the share of the variance that it shows."""
    if state.positions is None or state.explained is None:
        return []
    width = min(terminal.width - 2, _MAX_COLUMNS)
    rows = _MAP_ROWS if len(names) > 6 else _MAP_ROWS - 4
    if len(names) <= _MAX_NUMBERS:
        marks, moved = _number_marks(state.positions, names, tags, width, rows)
        key = " (some moved to be read)" if moved else ""
    else:
        marks, key = _group_marks(state.positions, tags, width, rows), _group_key(tags)
    across, up = (percent_text(share) for share in state.explained)
    title = f"a map in two principal components, {across} and {up} of the variance{key}:"
    side = StyledSpan("|" if not terminal.unicode else "│", DIM)
    drawn = [Line.of(side, *_map_row(row, marks, width), side) for row in range(rows)]
    return [*paragraph(ascii_safe(title, terminal), terminal), *drawn]


def _number_marks(
    positions: Matrix, names: Sequence[str], tags: Tags, width: int, rows: int
) -> tuple[dict[tuple[int, int], _Mark], bool]:
    """Every number (with its label, if these are few) at its place or the nearest free one; and if any moved far."""
    both = [f"{name} {tag}".rstrip() for name, tag in zip(names, tags.texts, strict=True)]
    texts = both if len(names) <= _MAX_LABELS and width >= _MIN_LABEL_WIDTH else names
    widths = [cell_width(text) for text in texts]
    marks: dict[tuple[int, int], _Mark] = {}
    taken: set[tuple[int, int]] = set()
    moved = False
    for index, (row, column) in enumerate(_map_cells(positions, width - max(widths), rows)):
        free = (
            place
            for place in _places_by_distance(row, column, width, rows)
            if _is_free(place, widths[index], width, taken)
        )
        place = next(free, None)
        if place is None:
            continue
        moved = moved or abs(place[0] - row) > 1 or abs(place[1] - column) > _MAX_SILENT_SHIFT
        marks[place] = _Mark(texts[index], tags.style(index), widths[index])
        # A free cell on both sides, so that two numbers don't read as one.
        taken |= {(place[0], cell) for cell in range(place[1] - 1, place[1] + widths[index] + 1)}
    return marks, moved


def _group_marks(positions: Matrix, tags: Tags, width: int, rows: int) -> dict[tuple[int, int], _Mark]:
    """In each cell the most frequent group, or without groups the density."""
    cells: dict[tuple[int, int], Counter[str]] = {}
    for index, cell in enumerate(_map_cells(positions, width, rows)):
        cells.setdefault(cell, Counter())[tags.texts[index]] += 1
    most = max(counted.total() for counted in cells.values())
    return {cell: _group_mark(counted, most, tags) for cell, counted in cells.items()}


def _group_mark(counted: Counter[str], most: int, tags: Tags) -> _Mark:
    if not tags.has_groups:
        return _Mark(_DENSITY[min(len(_DENSITY) * (counted.total() - 1) // most, len(_DENSITY) - 1)], Style())
    group = counted.most_common(1)[0][0]
    letter = _LETTERS[tags.groups.index(group) % len(_LETTERS)]
    return _Mark(letter, tags.style(tags.texts.index(group)))


def _group_key(tags: Tags) -> str:
    if not tags.has_groups:
        return " (. few, @ many)"
    groups = (f"{_LETTERS[number % len(_LETTERS)]} {group or 'no label'}" for number, group in enumerate(tags.groups))
    return f" ({', '.join(groups)})"


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


def _places_by_distance(row: int, column: int, width: int, rows: int) -> Iterator[tuple[int, int]]:
    """All places, from the nearest to the farthest."""
    places = ((r, c) for r in range(rows) for c in range(width))
    yield from sorted(places, key=lambda place: (4 * (place[0] - row) ** 2 + (place[1] - column) ** 2, place))


def _is_free(place: tuple[int, int], length: int, width: int, taken: set[tuple[int, int]]) -> bool:
    row, column = place
    return column + length <= width and not any((row, column + step) in taken for step in range(length))


def _map_row(row: int, marks: dict[tuple[int, int], _Mark], width: int) -> Iterator[StyledSpan]:
    column = 0
    while column < width:
        mark = marks.get((row, column))
        yield StyledSpan(mark.text, mark.style) if mark else StyledSpan(" ")
        column += mark.width if mark else 1
