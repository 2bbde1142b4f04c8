"""Tokens side by side with their ids beneath, as a terminal shows them; and the two bare forms for scripts.

    9 tokens (2 special*) · sentence-transformers/all-MiniLM-L6-v2

    [CLS]*  take  a     bio  │psy    of    the   mole   [SEP]*
    101     2202  1037  16012│18075  1997  1996  16709  102

    6 words (runs of non-space) · fertility 1.17 · 1 continued · 3.57 bytes/token

A gap parts words, a bar parts the tokens of one word. The characters are the same with colour and without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from attncli.render.cells import cell_width
from attncli.render.cut_characters import token_texts
from attncli.render.document import lower
from attncli.render.escape import printable
from attncli.render.glyphs import glyphs
from attncli.render.lines import PLAIN, Line, Span, Style
from attncli.render.terminal import ColorDepth, Terminal
from attncli.render.token_text import in_place
from attncli.results.tokenize import TokenizedText, TokenizeResult, TokenStats
from attncli.results.tokens import Token

_DIM = Style(dim=True)
_LIGHT = (0xFF, 0xFF, 0xFF)

#: Two dark backgrounds, of one lightness and told apart by blue and yellow, which colour-blind eyes see too; with
#: their own light ink they read well on any terminal. Fewer colours need bolder ones to stay two.
_SHADES = {
    ColorDepth.TRUE: ((0x2B, 0x52, 0x78), (0x74, 0x53, 0x24)),
    ColorDepth.EIGHT_BIT: ((0x00, 0x5F, 0x87), (0x87, 0x5F, 0x00)),
    ColorDepth.ANSI: ((0x00, 0x00, 0xAA), (0xAA, 0x00, 0xAA)),
}

_GAP = "  "


def tokenize_text(result: TokenizeResult, terminal: Terminal) -> str:
    """Every text of the result: a line about it, its tokens over their ids, a line of statistics.

    No line is wider than the terminal, whatever the tokens are.
    """
    texts = 1 + max((text.record for text in result.texts), default=0)
    pictures = (_picture(text, texts, terminal) for text in result.texts)
    return "\n".join(lower(picture, terminal) for picture in pictures)


def ids_text(result: TokenizeResult) -> str:
    """A text per line: its ids, with a space between them."""
    return "".join(" ".join(map(str, text.ids)) + "\n" for text in result.texts)


def count_text(result: TokenizeResult) -> str:
    """A text per line: the number of its tokens, special ones included."""
    return "".join(f"{len(text.tokens)}\n" for text in result.texts)


def _picture(text: TokenizedText, texts: int, terminal: Terminal) -> Iterator[Line]:
    yield _header(text, texts, terminal)
    for block in _blocks(_cells(text.tokens, terminal), terminal):
        yield Line()
        yield from block
    if text.text is not None:
        yield Line()
        yield from _statistics(text.stats, terminal)


def _header(text: TokenizedText, texts: int, terminal: Terminal) -> Line:
    separator = glyphs(terminal).separator
    starred = sum(token.special for token in text.tokens)
    special = f" ({starred:,} special*)" if starred else ""
    place = f"{separator}text {text.record + 1} of {texts}" if texts > 1 else ""
    count = len(text.tokens)
    bold = Span(f"{count:,} token{'' if count == 1 else 's'}", Style(bold=True))
    return Line.of(bold, f"{special}{place}", Span(separator + printable(text.model, unicode=terminal.unicode), _DIM))


class _Cell(NamedTuple):
    """A token as it is drawn: text over id, the cells that both take, and whether it continues the word before it."""

    text: str
    id: str
    width: int
    style: Style
    goes_on: bool


def _cells(tokens: Sequence[Token], terminal: Terminal) -> Iterator[_Cell]:
    shades = _SHADES.get(terminal.color)
    ordinary, previous = 0, None
    for token, text in zip(tokens, token_texts(tokens, terminal), strict=True):
        marked = f"{text}*" if token.special else text
        width = max(cell_width(marked), len(str(token.id)))
        style = _DIM if token.special else PLAIN if shades is None else Style(_LIGHT, shades[ordinary % 2])
        yield _Cell(marked, str(token.id), min(width, terminal.width - 1), style, _goes_on(previous, token))
        ordinary, previous = ordinary + (not token.special), token


def _goes_on(previous: Token | None, token: Token) -> bool:
    """Whether a token is of the same word as the one before it, and not of a second text that begins there."""
    if previous is None or token.word is None or token.word != previous.word:
        return False
    shares = (token.start, token.end) == (previous.start, previous.end)
    return shares or (token.byte_start or 0) >= (previous.byte_end or 0)


def _blocks(cells: Iterable[_Cell], terminal: Terminal) -> Iterator[tuple[Line, Line]]:
    """The cells in rows as wide as the terminal, wrapped between tokens: texts, and ids beneath."""
    bar = "│" if terminal.unicode else "|"
    texts: list[Span] = []
    ids: list[Span] = []
    used = 0
    for cell in cells:
        before = bar if cell.goes_on else _GAP
        if used + len(before) + cell.width > terminal.width and texts:
            yield Line(tuple(texts)), Line(tuple(ids))
            texts, ids, used = [], [], 0
        if texts or cell.goes_on:
            parting = Span(before, _DIM if cell.goes_on else PLAIN)
            texts.append(parting)
            ids.append(parting)
            used += len(before)
        texts.append(Span(in_place(cell.text, cell.width, terminal), cell.style))
        ids.append(Span(in_place(cell.id, cell.width, terminal), cell.style))
        used += cell.width
    if texts:
        yield Line(tuple(texts)), Line(tuple(ids))


def _statistics(stats: TokenStats, terminal: Terminal) -> Iterator[Line]:
    """One line, or several where the terminal is narrow."""
    separator = glyphs(terminal).separator
    line = ""
    for part in _measures(stats):
        longer = line + separator + part if line else part
        if line and cell_width(longer) > terminal.width:
            yield Line.of(Span(line, _DIM))
            longer = part
        line = longer
    yield Line.of(Span(line, _DIM))


def _measures(stats: TokenStats) -> Iterator[str]:
    yield f"{stats.words:,} word{'' if stats.words == 1 else 's'} (runs of non-space)"
    if stats.fertility is not None:
        yield f"fertility {stats.fertility:.2f}"
    if stats.continued_words:
        yield f"{stats.continued_words:,} continued"
    if stats.bytes_per_token is not None:
        yield f"{stats.bytes_per_token:.2f} bytes/token"
    if stats.unknown:
        yield f"{stats.unknown:,} unknown"
