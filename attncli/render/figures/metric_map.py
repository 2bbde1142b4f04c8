"""Maps of one number for each head, layers down and heads across: a metric, a weight, or a change."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from attncli.metrics import METRICS
from attncli.render.figures.axis_labels import AxisLabels, draw_labels, span_text
from attncli.render.figures.panels import EDGE, Array, Box, Scale, axes_at, draw_cells, draw_color_bar, draw_numbers
from attncli.render.figures.text_layout import line_height, wrap_text, write_lines
from attncli.render.heads.metric_words import evidence_words, meaning
from attncli.results.heads import HeadsDifference, HeadsResult, Stack, StackDifference

#: Inches: the largest cell, the width of a single map and of one of two, and the least width.
_MAX_CELL, _MAX_WIDTH_ALONE, _MAX_WIDTH_PAIRED, _MIN_WIDTH = 0.46, 8.0, 4.6, 3.2
#: Inches: left of a map and above it (numbers of layers and heads), height and width of the colour scale.
_MARGIN_LEFT, _MARGIN_ABOVE, _COLOR_BAR_HEIGHT, _COLOR_BAR_WIDTH = 0.5, 0.42, 0.42, 2.6
_TITLE_SIZE, _NOTE_SIZE = 8.5, 7.5
_DIM = "0.32"
FRAMED = "red frame: a head that earns the label of this metric"
_TOTAL_VARIATION = "share of its weight that a head puts elsewhere, mean of its rows (total variation)"
_METRIC_CHANGE = "the largest change of a metric that is a share of the row"


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

    def _heading_lines(self, each: HeadMap) -> list[str]:
        """The lines of the title and the notes."""
        room = self._width - 0.3
        notes = [line for note in each.notes for line in wrap_text(note, room, _NOTE_SIZE)]
        return [*wrap_text(each.title, room, _TITLE_SIZE), *notes]

    @property
    def _above(self) -> float:
        return max(len(self._heading_lines(each)) for each in self.maps) * line_height(_TITLE_SIZE) + _MARGIN_ABOVE

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
        self._write_heading(figure, each, left, top)
        layers, heads = each.values.shape
        box = Box(left + _MARGIN_LEFT, top + self._above, heads * cell, layers * cell)
        axes = axes_at(figure, box)
        picture = draw_cells(axes, each.values, scale)
        draw_labels(
            axes,
            AxisLabels([str(each) for each in each.layers]),
            AxisLabels([str(each) for each in each.heads]),
            cell=cell,
        )
        axes.set_ylabel("layer", size=8)
        axes.set_xlabel("head", size=8)
        axes.xaxis.set_label_position("top")
        draw_numbers(axes, each.values, scale, cell=cell)
        for row, column in each.framed:
            axes.add_patch(Rectangle((column, row), 1, 1, fill=False, edgecolor="tab:red", linewidth=1.4))
        draw_color_bar(figure, picture, Box(box.left, box.top + box.height + 0.1, _COLOR_BAR_WIDTH, 0.09), "")

    def _write_heading(self, figure: Figure, each: HeadMap, left: float, top: float) -> None:
        room = self._width - 0.3
        title = wrap_text(each.title, room, _TITLE_SIZE)
        below = write_lines(figure, title, top=top, left=left, size=_TITLE_SIZE, color="black")
        notes = [line for note in each.notes for line in wrap_text(note, room, _NOTE_SIZE)]
        write_lines(figure, notes, top=below, left=left, size=_NOTE_SIZE, color=_DIM)


def metric_maps(result: HeadsResult) -> list[HeadMap]:
    """A map of layers × heads for the requested metric, or for each metric that any head has."""
    return [
        _metric_map(stack, name, f"{stack.stack}, " if len(result.stacks) > 1 else "")
        for stack in result.stacks
        for name in ([result.metric] if result.metric else _known_metrics(stack))
    ]


def _known_metrics(stack: Stack) -> Iterator[str]:
    return (name for name in METRICS if any(head.values.get(name) is not None for head in stack.metrics))


def _metric_map(stack: Stack, metric: str, where: str) -> HeadMap:
    values = {(head.layer, head.head): head.values.get(metric) for head in stack.metrics}
    uniform = [layer[metric] for layer in stack.baselines.values() if layer.get(metric) is not None]
    notes = [f"uniform: {span_text(value for value in uniform if value is not None)}"] if uniform else []
    notes += [words for words in (evidence_words(metric, stack),) if words]
    labelled = [(head.layer, head.head) for head in stack.metrics if metric in head.labels]
    title = f"{where}{metric}: {meaning(metric, stack.key_medium)}"
    return HeadMap.from_values(title, values, notes).with_frames(labelled)


def change_maps(difference: HeadsDifference | None) -> list[HeadMap]:
    """Maps of the total change of each head in every stack; none without a comparison."""
    if difference is None:
        return []
    what = _TOTAL_VARIATION if difference.by_total_variation else _METRIC_CHANGE
    return [_change_map(stack, what, several=len(difference.stacks) > 1) for stack in difference.stacks]


def _change_map(stack: StackDifference, what: str, *, several: bool) -> HeadMap:
    where = f"{stack.stack}, " if several else ""
    return HeadMap.from_values(f"{where}change: {what}", {(head.layer, head.head): head.change for head in stack.heads})
