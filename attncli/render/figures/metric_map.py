"""Maps of one number for each head, layers down and heads across: a metric, a weight, or a change."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from attncli.metrics import METRICS
from attncli.render.figures.axis_labels import AxisLabels, draw_labels, span_text
from attncli.render.figures.panels import (
    DIM_COLOR,
    EDGE,
    Array,
    Box,
    Scale,
    axes_at,
    draw_cells,
    draw_color_bar,
    draw_numbers,
)
from attncli.render.figures.text_layout import line_height, wrap_text, write_lines
from attncli.render.views.difference import change_map
from attncli.render.views.metric_map import MetricMap, metric_map
from attncli.results.heads import HeadsDifference, HeadsResult, Stack

#: Inches: the largest cell, the width of a single map and of one of two, and the least width.
_MAX_CELL, _MAX_WIDTH_ALONE, _MAX_WIDTH_PAIRED, _MIN_WIDTH = 0.46, 8.0, 4.6, 3.2
#: Inches: left of a map and above it (numbers of layers and heads), height and width of the colour scale.
_MARGIN_LEFT, _MARGIN_ABOVE, _COLOR_BAR_HEIGHT, _COLOR_BAR_WIDTH = 0.5, 0.42, 0.42, 2.6
_TITLE_SIZE, _NOTE_SIZE = 8.5, 7.5
FRAMED = "red frame: a head that earns the label of this metric"


class HeadMap(NamedTuple):
    """One map. values: (layers, heads), nan for missing values.

    notes: lines beneath the title.  framed: rows and columns of the heads with a frame.
    """

    title: str
    values: Array
    layers: Sequence[int]
    heads: Sequence[int]
    notes: Sequence[str] = ()
    framed: Collection[tuple[int, int]] = ()

    @classmethod
    def from_values(
        cls, title: str, values: Mapping[tuple[int, int], float | None], notes: Sequence[str] = ()
    ) -> HeadMap:
        """A map of values by layer and head."""
        layers, heads = (sorted(set(side)) for side in zip(*values, strict=True))
        map_ = np.full((len(layers), len(heads)), np.nan)
        for (layer, head), value in values.items():
            map_[layers.index(layer), heads.index(head)] = np.nan if value is None else value
        return cls(title, map_, layers, heads, notes)

    def with_frames(self, heads: Collection[tuple[int, int]]) -> HeadMap:
        """The map with a frame around these heads."""
        return self._replace(framed=[(self.layers.index(layer), self.heads.index(head)) for layer, head in heads])


class HeadMaps(NamedTuple):
    """Maps in rows of two, each on its own scale."""

    maps: Sequence[HeadMap]

    @property
    def texts(self) -> Sequence[str]:
        return [text for each in self.maps for text in (each.title, *each.notes)]

    @property
    def _across(self) -> int:
        return min(len(self.maps), 2)

    @property
    def _cell(self) -> float:
        most = max(len(each.heads) for each in self.maps)
        return min(_MAX_CELL, (_MAX_WIDTH_ALONE if self._across == 1 else _MAX_WIDTH_PAIRED) / most)

    @property
    def _width(self) -> float:
        """Inches of a map with its margins."""
        return max(_MARGIN_LEFT + max(len(each.heads) for each in self.maps) * self._cell + 0.25, _MIN_WIDTH)

    def _heading(self, each: HeadMap) -> tuple[list[str], list[str]]:
        """The lines of the title and of the notes."""
        room = self._width - 0.3
        notes = [line for note in each.notes for line in wrap_text(note, room, _NOTE_SIZE)]
        return wrap_text(each.title, room, _TITLE_SIZE), notes

    @property
    def _above(self) -> float:
        lines = max(sum(map(len, self._heading(each))) for each in self.maps)
        return lines * line_height(_TITLE_SIZE) + _MARGIN_ABOVE

    @property
    def _height(self) -> float:
        return self._above + max(len(each.layers) for each in self.maps) * self._cell + _COLOR_BAR_HEIGHT

    def size(self) -> tuple[float, float]:
        down = ceil(len(self.maps) / self._across)
        return EDGE + self._across * self._width, down * self._height + (down - 1) * 0.2

    def draw(self, figure: Figure, top: float) -> None:
        for place, each in enumerate(self.maps):
            down, right = divmod(place, self._across)
            self._draw_map(figure, each, EDGE + right * self._width, top + down * (self._height + 0.2))

    def _draw_map(self, figure: Figure, each: HeadMap, left: float, top: float) -> None:
        cell, scale = self._cell, Scale.from_values([each.values])
        title, notes = self._heading(each)
        below = write_lines(figure, title, top=top, left=left, size=_TITLE_SIZE, color="black")
        write_lines(figure, notes, top=below, left=left, size=_NOTE_SIZE, color=DIM_COLOR)
        layers, heads = each.values.shape
        box = Box(left + _MARGIN_LEFT, top + self._above, heads * cell, layers * cell)
        axes = axes_at(figure, box)
        picture = draw_cells(axes, each.values, scale)
        draw_labels(axes, AxisLabels([*map(str, each.layers)]), AxisLabels([*map(str, each.heads)]), cell=cell)
        axes.set_ylabel("layer", size=8)
        axes.set_xlabel("head", size=8)
        axes.xaxis.set_label_position("top")
        draw_numbers(axes, each.values, scale, cell=cell)
        for row, column in each.framed:
            axes.add_patch(Rectangle((column, row), 1, 1, fill=False, edgecolor="tab:red", linewidth=1.4))
        draw_color_bar(figure, picture, Box(box.left, box.top + box.height + 0.1, _COLOR_BAR_WIDTH, 0.09), "")


def metric_maps(result: HeadsResult) -> list[HeadMap]:
    """A map of layers × heads for the requested metric, or for each metric that any head has."""
    maps = []
    for stack in result.stacks:
        views = [metric_map(stack, name) for name in ([result.metric] if result.metric else METRICS)]
        maps += [_metric_map(stack, view, result) for view in views if result.metric or view.known]
    return maps


def _metric_map(stack: Stack, view: MetricMap, result: HeadsResult) -> HeadMap:
    where = f"{stack.stack}, " if len(result.stacks) > 1 else ""
    notes = [f"uniform: {span_text(view.uniform)}"] if view.uniform else []
    notes += [view.evidence] if view.evidence else []
    title = f"{where}{view.metric}: {view.meaning}"
    return HeadMap.from_values(title, view.values, notes).with_frames(view.labelled)


def change_maps(difference: HeadsDifference | None) -> list[HeadMap]:
    """Maps of the total change of each head in every stack; none without a comparison."""
    maps = []
    for stack in () if difference is None else difference.stacks:
        assert difference is not None
        view = change_map(difference, stack, None)
        where = f"{stack.stack}, " if len(difference.stacks) > 1 else ""
        name = " (total variation)" if difference.by_total_variation else ""
        maps.append(HeadMap.from_values(f"{where}{view.title}: {view.meaning}{name}", view.values))
    return maps
