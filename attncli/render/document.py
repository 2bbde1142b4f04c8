"""Lines of styled spans, lowered to plain text or to ANSI.

A renderer builds `Line`s and `lower` makes a string of them: how colours are written is said in one place, and a test
can look at the characters alone. rich is imported only where a colour is really written.
"""

from __future__ import annotations

from collections.abc import Iterable

from attncli.render.lines import Line, StyledSpan
from attncli.render.terminal import ColorDepth, Terminal


def lower(lines: Iterable[Line], terminal: Terminal) -> str:
    """Lines to one string, each cropped to the terminal's width and ended by a newline."""
    ellipsis = "…" if terminal.unicode else "~"
    cropped = (line.cropped(terminal.width, ellipsis) for line in lines)
    if terminal.color is ColorDepth.NONE:
        return "".join(f"{line.plain.rstrip()}\n" for line in cropped)
    from attncli.render.ansi import ansi_line

    return "".join(f"{ansi_line(_trimmed(line), terminal.color)}\n" for line in cropped)


def _trimmed(line: Line) -> Line:
    """The line without the spaces at its end that nobody sees."""
    spans = list(line.spans)
    while spans and spans[-1].style.bg is None and not spans[-1].style.underline:
        last = spans.pop()
        if text := last.text.rstrip(" "):
            spans.append(StyledSpan(text, last.style))
            break
    return Line(tuple(spans))
