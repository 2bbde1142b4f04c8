"""What the tokens of one text add up to: the counts and ratios of `TokenStats`.

Special tokens that the tokenizer added are left out of all but their own count; words are maximal runs of non-space
characters. With t tokens, w words and b UTF-8 bytes: fertility = t/w, the share of continued words = words of two or
more tokens / w (Rust et al. 2021), bytes per token = b/t, the share of unknown tokens = unknown tokens / t. Where most
letters are of scripts that put no spaces between words, what is counted by word is None: there are none to count.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from attncli.results.tokenize import TokenStats
from attncli.tokens.encode import EncodedText
from attncli.tokens.spans import Words

#: Where the blocks of those scripts are, roughly: a text without any of these need not be looked at closer.
_MAY_BE_UNSPACED = re.compile(
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
    words, continued = sum(len(Words(text)) for text in texts), sum(count > 1 for count in sizes.values())
    by_word = words if _has_words(texts) else 0
    unknown = sum(token.id == unknown_id for token in own)
    return TokenStats(
        tokens=len(own),
        special_tokens=len(encoded.tokens) - len(own),
        words=words,
        characters=characters,
        bytes=size,
        bytes_per_token=_ratio(size, len(own)) if texts else None,
        characters_per_token=_ratio(characters, len(own)) if texts else None,
        fertility=_ratio(len(own), by_word),
        continued_words=continued,
        continued_words_share=_ratio(continued, by_word),
        unknown=unknown,
        unknown_share=_ratio(unknown, len(own)),
    )


def _has_words(texts: Sequence[str]) -> bool:
    """Whether most letters are of scripts that put spaces between words."""
    if not any(_MAY_BE_UNSPACED.search(text) for text in texts):
        return True
    # Knowing the scripts takes a while to import, which few texts need.
    from attncli.tokens.scripts import NEUTRAL, UNSPACED, script_runs

    runs = [run for text in texts for run in script_runs(text) if run.script not in NEUTRAL]
    unspaced = sum(run.end - run.start for run in runs if run.script in UNSPACED)
    return 2 * unspaced <= sum(run.end - run.start for run in runs)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
