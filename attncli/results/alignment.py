"""Which word of a source an encoder–decoder's cross-attention aligns with each word of a target."""

from __future__ import annotations

from attncli.results.struct import Struct


class AlignedWord(Struct):
    """A word, a run of non-space characters, by its number in its text, from 0."""

    index: int
    text: str


class WordLink(Struct):
    """The source word that a target word reads most.

    record: the number of the pair, from 1.  weight: the attention on all tokens of the source word, the mean over the
    heads and over the tokens of the target word.
    """

    record: int
    source: AlignedWord
    target: AlignedWord
    weight: float


class AlignedPair(Struct):
    """A pair of texts as a line of JSON Lines. heads: those whose mean aligns them."""

    model: str
    record: int
    heads: tuple[str, ...]
    alignment: tuple[WordLink, ...]
