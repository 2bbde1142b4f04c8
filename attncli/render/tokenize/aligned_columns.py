"""Segments of a comparison as columns: the tokens of each model over one another, as wide as the widest of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple

from attncli.render.lines import Line, StyledSpan
from attncli.render.terminal import Terminal
from attncli.render.token_text import direction_end, in_place
from attncli.render.tokenize.cells import GAP, Cell, bar
from attncli.results.comparison import Comparison, Segment


class Row(NamedTuple):
    """What one model has in a column: texts over ids, both `width` cells wide."""

    texts: Line
    ids: Line
    width: int


class Column(NamedTuple):
    """One stretch of the text, or a part of it where it is too wide for the terminal.

    rows: one a model.  before: what parts it from the column before it.  differs: not all models cut it alike.
    begins_line: a line of the text ends before it.
    """

    rows: tuple[Row, ...]
    width: int
    before: StyledSpan
    differs: bool
    begins_line: bool


def columns(
    comparison: Comparison, cells: Sequence[Sequence[Cell]], width: int, terminal: Terminal
) -> Iterator[Column]:
    """The text from its beginning to its end, in columns of at most `width` cells.

    cells: those of each model, an entry a token.
    """
    previous: Segment | None = None
    for segment in comparison.segments:
        own = [drawn[first:last] for drawn, (first, last) in zip(cells, segment.tokens, strict=True)]
        inside = bar(False, terminal)
        before = inside if previous is not None and _amid_word(previous, segment) else StyledSpan(GAP)
        begins_line = previous is not None and _begins_line(previous, segment)
        wrapped = [list(_wrapped(drawn, width, inside)) for drawn in own]
        for part in zip_longest(*wrapped, fillvalue=()):
            yield _column(part, before, segment, begins_line, terminal)
            before, begins_line = inside, False
        previous = segment


def tokens_line(cells: Sequence[Cell], terminal: Terminal) -> Line:
    """The texts of some tokens beside one another, each as wide as it is."""
    spans: list[StyledSpan] = []
    for index, cell in enumerate(cells):
        if index:
            spans.append(bar(False, terminal))
        spans.append(StyledSpan(cell.text + direction_end(cell.text), cell.style._replace(bold=False)))
    return Line(tuple(spans))


def _amid_word(previous: Segment, segment: Segment) -> bool:
    """Whether the word before the cut goes on behind it."""
    if previous.added or segment.added or previous.sequence != segment.sequence:
        return False
    return not previous.text[-1:].isspace() and not segment.text[:1].isspace()


def _begins_line(previous: Segment, segment: Segment) -> bool:
    if previous.added or segment.added or previous.sequence != segment.sequence:
        return False
    ended = "\n" in previous.text[len(previous.text.rstrip()) :] and not segment.text.startswith("\n")
    begun = segment.text.strip() and "\n" in segment.text[: -len(segment.text.lstrip())]
    return ended or bool(begun)


def _wrapped(cells: Sequence[Cell], width: int, inside: StyledSpan) -> Iterator[tuple[Cell, ...]]:
    """The cells in rows of at most `width` cells; one that is wider alone has a row of its own."""
    row: list[Cell] = []
    used = 0
    for cell in cells:
        needed = len(inside.text) + min(cell.width, width)
        if row and used + needed > width:
            yield tuple(row)
            row, used = [], 0
        used += needed if row else needed - len(inside.text)
        row.append(cell._replace(width=min(cell.width, width)))
    if row:
        yield tuple(row)


def _column(
    part: Sequence[Sequence[Cell]], before: StyledSpan, segment: Segment, begins_line: bool, terminal: Terminal
) -> Column:
    inside = bar(False, terminal)
    width = max(sum(cell.width for cell in own) + len(inside.text) * max(len(own) - 1, 0) for own in part)
    rows = tuple(_row(own, width, inside, terminal) for own in part)
    return Column(rows, width, before, segment.differs, begins_line)


def _row(cells: Sequence[Cell], width: int, inside: StyledSpan, terminal: Terminal) -> Row:
    """The cells of one model; the last one takes the room that others need for more of them."""
    if not cells:
        return Row(Line.of(" " * width), Line.of(" " * width), width)
    texts: list[StyledSpan] = []
    ids: list[StyledSpan] = []
    left = width
    for index, cell in enumerate(cells):
        room = left if index == len(cells) - 1 else cell.width
        style = cell.style._replace(bold=False)
        texts.append(StyledSpan(in_place(cell.text, room, terminal), style))
        ids.append(StyledSpan(in_place(cell.id, room, terminal), style))
        left -= room + len(inside.text)
        if index < len(cells) - 1:
            texts.append(inside)
            ids.append(inside)
    return Row(Line(tuple(texts)), Line(tuple(ids)), width)
