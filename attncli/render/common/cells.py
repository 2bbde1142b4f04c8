"""Measures, crops and pads text by terminal cells; also horizontal bars, and symbols with ASCII stand-ins.

rich is imported only for text with wide or combining characters.
"""

from __future__ import annotations

from typing import NamedTuple
from unicodedata import category

from attncli.render.common.terminal import Terminal


class Glyphs(NamedTuple):
    """Symbols that the text views use besides letters and digits.

    dot: nothing here, as no label or no value.  separator: between parts of a line.  dash: a range.
    cut: one cell, marks shortened text.  pointer: points at the text above it.
    """

    dot: str
    separator: str
    times: str
    dash: str
    ellipsis: str
    cut: str
    plus_minus: str
    pointer: str


_UNICODE = Glyphs(dot="·", separator=" · ", times="×", dash="–", ellipsis="…", cut="…", plus_minus="±", pointer="▲")
_ASCII = Glyphs(dot=".", separator=" | ", times="x", dash="-", ellipsis="...", cut="~", plus_minus="+-", pointer="^")


def glyphs(terminal: Terminal) -> Glyphs:
    """The symbols, in Unicode or ASCII, that this terminal can show."""
    return _UNICODE if terminal.unicode else _ASCII


_ZERO_WIDTH_JOINER = "\u200d"

#: Spacing marks (Unicode category Mc) that take no cell: tone marks of Hangul, reading marks of Vietnamese Han.
_ZERO_WIDTH_SPACING_MARKS = frozenset("\u302e\u302f\U00016ff0\U00016ff1")

#: Characters above ASCII that the text views draw with: one cell each.
_DRAWING_CHARACTERS = frozenset("␣–…│┃←⏎⇥⟨⟩◌█▉▊▋▌▍▎▏├└─")


def cell_width(text: str) -> int:
    """Cells that `text` takes: two for wide characters, none for combining ones, one for spacing marks.

    rich counts spacing marks (category Mc: many vowel signs of Indic scripts, as in का) as none; terminals, like the C
    library's wcwidth, give them a cell.
    """
    if text.isascii() or all(_is_one_cell(character) for character in text):
        return len(text)
    from rich.cells import cell_len

    return cell_len(text) + sum(map(is_spacing_mark, text))


def _is_one_cell(character: str) -> bool:
    """Whether it surely takes one cell: all printable characters below U+0300, the first combining mark, do."""
    return character in _DRAWING_CHARACTERS or (character < "\u0300" and character.isprintable())


def is_spacing_mark(character: str) -> bool:
    """Whether it combines with its base but takes a cell beside it."""
    return character > "\u0900" and category(character) == "Mc" and character not in _ZERO_WIDTH_SPACING_MARKS


def crop(text: str, width: int) -> str:
    """The longest start of `text` that takes at most `width` cells."""
    if text.isascii():
        return text[: max(width, 0)]
    if cell_width(text) <= width:
        return text.rstrip(_ZERO_WIDTH_JOINER)
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if cell_width(text[:middle]) <= width else (low, middle - 1)
    # A joiner at the end would join whatever follows.
    return text[:low].rstrip(_ZERO_WIDTH_JOINER)


def pad(text: str, width: int, *, right: bool = False) -> str:
    """`text` cropped and filled with spaces to exactly `width` cells; `right` aligns it to the right."""
    text = crop(text, width)
    fill = " " * (width - cell_width(text))
    return fill + text if right else text + fill


def shorten(text: str, width: int, cut: str) -> str:
    """`text` in at most `width` cells; where it was cut it ends with the one-cell mark `cut`."""
    return text if cell_width(text) <= width else crop(text, width - 1) + crop(cut, width)


def clusters(text: str) -> list[str]:
    """`text` split into grapheme clusters: combining and joining characters stay with their base."""
    pieces: list[str] = []
    for character in text:
        joins = cell_width(character) == 0 or is_spacing_mark(character)
        if pieces and (joins or pieces[-1].endswith(_ZERO_WIDTH_JOINER)):
            pieces[-1] += character
        else:
            pieces.append(character)
    return pieces


#: A cell filled by eighths, from empty to full: bars grow to the right.
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def bar_scale(largest: str, width: int) -> str:
    """The heading of a column of bars of `width` cells: 0, and the value of a full bar; blank without room."""
    return f"0{largest:>{width - 1}}" if len(largest) + 2 <= width else " " * width


def bar(share: float, width: int, terminal: Terminal) -> str:
    """A bar of `width` cells of which `share` (0 to 1) is filled; a share above 0 always shows."""
    if not terminal.unicode:
        return ("#" * max(round(share * width), int(share > 0))).ljust(width)
    eighths = max(round(share * width * 8), int(share > 0))
    full, rest = divmod(eighths, 8)
    return (_EIGHTHS[8] * full + (_EIGHTHS[rest] if rest else "")).ljust(width)
