"""Patterns of heads with what stands beside their rows and above their columns: one, or several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from matplotlib.figure import Figure

from attncli.render.figures.lettering import heading, line_height, lines_at, room_for, wrapped
from attncli.render.figures.panels import (
    Array,
    Box,
    Scale,
    axes_at,
    cells,
    color_bar,
    has_hundredths,
    hundredths,
    row_height,
)
from attncli.render.figures.sheet import EDGE
from attncli.render.figures.sides import Side, labels

if TYPE_CHECKING:
    from matplotlib.cm import ScalarMappable

#: Inches: the largest picture of one head, its largest cells, the same where several stand side by side.
_ONE, _LARGEST_CELL = 6.5, 0.36
_SEVERAL, _SMALL_CELL = 2.1, 0.2
_ACROSS = 4
#: A scale of colours with its numbers and what it is of; and how wide it is.
_BAR, _BAR_WIDTH = 0.6, 2.6
_TITLE, _SMALL = 8.5, 8.0
#: Inches that the name of one of several has.
_LEAST = 1.8


class Panel(NamedTuple):
    """One picture: values (rows, columns), with nan where a query may not look, and what stands beside them."""

    title: str
    values: Array
    rows: Side
    columns: Side

    @property
    def texts(self) -> list[str]:
        return [self.title, *self.rows.texts, *self.columns.texts]

    @property
    def longest(self) -> int:
        """Cells along the longer side."""
        return int(max(self.values.shape))


class OneHead(NamedTuple):
    """A pattern as large as it may be, with its weights as numbers where there is room."""

    panel: Panel
    legend: str

    @property
    def texts(self) -> Sequence[str]:
        return [*self.panel.texts, self.legend]

    @property
    def _cell(self) -> tuple[float, float]:
        """Inches of a column and of a row."""
        rows, columns = self.panel.values.shape
        cell = min(_LARGEST_CELL, _ONE / self.panel.longest)
        if 4 * min(rows, columns) <= max(rows, columns):
            # A long and narrow picture fills the page with cells that are no squares.
            return min(_LARGEST_CELL, _ONE / columns), row_height(rows, min(_LARGEST_CELL, _ONE / rows))
        return cell, cell

    @property
    def _corner(self) -> tuple[float, float]:
        """Inches to the left of the cells and above them."""
        cell, tall = self._cell
        above = self.panel.columns.height(cell)
        return EDGE + self.panel.rows.room(tall), above + line_height(_TITLE) + 0.05 * bool(self.panel.title)

    @property
    def _legend(self) -> str:
        return f"{self.legend}; numbers: hundredths" if has_hundredths(*self._cell) else self.legend

    def size(self) -> tuple[float, float]:
        (rows, columns), (cell, tall), (left, above) = self.panel.values.shape, self._cell, self._corner
        wide = max(columns * cell, _BAR_WIDTH, room_for([self._legend], 8))
        return left + wide + 0.1, above + rows * tall + _BAR + 0.1

    def draw(self, figure: Figure, top: float) -> None:
        (rows, columns), (cell, tall), (left, above) = self.panel.values.shape, self._cell, self._corner
        heading(figure, self.panel.title, top=top, left=left, size=_TITLE)
        box = Box(left, top + above, columns * cell, rows * tall)
        axes, scale = axes_at(figure, box), Scale.of([self.panel.values])
        picture = cells(axes, self.panel.values, scale)
        labels(axes, self.panel.rows, self.panel.columns, cell=cell, tall=tall)
        if has_hundredths(cell, tall):
            hundredths(axes, self.panel.values, scale, cell=cell, tall=tall)
        color_bar(figure, picture, Box(left, box.top + box.height + 0.15, _BAR_WIDTH, 0.1), self._legend)


class SideBySide(NamedTuple):
    """Several patterns on one scale, each with what stands beside it."""

    panels: Sequence[Panel]
    scale: Scale
    legend: str

    @property
    def texts(self) -> Sequence[str]:
        return [self.legend, *(text for panel in self.panels for text in panel.texts)]

    @property
    def _across(self) -> int:
        return min(_ACROSS, len(self.panels))

    @property
    def _cell(self) -> tuple[float, float]:
        cell = min(_SMALL_CELL, _SEVERAL / max(panel.longest for panel in self.panels))
        return cell, max(row_height(len(panel.values), cell) for panel in self.panels)

    @property
    def _corner(self) -> tuple[float, float]:
        cell, tall = self._cell
        left = max(panel.rows.room(tall) for panel in self.panels)
        lines = max(len(self._title(panel)) for panel in self.panels)
        return left, max(panel.columns.height(cell) for panel in self.panels) + lines * line_height(_SMALL) + 0.04

    def _title(self, panel: Panel) -> list[str]:
        return wrapped(panel.title, _LEAST, _SMALL, most=2)

    @property
    def _step(self) -> tuple[float, float]:
        """Inches from one to the next, across and down."""
        (cell, tall), (left, above) = self._cell, self._corner
        width = left + max(max(panel.values.shape[1] for panel in self.panels) * cell, _LEAST) + 0.15
        return width, above + max(panel.values.shape[0] for panel in self.panels) * tall + 0.2

    def size(self) -> tuple[float, float]:
        width, height = self._step
        return EDGE + self._across * width, ceil(len(self.panels) / self._across) * height + _BAR

    def draw(self, figure: Figure, top: float) -> None:
        (left, _), (width, height) = self._corner, self._step
        for place, panel in enumerate(self.panels):
            down, right = divmod(place, self._across)
            picture = self._one(figure, panel, (EDGE + right * width, top + down * height))
        bar = top + ceil(len(self.panels) / self._across) * height
        color_bar(figure, picture, Box(EDGE + left, bar, _BAR_WIDTH, 0.1), self.legend)

    def _one(self, figure: Figure, panel: Panel, corner: tuple[float, float]) -> ScalarMappable:
        (cell, tall), (left, above) = self._cell, self._corner
        lines_at(figure, self._title(panel), left=corner[0] + left, top=corner[1], size=_SMALL, color="black")
        rows, columns = panel.values.shape
        axes = axes_at(figure, Box(corner[0] + left, corner[1] + above, columns * cell, rows * tall))
        labels(axes, panel.rows, panel.columns, cell=cell, tall=tall)
        return cells(axes, panel.values, self.scale)
