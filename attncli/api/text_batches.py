"""Group a stream of texts by length, tokenize them, and split them into batches for the model.

The groups depend only on the texts. So several processes that share the texts form the same groups without
communicating, and a group gives the same numbers in each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from attncli.errors import AttnError, UsageError
from attncli.results.tokens import Token
from attncli.tokens.encode import check_text, from_ids

if TYPE_CHECKING:
    from attncli.models.tokenizers.types import Tokenizer

#: The most texts that are sorted by length at a time, and the most characters in them.
_WINDOW_TEXTS, _WINDOW_CHARACTERS = 2048, 1 << 22

#: The most texts of a group, and the most characters, padding counted.
_GROUP_TEXTS, _GROUP_CHARACTERS = 32, 1 << 14

#: Characters in a token, roughly.
_CHARACTERS_PER_TOKEN = 4

#: The most tokens in a batch, padding counted, unless a single text has more.
BATCH_TOKENS = 4096


class LocatedText(NamedTuple):
    """One of many texts, or its ids; `place` is how messages refer to it: `line 7 of notes.txt`."""

    place: str
    text: str | None = None
    ids: Sequence[int] | None = None

    @property
    def size(self) -> int:
        """Characters, or about as many as the ids would have."""
        return len(self.text or "") if self.ids is None else _CHARACTERS_PER_TOKEN * len(self.ids)


class TextTokens(NamedTuple):
    """The tokens of one of many texts and their segment ids (`token_type_ids`); the tokens have no offsets."""

    tokens: tuple[Token, ...]
    segments: tuple[int, ...]


def group_by_length(texts: Iterable[LocatedText]) -> Iterator[list[LocatedText]]:
    """The texts in groups of similar length, so that there is little padding.

    They are sorted within a window, the longest first, so that running out of memory shows early.
    """
    for window in _windows(iter(texts)):
        window.sort(key=lambda given: -given.size)
        while window:
            fitting = max(1, _GROUP_CHARACTERS // max(1, window[0].size))
            count = min(fitting, _GROUP_TEXTS)
            yield window[:count]
            del window[:count]


def _windows(texts: Iterator[LocatedText]) -> Iterator[list[LocatedText]]:
    window: list[LocatedText] = []
    held = 0
    for given in texts:
        window.append(given)
        held += given.size
        if len(window) >= _WINDOW_TEXTS or held >= _WINDOW_CHARACTERS:
            yield window
            window, held = [], 0
    if window:
        yield window


def split_batches(texts: Sequence[TextTokens]) -> Iterator[list[TextTokens]]:
    """A group's texts, the longest first, in batches of at most `BATCH_TOKENS` tokens, or of one text.

    Needed because groups count characters, which only estimate tokens.
    """
    rest = iter(sorted(texts, key=lambda text: -len(text.tokens)))
    for longest in rest:
        yield [longest, *islice(rest, max(1, BATCH_TOKENS // len(longest.tokens)) - 1)]


class BatchTokenizer:
    """Tokenizes texts for batches, and counts the texts that were truncated (`shortened`) or left out (`empty`).

    tokenizer: None where all texts are ids.  special: add special tokens.  limit: how many tokens the model takes.
    """

    def __init__(
        self, tokenizer: Tokenizer | None, *, special: bool = True, truncate: bool = False, limit: int | None = None
    ) -> None:
        self._tokenizer = tokenizer
        self._special = special
        self._truncate = truncate
        own = None if tokenizer is None else tokenizer.max_length
        self.limit = min((each for each in (own, limit) if each is not None), default=None)
        self.empty = self.shortened = 0
        self._special_ids: dict[int, bool] = {}

    def tokenize(self, given: LocatedText) -> TextTokens | None:
        """The tokens of a text; None where it has none, or only white space.

        Raises UsageError, with the place, for one that is too long and may not be cut, and for a lone surrogate.
        """
        try:
            encoded = None if given.ids is None and not (given.text or "").strip() else self._encode_to_fit(given)
        except AttnError as error:
            error.message = f"{given.place}: {error.message}"
            raise
        if encoded is None or not encoded.tokens:
            self.empty += 1
            return None
        return encoded

    def _encode_to_fit(self, given: LocatedText) -> TextTokens:
        encoded = self._encode(given)
        if self.limit is None or len(encoded.tokens) <= self.limit:
            return encoded
        if not self._truncate:
            raise UsageError(
                f"the text has {len(encoded.tokens):,} tokens and the model takes {self.limit:,}",
                hint="--truncate cuts it to fit",
            )
        self.shortened += 1
        encoded = self._encode(given, truncate=True)
        return TextTokens(encoded.tokens[: self.limit], encoded.segments[: self.limit])

    def _encode(self, given: LocatedText, *, truncate: bool = False) -> TextTokens:
        if given.ids is not None:
            encoded = from_ids(self._tokenizer, given.ids)
            return TextTokens(encoded.tokens, encoded.segments)
        assert self._tokenizer is not None and given.text is not None
        check_text(given.text)
        encoding = self._tokenizer.encode(given.text, special=self._special, truncate=truncate)
        marks = zip(encoding.ids, encoding.sequences, strict=True)
        tokens = (
            Token(index, identifier, "", "", special=sequence is None or self._is_special(identifier))
            for index, (identifier, sequence) in enumerate(marks)
        )
        return TextTokens(tuple(tokens), tuple(encoding.segments))

    def _is_special(self, identifier: int) -> bool:
        """Whether the vocabulary calls an id special, looked up once for each."""
        if identifier not in self._special_ids:
            assert self._tokenizer is not None
            (piece,) = self._tokenizer.describe([identifier])
            self._special_ids[identifier] = piece is not None and piece.special
        return self._special_ids[identifier]
