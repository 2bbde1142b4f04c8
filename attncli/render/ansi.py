"""Styled spans to ANSI escape sequences, brought down to the colours that a terminal has."""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby

from rich.color import Color, ColorSystem
from rich.style import Style as RichStyle

from attncli.render.lines import PLAIN, Line, Style
from attncli.render.terminal import ColorDepth

_SYSTEMS = {
    ColorDepth.ANSI: ColorSystem.STANDARD,
    ColorDepth.EIGHT_BIT: ColorSystem.EIGHT_BIT,
    ColorDepth.TRUE: ColorSystem.TRUECOLOR,
}


def ansi_line(line: Line, depth: ColorDepth) -> str:
    """One line with its escape sequences, every one of them closed before the line ends."""
    runs = groupby(line.spans, key=lambda span: span.style)
    return "".join(_ansi("".join(span.text for span in run), style, depth) for style, run in runs)


def _ansi(text: str, style: Style, depth: ColorDepth) -> str:
    return text if style == PLAIN else _rich_style(style, depth).render(text, color_system=_SYSTEMS[depth])


@lru_cache(maxsize=8192)
def _rich_style(style: Style, depth: ColorDepth) -> RichStyle:
    """The same style as rich knows it: one a depth, as rich's styles keep the codes of the first depth they meet."""
    return RichStyle(
        color=None if style.fg is None else Color.from_rgb(*style.fg),
        bgcolor=None if style.bg is None else Color.from_rgb(*style.bg),
        bold=style.bold or None,
        dim=style.dim or None,
        underline=style.underline or None,
    )
