"""What `attn tokenize` found. Imports no numpy: the verb must start at once.

For the same reason its values are named tuples, which are defined in a tenth of the time of dataclasses.
"""

from __future__ import annotations

from typing import NamedTuple

from attncli.results.provenance import MadeBy
from attncli.results.tokens import Token

SCHEMA = "attncli.tokenize/1"


class TokenStats(NamedTuple):
    """Counts and ratios of one text; special tokens that the tokenizer added are left out of all but their own count.

    Words are maximal runs of non-space characters. fertility = tokens / words; continued words are those of two or
    more tokens (Rust et al. 2021). A ratio is None where its denominator is 0.
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

    def to_dict(self) -> dict[str, int | float | None]:
        return self._asdict()


class TokenizedText(NamedTuple):
    """One text cut by one model's tokenizer. `record` counts the texts of the call from 0.

    text: None where only ids were given.  pair: the second segment beside it.
    max_length: the number of tokens that the model takes, if it says.
    """

    record: int
    model: str
    text: str | None
    tokens: tuple[Token, ...]
    stats: TokenStats
    max_length: int | None = None
    pair: str | None = None

    @property
    def ids(self) -> list[int]:
        return [token.id for token in self.tokens]

    def to_dict(self) -> dict[str, object]:
        return {
            "record": self.record,
            "model": self.model,
            "text": self.text,
            "pair": self.pair,
            "tokens": [token.to_dict() for token in self.tokens],
            "stats": self.stats.to_dict(),
            "max_length": self.max_length,
        }


class TokenizeResult(NamedTuple):
    """Every text under every model asked for, models outermost."""

    texts: tuple[TokenizedText, ...]
    made_by: MadeBy
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Exactly the JSON that `attn tokenize --json` prints."""
        return {
            "schema": SCHEMA,
            "warnings": list(self.warnings),
            "texts": [text.to_dict() for text in self.texts],
            "made_by": self.made_by.to_dict(),
        }
