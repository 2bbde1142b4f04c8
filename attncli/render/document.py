"""The one form between results and terminals: lines of styled spans, lowered to plain text or ANSI.

A renderer builds `Line`s and `lower` makes a string of them: how colours are written is said in one place, and a test
can look at the characters alone. rich is imported only where a colour is really written.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from attncli.render.cells import cell_width, crop
from attncli.render.terminal import ColorDepth, Terminal

Rgb = tuple[int, int, int]


class Style(NamedTuple):
    """Foreground and background as 24-bit colours (they are brought down to what the terminal has), and attributes."""

    fg: Rgb | None = None
    bg: Rgb | None = None
    bold: bool = False
    dim: bool = False
    underline: bool = False


PLAIN = Style()


class Span(NamedTuple):
    """A run of text in one style. The text is escaped already: it holds no control character."""

    text: str
    style: Style = PLAIN


class Line(NamedTuple):
    """One row of the screen."""

    spans: tuple[Span, ...] = ()

    @classmethod
    def of(cls, *parts: Span | str) -> Line:
        return cls(tuple(Span(part) if isinstance(part, str) else part for part in parts))

    @property
    def plain(self) -> str:
        return "".join(span.text for span in self.spans)

    @property
    def width(self) -> int:
        """Cells that the line takes."""
        return cell_width(self.plain)

    def cropped(self, width: int, ellipsis: str) -> Line:
        """The line in at most `width` cells; an ellipsis says where it was cut."""
        if self.width <= width:
            return self
        room = width - cell_width(ellipsis)
        kept: list[Span] = []
        for span in self.spans:
            text = crop(span.text, room)
            kept.append(Span(text, span.style))
            room -= cell_width(text)
            if text != span.text:
                break
        return Line((*kept, Span(ellipsis)))


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
            spans.append(Span(text, last.style))
            break
    return Line(tuple(spans))
