"""The one form between results and terminals: lines of styled spans, without a word on how colours are written."""

from __future__ import annotations

from typing import NamedTuple

from attncli.render.cells import cell_width, crop

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
