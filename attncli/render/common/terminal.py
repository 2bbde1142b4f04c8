"""The terminal as text renderers see it: width, colours, Unicode. Renderers get these and never detect them."""

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
    """Width in cells, colour depth, and whether characters beyond ASCII can be shown."""

    width: int = 80
    color: ColorDepth = ColorDepth.NONE
    unicode: bool = True
