"""Tokens as cells: what is drawn for each, over its id, in which colours, and what parts it from the one before it.

The picture of one text, the table and the alignment of several tokenizers are made of the same cells. All that a colour
says, a character says as well: `*` a special token, `[UNK]←👍` an unknown one and what it took the place of, a bar
between the tokens of one word, a heavy bar (`||` in ASCII) where these are more than two.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from attncli.render.cells import cell_width, shorten
from attncli.render.escape import visible
from attncli.render.glyphs import glyphs
from attncli.render.lines import DIM, PLAIN, Style, StyledSpan
from attncli.render.terminal import ColorDepth, Terminal
from attncli.render.tokenize.cut_characters import token_texts
from attncli.render.tokenize.cut_words import CutWord, cut_words, goes_on
from attncli.results.tokenize import Token, TokenizedText

_LIGHT = (0xFF, 0xFF, 0xFF)

#: Two dark backgrounds, of one lightness and told apart by blue and yellow, which colour-blind eyes see too; with
#: their own light ink they read well on any terminal. Fewer colours need bolder ones to stay two.
_SHADES = {
    ColorDepth.TRUE: ((0x2B, 0x52, 0x78), (0x74, 0x53, 0x24)),
    ColorDepth.EIGHT_BIT: ((0x00, 0x5F, 0x87), (0x87, 0x5F, 0x00)),
    ColorDepth.ANSI: ((0x00, 0x00, 0xAA), (0xAA, 0x00, 0xAA)),
}

#: What an unknown token stands for is shown up to so many cells.
_STANDS_FOR = 16

GAP = "  "


class Cell(NamedTuple):
    """A token as it is drawn: text over id.

    width: cells that the wider of both takes.  style: of the text; ids have the same without its boldness.
    goes_on: it is of the same word as the token before it.  many: its word has more than two tokens.
    begins_line: a line of the text ends before it.
    """

    text: str
    id: str
    width: int
    style: Style
    goes_on: bool
    many: bool
    begins_line: bool


def token_cells(text: TokenizedText, terminal: Terminal) -> tuple[list[Cell], list[CutWord]]:
    """What to draw for each token of a text, and its words of more than two tokens."""
    words = cut_words(text)
    many = {index for word in words for index in range(word.first, word.last)}
    drawn = _texts(text, terminal)
    borders = _borders(text)
    cells: list[Cell] = []
    ordinary = 0
    for index, (token, shown, (same, ends)) in enumerate(zip(text.tokens, drawn, borders, strict=True)):
        number = str(token.id)
        style = _style(token, ordinary, index in many, terminal)
        cells.append(
            Cell(shown, number, max(cell_width(shown), len(number)), style, same, same and index in many, ends)
        )
        ordinary += not token.special
    return cells, words


def bar(many: bool, terminal: Terminal) -> StyledSpan:
    """What stands between two tokens of one word."""
    if terminal.unicode:
        return StyledSpan("┃") if many else StyledSpan("│", DIM)
    return StyledSpan("||") if many else StyledSpan("|", DIM)


def without_boldness(style: Style) -> Style:
    return style._replace(bold=False)


def _texts(text: TokenizedText, terminal: Terminal) -> list[str]:
    texts = token_texts(text.tokens, terminal)
    if text.stats.unknown:
        # Imported only where it is needed, as the other modules below: most texts are to be drawn at once.
        from attncli.render.tokenize.unknown import unknown_tokens

        for index, place in unknown_tokens(text).items():
            texts[index] += _stands_for(place, terminal) if place else ""
    return [f"{shown}*" if token.special else shown for token, shown in zip(text.tokens, texts, strict=True)]


def _stands_for(place: str, terminal: Terminal) -> str:
    arrow = "←" if terminal.unicode else "<-"
    return arrow + shorten(visible(place, unicode=terminal.unicode), _STANDS_FOR, glyphs(terminal).cut)


def _style(token: Token, ordinary: int, many: bool, terminal: Terminal) -> Style:
    if token.special:
        return DIM
    shades = _SHADES.get(terminal.color)
    return PLAIN if shades is None else Style(_LIGHT, shades[ordinary % 2], bold=many)


def _borders(text: TokenizedText) -> Iterator[tuple[bool, bool]]:
    """For each token, whether it goes on with the word before it, and whether a line of the text ends before it."""
    beginnings = _line_beginnings(text) if "\n" in f"{text.text}{text.pair}" else frozenset()
    previous: Token | None = None
    for index, token in enumerate(text.tokens):
        yield goes_on(previous, token), index in beginnings
        previous = token


def _line_beginnings(text: TokenizedText) -> frozenset[int]:
    """The tokens before which a line ends: a newline is at the end of a token, or between two that leave it out."""
    from attncli.results.tokenize import own_texts, sequences

    texts, owners = own_texts(text), sequences(text)
    pairs = zip(pairwise(text.tokens), pairwise(owners), strict=True)
    return frozenset(
        index
        for index, ((previous, token), (before, owner)) in enumerate(pairs, start=1)
        if owner is not None and owner == before and not token.text.startswith("\n")
        if "\n" in previous.text or "\n" in texts[owner][previous.end : token.start]
    )
