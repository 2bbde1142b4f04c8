r"""The cells that a token is drawn with: its text over its id, colours, and the separator before it.

The picture of one text, the table and the alignment of several tokenizers are made of these cells. What a colour shows,
a character shows too: `*` a special token, `[UNK]←👍` an unknown token and the text that it replaced, a bar between the
tokens of one word, a heavy bar (`||` in ASCII) if these are more than two.

A character that a byte-level vocabulary splits over several tokens is drawn once, with the bytes of each token. Such a
token has its bytes as `\xf0\x9f` in its text but not in its raw form (`ðŁ`, `<0xF0>`), which tells them from a written
backslash.

A word is a maximal run of non-space. Words of more than two tokens are highlighted, except in scripts without spaces
between words, where such a run is a phrase.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby, pairwise
from operator import itemgetter
from typing import NamedTuple

from attncli.render.common.cells import cell_width, glyphs, shorten
from attncli.render.common.escape import token_text, visible
from attncli.render.common.lines import DIM, PLAIN, Style, StyledSpan
from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.results.tokenize import TokenizedText, input_texts, sequences
from attncli.results.tokens import Token, without_punctuation

#: Tokens from which on a word is highlighted.
MIN_CUT_TOKENS = 3
_LIGHT_INK = (0xFF, 0xFF, 0xFF)
_DARK_INK = (0x00, 0x00, 0x00)
#: Two dark backgrounds of equal lightness, blue and yellow, which colour-blind readers can distinguish; with light text
#: they are legible on any terminal. Of the sixteen colours, which users choose, black on cyan and on yellow is legible
#: with most palettes; white is dark grey in many light ones.
_SHADES = {
    ColorDepth.TRUE: ((0x2B, 0x52, 0x78), (0x74, 0x53, 0x24)),
    ColorDepth.EIGHT_BIT: ((0x00, 0x5F, 0x87), (0x87, 0x5F, 0x00)),
    ColorDepth.ANSI: ((0x00, 0x80, 0x80), (0x80, 0x80, 0x00)),
}
#: Cells of the text that an unknown token replaced.
_UNKNOWN_TEXT_CELLS = 16
GAP = "  "
#: Blocks of Unicode with scripts that have no spaces between words: Thai, Lao and Tibetan, Myanmar, Khmer, New Tai
#: Lue, Tai Tham and Balinese, radicals to Yi, Javanese, more Myanmar and Tai Viet, Han, halfwidth kana, more Han.
_UNSPACED_BLOCKS = (
    ("\u0e00", "\u0fff"),
    ("\u1000", "\u109f"),
    ("\u1780", "\u17ff"),
    ("\u1950", "\u19df"),
    ("\u1a20", "\u1b7f"),
    ("\u2e80", "\u312f"),
    ("\u31a0", "\ua4cf"),
    ("\ua980", "\ua9df"),
    ("\uaa60", "\uaadf"),
    ("\uf900", "\ufaff"),
    ("\uff66", "\uff9f"),
    ("\U00016fe0", "\U0001b2ff"),
    ("\U00020000", "\U0003ffff"),
)
_BYTES = re.compile(r"((?:\\x[89a-f][0-9a-f])+)")


class Cell(NamedTuple):
    """A token as it is drawn: text over id.

    width: cells of the wider of both.  style: of the text; ids have the same without bold.
    continues_word: whether it belongs to the same word as the token before it.  in_cut_word: whether that word has more
    than two tokens.  begins_line: whether a line of the text ends before it.
    """

    text: str
    id: str
    width: int
    style: Style
    continues_word: bool
    in_cut_word: bool
    begins_line: bool


def token_cells(text: TokenizedText, terminal: Terminal) -> tuple[list[Cell], list[CutWordSpan]]:
    """The cells of a text's tokens, and its words of more than two tokens."""
    words = cut_words(text)
    in_cut_words = {index for word in words for index in range(word.first, word.last)}
    drawn = _cell_texts(text, terminal)
    borders = _word_and_line_breaks(text)
    cells: list[Cell] = []
    ordinary = 0
    for index, (token, shown, (same, ends)) in enumerate(zip(text.tokens, drawn, borders, strict=True)):
        number = str(token.id)
        style = _cell_style(token, ordinary, index in in_cut_words, terminal)
        cells.append(
            Cell(shown, number, max(cell_width(shown), len(number)), style, same, same and index in in_cut_words, ends)
        )
        ordinary += not token.special
    return cells, words


def word_bar(heavy: bool, terminal: Terminal) -> StyledSpan:
    """The bar between two tokens of one word; heavy if the word has more than two tokens."""
    if terminal.unicode:
        return StyledSpan("┃") if heavy else StyledSpan("│", DIM)
    return StyledSpan("||") if heavy else StyledSpan("|", DIM)


def without_emphasis(style: Style) -> Style:
    return style._replace(bold=False, underline=False)


def _cell_texts(text: TokenizedText, terminal: Terminal) -> list[str]:
    texts = token_texts(text.tokens, terminal)
    if text.stats.unknown:
        for index, place in unknown_tokens(text).items():
            texts[index] += _unknown_suffix(place, terminal) if place else ""
    return [f"{shown}*" if token.special else shown for token, shown in zip(text.tokens, texts, strict=True)]


def _unknown_suffix(place: str, terminal: Terminal) -> str:
    arrow = "←" if terminal.unicode else "<-"
    return arrow + shorten(visible(place, unicode=terminal.unicode), _UNKNOWN_TEXT_CELLS, glyphs(terminal).cut)


def _cell_style(token: Token, ordinary: int, many: bool, terminal: Terminal) -> Style:
    if token.special:
        return DIM
    shades = _SHADES.get(terminal.color)
    if shades is None:
        return PLAIN
    if terminal.color is ColorDepth.ANSI:
        # Bold black is grey in many terminals.
        return Style(_DARK_INK, shades[ordinary % 2], underline=many)
    return Style(_LIGHT_INK, shades[ordinary % 2], bold=many)


def _word_and_line_breaks(text: TokenizedText) -> Iterator[tuple[bool, bool]]:
    """For each token, whether it continues the word before it, and whether a line of the text ends before it."""
    beginnings = _line_starts(text) if "\n" in f"{text.text}{text.pair}" else frozenset()
    previous: Token | None = None
    for index, token in enumerate(text.tokens):
        yield continues_word(previous, token), index in beginnings
        previous = token


def _line_starts(text: TokenizedText) -> frozenset[int]:
    """The tokens before which a line ends: a newline is in the token before, or between both."""
    texts, owners = input_texts(text), sequences(text)
    pairs = zip(pairwise(text.tokens), pairwise(owners), strict=True)
    return frozenset(
        index
        for index, ((previous, token), (before, owner)) in enumerate(pairs, start=1)
        if owner is not None and owner == before and not token.text.startswith("\n")
        if "\n" in previous.text or "\n" in texts[owner][previous.end : token.start]
    )


def unknown_tokens(text: TokenizedText) -> dict[int, str]:
    """The text that each unknown token replaced, by the token's index; empty text where that is unknown."""
    if text.unknown_id is None or text.text is None:
        return {}
    texts = input_texts(text)
    places = zip(text.tokens, sequences(text), strict=True)
    return {
        index: "" if owner is None else texts[owner][token.start : token.end].strip()
        for index, (token, owner) in enumerate(places)
        if token.id == text.unknown_id and not token.special
    }


# --- Characters split over several tokens


def token_texts(tokens: Sequence[Token], terminal: Terminal) -> list[str]:
    """The text to draw for each token, safe for a terminal."""
    texts: list[str] = []
    for cut, run in groupby(tokens, is_partial_character):
        members = list(run)
        whole = _joined_characters([_byte_values(token.text) for token in members], terminal) if cut else None
        texts += whole or [token_text(token, terminal) for token in members]
    return texts


def is_partial_character(token: Token) -> bool:
    """Whether a token is only a part of a character's bytes."""
    return "\\" not in token.token and _BYTES.search(token.text) is not None


def _byte_values(text: str) -> bytes:
    """The bytes that a token's text stands for."""
    parts = _BYTES.split(text)  # every second part is escaped bytes
    return b"".join(
        bytes.fromhex(part.replace("\\x", "")) if index % 2 else part.encode("utf-8", "replace")
        for index, part in enumerate(parts)
    )


def _joined_characters(pieces: Sequence[bytes], terminal: Terminal) -> list[str] | None:
    """The text of each token in a run of such tokens; None where the bytes are no valid UTF-8."""
    try:
        text = b"".join(pieces).decode("utf-8")
    except UnicodeDecodeError:
        return None
    # For each byte, the index of its character and the byte's place in it.
    places = [(index, place) for index, character in enumerate(text) for place in range(len(character.encode("utf-8")))]
    drawn, start = [], 0
    for piece in pieces:
        drawn.append(_piece_text(text, places[start : start + len(piece)], terminal))
        start += len(piece)
    return drawn


def _piece_text(text: str, places: Sequence[tuple[int, int]], terminal: Terminal) -> str:
    """One token's text: whole characters, and the bytes of a split one in hex, after the character if they begin it."""
    shown, whole = "", ""
    for index, run in groupby(places, key=itemgetter(0)):
        held = [place for _, place in run]
        encoded = text[index].encode("utf-8")
        if len(held) == len(encoded):
            whole += text[index]
            continue
        begun = whole + text[index] if held[0] == 0 and _is_drawn(whole, text[index], terminal) else whole
        shown += visible(begun, unicode=terminal.unicode) + _hex_bytes(encoded[held[0] : held[-1] + 1], terminal)
        whole = ""
    return shown + visible(whole, unicode=terminal.unicode)


def _is_drawn(before: str, character: str, terminal: Terminal) -> bool:
    """Whether a character is drawn beside its bytes; joiners and lone skin tones aren't."""
    return not terminal.unicode or visible(before + character, unicode=True).endswith(character)


def _hex_bytes(data: bytes, terminal: Terminal) -> str:
    digits = data.hex(" ").upper()
    return f"⟨{digits}⟩" if terminal.unicode else f"<{digits}>"


# --- Words of more than two tokens


class CutWordSpan(NamedTuple):
    """A word of at least `MIN_CUT_TOKENS` tokens, those from `first` to before `last`."""

    first: int
    last: int
    text: str

    @property
    def tokens(self) -> int:
        return self.last - self.first


def cut_words(text: TokenizedText) -> list[CutWordSpan]:
    """The words of at least `MIN_CUT_TOKENS` tokens, in the order of the text; without the punctuation around them."""
    runs = [(first, last) for first, last in _word_runs(text.tokens) if last - first >= MIN_CUT_TOKENS]
    if not runs or text.text is None:
        return []
    texts, owners = input_texts(text), sequences(text)
    words = (_trimmed(text.tokens, first, last, texts[owners[first] or 0]) for first, last in runs)
    return [word for word in words if word.tokens >= MIN_CUT_TOKENS and not _is_unspaced_phrase(word.text)]


def _trimmed(tokens: Sequence[Token], first: int, last: int, text: str) -> CutWordSpan:
    """A word without the punctuation at its sides, and without the tokens that are nothing else."""
    run, begin, end = tokens[first:last], tokens[first].start or 0, tokens[last - 1].end or 0
    end = begin + len(text[begin:end].rstrip())
    begin = end - len(text[begin:end].lstrip())
    begin, end = without_punctuation(text, begin, end)
    first += sum((token.end or 0) <= begin for token in run)
    last -= sum((token.start or 0) >= end for token in run)
    return CutWordSpan(first, last, text[begin:end])


def continues_word(previous: Token | None, token: Token) -> bool:
    """Whether a token belongs to the same word, of the same text, as the token before it."""
    if previous is None or token.word is None or token.word != previous.word:
        return False
    shares = (token.start, token.end) == (previous.start, previous.end)
    return shares or (token.byte_start or 0) >= (previous.byte_end or 0)


def _word_runs(tokens: Sequence[Token]) -> Iterator[tuple[int, int]]:
    first = 0
    for index, (previous, token) in enumerate(pairwise(tokens), start=1):
        if not continues_word(previous, token):
            yield first, index
            first = index
    yield first, len(tokens)


def _is_unspaced_phrase(text: str) -> bool:
    return not text.isascii() and _unspaced().search(text) is not None


@cache
def _unspaced() -> re.Pattern[str]:
    """Compiled only when needed, as that takes longer than most pictures."""
    return re.compile("[" + "".join(f"{first}-{last}" for first, last in _UNSPACED_BLOCKS) + "]")
