"""`--why`: the steps from a text to its tokens, computed from the tokenizer's data and checked against its output.

The models of the library `tokenizers` are reproduced here, step by step.

BPE applies merges in the library's order: a heap of pairs by rank and then by position, in which a pair that changed
after it was queued still counts if it makes the same token. A word of n symbols takes O(n log n) steps.

WordPiece takes the longest entry that matches, from the start of a word to its end; WordLevel only whole words.

Unigram finds the two best paths through a word by the scores of their pieces (Viterbi, two best at each position). As
the library does beyond Kudo 2018, a character that is no piece scores 10 less than the lowest score of the vocabulary,
adjacent unknown characters become one token, and of paths with equal scores the one found first wins.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli.errors import UsageError
from attncli.results.explanation import (
    Entry,
    Explanation,
    LookedUpWord,
    Match,
    MatchedWord,
    Merge,
    MergedWord,
    Model,
    Pair,
    Path,
    PreToken,
    ScoredPiece,
    ScoredWord,
    Segment,
    Step,
    Symbol,
    Word,
)
from attncli.tokens.encode import check_text
from attncli.tokens.spans import cover_gaps

if TYPE_CHECKING:
    from attncli.models.tokenizers.pipeline import PreTokenizedText
    from attncli.models.tokenizers.types import Tokenizer


#: The fields of a model's state that aren't settings.
_DATA_FIELDS = frozenset({"type", "vocab", "merges"})


def explain(tokenizer: Tokenizer, text: str, *, special: bool = True) -> Explanation:
    """The steps for one text; for several texts use `Explainer`, which reads the vocabulary once."""
    return Explainer(tokenizer).explain(text, special=special)


class Explainer:
    """Explains a tokenizer's steps, from normalizing the text to adding special tokens.

    The steps are computed from the tokenizer's data; `agrees` in the result says whether they lead to the tokens that
    it gives itself. (They may not if `dropout` skips merges at random.)

    Raises UsageError for a tokenizer that is written in Python, whose steps are unknown.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        if (parts := tokenizer.pipeline()) is None:
            raise UsageError(
                f"{tokenizer.class_name} is written in Python, so its steps can't be explained",
                hint="leave --why out, or use a model with a tokenizer.json",
            )
        self._parts = parts
        state = self._parts.model()
        merges = len(state["merges"]) if "merges" in state else None
        settings = {name: value for name, value in state.items() if name not in _DATA_FIELDS}
        self._facts = Model(state["type"], len(state["vocab"]), merges, settings)
        self._model = _MODEL_TYPES[state["type"]](state)

    def explain(self, text: str, *, special: bool = True) -> Explanation:
        """The steps for one text.  special: add the special tokens that the model expects.

        Raises UsageError for a lone surrogate.
        """
        check_text(text)
        encoding = self._tokenizer.encode(text, special=special)
        cut = self._parts.pre_tokenize(text)
        spans = cover_gaps(text, [each[:2] for each in cut.pre_tokens], self._tokenizer.composer)
        # Each distinct pre-token is split once.
        forms = dict.fromkeys(each.form for each in cut.pre_tokens if each.added is None)
        numbers = {form: number for number, form in enumerate(forms)}
        words = tuple(self._model.explain(form) for form in forms)
        pre_tokens = tuple(
            PreToken(start, end, text[start:end], form, numbers[form] if added is None else None, added)
            for (start, end), (_, _, form, added) in zip(spans, cut.pre_tokens, strict=True)
        )
        own = [
            identifier
            for each in cut.pre_tokens
            for identifier in (
                [entry.id for entry in words[numbers[each.form]].tokens] if each.added is None else [each.added]
            )
        ]
        template = self._parts.template() if special else None
        if template is None:
            ids = [id_ for id_, sequence in zip(encoding.ids, encoding.sequences, strict=True) if sequence is not None]
            expected = own
        else:
            ids = list(encoding.ids)
            expected = [id_ for slot in template for id_ in (own if slot.ids is None else slot.ids)]
        pieces = self._tokenizer.describe(encoding.ids)
        return Explanation(
            normalizer=tuple(Step(*part) for part in self._parts.normalizer),
            segments=tuple(_segments(text, cut)),
            pre_tokenizer=tuple(
                Step(*part, count) for part, count in zip(self._parts.pre_tokenizer, cut.counts, strict=True)
            ),
            pre_tokens=pre_tokens,
            model=self._facts,
            words=words,
            template=None if template is None else tuple(slot.name for slot in template),
            tokens=tuple(
                Entry(id_, "" if piece is None else piece.token)
                for id_, piece in zip(encoding.ids, pieces, strict=True)
            ),
            special=tuple(index for index, sequence in enumerate(encoding.sequences) if sequence is None),
            agrees=ids == expected,
        )


def _segments(text: str, cut: PreTokenizedText) -> Iterator[Segment]:
    for start, end, texts in cut.segments:
        before = text[start:end]
        changes = [(step, after) for step, after in enumerate(texts) if after != ([before, *texts][step])]
        yield Segment(start, end, before, texts[-1] if texts else before, tuple(changes))


# --- How the models split a word


#: BPE: up to so many symbols, each merge also lists the pair with the next lowest rank.
_MOST_SYMBOLS = 64

#: WordPiece: how many candidates that the vocabulary lacks are listed at each position, the longest ones.
_MOST_MISSES = 5

#: Unigram: how much less an unknown character scores than the lowest score.
_PENALTY = 10.0

#: Unigram: how many paths are kept at each position.
_BEST_PATHS = 2


# --- BPE


class _VocabularyExplainer(ABC):
    """A model with a vocabulary of ids by token.  state: the `model` of a tokenizer.json (`vocab`, flags)."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        self._vocabulary: Mapping[str, int] = state["vocab"]
        self._unknown: str | None = state.get("unk_token")
        self._prefix: str = state.get("continuing_subword_prefix") or ""

    @abstractmethod
    def explain(self, word: str) -> Word: ...

    def _entry(self, token: str) -> Entry:
        return Entry(self._vocabulary[token], token)


class BPEExplainer(_VocabularyExplainer):
    """A BPE model, with `merges` in the order of their ranks."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        super().__init__(state)
        self._ranks = {(left, right): rank for rank, (left, right) in enumerate(state["merges"])}
        self._suffix: str = state.get("end_of_word_suffix") or ""
        self._fuse_unknown = bool(state.get("fuse_unk"))
        self._byte_fallback = bool(state.get("byte_fallback"))
        self._ignore_merges = bool(state.get("ignore_merges"))

    def explain(self, word: str) -> MergedWord:
        if self._ignore_merges and word in self._vocabulary:
            return MergedWord(word, (self._entry(word),), whole=True)
        symbols = tuple(self._symbols(word))
        chain = _SymbolChain([symbol.token for symbol in symbols if symbol.how != "dropped"])
        merges = tuple(self._merge_steps(chain))
        return MergedWord(word, tuple(self._entry(token) for token in chain.tokens()), symbols, merges)

    def _symbols(self, word: str) -> Iterator[Symbol]:
        """One symbol for each character; for characters that the vocabulary lacks, their bytes or the unknown token."""
        unknown: Symbol | None = None
        for index, character in enumerate(word):
            prefix = self._prefix if index else ""
            written = prefix + character + (self._suffix if index == len(word) - 1 else "")
            if written in self._vocabulary:
                if unknown is not None:
                    yield unknown
                    unknown = None
                yield Symbol(self._vocabulary[written], written, character)
            elif self._byte_fallback and (tokens := _byte_tokens(written, self._vocabulary)):
                # As in the library: before an unknown token that waits for its end.
                yield from (Symbol(self._vocabulary[token], token, character, "byte") for token in tokens)
            elif self._unknown is None:
                yield Symbol(-1, "", character, "dropped")
            elif unknown is not None and self._fuse_unknown:
                unknown = unknown._replace(source=unknown.source + character)
            else:
                if unknown is not None:
                    yield unknown
                unknown = Symbol(self._vocabulary[self._unknown], self._unknown, character, "unknown")
        if unknown is not None:
            yield unknown

    def _merge_steps(self, chain: _SymbolChain) -> Iterator[Merge]:
        """Merge until there is nothing left to merge; every merge in order."""
        queue: list[tuple[int, int, str]] = []
        for place in range(len(chain)):
            self._queue_pair(queue, chain, place)
        shows_rival = len(chain) <= _MOST_SYMBOLS
        while queue:
            _, place, result = heappop(queue)
            pair = self._pair(chain, place)
            if pair is None or self._result(pair) != result:
                continue
            others = (self._pair(chain, other) for other in chain.places()) if shows_rival else ()
            rivals = (other for other in others if other is not None and other != pair)
            yield Merge(pair, result, place, min(rivals, key=lambda rival: rival.rank, default=None))
            before = chain.merge(place, result)
            if before is not None:
                self._queue_pair(queue, chain, before)
            self._queue_pair(queue, chain, place)

    def _queue_pair(self, queue: list[tuple[int, int, str]], chain: _SymbolChain, place: int) -> None:
        if (pair := self._pair(chain, place)) is not None:
            heappush(queue, (pair.rank, place, self._result(pair)))

    def _pair(self, chain: _SymbolChain, place: int) -> Pair | None:
        """The pair that begins at a position, if there is a merge for it."""
        neighbours = chain.pair(place)
        rank = None if neighbours is None else self._ranks.get(neighbours)
        return None if neighbours is None or rank is None else Pair(*neighbours, rank)

    def _result(self, pair: Pair) -> str:
        return pair.left + pair.right[len(self._prefix) :]


def _byte_tokens(text: str, vocabulary: Mapping[str, int]) -> list[str]:
    """The tokens of the bytes of a text; empty where the vocabulary lacks one."""
    tokens = [f"<0x{byte:02X}>" for byte in text.encode("utf-8")]
    return tokens if all(token in vocabulary for token in tokens) else []


class _SymbolChain:
    """The symbols of a word as a doubly linked list; a merged symbol keeps the position of its left part."""

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
        """The symbol at a position and the one after it; None if one of them was merged away."""
        left, after = self._tokens[place], self._next[place]
        right = self._tokens[after] if after < len(self) else None
        return None if left is None or right is None else (left, right)

    def merge(self, place: int, result: str) -> int | None:
        """Replace a symbol and the one after it by `result`; the position of the symbol before, if any."""
        right = self._next[place]
        self._tokens[place], self._tokens[right] = result, None
        self._next[place] = self._next[right]
        if self._next[right] < len(self):
            self._previous[self._next[right]] = place
        before = self._previous[place]
        return before if before >= 0 else None


# --- WordPiece and WordLevel


class WordPieceExplainer(_VocabularyExplainer):
    """A WordPiece model."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        super().__init__(state)
        self._limit: int = state["max_input_chars_per_word"]

    def explain(self, word: str) -> MatchedWord:
        unknown = (self._entry(str(self._unknown)),)
        if len(word) > self._limit:
            return MatchedWord(word, unknown, too_long=True, unknown=True)
        # One after another; the last one has no token if nothing matches there.
        matches: list[Match] = []
        while (start := matches[-1].end if matches else 0) < len(word):
            matches.append(self._longest(word, start))
            if matches[-1].token is None:
                return MatchedWord(word, unknown, tuple(matches), unknown=True)
        tokens = [match.token for match in matches if match.token is not None]
        return MatchedWord(word, tuple(map(self._entry, tokens)), tuple(matches))

    def _longest(self, word: str, start: int) -> Match:
        prefix = self._prefix if start else ""
        ends = range(len(word), start, -1)
        end = next((end for end in ends if prefix + word[start:end] in self._vocabulary), start)
        missed = ends[: len(word) - end]
        misses = tuple(prefix + word[start:missing] for missing in missed[:_MOST_MISSES])
        return Match(prefix + word[start:end] if end > start else None, start, end, len(missed), misses)


class WordLevelExplainer(_VocabularyExplainer):
    """A WordLevel model."""

    def explain(self, word: str) -> LookedUpWord:
        unknown = word not in self._vocabulary
        return LookedUpWord(word, (self._entry(str(self._unknown) if unknown else word),), unknown)


# --- Unigram


class UnigramExplainer:
    """A Unigram model.  state: the `model` of a tokenizer.json (`vocab`: pairs of piece and score by id)."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        entries: Sequence[tuple[str, float]] = state["vocab"]
        self._ids = {piece: identifier for identifier, (piece, _) in enumerate(entries)}
        self._scores = dict(entries)
        self._unknown: int | None = state.get("unk_id")
        self._unknown_token = "" if self._unknown is None else entries[self._unknown][0]
        self._unknown_score = min((score for _, score in entries), default=0.0) - _PENALTY
        self._byte_fallback = bool(state.get("byte_fallback"))
        longest: dict[str, int] = {}
        for piece in self._ids:
            if len(piece) > longest.get(piece[:1], 0):
                longest[piece[0]] = len(piece)
        self._longest = longest

    def explain(self, word: str) -> ScoredWord:
        paths = self._paths(word)
        best = paths[0]
        return ScoredWord(word, tuple(self._tokens(best)), best, paths[1] if len(paths) > 1 else None)

    def _paths(self, word: str) -> list[Path]:
        """The best path through a word and, if there is one, the second best."""
        arrivals: list[list[_Arrival]] = [[] for _ in range(len(word) + 1)]
        for start in range(len(word)):
            for end, piece in self._pieces(word, start):
                before = [arrival.total for arrival in arrivals[start]] if start else [0.0]
                for rank, total in enumerate(before):
                    _insert_arrival(arrivals[end], _Arrival(piece.score + total, start, rank, piece))
        if not word:
            return [Path(0.0, ())]
        return [Path(each.total, _trace_pieces(arrivals, each)) for each in arrivals[-1]]

    def _pieces(self, word: str, start: int) -> Iterator[tuple[int, ScoredPiece]]:
        """The pieces that begin at a position, short ones first, and where each ends."""
        longest = self._longest.get(word[start], 0)
        for end in range(start + 1, min(start + longest, len(word)) + 1):
            if (score := self._scores.get(word[start:end])) is not None:
                yield end, ScoredPiece(word[start:end], score, self._ids[word[start:end]] == self._unknown)
        if word[start] not in self._ids:
            yield start + 1, ScoredPiece(word[start], self._unknown_score, unknown=True)

    def _tokens(self, path: Path) -> Iterator[Entry]:
        # Unknown neighbours are joined only if the vocabulary has an unknown token.
        for unknown, run in groupby(path.pieces, key=lambda piece: piece.unknown and self._unknown is not None):
            texts = [piece.text for piece in run]
            for text in ["".join(texts)] if unknown else texts:
                written = [text] if text in self._ids else _byte_tokens(text, self._ids) if self._byte_fallback else []
                if not written and self._unknown is not None:
                    yield Entry(self._unknown, self._unknown_token)
                yield from (Entry(self._ids[token], token) for token in written)


class _Arrival(NamedTuple):
    """The last piece of a path: the total score up to here, where the piece begins, and the rank of the path before."""

    total: float
    start: int
    rank: int
    piece: ScoredPiece


def _insert_arrival(arrivals: list[_Arrival], arrival: _Arrival) -> None:
    """Insert an arrival by score, after equal ones, and keep the best."""
    place = sum(other.total >= arrival.total for other in arrivals)
    arrivals.insert(place, arrival)
    del arrivals[_BEST_PATHS:]


def _trace_pieces(arrivals: Sequence[Sequence[_Arrival]], last: _Arrival) -> tuple[ScoredPiece, ...]:
    """The pieces of the path that ends with `last`, traced back from there."""
    pieces = [last.piece]
    while last.start:
        last = arrivals[last.start][last.rank]
        pieces.append(last.piece)
    return tuple(reversed(pieces))


#: The models of the library `tokenizers`, by their `type` in a tokenizer.json.
_MODEL_TYPES: Mapping[str, Callable[[Mapping[str, Any]], _VocabularyExplainer | UnigramExplainer]] = {
    "BPE": BPEExplainer,
    "WordPiece": WordPieceExplainer,
    "Unigram": UnigramExplainer,
    "WordLevel": WordLevelExplainer,
}
