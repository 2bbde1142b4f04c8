"""Attention heads as a figure: one head, several side by side, all of them, or the map of a metric."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from attncli.render.escape import visible
from attncli.render.figures.fonts import drawable
from attncli.render.figures.panels import (
    Array,
    Box,
    Scale,
    axes_at,
    cells,
    color_bar,
    heading,
    labels,
    numbers,
    room_for,
    type_size,
    unmarked,
)
from attncli.render.figures.saving import drawn
from attncli.render.heads.differing import DIFFERENCE, differences_alone
from attncli.render.heads.heatmap import spans_of, unseen
from attncli.render.heads.metric_words import MEANINGS, label_of
from attncli.results.heads import METRICS, HeadMetrics, HeadsResult, Pattern, Stack
from attncli.results.tokens import Token

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

_LONGEST_TOKEN = 18
#: Inches: the largest picture of one head, its largest cells, the same where several stand side by side.
_ONE, _LARGEST_CELL = 6.5, 0.36
_SEVERAL, _SMALL_CELL = 2.1, 0.2
_ACROSS = 4
#: Heads that are drawn side by side, each with its tokens; more of them are a map without tokens.
_MOST_WITH_TOKENS = 16
_MAP, _TILE = 9.0, 0.9
#: Cells along a side of one of many small pictures.
_MOST_IN_TILE = 96
_TITLE, _EDGE, _BAR = 0.45, 0.15, 0.75

_MEANS = {
    "attention": "attention weight (rows look at columns)",
    "norm": "weight × norm of what is read",
    "rollout": "attention rollout (heads averaged)",
    DIFFERENCE: "difference of weights",
}


class Panel(NamedTuple):
    """One picture: values (rows, columns), with nan where a query may not look, and what stands beside them."""

    title: str
    values: Array
    rows: Sequence[str]
    columns: Sequence[str]

    @property
    def size(self) -> int:
        """Cells along the longer side."""
        rows, columns = self.values.shape
        return int(max(rows, columns))


def heads_figure(result: HeadsResult, form: str, *, title: str | None = None) -> bytes:
    """What was chosen, as `svg`, `pdf` or `png`; where nothing was, all heads of every stack.

    Where models or texts were compared, it is of their difference. Of many texts, or with a metric and no choice of
    heads: layers × heads, coloured by what the metrics say.
    """
    result = differences_alone(result)
    title = title or result.model
    panels = [_panel(stack, pattern, result, form) for stack in result.stacks for pattern in stack.patterns]
    title = drawable(visible_line(title), form)
    if not panels or (result.metric is not None and not result.chosen):
        maps = metric_panels(result)
        texts = [title, *(panel.title for panel in maps)]
        return drawn(lambda: metric_figure(maps, title=title), form, texts=texts)
    legend = _MEANS.get(result.weighting, "weight")
    texts = [title, *(text for panel in panels for text in (panel.title, *panel.rows, *panel.columns))]
    if len(panels) > _MOST_WITH_TOKENS:
        return drawn(lambda: map_figure(_tiles(result), title=title, legend=legend), form, texts=texts)
    if len(panels) > 1:
        return drawn(lambda: side_by_side(panels, title=title, legend=legend), form, texts=texts)
    return drawn(lambda: one_head(panels[0], title=title, legend=legend), form, texts=texts)


def visible_line(text: str) -> str:
    """A title: spaces stay spaces."""
    return visible(text).replace("·", " ") if " " in text else visible(text)


# --- what is drawn ---


def one_head(panel: Panel, *, title: str, legend: str) -> Figure:
    """One pattern with its tokens, and with its weights as numbers where there is room."""
    rows, columns = panel.values.shape
    cell = min(_LARGEST_CELL, _ONE / panel.size)
    left, above = _room(panel.rows, cell), _room(panel.columns, cell)
    top = _TITLE + 0.3 + above
    box = Box(left, top, columns * cell, rows * cell)
    figure = _figure(left + max(box.width, 2.6) + 0.3, top + box.height + _BAR)
    heading(figure, title)
    heading(figure, panel.title, top=_TITLE, size=9.5)
    axes, scale = axes_at(figure, box), Scale.of([panel.values])
    picture = cells(axes, panel.values, scale)
    labels(axes, panel.rows, panel.columns, cell=cell)
    numbers(axes, panel.values, scale, cell=cell)
    color_bar(figure, picture, Box(left, top + box.height + 0.2, max(min(box.width, 3), 2.4), 0.1), legend)
    return figure


def side_by_side(panels: Sequence[Panel], *, title: str, legend: str) -> Figure:
    """Several patterns on one scale, each with its tokens."""
    across = min(_ACROSS, len(panels))
    cell = min(_SMALL_CELL, _SEVERAL / max(panel.size for panel in panels))
    left = max(_room(panel.rows, cell) for panel in panels)
    above = max(_room(panel.columns, cell) for panel in panels) + 0.25
    width = left + max(max(panel.values.shape[1] for panel in panels) * cell, 2.0) + 0.15
    height = above + max(panel.values.shape[0] for panel in panels) * cell + 0.2
    figure = _figure(max(across * width + 0.1, 3.2), _TITLE + ceil(len(panels) / across) * height + _BAR)
    heading(figure, title)
    scale = Scale.of([panel.values for panel in panels])
    for place, panel in enumerate(panels):
        down, right = divmod(place, across)
        rows, columns = panel.values.shape
        corner = (right * width, _TITLE + down * height)
        heading(figure, panel.title, left=corner[0] + left, top=corner[1], size=8.5)
        axes = axes_at(figure, Box(corner[0] + left, corner[1] + above, columns * cell, rows * cell))
        picture = cells(axes, panel.values, scale)
        labels(axes, panel.rows, panel.columns, cell=cell)
    color_bar(figure, picture, Box(left, float(figure.get_figheight()) - 0.55, 2.4, 0.1), legend)
    return figure


class Tiles(NamedTuple):
    """All patterns of a stack: by layer and head, and what the axes say."""

    title: str
    layers: Sequence[int]
    heads: Sequence[int]
    patterns: dict[tuple[int, int], Array]


def map_figure(stacks: Sequence[Tiles], *, title: str, legend: str) -> Figure:
    """Layers down, heads across, a small picture each, all on one scale."""
    scale = Scale.of([values for tiles in stacks for values in tiles.patterns.values()])
    sizes = [_tile(tiles) for tiles in stacks]
    width = 0.75 + max(len(tiles.heads) * tile for tiles, tile in zip(stacks, sizes, strict=True)) + 0.2
    heights = [0.6 + len(tiles.layers) * tile for tiles, tile in zip(stacks, sizes, strict=True)]
    figure = _figure(max(width, 3.4), _TITLE + sum(heights) + _BAR)
    heading(figure, title)
    top = _TITLE
    for tiles, tile, height in zip(stacks, sizes, heights, strict=True):
        heading(figure, tiles.title, top=top, left=0.75, size=9.5)
        box = Box(0.75, top + 0.4, len(tiles.heads) * tile, len(tiles.layers) * tile)
        picture = _mosaic(axes_at(figure, box), tiles, tile, scale)
        top += height
    color_bar(figure, picture, Box(0.75, top + 0.2, 2.4, 0.1), legend)
    return figure


def _tile(tiles: Tiles) -> float:
    return min(_TILE, _MAP / max(len(tiles.heads), 1))


def _mosaic(axes: Axes, tiles: Tiles, tile: float, scale: Scale) -> ScalarMappable:
    """One picture of all patterns, with a gap between them."""
    # Layers may look at windows of other sizes.
    rows, columns = (max(side) for side in zip(*(each.shape for each in tiles.patterns.values()), strict=True))
    gap = max(round(0.06 * max(rows, columns)), 1)
    whole = np.full((len(tiles.layers) * (rows + gap), len(tiles.heads) * (columns + gap)), np.nan)
    for (layer, head), values in tiles.patterns.items():
        down, right = tiles.layers.index(layer) * (rows + gap), tiles.heads.index(head) * (columns + gap)
        whole[down : down + values.shape[0], right : right + values.shape[1]] = values
    picture = cells(axes, whole, scale)
    unmarked(axes)
    size = type_size(tile)
    axes.set_xticks([place * (columns + gap) + columns / 2 for place in range(len(tiles.heads))], map(str, tiles.heads))
    axes.set_yticks([place * (rows + gap) + rows / 2 for place in range(len(tiles.layers))], map(str, tiles.layers))
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=size)
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("head", size=size)
    axes.set_ylabel("layer", size=size)
    return picture


def metric_figure(maps: Sequence[Panel], *, title: str) -> Figure:
    """Layers down, heads across, coloured by a metric; each map on a scale of its own."""
    across = 1 if len(maps) == 1 else 2
    cell = min(0.42, (8.0 if across == 1 else 4.2) / max(panel.values.shape[1] for panel in maps))
    width = max(max(panel.values.shape[1] for panel in maps) * cell + 0.9, 3.6)
    height = max(panel.values.shape[0] for panel in maps) * cell + 1.2
    figure = _figure(across * width, _TITLE + ceil(len(maps) / across) * height)
    heading(figure, title)
    for place, panel in enumerate(maps):
        down, right = divmod(place, across)
        _metric_map(figure, panel, right * width + 0.6, _TITLE + down * height, cell)
    return figure


def _metric_map(figure: Figure, panel: Panel, left: float, top: float, cell: float) -> None:
    rows, columns = panel.values.shape
    scale = Scale.of([panel.values])
    axes = axes_at(figure, Box(left, top + 0.35, columns * cell, rows * cell))
    picture = cells(axes, panel.values, scale)
    labels(axes, panel.rows, panel.columns, cell=cell)
    axes.set_ylabel("layer", size=8)
    axes.set_xlabel("head", size=8)
    axes.xaxis.set_label_position("top")
    numbers(axes, panel.values, scale, cell=cell / 1.25, digits=2 if scale.high < 10 else 1)
    color_bar(figure, picture, Box(left, top + 0.47 + rows * cell, max(min(columns * cell, 3), 2.4), 0.1), panel.title)


# --- out of results ---


def metric_panels(result: HeadsResult) -> list[Panel]:
    """A map of layers × heads for the metric that was asked for; without one, for each that any head shows."""
    panels = []
    for stack in result.stacks:
        known = [name for name in METRICS if any(head.values.get(name) is not None for head in stack.metrics)]
        for name in [result.metric] if result.metric else known:
            where = f"{stack.stack}, " if len(result.stacks) > 1 else ""
            panels.append(_metric_panel(stack, name, f"{where}{name}: {MEANINGS.get(name, '')}"))
    return panels


def _metric_panel(stack: Stack, metric: str, title: str) -> Panel:
    layers, heads = _layers_and_heads(stack.metrics)
    values = np.full((len(layers), len(heads)), np.nan)
    for head in stack.metrics:
        value = head.values.get(metric)
        values[layers.index(head.layer), heads.index(head.head)] = np.nan if value is None else value
    return Panel(title, values, [str(layer) for layer in layers], [str(head) for head in heads])


def _layers_and_heads(heads: Sequence[HeadMetrics]) -> tuple[list[int], list[int]]:
    return sorted({head.layer for head in heads}), sorted({head.head for head in heads})


def _tiles(result: HeadsResult) -> list[Tiles]:
    found = []
    for stack in result.stacks:
        patterns = {(each.layer, each.head or 0): _smaller(_values(stack, each)) for each in stack.patterns}
        if patterns:
            layers, heads = (sorted(set(side)) for side in zip(*patterns, strict=True))
            found.append(Tiles(stack.stack if len(result.stacks) > 1 else "", layers, heads, patterns))
    return found


def _panel(stack: Stack, pattern: Pattern, result: HeadsResult, form: str) -> Panel:
    spans = spans_of(pattern)
    rows = [_text(stack.queries[a:b], form) for a, b in spans.rows]
    columns = [_text(stack.keys[a:b], form) for a, b in spans.columns]
    return Panel(_name(stack, pattern), _values(stack, pattern), rows, columns)


def _values(stack: Stack, pattern: Pattern) -> Array:
    return np.where(unseen(stack, pattern), np.nan, pattern.weights.astype(np.float64))


def _smaller(values: Array) -> Array:
    """In at most 96 cells a side, each the value farthest from zero of those that it stands for: thin lines stay."""
    step = ceil(max(values.shape) / _MOST_IN_TILE)
    if step == 1:
        return values
    rows, columns = (ceil(count / step) for count in values.shape)
    whole = np.full((rows * step, columns * step), np.nan)
    whole[: values.shape[0], : values.shape[1]] = values
    blocks = whole.reshape(rows, step, columns, step).transpose(0, 2, 1, 3).reshape(rows, columns, -1)
    farthest = np.where(np.isnan(blocks), -1.0, np.abs(blocks)).argmax(axis=-1)
    return np.take_along_axis(blocks, farthest[..., None], axis=-1)[..., 0]


def _name(stack: Stack, pattern: Pattern) -> str:
    head = next((one for one in stack.metrics if (one.layer, one.head) == (pattern.layer, pattern.head)), None)
    if head is None:
        return f"rollout to layer {pattern.layer}"
    said = "".join(f", {label_of(label).sentence}" for label in head.labels[:1])
    return f"{'' if head.name.startswith(DIFFERENCE) else 'head '}{head.name}{said}"


def _text(tokens: Sequence[Token], form: str) -> str:
    """A token, or the first of several and how many there are."""
    first = tokens[0]
    text = visible(first.text or first.token or str(first.id))
    short = text if len(text) <= _LONGEST_TOKEN else f"{text[: _LONGEST_TOKEN - 1]}…"
    more = f" +{len(tokens) - 1}" if len(tokens) > 1 else ""
    return drawable(f"{short}{more}", form)


def _room(texts: Sequence[str], cell: float) -> float:
    return room_for(texts, type_size(cell)) + 0.1


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(max(width, 2.8), height))
