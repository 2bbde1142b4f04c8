"""The matrix of similarities as a heatmap with numbers; as much of the numbers as there is room for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from attncli.render.cells import pad
from attncli.render.colormap import has_colormap, heat, ink_on
from attncli.render.compare.names import Tags, figure
from attncli.render.glyphs import glyphs
from attncli.render.layout import flow
from attncli.render.lines import DIM, Line, Style, StyledSpan
from attncli.render.terminal import Terminal
from attncli.results.compare import Matrix

RAMP = " .:-=+*#%@"
#: Cells of a value: `0.93` with its ink, hundredths with theirs, ink alone.
_FULL, _SHORT, _INK = 6, 4, 2
_SCALE_CELLS = 20


class Scale(NamedTuple):
    """The values that the ends of the colours (or of the ink) stand for."""

    low: float
    high: float
    terminal: Terminal

    @classmethod
    def of(cls, matrix: Matrix, terminal: Terminal) -> Scale:
        """Between the least and the greatest value off the diagonal, which says nothing."""
        values = matrix[~np.eye(len(matrix), dtype=bool)]
        return cls(float(values.min()), float(values.max()), terminal)

    def share(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low) if self.high - self.low > 1e-9 else 1.0

    def cell(self, value: float, width: int) -> StyledSpan:
        """One value in so many cells."""
        text = _value_text(value, width, self.terminal)
        if has_colormap(self.terminal.color):
            color = heat(self.share(value), self.terminal.color)
            return StyledSpan(text.rjust(width - 1) + " ", Style(fg=ink_on(color), bg=color))
        ink = RAMP[round(min(max(self.share(value), 0.0), 1.0) * (len(RAMP) - 1))]
        return StyledSpan(text.rjust(width - 1) + ink if text else ink * width)

    def legend(self) -> Line:
        """What the ends of the scale are: `0.78 <ramp> 0.97`."""
        low, high = figure(self.low, self.terminal), figure(self.high, self.terminal)
        if not has_colormap(self.terminal.color):
            return Line.of(f"{low} [{RAMP}] {high}")
        steps = (heat(step / (_SCALE_CELLS - 1), self.terminal.color) for step in range(_SCALE_CELLS))
        return Line.of(f"{low} ", *(StyledSpan(" ", Style(bg=color)) for color in steps), f" {high}")


def _value_text(value: float, width: int, terminal: Terminal) -> str:
    if width >= _FULL:
        return figure(value, terminal)
    return str(round(100 * value)) if width >= _SHORT else ""


def matrix_lines(matrix: Matrix, names: Sequence[str], tags: Tags, terminal: Terminal) -> list[Line]:
    """Rows and columns by their numbers; labels of a kind stand together. None where there is no room for it."""
    margin = max(map(len, names)) + 1 + (tags.width + 1 if tags.width else 0)
    cell = _cell_width(len(names), max(map(len, names)), terminal.width - margin)
    if cell is None:
        return []
    order = sorted(range(len(names)), key=lambda index: tags.groups.index(tags.texts[index]))
    scale = Scale.of(matrix, terminal)
    rows = [_row(index, order, matrix, names, tags, cell, scale) for index in order]
    end = 0 if cell == _INK else 1
    headings = "".join(f"{names[index]:>{cell - end}}{' ' * end}" for index in order)
    legend = [scale.legend()]
    if cell == _SHORT:
        legend.append(Line.of(StyledSpan("50 means 0.50", DIM)))
    below = flow(legend, separator="   ", width=terminal.width)
    return [Line.of(" " * margin, StyledSpan(headings, DIM)), *rows, Line(), *below]


def _row(
    index: int, order: Sequence[int], matrix: Matrix, names: Sequence[str], tags: Tags, cell: int, scale: Scale
) -> Line:
    name = StyledSpan(names[index].rjust(max(map(len, names))), tags.style(index))
    tag = StyledSpan(f" {pad(tags.texts[index], tags.width)}" if tags.width else "")
    same = StyledSpan(glyphs(scale.terminal).dot.rjust(cell - 1).ljust(cell), DIM)
    cells = [same if other == index else scale.cell(float(matrix[index, other]), cell) for other in order]
    return Line.of(name, tag, " ", *cells)


def _cell_width(count: int, name: int, room: int) -> int | None:
    for width in (_FULL, _SHORT, _INK):
        if count * width <= room and name < width + (width == _INK):
            return width
    return None
