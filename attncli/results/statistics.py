"""The result of `attn tokenize --stats`: statistics of tokenizers on texts. Imports no numpy.

Ratios are None where the denominator is 0. Words are maximal runs of non-space characters, and are counted only in
scripts with spaces between words: in others (Chinese, Japanese, Thai …) words and figures per word are None, and totals
leave these scripts out, but for `words_unspaced`. The punctuation around a word is no token of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, NamedTuple

from attncli.results.base import struct

if TYPE_CHECKING:
    from attncli.results.marks import ByKey


@struct(short=False)
class ScriptStatistics(NamedTuple):
    """The text in one script, and the tokens that begin in it.

    script: its name in Unicode's Scripts.txt (`Latin`, `Han`); `Common` where a text has no letter of any; `Symbols`
    for emoji and other symbols.
    fertility = tokens / words; continued words are those of two or more tokens (Rust et al. 2021).
    unknown_characters: characters of the script that unknown tokens replace, wherever these begin: one token may
    replace text in several scripts.
    """

    script: str
    tokens: int
    words: int | None
    characters: int
    bytes: int
    bytes_per_token: float | None
    characters_per_token: float | None
    fertility: float | None
    continued_words: int | None
    continued_words_share: float | None
    unknown: int
    unknown_share: float | None
    unknown_characters: int = 0
    unknown_characters_share: float | None = None


@struct(short=False)
class TotalStatistics(NamedTuple):
    """Sums over all texts; added special tokens are counted only in `special_tokens`.

    fertility = tokens / words, both only of scripts with spaces, as are continued words.
    renyi_efficiency: H_α / log₂ V of the tokens' frequencies with α = 2.5, where V are the distinct tokens of these
    texts: 1 where all are equally frequent (Zouhar et al. 2023). None for fewer than 1,000 tokens: where most occur
    once it would be near 1 for any tokenizer.
    unknown_characters: characters that unknown tokens replace.
    words_unspaced: runs of non-space in scripts without spaces between words, and of symbols; not in `words`.
    """

    tokens: int
    special_tokens: int
    words: int
    characters: int
    bytes: int
    bytes_per_token: float | None
    characters_per_token: float | None
    fertility: float | None
    continued_words: int
    continued_words_share: float | None
    unknown: int
    unknown_share: float | None
    distinct_tokens: int
    renyi_efficiency: float | None
    unknown_characters: int = 0
    unknown_characters_share: float | None = None
    words_unspaced: int = 0


@struct(short=False)
class TextLengths(NamedTuple):
    """Tokens per text, special ones included, as the model takes them.

    longer: how many texts have more tokens than max_length, the most that the model takes (None: unknown).
    """

    minimum: int | None
    median: float | None
    maximum: int | None
    longer: int
    max_length: int | None


@struct(short=False)
class CutWord(NamedTuple):
    """A word (its first 100 characters), its length, and the number of tokens that it is cut into."""

    word: str
    characters: int
    tokens: int


@struct()
class TokenizerStatistics(NamedTuple):
    """The statistics of one model's tokenizer.

    scripts: those with the most characters first.  most_cut_words: the distinct words with the most tokens.
    """

    model: str
    texts: int
    vocabulary_size: int | None
    total: TotalStatistics
    scripts: tuple[ScriptStatistics, ...]
    lengths: TextLengths
    most_cut_words: tuple[CutWord, ...]


@struct()
class Parity(NamedTuple):
    """How many tokens one tokenizer needs for each token of another on the same texts (Petrov et al. 2023).

    tokens: tokens of `model` / tokens of `reference`; below 1, `model` needs fewer.  scripts: the same by script.
    None where one of the two has unknown tokens for a tenth of the characters or more, as one token may then stand for
    any length of text; and where no token begins in a script.
    """

    model: str
    reference: str
    tokens: float | None
    scripts: Annotated[Mapping[str, float | None], ByKey("script", "tokens")]
