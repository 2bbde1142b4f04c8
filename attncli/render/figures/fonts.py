"""Which fonts draw a text, and what stands for a character that none of them has."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from matplotlib.font_manager import findfont, fontManager, get_font

_FIRST = "DejaVu Sans"
#: Has a box for every script there is, and a letter of none.
_LAST_RESORT = "Last Resort"


def families_for(texts: Iterable[str]) -> list[str]:
    """DejaVu Sans, which comes with matplotlib, and as many of the installed families as add to it for these texts."""
    missing = set().union(*texts) - _letters(findfont(_FIRST))
    families = [_FIRST]
    for name, path in _installed() if missing else ():
        if found := missing & _letters(path):
            families.append(name)
            missing -= found
        if not missing:
            break
    return families


def drawable(text: str, form: str) -> str:
    r"""The text with `\u{4f60}` for each character that no font here has. An SVG keeps it: its reader may have one."""
    if form == "svg" or text.isascii():
        return text
    missing = set(text) - _letters(findfont(_FIRST))
    for _, path in _installed() if missing else ():
        missing -= _letters(path)
    return "".join(f"\\u{{{ord(character):x}}}" if character in missing else character for character in text)


def _installed() -> list[tuple[str, str]]:
    """Upright fonts of normal weight by family, the same list every time."""
    plain = {
        entry.name: entry.fname
        for entry in sorted(fontManager.ttflist, key=lambda entry: (entry.name, entry.fname), reverse=True)
        if entry.style == "normal"
        and entry.weight in (400, "normal", "regular", "book")
        and not entry.name.startswith(_LAST_RESORT)
    }
    return sorted(plain.items())


@cache
def _letters(path: str) -> frozenset[str]:
    """The characters of a font; none of one that is made of pictures, which matplotlib can't draw."""
    try:
        font = get_font(path)
    except (OSError, RuntimeError):
        return frozenset()
    return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()
