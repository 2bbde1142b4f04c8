"""`--stats`: statistics of a tokenizer over many texts, added up text by text, and comparisons between tokenizers."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from attncli.results.statistics import (
    CutWord,
    Parity,
    ScriptStatistics,
    TextLengths,
    TokenizerStatistics,
    TotalStatistics,
)
from attncli.results.tokenize import MUCH_UNKNOWN
from attncli.tokens.encode import align
from attncli.tokens.scripts import UNSPACED, RunCounts, add_counts, count_by_script
from attncli.tokens.spans import cover_gaps, covered_text, empty_added_spaces, ratio, shared_starts

if TYPE_CHECKING:
    from attncli.models.tokenizers.types import Encoding, Tokenizer

Span = tuple[int, int]

#: The order of the Rényi entropy that correlates best with model performance (Zouhar et al. 2023).
ALPHA = 2.5

#: With fewer tokens most occur once, so that their evenness means nothing.
_ENOUGH_TOKENS = 1000

#: How many of the words with the most tokens are listed.
_MOST_SPLIT = 5

#: How many characters of such a word are kept, as a file without spaces is a single word.
_LONGEST_WORD = 100


class Statistics:
    """The statistics of one model's tokenizer over texts that are added one by one.

    tokenizer: None where ids have no tokenizer.  Memory grows with the vocabulary and the longest text, not with the
    number of texts.
    """

    def __init__(self, model: str, tokenizer: Tokenizer | None) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._unknown_id = tokenizer.unknown_id if tokenizer is not None else None
        self._limit = tokenizer.max_length if tokenizer is not None else None
        self._special: dict[int, bool] = {}
        self._scripts: dict[str, RunCounts] = {}
        self._bare = RunCounts("")
        self._special_tokens = 0
        self._used: Counter[int] = Counter()
        self._lengths: Counter[int] = Counter()
        self._longer = 0
        self._most_split = _MostSplitWords()

    def add(self, encoding: Encoding, texts: Sequence[str] = (), *, truncated: bool = False) -> None:
        """Count one text.

        texts: the text, and its pair if any; empty for ids that were given without a text.
        truncated: whether truncation was on; then only the part that the tokens cover is counted.
        """
        self._lengths[len(encoding.ids)] += 1
        longer = self._limit is not None and len(encoding.ids) > self._limit
        if not texts:
            self._add_bare(encoding.ids)
        own = 0
        for number, text in enumerate(texts):
            ids = [id_ for id_, sequence in zip(encoding.ids, encoding.sequences, strict=True) if sequence == number]
            spans = self._spans(text, ids, encoding, number)
            if truncated and len(encoding.ids) == self._limit:
                text, spans, cut = covered_text(text, spans)
                longer = longer or cut
            self._used.update(ids)
            counted = count_by_script(text, spans, [id_ == self._unknown_id for id_ in ids])
            self._most_split.add(text, counted.words, counted.pieces)
            for run in counted.runs:
                self._scripts[run.script] = add_counts(run.script, [self._scripts.get(run.script, RunCounts("")), run])
            own += len(ids)
        if texts:
            self._special_tokens += len(encoding.ids) - own
        self._longer += longer

    def result(self) -> TokenizerStatistics:
        """The statistics of all texts so far."""
        scripts = sorted(self._scripts.items(), key=lambda item: (-item[1].characters, item[0]))
        return TokenizerStatistics(
            model=self._model,
            texts=self._lengths.total(),
            vocabulary_size=self._tokenizer.vocabulary_size if self._tokenizer is not None else None,
            total=self._total(),
            scripts=tuple(_script_statistics(name, counts) for name, counts in scripts if counts.characters),
            lengths=TextLengths(*_length_range(self._lengths), longer=self._longer, max_length=self._limit),
            most_cut_words=self._most_split.words(),
        )

    def _add_bare(self, ids: Sequence[int]) -> None:
        """Count ids without a text; special tokens are those that the vocabulary calls special."""
        special = [self._is_special(id_) for id_ in ids]
        own = [id_ for id_, is_special in zip(ids, special, strict=True) if not is_special]
        self._special_tokens += sum(special)
        self._used.update(own)
        unknown = own.count(self._unknown_id) if self._unknown_id is not None else 0
        self._bare = add_counts("", [self._bare, RunCounts("", tokens=len(own), unknown=unknown)])

    def _is_special(self, id_: int) -> bool:
        if self._tokenizer is None:
            return False
        if id_ not in self._special:
            (piece,) = self._tokenizer.describe([id_])
            self._special[id_] = piece is not None and piece.special
        return self._special[id_]

    def _spans(self, text: str, ids: Sequence[int], encoding: Encoding, number: int) -> list[Span | None]:
        own = zip(encoding.spans, encoding.sequences, strict=True)
        spans = [span for span, sequence in own if sequence == number]
        if self._tokenizer is None:
            return spans
        if None not in spans:
            found = [span for span in spans if span is not None]
            if shared_starts(text, found):
                pieces = self._tokenizer.describe(ids)
                found = empty_added_spaces(text, found, [b"" if piece is None else piece.data for piece in pieces])
            return [*cover_gaps(text, found, self._tokenizer.composer)]
        return align(text, [b"" if piece is None else piece.data for piece in self._tokenizer.describe(ids)])

    def _total(self) -> TotalStatistics:
        spaced = sum(counts.tokens for name, counts in self._scripts.items() if name not in UNSPACED)
        whole = add_counts("", [self._bare, *self._scripts.values()])
        return TotalStatistics(
            **_figures(whole),
            special_tokens=self._special_tokens,
            words=whole.words,
            continued_words=whole.continued,
            fertility=ratio(spaced, whole.words),
            distinct_tokens=len(self._used),
            renyi_efficiency=renyi_efficiency(self._used.values()) if whole.tokens >= _ENOUGH_TOKENS else None,
            words_unspaced=whole.words_unspaced,
        )


def parity(statistics: Sequence[TokenizerStatistics]) -> tuple[Parity, ...]:
    """The number of tokens of each tokenizer over that of the first, on the same texts (Petrov et al. 2023)."""
    if not statistics:
        return ()
    reference, *others = statistics
    before = {script.script: script for script in reference.scripts}
    return tuple(
        Parity(
            model=other.model,
            reference=reference.model,
            tokens=_token_ratio(other.total, reference.total),
            scripts={script.script: _token_ratio(script, before.get(script.script)) for script in other.scripts},
        )
        for other in others
    )


def _token_ratio(
    own: TotalStatistics | ScriptStatistics, reference: TotalStatistics | ScriptStatistics | None
) -> float | None:
    if reference is None or not own.tokens or _is_unknown(own) or _is_unknown(reference):
        return None
    return ratio(own.tokens, reference.tokens)


def _is_unknown(figures: TotalStatistics | ScriptStatistics) -> bool:
    """Whether too much of the text became unknown tokens for a comparison."""
    share = figures.unknown_characters_share if figures.characters else figures.unknown_share
    return share is not None and share >= MUCH_UNKNOWN


def renyi_efficiency(frequencies: Iterable[int]) -> float | None:
    """How evenly tokens are used: H_α / log₂ V, where H_α = log₂(Σ pᵅ) / (1 − α) in bits (Zouhar et al. 2023).

    frequencies: how often each of the V tokens that occur does. None for fewer than two, as log₂ 1 = 0.
    """
    counts = [count for count in frequencies if count]
    if len(counts) < 2:
        return None
    whole = sum(counts)
    power = math.fsum((count / whole) ** ALPHA for count in counts)
    return math.log2(power) / (1 - ALPHA) / math.log2(len(counts))


class _MostSplitWords:
    """The distinct words with the most tokens; of those with equally many, the longest."""

    def __init__(self) -> None:
        self._words: dict[str, CutWord] = {}
        self._least = 2

    def add(self, text: str, words: Sequence[Span], pieces: Sequence[int]) -> None:
        for (start, end), count in zip(words, pieces, strict=True):
            if count >= self._least:
                self._insert(CutWord(text[start : min(end, start + _LONGEST_WORD)], end - start, count))

    def words(self) -> tuple[CutWord, ...]:
        return tuple(sorted(self._words.values(), key=_split_order, reverse=True))

    def _insert(self, word: CutWord) -> None:
        known = self._words.get(word.word)
        if known is not None and _split_order(known) >= _split_order(word):
            return
        self._words[word.word] = word
        if len(self._words) > _MOST_SPLIT:
            # Of equal words, drop the one that was added last.
            del self._words[min(reversed(self._words.values()), key=_split_order).word]
        if len(self._words) == _MOST_SPLIT:
            self._least = min(word.tokens for word in self._words.values())


def _split_order(word: CutWord) -> tuple[int, int]:
    return word.tokens, word.characters


def _script_statistics(name: str, counts: RunCounts) -> ScriptStatistics:
    words, continued = (None, None) if name in UNSPACED else (counts.words, counts.continued)
    fertility = ratio(counts.tokens, words) if counts.tokens else None
    return ScriptStatistics(
        **_figures(counts), script=name, words=words, continued_words=continued, fertility=fertility
    )


def _figures(counts: RunCounts) -> dict[str, Any]:
    """The fields that the statistics of a script and of all texts share."""
    return {
        "tokens": counts.tokens,
        "characters": counts.characters,
        "bytes": counts.bytes,
        "bytes_per_token": ratio(counts.bytes, counts.tokens) if counts.bytes else None,
        "characters_per_token": ratio(counts.characters, counts.tokens) if counts.characters else None,
        "continued_words_share": ratio(counts.continued, counts.words),
        "unknown": counts.unknown,
        "unknown_share": ratio(counts.unknown, counts.tokens),
        "unknown_characters": counts.unknown_characters,
        "unknown_characters_share": ratio(counts.unknown_characters, counts.characters),
    }


def _length_range(lengths: Counter[int]) -> tuple[int | None, float | None, int | None]:
    """The minimum, median and maximum of counted lengths."""
    if not lengths:
        return None, None, None
    ordered = sorted(lengths)
    reached = list(accumulate(lengths[length] for length in ordered))
    # The middle one, or the mean of the middle two.
    below, above = (ordered[bisect_right(reached, place)] for place in ((reached[-1] - 1) // 2, reached[-1] // 2))
    return ordered[0], (below + above) / 2, ordered[-1]
