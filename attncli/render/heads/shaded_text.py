"""Tokens as the text that they are, and the lines of it, where a reader has room for plain words.

A text whose tokens are shaded by weights, as it reads: on their colours, or above a row of ink.

A whole text as one row of cells, however long it is, and where in it the query stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from attncli.render.common.cells import cell_width, glyphs, shorten
from attncli.render.common.escape import direction_end, running_text, visible
from attncli.render.common.lines import DIM, Line, Style, StyledSpan, flow
from attncli.render.common.terminal import Terminal
from attncli.render.heads.heatmap import Heat, pooled_evenly, spans_of
from attncli.render.heads.pattern_grid import key_number, ruler
from attncli.results.heads import Stack
from attncli.results.patterns import Pattern, RowReading
from attncli.results.tokens import Token

#: Characters of a text that a heading holds at the most.
_LONGEST = 600


def running(tokens: Sequence[Token]) -> str:
    """Tokens as one line of text, as far as a heading could hold it."""
    found: list[str] = []
    length = 0
    for token, after in zip_longest(tokens, tokens[1:]):
        found.append(plain_text(token))
        length += len(found[-1])
        if length > _LONGEST:
            found.append("…")
            break
        touches = after is not None and token.end is not None and token.end == after.start
        found.append("" if touches else " ")
    return " ".join("".join(found).split())


def plain_text(token: Token) -> str:
    """A token, a word or a line as a part of its text: spaces and line breaks are spaces, nothing else is unseen."""
    text = token.text or token.token or str(token.id)
    return " ".join(visible(word) if word else "" for word in text.replace("\n", " ").split(" "))


def numbered(index: int, count: int, line: int | None, dash: str = "–") -> str:
    """`token 8`, or `tokens 2–3, line 1`: where a position of so many tokens stands."""
    place = f"token {index:,}" if count == 1 else f"tokens {index:,}{dash}{index + count - 1:,}"
    return place if line is None else f"{place}, line {line:,}"


def line_numbers(lines: Sequence[int | None]) -> list[int]:
    """The line that each begins, the next one of what stands in none, and behind the last line the one after."""
    following = max((line for line in lines if line is not None), default=0) + 1
    numbers = []
    for line in reversed(lines):
        following = following if line is None else line
        numbers.append(following)
    return numbers[::-1]


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


# Cells that a line takes where there are few; from four on there would be digits.
_WIDEST = 3


def strip_lines(stack: Stack, reading: RowReading, heat: Heat, here: str = HERE) -> list[Line]:
    """What the cells are, a cell for so many tokens or lines, the numbers of some of them, and the scale."""
    terminal = heat.terminal
    pooled = pooled_evenly(Pattern(0, None, reading.weights[None]), 1, terminal.width)
    spans = spans_of(pooled).columns
    cell = min(terminal.width // max(len(spans), 1), _WIDEST)
    shown = Heat(float(pooled.weights.max(initial=0.0)), terminal)
    numbers = [key_number(stack, span) for span in spans]
    cells = [
        shown.cell(weight, cell) if reading.visible[start:end].any() else StyledSpan(" " * cell)
        for weight, (start, end) in zip(pooled.weights[0].tolist(), spans, strict=True)
    ]
    return [
        *_title(stack, len(spans), terminal.width),
        Line(tuple(cells)),
        Line.of(StyledSpan(ruler(numbers, cell)[: terminal.width], DIM)),
        *_query_mark(reading, spans, cell, here, terminal),
        shown.scale(),
    ]


def _title(stack: Stack, cells: int, width: int) -> list[Line]:
    unit, whole = (stack.unit, "text") if stack.key_medium.kind == "tokens" else ("frame", "sound")
    many = f"{len(stack.keys):,} {unit}s in {cells} cells, each the sum of its {unit}s"
    words = many if cells < len(stack.keys) else f"the whole {whole}, a cell for each {unit}"
    return flow([Line.of(StyledSpan(word, DIM)) for word in words.split()], separator=" ", width=width)


def _query_mark(
    reading: RowReading, spans: Sequence[tuple[int, int]], cell: int, here: str, terminal: Terminal
) -> list[Line]:
    """Where the query stands; nothing where it is not among the keys."""
    if not reading.own:
        return []
    place = cell * next(place for place, (_, end) in enumerate(spans) if reading.own[0] < end)
    mark = glyphs(terminal).pointer
    fits = place + len(mark) + len(here) < terminal.width
    text = f"{mark} {here}" if fits else f"{here} {mark}"
    return [Line.of(" " * (place if fits else max(place - len(here) - 1, 0)), StyledSpan(text, Style(bold=True)))]
