r"""Where two overlapping chunks of a text may be joined, so that their tokens are those of the text in one chunk.

A tokenizer cuts a text into pre-tokens from left to right, and each pre-token into tokens by itself. What it does from
the start of a pre-token on does not depend on what came before. So where two chunks that overlap both start a
pre-token at the same character, everything before it can be taken from the left chunk, which saw the text before, and
everything after it from the right one, which sees the text that follows. That holds by induction from the first chunk
on, wherever the right one happened to begin: in the middle of a word or of a group of three digits.

What is left to rule out is that the end of the left chunk made it cut there: regular expressions look ahead as far as
a run of characters of one class reaches (`\s*[\r\n]+`, or digits grouped from the right). A seam is therefore only
where the class of character changes, with more text after it than any tokenizer looks at from there; and the pre-tokens
on both sides of it have to be the same in both chunks: that keeps it off normalisers that look at their neighbours,
off added tokens that take the space around them, and off what a tokenizer puts before the start of a text.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Iterator
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tokenizers import Encoding


class Chunk(NamedTuple):
    """A part of a text, and its own tokens without added ones.  start: the character of the whole text it begins at."""

    start: int
    text: str
    encoding: Encoding
    ids: list[int]

    @property
    def end(self) -> int:
        return self.start + len(self.text)


class Seam(NamedTuple):
    """How many tokens of the left chunk come before it, and how many of the right one are left out there."""

    left: int
    right: int


class _PreToken(NamedTuple):
    """start: its first character in the whole text.  first: its first token.  tokens: (id, start, end) of each."""

    start: int
    first: int
    tokens: tuple[tuple[int, int, int], ...]


def find_seam(left: Chunk, right: Chunk, margin: int) -> Seam | None:
    """The last place of their overlap where both chunks cut alike; None where there is none.

    margin: how many characters of the left chunk have to follow it.
    """
    known = {after.start: (before, after) for before, after in pairwise(_pre_tokens(right, right.start, left.end))}
    for before, after in reversed(list(pairwise(_pre_tokens(left, right.start, left.end - margin)))):
        twin = known.get(after.start)
        if (
            twin is not None
            and twin[0].tokens == before.tokens
            and twin[1].tokens == after.tokens
            and _changes_class(left.text, after.start - left.start)
        ):
            return Seam(after.first, twin[1].first)
    return None


def is_one_pre_token(chunk: Chunk) -> bool:
    """Whether nothing in the chunk was cut before the model cut it."""
    count = len(chunk.ids)
    return count == 0 or chunk.encoding.token_to_word(0) == chunk.encoding.token_to_word(count - 1)


def _pre_tokens(chunk: Chunk, start: int, end: int) -> Iterator[_PreToken]:
    """The pre-tokens whose tokens begin from one character of the whole text up to another."""
    places = range(len(chunk.ids))
    first, last = (bisect_left(places, at, key=lambda token: _span(chunk, token)[0]) for at in (start, end))
    for _, group in groupby(range(first, last), key=chunk.encoding.token_to_word):
        members = list(group)
        tokens = tuple((chunk.ids[token], *_span(chunk, token)) for token in members)
        yield _PreToken(tokens[0][1], members[0], tokens)


def _span(chunk: Chunk, token: int) -> tuple[int, int]:
    """The characters of a token in the whole text."""
    span = chunk.encoding.token_to_chars(token)
    assert span is not None, "the chunk has that many tokens"
    return span[0] + chunk.start, span[1] + chunk.start


def _changes_class(text: str, place: int) -> bool:
    return _character_class(text[place - 1]) != _character_class(text[place])


def _character_class(character: str) -> str:
    """Space, letter, number, punctuation, symbol or other; a mark goes with the letter that it stands on."""
    if character.isspace():
        return " "
    general = unicodedata.category(character)[0]
    return "L" if general == "M" else general
