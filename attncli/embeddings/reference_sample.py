"""The reference sample: words of plain sentences, whose states give the baseline and the adjustments of similarities.

baseline     raw − baseline, the mean cosine of random words of different sentences (Ethayarajh 2019)
standardize  (x − μ) / σ in every dimension (Timkey & van Schijndel 2021)
abtt         all but the top: y − Σ_{k ≤ D} (u_kᵀy) u_k with y = x − μ, D = d/100 principal directions, which are then
             gone (Mu & Viswanath 2018)
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

from attncli.embeddings.measure import Floats, Indices, Vectors, explained_variance, unit_vectors
from attncli.embeddings.text_matching import Span
from attncli.results.compare import Reference

if TYPE_CHECKING:
    from attncli.embeddings.batches import SentenceWords, StackRun

#: The most words of one sentence in the sample, unless the sentences have so few words in all that each counts.
_WORDS_PER_SENTENCE, _FEW_WORDS = 4, 1_000
_WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")
#: With fewer words neither a mean cosine nor a deviation means anything.
MIN_WORDS = 10


def shipped_sentences() -> tuple[str, ...]:
    """The sentences that come with the package, and were written for it."""
    text = files("attncli.embeddings").joinpath("sample.txt").read_text("utf-8")
    return tuple(text.splitlines())


def sample_spans(sentences: Sequence[str]) -> list[list[Span]]:
    """The words of each sentence in the sample: all where they are few, else some at random, the same in every run."""
    found = [[match.span() for match in _WORD.finditer(text)] for text in sentences]
    if sum(map(len, found)) <= _FEW_WORDS:
        return found
    sampled = []
    for number, spans in enumerate(found):
        size = min(len(spans), _WORDS_PER_SENTENCE)
        chosen = np.random.default_rng(number).choice(len(spans), size, replace=False) if spans else np.arange(0)
        sampled.append([spans[index] for index in sorted(chosen.tolist())])
    return sampled


def run_sample(
    run: StackRun, sentences: Sequence[SentenceWords], states: int, *, causal: bool, progress: Callable[[int], None]
) -> tuple[int, dict[int, SampleStatistics]]:
    """Run the sample and describe its first `states` states. Returns the number of its words too.

    sentences: with the number of the sentence that each word is of for its row.
    causal: leave out words at the first position. It is an attention sink in causal models, with an untypical state.
    """
    from attncli.embeddings.batches import run_sentences  # imports torch

    # Rows are numbered from 0 across all sentences.
    selected: list[SentenceWords] = []
    owners: list[int] = []
    for sentence in sentences:
        places = [(number, each) for number, each in sentence.rows if not (causal and 0 in each)]
        if places:
            rows = tuple((len(owners) + index, each) for index, (_, each) in enumerate(places))
            selected.append(sentence._replace(rows=rows))
            owners += [number for number, _ in places]
    found: dict[int, Vectors] = {}

    def receive(state: int, rows: Sequence[int], vectors: Vectors) -> None:
        if state < states:
            collected = found.setdefault(state, np.zeros((len(owners), vectors.shape[1]), dtype=np.float32))
            collected[list(rows)] = vectors

    run_sentences(run, selected, receive, progress)
    codes = np.array(owners, dtype=np.int64)
    return len(owners), {state: describe_sample(vectors, codes) for state, vectors in found.items()}


_MAX_PAIRS = 10_000
_QUANTILES = 1_001
_ARRAYS = ("baseline_interval", "variances", "mean", "deviation", "components", "quantiles")

#: The baseline's interval is taken from so many samples of the sentences with replacement.
_BOOTSTRAPS = 1_000
#: How many random words their explained variance is measured of, and over how many draws.
_VARIANCE_SIZES = (2, 3, 4, 5, 6, 8, 10, 14, 20, 30, 50, 100)
_VARIANCE_DRAWS = 10


@dataclass(frozen=True, slots=True)
class SampleStatistics:
    """The statistics of the sample at one state.

    baseline: mean cosine of the random pairs.  baseline_interval: where 95 % of the baselines of other samples of
    sentences of this size lie, (2,).  variances: numbers of words, and the mean explained variance of so many random
    words, (2, n).  mean, deviation: (d,).  components: (D, d), orthonormal.
    quantiles: of the cosines of the random pairs, (3, 1001): raw, standardised, all-but-the-top.
    """

    words: int
    pairs: int
    baseline: float
    baseline_interval: Floats
    variances: Floats
    mean: Floats
    deviation: Floats
    components: Floats
    quantiles: Floats

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The statistics as arrays, for the cache."""
        numbers = {"counts": np.array([self.words, self.pairs]), "baseline": np.array(self.baseline)}
        return numbers | {name: getattr(self, name) for name in _ARRAYS}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> SampleStatistics:
        """The statistics that `to_arrays` wrote."""
        words, pairs = arrays["counts"].tolist()
        return cls(words, pairs, float(arrays["baseline"]), *(arrays[name] for name in _ARRAYS))

    def reference(self, adjust: str) -> Reference:
        """The part that one adjustment needs, for the result."""
        row = {"standardize": 1, "abtt": 2}.get(adjust, 0)
        return Reference(
            self.baseline,
            self.quantiles[row] - (self.baseline if adjust == "baseline" else 0.0),
            baseline_interval=(float(self.baseline_interval[0]), float(self.baseline_interval[1])),
            variances=self.variances,
            mean=self.mean.astype(np.float32) if row else None,
            deviation=self.deviation.astype(np.float32) if adjust == "standardize" else None,
            components=self.components.astype(np.float32) if adjust == "abtt" else None,
        )


def describe_sample(vectors: Vectors, sentences: Indices, seed: int = 0) -> SampleStatistics:
    """The statistics of a sample of words, from their vectors, (n, d), and the sentence of each, (n,)."""
    exact = np.asarray(vectors, dtype=np.float64)
    mean = exact.mean(axis=0)
    deviation = exact.std(axis=0)
    components = top_directions(exact - mean, ceil(exact.shape[1] / 100))
    first, second = random_pairs(sentences, seed)
    centred = exact - mean
    adjusted = (exact, centred / _nonzero_deviation(deviation), centred - _project(centred, components))
    cosines = [np.einsum("ij,ij->i", units[first], units[second]) for units in map(unit_vectors, adjusted)]
    steps = np.linspace(0, 1, _QUANTILES)
    quantiles = np.stack([np.quantile(values, steps) for values in cosines])
    return SampleStatistics(
        len(exact),
        len(first),
        float(cosines[0].mean()),
        baseline_interval(unit_vectors(exact), sentences, seed),
        random_variances(exact, seed),
        mean,
        deviation,
        components,
        quantiles,
    )


def baseline_interval(units: Floats, sentences: Indices, seed: int = 0) -> Floats:
    """The 95 % interval of the mean cosine of words of different sentences, (2,): percentiles of a bootstrap.

    The sentences are drawn with replacement, as the words of one belong together (Efron & Tibshirani 1993). NaN for
    fewer than two sentences.
    """
    _, codes = np.unique(sentences, return_inverse=True)
    count = int(codes.max()) + 1
    if count < 2:
        return np.full(2, np.nan)
    sums = np.zeros((count, units.shape[1]))
    np.add.at(sums, codes, units)
    sizes = np.bincount(codes).astype(np.float64)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=_BOOTSTRAPS).astype(float)
    # Σ over words of different sentences: all pairs less those within a sentence, drawn twice or not.
    cosines = ((drawn @ sums) ** 2).sum(axis=1) - drawn**2 @ (sums**2).sum(axis=1)
    pairs = (drawn @ sizes) ** 2 - drawn**2 @ sizes**2
    return np.asarray(np.quantile(cosines[pairs > 0] / pairs[pairs > 0], (0.025, 0.975)))


def random_variances(vectors: Floats, seed: int = 0) -> Floats:
    """Numbers of words and the mean explained variance of so many random words, (2, n): what chance alone explains."""
    sizes = [size for size in _VARIANCE_SIZES if size <= len(vectors)]
    rng = np.random.default_rng(seed)

    def draw(size: int) -> float:
        return explained_variance(vectors[rng.choice(len(vectors), size, replace=False)]) or 0.0

    means = [np.mean([draw(size) for _ in range(_VARIANCE_DRAWS)]) for size in sizes]
    return np.array([sizes, means], dtype=np.float64)


def random_variance(count: int, reference: Reference) -> float | None:
    """The explained variance of `count` random words, between those that were measured; None without a sample."""
    if reference.variances is None or not reference.variances.size:
        return None
    sizes, means = reference.variances
    return float(np.interp(np.log(count), np.log(sizes), means))


def random_pairs(sentences: Indices, seed: int = 0) -> tuple[Indices, Indices]:
    """Pairs of words of different sentences: all of them, or a random sample where they are too many."""
    count = len(sentences)
    if count * (count - 1) // 2 <= _MAX_PAIRS:
        first, second = np.triu_indices(count, k=1)
    else:
        rng = np.random.default_rng(seed)
        first, second = rng.integers(count, size=(2, 2 * _MAX_PAIRS))
    apart = sentences[first] != sentences[second]
    return first[apart][:_MAX_PAIRS], second[apart][:_MAX_PAIRS]


def adjusted_vectors(vectors: Vectors, reference: Reference | None) -> Floats:
    """The vectors, unchanged, standardised, or without the top directions, as the reference says."""
    exact = np.asarray(vectors, dtype=np.float64)
    if reference is None or reference.mean is None:
        return exact
    centred = exact - reference.mean
    if reference.deviation is not None:
        return centred / _nonzero_deviation(reference.deviation.astype(np.float64))
    assert reference.components is not None
    return centred - _project(centred, reference.components.astype(np.float64))


def percentiles(values: Floats, reference: Reference) -> Floats:
    """The share of random pairs, from 0 to 1, with a lower cosine than each value."""
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


def _project(vectors: Floats, components: Floats) -> Floats:
    """The projection of each vector on the components: Σ (u_kᵀx) u_k."""
    return (vectors @ components.T) @ components


def _nonzero_deviation(deviation: Floats) -> Floats:
    """Deviations to divide by: 1 in the place of 0, for dimensions that never change."""
    safe: Floats = np.where(deviation > 0, deviation, 1.0)
    return safe
