"""Maps of one number for each head, layers down and heads across: a metric, a weight, or a change."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import ceil, sqrt
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from attncli.metrics import METRICS
from attncli.render.figures.axis_labels import AxisLabels, span_text
from attncli.render.figures.panels import (
    EDGE,
    Part,
    Scale,
    draw_color_bar,
    draw_matrix,
    draw_numbers,
    grid_corners,
)
from attncli.render.figures.text_layout import (
    DIM_COLOR,
    HEADING_SIZE,
    LABEL_SIZE,
    SMALL_SIZE,
    line_height,
    wrap_text,
    write_lines,
)
from attncli.render.views.difference import change_map
from attncli.render.views.metric_map import metric_map
from attncli.results.heads import HeadsResult

#: Inches: the largest cell, the width of a single map and of one of two, and the least width.
_MAX_CELL, _MAX_WIDTH_ALONE, _MAX_WIDTH_PAIRED, _MIN_WIDTH = 0.46, 8.0, 4.6, 3.2
#: Inches: the height of a map, above which its rows are lower than its columns are wide, and the least of a row.
_MAX_HEIGHT, _MIN_ROW = 5.6, 0.14
#: Inches: left of a map and above it (numbers of layers and heads), the colour bar, and the gap beneath.
_MARGIN_LEFT, _MARGIN_ABOVE, _COLOR_BAR_HEIGHT, _GAP_BELOW = 0.5, 0.42, 0.42, 0.2
_FRAMED = "red frame: a head that earns the label of this metric"


#: Width to height of a slide, and rows that a map's title and scale take.
_SLIDE, _EXTRA_ROWS = 16 / 9, 3


class HeadMap(NamedTuple):
    """One map. values: by layer and head.  notes: lines beneath the title.  framed: heads with a frame."""

    title: str
    values: Mapping[tuple[int, int], float | None]
    notes: Sequence[str] = ()
    framed: Collection[tuple[int, int]] = ()

    @property
    def sides(self) -> tuple[list[int], list[int]]:
        """The layers and the heads that it shows."""
        layers, heads = (sorted(set(side)) for side in zip(*self.values, strict=True))
        return layers, heads


def head_maps(maps: Sequence[HeadMap]) -> Part:
    """Small multiples, each on its own scale, in as many columns as a slide is wide."""
    layers, heads = (max(len(each.sides[axis]) for each in maps) for axis in (0, 1))
    rows = min(layers, _MAX_HEIGHT / _MAX_CELL) + _EXTRA_ROWS
    across = min(max(round(sqrt(_SLIDE * len(maps) * rows / (heads + 1))), 1), len(maps))
    cell = min(_MAX_CELL, (_MAX_WIDTH_ALONE if across == 1 else _MAX_WIDTH_PAIRED) / heads)
    tall = min(cell, max(_MAX_HEIGHT / layers, _MIN_ROW))
    width = max(_MARGIN_LEFT + heads * cell + 0.25, _MIN_WIDTH)
    headings = [wrap_text(each.title, width - 0.3, HEADING_SIZE) for each in maps]
    notes = [[line for note in each.notes for line in wrap_text(note, width - 0.3, SMALL_SIZE)] for each in maps]
    lines = max(len(heading) + len(beneath) for heading, beneath in zip(headings, notes, strict=True))
    above = lines * line_height(HEADING_SIZE) + _MARGIN_ABOVE
    height = above + layers * tall + _COLOR_BAR_HEIGHT
    down = ceil(len(maps) / across)

    def draw(figure: Figure, top: float) -> None:
        corners = grid_corners(len(maps), across, (width, height + _GAP_BELOW), (EDGE, top))
        for each, heading, beneath, (left, start) in zip(maps, headings, notes, corners, strict=True):
            below = write_lines(figure, heading, top=start, left=left, size=HEADING_SIZE)
            write_lines(figure, beneath, top=below, left=left, size=SMALL_SIZE, color=DIM_COLOR)
            _draw_map(figure, each, (left + _MARGIN_LEFT, start + above), cell, tall)

    framed = [_FRAMED] if any(each.framed for each in maps) else []
    return Part(EDGE + across * width, down * height + (down - 1) * _GAP_BELOW, draw, framed)


def _draw_map(figure: Figure, map_: HeadMap, corner: tuple[float, float], cell: float, tall: float) -> None:
    layers, heads = map_.sides
    values = np.full((len(layers), len(heads)), np.nan)
    for (layer, head), value in map_.values.items():
        values[layers.index(layer), heads.index(head)] = np.nan if value is None else value
    sides = AxisLabels([*map(str, layers)]), AxisLabels([*map(str, heads)])
    axes, picture = draw_matrix(figure, values, sides, Scale.from_values(values), corner=corner, cell=cell, tall=tall)
    axes.set_ylabel("layer", size=LABEL_SIZE)
    axes.set_xlabel("head", size=LABEL_SIZE)
    axes.xaxis.set_label_position("top")
    draw_numbers(axes, picture, values, cell=cell, tall=tall)
    for layer, head in map_.framed:
        place = heads.index(head), layers.index(layer)
        axes.add_patch(Rectangle(place, 1, 1, fill=False, edgecolor="tab:red", linewidth=1.4))
    draw_color_bar(figure, picture, "", (corner[0], corner[1] + len(layers) * tall + 0.1), height=0.09)


def metric_maps(result: HeadsResult) -> list[HeadMap]:
    """Maps of the total change of each head, if two sides are compared, and of the requested metric or of all."""
    maps, difference = [], result.difference
    if difference is not None and not result.metric:
        name = " (total variation)" if difference.by_total_variation else ""
        for changed in difference.stacks:
            change = change_map(difference, changed, None)
            where = f"{changed.stack}, " if len(difference.stacks) > 1 else ""
            maps.append(HeadMap(f"{where}{change.title}: {change.meaning}{name}", change.values))
    for stack in result.stacks:
        where = f"{stack.stack}, " if len(result.stacks) > 1 else ""
        for view in (metric_map(stack, name) for name in ([result.metric] if result.metric else METRICS)):
            if result.metric or view.known:
                uniform = f"uniform: {span_text(view.uniform)}" if view.uniform else ""
                notes = [note for note in (uniform, view.evidence) if note]
                maps.append(HeadMap(f"{where}{view.metric}: {view.meaning}", view.values, notes, view.labelled))
    return maps
