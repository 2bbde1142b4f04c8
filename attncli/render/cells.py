"""How many cells a text takes on a terminal. Plain letters are counted without importing rich."""

from __future__ import annotations

_ZERO_WIDTH_JOINER = "\u200d"


#: What we draw ourselves with: one cell each.
_OURS = frozenset("–…│┃←⏎⇥⟨⟩◌█▉▊▋▌▍▎▏├└─")


def cell_width(text: str) -> int:
    """Cells that `text` takes: wide characters two, combining ones none."""
    if text.isascii() or all(_is_one_cell(character) for character in text):
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _is_one_cell(character: str) -> bool:
    """Below the combining marks, every printable character takes one cell."""
    return character in _OURS or (character < "\u0300" and character.isprintable())


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
        if pieces and (cell_width(character) == 0 or pieces[-1].endswith(_ZERO_WIDTH_JOINER)):
            pieces[-1] += character
        else:
            pieces.append(character)
    return pieces
