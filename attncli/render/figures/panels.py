"""Figures as bytes: parts under one another, and arrays as coloured cells with labels, numbers and a colour bar.

The bytes depend only on the figure and on matplotlib's version, not on the date or the user's settings.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable, Sequence
from math import ceil, floor, log, log10
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from attncli.render.common.colormap import text_color_on
from attncli.render.common.numbers import hundredths
from attncli.render.figures.axis_labels import AxisLabels, draw_labels
from attncli.render.figures.text_layout import (
    CAPTION_SIZE,
    DEFAULT_FAMILY,
    DIM_COLOR,
    HEADING_SIZE,
    LABEL_SIZE,
    POINTS_PER_INCH,
    SMALL_SIZE,
    TITLE_SIZE,
    clip_text,
    families_for,
    line_height,
    room_for,
    wrap_text,
    write_line,
    write_lines,
)

Array = npt.NDArray[np.floating]
#: Dots per inch of pictures.
DPI = 200
#: Cells up to which each is drawn as a shape; more are drawn as one picture, without seams in viewers.
_MAX_SHAPES = 4096
#: Points of the numbers on cells, and the width of a digit as a share of that.
_LARGEST_NUMBER, _SMALLEST_NUMBER, _DIGIT_WIDTH = 7.5, 6.0, 0.64
_MAX_DECIMALS = 4
#: Ticks of a colour bar or of an axis, at most.
_MAX_TICKS = 4
#: Inches: the margin, the gap between two parts and beneath a caption, and the least width.
EDGE, _GAP, _CAPTION_GAP, _MIN_WIDTH = 0.15, 0.18, 0.04, 3.6
#: Width to height of a figure, as of a slide; inches between two columns of parts.
_RATIO, _COLUMN_GAP = 16 / 9, 0.3
#: Inches up to which a caption widens a figure.
_MAX_CAPTION_WIDTH = 6.5
#: Inches: the width of a colour bar.
COLOR_BAR_WIDTH = 2.6
#: Lines of a title or of a fact, at most.
_MAX_LINES = 2
_SETTINGS = {
    "font.family": [DEFAULT_FAMILY],
    "font.size": 9.0,
    # A token with dollar signs is no formula.
    "text.parse_math": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "pdf.fonttype": 42,
    # Text in an SVG stays text, which can be searched and drawn in the reader's fonts.
    "svg.fonttype": "none",
    "svg.hashsalt": "attncli",
}
#: Dates are left out, so that equal figures have equal bytes.
_METADATA = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}


# --- A whole figure


def render_figure(draw: Callable[[], Figure], form: str) -> bytes:
    """The figure that `draw` returns, as svg, pdf or png. It is drawn again if its texts need more fonts."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        # Only SVGs keep characters that no installed font has.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        # matplotlib doesn't shape complex scripts; the single letters are still readable.
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        figure = draw_slide(draw)
        families = families_for(text.get_text() for text in figure.findobj(Text))
        if len(families) > 1:
            # Where texts are placed depends on their widths, and so on their fonts.
            matplotlib.rcParams["font.family"] = families
            figure = draw_slide(draw)
        content = io.BytesIO()
        figure.savefig(content, format=form, dpi=DPI, metadata=_METADATA[form])
        return content.getvalue()


def draw_slide(draw: Callable[[], Figure]) -> Figure:
    """The figure that `draw` returns, in the middle of a page of 16:9."""
    figure = draw()
    width, height = map(float, figure.get_size_inches())
    whole, tall = max(width, height * _RATIO), max(height, width / _RATIO)
    _move(figure, figure.axes, figure.texts, left=(whole - width) / 2, size=(whole, tall))
    return figure


def _move(
    figure: Figure, axes: Iterable[Axes], texts: Iterable[Text], *, left: float, size: tuple[float, float] | None = None
) -> None:
    """Move parts of a figure by `left` inches, and give the figure a new size, at whose top they stay."""
    width, height = map(float, figure.get_size_inches())
    whole, tall = size or (width, height)

    def moved(x: float, y: float) -> tuple[float, float]:
        return (x * width + left) / whole, 1 - (1 - y) * height / tall

    for each in axes:
        box = each.get_position(original=True)
        corner, end = moved(box.x0, box.y0), moved(box.x1, box.y1)
        each.set_position((*corner, end[0] - corner[0], end[1] - corner[1]))
    for text in texts:
        text.set_position(moved(*text.get_position()))
    figure.set_size_inches(whole, tall)


class Part(NamedTuple):
    """One part of a figure, measured while the figure's fonts are set.

    width, height: in inches, with labels and margins.  draw: draws it at the left edge, so many inches from the top.
    notes: sentences on how to read it, which stand beneath the figure.  gap: inches beneath it.
    """

    width: float
    height: float
    draw: Callable[[Figure, float], object]
    notes: Sequence[str] = ()
    gap: float = _GAP


def caption(text: str) -> Part:
    """A line above a part."""

    def draw(figure: Figure, top: float) -> None:
        line = clip_text(text, float(figure.get_figwidth()) - EDGE - EDGE, CAPTION_SIZE)
        write_line(figure, line, top=top, left=EDGE, size=CAPTION_SIZE)

    width = EDGE + min(room_for([text], CAPTION_SIZE), _MAX_CAPTION_WIDTH)
    return Part(width, line_height(CAPTION_SIZE), draw, gap=_CAPTION_GAP)


def compose_figure(title: str, facts: Sequence[str], parts: Sequence[Part], notes: Iterable[str] = ()) -> Figure:
    """Title, facts, parts and notes under one another; the parts in as many columns as come nearest to 16:9.

    notes: sentences on how to read the figure, before those of its parts.
    """
    columns = _in_columns(parts)
    widths = [max(part.width for part in column) for column in columns]
    width = max(_MIN_WIDTH, sum(widths) + (len(widths) - 1) * _COLUMN_GAP) + EDGE
    room = width - EDGE - EDGE
    notes = dict.fromkeys([*notes, *(note for part in parts for note in part.notes)])
    titles = wrap_text(title, room, TITLE_SIZE, most=_MAX_LINES)
    facts = [line for fact in facts for line in wrap_text(fact, room, HEADING_SIZE, most=_MAX_LINES)]
    explained = [line for note in notes for line in wrap_text(note, room, SMALL_SIZE)]
    above = len(titles) * line_height(TITLE_SIZE) + len(facts) * line_height(HEADING_SIZE)
    body = max(map(_height, columns))
    height = EDGE + above + body + len(explained) * line_height(SMALL_SIZE) + EDGE
    figure = Figure(figsize=(width, height))
    top = write_lines(figure, titles, top=EDGE, left=EDGE, size=TITLE_SIZE)
    top = write_lines(figure, facts, top=top, left=EDGE, size=HEADING_SIZE, color=DIM_COLOR) + _GAP
    left = 0.0
    for column, wide in zip(columns, widths, strict=True):
        _draw_column(figure, column, top, left)
        left += wide + _COLUMN_GAP
    write_lines(figure, explained, top=top + body, left=EDGE, size=SMALL_SIZE, color=DIM_COLOR)
    return figure


def _draw_column(figure: Figure, parts: Sequence[Part], top: float, left: float) -> None:
    axes, texts = len(figure.axes), len(figure.texts)
    for part in parts:
        part.draw(figure, top)
        top += part.height + part.gap
    _move(figure, figure.axes[axes:], figure.texts[texts:], left=left)


def _height(parts: Sequence[Part]) -> float:
    return sum(part.height + part.gap for part in parts)


def _in_columns(parts: Sequence[Part]) -> list[list[Part]]:
    """The parts in columns, in order; a caption stays above what it is of."""
    groups: list[list[Part]] = []
    for part in parts:
        if groups and groups[-1][-1].gap == _CAPTION_GAP:
            groups[-1].append(part)
        else:
            groups.append([part])

    def split(count: int) -> list[list[Part]]:
        size = ceil(len(groups) / count)
        pieces = (groups[start : start + size] for start in range(0, len(groups), size))
        return [[part for group in piece for part in group] for piece in pieces]

    def distance(columns: list[list[Part]]) -> float:
        wide = sum(max(part.width for part in column) for column in columns)
        return abs(log(wide / max(map(_height, columns)) / _RATIO))

    return min((split(count) for count in range(1, len(groups) + 1)), key=distance)


def grid_corners(
    count: int, across: int, step: tuple[float, float], corner: tuple[float, float]
) -> list[tuple[float, float]]:
    """Left and top, in inches, of so many boxes of a grid.  step: from one to the next, across and down."""
    return [(corner[0] + place % across * step[0], corner[1] + place // across * step[1]) for place in range(count)]


# --- Cells


class Scale(NamedTuple):
    """The range of a colour scale. Signed values get a diverging colormap centred at 0."""

    low: float
    high: float
    signed: bool = False

    @classmethod
    def from_values(cls, *values: Array) -> Scale:
        largest = max(float(np.nanmax(np.abs(each), initial=0.0)) for each in values) or 1.0
        signed = any(bool((each < 0).any()) for each in values)
        return cls(-largest if signed else 0.0, largest, signed)

    @property
    def colors(self) -> dict[str, Any]:
        """As matplotlib's options of an array."""
        return {"cmap": "PuOr_r" if self.signed else "viridis", "norm": Normalize(self.low, self.high)}


def axes_at(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes that fill a box in inches, from the left and the top of the figure."""
    whole, tall = figure.get_size_inches()
    return figure.add_axes((left / whole, (tall - top - height) / tall, width / whole, height / tall))


def draw_matrix(
    figure: Figure,
    values: Array,
    sides: tuple[AxisLabels, AxisLabels],
    scale: Scale,
    *,
    corner: tuple[float, float],
    cell: float,
    tall: float | None = None,
) -> tuple[Axes, ScalarMappable]:
    """Draw values as coloured cells, the first row on top, with the labels of rows and columns; nan is left empty.

    corner: inches from the left and the top.  cell: inches of a column.  tall: inches of a row, if that differs.
    """
    rows, columns = values.shape
    axes = axes_at(figure, *corner, columns * cell, rows * (tall or cell))
    if values.size <= _MAX_SHAPES:
        # Edges of the same colour close the seams that viewers draw between shapes.
        shown = np.ma.masked_invalid(values)
        picture: ScalarMappable = axes.pcolormesh(shown, edgecolors="face", linewidth=0.7, **scale.colors)
        axes.set_xlim(0, columns)
        axes.set_ylim(rows, 0)
    else:
        # If cells are smaller than a dot, each dot shows the value farthest from 0.
        box = axes.get_window_extent()
        dots = int(max(box.width, box.height) / figure.dpi * DPI)
        picture = draw_image(axes, downsample(values, dots), scale, (0, columns, rows, 0))
    draw_labels(axes, *sides, cell=cell, tall=tall)
    return axes, picture


def draw_image(axes: Axes, values: Array, scale: Scale, extent: tuple[float, float, float, float]) -> ScalarMappable:
    """Draw values as one picture; nan is left empty."""
    shown = np.ma.masked_invalid(values)
    return axes.imshow(shown, aspect="auto", interpolation="none", extent=extent, **scale.colors)


def downsample(values: Array, most: int) -> Array:
    """The array in at most `most` cells a side, each the value farthest from 0 of its block, to keep thin lines."""
    step = ceil(max(values.shape) / most)
    if step == 1:
        return values
    rows, columns = (ceil(count / step) for count in values.shape)
    whole = np.full((rows * step, columns * step), np.nan)
    whole[: values.shape[0], : values.shape[1]] = values
    blocks = whole.reshape(rows, step, columns, step).transpose(0, 2, 1, 3).reshape(rows, columns, -1)
    farthest = np.where(np.isnan(blocks), -1.0, np.abs(blocks)).argmax(axis=-1)
    return np.take_along_axis(blocks, farthest[..., None], axis=-1)[..., 0]


def draw_numbers(
    axes: Axes, picture: ScalarMappable, values: Array, *, cell: float, tall: float | None = None, whole: bool = False
) -> None:
    """Write each value on its cell of `cell` by `tall` inches, if it fits, in black or white.

    whole: whole hundredths, and nothing on values that round to 0.
    """
    largest = max(map(abs, picture.get_clim()))
    # At least two decimals, and two significant digits of the largest value.
    decimals = 1 if largest >= 10 else min(max(2, 1 - floor(log10(largest))), _MAX_DECIMALS)
    texts = {
        at: hundredths(float(value)) if whole else f"{value:z.{decimals}f}"
        for at, value in np.ndenumerate(values)
        if not np.isnan(value)
    }
    longest = max(map(len, texts.values()), default=0) or 1
    fitting = 0.85 * cell * POINTS_PER_INCH / (longest * _DIGIT_WIDTH), (tall or cell) * POINTS_PER_INCH * 0.7
    size = min(_LARGEST_NUMBER, *fitting)
    if size < _SMALLEST_NUMBER:
        return
    colors = picture.to_rgba(np.nan_to_num(values), bytes=True).tolist()
    for (row, column), text in texts.items():
        red, green, blue, _ = colors[row][column]
        if text:
            ink = [part / 255 for part in text_color_on((red, green, blue))]
            axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", size=size, color=ink)


def hide_axes(axes: Axes) -> None:
    """Remove ticks and frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_frame_on(False)


def draw_color_bar(
    figure: Figure,
    picture: ScalarMappable,
    label: str,
    corner: tuple[float, float],
    *,
    width: float = COLOR_BAR_WIDTH,
    height: float = 0.1,
) -> None:
    """Draw the colour scale of a picture, with its label."""
    bar: Any = figure.colorbar(picture, cax=axes_at(figure, *corner, width, height), orientation="horizontal")
    bar.set_label(label, size=LABEL_SIZE, loc="left")
    bar.ax.tick_params(labelsize=SMALL_SIZE, length=2)
    bar.outline.set_linewidth(0.4)
    low, high = picture.get_clim()
    ticks = axis_ticks(low, high, high)
    bar.set_ticks([*ticks], labels=[*ticks.values()])


def axis_ticks(low: float, high: float, end: float) -> dict[float, str]:
    """Round numbers for an axis from `low` to `high`, up to `end`, with their texts."""
    ticks = MaxNLocator(_MAX_TICKS).tick_values(low, high)
    return {tick: tick_text(tick, high) for tick in ticks if low <= tick <= end}


def tick_text(value: float, largest: float) -> str:
    """A tick's number, as short as possible, with its own exponent if it needs one."""
    # A rounding error in place of 0.
    if abs(value) < 1e-9 * abs(largest):
        return "0"
    digits, _, power = f"{value:.6g}".partition("e")
    return f"{digits}e{int(power)}" if power else digits
