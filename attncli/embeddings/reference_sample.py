"""The sentences of the reference sample, and which of their words take part.

The reference sample: words of plain sentences, run through the model as the user's are.

Vectors and cosines held against a reference sample: the baseline, and three ways to even out crowded dimensions.

baseline     raw − baseline, the mean cosine of random words of different sentences (Ethayarajh 2019)
standardize  (x − μ) / σ in every dimension (Timkey & van Schijndel 2021)
abtt         all but the top: x − μ − Σ_{k ≤ D} (u_kᵀx) u_k, D = d/100 principal directions (Mu & Viswanath 2018)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from attncli.embeddings.measure import Floats, Indices, Vectors, unit_vectors
from attncli.embeddings.text_matching import Span
from attncli.results.compare import Reference

if TYPE_CHECKING:
    from attncli.embeddings.batches import Run, Words

#: Words that a sentence gives to the sample, at most.
_WORDS_A_SENTENCE = 4
_WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")
#: Of fewer words neither a mean cosine nor a deviation says anything.
FEWEST = 10


def shipped_sentences() -> tuple[str, ...]:
    """The sentences that come with the package; they were written for it."""
    text = files("attncli.embeddings").joinpath("sample.txt").read_text("utf-8")
    return tuple(text.splitlines())


def sample_spans(text: str, number: int) -> list[Span]:
    """Which words of a sentence take part: some at random, always the same. Any text without words gives none."""
    spans = [match.span() for match in _WORD.finditer(text)]
    if len(spans) <= _WORDS_A_SENTENCE:
        return spans
    chosen = np.random.default_rng(number).choice(len(spans), _WORDS_A_SENTENCE, replace=False)
    return [spans[index] for index in sorted(chosen.tolist())]


def run_sample(
    run: Run, sentences: Sequence[Words], states: int, *, causal: bool, progress: Callable[[int], None]
) -> tuple[int, dict[int, SampleStatistics]]:
    """Run the sample and describe its first `states` states. Answers how many words it had, too.

    causal: words at the first position are left out. There a model of this kind parks what attention has to spare, and
    its state is like no other.
    """
    from attncli.embeddings.batches import take_words  # imports torch

    kept = [_without_first(sentence) if causal else sentence for sentence in sentences]
    owners = np.array([number for number, each in enumerate(kept) for _ in each.rows], dtype=np.int64)
    found: dict[int, Vectors] = {}

    def take(state: int, rows: Sequence[int], vectors: Vectors) -> None:
        if state < states:
            kept_so_far = found.setdefault(state, np.zeros((len(owners), vectors.shape[1]), dtype=np.float32))
            kept_so_far[list(rows)] = vectors

    take_words(run, [each for each in _numbered(kept) if each.rows], take, progress)
    return len(owners), {state: describe_sample(vectors, owners) for state, vectors in found.items()}


def _without_first(sentence: Words) -> Words:
    return sentence._replace(rows=tuple((row, places) for row, places in sentence.rows if 0 not in places))


def _numbered(sentences: Sequence[Words]) -> list[Words]:
    """With rows counted through all sentences."""
    numbered, row = [], 0
    for sentence in sentences:
        places = [places for _, places in sentence.rows]
        numbered.append(sentence._replace(rows=tuple(enumerate(places, row))))
        row += len(places)
    return numbered


ADJUSTMENTS = ("none", "baseline", "standardize", "abtt")

_PAIRS = 10_000
_QUANTILES = 1_001


@dataclass(frozen=True, slots=True)
class SampleStatistics:
    """All that is kept of a sample at one state.

    baseline: mean cosine of the random pairs.  mean, deviation: (d,).  components: (D, d), orthonormal.
    quantiles: of the cosines of the random pairs, (3, 1001): raw, standardised, all-but-the-top.
    """

    words: int
    pairs: int
    baseline: float
    mean: Floats
    deviation: Floats
    components: Floats
    quantiles: Floats

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All of it as arrays, to be kept."""
        held = ("mean", "deviation", "components", "quantiles")
        counts = np.array([self.words, self.pairs])
        return {"counts": counts, "baseline": np.array(self.baseline), **{name: getattr(self, name) for name in held}}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> SampleStatistics:
        """What `arrays` gave."""
        words, pairs = arrays["counts"].tolist()
        held = ("mean", "deviation", "components", "quantiles")
        return cls(words, pairs, float(arrays["baseline"]), *(arrays[name] for name in held))

    def reference(self, adjust: str) -> Reference:
        """What a result keeps of it for one adjustment."""
        row = {"standardize": 1, "abtt": 2}.get(adjust, 0)
        quantiles = self.quantiles[row] - (self.baseline if adjust == "baseline" else 0.0)
        if row == 0:
            return Reference(self.baseline, quantiles)
        return Reference(
            self.baseline,
            quantiles,
            mean=self.mean.astype(np.float32),
            deviation=self.deviation.astype(np.float32) if adjust == "standardize" else None,
            components=self.components.astype(np.float32) if adjust == "abtt" else None,
        )


def describe_sample(vectors: Vectors, sentences: Indices, seed: int = 0) -> SampleStatistics:
    """The statistics of a sample of words: their vectors, (n, d), and the number of the sentence of each."""
    exact = np.asarray(vectors, dtype=np.float64)
    mean = exact.mean(axis=0)
    deviation = exact.std(axis=0)
    components = top_directions(exact - mean, ceil(exact.shape[1] / 100))
    first, second = random_pairs(sentences, seed)
    adjusted = (exact, (exact - mean) / _safe(deviation), exact - mean - _along(exact, components))
    cosines = [_cosines(unit_vectors(each), first, second) for each in adjusted]
    steps = np.linspace(0, 1, _QUANTILES)
    quantiles = np.stack([np.quantile(values, steps) for values in cosines])
    return SampleStatistics(len(exact), len(first), float(cosines[0].mean()), mean, deviation, components, quantiles)


def random_pairs(sentences: Indices, seed: int = 0) -> tuple[Indices, Indices]:
    """Pairs of words of different sentences: all of them where they are few, else as many drawn at random."""
    count = len(sentences)
    if count * (count - 1) // 2 <= _PAIRS:
        first, second = np.triu_indices(count, k=1)
    else:
        chance = np.random.default_rng(seed)
        first, second = chance.integers(count, size=(2, 2 * _PAIRS))
    apart = sentences[first] != sentences[second]
    return first[apart][:_PAIRS], second[apart][:_PAIRS]


def adjusted_vectors(vectors: Vectors, reference: Reference | None) -> Floats:
    """The vectors themselves, or standardised, or without the top directions: as their reference has been made for."""
    exact = np.asarray(vectors, dtype=np.float64)
    if reference is None or reference.mean is None:
        return exact
    centred = exact - reference.mean
    if reference.deviation is not None:
        return centred / _safe(reference.deviation.astype(np.float64))
    assert reference.components is not None
    return centred - _along(exact, reference.components.astype(np.float64))


def percentiles(values: Floats, reference: Reference) -> Floats:
    """The share of random pairs, from 0 to 1, that are less alike than each value."""
    steps = np.linspace(0, 1, len(reference.quantiles))
    return np.asarray(np.interp(values, reference.quantiles, steps))


def top_directions(centred: Floats, number: int) -> Floats:
    """The first principal directions of centred vectors, (number, d): eigenvectors of whichever product is smaller."""
    count, width = centred.shape
    number = min(number, count - 1, width)
    if width <= count:
        _, vectors = np.linalg.eigh(centred.T @ centred)
        return np.ascontiguousarray(vectors[:, ::-1][:, :number].T)
    _, vectors = np.linalg.eigh(centred @ centred.T)
    return unit_vectors(vectors[:, ::-1][:, :number].T @ centred)


def _along(vectors: Floats, components: Floats) -> Floats:
    """What of each vector lies along the components: Σ (u_kᵀx) u_k."""
    return (vectors @ components.T) @ components


def _safe(deviation: Floats) -> Floats:
    """A dimension that never changes says nothing, whatever it is divided by."""
    safe: Floats = np.where(deviation > 0, deviation, 1.0)
    return safe


def _cosines(units: Floats, first: Indices, second: Indices) -> Floats:
    cosines: Floats = np.einsum("ij,ij->i", units[first], units[second])
    return cosines
