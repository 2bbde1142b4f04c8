"""Arrays as pictures on axes: cells in colours, labels on both sides, what the colours mean.

Figures as bytes: the same bytes for the same figure, whatever day it is and however matplotlib is set up.

A figure from top to bottom: its title, what is known of it, its parts one under another, and how to read them.
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

from attncli.render.common.colormap import ink_on
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
#: Dots per inch of pictures; a cell of a short pattern has dozens of them.
DPI = 200
#: Cells that are drawn as shapes; more of them are one picture, which no viewer draws seams into.
_MAX_SHAPES = 4096
#: Points of the numbers on cells, and the width of a digit as a share of them.
_LARGEST_NUMBER, _SMALLEST_NUMBER, _DIGIT_WIDTH = 7.5, 6.0, 0.64
_MAX_DECIMALS = 4
#: Inches of a cell with a number of hundredths.
_MIN_HUNDREDTHS_CELL = 0.2
#: Numbers on a scale of colours: more of them would touch.
_MAX_TICKS = 4
#: Inches of a row that is seen well, and of all rows together where they are many.
_MIN_ROW, _MIN_ALL_ROWS = 0.14, 1.7
#: Inches: what stays white around all of it, between two parts and beneath a caption, and the least width of lines.
EDGE, _MARGIN_RIGHT, _GAP, _CAPTION_GAP, _MIN_WIDTH = 0.15, 0.15, 0.18, 0.04, 3.6
#: Inches that a caption may widen a figure to.
_MAX_CAPTION_WIDTH = 6.5
_TITLE_SIZE, _FACT_SIZE, _NOTE_SIZE, _CAPTION_SIZE = 11.0, 8.5, 7.5, 9.5
_DIM = "0.32"
_MAX_LINES = 2
_SETTINGS = {
    "font.size": 9.0,
    # A token may hold dollar signs, and is no formula.
    "text.parse_math": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "pdf.fonttype": 42,
    # Text in an SVG stays text: it can be searched, and the reader's own fonts draw what DejaVu lacks.
    "svg.fonttype": "none",
    "svg.hashsalt": "attncli",
}
#: What says when and by whom; without it, bytes depend on the figure and on matplotlib's version alone.
_METADATA = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}


# --- A whole figure


def render_figure(draw: Callable[[], Figure], form: str, *, texts: Iterable[str]) -> bytes:
    """The figure that `draw` makes, as svg, pdf or png. texts: what will stand in it, so that fonts can be found."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        matplotlib.rcParams["font.family"] = families_for(texts)
        # SVGs keep characters that no font here has, as the reader may have one; elsewhere we left none.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        # Nor do they all join letters as their scripts do; each still stands for itself.
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        return _save(draw(), form)


def _save(figure: Figure, form: str) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format=form, dpi=DPI, metadata=_METADATA[form])
    return content.getvalue()


class FigureText(NamedTuple):
    """What stands above a figure and beneath it.

    title: what it is of.  facts: lines of what is known of that.  notes: sentences of how to read it.
    """

    title: str
    facts: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def texts(self) -> list[str]:
        return [self.title, *self.facts, *self.notes]


class Part(Protocol):
    """One picture of a figure. texts: all that is written in it."""

    @property
    def texts(self) -> Sequence[str]: ...

    def size(self) -> tuple[float, float]:
        """Inches: width and height, with all that stands around it."""

    def draw(self, figure: Figure, top: float) -> None:
        """Draw it at the left edge, so many inches from the top."""


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


def all_texts(words: FigureText, parts: Sequence[Part]) -> list[str]:
    """All that will be written, so that fonts can be found."""
    return [*words.texts, *(text for part in parts for text in part.texts)]


def compose_figure(words: FigureText, parts: Sequence[Part]) -> Figure:
    """The words and the parts as one figure, as wide as the widest part."""
    sizes = [part.size() for part in parts]
    width = max(_MIN_WIDTH, *(width for width, _ in sizes)) + _MARGIN_RIGHT
    room = width - EDGE - _MARGIN_RIGHT
    title = wrap_text(words.title, room, _TITLE_SIZE, most=_MAX_LINES)
    facts = [line for fact in words.facts for line in wrap_text(fact, room, _FACT_SIZE, most=_MAX_LINES)]
    notes = [line for note in words.notes for line in wrap_text(note, room, _NOTE_SIZE)]
    above = len(title) * line_height(_TITLE_SIZE) + len(facts) * line_height(_FACT_SIZE)
    gaps = [_CAPTION_GAP if isinstance(part, Caption) else _GAP for part in parts]
    body = sum(height + gap for (_, height), gap in zip(sizes, gaps, strict=True))
    figure = Figure(figsize=(width, EDGE + above + body + len(notes) * line_height(_NOTE_SIZE) + EDGE))
    top = write_lines(figure, title, top=EDGE, left=EDGE, size=_TITLE_SIZE, color="black")
    top = write_lines(figure, facts, top=top, left=EDGE, size=_FACT_SIZE, color=_DIM) + _GAP
    for part, (_, height), gap in zip(parts, sizes, gaps, strict=True):
        part.draw(figure, top)
        top += height + gap
    write_lines(figure, notes, top=top, left=EDGE, size=_NOTE_SIZE, color=_DIM)
    return figure


# --- Parts of a figure


class Scale(NamedTuple):
    """From which value to which colours go. Values of two signs have white at 0 and as much room on either side."""

    low: float
    high: float
    signed: bool = False

    @classmethod
    def of(cls, values: Sequence[Array]) -> Scale:
        largest = max((float(np.nanmax(np.abs(each), initial=0.0)) for each in values), default=0.0) or 1.0
        signed = any(bool((each < 0).any()) for each in values)
        return cls(-largest if signed else 0.0, largest, signed)

    @classmethod
    def between(cls, low: float, high: float) -> Scale:
        """From the least to the greatest of some values, of whatever sign."""
        return cls(low, high) if high - low > 1e-9 else cls(low - 0.5, high + 0.5)

    @property
    def colormap(self) -> str:
        return "PuOr_r" if self.signed else "viridis"

    @property
    def norm(self) -> Normalize:
        return Normalize(self.low, self.high)


class Box(NamedTuple):
    """A place on a figure in inches, from its left and its top."""

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
    """Values in their colours, the first row on top; nothing where there is no number."""
    rows, columns = values.shape
    given: dict[str, Any] = {"cmap": scale.colormap, "norm": scale.norm}
    if values.size <= _MAX_SHAPES:
        # Edges of the same colour close the seams that viewers draw between shapes.
        made: ScalarMappable = axes.pcolormesh(np.ma.masked_invalid(values), edgecolors="face", linewidth=0.7, **given)
        axes.set_xlim(0, columns)
        axes.set_ylim(rows, 0)
        return made
    # Of cells that are smaller than the dots of a printer the largest ones stay.
    box = axes.get_window_extent()
    dots = int(max(box.width, box.height) / axes.figure.dpi * DPI)
    shown = np.ma.masked_invalid(downsample(values, dots))
    return axes.imshow(shown, aspect="auto", interpolation="none", extent=(0, columns, rows, 0), **given)


def downsample(values: Array, most: int) -> Array:
    """In at most so many cells a side, each the value farthest from zero of its own: thin lines stay."""
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
    """Each value on its cell, with digits that tell them apart, where cells of so many inches have room."""
    decimals = _decimals(scale)
    texts = {at: f"{value:z.{decimals}f}" for at, value in np.ndenumerate(values) if not np.isnan(value)}
    _write_on_cells(axes, texts, values, scale, cell=cell, tall=tall)


def has_hundredths(cell: float, tall: float) -> bool:
    """Whether cells of so many inches have room for two digits that are read with ease."""
    return cell >= _MIN_HUNDREDTHS_CELL and tall >= 0.6 * _MIN_HUNDREDTHS_CELL


def draw_hundredths(axes: Axes, values: Array, scale: Scale, *, cell: float, tall: float) -> None:
    """Whole hundredths on the cells, and nothing where a value is less than half a one."""
    shares = {at: str(round(100 * float(value)) or "") for at, value in np.ndenumerate(values) if not np.isnan(value)}
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
    """Texts by row and column, in an ink that is read on the colour of their cell."""
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
        ink = [part / 255 for part in ink_on(colors[row][column])]
        axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", size=size, color=ink)


def _decimals(scale: Scale) -> int:
    """Two digits at least of the largest value, and two behind the point of what is a share."""
    largest = max(abs(scale.low), abs(scale.high))
    return 1 if largest >= 10 else min(max(2, 1 - floor(log10(largest))), _MAX_DECIMALS)


def _cell_colors(values: Array, scale: Scale) -> list[list[tuple[int, int, int]]]:
    from matplotlib import colormaps

    table = colormaps[scale.colormap](scale.norm(np.nan_to_num(values)), bytes=True)
    return [[(int(red), int(green), int(blue)) for red, green, blue, _ in row] for row in table]


def row_height(rows: int, cell: float) -> float:
    """Inches of a row where a column is `cell` inches: a few rows of many narrow columns are tall enough to be seen."""
    return max(cell, min(_MIN_ROW, _MIN_ALL_ROWS / rows))


def hide_axes(axes: Axes) -> None:
    """No ticks, and no frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_frame_on(False)


def draw_color_bar(figure: Figure, drawn: ScalarMappable, box: Box, label: str) -> None:
    """What the colours mean."""
    bar: Any = figure.colorbar(drawn, cax=axes_at(figure, box), orientation="horizontal")
    bar.set_label(label, size=8, loc="left")
    bar.ax.tick_params(labelsize=7.5, length=2)
    bar.outline.set_linewidth(0.4)
    low, high = drawn.get_clim()
    ticks = [tick for tick in MaxNLocator(_MAX_TICKS).tick_values(low, high) if low <= tick <= high]
    bar.set_ticks(ticks, labels=[tick_text(tick, high) for tick in ticks])


def tick_text(value: float, largest: float) -> str:
    """A number of a scale, as short as it can be: without a power of ten that stands apart."""
    # What is left of a sum that should be 0.
    if abs(value) < 1e-9 * abs(largest):
        return "0"
    text = f"{value:.6g}"
    if "e" not in text:
        return text
    digits, power = text.split("e")
    return f"{digits}e{int(power)}"
