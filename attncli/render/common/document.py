"""Writes lines of styled spans as one string: plain text, or with ANSI escape sequences for the terminal's colours.

rich is imported only when a colour is written: the import takes a tenth of the run time of `attn tokenize`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING

from attncli.render.common.lines import PLAIN, Line, Style, StyledSpan
from attncli.render.common.terminal import ColorDepth, Terminal

if TYPE_CHECKING:
    from rich.color import ColorSystem
    from rich.style import Style as RichStyle


def ansi_line(line: Line, depth: ColorDepth) -> str:
    """One line with its escape sequences; all of them are reset before the line ends."""
    runs = groupby(line.spans, key=lambda span: span.style)
    return "".join(_ansi_run("".join(span.text for span in run), style, depth) for style, run in runs)


def _ansi_run(text: str, style: Style, depth: ColorDepth) -> str:
    return text if style == PLAIN else _rich_style(style, depth).render(text, color_system=_color_system(depth))


@lru_cache
def _color_system(depth: ColorDepth) -> ColorSystem:
    from rich.color import ColorSystem

    return {
        ColorDepth.ANSI: ColorSystem.STANDARD,
        ColorDepth.EIGHT_BIT: ColorSystem.EIGHT_BIT,
        ColorDepth.TRUE: ColorSystem.TRUECOLOR,
    }[depth]


@lru_cache(maxsize=8192)
def _rich_style(style: Style, depth: ColorDepth) -> RichStyle:
    """The style as rich's. One per colour depth: a rich style keeps the codes of the depth it is first rendered in."""
    from rich.color import Color
    from rich.style import Style as RichStyle

    return RichStyle(
        color=None if style.fg is None else Color.from_rgb(*style.fg),
        bgcolor=None if style.bg is None else Color.from_rgb(*style.bg),
        bold=style.bold or None,
        dim=style.dim or None,
        underline=style.underline or None,
    )


def lines_to_text(lines: Iterable[Line], terminal: Terminal) -> str:
    """Lines as one string, each cropped to the terminal's width and ended by a newline."""
    ellipsis = "…" if terminal.unicode else "~"
    cropped = (line.cropped(terminal.width, ellipsis) for line in lines)
    if terminal.color is ColorDepth.NONE:
        return "".join(f"{line.plain.rstrip()}\n" for line in cropped)
    return "".join(f"{ansi_line(_without_trailing_spaces(line), terminal.color)}\n" for line in cropped)


def _without_trailing_spaces(line: Line) -> Line:
    """The line without the invisible spaces at its end."""
    spans = list(line.spans)
    while spans and spans[-1].style.bg is None and not spans[-1].style.underline:
        last = spans.pop()
        if text := last.text.rstrip(" "):
            spans.append(StyledSpan(text, last.style))
            break
    return Line(tuple(spans))
