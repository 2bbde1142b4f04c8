"""Tokens under one another, a row each, with all that is known of them: the view of `--table`.

    9 tokens (2 special*) · sentence-transformers/all-MiniLM-L6-v2

    #     id  token  text    characters  bytes  word  note
    0    101  [CLS]  [CLS]*           –      –     –  special
    1   2202  take   take           0–4    0–4     0

Columns are as wide as what is in them. Where the terminal is too narrow for that, the note goes first, as the text says
the same with its marks, then bytes, words and characters; the raw form and the text share what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from attncli.render.cells import cell_width
from attncli.render.document import lower
from attncli.render.escape import visible
from attncli.render.glyphs import Glyphs, glyphs
from attncli.render.lines import DIM, PLAIN, Line, Style, StyledSpan
from attncli.render.terminal import Terminal
from attncli.render.token_text import in_place
from attncli.render.tokenize.cells import GAP, Cell, token_cells
from attncli.render.tokenize.cut_characters import holds_bytes
from attncli.render.tokenize.picture import cut_word_lines, header, measures, statistics
from attncli.render.tokenize.unknown import unknown_tokens
from attncli.results.tokenize import Token, TokenizedText

#: Columns to leave out, first things first, where the raw form and the text would have less than so many cells each.
_EXPENDABLE = {"note": 24, "bytes": 12, "word": 12, "characters": 12}


class _Column(NamedTuple):
    """A column: what stands in it a token, and how wide it is."""

    name: str
    values: list[str]
    width: int
    right: bool


def token_table(text: TokenizedText, terminal: Terminal, *, count: int | None = None) -> str:
    """A line about the text, a row a token, a line of statistics, and the words in the most tokens.

    count: how many texts there are; None where that is not known yet.

    No line is wider than the terminal, whatever the tokens are.
    """
    return lower(_lines(text, count, terminal), terminal)


def _lines(text: TokenizedText, count: int | None, terminal: Terminal) -> Iterator[Line]:
    cells, words = token_cells(text, terminal)
    yield header(text, count, terminal)
    yield Line()
    columns = _fitted(_columns(text, cells, terminal), terminal.width)
    yield _line(columns, [column.name for column in columns], [DIM] * len(columns), terminal)
    for index, cell in enumerate(cells):
        yield _row(columns, index, cell.style, terminal)
    if text.text is not None:
        yield Line()
        yield from statistics(measures(text.stats), terminal)
        yield from cut_word_lines(words, terminal)


def _columns(text: TokenizedText, cells: Sequence[Cell], terminal: Terminal) -> list[_Column]:
    shown = glyphs(terminal)
    tokens = text.tokens
    notes = _notes(text)
    raw = [visible(token.token or str(token.id), unicode=terminal.unicode) for token in tokens]
    columns = [
        _column("#", [str(token.index) for token in tokens], right=True),
        _column("id", [cell.id for cell in cells], right=True),
        _column("token", raw),
        _column("text", [cell.text for cell in cells]),
        _column("characters", _ranges(tokens, lambda token: (token.start, token.end), shown), right=True),
        _column("bytes", _ranges(tokens, lambda token: (token.byte_start, token.byte_end), shown), right=True),
        _column("word", [shown.dash if token.word is None else str(token.word) for token in tokens], right=True),
        _column("note", notes),
    ]
    return [column for column in columns if column.name != "note" or any(notes)]


def _column(name: str, values: list[str], *, right: bool = False) -> _Column:
    return _Column(name, values, max(map(cell_width, (name, *values))), right)


def _ranges(
    tokens: Sequence[Token], place: Callable[[Token], tuple[int | None, int | None]], shown: Glyphs
) -> list[str]:
    """Half-open ranges, as the JSON has them; a dash where a token has no place."""
    places = (place(token) for token in tokens)
    return [shown.dash if start is None else f"{start}{shown.dash}{end}" for start, end in places]


def _notes(text: TokenizedText) -> list[str]:
    """What is out of the ordinary with each token."""
    unknown = unknown_tokens(text)
    return [_note(token, index in unknown) for index, token in enumerate(text.tokens)]


def _note(token: Token, unknown: bool) -> str:
    if token.special:
        return "special"
    if unknown:
        return "unknown"
    if token.start is not None and token.start == token.end:
        return "not in the text"
    return "part of a character" if holds_bytes(token) else ""


def _fitted(columns: list[_Column], width: int) -> list[_Column]:
    """Leave out and narrow columns until a row fits."""
    for name, granted in _EXPENDABLE.items():
        if _least(columns, granted) <= width:
            break
        columns = [column for column in columns if column.name != name]
    room = width - sum(column.width for column in columns if not _shares(column)) - len(GAP) * (len(columns) - 1)
    raw, text = (column.width for column in columns if _shares(column))
    raw = max(1, min(raw, max(room - text, room // 2)))
    widths = {"token": raw, "text": max(1, min(text, room - raw))}
    return [column._replace(width=widths.get(column.name, column.width)) for column in columns]


def _least(columns: Sequence[_Column], granted: int) -> int:
    """The cells that a row takes at the least."""
    needed = (min(column.width, granted) if _shares(column) else column.width for column in columns)
    return sum(needed) + len(GAP) * (len(columns) - 1)


def _shares(column: _Column) -> bool:
    return column.name in ("token", "text")


def _row(columns: Sequence[_Column], index: int, style: Style, terminal: Terminal) -> Line:
    """The values of one token; its shade is under its text alone, and a special one is dim throughout."""
    everywhere = DIM if style == DIM else PLAIN
    styles = (style if column.name == "text" else everywhere for column in columns)
    return _line(columns, [column.values[index] for column in columns], styles, terminal)


def _line(columns: Sequence[_Column], values: Sequence[str], styles: Iterable[Style], terminal: Terminal) -> Line:
    spans: list[StyledSpan] = []
    for column, value, style in zip(columns, values, styles, strict=True):
        width = min(cell_width(value), column.width)
        own, rest = StyledSpan(in_place(value, width, terminal), style), StyledSpan(" " * (column.width - width))
        spans += [StyledSpan(GAP if spans else ""), *((rest, own) if column.right else (own, rest))]
    return Line(tuple(spans))
