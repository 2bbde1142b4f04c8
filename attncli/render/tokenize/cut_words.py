"""Words that fell into more than two tokens, to be drawn so that they are noticed.

A word is a maximal run of non-space, as everywhere; but where a script has no spaces between its words such a run is a
phrase, and many tokens in it mean nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from attncli.results.tokenize import Token, TokenizedText

#: From so many tokens on a word is noticed.
MANY = 3

#: Blocks of Unicode with scripts that have no spaces between words: Thai, Lao and Tibetan, Myanmar, Khmer, New Tai
#: Lue, Tai Tham and Balinese, radicals to Yi, Javanese, more Myanmar and Tai Viet, Han, halfwidth kana, more Han.
_UNSPACED = (
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


class CutWord(NamedTuple):
    """A word in many tokens: those from `first` to before `last`."""

    first: int
    last: int
    text: str

    @property
    def tokens(self) -> int:
        return self.last - self.first


def cut_words(text: TokenizedText) -> list[CutWord]:
    """The words of at least `MANY` tokens, in the order of the text."""
    runs = [(first, last) for first, last in _runs(text.tokens) if last - first >= MANY]
    if not runs or text.text is None:
        return []
    from attncli.results.tokenize import own_texts, sequences

    texts, owners = own_texts(text), sequences(text)
    words = (CutWord(first, last, _spelled(text.tokens[first:last], texts[owners[first] or 0])) for first, last in runs)
    return [word for word in words if not _is_phrase(word.text)]


def goes_on(previous: Token | None, token: Token) -> bool:
    """Whether a token is of the same word as the one before it, and not of a second text that begins there."""
    if previous is None or token.word is None or token.word != previous.word:
        return False
    shares = (token.start, token.end) == (previous.start, previous.end)
    return shares or (token.byte_start or 0) >= (previous.byte_end or 0)


def _runs(tokens: Sequence[Token]) -> Iterator[tuple[int, int]]:
    first = 0
    for index, (previous, token) in enumerate(pairwise(tokens), start=1):
        if not goes_on(previous, token):
            yield first, index
            first = index
    yield first, len(tokens)


def _spelled(tokens: Sequence[Token], text: str) -> str:
    return text[tokens[0].start or 0 : tokens[-1].end].strip()


def _is_phrase(text: str) -> bool:
    return not text.isascii() and _unspaced().search(text) is not None


@cache
def _unspaced() -> re.Pattern[str]:
    """Compiled only where a text needs it, as that takes longer than most pictures."""
    return re.compile("[" + "".join(f"{first}-{last}" for first, last in _UNSPACED) + "]")
