"""What tokens add up to: the counts and ratios of `TokenStats`.

Special tokens that the tokenizer added are left out of all but their own count; words are maximal runs of non-space
characters. With t tokens, w words and b UTF-8 bytes: fertility = t/w, the share of continued words = words of two or
more tokens / w (Rust et al. 2021), bytes per token = b/t, the share of unknown tokens = unknown tokens / t.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from attncli.results.tokenize import TokenStats
from attncli.tokens.encode import EncodedText
from attncli.tokens.spans import Words


def measure(encoded: EncodedText, texts: Sequence[str] = (), *, unknown_id: int | None = None) -> TokenStats:
    """The counts and ratios of one text.

    texts: the text, and the pair beside it; none for ids that came without a text.
    unknown_id: the id of the tokenizer's unknown token, if it has one.
    """
    placed = list(zip(encoded.sequences, encoded.tokens, strict=True))
    own = [token for sequence, token in placed if sequence is not None or not token.special]
    sizes = Counter((sequence, token.word) for sequence, token in placed if token.word is not None)
    return _stats(
        tokens=len(own),
        special_tokens=len(encoded.tokens) - len(own),
        words=sum(len(Words(text)) for text in texts),
        characters=sum(len(text) for text in texts),
        size=sum(len(text.encode("utf-8")) for text in texts),
        continued_words=sum(count > 1 for count in sizes.values()),
        unknown=sum(token.id == unknown_id for token in own),
    )


def total(stats: Iterable[TokenStats]) -> TokenStats:
    """Several texts as one: counts are summed, ratios are those of the sums."""
    every = list(stats)
    return _stats(
        tokens=sum(each.tokens for each in every),
        special_tokens=sum(each.special_tokens for each in every),
        words=sum(each.words for each in every),
        characters=sum(each.characters for each in every),
        size=sum(each.bytes for each in every),
        continued_words=sum(each.continued_words for each in every),
        unknown=sum(each.unknown for each in every),
    )


def _stats(
    *, tokens: int, special_tokens: int, words: int, characters: int, size: int, continued_words: int, unknown: int
) -> TokenStats:
    return TokenStats(
        tokens=tokens,
        special_tokens=special_tokens,
        words=words,
        characters=characters,
        bytes=size,
        bytes_per_token=_ratio(size, tokens),
        characters_per_token=_ratio(characters, tokens),
        fertility=_ratio(tokens, words),
        continued_words=continued_words,
        continued_words_share=_ratio(continued_words, words),
        unknown=unknown,
        unknown_share=_ratio(unknown, tokens),
    )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
