"""Texts and numbers on their way to a page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from attncli.render.escape import printable
from attncli.render.glyphs import glyphs
from attncli.render.lines import Line
from attncli.render.terminal import Terminal

#: A page as the lines of a terminal see it: no line has to be broken, and every character can be shown.
PAGE = Terminal(width=1_000_000)
SEPARATOR = glyphs(PAGE).separator

_DIGITS = 4


def plain(lines: Sequence[Line]) -> str:
    """Lines for a terminal as one text, which a page breaks itself."""
    return " ".join(line.plain.strip() for line in lines)


def printed(text: str) -> str:
    """A message or a name as one line without a character that only looks like another."""
    return printable(text)


def rounded(value: float | None) -> float | None:
    """A number to four digits, enough for a reader and a third of the size; None for what is none."""
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.{_DIGITS}g}")
    return int(short) if short.is_integer() else short


def shortened(value: float | None) -> float | None:
    """A metric to five decimals, where two are shown: there are eleven for each of a thousand heads."""
    if value is None or not math.isfinite(value):
        return None
    # More digits than are shown: rounded twice, 0.8948 would be 0.90.
    short = round(value, 5 if abs(value) < 100 else 2)
    return int(short) if short.is_integer() else short


def rounded_all(values: Iterable[float | None]) -> list[float | None]:
    return [rounded(value) for value in values]
