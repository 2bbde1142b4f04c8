"""WordPiece: the longest entry that matches, from the start of a word to its end; and WordLevel: the whole word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attncli.results.explanation import Entry, LookedUpWord, Match, MatchedWord

#: So many candidates that the vocabulary lacks are named at each place, the longest ones.
_NAMED = 5


class LongestMatch:
    """A WordPiece model.  state: as a tokenizer.json has it."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        self._vocabulary: Mapping[str, int] = state["vocab"]
        self._unknown: str = state["unk_token"]
        self._prefix: str = state["continuing_subword_prefix"]
        self._limit: int = state["max_input_chars_per_word"]

    def explain(self, word: str) -> MatchedWord:
        if len(word) > self._limit:
            return MatchedWord(word, (self._entry(self._unknown),), too_long=True, unknown=True)
        matches = tuple(self._matches(word))
        tokens = [match.token for match in matches if match.token is not None]
        if len(tokens) < len(matches):
            return MatchedWord(word, (self._entry(self._unknown),), matches, unknown=True)
        return MatchedWord(word, tuple(map(self._entry, tokens)), matches)

    def _entry(self, token: str) -> Entry:
        return Entry(self._vocabulary[token], token)

    def _matches(self, word: str) -> Iterator[Match]:
        """A match after another; the last one has no token where nothing matches."""
        start = 0
        while start < len(word):
            match = self._longest(word, start)
            yield match
            if match.token is None:
                return
            start = match.end

    def _longest(self, word: str, start: int) -> Match:
        prefix = self._prefix if start else ""
        ends = range(len(word), start, -1)
        end = next((end for end in ends if prefix + word[start:end] in self._vocabulary), start)
        missed = ends[: len(word) - end]
        misses = tuple(prefix + word[start:missing] for missing in missed[:_NAMED])
        return Match(prefix + word[start:end] if end > start else None, start, end, len(missed), misses)


class WholeWord:
    """A WordLevel model.  state: as a tokenizer.json has it."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        self._vocabulary: Mapping[str, int] = state["vocab"]
        self._unknown: str = state["unk_token"]

    def explain(self, word: str) -> LookedUpWord:
        unknown = word not in self._vocabulary
        token = self._unknown if unknown else word
        return LookedUpWord(word, (Entry(self._vocabulary[token], token),), unknown)
