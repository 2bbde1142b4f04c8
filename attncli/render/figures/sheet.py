"""A figure from top to bottom: its title, what is known of it, its parts one under another, and how to read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from matplotlib.figure import Figure

from attncli.render.figures.lettering import clipped, heading, line_height, lines_at, room_for, wrapped

#: Inches: what stays white around all of it, between two parts and beneath a caption, and the least width of lines.
EDGE, _RIGHT, _GAP, _BENEATH, _LEAST = 0.15, 0.15, 0.18, 0.04, 3.6
#: Inches that a caption may widen a figure to.
_LONGEST = 6.5
_TITLE, _FACT, _NOTE, _CAPTION = 11.0, 8.5, 7.5, 9.5
_DIM = "0.32"
_MOST_LINES = 2


class Words(NamedTuple):
    """What stands above a figure and beneath it.

    title: what it is of.  facts: lines of what is known of that.  notes: sentences of how to read it.
    """

    title: str
    facts: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def texts(self) -> list[str]:
        return [self.title, *self.facts, *self.notes]


class Part(Protocol):
    """One picture of a figure. texts: all that is written in it."""

    @property
    def texts(self) -> Sequence[str]: ...

    def size(self) -> tuple[float, float]:
        """Inches: width and height, with all that stands around it."""

    def draw(self, figure: Figure, top: float) -> None:
        """Draw it at the left edge, so many inches from the top."""


class Caption(NamedTuple):
    """A line above a part."""

    text: str

    @property
    def texts(self) -> Sequence[str]:
        return [self.text]

    def size(self) -> tuple[float, float]:
        return EDGE + min(room_for([self.text], _CAPTION), _LONGEST), line_height(_CAPTION)

    def draw(self, figure: Figure, top: float) -> None:
        width = float(figure.get_figwidth()) - EDGE - _RIGHT
        heading(figure, clipped(self.text, width, _CAPTION), top=top, left=EDGE, size=_CAPTION)


def texts_of(words: Words, parts: Sequence[Part]) -> list[str]:
    """All that will be written, so that fonts can be found."""
    return [*words.texts, *(text for part in parts for text in part.texts)]


def composed(words: Words, parts: Sequence[Part]) -> Figure:
    """The words and the parts as one figure, as wide as the widest part."""
    sizes = [part.size() for part in parts]
    width = max(_LEAST, *(width for width, _ in sizes)) + _RIGHT
    room = width - EDGE - _RIGHT
    title = wrapped(words.title, room, _TITLE, most=_MOST_LINES)
    facts = [line for fact in words.facts for line in wrapped(fact, room, _FACT, most=_MOST_LINES)]
    notes = [line for note in words.notes for line in wrapped(note, room, _NOTE)]
    above = len(title) * line_height(_TITLE) + len(facts) * line_height(_FACT)
    gaps = [_BENEATH if isinstance(part, Caption) else _GAP for part in parts]
    body = sum(height + gap for (_, height), gap in zip(sizes, gaps, strict=True))
    figure = Figure(figsize=(width, EDGE + above + body + len(notes) * line_height(_NOTE) + EDGE))
    top = lines_at(figure, title, top=EDGE, left=EDGE, size=_TITLE, color="black")
    top = lines_at(figure, facts, top=top, left=EDGE, size=_FACT, color=_DIM) + _GAP
    for part, (_, height), gap in zip(parts, sizes, gaps, strict=True):
        part.draw(figure, top)
        top += height + gap
    lines_at(figure, notes, top=top, left=EDGE, size=_NOTE, color=_DIM)
    return figure
