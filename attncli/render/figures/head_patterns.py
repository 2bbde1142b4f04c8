"""The attention patterns of heads in a figure: one with its tokens, several side by side, or tiles of a whole stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, log
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from attncli.render.figures.axis_labels import AxisLabels
from attncli.render.figures.panels import (
    COLOR_BAR_WIDTH,
    DPI,
    EDGE,
    Array,
    Part,
    Scale,
    axes_at,
    downsample,
    draw_color_bar,
    draw_image,
    draw_matrix,
    draw_numbers,
    grid_corners,
    hide_axes,
)
from attncli.render.figures.text_layout import (
    DIM_COLOR,
    HEADING_SIZE,
    LABEL_SIZE,
    POINTS_PER_INCH,
    line_height,
    room_for,
    text_width,
    wrap_text,
    write_line,
    write_lines,
)

AXES_NOTE = "rows: queries, columns: keys; to the right and downwards: later tokens"
#: Inches: the side of a single pattern and its largest cells; the same for one of several.
_SINGLE_SIDE, _LARGEST_CELL = 6.5, 0.36
_PANEL_SIDE, _LARGEST_PANEL_CELL = 2.1, 0.2
_MAX_ACROSS = 4
#: Inches: a cell that has room for two legible digits; a row at least, or all rows together if they are many.
_MIN_NUMBERED, _MIN_ROW, _MIN_ALL_ROWS = 0.2, 0.14, 1.7
#: Inches: the height of a colour bar with its label; the title of one of several patterns, at least.
_COLOR_BAR_HEIGHT, _MIN_TITLE_WIDTH = 0.6, 1.8


class Panel(NamedTuple):
    """One pattern: values (rows, columns), nan where the mask hides a key, and the labels of both sides."""

    title: str
    values: Array
    rows: AxisLabels
    columns: AxisLabels


def single_panel(panel: Panel, legend: str) -> Part:
    """A single large pattern, with its weights as numbers if they fit."""
    rows, columns = panel.values.shape
    cell = tall = min(_LARGEST_CELL, _SINGLE_SIDE / max(rows, columns))
    if 4 * min(rows, columns) <= max(rows, columns):
        # The cells of a long and narrow pattern aren't square, so that it fills the page.
        cell = min(_LARGEST_CELL, _SINGLE_SIDE / columns)
        tall = _row_height(rows, min(_LARGEST_CELL, _SINGLE_SIDE / rows))
    left = EDGE + panel.rows.room(tall)
    above = panel.columns.height(cell) + line_height(HEADING_SIZE) + 0.05 * bool(panel.title)
    numbered = cell >= _MIN_NUMBERED and tall >= 0.6 * _MIN_NUMBERED
    label = f"{legend}; numbers: hundredths" if numbered else legend

    def draw(figure: Figure, top: float) -> None:
        write_line(figure, panel.title, top=top, left=left)
        corner, scale = (left, top + above), Scale.from_values(panel.values)
        axes, picture = draw_matrix(figure, panel.values, panel[2:], scale, corner=corner, cell=cell, tall=tall)
        if numbered:
            draw_numbers(axes, picture, panel.values, cell=cell, tall=tall, whole=True)
        draw_color_bar(figure, picture, label, (left, top + above + rows * tall + 0.15))

    width = left + max(columns * cell, COLOR_BAR_WIDTH, room_for([label], LABEL_SIZE)) + 0.1
    return Part(width, above + rows * tall + _COLOR_BAR_HEIGHT + 0.1, draw)


def panel_grid(panels: Sequence[Panel], scale: Scale, legend: str) -> Part:
    """Several patterns on one scale, each with its labels."""
    rows, columns = (max(panel.values.shape[axis] for panel in panels) for axis in (0, 1))
    cell = min(_LARGEST_PANEL_CELL, _PANEL_SIDE / max(rows, columns))
    tall = max(_row_height(len(panel.values), cell) for panel in panels)
    titles = [wrap_text(panel.title, _MIN_TITLE_WIDTH, LABEL_SIZE, most=2) for panel in panels]
    labels = max(panel.columns.height(cell) for panel in panels)
    left = max(panel.rows.room(tall) for panel in panels)
    above = labels + max(map(len, titles)) * line_height(LABEL_SIZE) + 0.04
    across = min(_MAX_ACROSS, len(panels))
    step = left + max(columns * cell, _MIN_TITLE_WIDTH) + 0.15, above + rows * tall + 0.2
    height = ceil(len(panels) / across) * step[1]

    def draw(figure: Figure, top: float) -> None:
        corners = grid_corners(len(panels), across, step, (EDGE, top))
        for panel, title, (start, beneath) in zip(panels, titles, corners, strict=True):
            write_lines(figure, title, left=start + left, top=beneath, size=LABEL_SIZE)
            corner = start + left, beneath + above
            _, picture = draw_matrix(figure, panel.values, panel[2:], scale, corner=corner, cell=cell, tall=tall)
        draw_color_bar(figure, picture, legend, (EDGE + left, top + height))

    return Part(EDGE + across * step[0], height + _COLOR_BAR_HEIGHT, draw)


def _row_height(rows: int, cell: float) -> float:
    """Inches of a row if a column is `cell` inches: few rows of many narrow columns are taller."""
    return max(cell, min(_MIN_ROW, _MIN_ALL_ROWS / rows))


#: Inches: all tiles across and down, one tile at most and at least, the thinnest, and the gap between two.
_LAYER_WIDTH, _LAYERS_HEIGHT, _MAX_TILE, _MIN_TILE, _THINNEST_TILE, _TILE_GAP = 9.8, 4.6, 0.9, 0.3, 0.12, 0.06
#: Inches: margins above the tiles (for `head` and the numbers of heads) and beside them; height of the colour bar.
_MARGIN_ABOVE, _NUMBERS_TOP, _MARGIN_LEFT, _TILE_BAR_HEIGHT = 0.34, 0.24, 0.45, 0.55
#: Width to height of a slide, and rows of tiles that title and scale take.
_SLIDE, _ROWS_AROUND = 16 / 9, 1.5
#: Points: names of heads, and the least size of tokens.
_NAME_SIZE, _MIN_NAME_SIZE, _TOKEN_SIZE = 6.5, 4.2, 4.6
#: Cells along a side of a tile, at most.
_MAX_TILE_CELLS = 96


class _Tiles(NamedTuple):
    """The layout of tiles, in inches. Tiles of a layer stand beside one another, each with its name above.

    width, height: of a tile.  step: from one to the next, across and down.  name: points of the names.
    """

    layers: Sequence[int]
    heads: Sequence[int]
    width: float
    height: float
    step: tuple[float, float]
    name: float

    def corner(self, down: int, across: int) -> tuple[float, float]:
        """Left and top of a tile, from the corner of them all."""
        return across * self.step[0], (down + 1) * self.step[1] - self.height


def head_tiles(
    patterns: Mapping[tuple[int, int], Array],
    scale: Scale,
    legend: str,
    rows: AxisLabels,
    columns: AxisLabels,
    letters: Mapping[tuple[int, int], str] | None = None,
) -> list[Part]:
    """The patterns of a stack by layer and head, on one scale; of a deep model in several parts.

    letters: the letter of each head's label, beside its name.
    rows, columns: the tokens of both sides, written beside the outer tiles if they fit; none for maps of patches.
    """
    layers, heads = (sorted(set(side)) for side in zip(*patterns, strict=True))

    # So many blocks of layers side by side are about as wide as a slide.
    def shape(count: int) -> float:
        return count * len(heads) / (ceil(len(layers) / count) + _ROWS_AROUND)

    blocks = min(range(1, len(layers) + 1), key=lambda count: abs(log(shape(count) / _SLIDE)))
    size = ceil(len(layers) / blocks)
    groups = [set(layers[start : start + size]) for start in range(0, len(layers), size)]
    named = letters or {}
    return [
        _tile_block(
            {head: each for head, each in patterns.items() if head[0] in group},
            scale,
            legend if group is groups[0] else None,
            rows,
            columns,
            named,
            (size, len(heads) * len(groups)),
        )
        for group in groups
    ]


def _tile_block(
    patterns: Mapping[tuple[int, int], Array],
    scale: Scale,
    legend: str | None,
    rows: AxisLabels,
    columns: AxisLabels,
    letters: Mapping[tuple[int, int], str],
    counts: tuple[int, int],
) -> Part:
    """Some layers. legend: None without a colour bar.  counts: of tiles, down and across the whole figure."""
    # Layers may have different windows: the smaller ones leave a part of the tile empty.
    down, across = (max(values.shape[axis] for values in patterns.values()) for axis in (0, 1))
    tiles = _tile_layout(patterns, down, across, counts)
    least = min(tiles.width / across, tiles.height / down) * POINTS_PER_INCH
    named = (len(rows.texts), len(columns.texts)) == (down, across) and least >= _TOKEN_SIZE * 1.2
    left, above = EDGE + _MARGIN_LEFT, _MARGIN_ABOVE
    if named:
        left += max(text_width(text, _TOKEN_SIZE) for text in rows.texts) + 0.06
        above += max(text_width(text, _TOKEN_SIZE) for text in columns.texts) + 0.06
    wide, tall = len(tiles.heads) * tiles.step[0], len(tiles.layers) * tiles.step[1]

    def draw(figure: Figure, top: float) -> None:
        axes = axes_at(figure, left, top + above, wide, tall)
        # One unit is an inch; the first layer stands on top.
        axes.set(xlim=(0, wide), ylim=(tall, 0), autoscale_on=False)
        hide_axes(axes)
        for (layer, head), values in patterns.items():
            x, y = tiles.corner(tiles.layers.index(layer), tiles.heads.index(head))
            shown = np.full((down, across), np.nan)
            shown[: values.shape[0], : values.shape[1]] = values
            small = downsample(shown, min(_MAX_TILE_CELLS, int(max(tiles.width, tiles.height) * DPI)))
            picture = draw_image(axes, small, scale, (x, x + tiles.width, y + tiles.height, y))
            name = axes.text(x, y - 0.02, f"{layer}.{head}", size=tiles.name, va="bottom", ha="left")
            if letter := letters.get((layer, head)):
                name.set_text(f"{layer}.{head} {letter}")
            frame = Rectangle((x, y), tiles.width, tiles.height, fill=False, edgecolor="0.6", linewidth=0.3)
            axes.add_artist(frame)
        _write_numbers(axes, tiles, left, above)
        if named:
            _write_tokens(axes, tiles, rows.texts, columns.texts)
        if legend is not None:
            draw_color_bar(figure, picture, legend, (left, top + above + tall + 0.14))

    notes = [AXES_NOTE] if columns.texts else []
    return Part(left + max(wide, COLOR_BAR_WIDTH), above + tall + _TILE_BAR_HEIGHT, draw, notes)


def _tile_layout(patterns: Mapping[tuple[int, int], Array], rows: int, columns: int, counts: tuple[int, int]) -> _Tiles:
    layers, heads = (sorted(set(side)) for side in zip(*patterns, strict=True))
    side = max(min(_MAX_TILE, _LAYERS_HEIGHT / counts[0], _LAYER_WIDTH / counts[1]) - _TILE_GAP, _MIN_TILE)
    # In proportion to the cells, but never too thin to see.
    width = max(side * min(columns / rows, 1.0), _THINNEST_TILE)
    height = max(side * min(rows / columns, 1.0), _THINNEST_TILE)
    fitting = _NAME_SIZE * width / text_width(f"{layers[-1]}.{heads[-1]} T", _NAME_SIZE)
    name = max(min(_NAME_SIZE, fitting), _MIN_NAME_SIZE)
    return _Tiles(layers, heads, width, height, (width + _TILE_GAP, height + line_height(name) + 0.02), name)


def _write_numbers(axes: Axes, tiles: _Tiles, left: float, above: float) -> None:
    """The numbers of heads above the columns, and of layers beside the rows."""
    (step, down), beside, over = tiles.step, EDGE - left, _NUMBERS_TOP - above
    texts = [(place * step + tiles.width / 2, over, str(head), 0) for place, head in enumerate(tiles.heads)]
    for place, layer in enumerate(tiles.layers):
        texts.append((beside + 0.32, (place + 1) * down - tiles.height / 2, str(layer), 0))
    texts.append((len(tiles.heads) * step / 2, over - 0.17, "head", 0))
    texts.append((beside + 0.08, len(tiles.layers) * down / 2, "layer", 90))
    for x, y, text, rotation in texts:
        axes.text(x, y, text, size=LABEL_SIZE, ha="center", va="center", color=DIM_COLOR, rotation=rotation)


def _write_tokens(axes: Axes, tiles: _Tiles, rows: Sequence[str], columns: Sequence[str]) -> None:
    """The tokens of rows beside the tiles on the left, and of columns above the top tiles."""
    for layer in range(len(tiles.layers)):
        _, top = tiles.corner(layer, 0)
        for place, text in enumerate(rows):
            y = top + (place + 0.5) * tiles.height / len(rows)
            axes.text(-0.03, y, text, size=_TOKEN_SIZE, ha="right", va="center")
    for head in range(len(tiles.heads)):
        left, top = tiles.corner(0, head)
        for place, text in enumerate(columns):
            x, y = left + (place + 0.5) * tiles.width / len(columns), top - line_height(tiles.name)
            axes.text(x, y, text, size=_TOKEN_SIZE, ha="center", va="bottom", rotation=90)
