"""The weights of heads over a picture as a figure: a map of its patches for each head, or each word of a caption."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from attncli.render.common.escape import visible
from attncli.render.common.numbers import two_digits
from attncli.render.figures.axis_labels import AxisLabels, draw_labels
from attncli.render.figures.panels import (
    Array,
    Part,
    Scale,
    axes_at,
    caption,
    draw_color_bar,
    grid_corners,
    hide_axes,
)
from attncli.render.figures.text_layout import SMALL_SIZE, drawable, write_line
from attncli.render.views.patches import (
    MOST_MAPS,
    MapView,
    greyscale,
    head_name,
    left_out_note,
    map_views,
    patch_weights,
    picture_maps,
    query_phrase,
    shows_caption_words,
    tint_shares,
)
from attncli.render.views.sentences import Position, raw_text, shorten_plain, written
from attncli.results.heads import HeadsResult, Stack
from attncli.results.patterns import Pattern, Picture, RowReading
from attncli.results.tokens import Token

#: Inches: the side of a single map, of one of several, and the margins.
_SINGLE_SIDE, _GRID_SIDE = 3.6, 1.75
_MARGIN_LEFT, _MARGIN_ABOVE, _MARGIN_BELOW, _GAP = 0.3, 0.5, 0.3, 0.2
_COLOR_BAR_HEIGHT = 0.55
_MIN_NUMBERED_CELL = 0.18
_MAX_COLUMNS = 4
_MAX_NAME_CHARACTERS, _MAX_NOTED_TOKENS = 24, 3


class _PatchMap(NamedTuple):
    """One map. values: (rows, columns), nan for hidden patches; query_patch: row and column of a query that is a patch.

    note: the weights on keys that are no patches.
    """

    title: str
    note: str
    values: Array
    query_patch: tuple[int, int] | None


def patch_maps(stacks: Sequence[Stack], picture: Picture | None, legend: str, form: str) -> list[Part]:
    """The maps of the chosen heads below what they show; nothing if matrices of weights suit better."""
    found = [(stack, map_views(stack)) for stack in stacks]
    if not found or not all(views for _, views in found):
        return []
    maps = [_patch_map(stack, view, form) for stack, views in found for view in views]
    about = dict.fromkeys(
        f"head {head_name(stack, stack.patterns[0])}: where each word looks"
        if shows_caption_words(stack)
        else f"where {query_name(stack, form)} looks"
        for stack in stacks
    )
    line = ", ".join(filter(None, [*about, left_out_note(len(maps))]))
    return [caption(line), _map_grid(maps[-MOST_MAPS:], picture, legend)]


def mean_map(stack: Stack, reading: RowReading, picture: Picture | None, form: str) -> list[Part]:
    """What a position reads of a picture, the mean over heads; nothing if the keys are no patches."""
    grid = stack.key_medium.grid
    if grid is None:
        return []
    query = reading.query if stack.query_medium.grid is not None else None
    view = MapView("", patch_weights(stack.keys, reading.weights.tolist(), grid, query))
    mean = _patch_map(stack, view, form)._replace(title=f"mean of {reading.heads:,} heads")
    return [caption(f"where {query_name(stack, form)} looks"), _map_grid([mean], picture, "attention weight")]


def text_picture_parts(result: HeadsResult, stack: Stack, reading: RowReading) -> list[Part]:
    """What a position of a text reads of the pictures in it, a map over each; nothing without pictures."""
    parts = []
    for shown in picture_maps(stack, reading.weights.tolist()):
        title = f"{shown.title}: {two_digits(shown.share)} of the weight"
        map_ = _PatchMap(title, "", shown.patches.weights, None)
        parts.append(_map_grid([map_], result.picture_at(shown.picture), "attention weight"))
    return parts


def query_name(stack: Stack, form: str) -> str:
    """The query in words."""
    return written(query_phrase(stack), lambda content: _name_text(content, form))


def grid_weights(stack: Stack, pattern: Pattern) -> Array | None:
    """The weights of a single query over patches, shape (rows, columns); None for other patterns."""
    if stack.key_medium.grid is None or len(pattern.weights) > 1 or pattern.bins is not None:
        return None
    return patch_weights(stack.keys, pattern.weights[0].tolist(), stack.key_medium.grid, None).weights


def _patch_map(stack: Stack, view: MapView, form: str) -> _PatchMap:
    noted = view.patches.other_keys[:_MAX_NOTED_TOKENS]
    others = ", ".join(f"{_name_text(token, form)} {two_digits(weight)}" for token, weight in noted)
    title = f"{'' if shows_caption_words(stack) else 'head '}{_name_text(view.name, form)}"
    return _PatchMap(title, others, view.patches.weights, view.patches.query_cell)


def _name_text(content: str | Token | Position, form: str) -> str:
    """A token in a figure of this form, or our own words."""
    if isinstance(content, str):
        return content
    token = content.token if isinstance(content, Position) else content
    return drawable(shorten_plain(visible(raw_text(token)), _MAX_NAME_CHARACTERS), form)


def _map_grid(maps: Sequence[_PatchMap], picture: Picture | None, legend: str) -> Part:
    """The maps on one scale, each over the picture in grey; a single map also has the picture beside it."""
    beside = maps[0] if len(maps) == 1 and picture is not None else None
    side = _SINGLE_SIDE if len(maps) == 1 else _GRID_SIDE
    across = min(len(maps) + (beside is not None), _MAX_COLUMNS)
    step = _MARGIN_LEFT + side + _GAP, _MARGIN_ABOVE + side + _MARGIN_BELOW
    height = ceil(len(maps) / across) * step[1]

    def draw(figure: Figure, top: float) -> None:
        scale = Scale.from_values(*(each.values for each in maps))
        corners = grid_corners(len(maps) + 1, across, step, (_MARGIN_LEFT, top))
        for map_, corner in zip(maps, corners, strict=False):
            axes = _map_axes(figure, map_.title, map_, corner, side)
            drawn = _draw_weights(axes, map_, picture, scale)
        if beside is not None and picture is not None:
            axes = _map_axes(figure, "the picture, as the model saw it", beside, corners[1], side)
            axes.imshow(picture.pixels, extent=_extent(beside), interpolation="bilinear")
            _mark_query(axes, beside.query_patch)
            hide_axes(axes)
        draw_color_bar(figure, drawn, legend, (_MARGIN_LEFT, top + height + 0.1))

    return Part(_MARGIN_LEFT + across * step[0], height + _COLOR_BAR_HEIGHT, draw)


def _draw_weights(axes: Axes, map_: _PatchMap, picture: Picture | None, scale: Scale) -> ScalarMappable:
    """The weights as colours, over the picture if there is one."""
    alpha: Any = 1.0
    if picture is not None:
        grey = greyscale(picture.pixels) / 255
        axes.imshow(grey, cmap="gray", vmin=0, vmax=1, extent=_extent(map_), interpolation="bilinear")
        alpha = tint_shares(np.abs(np.nan_to_num(map_.values)) / scale.high)
    shown = np.ma.masked_invalid(map_.values)
    drawn = axes.imshow(shown, extent=_extent(map_), interpolation="nearest", alpha=alpha, **scale.colors)
    _mark_query(axes, map_.query_patch)
    axes.set_xlabel(map_.note, size=SMALL_SIZE)
    return drawn


def _extent(map_: _PatchMap) -> tuple[float, float, float, float]:
    rows, columns = map_.values.shape
    return 0, columns, rows, 0


def _map_axes(figure: Figure, title: str, map_: _PatchMap, corner: tuple[float, float], side: float) -> Axes:
    """Axes with the numbers of rows and columns, and the title above."""
    left, top = corner
    rows, columns = map_.values.shape
    cell = side / max(rows, columns)
    write_line(figure, title, left=left, top=top)
    axes = axes_at(figure, left, top + _MARGIN_ABOVE - 0.1, columns * cell, rows * cell)
    # Of every fifth if cells are small.
    step = 1 if cell >= _MIN_NUMBERED_CELL else 5
    sides = (AxisLabels(["" if place % step else str(place) for place in range(count)]) for count in (rows, columns))
    draw_labels(axes, *sides, cell=cell)
    return axes


def _mark_query(axes: Axes, patch: tuple[int, int] | None) -> None:
    """Draw a frame around the query's patch, visible on any colour."""
    if patch is None:
        return
    for color, width in (("black", 2.4), ("white", 1.0)):
        axes.add_patch(Rectangle((patch[1], patch[0]), 1, 1, fill=False, edgecolor=color, linewidth=width))
