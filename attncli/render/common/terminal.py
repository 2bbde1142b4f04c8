"""The terminal as text renderers see it: size, colours, Unicode. Renderers get these and never detect them."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

Rgb = tuple[int, int, int]


class ColorDepth(IntEnum):
    """How many colours may be used."""

    NONE = 0
    ANSI = 16
    EIGHT_BIT = 256
    TRUE = 1 << 24


class Terminal(NamedTuple):
    """Width in cells, colour depth, whether characters beyond ASCII can be shown, and height in lines.

    full: the reader asked for all that is known, so that the height limits nothing.
    """

    width: int = 80
    color: ColorDepth = ColorDepth.NONE
    unicode: bool = True
    height: int = 24
    full: bool = False

    @property
    def lines(self) -> int:
        """How many lines a default view may take: the prompt and the command stay on the screen."""
        return max(self.height - 2, 1)
