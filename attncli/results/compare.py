"""The result of `attn compare`: occurrences of a word, their similarities at each state, and tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from attncli.results.base import MadeBy, short_repr, showable

SCHEMA = "attncli.compare/1"

#: Up to this many occurrences there is a matrix of similarities; beyond, only summaries and nearest neighbours.
MOST_IN_MATRIX = 1000
#: Up to this many, the matrices of states that weren't chosen are in the JSON too.
MOST_ON_THE_WAY = 64

Vectors = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@short_repr
class Occurrence(NamedTuple):
    """One occurrence of a word.

    sentence: its number, from 1, as the user gave them (lines of a file, or arguments).  word: the searched word.
    text: the sentence.  start, end: characters of it, half open.  matched: the text of the occurrence.
    pieces: the tokens that cover it, in the raw form of the vocabulary.  positions: their indices among the tokens.
    label: the sense that the user gave for the sentence.
    """

    sentence: int
    word: str
    text: str
    start: int
    end: int
    matched: str
    pieces: tuple[str, ...]
    positions: tuple[int, ...] = ()
    label: str | None = None

    def to_dict(self) -> dict[str, object]:
        return {**self._asdict(), "pieces": list(self.pieces), "positions": list(self.positions)}


class Permutation(NamedTuple):
    """A permutation test: how often permuted labels separate as well as the real ones.

    p: that share, the real labels included.  labelings: how many were tested; exact: whether these are all.
    smallest: the smallest p that is possible for the number of occurrences.
    """

    p: float
    labelings: int
    exact: bool
    smallest: float

    def to_dict(self) -> dict[str, object]:
        return self._asdict()


class Miss(NamedTuple):
    """An occurrence whose nearest neighbour, or an equally near one (tied), has another label; both by index."""

    occurrence: int
    nearest: int
    similarity: float
    tied: bool


@short_repr
class Neighbours(NamedTuple):
    """How many occurrences have their nearest neighbour in their own sense.

    right, of: among those whose sense has another occurrence.  chance: the share that is expected for random labels.
    """

    right: int
    of: int
    chance: float
    wrong: tuple[Miss, ...] = ()

    def to_dict(self) -> dict[str, object]:
        return {**self._asdict(), "wrong": [miss._asdict() for miss in self.wrong]}


@short_repr
class Senses(NamedTuple):
    """How well sense labels agree with the similarities of one word's occurrences.

    within, across: mean similarity of pairs of the same label and of different ones.  silhouette: the mean of
    Rousseeuw's (1987), on distances 1 − similarity; None where no label has two occurrences.
    why_no_p: why there is no permutation test; None where there is one.
    """

    occurrences: int
    labels: tuple[str, ...]
    within: float | None
    across: float | None
    silhouette: float | None
    neighbours: Neighbours | None
    permutation: Permutation | None
    why_no_p: str | None = None

    @property
    def separation(self) -> float | None:
        return None if self.within is None or self.across is None else self.within - self.across

    def to_dict(self) -> dict[str, object]:
        return {
            **self._asdict(),
            "labels": list(self.labels),
            "separation": self.separation,
            "neighbours": self.neighbours and self.neighbours.to_dict(),
            "permutation": self.permutation and self.permutation.to_dict(),
        }


@short_repr
class Groups(NamedTuple):
    """Clusters of the vectors.

    members: indices of occurrences, a tuple per group; empty where no clusters are clear.
    silhouette: of the best division.  p: how often samples of a Gaussian of the same covariance divide as well.
    sampled: how many occurrences were clustered, where the others joined the nearest group; None where all were.
    why_not: why there are no groups.
    """

    members: tuple[tuple[int, ...], ...]
    silhouette: float | None
    p: float | None
    sampled: int | None = None
    why_not: str | None = None

    @property
    def clear(self) -> bool:
        return bool(self.members)

    def to_dict(self) -> dict[str, object]:
        return {**self._asdict(), "members": [list(group) for group in self.members], "clear": self.clear}


class Dimension(NamedTuple):
    """A dimension of the vectors and its share of the mean cosine: the mean over pairs of u_i v_i / (‖u‖‖v‖)."""

    dimension: int
    contribution: float
    share: float

    def to_dict(self) -> dict[str, object]:
        return self._asdict()


@short_repr
class WordFigures(NamedTuple):
    """The figures of one of several words at one state; across: its mean similarity with each other word."""

    word: str
    occurrences: int
    self_similarity: float | None
    explained_variance: float | None
    across: dict[str, float]

    def to_dict(self) -> dict[str, object]:
        return self._asdict()


@short_repr
@dataclass(frozen=True, slots=True)
class Reference:
    """Statistics of the reference sample at one state: the baseline, and what `--adjust` needs.

    baseline: mean cosine of random words of different sentences.  baseline_interval: its 95 % interval.
    quantiles: of those cosines, evenly spaced from the least to the greatest; of the adjusted ones where vectors are
    adjusted.  variances: numbers of words, and the explained variance of so many random ones, (2, n).
    mean, deviation: (d,).  components: (D, d).
    """

    baseline: float
    quantiles: Matrix
    baseline_interval: tuple[float, float] | None = None
    variances: Matrix | None = None
    mean: Vectors | None = None
    deviation: Vectors | None = None
    components: Vectors | None = None


@short_repr
@dataclass(frozen=True, slots=True)
class State:
    """One hidden state: 0 is the input of the first block, k the output of block k−1, the last after the final norm.

    chosen: whether the user selected it.  self_similarity: mean cosine over pairs of occurrences of the (first) word;
    adjusted_self_similarity: the same of adjusted vectors.
    explained_variance: σ₁²/Σσ² of their matrix (Ethayarajh 2019); explained_variance_random: of as many random words.
    similarity: cosines.  adjusted: the same of adjusted vectors, or less the baseline.
    similarity, adjusted, percentile: (occurrences, occurrences); None for too many occurrences, or if not requested.
    percentile: the share of random pairs (from 0 to 1) that are less similar, with the same adjustment.
    reference: of the sample.  within, across: mean similarity of pairs of the same label, and of different ones, with
    the adjustment.  senses: statistics of the labels.  groups: clusters, where there are no labels.
    words: one entry per word, where there are several.  dimensions: those that contribute most to the mean cosine.
    nearest: the index of each occurrence's nearest neighbour (−1: not computed); nearest_similarity: with it.
    vectors, positions: (occurrences, d), and in two principal components (occurrences, 2); explained: the share of
    variance of each component.
    """

    state: int
    chosen: bool
    self_similarity: float | None
    explained_variance: float | None = None
    explained_variance_random: float | None = None
    similarity: Matrix | None = None
    adjusted: Matrix | None = None
    percentile: Matrix | None = None
    reference: Reference | None = None
    adjusted_self_similarity: float | None = None
    within: float | None = None
    across: float | None = None
    senses: Senses | None = None
    groups: Groups | None = None
    words: tuple[WordFigures, ...] = ()
    dimensions: tuple[Dimension, ...] = ()
    nearest: Indices | None = None
    nearest_similarity: Matrix | None = None
    vectors: Vectors | None = None
    positions: Matrix | None = None
    explained: tuple[float, float] | None = None

    @property
    def shown(self) -> Matrix | None:
        """The matrix to show: the adjusted one where there is one."""
        return self.similarity if self.adjusted is None else self.adjusted

    @property
    def separation(self) -> float | None:
        return None if self.within is None or self.across is None else self.within - self.across

    def to_dict(self, *, matrices: bool, vectors: bool) -> dict[str, object]:
        """matrices: include those of a state that wasn't chosen.  vectors: include the vectors and their adjustment."""
        with_matrices = matrices or self.chosen
        return {
            "state": self.state,
            "chosen": self.chosen,
            "similarity": _to_list(self.similarity) if with_matrices else None,
            "adjusted": _to_list(self.adjusted) if with_matrices else None,
            "percentile": _to_list(self.percentile) if with_matrices else None,
            "baseline": None if self.reference is None else self.reference.baseline,
            "baseline_interval": None if self.reference is None else _finite_ends(self.reference.baseline_interval),
            "self_similarity": self.self_similarity,
            "explained_variance": self.explained_variance,
            "explained_variance_random": self.explained_variance_random,
            "adjusted_self_similarity": self.adjusted_self_similarity,
            "within": self.within,
            "across": self.across,
            "separation": self.separation,
            "senses": self.senses and self.senses.to_dict(),
            "groups": self.groups and self.groups.to_dict(),
            "words": [word.to_dict() for word in self.words],
            "dimensions": [dimension.to_dict() for dimension in self.dimensions],
            "nearest": _to_list(self.nearest) if with_matrices else None,
            "nearest_similarity": _to_list(self.nearest_similarity) if with_matrices else None,
            "map": _to_list(self.positions) if self.chosen else None,
            "map_explained": list(self.explained) if self.explained else None,
            "vectors": _to_list(self.vectors) if vectors and self.chosen else None,
            "adjusted_with": self._adjusted_with() if vectors and self.chosen else None,
        }

    def _adjusted_with(self) -> dict[str, object] | None:
        reference = self.reference
        if reference is None or reference.mean is None:
            return None
        parts = {"mean": reference.mean, "deviation": reference.deviation, "components": reference.components}
        return {name: _to_list(values) for name, values in parts.items()}


def _finite_ends(ends: tuple[float, float] | None) -> list[float] | None:
    return None if ends is None or not all(map(isfinite, ends)) else list(ends)


def _to_list(values: npt.NDArray[np.generic] | None) -> object:
    return None if values is None else values.tolist()


class SampleInfo(NamedTuple):
    """The reference sample: the source of its sentences, and the numbers of sentences, words and pairs."""

    source: str
    sentences: int
    words: int
    pairs: int

    def to_dict(self) -> dict[str, object]:
        return self._asdict()


@showable
@short_repr
@dataclass(frozen=True, slots=True)
class CompareResult:
    """Occurrences of a word, and how alike they are at every state that was run.

    model, device, dtype: what was run, where, and in which number format.
    word: the first word.  words: all of them.  stack: the stack of the states.  state_count: how many it has.
    occurrences: in the order of the sentences; rows and columns of matrices are in this order.
    states: the chosen ones, and all before them.  adjust, pool: as requested.
    best: the state of these at which the labels are farthest apart.
    sample: the reference sample; None without one.  made_by: versions of the libraries.
    causal: text after a word can't change its vector.  left_out: numbers of the sentences that were left out.
    warnings: reasons to doubt the numbers.  notes: how the numbers were computed.
    """

    model: str
    device: str
    dtype: str
    stack: str
    words: tuple[str, ...]
    occurrences: tuple[Occurrence, ...]
    states: tuple[State, ...]
    state_count: int
    adjust: str
    pool: str
    sample: SampleInfo | None
    made_by: MadeBy
    causal: bool = False
    best: int | None = None
    left_out: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def word(self) -> str:
        return self.words[0]

    @property
    def chosen(self) -> tuple[State, ...]:
        return tuple(state for state in self.states if state.chosen)

    def to_dict(self) -> dict[str, object]:
        """Exactly the JSON that `attn compare --json` prints."""
        count = len(self.occurrences)
        small = count <= MOST_ON_THE_WAY
        return {
            "schema": SCHEMA,
            "warnings": list(self.warnings),
            "notes": list(self.notes),
            "model": self.model,
            "device": self.device,
            "dtype": self.dtype,
            "stack": self.stack,
            "state_count": self.state_count,
            "word": self.word,
            "words": list(self.words),
            "pool": self.pool,
            "adjust": self.adjust,
            "sample": self.sample and self.sample.to_dict(),
            "best_state": self.best,
            "left_out": list(self.left_out),
            "occurrences": [occurrence.to_dict() for occurrence in self.occurrences],
            "states": [state.to_dict(matrices=small, vectors=small and self._needs_vectors) for state in self.states],
            "made_by": self.made_by.to_dict(),
        }

    @property
    def _needs_vectors(self) -> bool:
        """Whether adjusted values can't be computed from the raw ones and the baseline."""
        return self.adjust in ("standardize", "abtt")
