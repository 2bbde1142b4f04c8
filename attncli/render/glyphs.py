"""The few characters of our own that ASCII has no place for, each beside its stand-in."""

from __future__ import annotations

from typing import NamedTuple

from attncli.render.terminal import Terminal


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
