"""Collects the hidden states of occurrences, and computes similarities, senses, groups and dimensions of each state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from tempfile import TemporaryFile
from typing import NamedTuple

import numpy as np

from attncli.embeddings.halvings import Halvings
from attncli.embeddings.measure import (
    Contrast,
    Floats,
    GroupSums,
    Indices,
    Vectors,
    dimension_contributions,
    explained_variance,
    mean_across,
    mean_over_pairs,
    nearest,
    principal_components,
    similarities,
    unit_vectors,
)
from attncli.embeddings.reference_sample import adjusted_vectors, percentiles, random_variance
from attncli.embeddings.sense_statistics import find_groups, measure_senses
from attncli.results.compare import (
    MOST_IN_MATRIX,
    MOST_ON_THE_WAY,
    Dimension,
    PairDistance,
    Reference,
    Senses,
    State,
    WordFigures,
)

#: The fewest occurrences for a map; fewer are easier to read in their matrix.
_MIN_MAP_POINTS = 4
#: One or two dimensions with this share of a mean cosine dominate it.
_DOMINANT_SHARE = 0.5
#: Below this mean cosine the shares of dimensions mean nothing.
_MIN_COSINE = 0.05


class OccurrenceRows(NamedTuple):
    """The index of each occurrence's word, its label, a rank that doesn't depend on the order of sentences, and its
    group, where the sentences are in several."""

    words: tuple[int, ...]
    labels: tuple[str | None, ...]
    ranks: tuple[object, ...]
    groups: tuple[str | None, ...] = ()

    @property
    def codes(self) -> tuple[Indices, tuple[tuple[int, str | None], ...]]:
        """The group of every row, (rows,), and the word and label of each group."""
        pairs = list(zip(self.words, self.labels, strict=True))
        groups = tuple(dict.fromkeys(pairs))
        indices = {pair: index for index, pair in enumerate(groups)}
        return np.array([indices[pair] for pair in pairs], dtype=np.int64), groups

    def word_rows(self, word: int, *, labelled: bool = False) -> Indices:
        """The rows of one word by rank; labelled: only those with a label."""
        rows = [
            row for row, each in enumerate(self.words) if each == word and not (labelled and self.labels[row] is None)
        ]
        # Rows of equal rank are equal.
        return np.array(sorted(rows, key=lambda row: self.ranks[row]), dtype=np.int64)  # type: ignore[arg-type, return-value]

    @property
    def labelled(self) -> bool:
        return any(label is not None for label in self.labels)


#: Bytes of vectors in memory; beyond that, those of chosen states are in temporary files and others aren't stored.
_MEMORY = 256 << 20


@dataclass
class StateAccumulator:
    """Collects the vectors of occurrences while sentences run, state by state: the sum of a group's unit vectors is
    enough for its mean cosine, so most states needn't be stored.

    codes: the group (word and label) of every row.  chosen: the states whose vectors are needed.
    last: later states are ignored.  references: of each state, for the requested adjustment.
    halvings: of the labelled rows, where these are enough.
    vectors: by state, (rows, d).  raw, adjusted: sums of unit vectors by state, before and after the adjustment.
    """

    codes: Indices
    chosen: frozenset[int]
    last: int
    references: Mapping[int, Reference]
    halvings: Halvings | None = None
    vectors: dict[int, Vectors] = field(default_factory=dict)
    raw: dict[int, GroupSums] = field(default_factory=dict)
    adjusted: dict[int, GroupSums] = field(default_factory=dict)

    def add(self, state: int, rows: Sequence[int], vectors: Vectors) -> None:
        """Add the vectors, (rows, d), of some rows at one state."""
        if state > self.last:
            return
        indices = np.asarray(rows, dtype=np.int64)
        codes = self.codes[indices]
        groups = int(self.codes.max()) + 1
        units = unit_vectors(vectors)
        self.raw.setdefault(state, GroupSums(groups)).add(units, codes)
        reference = self.references.get(state)
        if reference is not None and reference.mean is not None:
            units = unit_vectors(adjusted_vectors(vectors, reference))
            self.adjusted.setdefault(state, GroupSums(groups)).add(units, codes)
        if self.halvings is not None:
            self.halvings.add(state, indices, units)
        storage = self._storage(state, vectors.shape[1])
        if storage is not None:
            storage[indices] = vectors

    def _storage(self, state: int, width: int) -> Vectors | None:
        """The array for the vectors of a state; None where they aren't stored."""
        if state not in self.vectors:
            size = len(self.codes) * width * 4
            fits = size * (self.last + 1) <= _MEMORY
            if not fits and state not in self.chosen:
                return None
            self.vectors[state] = _zeros((len(self.codes), width), on_disk=not fits and size > _MEMORY // 4)
        return self.vectors[state]


def _zeros(shape: tuple[int, int], *, on_disk: bool) -> Vectors:
    if not on_disk:
        return np.zeros(shape, dtype=np.float32)
    # The memory map keeps the file open, which is deleted together with the array.
    return np.memmap(TemporaryFile(), dtype=np.float32, mode="w+", shape=shape)


class StatesRequest(NamedTuple):
    """How states are described: the adjustment, the number of dimensions to name, and the random seed."""

    adjust: str = "none"
    dimensions: int | None = None
    seed: int = 0


def describe_states(
    accumulator: StateAccumulator, rows: OccurrenceRows, words: Sequence[str], request: StatesRequest
) -> tuple[State, ...]:
    """Describe every state that was run, in order."""
    _, groups = rows.codes
    return tuple(_state(number, accumulator, rows, groups, words, request) for number in sorted(accumulator.raw))


def dominant_dimensions(vectors: Vectors) -> tuple[Dimension, ...]:
    """One or two dimensions that make up half of the mean cosine or more; empty where it takes more."""
    top = top_dimensions(unit_vectors(vectors), 2)
    for count in (1, 2):
        if sum(dimension.share for dimension in top[:count]) >= _DOMINANT_SHARE:
            return top[:count]
    return ()


def top_dimensions(units: Floats, count: int) -> tuple[Dimension, ...]:
    """The dimensions that contribute most to the mean cosine of pairs; empty where it is near 0."""
    if len(units) < 2:
        return ()
    contributions = dimension_contributions(units)
    mean = float(contributions.sum())
    if abs(mean) < _MIN_COSINE:
        return ()
    largest = np.argsort(-contributions * np.sign(mean), kind="stable")[:count]
    return tuple(Dimension(int(d), float(contributions[d]), float(contributions[d] / mean)) for d in largest)


def _state(
    number: int,
    accumulator: StateAccumulator,
    rows: OccurrenceRows,
    groups: Sequence[tuple[int, str | None]],
    words: Sequence[str],
    request: StatesRequest,
) -> State:
    reference = accumulator.references.get(number)
    own = [index for index, (word, _) in enumerate(groups) if word == 0]
    labelled = [index for index in own if groups[index][1] is not None]
    sums = accumulator.adjusted.get(number, accumulator.raw[number])
    baseline = _baseline(reference, request)
    contrast = sums.contrast(np.array(labelled)) if len(labelled) > 1 else Contrast(None, None)
    within, across = _minus_baseline(contrast, baseline)
    adjusted = sums.self_similarity(np.array(own)) if request.adjust != "none" else None
    state = State(
        state=number,
        chosen=number in accumulator.chosen,
        self_similarity=accumulator.raw[number].self_similarity(np.array(own)),
        reference=reference,
        adjusted_self_similarity=None if adjusted is None else adjusted - baseline,
        within=within,
        across=across,
    )
    vectors = accumulator.vectors.get(number)
    small = len(rows.words) <= (MOST_IN_MATRIX if state.chosen else MOST_ON_THE_WAY)
    if vectors is None or not (small or state.chosen):
        return state
    return _with_vectors(state, vectors, rows, words, request, small=small)


def _with_vectors(
    state: State, vectors: Vectors, rows: OccurrenceRows, words: Sequence[str], request: StatesRequest, *, small: bool
) -> State:
    units = unit_vectors(adjusted_vectors(vectors, state.reference))
    baseline = _baseline(state.reference, request)
    shown = similarities(units) - baseline if small else None
    own = rows.word_rows(0)
    described = replace(
        state,
        similarity=similarities(unit_vectors(vectors)) if small else None,
        adjusted=shown if request.adjust != "none" else None,
        percentile=percentiles(shown, state.reference) if shown is not None and state.reference else None,
        explained_variance=explained_variance(vectors[own]),
        explained_variance_random=random_variance(len(own), state.reference) if state.reference else None,
        vectors=vectors,
    )
    if not state.chosen:
        return described
    indices, values = nearest(units, request.seed)
    mapped = principal_components(units) if len(units) >= _MIN_MAP_POINTS else None
    groups = None if rows.labelled else find_groups(units[own], request.seed)
    if groups is not None:
        members = sorted(tuple(sorted(own[list(group)].tolist())) for group in groups.members)
        groups = groups._replace(members=tuple(members))
    return replace(
        described,
        senses=_senses(units, rows, rows.labels, baseline, request.seed),
        change=_senses(units, rows, rows.groups, baseline, request.seed) if rows.groups else None,
        distances=_distances(units, rows),
        groups=groups,
        words=_word_figures(vectors, units, rows, words, baseline) if len(words) > 1 else (),
        # A single occurrence of the word has cosines only with other words.
        dimensions=top_dimensions(units[own] if len(own) > 1 else units, request.dimensions or 0),
        nearest=indices,
        nearest_similarity=values - baseline,
        positions=mapped and mapped[0],
        explained=mapped and mapped[1],
    )


def _senses(
    units: Floats, rows: OccurrenceRows, given: Sequence[str | None], baseline: float, seed: int
) -> Senses | None:
    """Statistics of the labels, or of the groups, of the first word's occurrences."""
    labelled = np.array([row for row in rows.word_rows(0) if given[row] is not None], dtype=np.int64)
    if len(labelled) < 2:
        return None
    labels = [str(given[row]) for row in labelled]
    senses = measure_senses(units[labelled], labels, seed)
    contrast = _minus_baseline(Contrast(senses.within, senses.across), baseline)
    neighbours = senses.neighbours
    if neighbours is not None:
        wrong = (
            miss._replace(
                occurrence=int(labelled[miss.occurrence]),
                nearest=int(labelled[miss.nearest]),
                similarity=miss.similarity - baseline,
            )
            for miss in neighbours.wrong
        )
        neighbours = neighbours._replace(wrong=tuple(sorted(wrong)))
    ordered = dict.fromkeys(str(label) for label in given if label is not None)
    return senses._replace(labels=tuple(ordered), within=contrast.within, across=contrast.across, neighbours=neighbours)


def _distances(units: Floats, rows: OccurrenceRows) -> tuple[PairDistance, ...]:
    """The average pairwise distance of every two groups of the first word, or of every two labels without groups."""
    given = rows.groups or rows.labels
    members: dict[str, list[int]] = {}
    for row, name in enumerate(given):
        if name is not None and rows.words[row] == 0:
            members.setdefault(name, []).append(row)
    return tuple(
        PairDistance(first, second, len(own) * len(other), 1 - mean_across(units[own], units[other]))
        for (first, own), (second, other) in combinations(members.items(), 2)
    )


def _word_figures(
    vectors: Vectors, units: Floats, rows: OccurrenceRows, words: Sequence[str], baseline: float
) -> tuple[WordFigures, ...]:
    members = [rows.word_rows(number) for number in range(len(words))]
    figures = []
    for number, (word, own) in enumerate(zip(words, members, strict=True)):
        inner = mean_over_pairs(units[own])
        across = {
            other: mean_across(units[own], units[each]) - baseline
            for place, (other, each) in enumerate(zip(words, members, strict=True))
            if place != number
        }
        inner = None if inner is None else inner - baseline
        figures.append(WordFigures(word, len(own), inner, explained_variance(vectors[own]), across))
    return tuple(figures)


def _baseline(reference: Reference | None, request: StatesRequest) -> float:
    """The number that is subtracted from every similarity."""
    return reference.baseline if reference is not None and request.adjust == "baseline" else 0.0


def _minus_baseline(contrast: Contrast, baseline: float) -> Contrast:
    within, across = (None if value is None else value - baseline for value in contrast)
    return Contrast(within, across)
