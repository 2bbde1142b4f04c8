"""Count the tokens of one text: the counts and ratios of `TokenStats`.

Added special tokens are only in their own count; words are maximal runs of non-space characters in scripts with spaces
between words; runs in other scripts, and of symbols, have a count of their own. With t tokens, w words and b UTF-8
bytes: fertility = t/w of these scripts, the share of continued words = words of two or more tokens / w (Rust et al.
2021), where the punctuation around a word doesn't count, bytes per token = b/t, the share of unknown tokens = unknown
tokens / t.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from attncli.results.tokenize import TokenStats
from attncli.results.tokens import Token
from attncli.tokens.encode import EncodedText
from attncli.tokens.spans import tokens_per_word, word_spans

#: Roughly the Unicode blocks of scripts without spaces: a text without any of these needs no closer look.
_MAY_BE_UNSPACED = (
    "[\u0e00-\u109f\u1780-\u1aaf\u1b00-\u1b7f\u203c\u2049\u2150-\u2bff\u2e50-\ua4cf\ua830-\ua83f\ua980-\uaadf"
    "\uf900-\ufaff\uff66-\uff9f\uffe0-\uffef\U00010100-\U000101ff\U00011700-\U0001174f\U00016fe0-\U0003ffff]"
)


def measure(encoded: EncodedText, texts: Sequence[str] = (), *, unknown_id: int | None = None) -> TokenStats:
    """The counts and ratios of one text.

    texts: the text, and its pair if any; empty for ids that were given without a text.
    unknown_id: the id of the tokenizer's unknown token, if it has one.
    """
    placed = list(zip(encoded.sequences, encoded.tokens, strict=True))
    own = [token for sequence, token in placed if sequence is not None or not token.special]
    characters, size = sum(map(len, texts)), sum(len(text.encode("utf-8")) for text in texts)
    count_words = _count_by_script if any(map(_may_be_unspaced, texts)) else _count_words
    spaced = count_words(placed, texts) if texts else _WordCounts(len(own))
    unknown_tokens = [token for token in own if token.id == unknown_id]
    unknown_characters = sum((token.end or 0) - (token.start or 0) for token in unknown_tokens)
    return TokenStats(
        tokens=len(own),
        special_tokens=len(encoded.tokens) - len(own),
        words=spaced.words,
        characters=characters,
        bytes=size,
        bytes_per_token=_ratio(size, len(own)) if texts else None,
        characters_per_token=_ratio(characters, len(own)) if texts else None,
        fertility=_ratio(spaced.tokens, spaced.words),
        continued_words=spaced.continued,
        continued_words_share=_ratio(spaced.continued, spaced.words),
        unknown=len(unknown_tokens),
        unknown_share=_ratio(len(unknown_tokens), len(own)),
        spaced_tokens=spaced.tokens,
        spaced_words=spaced.words,
        unspaced_scripts=spaced.left_out,
        unknown_characters=min(unknown_characters, characters),
        words_unspaced=spaced.unspaced,
    )


class _WordCounts(NamedTuple):
    """Counts in scripts with spaces; unspaced: runs of non-space in those that are left out."""

    tokens: int
    words: int = 0
    continued: int = 0
    unspaced: int = 0
    left_out: tuple[str, ...] = ()


def _may_be_unspaced(text: str) -> bool:
    # Compiled only when needed, as that takes as long as everything else here.
    return not text.isascii() and re.search(_MAY_BE_UNSPACED, text) is not None


def _count_words(placed: Sequence[tuple[int | None, Token]], texts: Sequence[str]) -> _WordCounts:
    """Tokens and words of texts that are all in scripts with spaces."""
    tokens = words = continued = 0
    for number, text in enumerate(texts):
        spans = _spans_of(placed, number)
        found = word_spans(text)
        tokens, words = tokens + len(spans), words + len(found)
        pieces = tokens_per_word(text, sorted(span for span in spans if span is not None), found)
        continued += sum(count > 1 for count in pieces)
    return _WordCounts(tokens, words, continued)


def _count_by_script(placed: Sequence[tuple[int | None, Token]], texts: Sequence[str]) -> _WordCounts:
    """Tokens and words of those parts of the texts that are in scripts with spaces, as `--stats` counts them."""
    # Imported here because it is slow and few texts need it.
    from attncli.tokens.scripts import UNSPACED, RunCounts, count_by_script

    runs: list[RunCounts] = []
    for number, text in enumerate(texts):
        spans = _spans_of(placed, number)
        runs += count_by_script(text, spans, [False] * len(spans)).runs
    left_out: Counter[str] = Counter()
    for run in runs:
        left_out[run.script] += run.characters if run.script in UNSPACED else 0
    spaced = [run for run in runs if run.script not in UNSPACED]
    return _WordCounts(
        sum(run.tokens for run in spaced),
        sum(run.words for run in spaced),
        sum(run.continued for run in spaced),
        sum(run.words_unspaced for run in runs),
        tuple(script for script, characters in left_out.most_common() if characters),
    )


def _spans_of(placed: Sequence[tuple[int | None, Token]], number: int) -> list[tuple[int, int] | None]:
    """The characters of each token of one text; None where they weren't found."""
    own = (token for sequence, token in placed if sequence == number)
    return [None if token.start is None or token.end is None else (token.start, token.end) for token in own]


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
