"""What the tokens of one text add up to: the counts and ratios of `TokenStats`.

Special tokens that the tokenizer added are left out of all but their own count; words are maximal runs of non-space
characters. With t tokens, w words and b UTF-8 bytes: fertility = t/w, the share of continued words = words of two or
more tokens / w (Rust et al. 2021), bytes per token = b/t, the share of unknown tokens = unknown tokens / t. Fertility
and continued words leave out what is in scripts that put no spaces between words, as there are none to count.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from attncli.results.tokenize import TokenStats
from attncli.results.tokens import Token
from attncli.tokens.encode import EncodedText
from attncli.tokens.spans import Words

#: Where the blocks of those scripts are, roughly: a text without any of these need not be looked at closer.
_MAY_BE_UNSPACED = (
    "[\u0e00-\u109f\u1780-\u1aaf\u1b00-\u1b7f\u2e80-\ua4cf\ua980-\uaadf\uf900-\ufaff\uff66-\uff9f"
    "\U00011700-\U0001174f\U00016fe0-\U0001b2ff\U00020000-\U0003ffff]"
)


def measure(encoded: EncodedText, texts: Sequence[str] = (), *, unknown_id: int | None = None) -> TokenStats:
    """The counts and ratios of one text.

    texts: the text, and the pair beside it; none for ids that came without a text.
    unknown_id: the id of the tokenizer's unknown token, if it has one.
    """
    placed = list(zip(encoded.sequences, encoded.tokens, strict=True))
    own = [token for sequence, token in placed if sequence is not None or not token.special]
    sizes = Counter((sequence, token.word) for sequence, token in placed if token.word is not None)
    characters, size = sum(map(len, texts)), sum(len(text.encode("utf-8")) for text in texts)
    words = sum(len(Words(text)) for text in texts)
    counted = _Counted(len(own), words, sum(count > 1 for count in sizes.values()))
    spaced = _where_spaces_part(placed, texts) if any(map(_may_be_unspaced, texts)) else counted
    unknown = sum(token.id == unknown_id for token in own)
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
        unknown=unknown,
        unknown_share=_ratio(unknown, len(own)),
    )


class _Counted(NamedTuple):
    tokens: int
    words: int
    continued: int


def _may_be_unspaced(text: str) -> bool:
    # Compiled when a text needs it: that takes as long as all else here.
    return not text.isascii() and re.search(_MAY_BE_UNSPACED, text) is not None


def _where_spaces_part(placed: Sequence[tuple[int | None, Token]], texts: Sequence[str]) -> _Counted:
    """Tokens and words of those parts of the texts that are in scripts with spaces, as `--stats` counts them."""
    # Knowing the scripts takes a while to import, which few texts need.
    from attncli.tokens.by_script import count_by_script
    from attncli.tokens.scripts import UNSPACED

    runs = []
    for number, text in enumerate(texts):
        own = [token for sequence, token in placed if sequence == number]
        spans = [None if token.start is None or token.end is None else (token.start, token.end) for token in own]
        runs += [run for run in count_by_script(text, spans, [False] * len(own)).runs if run.script not in UNSPACED]
    return _Counted(sum(run.tokens for run in runs), sum(run.words for run in runs), sum(run.continued for run in runs))


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
