"""Text shaded by the weights of one query: as running text, or, for long texts, as one strip of cells.

Without colours, a line of ASCII density characters below the text stands for the shades. Also: tokens as plain text,
for titles and labels of figures and pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from attncli.render.common.cells import cell_width, glyphs, shorten
from attncli.render.common.escape import direction_end, running_text, visible
from attncli.render.common.lines import DIM, Line, Style, StyledSpan, wrap
from attncli.render.common.terminal import Terminal
from attncli.render.heads.heatmap import HeatScale, pooled_evenly, spans_of
from attncli.render.heads.pattern_grid import key_number, ruler
from attncli.results.heads import Stack
from attncli.results.patterns import Pattern, RowReading
from attncli.results.tokens import Token

# --- tokens as plain text

#: Characters of a text excerpt.
_LONGEST = 600


def text_excerpt(tokens: Sequence[Token]) -> str:
    """The start of the tokens' text, as one line."""
    pieces: list[str] = []
    length = 0
    for token, after in zip_longest(tokens, tokens[1:]):
        pieces.append(plain_text(token))
        length += len(pieces[-1])
        if length > _LONGEST:
            pieces.append("…")
            break
        touches = after is not None and token.end is not None and token.end == after.start
        pieces.append("" if touches else " ")
    return " ".join("".join(pieces).split())


def plain_text(token: Token) -> str:
    """A token, a word or a line as plain text: line breaks become spaces, other unsafe characters are escaped."""
    text = token.text or token.token or str(token.id)
    return " ".join(visible(word) if word else "" for word in text.replace("\n", " ").split(" "))


def position_label(index: int, count: int, line: int | None, dash: str = "–") -> str:
    """`token 8`, or `tokens 2–3, line 1`. count: tokens of the position.  line: the number of its line, if any."""
    label = f"token {index:,}" if count == 1 else f"tokens {index:,}{dash}{index + count - 1:,}"
    return label if line is None else f"{label}, line {line:,}"


def line_numbers(lines: Sequence[int | None]) -> list[int]:
    """The lines' numbers without gaps: None becomes the next line's number, or one more than the last line's."""
    following = max((line for line in lines if line is not None), default=0) + 1
    numbers = []
    for line in reversed(lines):
        following = following if line is None else line
        numbers.append(following)
    return numbers[::-1]


# --- shaded text

#: The words beside the mark that points at the query.
LOOKS_FROM_HERE = "looks from here"
#: The same of a rollout.
ARRIVES_HERE = "arrives here"


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


def shaded_text(tokens: Sequence[ShadedToken], heat: HeatScale, here: str = LOOKS_FROM_HERE) -> Iterator[list[Line]]:
    """The text row by row: a line in colour, or a plain line and a line of density characters; and below the query, a
    line that points at it with the words `here`."""
    for row in _rows(tokens, heat.terminal):
        if heat.colored:
            lines = [Line(tuple(span for piece in row for span in _colored_spans(piece, heat)))]
        else:
            ink = "".join(" " * piece.gap + _ascii_weights(piece, heat) for piece in row)
            lines = [Line(tuple(span for piece in row for span in _plain_spans(piece))), Line.of(ink)]
        yield [*lines, *_pointer(row, here, heat.terminal)]


def _pointer(row: Sequence[_Piece], here: str, terminal: Terminal) -> list[Line]:
    """`▲▲ looks from here` below the query; nothing below a row without it."""
    if not any(piece.shaded.is_query for piece in row):
        return []
    marks = "".join(_pointer_marks(piece, glyphs(terminal).pointer) for piece in row).rstrip(" ")
    start = len(marks) - len(marks.lstrip(" "))
    if len(marks) + 1 + len(here) <= terminal.width:
        marks = f"{marks} {here}"
    elif start > len(here):
        marks = f"{' ' * (start - len(here) - 1)}{here} {marks[start:]}"
    return [Line.of(StyledSpan(marks, Style(bold=True)))]


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


def _colored_spans(piece: _Piece, heat: HeatScale) -> Iterator[StyledSpan]:
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


def _plain_spans(piece: _Piece) -> Iterator[StyledSpan]:
    # Terminals of sixteen colours show no shades, but they show an underline.
    style = Style(dim=piece.shaded.token.special, bold=piece.shaded.is_query, underline=piece.shaded.is_query)
    yield StyledSpan(" " * piece.gap)
    yield StyledSpan(piece.text + direction_end(piece.text), style)


def _ascii_weights(piece: _Piece, heat: HeatScale) -> str:
    weight = piece.shaded.weight
    return ("" if weight is None else heat.ascii_text(weight)).ljust(1) * cell_width(piece.text)


# --- strips

# Cells of a position in a strip, at most: from four on there would be digits.
_WIDEST_STRIP_CELL = 3


def strip_lines(stack: Stack, reading: RowReading, heat: HeatScale, here: str = LOOKS_FROM_HERE) -> list[Line]:
    """A title, the strip (a cell for one or more tokens or lines), its ruler, a mark below the query, and the scale."""
    terminal = heat.terminal
    pooled = pooled_evenly(Pattern(0, None, reading.weights[None]), 1, terminal.width)
    spans = spans_of(pooled).columns
    cell = min(terminal.width // max(len(spans), 1), _WIDEST_STRIP_CELL)
    shown = HeatScale(float(pooled.weights.max(initial=0.0)), terminal)
    numbers = [key_number(stack, span) for span in spans]
    cells = [
        shown.cell(weight, cell) if reading.visible[start:end].any() else StyledSpan(" " * cell)
        for weight, (start, end) in zip(pooled.weights[0].tolist(), spans, strict=True)
    ]
    return [
        *_strip_title(stack, len(spans), terminal.width),
        Line(tuple(cells)),
        Line.of(StyledSpan(ruler(numbers, cell)[: terminal.width], DIM)),
        *_query_mark(reading, spans, cell, here, terminal),
        shown.legend(),
    ]


def _strip_title(stack: Stack, cells: int, width: int) -> list[Line]:
    unit, whole = (stack.unit, "text") if stack.key_medium.kind == "tokens" else ("frame", "sound")
    many = f"{len(stack.keys):,} {unit}s in {cells} cells, each the sum of its {unit}s"
    words = many if cells < len(stack.keys) else f"the whole {whole}, a cell for each {unit}"
    return wrap(words, DIM, width=width)


def _query_mark(
    reading: RowReading, spans: Sequence[tuple[int, int]], cell: int, here: str, terminal: Terminal
) -> list[Line]:
    """A mark below the query; nothing where it is not among the keys."""
    if not reading.own:
        return []
    place = cell * next(place for place, (_, end) in enumerate(spans) if reading.own[0] < end)
    mark = glyphs(terminal).pointer
    fits = place + len(mark) + len(here) < terminal.width
    text = f"{mark} {here}" if fits else f"{here} {mark}"
    return [Line.of(" " * (place if fits else max(place - len(here) - 1, 0)), StyledSpan(text, Style(bold=True)))]
