"""BPE: the symbols that a word starts from, and the merges in the order in which they apply.

The order is that of the library `tokenizers`: a heap of pairs by rank and then by place, in which a pair that has
changed since it was put there still counts where it makes the same token. A word of n symbols takes n log n steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from heapq import heappop, heappush
from typing import Any

from attncli.results.explanation import Entry, Merge, MergedWord, Pair, Symbol

#: Up to so many symbols, the pair that came second is looked for at each merge.
_RIVALS = 64


class Merging:
    """A BPE model.  state: as a tokenizer.json has it (`vocab`, `merges` in the order of their ranks, flags)."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        self._vocabulary: Mapping[str, int] = state["vocab"]
        self._ranks = {(left, right): rank for rank, (left, right) in enumerate(state["merges"])}
        self._prefix: str = state.get("continuing_subword_prefix") or ""
        self._suffix: str = state.get("end_of_word_suffix") or ""
        self._unknown: str | None = state.get("unk_token")
        self._fuses = bool(state.get("fuse_unk"))
        self._falls_back = bool(state.get("byte_fallback"))
        self._takes_whole = bool(state.get("ignore_merges"))

    def explain(self, word: str) -> MergedWord:
        if self._takes_whole and word in self._vocabulary:
            return MergedWord(word, (self._entry(word),), whole=True)
        symbols = tuple(self._symbols(word))
        chain = _Chain([symbol.token for symbol in symbols if symbol.how != "dropped"])
        merges = tuple(self._merged(chain))
        return MergedWord(word, tuple(self._entry(token) for token in chain.tokens()), symbols, merges)

    def _entry(self, token: str) -> Entry:
        return Entry(self._vocabulary[token], token)

    def _symbols(self, word: str) -> Iterator[Symbol]:
        """One symbol a character; for those that the vocabulary lacks, their bytes, or the unknown token."""
        unknown: Symbol | None = None
        for index, character in enumerate(word):
            prefix = self._prefix if index else ""
            written = prefix + character + (self._suffix if index == len(word) - 1 else "")
            if written in self._vocabulary:
                if unknown is not None:
                    yield unknown
                    unknown = None
                yield Symbol(self._vocabulary[written], written, character)
            elif found := self._bytes(written, character):
                yield from found
            elif self._unknown is None:
                yield Symbol(-1, "", character, "dropped")
            elif unknown is not None and self._fuses:
                unknown = unknown._replace(source=unknown.source + character)
            else:
                if unknown is not None:
                    yield unknown
                unknown = Symbol(self._vocabulary[self._unknown], self._unknown, character, "unknown")
        if unknown is not None:
            yield unknown

    def _bytes(self, written: str, source: str) -> list[Symbol]:
        """A character as the tokens of its bytes, if it may be and if there is one for each."""
        if not self._falls_back:
            return []
        tokens = [f"<0x{byte:02X}>" for byte in written.encode("utf-8")]
        if not all(token in self._vocabulary for token in tokens):
            return []
        return [Symbol(self._vocabulary[token], token, source, "byte") for token in tokens]

    def _merged(self, chain: _Chain) -> Iterator[Merge]:
        """Merge until there is nothing to merge, and tell each."""
        waiting: list[tuple[int, int, str]] = []
        for place in range(len(chain)):
            self._wait(waiting, chain, place)
        watched = len(chain) <= _RIVALS
        while waiting:
            _, place, result = heappop(waiting)
            pair = self._pair(chain, place)
            if pair is None or self._result(pair) != result:
                continue
            yield Merge(pair, result, place, self._rival(chain, pair) if watched else None)
            before = chain.merge(place, result)
            if before is not None:
                self._wait(waiting, chain, before)
            self._wait(waiting, chain, place)

    def _wait(self, waiting: list[tuple[int, int, str]], chain: _Chain, place: int) -> None:
        if (pair := self._pair(chain, place)) is not None:
            heappush(waiting, (pair.rank, place, self._result(pair)))

    def _pair(self, chain: _Chain, place: int) -> Pair | None:
        """The pair that begins at a place, if it is in the table."""
        neighbours = chain.pair(place)
        rank = None if neighbours is None else self._ranks.get(neighbours)
        return None if neighbours is None or rank is None else Pair(*neighbours, rank)

    def _result(self, pair: Pair) -> str:
        return pair.left + pair.right[len(self._prefix) :]

    def _rival(self, chain: _Chain, winner: Pair) -> Pair | None:
        pairs = (self._pair(chain, place) for place in chain.places())
        others = (pair for pair in pairs if pair is not None and pair != winner)
        return min(others, key=lambda pair: pair.rank, default=None)


class _Chain:
    """Symbols of which neighbours merge: each keeps the place of its first part, and knows the next and the last."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens: list[str | None] = [*tokens]
        self._next = list(range(1, len(tokens) + 1))
        self._previous = list(range(-1, len(tokens) - 1))

    def __len__(self) -> int:
        return len(self._tokens)

    def places(self) -> Iterator[int]:
        return (place for place, token in enumerate(self._tokens) if token is not None)

    def tokens(self) -> Iterator[str]:
        return (token for token in self._tokens if token is not None)

    def pair(self, place: int) -> tuple[str, str] | None:
        """The symbol at a place and the one after it; None where one of them is gone."""
        left, after = self._tokens[place], self._next[place]
        right = self._tokens[after] if after < len(self) else None
        return None if left is None or right is None else (left, right)

    def merge(self, place: int, result: str) -> int | None:
        """Put `result` for a symbol and the one after it, and give the place of the one before."""
        gone = self._next[place]
        self._tokens[place], self._tokens[gone] = result, None
        self._next[place] = self._next[gone]
        if self._next[gone] < len(self):
            self._previous[self._next[gone]] = place
        before = self._previous[place]
        return before if before >= 0 else None
