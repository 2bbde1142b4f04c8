"""Arrays as pictures on axes: cells in colours, labels on both sides, what the colours mean."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.colors import Normalize

from attncli.render.colormap import ink_on

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

Array = npt.NDArray[np.floating]

#: Dots per inch of pictures; a cell of a short pattern has dozens of them.
DPI = 200
#: Cells that are drawn as shapes; more of them are one picture, which no viewer draws seams into.
_MOST_SHAPES = 4096
_POINTS = 72
_LARGEST_TYPE, _SMALLEST_TYPE = 9.0, 5.0
#: Inches that a number needs.
_NUMBER = 0.27
#: Inches of a row that is seen well, and of all rows together where they are many.
_LEAST_ROW, _LEAST_ROWS = 0.14, 1.7
#: The mean width of a letter as a share of its size.
_LETTER = 0.62


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


def cells(axes: Axes, values: Array, scale: Scale) -> ScalarMappable:
    """Values in their colours, the first row on top; nothing where there is no number."""
    rows, columns = values.shape
    given: dict[str, Any] = {"cmap": scale.colormap, "norm": scale.norm}
    if values.size <= _MOST_SHAPES:
        # Edges of the same colour close the seams that viewers draw between shapes.
        made: ScalarMappable = axes.pcolormesh(np.ma.masked_invalid(values), edgecolors="face", linewidth=0.7, **given)
        axes.set_xlim(0, columns)
        axes.set_ylim(rows, 0)
        return made
    # Cells that are smaller than the dots of a printer are averaged, so that none is lost.
    dots = axes.get_window_extent().width / axes.figure.dpi * DPI
    smooth = "none" if dots >= columns else "antialiased"
    return axes.imshow(values, aspect="auto", interpolation=smooth, extent=(0, columns, rows, 0), **given)


def numbers(axes: Axes, values: Array, scale: Scale, *, cell: float, digits: int | None = None) -> None:
    """Each value on its cell where a cell of so many inches has room: hundredths, or a number of so many digits."""
    if cell < _NUMBER:
        return
    colors = _colors(values, scale)
    for (row, column), value in np.ndenumerate(values):
        text = "" if np.isnan(value) else _hundredths(value) if digits is None else f"{value:z.{digits}f}"
        if text:
            ink = [part / 255 for part in ink_on(colors[row][column])]
            axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", size=min(7.5, cell * 22), color=ink)


def _hundredths(value: np.floating | float) -> str:
    return str(round(100 * value) or "")


def _colors(values: Array, scale: Scale) -> list[list[tuple[int, int, int]]]:
    from matplotlib import colormaps

    table = colormaps[scale.colormap](scale.norm(np.nan_to_num(values)), bytes=True)
    return [[(int(red), int(green), int(blue)) for red, green, blue, _ in row] for row in table]


def row_height(rows: int, cell: float) -> float:
    """Inches of a row where a column is `cell` inches: a few rows of many narrow columns are tall enough to be seen."""
    return max(cell, min(_LEAST_ROW, _LEAST_ROWS / rows))


def labels(axes: Axes, rows: Sequence[str], columns: Sequence[str], *, cell: float, tall: float | None = None) -> None:
    """Texts beside the rows and above the columns, as many as there is room for.

    cell: inches of a column, and of a row but where rows are as `tall` as that.
    """
    axes.xaxis.tick_top()
    axes.tick_params(length=0, pad=3)
    for axis, texts, length in ((axes.xaxis, columns, cell), (axes.yaxis, rows, tall or cell)):
        size = type_size(length)
        step = _round_step(size * 1.1 / _POINTS / length)
        places = range(0, len(texts), step)
        axis.set_ticks([place + 0.5 for place in places], [texts[place] for place in places])
        axis.set_tick_params(labelsize=size)
    # Short ones can stand upright: numbers of heads, say.
    turned = max(map(len, columns), default=0) > 3
    axes.tick_params(axis="x", labelrotation=90 if turned else 0)


def _round_step(least: float) -> int:
    """How many go from one label to the next: beyond ten 20, 50, 100 and so on, so that times and numbers are round."""
    step = max(ceil(least), 1)
    if step <= 10:
        return step
    ten: int = 10 ** (len(str(step)) - 1)
    return next(digit * ten for digit in (1, 2, 5, 10) if digit * ten >= step)


def type_size(cell: float) -> float:
    """Points of the labels of cells of so many inches."""
    return max(min(_LARGEST_TYPE, cell * _POINTS * 0.75), _SMALLEST_TYPE)


def room_for(texts: Sequence[str], size: float = _LARGEST_TYPE) -> float:
    """Inches that the longest of the texts takes."""
    return max(map(len, texts), default=0) * size * _LETTER / _POINTS + 0.1


def unmarked(axes: Axes) -> None:
    """No ticks, and no frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_frame_on(False)


def color_bar(figure: Figure, drawn: ScalarMappable, box: Box, label: str) -> None:
    """What the colours mean."""
    bar: Any = figure.colorbar(drawn, cax=axes_at(figure, box), orientation="horizontal")
    bar.set_label(label, size=8)
    bar.ax.tick_params(labelsize=7.5, length=2)
    bar.outline.set_linewidth(0.4)


def heading(figure: Figure, text: str, *, top: float = 0.12, left: float = 0.15, size: float = 11) -> None:
    """A line at the top of the figure, so many inches from its edges."""
    width, height = figure.get_size_inches()
    figure.text(left / width, 1 - top / height, text, size=size, va="top", ha="left")
