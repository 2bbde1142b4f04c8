"""Figures as bytes: composing title, facts, parts and notes; drawing arrays as coloured cells with numbers and a scale.

The bytes depend only on the figure and on matplotlib's version, not on the date or the user's settings.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from attncli.render.common.colormap import text_color_on
from attncli.render.common.numbers import hundredths
from attncli.render.figures.text_layout import (
    POINTS_PER_INCH,
    clip_text,
    families_for,
    line_height,
    room_for,
    wrap_text,
    write_line,
    write_lines,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

Array = npt.NDArray[np.floating]
#: Dots per inch of pictures.
DPI = 200
#: Cells up to which each is drawn as a shape; more are drawn as one picture, without seams in viewers.
_MAX_SHAPES = 4096
#: Points of the numbers on cells, and the width of a digit as a share of that.
_LARGEST_NUMBER, _SMALLEST_NUMBER, _DIGIT_WIDTH = 7.5, 6.0, 0.64
_MAX_DECIMALS = 4
#: Inches of a cell that has room for hundredths.
_MIN_HUNDREDTHS_CELL = 0.2
#: Ticks of a colour scale, at most.
_MAX_TICKS = 4
#: Inches of a row at least, or of all rows together if they are many.
_MIN_ROW, _MIN_ALL_ROWS = 0.14, 1.7
#: Inches: margins, the gap between two parts and beneath a caption, and the least width.
EDGE, _MARGIN_RIGHT, _GAP, _CAPTION_GAP, _MIN_WIDTH = 0.15, 0.15, 0.18, 0.04, 3.6
#: Inches up to which a caption widens a figure.
_MAX_CAPTION_WIDTH = 6.5
_TITLE_SIZE, _FACT_SIZE, _NOTE_SIZE, _CAPTION_SIZE = 11.0, 8.5, 7.5, 9.5
#: The colour of texts that explain.
DIM_COLOR = "0.32"
_MAX_LINES = 2
_SETTINGS = {
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


def render_figure(draw: Callable[[], Figure], form: str, *, texts: Iterable[str]) -> bytes:
    """The figure that `draw` returns, as svg, pdf or png.  texts: all its texts, for which fonts are chosen."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        matplotlib.rcParams["font.family"] = families_for(texts)
        # Only SVGs keep characters that no installed font has.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        # matplotlib doesn't shape complex scripts; the single letters are still readable.
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        return _save(draw(), form)


def _save(figure: Figure, form: str) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format=form, dpi=DPI, metadata=_METADATA[form])
    return content.getvalue()


class FigureText(NamedTuple):
    """The texts above a figure and beneath it.

    title: what it shows.  facts: lines beneath the title.  notes: sentences on how to read it.
    """

    title: str
    facts: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def texts(self) -> list[str]:
        return [self.title, *self.facts, *self.notes]


class Part(Protocol):
    """One part of a figure. texts: all texts in it."""

    @property
    def texts(self) -> Sequence[str]: ...

    def size(self) -> tuple[float, float]:
        """Width and height in inches, with labels and margins."""

    def draw(self, figure: Figure, top: float) -> None:
        """Draw it at the left edge, `top` inches from the top."""


class Caption(NamedTuple):
    """A line above a part."""

    text: str

    @property
    def texts(self) -> Sequence[str]:
        return [self.text]

    def size(self) -> tuple[float, float]:
        return EDGE + min(room_for([self.text], _CAPTION_SIZE), _MAX_CAPTION_WIDTH), line_height(_CAPTION_SIZE)

    def draw(self, figure: Figure, top: float) -> None:
        width = float(figure.get_figwidth()) - EDGE - _MARGIN_RIGHT
        write_line(figure, clip_text(self.text, width, _CAPTION_SIZE), top=top, left=EDGE, size=_CAPTION_SIZE)


def all_texts(text: FigureText, parts: Sequence[Part]) -> list[str]:
    """All texts of a figure, for the choice of fonts."""
    return [*text.texts, *(each for part in parts for each in part.texts)]


def compose_figure(text: FigureText, parts: Sequence[Part]) -> Figure:
    """The texts and the parts as one figure, as wide as the widest part."""
    sizes = [part.size() for part in parts]
    width = max(_MIN_WIDTH, *(width for width, _ in sizes)) + _MARGIN_RIGHT
    room = width - EDGE - _MARGIN_RIGHT
    title = wrap_text(text.title, room, _TITLE_SIZE, most=_MAX_LINES)
    facts = [line for fact in text.facts for line in wrap_text(fact, room, _FACT_SIZE, most=_MAX_LINES)]
    notes = [line for note in text.notes for line in wrap_text(note, room, _NOTE_SIZE)]
    above = len(title) * line_height(_TITLE_SIZE) + len(facts) * line_height(_FACT_SIZE)
    gaps = [_CAPTION_GAP if isinstance(part, Caption) else _GAP for part in parts]
    body = sum(height + gap for (_, height), gap in zip(sizes, gaps, strict=True))
    figure = Figure(figsize=(width, EDGE + above + body + len(notes) * line_height(_NOTE_SIZE) + EDGE))
    top = write_lines(figure, title, top=EDGE, left=EDGE, size=_TITLE_SIZE, color="black")
    top = write_lines(figure, facts, top=top, left=EDGE, size=_FACT_SIZE, color=DIM_COLOR) + _GAP
    for part, (_, height), gap in zip(parts, sizes, gaps, strict=True):
        part.draw(figure, top)
        top += height + gap
    write_lines(figure, notes, top=top, left=EDGE, size=_NOTE_SIZE, color=DIM_COLOR)
    return figure


# --- Parts of a figure


class Scale(NamedTuple):
    """The range of a colour scale. Signed values get a diverging colormap centred at 0."""

    low: float
    high: float
    signed: bool = False

    @classmethod
    def from_values(cls, values: Sequence[Array]) -> Scale:
        largest = max((float(np.nanmax(np.abs(each), initial=0.0)) for each in values), default=0.0) or 1.0
        signed = any(bool((each < 0).any()) for each in values)
        return cls(-largest if signed else 0.0, largest, signed)

    @classmethod
    def between(cls, low: float, high: float) -> Scale:
        """A sequential scale from the least to the greatest value."""
        return cls(low, high) if high - low > 1e-9 else cls(low - 0.5, high + 0.5)

    @property
    def colormap(self) -> str:
        return "PuOr_r" if self.signed else "viridis"

    @property
    def norm(self) -> Normalize:
        return Normalize(self.low, self.high)


class Box(NamedTuple):
    """A rectangle on a figure in inches, from its left and its top."""

    left: float
    top: float
    width: float
    height: float


def axes_at(figure: Figure, box: Box) -> Axes:
    """Axes that fill a box."""
    width, height = figure.get_size_inches()
    bottom = height - box.top - box.height
    return figure.add_axes((box.left / width, bottom / height, box.width / width, box.height / height))


def draw_cells(axes: Axes, values: Array, scale: Scale) -> ScalarMappable:
    """Draw values as coloured cells, the first row on top; nan is left empty."""
    rows, columns = values.shape
    options: dict[str, Any] = {"cmap": scale.colormap, "norm": scale.norm}
    if values.size <= _MAX_SHAPES:
        # Edges of the same colour close the seams that viewers draw between shapes.
        mesh: ScalarMappable = axes.pcolormesh(
            np.ma.masked_invalid(values), edgecolors="face", linewidth=0.7, **options
        )
        axes.set_xlim(0, columns)
        axes.set_ylim(rows, 0)
        return mesh
    # If cells are smaller than a dot, each dot shows the value farthest from 0.
    box = axes.get_window_extent()
    dots = int(max(box.width, box.height) / axes.figure.dpi * DPI)
    shown = np.ma.masked_invalid(downsample(values, dots))
    return axes.imshow(shown, aspect="auto", interpolation="none", extent=(0, columns, rows, 0), **options)


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


def draw_numbers(axes: Axes, values: Array, scale: Scale, *, cell: float, tall: float | None = None) -> None:
    """Write each value on its cell of `cell` by `tall` inches, if it fits."""
    decimals = _decimals(scale)
    texts = {at: f"{value:z.{decimals}f}" for at, value in np.ndenumerate(values) if not np.isnan(value)}
    _write_on_cells(axes, texts, values, scale, cell=cell, tall=tall)


def has_hundredths(cell: float, tall: float) -> bool:
    """Whether cells of `cell` by `tall` inches have room for two legible digits."""
    return cell >= _MIN_HUNDREDTHS_CELL and tall >= 0.6 * _MIN_HUNDREDTHS_CELL


def draw_hundredths(axes: Axes, values: Array, scale: Scale, *, cell: float, tall: float) -> None:
    """Write whole hundredths on the cells, and nothing on values that round to 0."""
    shares = {at: hundredths(float(value)) for at, value in np.ndenumerate(values) if not np.isnan(value)}
    _write_on_cells(axes, {at: text for at, text in shares.items() if text}, values, scale, cell=cell, tall=tall)


def _write_on_cells(
    axes: Axes,
    texts: Mapping[tuple[int, ...], str],
    values: Array,
    scale: Scale,
    *,
    cell: float,
    tall: float | None = None,
) -> None:
    """Write texts by row and column, in black or white depending on the colour of the cell."""
    longest = max(map(len, texts.values()), default=1)
    size = min(
        _LARGEST_NUMBER,
        0.85 * cell * POINTS_PER_INCH / (longest * _DIGIT_WIDTH),
        (tall or cell) * POINTS_PER_INCH * 0.7,
    )
    if size < _SMALLEST_NUMBER:
        return
    colors = _cell_colors(values, scale)
    for (row, column), text in texts.items():
        ink = [part / 255 for part in text_color_on(colors[row][column])]
        axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", size=size, color=ink)


def _decimals(scale: Scale) -> int:
    """Decimals for numbers: at least two, and two significant digits of the largest value."""
    largest = max(abs(scale.low), abs(scale.high))
    return 1 if largest >= 10 else min(max(2, 1 - floor(log10(largest))), _MAX_DECIMALS)


def _cell_colors(values: Array, scale: Scale) -> list[list[tuple[int, int, int]]]:
    from matplotlib import colormaps

    table = colormaps[scale.colormap](scale.norm(np.nan_to_num(values)), bytes=True)
    return [[(int(red), int(green), int(blue)) for red, green, blue, _ in row] for row in table]


def row_height(rows: int, cell: float) -> float:
    """Inches of a row if a column is `cell` inches: few rows of many narrow columns are taller."""
    return max(cell, min(_MIN_ROW, _MIN_ALL_ROWS / rows))


def hide_axes(axes: Axes) -> None:
    """Remove ticks and frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_frame_on(False)


def draw_color_bar(figure: Figure, drawn: ScalarMappable, box: Box, label: str) -> None:
    """Draw the colour scale with its label."""
    bar: Any = figure.colorbar(drawn, cax=axes_at(figure, box), orientation="horizontal")
    bar.set_label(label, size=8, loc="left")
    bar.ax.tick_params(labelsize=7.5, length=2)
    bar.outline.set_linewidth(0.4)
    low, high = drawn.get_clim()
    ticks = [tick for tick in MaxNLocator(_MAX_TICKS).tick_values(low, high) if low <= tick <= high]
    bar.set_ticks(ticks, labels=[tick_text(tick, high) for tick in ticks])


def tick_text(value: float, largest: float) -> str:
    """A tick's number, as short as possible, with its own exponent if it needs one."""
    # A rounding error in place of 0.
    if abs(value) < 1e-9 * abs(largest):
        return "0"
    text = f"{value:.6g}"
    if "e" not in text:
        return text
    digits, power = text.split("e")
    return f"{digits}e{int(power)}"
