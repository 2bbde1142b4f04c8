"""The result of `attn tokenize --why`: how a tokenizer came to its tokens, step by step.

The text is split at added tokens into segments, which are normalized, and these into pre-tokens, which the model cuts
into tokens; special tokens are added around them. What the model does with a pre-token is a `Word`, of one class per
kind of model; equal pre-tokens share one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from attncli.results.base import short_repr


class Entry(NamedTuple):
    """An entry of the vocabulary in its raw form: `Ġmole`, `##les`."""

    id: int
    token: str

    def to_dict(self) -> dict[str, object]:
        return self._asdict()


@short_repr
class Step(NamedTuple):
    """A step of the normalizer or pre-tokenizer: its kind and settings as in the tokenizer's file.

    pre_tokens: how many there are after the step; None for a normalizer.
    """

    kind: str
    settings: Mapping[str, object]
    pre_tokens: int | None = None

    def to_dict(self) -> dict[str, object]:
        counted = {} if self.pre_tokens is None else {"pre_tokens": self.pre_tokens}
        return {"kind": self.kind, "settings": dict(self.settings), **counted}


@short_repr
class Segment(NamedTuple):
    """Text between added tokens, which is normalized as a whole.

    start, end: characters of the input.  changes: for each step of the normalizer that changed something, its index
    and the text after it.
    """

    start: int
    end: int
    text: str
    normalized: str
    changes: tuple[tuple[int, str], ...] = ()

    def to_dict(self) -> dict[str, object]:
        changes = [{"step": step, "text": text} for step, text in self.changes]
        return {**self._asdict(), "changes": changes}


class PreToken(NamedTuple):
    """A unit that the model cuts separately; or an added token in the text, which the model doesn't see.

    start, end: characters of the input, `text`.  form: the same after normalization, the model's input (`Ġmole`).
    word: the index of its `Word`.  added: the id of an added token.
    """

    start: int
    end: int
    text: str
    form: str
    word: int | None = None
    added: int | None = None

    def to_dict(self) -> dict[str, object]:
        return self._asdict()


class Symbol(NamedTuple):
    """A symbol that BPE starts from: an entry of the vocabulary for the characters `source`.

    how: "character", "byte" (of a character that the vocabulary lacks), "unknown", or "dropped" (there is no unknown
    token either; its id is -1).
    """

    id: int
    token: str
    source: str
    how: str = "character"

    def to_dict(self) -> dict[str, object]:
        return self._asdict()


class Pair(NamedTuple):
    """Two neighbouring symbols in the table of merges, and their rank in it, from 0."""

    left: str
    right: str
    rank: int

    def to_dict(self) -> dict[str, object]:
        return self._asdict()


@short_repr
class Merge(NamedTuple):
    """A merge that was applied.

    at: the index of the word's original symbol that the left part begins with.
    rival: the pair that would have been merged without this one; None where there was no other, and for long words,
    where it isn't computed.
    """

    pair: Pair
    result: str
    at: int
    rival: Pair | None = None

    def to_dict(self) -> dict[str, object]:
        rival = None if self.rival is None else self.rival.to_dict()
        return {**self.pair.to_dict(), "result": self.result, "at": self.at, "rival": rival}


@short_repr
class MergedWord(NamedTuple):
    """BPE (Sennrich et al. 2016): of all neighbours, the pair of lowest rank is merged, until none is in the table.

    whole: the vocabulary has the word, and the model takes it at once without merging (`ignore_merges`).
    """

    form: str
    tokens: tuple[Entry, ...]
    symbols: tuple[Symbol, ...] = ()
    merges: tuple[Merge, ...] = ()
    whole: bool = False

    def to_dict(self) -> dict[str, object]:
        return {
            **_word_fields(self),
            "whole": self.whole,
            "symbols": [symbol.to_dict() for symbol in self.symbols],
            "merges": [merge.to_dict() for merge in self.merges],
        }


@short_repr
class Match(NamedTuple):
    """The longest matching entry at a position of a word, or none.

    start, end: characters of the word.  missed: how many longer candidates aren't in the vocabulary.  misses: the
    longest few of them.
    """

    token: str | None
    start: int
    end: int
    missed: int
    misses: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        return {**self._asdict(), "misses": list(self.misses)}


@short_repr
class MatchedWord(NamedTuple):
    """WordPiece: the longest entry that begins the word, then the longest that continues it, and so on.

    too_long: the word has more characters than the model accepts.  unknown: it became one unknown token, as it is too
    long or no entry matched (the last of `matches`).
    """

    form: str
    tokens: tuple[Entry, ...]
    matches: tuple[Match, ...] = ()
    too_long: bool = False
    unknown: bool = False

    def to_dict(self) -> dict[str, object]:
        matches = [match.to_dict() for match in self.matches]
        return {**_word_fields(self), "too_long": self.too_long, "unknown": self.unknown, "matches": matches}


class ScoredPiece(NamedTuple):
    """A piece of a path. score: the natural logarithm of its probability; of an unknown character, the penalty."""

    text: str
    score: float
    unknown: bool = False

    def to_dict(self) -> dict[str, object]:
        return self._asdict()


@short_repr
class Path(NamedTuple):
    """A way to cut a word, and the sum of its pieces' scores."""

    score: float
    pieces: tuple[ScoredPiece, ...]

    def to_dict(self) -> dict[str, object]:
        return {"score": self.score, "pieces": [piece.to_dict() for piece in self.pieces]}


@short_repr
class ScoredWord(NamedTuple):
    """Unigram (Kudo 2018): the path with the highest score; `runner_up` is the second best, if there are two."""

    form: str
    tokens: tuple[Entry, ...]
    best: Path
    runner_up: Path | None = None

    def to_dict(self) -> dict[str, object]:
        runner_up = None if self.runner_up is None else self.runner_up.to_dict()
        return {**_word_fields(self), "best": self.best.to_dict(), "runner_up": runner_up}


@short_repr
class LookedUpWord(NamedTuple):
    """WordLevel: the word is in the vocabulary, or unknown."""

    form: str
    tokens: tuple[Entry, ...]
    unknown: bool = False

    def to_dict(self) -> dict[str, object]:
        return {**_word_fields(self), "unknown": self.unknown}


Word = MergedWord | MatchedWord | ScoredWord | LookedUpWord


@short_repr
class Model(NamedTuple):
    """The model of a tokenizer: its kind (BPE, WordPiece, Unigram, WordLevel), and its other settings as in its file.

    entries, merges: the sizes of its vocabulary and of its table of merges (None where it has no such table).
    """

    kind: str
    entries: int
    merges: int | None
    settings: Mapping[str, object]

    def to_dict(self) -> dict[str, object]:
        return {**self._asdict(), "settings": dict(self.settings)}


@short_repr
class Explanation(NamedTuple):
    """How a tokenizer came to the tokens of one text.

    template: the special tokens around the text, which is `$A` in it; None where none were requested, and where the
    post-processor has no single template.
    tokens: the final tokens; special: the indices of special ones.
    agrees: whether these are the tokens that the tokenizer itself gives.
    """

    normalizer: tuple[Step, ...]
    segments: tuple[Segment, ...]
    pre_tokenizer: tuple[Step, ...]
    pre_tokens: tuple[PreToken, ...]
    model: Model
    words: tuple[Word, ...]
    template: tuple[str, ...] | None
    tokens: tuple[Entry, ...]
    special: tuple[int, ...]
    agrees: bool

    def counts(self) -> Counter[int]:
        """How often each word, by its index, occurs in the text."""
        return Counter(pre_token.word for pre_token in self.pre_tokens if pre_token.word is not None)

    def to_dict(self) -> dict[str, object]:
        counts = self.counts()
        return {
            "normalizer": [step.to_dict() for step in self.normalizer],
            "segments": [segment.to_dict() for segment in self.segments],
            "pre_tokenizer": [step.to_dict() for step in self.pre_tokenizer],
            "pre_tokens": [pre_token.to_dict() for pre_token in self.pre_tokens],
            "model": self.model.to_dict(),
            "words": [{**word.to_dict(), "count": counts[index]} for index, word in enumerate(self.words)],
            "template": None if self.template is None else list(self.template),
            "tokens": [entry.to_dict() for entry in self.tokens],
            "special": list(self.special),
            "agrees": self.agrees,
        }


def _word_fields(word: Word) -> dict[str, object]:
    return {"form": word.form, "tokens": [entry.to_dict() for entry in word.tokens]}
