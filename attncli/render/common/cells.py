"""The few characters of our own that ASCII has no place for, each beside its stand-in.

How many cells a text takes on a terminal. Plain letters are counted without importing rich.

Shares as bars.
"""

from __future__ import annotations

from typing import NamedTuple
from unicodedata import category

from attncli.render.common.terminal import Terminal


class Glyphs(NamedTuple):
    """dot: nothing to see here.  separator: between parts of a line.  dash: a range, or a number that isn't there.

    give: plus or minus.  pointer: from below, at what stands above it.
    """

    dot: str
    separator: str
    times: str
    dash: str
    ellipsis: str
    cut: str
    give: str
    pointer: str


_UNICODE = Glyphs(dot="·", separator=" · ", times="×", dash="–", ellipsis="…", cut="…", give="±", pointer="▲")
_ASCII = Glyphs(dot=".", separator=" | ", times="x", dash="-", ellipsis="...", cut="~", give="+-", pointer="^")


def glyphs(terminal: Terminal) -> Glyphs:
    """The characters that this terminal can show."""
    return _UNICODE if terminal.unicode else _ASCII


_ZERO_WIDTH_JOINER = "\u200d"


#: Marks among the spacing ones (Mc) that take no cell: tone marks of Hangul, and reading marks of Vietnamese Han.
_OVER = frozenset("\u302e\u302f\U00016ff0\U00016ff1")

#: What we draw ourselves with: one cell each.
_OURS = frozenset("–…│┃←⏎⇥⟨⟩◌█▉▊▋▌▍▎▏├└─")


def cell_width(text: str) -> int:
    """Cells that `text` takes: wide characters two, combining ones none, but those that stand beside their base one.

    rich counts those (Mc: many vowel signs of Indic scripts, as in का) as none; terminals draw them in a cell of their
    own, as the C library's wcwidth has it.
    """
    if text.isascii() or all(_is_one_cell(character) for character in text):
        return len(text)
    from rich.cells import cell_len

    return cell_len(text) + sum(map(_is_spacing, text))


def _is_one_cell(character: str) -> bool:
    """Below the combining marks, every printable character takes one cell."""
    return character in _OURS or (character < "\u0300" and character.isprintable())


def _is_spacing(character: str) -> bool:
    """Whether it combines with its base, but is drawn beside it."""
    return character > "\u0900" and category(character) == "Mc" and character not in _OVER


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
    """`text` in at most `width` cells; the one-cell mark `cut` says where it was cut."""
    return text if cell_width(text) <= width else crop(text, width - 1) + crop(cut, width)


def clusters(text: str) -> list[str]:
    """`text` in pieces that stand in a place of their own: what combines or joins stays with its base."""
    pieces: list[str] = []
    for character in text:
        joins = cell_width(character) == 0 or _is_spacing(character)
        if pieces and (joins or pieces[-1].endswith(_ZERO_WIDTH_JOINER)):
            pieces[-1] += character
        else:
            pieces.append(character)
    return pieces


#: A cell filled by eighths, from empty to full.
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def bar_scale(largest: str, width: int) -> str:
    """What stands above bars of `width` cells: where they begin, and the number of a full one; blank without room."""
    return f"0{largest:>{width - 1}}" if len(largest) + 2 <= width else " " * width


def bar(share: float, width: int, terminal: Terminal) -> str:
    """A bar of `width` cells filled by `share`; where there is anything at all, a bit of it is seen."""
    if not terminal.unicode:
        return ("#" * max(round(share * width), int(share > 0))).ljust(width)
    eighths = max(round(share * width * 8), int(share > 0))
    full, rest = divmod(eighths, 8)
    return (_EIGHTHS[8] * full + (_EIGHTHS[rest] if rest else "")).ljust(width)
