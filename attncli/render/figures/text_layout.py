"""Text in figures: fonts for its characters, sizes in points, widths in inches, wrapping, and writing it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.textpath import text_to_path

DEFAULT_FAMILY = "DejaVu Sans"
#: A font of placeholder boxes, without real characters.
_LAST_RESORT_FAMILY = "Last Resort"
POINTS_PER_INCH = 72
#: Points: of a figure's title, its captions and its parts' headings; of labels and of what only explains.
TITLE_SIZE, CAPTION_SIZE, HEADING_SIZE, LABEL_SIZE, SMALL_SIZE = 11.0, 9.5, 8.5, 8.0, 7.5
#: Points of the labels of cells.
_LARGEST_TYPE, _SMALLEST_TYPE = 9.0, 5.0
#: The colour of texts that explain.
DIM_COLOR = "0.32"
#: The height of a line as a multiple of its font size.
_LINE = 1.35
_ELLIPSIS = "…"
#: Hinted glyphs can be slightly wider than their outlines.
_HINTING_MARGIN = 1.03


# --- Fonts


def families_for(texts: Iterable[str]) -> list[str]:
    """DejaVu Sans, which comes with matplotlib, and installed families with its missing characters."""
    families, missing = [DEFAULT_FAMILY], _missing(texts)
    for name, path in _installed() if missing else ():
        if found := missing & _font_characters(path):
            families.append(name)
            missing -= found
        if not missing:
            break
    return families


def drawable(text: str, form: str) -> str:
    r"""The text with `\u{4f60}` for each character that no installed font has; unchanged for SVG."""
    if form == "svg" or text.isascii():
        return text
    missing = _missing([text])
    for _, path in _installed() if missing else ():
        missing -= _font_characters(path)
    return "".join(f"\\u{{{ord(character):x}}}" if character in missing else character for character in text)


def _missing(texts: Iterable[str]) -> set[str]:
    """The characters that the default font lacks."""
    return set().union(*texts) - _font_characters(findfont(DEFAULT_FAMILY))


def _installed() -> list[tuple[str, str]]:
    """Upright fonts of normal weight: family and path, in a fixed order."""
    plain = {
        entry.name: entry.fname
        for entry in sorted(fontManager.ttflist, key=lambda entry: (entry.name, entry.fname), reverse=True)
        if entry.style == "normal"
        and entry.weight in (400, "normal", "regular", "book")
        and not entry.name.startswith(_LAST_RESORT_FAMILY)
    }
    return sorted(plain.items())


@cache
def _font_characters(path: str) -> frozenset[str]:
    """The characters of a font; none for a bitmap font, which matplotlib can't draw."""
    try:
        font = get_font(path)
    except (OSError, RuntimeError):
        return frozenset()
    return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()


# --- Layout


def text_width(text: str, size: float) -> float:
    """Inches that a line takes at most, in the fonts set while a figure is drawn."""
    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size), ismath=False)
    return float(width) / POINTS_PER_INCH * _HINTING_MARGIN


def room_for(texts: Iterable[str], size: float = _LARGEST_TYPE) -> float:
    """Inches that the longest of the texts takes, with a margin."""
    return max((text_width(text, size) for text in texts), default=0.0) + 0.1


def type_size(cell: float) -> float:
    """Font size in points of the labels of cells of `cell` inches."""
    return max(min(_LARGEST_TYPE, cell * POINTS_PER_INCH * 0.75), _SMALLEST_TYPE)


def line_height(size: float) -> float:
    """Inches from one line to the next."""
    return size * _LINE / POINTS_PER_INCH


def wrap_text(text: str, width: float, size: float, *, most: int = 3) -> list[str]:
    """The text in at most `most` lines of `width` inches, with an ellipsis if it is shortened."""
    lines: list[str] = []
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= width:
            lines[-1] = longer
        elif len(lines) == most:
            lines[-1] += f" {_ELLIPSIS}"
            break
        else:
            lines.append(word)
    return [clip_text(line, width, size) for line in lines]


def clip_text(text: str, width: float, size: float) -> str:
    """The text shortened to `width` inches, with an ellipsis."""
    if text_width(text, size) <= width:
        return text
    start = text.removesuffix(_ELLIPSIS)
    while start and text_width(start + _ELLIPSIS, size) > width:
        start = start[:-1]
    return start + _ELLIPSIS


def write_line(
    figure: Figure, text: str, *, top: float, left: float, size: float = HEADING_SIZE, color: str = "black"
) -> None:
    """Write a line on the figure, `left` and `top` inches from its corner."""
    width, height = figure.get_size_inches()
    figure.text(left / width, 1 - top / height, text, size=size, va="top", ha="left", color=color)


def write_lines(
    figure: Figure, lines: Sequence[str], *, top: float, left: float, size: float, color: str = "black"
) -> float:
    """Write lines beneath one another; returns the top of the next one, in inches."""
    for place, line in enumerate(lines):
        write_line(figure, line, top=top + place * line_height(size), left=left, size=size, color=color)
    return top + len(lines) * line_height(size)
