"""Count the tokens of one text: the counts and ratios of `TokenStats`.

Added special tokens are only in their own count; words are maximal runs of non-space characters. With t tokens, w words
and b UTF-8 bytes: fertility = t/w, the share of continued words = words of two or more tokens / w (Rust et al. 2021),
bytes per token = b/t, the share of unknown tokens = unknown tokens / t. Fertility and continued words leave out scripts
without spaces between words, and symbols, which aren't words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from attncli.results.tokenize import TokenStats
from attncli.results.tokens import Token
from attncli.tokens.encode import EncodedText
from attncli.tokens.spans import WordSpans

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
    sizes = Counter((sequence, token.word) for sequence, token in placed if token.word is not None)
    characters, size = sum(map(len, texts)), sum(len(text.encode("utf-8")) for text in texts)
    words = sum(len(WordSpans(text)) for text in texts)
    counted = _WordCounts(len(own), words, sum(count > 1 for count in sizes.values()), ())
    spaced = _count_spaced(placed, texts) if any(map(_may_be_unspaced, texts)) else counted
    unknown_tokens = [token for token in own if token.id == unknown_id]
    unknown_characters = sum((token.end or 0) - (token.start or 0) for token in unknown_tokens)
    return TokenStats(
        tokens=len(own),
        special_tokens=len(encoded.tokens) - len(own),
        words=words,
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
    )


class _WordCounts(NamedTuple):
    tokens: int
    words: int
    continued: int
    left_out: tuple[str, ...]


def _may_be_unspaced(text: str) -> bool:
    # Compiled only when needed, as that takes as long as everything else here.
    return not text.isascii() and re.search(_MAY_BE_UNSPACED, text) is not None


def _count_spaced(placed: Sequence[tuple[int | None, Token]], texts: Sequence[str]) -> _WordCounts:
    """Tokens and words of those parts of the texts that are in scripts with spaces, as `--stats` counts them."""
    # Imported here because it is slow and few texts need it.
    from attncli.tokens.scripts import UNSPACED, RunCounts, count_by_script

    runs: list[RunCounts] = []
    for number, text in enumerate(texts):
        own = [token for sequence, token in placed if sequence == number]
        spans = [None if token.start is None or token.end is None else (token.start, token.end) for token in own]
        runs += count_by_script(text, spans, [False] * len(own)).runs
    left_out: Counter[str] = Counter()
    for run in runs:
        left_out[run.script] += run.characters if run.script in UNSPACED else 0
    spaced = [run for run in runs if run.script not in UNSPACED]
    return _WordCounts(
        sum(run.tokens for run in spaced),
        sum(run.words for run in spaced),
        sum(run.continued for run in spaced),
        tuple(script for script, characters in left_out.most_common() if characters),
    )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
