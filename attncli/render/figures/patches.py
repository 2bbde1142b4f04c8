"""The weights of heads over a picture as a figure: a map of its patches for each head, or each word of a caption."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from attncli.render.common.escape import visible
from attncli.render.common.numbers import two_digits
from attncli.render.figures.axis_labels import AxisLabels, draw_labels
from attncli.render.figures.panels import Array, Box, Scale, axes_at, draw_color_bar, hide_axes
from attncli.render.figures.text_layout import drawable, write_line
from attncli.render.views.patches import (
    MOST_MAPS,
    MapView,
    greyscale,
    head_name,
    left_out_note,
    map_views,
    patch_weights,
    query_phrase,
    shows_caption_words,
    tint_shares,
)
from attncli.render.views.sentences import Position, shorten_plain, written
from attncli.results.heads import HeadsResult, Stack
from attncli.results.patterns import Pattern, Picture, RowReading
from attncli.results.tokens import Token

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

#: Inches: the side of a single map, of one of several, and the margins.
_SINGLE_SIDE, _GRID_SIDE = 3.6, 1.75
_MARGIN_LEFT, _MARGIN_ABOVE, _MARGIN_BELOW, _GAP = 0.3, 0.5, 0.3, 0.2
_COLOR_BAR_HEIGHT = 0.55
_MIN_NUMBERED_CELL = 0.18
_MAX_COLUMNS = 4
_MAX_NAME_CHARACTERS, _MAX_NOTED_TOKENS = 24, 3


class PatchPanel(NamedTuple):
    """One map. values: (rows, columns), nan for hidden patches; query_patch: row and column of a query that is a patch.

    note: the weights on keys that are no patches.
    """

    title: str
    note: str
    values: Array
    query_patch: tuple[int, int] | None


class PatchPanels(NamedTuple):
    """All maps of a figure. about: what they show."""

    about: str
    panels: Sequence[PatchPanel]

    @property
    def texts(self) -> list[str]:
        """All texts of the maps."""
        return [self.about, *(text for panel in self.panels for text in (panel.title, panel.note))]


def patch_panels(result: HeadsResult, form: str) -> PatchPanels | None:
    """The maps of the chosen heads; None if matrices of weights suit better."""
    stacks = [stack for stack in result.stacks if stack.patterns]
    found = [(stack, map_views(stack)) for stack in stacks]
    if not found or not all(views for _, views in found):
        return None
    panels = [_panel(stack, view, form) for stack, views in found for view in views]
    about = dict.fromkeys(_looking_text(stack, form) for stack in stacks)
    left_out = left_out_note(len(panels))
    return PatchPanels(", ".join([*about, *([left_out] if left_out else [])]), panels[-MOST_MAPS:])


def query_name(stack: Stack, form: str) -> str:
    """The query in words."""
    return written(query_phrase(stack), lambda content: _name_text(content, form))


def grid_weights(stack: Stack, pattern: Pattern) -> Array | None:
    """The weights of a single query over patches, shape (rows, columns); None for other patterns."""
    if stack.key_medium.grid is None or len(pattern.weights) > 1 or pattern.bins is not None:
        return None
    return patch_weights(stack.keys, pattern.weights[0].tolist(), stack.key_medium.grid, None).weights


class PatchMaps(NamedTuple):
    """The maps on one scale, each over the picture in grey; a single map also has the picture beside it."""

    maps: PatchPanels
    picture: Picture | None
    legend: str

    @property
    def texts(self) -> Sequence[str]:
        return [self.legend, *self.maps.texts]

    @property
    def _grid(self) -> tuple[int, float, float, float]:
        """How many are side by side, with the picture; the side of a map; and inches across and down to the next."""
        alone = len(self.maps.panels) == 1
        side = _SINGLE_SIDE if alone else _GRID_SIDE
        across = min(len(self.maps.panels) + (alone and self.picture is not None), _MAX_COLUMNS)
        return across, side, _MARGIN_LEFT + side + _GAP, _MARGIN_ABOVE + side + _MARGIN_BELOW

    def size(self) -> tuple[float, float]:
        across, _, width, height = self._grid
        return _MARGIN_LEFT + across * width, ceil(len(self.maps.panels) / across) * height + _COLOR_BAR_HEIGHT

    def draw(self, figure: Figure, top: float) -> None:
        across, side, width, height = self._grid
        scale = Scale.from_values([panel.values for panel in self.maps.panels])
        for place, panel in enumerate(self.maps.panels):
            down, right = divmod(place, across)
            corner = (_MARGIN_LEFT + right * width, top + down * height)
            drawn = _draw_map(figure, panel, self.picture, corner, side, scale)
        if self.picture is not None and len(self.maps.panels) == 1:
            _draw_picture(figure, self.picture, self.maps.panels[0], (_MARGIN_LEFT + width, top), side)
        bar = top + ceil(len(self.maps.panels) / across) * height + 0.1
        draw_color_bar(figure, drawn, Box(_MARGIN_LEFT, bar, 2.6, 0.1), self.legend)


def mean_map(result: HeadsResult, stack: Stack, reading: RowReading, form: str) -> PatchMaps | None:
    """What a position reads of a picture, the mean over heads; None if the keys are no patches."""
    grid = stack.key_medium.grid
    if grid is None:
        return None
    query = reading.query if stack.query_medium.grid is not None else None
    view = MapView("", patch_weights(stack.keys, reading.weights.tolist(), grid, query))
    panel = _panel(stack, view, form)._replace(title=f"mean of {reading.heads:,} heads")
    about = f"where {query_name(stack, form)} looks"
    return PatchMaps(PatchPanels(about, [panel]), result.picture, "attention weight")


def _name_text(content: str | Token | Position, form: str) -> str:
    """A token in a figure of this form, or our own words."""
    if isinstance(content, str):
        return content
    token = content.token if isinstance(content, Position) else content
    return drawable(shorten_plain(visible(token.text or token.token or str(token.id)), _MAX_NAME_CHARACTERS), form)


def _looking_text(stack: Stack, form: str) -> str:
    if shows_caption_words(stack):
        return f"head {head_name(stack, stack.patterns[0])}: where each word looks"
    return f"where {query_name(stack, form)} looks"


def _panel(stack: Stack, view: MapView, form: str) -> PatchPanel:
    noted = view.patches.other_keys[:_MAX_NOTED_TOKENS]
    others = ", ".join(f"{_name_text(token, form)} {two_digits(weight)}" for token, weight in noted)
    title = f"{'' if shows_caption_words(stack) else 'head '}{_name_text(view.name, form)}"
    return PatchPanel(title, others, view.patches.weights, view.patches.query_cell)


def _draw_map(
    figure: Figure, panel: PatchPanel, picture: Picture | None, corner: tuple[float, float], side: float, scale: Scale
) -> ScalarMappable:
    axes = _panel_axes(figure, panel, corner, side)
    rows, columns = panel.values.shape
    place = (0, columns, rows, 0)
    if picture is not None:
        grey = greyscale(picture.pixels) / 255
        axes.imshow(grey, cmap="gray", vmin=0, vmax=1, extent=place, interpolation="bilinear")
    largest = max(abs(scale.low), abs(scale.high))
    alpha = 1.0 if picture is None else tint_shares(np.abs(np.nan_to_num(panel.values)) / largest)
    options: Any = {"cmap": scale.colormap, "norm": scale.norm, "alpha": alpha}
    shown = np.ma.masked_invalid(panel.values)
    drawn = axes.imshow(shown, extent=place, interpolation="nearest", **options)
    _mark_query(axes, panel.query_patch)
    axes.set_xlabel(panel.note, size=7.5)
    return drawn


def _draw_picture(
    figure: Figure, picture: Picture, panel: PatchPanel, corner: tuple[float, float], side: float
) -> None:
    """The picture itself, at the size of its map."""
    rows, columns = panel.values.shape
    axes = _panel_axes(figure, panel._replace(title="the picture, as the model saw it"), corner, side)
    axes.imshow(picture.pixels, extent=(0, columns, rows, 0), interpolation="bilinear")
    _mark_query(axes, panel.query_patch)
    hide_axes(axes)


def _panel_axes(figure: Figure, panel: PatchPanel, corner: tuple[float, float], side: float) -> Axes:
    """Axes with the numbers of rows and columns, and the title above."""
    rows, columns = panel.values.shape
    cell = side / max(rows, columns)
    write_line(figure, panel.title, left=corner[0], top=corner[1], size=8.5)
    axes = axes_at(figure, Box(corner[0], corner[1] + _MARGIN_ABOVE - 0.1, columns * cell, rows * cell))
    draw_labels(axes, AxisLabels(_axis_numbers(rows, cell)), AxisLabels(_axis_numbers(columns, cell)), cell=cell)
    return axes


def _axis_numbers(count: int, cell: float) -> list[str]:
    """The number of each row or column; of every fifth if cells are small."""
    step = 1 if cell >= _MIN_NUMBERED_CELL else 5
    return ["" if place % step else str(place) for place in range(count)]


def _mark_query(axes: Axes, patch: tuple[int, int] | None) -> None:
    """Draw a frame around the query's patch, visible on any colour."""
    if patch is None:
        return
    for color, width in (("black", 2.4), ("white", 1.0)):
        axes.add_patch(Rectangle((patch[1], patch[0]), 1, 1, fill=False, edgecolor=color, linewidth=width))
