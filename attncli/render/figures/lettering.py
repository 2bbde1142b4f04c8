"""Letters on a figure: how much room they take, lines that are broken to fit, and sizes of type."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS = 72
LARGEST_TYPE, SMALLEST_TYPE = 9.0, 5.0
#: A line and the gap beneath it, as a share of the size of its type.
LINE = 1.35
_MORE = "…"
#: Letters that are moved onto whole dots can take a little more room than their outlines.
_HINTED = 1.03


def text_width(text: str, size: float) -> float:
    """Inches that a line takes at the most, in the fonts that are set while a figure is drawn."""
    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size), ismath=False)
    return float(width) / POINTS * _HINTED


def room_for(texts: Iterable[str], size: float = LARGEST_TYPE) -> float:
    """Inches that the longest of the texts takes, and a little more."""
    return max((text_width(text, size) for text in texts), default=0.0) + 0.1


def type_size(cell: float) -> float:
    """Points of the labels of cells of so many inches."""
    return max(min(LARGEST_TYPE, cell * POINTS * 0.75), SMALLEST_TYPE)


def line_height(size: float) -> float:
    """Inches from one line to the next."""
    return size * LINE / POINTS


def wrapped(text: str, width: float, size: float, *, most: int = 3) -> list[str]:
    """The text in at most so many lines of so many inches; what has no room is an ellipsis."""
    lines: list[str] = []
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= width:
            lines[-1] = longer
        elif len(lines) == most:
            lines[-1] += f" {_MORE}"
            break
        else:
            lines.append(word)
    return [clipped(line, width, size) for line in lines]


def clipped(text: str, width: float, size: float) -> str:
    """As much of the text as so many inches hold."""
    if text_width(text, size) <= width:
        return text
    kept = text.removesuffix(_MORE)
    while kept and text_width(kept + _MORE, size) > width:
        kept = kept[:-1]
    return kept + _MORE


def heading(
    figure: Figure, text: str, *, top: float = 0.12, left: float = 0.15, size: float = 11, color: str = "black"
) -> None:
    """A line on the figure, so many inches from its left and its top."""
    width, height = figure.get_size_inches()
    figure.text(left / width, 1 - top / height, text, size=size, va="top", ha="left", color=color)


def lines_at(figure: Figure, lines: Sequence[str], *, top: float, left: float, size: float, color: str) -> float:
    """Lines under one another; where the next one would begin."""
    for place, line in enumerate(lines):
        heading(figure, line, top=top + place * line_height(size), left=left, size=size, color=color)
    return top + len(lines) * line_height(size)
