"""A token and its position in its text, for `tokenize` and `heads`. Imports no numpy."""

from __future__ import annotations

from typing import NamedTuple
from unicodedata import category

from attncli.results.base import struct


@struct(short=False)
class Token(NamedTuple):
    """One token of a text.

    index: among the text's tokens, from 0; negative for an adapter's virtual tokens, which come before the text.
    id: number in the vocabulary; negative likewise.
    token: the raw form in the vocabulary (`Ġmole`, `##les`).  text: the readable form (` mole`, `les`).
    start, end: characters of the input, half open; byte_start, byte_end: UTF-8 bytes of it. None where the token has
    no position in the input: an added special token, or ids without a text.
    word: index of the run of non-space characters that the token starts in, or None likewise.
    special: added by the tokenizer, or one of its special tokens.
    """

    index: int  # type: ignore[assignment]  # shadows the method of tuples
    id: int
    token: str
    text: str
    start: int | None = None
    end: int | None = None
    byte_start: int | None = None
    byte_end: int | None = None
    word: int | None = None
    special: bool = False


#: What BERT takes for punctuation besides Unicode's categories P: everything in ASCII but letters, digits and space.
_ASCII_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


def without_punctuation(text: str, start: int, end: int) -> tuple[int, int]:
    """The characters of a word from `start` to before `end`, without punctuation at either side; maybe none."""
    while start < end and _is_punctuation(text[start]):
        start += 1
    while start < end and _is_punctuation(text[end - 1]):
        end -= 1
    return start, end


def _is_punctuation(character: str) -> bool:
    return character in _ASCII_PUNCTUATION or (not character.isascii() and category(character)[0] == "P")
