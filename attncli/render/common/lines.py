"""Lines of styled spans, for the verbs that would notice rich's import (see `console`), and functions to arrange them.

Only `document` writes escape sequences, so tests can compare the plain characters of a line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from attncli.render.common.cells import cell_width, crop
from attncli.render.common.terminal import Rgb


class Style(NamedTuple):
    """Foreground and background as 24-bit colours (reduced later to what the terminal has), and attributes."""

    fg: Rgb | None = None
    bg: Rgb | None = None
    bold: bool = False
    dim: bool = False
    underline: bool = False


PLAIN = Style()
BOLD = Style(bold=True)
DIM = Style(dim=True)


class StyledSpan(NamedTuple):
    """Text in one style. It must be escaped already (see `escape`): no control characters."""

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
        """The line in at most `width` cells, with the ellipsis at the end if it was cut."""
        if self.width <= width:
            return self
        room = width - cell_width(ellipsis)
        spans: list[StyledSpan] = []
        for span in self.spans:
            text = crop(span.text, room)
            spans.append(StyledSpan(text, span.style))
            room -= cell_width(text)
            if text != span.text:
                break
        return Line((*spans, StyledSpan(ellipsis)))


def joined(parts: Iterable[Line], separator: str = "") -> Line:
    """Several lines as one, with `separator` between them."""
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
    """Parts wrapped into lines of at most `width` cells; a part is never split. Lines after the first are indented."""
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


def separate_blocks(blocks: Iterable[Sequence[Line]]) -> list[Line]:
    """Blocks of lines under one another, with a blank line between two."""
    return [line for index, block in enumerate(blocks) for line in ([Line(), *block] if index else block)]
