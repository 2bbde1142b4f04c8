"""Text shaded by the weights of one query: as running text, or, for long texts, as one strip of cells.

Without colours, a line of ASCII density characters below the text stands for the shades.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan

from rich.style import Style
from rich.text import Text

from attncli.render.common.cells import cell_width, glyphs, shorten
from attncli.render.common.console import Rows, StyledText, row
from attncli.render.common.escape import direction_end, running_text
from attncli.render.common.terminal import Terminal
from attncli.render.heads.header import note_row
from attncli.render.heads.heatmap import HeatScale
from attncli.render.heads.pattern_grid import ruler
from attncli.render.views.patterns import strip_view
from attncli.render.views.reading import LOOKS_FROM_HERE
from attncli.results.heads import Stack
from attncli.results.patterns import RowReading
from attncli.results.tokens import Token


@dataclass(frozen=True, slots=True)
class ShadedToken:
    """A token, its weight (None where the query can't see it), and whether it is the query itself."""

    token: Token
    weight: float | None
    is_query: bool = False


@dataclass(frozen=True, slots=True)
class _Piece:
    """A token in a row: the empty cells before it, and its text."""

    shaded: ShadedToken
    gap: int
    text: str

    @property
    def width(self) -> int:
        return self.gap + cell_width(self.text)


def shaded_text(tokens: Sequence[ShadedToken], heat: HeatScale, here: str = LOOKS_FROM_HERE) -> Iterator[list[Text]]:
    """The text row by row: a line in colour, or a plain line and a line of density characters; and below the query, a
    line that points at it with the words `here`."""
    for pieces in _rows(tokens, heat.terminal):
        rows = [row(*(part for piece in pieces for part in _parts(piece, heat)))]
        if not heat.colored:
            rows.append(row("".join(_ink(piece, heat) for piece in pieces)))
        yield [*rows, *_pointer(pieces, here, heat.terminal)]


def _pointer(pieces: Sequence[_Piece], here: str, terminal: Terminal) -> list[Text]:
    """`▲▲ looks from here` below the query; nothing below a row without it."""
    if not any(piece.shaded.is_query for piece in pieces):
        return []
    marks = "".join(_pointer_marks(piece, glyphs(terminal).pointer) for piece in pieces).rstrip(" ")
    start = len(marks) - len(marks.lstrip(" "))
    if len(marks) + 1 + len(here) <= terminal.width:
        marks = f"{marks} {here}"
    elif start > len(here):
        marks = f"{' ' * (start - len(here) - 1)}{here} {marks[start:]}"
    return [Text(marks, "bold")]


def _pointer_marks(piece: _Piece, mark: str) -> str:
    """Marks below a piece of the query, without its leading spaces; spaces below other pieces."""
    if not piece.shaded.is_query:
        return " " * piece.width
    space = piece.gap + len(piece.text) - len(piece.text.lstrip(" "))
    return " " * space + mark * (piece.width - space)


def _rows(tokens: Sequence[ShadedToken], terminal: Terminal) -> Iterator[list[_Piece]]:
    """As many tokens per row as fit; a line break in the text ends a row."""
    row: list[_Piece] = []
    taken = 0
    for before, shaded, after in zip((None, *tokens), tokens, (*tokens[1:], None), strict=False):
        text = _piece_text(before, shaded, after, terminal)
        piece = _Piece(shaded, 0 if before is None or not row else _gap(before, shaded), text)
        if row and taken + piece.width > terminal.width:
            yield row
            row, taken, piece = [], 0, _Piece(shaded, 0, piece.text)
        row.append(piece)
        taken += piece.width
        if shaded.token.text.endswith("\n"):
            yield row
            row, taken = [], 0
    if row:
        yield row


def _gap(before: ShadedToken, shaded: ShadedToken) -> int:
    """0 between tokens that touch in the text; else 1, also where their offsets are unknown."""
    end, start = before.token.end, shaded.token.start
    return int(end is None or start is None or start > end)


def _piece_text(before: ShadedToken | None, shaded: ShadedToken, after: ShadedToken | None, terminal: Terminal) -> str:
    """The token's text; without colours, and so without underline, the tokens of the query are between `>` and `<`."""
    text = running_text(shaded.token, terminal)
    short = shorten(text, terminal.width - 2, glyphs(terminal).cut)
    if not shaded.is_query or terminal.color:
        return short
    begins = before is None or not before.is_query or _gap(before, shaded) > 0
    ends = after is None or not after.is_query or _gap(shaded, after) > 0
    return mark_query(short, begins=begins, ends=ends)


def mark_query(text: str, *, begins: bool = True, ends: bool = True) -> str:
    """` >cat<`: marks the query where it can't be underlined."""
    word = text.lstrip(" ")
    return f"{text[: len(text) - len(word)]}{'>' * begins}{word}{'<' * ends}"


def _parts(piece: _Piece, heat: HeatScale) -> Iterator[StyledText]:
    token, weight, is_query = piece.shaded.token, piece.shaded.weight, piece.shaded.is_query
    # Terminals of sixteen colours show no shades, but they show an underline.
    is_dim = weight is None if heat.colored else token.special
    style = Style(bold=is_query or None, underline=is_query or None, dim=is_dim or None)
    if heat.colored and weight is not None:
        style += heat.shade(weight)
    yield " " * piece.gap, ""
    yield piece.text + direction_end(piece.text), style


def _ink(piece: _Piece, heat: HeatScale) -> str:
    """The density of the weight, once for each cell."""
    weight = piece.shaded.weight
    return " " * piece.gap + (" " if weight is None else heat.ascii_text(weight)) * cell_width(piece.text)


# --- strips

# Cells of a position in a strip, at most: from four on there would be digits.
_WIDEST_STRIP_CELL = 3


def strip_rows(stack: Stack, reading: RowReading, heat: HeatScale, here: str = LOOKS_FROM_HERE) -> Rows:
    """A title, the strip (a cell for one or more tokens or lines), its ruler, a mark below the query, and the scale."""
    terminal = heat.terminal
    view = strip_view(stack, reading, terminal.width)
    cell = min(terminal.width // max(len(view.spans), 1), _WIDEST_STRIP_CELL)
    shown = HeatScale(float(view.pooled.weights.max(initial=0.0)), terminal)
    cells = (" " * cell if isnan(weight) else shown.cell(weight, cell) for weight in view.values.tolist())
    title = view.note or f"the whole {view.whole}, a cell for each {view.unit}"
    numbers = Text(ruler(stack, view.spans, cell)[: terminal.width], "dim")
    mark = [] if view.query is None else [_query_mark(cell * view.query, here, terminal)]
    return [note_row(title, terminal), row(*cells), numbers, *mark, shown.legend()]


def _query_mark(place: int, here: str, terminal: Terminal) -> Text:
    """A mark below the query, with words on the side where there is room."""
    mark = glyphs(terminal).pointer
    fits = place + len(mark) + len(here) < terminal.width
    words = f"{mark} {here}" if fits else f"{here} {mark}"
    return row(" " * (place if fits else max(place - len(here) - 1, 0)), (words, "bold"))
