"""The attention patterns of heads in a figure: one with its tokens, several side by side, or tiles of a whole stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from attncli.render.figures.axis_labels import AxisLabels, draw_labels
from attncli.render.figures.panels import (
    DIM_COLOR,
    DPI,
    EDGE,
    Array,
    Box,
    Scale,
    axes_at,
    downsample,
    draw_cells,
    draw_color_bar,
    draw_hundredths,
    has_hundredths,
    hide_axes,
    row_height,
)
from attncli.render.figures.text_layout import (
    POINTS_PER_INCH,
    line_height,
    room_for,
    text_width,
    wrap_text,
    write_line,
    write_lines,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

#: Inches: the side of a single pattern and its largest cells; the same for one of several.
_SINGLE_SIDE, _LARGEST_CELL = 6.5, 0.36
_PANEL_SIDE, _LARGEST_PANEL_CELL = 2.1, 0.2
_MAX_ACROSS = 4
#: Inches: height and width of the colour scale with its label.
_COLOR_BAR_HEIGHT, _COLOR_BAR_WIDTH = 0.6, 2.6
_TITLE_SIZE, _PANEL_TITLE_SIZE = 8.5, 8.0
#: Inches of the title of one of several patterns, at least.
_MIN_TITLE_WIDTH = 1.8


class Panel(NamedTuple):
    """One pattern: values (rows, columns), nan where the mask hides a key, and the labels of both sides."""

    title: str
    values: Array
    rows: AxisLabels
    columns: AxisLabels

    @property
    def texts(self) -> list[str]:
        return [self.title, *self.rows.texts, *self.columns.texts]

    @property
    def longest(self) -> int:
        """The number of cells along the longer side."""
        return int(max(self.values.shape))


class OneHead(NamedTuple):
    """A single large pattern, with its weights as numbers if they fit."""

    panel: Panel
    legend: str

    @property
    def texts(self) -> Sequence[str]:
        return [*self.panel.texts, self.legend]

    @property
    def _cell(self) -> tuple[float, float]:
        """Inches of a column and of a row."""
        rows, columns = self.panel.values.shape
        if 4 * min(rows, columns) > max(rows, columns):
            cell = min(_LARGEST_CELL, _SINGLE_SIDE / self.panel.longest)
            return cell, cell
        # The cells of a long and narrow pattern aren't square, so that it fills the page.
        return min(_LARGEST_CELL, _SINGLE_SIDE / columns), row_height(rows, min(_LARGEST_CELL, _SINGLE_SIDE / rows))

    @property
    def _box(self) -> Box:
        """The cells, from the top of the title."""
        (rows, columns), (cell, tall) = self.panel.values.shape, self._cell
        above = self.panel.columns.height(cell) + line_height(_TITLE_SIZE) + 0.05 * bool(self.panel.title)
        return Box(EDGE + self.panel.rows.room(tall), above, columns * cell, rows * tall)

    @property
    def _legend(self) -> str:
        return f"{self.legend}; numbers: hundredths" if has_hundredths(*self._cell) else self.legend

    def size(self) -> tuple[float, float]:
        box = self._box
        wide = max(box.width, _COLOR_BAR_WIDTH, room_for([self._legend], 8))
        return box.left + wide + 0.1, box.top + box.height + _COLOR_BAR_HEIGHT + 0.1

    def draw(self, figure: Figure, top: float) -> None:
        (cell, tall), box = self._cell, self._box
        box = box._replace(top=top + box.top)
        write_line(figure, self.panel.title, top=top, left=box.left, size=_TITLE_SIZE)
        axes, scale = axes_at(figure, box), Scale.from_values([self.panel.values])
        picture = draw_cells(axes, self.panel.values, scale)
        draw_labels(axes, self.panel.rows, self.panel.columns, cell=cell, tall=tall)
        if has_hundredths(cell, tall):
            draw_hundredths(axes, self.panel.values, scale, cell=cell, tall=tall)
        below = Box(box.left, box.top + box.height + 0.15, _COLOR_BAR_WIDTH, 0.1)
        draw_color_bar(figure, picture, below, self._legend)


class PanelGrid(NamedTuple):
    """Several patterns on one scale, each with its labels."""

    panels: Sequence[Panel]
    scale: Scale
    legend: str

    @property
    def texts(self) -> Sequence[str]:
        return [self.legend, *(text for panel in self.panels for text in panel.texts)]

    @property
    def _cell(self) -> tuple[float, float]:
        """Inches of a column and of a row."""
        cell = min(_LARGEST_PANEL_CELL, _PANEL_SIDE / max(panel.longest for panel in self.panels))
        return cell, max(row_height(len(panel.values), cell) for panel in self.panels)

    @property
    def _corner(self) -> tuple[float, float]:
        """Inches to the left of the cells of each and above them."""
        cell, tall = self._cell
        lines = max(len(_title_lines(panel)) for panel in self.panels)
        above = max(panel.columns.height(cell) for panel in self.panels) + lines * line_height(_PANEL_TITLE_SIZE) + 0.04
        return max(panel.rows.room(tall) for panel in self.panels), above

    @property
    def _grid(self) -> tuple[int, float, float, float]:
        """How many are side by side, inches from one to the next, across and down, and of all rows."""
        (cell, tall), (left, above) = self._cell, self._corner
        rows, columns = (max(panel.values.shape[axis] for panel in self.panels) for axis in (0, 1))
        across, height = min(_MAX_ACROSS, len(self.panels)), above + rows * tall + 0.2
        width = left + max(columns * cell, _MIN_TITLE_WIDTH) + 0.15
        return across, width, height, ceil(len(self.panels) / across) * height

    def size(self) -> tuple[float, float]:
        across, width, _, whole = self._grid
        return EDGE + across * width, whole + _COLOR_BAR_HEIGHT

    def draw(self, figure: Figure, top: float) -> None:
        (cell, tall), (left, above) = self._cell, self._corner
        across, width, height, whole = self._grid
        for place, panel in enumerate(self.panels):
            down, right = divmod(place, across)
            start, beneath = EDGE + right * width + left, top + down * height
            write_lines(figure, _title_lines(panel), left=start, top=beneath, size=_PANEL_TITLE_SIZE, color="black")
            rows, columns = panel.values.shape
            axes = axes_at(figure, Box(start, beneath + above, columns * cell, rows * tall))
            draw_labels(axes, panel.rows, panel.columns, cell=cell, tall=tall)
            picture = draw_cells(axes, panel.values, self.scale)
        draw_color_bar(figure, picture, Box(EDGE + left, top + whole, _COLOR_BAR_WIDTH, 0.1), self.legend)


def _title_lines(panel: Panel) -> list[str]:
    return wrap_text(panel.title, _MIN_TITLE_WIDTH, _PANEL_TITLE_SIZE, most=2)


#: Inches: all tiles of a layer, one tile at most and at least, and the gap between two.
_LAYER_WIDTH, _MAX_TILE, _MIN_TILE, _TILE_GAP = 9.0, 0.9, 0.3, 0.06
#: Inches: margins above the tiles (for `head` and the numbers of heads) and beside them; size of the colour scale.
_MARGIN_ABOVE, _NUMBERS_TOP, _MARGIN_LEFT, _TILE_BAR_HEIGHT, _TILE_BAR_WIDTH = 0.34, 0.24, 0.45, 0.55, 2.6
#: Points: names of heads, numbers, and the least size of tokens.
_NAME_SIZE, _MIN_NAME_SIZE, _NUMBER_SIZE, _TOKEN_SIZE = 6.5, 4.2, 8.0, 4.6
#: Cells along a side of a tile, at most.
_MAX_TILE_CELLS = 96


@dataclass(frozen=True)
class HeadTiles:
    """The patterns of a stack by layer and head, all on one scale.

    rows, columns: the tokens of both sides, written beside the outer tiles if they fit.
    """

    patterns: Mapping[tuple[int, int], Array]
    scale: Scale
    legend: str
    rows: AxisLabels
    columns: AxisLabels

    @property
    def texts(self) -> Sequence[str]:
        return [self.legend, *((*self.rows.texts, *self.columns.texts) if self._shows_tokens else ())]

    @cached_property
    def _layers(self) -> list[int]:
        return sorted({layer for layer, _ in self.patterns})

    @cached_property
    def _heads(self) -> list[int]:
        return sorted({head for _, head in self.patterns})

    @cached_property
    def _cells(self) -> tuple[int, int]:
        """The largest number of rows and columns, as layers may have different windows."""
        shapes = [values.shape for values in self.patterns.values()]
        return max(rows for rows, _ in shapes), max(columns for _, columns in shapes)

    @cached_property
    def _tile(self) -> tuple[float, float]:
        """Inches of the width and the height of a tile, in proportion to its cells, but never too thin to see."""
        side = max(min(_MAX_TILE, _LAYER_WIDTH / len(self._heads)) - _TILE_GAP, _MIN_TILE)
        rows, columns = self._cells
        return max(side * min(columns / rows, 1.0), 0.12), max(side * min(rows / columns, 1.0), 0.12)

    @cached_property
    def _name(self) -> float:
        """Points of the names."""
        longest = f"{self._layers[-1]}.{self._heads[-1]}"
        return max(min(_NAME_SIZE, _NAME_SIZE * self._tile[0] / text_width(longest, _NAME_SIZE)), _MIN_NAME_SIZE)

    @cached_property
    def _shows_tokens(self) -> bool:
        """Whether the tokens fit beside the cells of the outer tiles."""
        (rows, columns), (width, height) = self._cells, self._tile
        has_tokens = len(self.rows.texts) == rows and len(self.columns.texts) == columns
        return has_tokens and min(width / columns, height / rows) * POINTS_PER_INCH >= _TOKEN_SIZE * 1.2

    @cached_property
    def _step(self) -> tuple[float, float]:
        width, height = self._tile
        return width + _TILE_GAP, height + line_height(self._name) + 0.02

    @cached_property
    def _corner(self) -> tuple[float, float]:
        if not self._shows_tokens:
            return EDGE + _MARGIN_LEFT, _MARGIN_ABOVE
        rows, columns = (
            max((text_width(text, _TOKEN_SIZE) for text in side.texts), default=0.0) + 0.06
            for side in (self.rows, self.columns)
        )
        return EDGE + _MARGIN_LEFT + rows, _MARGIN_ABOVE + columns

    def size(self) -> tuple[float, float]:
        (left, above), (width, height) = self._corner, self._step
        wide = max(len(self._heads) * width, _TILE_BAR_WIDTH)
        return left + wide, above + len(self._layers) * height + _TILE_BAR_HEIGHT

    def draw(self, figure: Figure, top: float) -> None:
        (left, above), (width, height) = self._corner, self._step
        wide, tall = len(self._heads) * width, len(self._layers) * height
        axes = axes_at(figure, Box(left, top + above, wide, tall))
        # One unit is an inch; the first layer stands on top.
        axes.set(xlim=(0, wide), ylim=(tall, 0), autoscale_on=False)
        hide_axes(axes)
        for (layer, head), values in self.patterns.items():
            corner = (self._heads.index(head) * width, (self._layers.index(layer) + 1) * height - self._tile[1])
            picture = self._draw_tile(axes, f"{layer}.{head}", values, corner)
        self._headings(axes, left)
        if self._shows_tokens:
            self._tokens(axes)
        draw_color_bar(figure, picture, Box(left, top + above + tall + 0.14, _TILE_BAR_WIDTH, 0.1), self.legend)

    def _draw_tile(self, axes: Axes, name: str, values: Array, corner: tuple[float, float]) -> ScalarMappable:
        """A tile with its name above and a frame around it."""
        (left, top), (width, height) = corner, self._tile
        # Layers with smaller windows leave a part of the tile empty.
        rows, columns = self._cells
        shown = np.full((rows, columns), np.nan)
        shown[: values.shape[0], : values.shape[1]] = values
        small = downsample(shown, min(_MAX_TILE_CELLS, int(max(self._tile) * DPI)))
        place = (left, left + width, top + height, top)
        options: dict[str, Any] = {"cmap": self.scale.colormap, "norm": self.scale.norm, "extent": place}
        picture = axes.imshow(np.ma.masked_invalid(small), aspect="auto", interpolation="none", **options)
        axes.text(left, top - 0.02, name, size=self._name, va="bottom", ha="left")
        axes.add_artist(Rectangle((left, top), width, height, fill=False, edgecolor="0.6", linewidth=0.3))
        return picture

    def _headings(self, axes: Axes, left: float) -> None:
        """The numbers of heads above the columns, and of layers beside the rows."""
        (width, height), (wide, tall) = self._step, self._tile
        for place, head in enumerate(self._heads):
            _write_centred(axes, place * width + wide / 2, _NUMBERS_TOP - self._corner[1], str(head))
        for place, layer in enumerate(self._layers):
            _write_centred(axes, EDGE + 0.32 - left, (place + 1) * height - tall / 2, str(layer))
        _write_centred(axes, len(self._heads) * width / 2, _NUMBERS_TOP - 0.17 - self._corner[1], "head")
        _write_centred(axes, EDGE + 0.08 - left, len(self._layers) * height / 2, "layer", rotation=90)

    def _tokens(self, axes: Axes) -> None:
        """The tokens of rows beside the tiles on the left, and of columns above the top tiles."""
        (width, height), (wide, tall) = self._step, self._tile
        for start in range(len(self._layers)):
            for place, text in enumerate(self.rows.texts):
                down = (start + 1) * height - tall + (place + 0.5) * tall / len(self.rows.texts)
                axes.text(-0.03, down, text, size=_TOKEN_SIZE, ha="right", va="center")
        name = line_height(self._name)
        for start in range(len(self._heads)):
            for place, text in enumerate(self.columns.texts):
                right = start * width + (place + 0.5) * wide / len(self.columns.texts)
                axes.text(right, height - tall - name, text, size=_TOKEN_SIZE, ha="center", va="bottom", rotation=90)


def _write_centred(axes: Axes, x: float, y: float, text: str, rotation: float = 0.0) -> None:
    axes.text(x, y, text, size=_NUMBER_SIZE, ha="center", va="center", color=DIM_COLOR, rotation=rotation)
