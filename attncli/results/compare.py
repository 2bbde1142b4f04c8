"""The result of `attn compare`: occurrences of a word, their similarities at each state, and tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import isfinite
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from attncli.results.base import MadeBy, show_result, struct
from attncli.results.marks import FLAT, Key
from attncli.results.struct import Struct

SCHEMA: Literal["attncli.compare/1"] = "attncli.compare/1"

#: Up to this many occurrences there is a matrix of similarities; beyond, only summaries and nearest neighbours.
MOST_IN_MATRIX = 1000
#: Up to this many, the matrices of states that weren't chosen are in the JSON too.
MOST_ON_THE_WAY = 64

Vectors = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@struct()
class Occurrence(NamedTuple):
    """One occurrence of a word.

    sentence: its number, from 1, as the user gave them (lines of a file, or arguments).  word: the searched word.
    text: the sentence.  start, end: characters of it, half open.  matched: the text of the occurrence.
    pieces: the tokens whose vectors are read, in the raw form of the vocabulary: those that cover it (of the second
    copy, with echo), or the last one of a template.  positions: their indices among the tokens of what was run.
    label: the sense that the user gave for the sentence.  group: the name of its file, where there are several.
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
    group: str | None = None


@struct(short=False)
class Permutation(NamedTuple):
    """A permutation test: how often permuted labels separate as well as the real ones.

    p: that share, the real labels included.  labelings: how many were tested; exact: whether these are all.
    smallest: the smallest p that is possible for the number of occurrences.
    """

    p: float
    labelings: int
    exact: bool
    smallest: float


@struct(short=False)
class Miss(NamedTuple):
    """An occurrence whose nearest neighbour, or an equally near one (tied), has another label; both by index."""

    occurrence: int
    nearest: int
    similarity: float
    tied: bool


@struct()
class Neighbours(NamedTuple):
    """How many occurrences have their nearest neighbour in their own sense.

    right, of: among those whose sense has another occurrence.  chance: the share that is expected for random labels.
    """

    right: int
    of: int
    chance: float
    wrong: tuple[Miss, ...] = ()


@struct("occurrences labels within across silhouette neighbours permutation why_no_p separation")
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


@struct("members silhouette p sampled why_not clear")
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


@struct(short=False)
class PairDistance(NamedTuple):
    """The average pairwise distance of two groups: mean of 1 − cosine over pairs across (Kutuzov & Giulianelli 2020).

    first, second: their names.  pairs: how many.
    """

    first: str
    second: str
    pairs: int
    distance: float


@struct(short=False)
class HeldOut(NamedTuple):
    """The labels' separation on one random half of the occurrences at the state that separates the other half best.

    separation: the mean over all halvings.  state: the one that was chosen most often; times: how often.
    """

    separation: float
    state: int
    times: int
    halvings: int


@struct(short=False)
class Dimension(NamedTuple):
    """A dimension of the vectors and its share of the mean cosine: the mean over pairs of u_i v_i / (‖u‖‖v‖)."""

    dimension: int
    contribution: float
    share: float


@struct()
class WordFigures(NamedTuple):
    """The figures of one of several words at one state; across: its mean similarity with each other word."""

    word: str
    occurrences: int
    self_similarity: float | None
    explained_variance: float | None
    across: dict[str, float]


class Reference(Struct):
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


class NearestNeighbour(NamedTuple):
    """The nearest neighbour of an occurrence at one state: its index and similarity; None where not computed."""

    state: int
    nearest: int | None
    nearest_similarity: float | None


class Adjustment(Struct):
    """What vectors were adjusted with: see `Reference`."""

    mean: Vectors
    deviation: Vectors | None
    components: Vectors | None


class State(
    Struct,
    json="state chosen similarity adjusted percentile baseline baseline_interval self_similarity explained_variance "
    "explained_variance_random adjusted_self_similarity within across separation senses change distances groups words "
    "dimensions "
    "nearest nearest_similarity positions explained vectors adjusted_with",
):
    """One hidden state: 0 is the input of the first block, k the output of block k−1, the last after the final norm.

    chosen: whether the user selected it.  self_similarity: mean cosine over pairs of occurrences of the (first) word;
    adjusted_self_similarity: the same of adjusted vectors.
    explained_variance: σ₁²/Σσ² of their matrix (Ethayarajh 2019); explained_variance_random: of as many random words.
    similarity: cosines.  adjusted: the same of adjusted vectors, or less the baseline.
    similarity, adjusted, percentile: (occurrences, occurrences); None for too many occurrences, or if not requested.
    percentile: the share of random pairs (from 0 to 1) that are less similar, with the same adjustment.
    reference: of the sample.  within, across: mean similarity of pairs of the same label, and of different ones, with
    the adjustment.  senses: statistics of the labels.  change: the same of the groups that several files are.
    distances: average pairwise distances of the groups, else of the labels; of adjusted vectors, if they are adjusted.
    groups: clusters, where there are no labels.
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
    change: Senses | None = None
    distances: tuple[PairDistance, ...] = ()
    groups: Groups | None = None
    words: tuple[WordFigures, ...] = ()
    dimensions: tuple[Dimension, ...] = ()
    nearest: Indices | None = None
    nearest_similarity: Matrix | None = None
    vectors: Vectors | None = None
    positions: Annotated[Matrix | None, Key("map")] = None
    explained: Annotated[tuple[float, float] | None, Key("map_explained")] = None

    @property
    def shown(self) -> Matrix | None:
        """The matrix to show: the adjusted one where there is one."""
        return self.similarity if self.adjusted is None else self.adjusted

    @property
    def separation(self) -> float | None:
        return None if self.within is None or self.across is None else self.within - self.across

    @property
    def baseline(self) -> float | None:
        return None if self.reference is None else self.reference.baseline

    @property
    def baseline_interval(self) -> tuple[float, float] | None:
        ends = None if self.reference is None else self.reference.baseline_interval
        return ends if ends is not None and all(map(isfinite, ends)) else None

    @property
    def adjusted_with(self) -> Adjustment | None:
        reference = self.reference
        if reference is None or reference.mean is None:
            return None
        return Adjustment(reference.mean, reference.deviation, reference.components)

    @staticmethod
    def _unwritten(data: dict[str, Any]) -> dict[str, Any]:
        if data["baseline"] is None:
            return {"reference": None}
        interval = data["baseline_interval"] and tuple(data["baseline_interval"])
        adjustment = data["adjusted_with"] and Adjustment.from_dict(data["adjusted_with"])
        parts = {} if adjustment is None else vars(adjustment)
        return {"reference": Reference(data["baseline"], np.empty(0), interval, **parts)}

    def written(self, *, matrices: bool, vectors: bool) -> State:
        """The state as it is in the JSON.

        matrices: with those of a state that wasn't chosen.  vectors: with the vectors of a chosen one, and what they
        were adjusted with.
        """
        changes: dict[str, Any] = {}
        if not (matrices or self.chosen):
            changes = dict.fromkeys(("similarity", "adjusted", "percentile", "nearest", "nearest_similarity"))
        if not self.chosen:
            changes["positions"] = None
        if not (vectors and self.chosen):
            changes["vectors"] = None
            if self.reference is not None:
                changes["reference"] = replace(self.reference, mean=None, deviation=None, components=None)
        return replace(self, **changes)

    def neighbour(self, index: int) -> NearestNeighbour:
        """The nearest neighbour of one occurrence."""
        if self.nearest is None or self.nearest_similarity is None or self.nearest[index] < 0:
            return NearestNeighbour(self.state, None, None)
        return NearestNeighbour(self.state, int(self.nearest[index]), float(self.nearest_similarity[index]))


@struct(short=False)
class SampleInfo(NamedTuple):
    """The reference sample: the source of its sentences, and the numbers of sentences, words and pairs."""

    source: str
    sentences: int
    words: int
    pairs: int


class OccurrenceLine(NamedTuple):
    """One occurrence as a line of JSON Lines. occurrence: its index.  states: the chosen ones."""

    occurrence: int
    content: Annotated[Occurrence, FLAT]
    states: tuple[NearestNeighbour, ...]


@show_result
class CompareResult(
    Struct,
    json="schema warnings notes model device dtype stack state_count causal echo template word words pool adjust "
    "sample best held_out same_prefix left_out occurrences written_states made_by",
):
    """Occurrences of a word, and how alike they are at every state that was run.

    model, device, dtype: what was run, where, and in which number format.
    word: the first word.  words: all of them.  stack: the stack of the states.  state_count: how many it has.
    occurrences: in the order of the sentences; rows and columns of matrices are in this order.
    states: the chosen ones, and all before them.  adjust, pool: as requested.
    best: the state of these at which the labels are farthest apart.
    held_out: how far apart they are at a state that was chosen on other occurrences; None for fewer than four of a
    label.  sample: the reference sample; None without one.  made_by: versions of the libraries.
    causal: text after a word can't change its vector.  echo: each sentence was given twice, and the word read in the
    second copy.  template: the text in which it was read.
    same_prefix: occurrences, by index, of a causal model whose sentences are the same up to the word's end and differ
    after it, so that their vectors are equal.  left_out: numbers of the sentences that were left out.
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
    echo: bool = False
    template: str | None = None
    best: Annotated[int | None, Key("best_state")] = None
    held_out: HeldOut | None = None
    same_prefix: tuple[tuple[int, ...], ...] = ()
    left_out: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        return self.words[0]

    @property
    def has_groups(self) -> bool:
        """Whether the sentences are in several groups."""
        return any(each.group is not None for each in self.occurrences)

    @property
    def chosen(self) -> tuple[State, ...]:
        return tuple(state for state in self.states if state.chosen)

    @property
    def schema(self) -> Literal["attncli.compare/1"]:
        return SCHEMA

    @property
    def written_states(self) -> Annotated[tuple[State, ...], Key("states")]:
        """The states without matrices that are too large, and without vectors that nothing needs."""
        small = len(self.occurrences) <= MOST_ON_THE_WAY
        # Only these adjusted values can't be computed from the raw ones and the baseline.
        vectors = small and self.adjust in ("standardize", "abtt")
        return tuple(state.written(matrices=small, vectors=vectors) for state in self.states)

    def lines(self) -> Iterator[OccurrenceLine]:
        """The occurrences, as JSON Lines has them."""
        for index, each in enumerate(self.occurrences):
            yield OccurrenceLine(index, each, tuple(state.neighbour(index) for state in self.chosen))
