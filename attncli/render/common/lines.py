"""The one form between results and terminals: lines of styled spans, without a word on how colours are written.

Putting lines together: after one another, beside one another, over as many rows as they need.

Styled spans to ANSI escape sequences, brought down to the colours that a terminal has.

Lines of styled spans, lowered to plain text or to ANSI.

A renderer builds `Line`s and `lower` makes a string of them: how colours are written is said in one place, and a test
can look at the characters alone. rich is imported only where a colour is really written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import groupby, zip_longest
from typing import NamedTuple

from rich.color import Color, ColorSystem
from rich.style import Style as RichStyle

from attncli.render.common.cells import cell_width, crop
from attncli.render.common.terminal import ColorDepth, Terminal

Rgb = tuple[int, int, int]


class Style(NamedTuple):
    """Foreground and background as 24-bit colours (they are brought down to what the terminal has), and attributes."""

    fg: Rgb | None = None
    bg: Rgb | None = None
    bold: bool = False
    dim: bool = False
    underline: bool = False


PLAIN = Style()
BOLD = Style(bold=True)
DIM = Style(dim=True)


class StyledSpan(NamedTuple):
    """A run of text in one style. The text is escaped already: it holds no control character."""

    text: str
    style: Style = PLAIN


class Line(NamedTuple):
    """One row of the screen."""

    spans: tuple[StyledSpan, ...] = ()

    @classmethod
    def of(cls, *parts: StyledSpan | str) -> Line:
        return cls(tuple(StyledSpan(part) if isinstance(part, str) else part for part in parts))

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
        kept: list[StyledSpan] = []
        for span in self.spans:
            text = crop(span.text, room)
            kept.append(StyledSpan(text, span.style))
            room -= cell_width(text)
            if text != span.text:
                break
        return Line((*kept, StyledSpan(ellipsis)))


def joined(parts: Iterable[Line], separator: str = "") -> Line:
    """One line of several, with `separator` between them."""
    spans: list[StyledSpan] = []
    for index, part in enumerate(parts):
        if index and separator:
            spans.append(StyledSpan(separator))
        spans.extend(part.spans)
    return Line(tuple(spans))


def padded(line: Line, width: int) -> Line:
    """`line` filled with spaces to `width` cells; longer ones stay as they are."""
    fill = width - line.width
    return Line((*line.spans, StyledSpan(" " * fill))) if fill > 0 else line


def flow(parts: Iterable[Line], *, separator: str, width: int, indent: int = 0) -> list[Line]:
    """Parts after one another on as few lines as `width` cells allow; lines after the first are indented."""
    rows: list[list[Line]] = []
    taken = 0
    for part in parts:
        needed = cell_width(separator) + part.width
        if rows and taken + needed <= width:
            rows[-1].append(part)
            taken += needed
        else:
            taken = part.width + (indent if rows else 0)
            rows.append([part])
    return [joined([Line.of(" " * (indent if i else 0)), joined(row, separator)]) for i, row in enumerate(rows)]


def apart(blocks: Iterable[Sequence[Line]]) -> list[Line]:
    """Blocks of lines under one another, a blank line between two."""
    return [line for index, block in enumerate(blocks) for line in ([Line(), *block] if index else block)]


def side_by_side(blocks: Sequence[Sequence[Line]], *, width: int, gap: int) -> list[Line]:
    """Blocks of lines beside one another, each `width` cells wide, `gap` cells apart."""
    rows = zip_longest(*blocks, fillvalue=Line())
    return [joined([padded(line, width) for line in row], " " * gap) for row in rows]


def beside(left: Sequence[Line], right: Sequence[Line], *, width: int, gap: int = 4) -> list[Line]:
    """Two blocks of lines beside one another where `width` has room for both, else under one another."""
    column = max((line.width for line in left), default=0)
    if column + gap + max((line.width for line in right), default=0) > width:
        return [*left, Line(), *right]
    rows = zip_longest(left, right, fillvalue=Line())
    return [joined([padded(a, column + gap), b]) if b.spans else a for a, b in rows]


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


def lower(lines: Iterable[Line], terminal: Terminal) -> str:
    """Lines to one string, each cropped to the terminal's width and ended by a newline."""
    ellipsis = "…" if terminal.unicode else "~"
    cropped = (line.cropped(terminal.width, ellipsis) for line in lines)
    if terminal.color is ColorDepth.NONE:
        return "".join(f"{line.plain.rstrip()}\n" for line in cropped)

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
