"""A text whose tokens are shaded by weights, as it reads: on their colours, or above a row of ink."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from attncli.render.cells import cell_width, shorten
from attncli.render.glyphs import glyphs
from attncli.render.heads.heatmap import Heat
from attncli.render.lines import Line, Style, StyledSpan
from attncli.render.terminal import Terminal
from attncli.render.token_text import direction_end, running_text
from attncli.results.tokenize import Token

#: What stands beside a mark that points at the query.
HERE = "looks from here"
#: The same of a rollout.
ARRIVES = "arrives here"


@dataclass(frozen=True, slots=True)
class Shaded:
    """A token, its weight (None where the query can't see it), and whether it is the query itself."""

    token: Token
    weight: float | None
    is_query: bool = False


@dataclass(frozen=True, slots=True)
class _Piece:
    """A token in its place: the empty cells before it, and what it reads as."""

    shaded: Shaded
    gap: int
    text: str

    @property
    def width(self) -> int:
        return self.gap + cell_width(self.text)


def shaded_text(tokens: Sequence[Shaded], heat: Heat, here: str = HERE) -> Iterator[list[Line]]:
    """The text row by row: a line each in colour, and without colours a line of ink beneath it; and a line that points
    at the query, by `here`, beneath those where it stands."""
    for row in _rows(tokens, heat.terminal):
        if heat.colored:
            lines = [Line(tuple(span for piece in row for span in _on_color(piece, heat)))]
        else:
            ink = "".join(" " * piece.gap + _ink(piece, heat) for piece in row)
            lines = [Line(tuple(span for piece in row for span in _plain(piece))), Line.of(ink)]
        yield [*lines, *_pointer(row, here, heat.terminal)]


def _pointer(row: Sequence[_Piece], here: str, terminal: Terminal) -> list[Line]:
    """`▲▲ looks from here` beneath the query; nothing beneath a row without it."""
    if not any(piece.shaded.is_query for piece in row):
        return []
    marks = "".join(_under(piece, glyphs(terminal).pointer) for piece in row).rstrip(" ")
    start = len(marks) - len(marks.lstrip(" "))
    if len(marks) + 1 + len(here) <= terminal.width:
        marks = f"{marks} {here}"
    elif start > len(here):
        marks = f"{' ' * (start - len(here) - 1)}{here} {marks[start:]}"
    return [Line.of(StyledSpan(marks, Style(bold=True)))]


def _under(piece: _Piece, mark: str) -> str:
    """Marks beneath a piece of the query, but not beneath the space before its word; else spaces."""
    if not piece.shaded.is_query:
        return " " * piece.width
    space = piece.gap + len(piece.text) - len(piece.text.lstrip(" "))
    return " " * space + mark * (piece.width - space)


def _rows(tokens: Sequence[Shaded], terminal: Terminal) -> Iterator[list[_Piece]]:
    """As many tokens a row as fit; a row ends early after a line break of the text."""
    row: list[_Piece] = []
    taken = 0
    for before, shaded, after in zip((None, *tokens), tokens, (*tokens[1:], None), strict=False):
        text = _text(before, shaded, after, terminal)
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


def _gap(before: Shaded, shaded: Shaded) -> int:
    """Tokens that meet in the text touch; all others stand a space apart, as those of which nobody knows."""
    end, start = before.token.end, shaded.token.start
    return int(end is None or start is None or start > end)


def _text(before: Shaded | None, shaded: Shaded, after: Shaded | None, terminal: Terminal) -> str:
    """The token as it reads; the query between marks where there is no underline, all its pieces between one pair."""
    text = running_text(shaded.token, terminal)
    short = shorten(text, terminal.width - 2, glyphs(terminal).cut)
    if not shaded.is_query or terminal.color:
        return short
    begins = before is None or not before.is_query or _gap(before, shaded) > 0
    ends = after is None or not after.is_query or _gap(shaded, after) > 0
    return marked(short, begins=begins, ends=ends)


def marked(text: str, *, begins: bool = True, ends: bool = True) -> str:
    """` >cat<`: the query where nothing can be underlined."""
    word = text.lstrip(" ")
    return f"{text[: len(text) - len(word)]}{'>' * begins}{word}{'<' * ends}"


def _on_color(piece: _Piece, heat: Heat) -> Iterator[StyledSpan]:
    shaded = piece.shaded
    if piece.gap:
        yield StyledSpan(" " * piece.gap)
    end = direction_end(piece.text)
    if shaded.weight is None:
        yield StyledSpan(piece.text + end, Style(dim=True, underline=shaded.is_query))
        return
    yield StyledSpan(
        piece.text + end, heat.shade(shaded.weight)._replace(bold=shaded.is_query, underline=shaded.is_query)
    )


def _plain(piece: _Piece) -> Iterator[StyledSpan]:
    # Sixteen colours have no shades, but they have an underline.
    style = Style(dim=piece.shaded.token.special, bold=piece.shaded.is_query, underline=piece.shaded.is_query)
    yield StyledSpan(" " * piece.gap)
    yield StyledSpan(piece.text + direction_end(piece.text), style)


def _ink(piece: _Piece, heat: Heat) -> str:
    weight = piece.shaded.weight
    return ("" if weight is None else heat.ink(weight)).ljust(1) * cell_width(piece.text)
