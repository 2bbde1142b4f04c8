"""Unigram: the two best paths through a word, by the scores of their pieces (Viterbi, two best at each place).

What the library `tokenizers` does on top of Kudo 2018 is kept: a character that is no piece of its own costs the
lowest score of the vocabulary less 10, neighbours that are unknown become one token, and of two paths with the same
score the one that was found first wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from attncli.results.explanation import Entry, Path, Scored, ScoredWord

#: What an unknown character costs beyond the lowest score.
_PENALTY = 10.0

#: How many paths are kept at each place.
_KEPT = 2


class _Arrival(NamedTuple):
    """A path's last piece: its total score so far, where the piece begins, and which path to that place it goes on."""

    total: float
    start: int
    rank: int
    piece: Scored


class BestPath:
    """A Unigram model.  state: as a tokenizer.json has it (`vocab`: pairs of piece and score, in the order of ids)."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        entries: Sequence[tuple[str, float]] = state["vocab"]
        self._ids = {piece: identifier for identifier, (piece, _) in enumerate(entries)}
        self._scores = dict(entries)
        self._unknown: int | None = state.get("unk_id")
        self._unknown_token = "" if self._unknown is None else entries[self._unknown][0]
        self._unknown_score = min((score for _, score in entries), default=0.0) - _PENALTY
        self._falls_back = bool(state.get("byte_fallback"))
        self._longest = _longest(self._ids)

    def explain(self, word: str) -> ScoredWord:
        paths = self._paths(word)
        best = paths[0]
        return ScoredWord(word, tuple(self._tokens(best)), best, paths[1] if len(paths) > 1 else None)

    def _paths(self, word: str) -> list[Path]:
        """The best path through a word and the second best, if there are two."""
        arrivals: list[list[_Arrival]] = [[] for _ in range(len(word) + 1)]
        for start in range(len(word)):
            for end, piece in self._pieces(word, start):
                before = [arrival.total for arrival in arrivals[start]] if start else [0.0]
                for rank, total in enumerate(before):
                    _arrive(arrivals[end], _Arrival(piece.score + total, start, rank, piece))
        return [_walked(arrivals, rank) for rank in range(len(arrivals[-1]))] if word else [Path(0.0, ())]

    def _pieces(self, word: str, start: int) -> Iterator[tuple[int, Scored]]:
        """The pieces that begin at a place, short ones first, and where each ends."""
        longest = self._longest.get(word[start], 0)
        for end in range(start + 1, min(start + longest, len(word)) + 1):
            if (score := self._scores.get(word[start:end])) is not None:
                yield end, Scored(word[start:end], score, self._ids[word[start:end]] == self._unknown)
        if word[start] not in self._ids:
            yield start + 1, Scored(word[start], self._unknown_score, unknown=True)

    def _tokens(self, path: Path) -> Iterator[Entry]:
        # Without an unknown token in the vocabulary, nothing is put together.
        for unknown, run in groupby(path.pieces, key=lambda piece: piece.unknown and self._unknown is not None):
            texts = [piece.text for piece in run]
            for text in ["".join(texts)] if unknown else texts:
                yield from self._entries(text)

    def _entries(self, text: str) -> list[Entry]:
        if text in self._ids:
            return [Entry(self._ids[text], text)]
        written = [f"<0x{byte:02X}>" for byte in text.encode("utf-8")] if self._falls_back else []
        if written and all(token in self._ids for token in written):
            return [Entry(self._ids[token], token) for token in written]
        return [] if self._unknown is None else [Entry(self._unknown, self._unknown_token)]


def _longest(pieces: Mapping[str, int]) -> dict[str, int]:
    """For each character that begins a piece, the length of the longest one."""
    longest: dict[str, int] = {}
    for piece in pieces:
        if len(piece) > longest.get(piece[:1], 0):
            longest[piece[0]] = len(piece)
    return longest


def _arrive(arrivals: list[_Arrival], arrival: _Arrival) -> None:
    """Keep the best ones, the first of equal ones in front."""
    place = sum(other.total >= arrival.total for other in arrivals)
    arrivals.insert(place, arrival)
    del arrivals[_KEPT:]


def _walked(arrivals: Sequence[Sequence[_Arrival]], rank: int) -> Path:
    """A path from its end to its start, turned round."""
    place = len(arrivals) - 1
    total = arrivals[place][rank].total
    pieces: list[Scored] = []
    while place:
        arrival = arrivals[place][rank]
        pieces.append(arrival.piece)
        place, rank = arrival.start, arrival.rank
    return Path(total, tuple(reversed(pieces)))
