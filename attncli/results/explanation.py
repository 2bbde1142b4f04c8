"""The result of `attn tokenize --why`: how a tokenizer came to its tokens, step by step.

The text is split at added tokens into segments, which are normalized, and these into pre-tokens, which the model cuts
into tokens; special tokens are added around them. What the model does with a pre-token is a `Word`, of one class per
kind of model; equal pre-tokens share one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, NamedTuple

from attncli.results.base import struct

if TYPE_CHECKING:
    from attncli.results.marks import FLAT, OPTIONAL, Key, Named


@struct(short=False)
class Entry(NamedTuple):
    """An entry of the vocabulary in its raw form: `Ġmole`, `##les`."""

    id: int
    token: str


@struct()
class Step(NamedTuple):
    """A step of the normalizer or pre-tokenizer: its kind and settings as in the tokenizer's file.

    pre_tokens: how many there are after the step; None for a normalizer.
    """

    kind: str
    settings: Mapping[str, object]
    pre_tokens: Annotated[int | None, OPTIONAL] = None


@struct()
class Segment(NamedTuple):
    """Text between added tokens, which is normalized as a whole.

    start, end: characters of the input.  changes: for each step of the normalizer that changed something, its index
    and the text after it.
    """

    start: int
    end: int
    text: str
    normalized: str
    changes: tuple[Annotated[tuple[int, str], Named(("step", "text"))], ...] = ()


@struct(short=False)
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


@struct(short=False)
class Symbol(NamedTuple):
    """A symbol that BPE starts from: an entry of the vocabulary for the characters `source`.

    how: "character", "byte" (of a character that the vocabulary lacks), "unknown", or "dropped" (there is no unknown
    token either; its id is -1).
    """

    id: int
    token: str
    source: str
    how: str = "character"


@struct(short=False)
class Pair(NamedTuple):
    """Two neighbouring symbols in the table of merges, and their rank in it, from 0."""

    left: str
    right: str
    rank: int


@struct()
class Merge(NamedTuple):
    """A merge that was applied.

    at: the index of the word's original symbol that the left part begins with.
    rival: the pair that would have been merged without this one; None where there was no other, and for long words,
    where it isn't computed.
    """

    pair: Annotated[Pair, FLAT]
    result: str
    at: int
    rival: Pair | None = None


@struct("form tokens whole symbols merges")
class MergedWord(NamedTuple):
    """BPE (Sennrich et al. 2016): of all neighbours, the pair of lowest rank is merged, until none is in the table.

    whole: the vocabulary has the word, and the model takes it at once without merging (`ignore_merges`).
    """

    form: str
    tokens: tuple[Entry, ...]
    symbols: tuple[Symbol, ...] = ()
    merges: tuple[Merge, ...] = ()
    whole: bool = False


@struct()
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


@struct("form tokens too_long unknown matches")
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


@struct(short=False)
class ScoredPiece(NamedTuple):
    """A piece of a path. score: the natural logarithm of its probability; of an unknown character, the penalty."""

    text: str
    score: float
    unknown: bool = False


@struct()
class Path(NamedTuple):
    """A way to cut a word, and the sum of its pieces' scores."""

    score: float
    pieces: tuple[ScoredPiece, ...]


@struct()
class ScoredWord(NamedTuple):
    """Unigram (Kudo 2018): the path with the highest score; `runner_up` is the second best, if there are two."""

    form: str
    tokens: tuple[Entry, ...]
    best: Path
    runner_up: Path | None = None


@struct()
class LookedUpWord(NamedTuple):
    """WordLevel: the word is in the vocabulary, or unknown."""

    form: str
    tokens: tuple[Entry, ...]
    unknown: bool = False


Word = MergedWord | MatchedWord | ScoredWord | LookedUpWord


class CountedWord(NamedTuple):
    """A word, and how often it occurs in the text."""

    word: Annotated[Word, FLAT]
    count: int  # type: ignore[assignment]  # shadows the method of tuples


@struct()
class Model(NamedTuple):
    """The model of a tokenizer: its kind (BPE, WordPiece, Unigram, WordLevel), and its other settings as in its file.

    entries, merges: the sizes of its vocabulary and of its table of merges (None where it has no such table).
    """

    kind: str
    entries: int
    merges: int | None
    settings: Mapping[str, object]


@struct("normalizer segments pre_tokenizer pre_tokens model counted_words template tokens special agrees")
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

    @property
    def counted_words(self) -> Annotated[tuple[CountedWord, ...], Key("words")]:
        """The words with their counts."""
        counts = self.counts()
        return tuple(CountedWord(word, counts[index]) for index, word in enumerate(self.words))
