"""Tests whether occurrences with the same sense label are more similar to each other than to others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt

from attncli.embeddings.accumulator import Contrast, GroupSums
from attncli.embeddings.measure import Floats, Indices, row_blocks, sampled_rows
from attncli.results.compare import Miss, Neighbours, Permutation, Senses

#: Up to this many permutations of the labels the test is exact.
MAX_EXACT_LABELINGS = 20_000
_PERMUTATIONS, _PERMUTATIONS_OF_MANY, _MANY = 9_999, 999, 2_000
#: Differences smaller than this are rounding errors, so such labelings count as equally good.
_ROUNDING = 1e-10
#: Numbers in memory at once while labelings are tried.
_BLOCK_ELEMENTS = 1 << 22

Labels = npt.NDArray[np.int64]


def measure_senses(units: Floats, labels: Sequence[str], seed: int = 0) -> Senses:
    """All statistics of the labels of one word's occurrences."""
    names = tuple(dict.fromkeys(labels))
    codes = np.array([names.index(label) for label in labels], dtype=np.int64)
    within, across = _contrast(units, codes)
    reason = _no_test_reason(codes)
    return Senses(
        occurrences=len(labels),
        labels=names,
        within=within,
        across=across,
        silhouette=silhouette(units, codes),
        neighbours=_neighbours(units, codes, seed),
        permutation=None if reason else permutation_test(units, codes, seed),
        why_no_p=reason,
    )


def _contrast(units: Floats, labels: Labels) -> Contrast:
    sums = GroupSums(int(labels.max()) + 1)
    sums.add(units, labels)
    return sums.contrast(np.arange(sums.groups))


def silhouette(units: Floats, labels: Labels) -> float | None:
    """The mean silhouette (Rousseeuw 1987) on distances 1 − cosine; an occurrence alone in its label counts 0.

    None where there is one label, or none has two occurrences.
    """
    values = silhouettes(units, labels)
    return None if values is None else float(values.mean())


def silhouettes(units: Floats, labels: Labels) -> Floats | None:
    """One silhouette per occurrence: (b − a) / max(a, b), with a the mean distance in its label, b to the next."""
    sums, sizes = _label_sums(units, labels)
    if len(sizes) < 2 or sizes.max() < 2:
        return None
    totals = units @ sums.T
    rows = np.arange(len(units))
    own_size = sizes[labels]
    own = (totals[rows, labels] - (units * units).sum(axis=1)) / np.maximum(own_size - 1, 1)
    others = totals / sizes
    others[rows, labels] = -np.inf
    inside, outside = 1 - own, 1 - others.max(axis=1)
    greatest = np.maximum(np.maximum(inside, outside), 1e-12)
    return np.where(own_size > 1, (outside - inside) / greatest, 0.0)


def _neighbours(units: Floats, labels: Labels, seed: int) -> Neighbours | None:
    """How many occurrences have a nearest neighbour of their own label, among those with another of their label.

    An equally near occurrence of another label counts as a miss, so that the order of sentences makes no difference.
    """
    sizes = np.bincount(labels)[labels]
    sample = sampled_rows(len(labels), seed)
    counted = sample[sizes[sample] > 1]
    if not len(counted):
        return None
    found = [_misses(units, labels, rows) for rows in row_blocks(counted, len(labels))]
    misses = tuple(miss for block in found for miss in block)
    chance = float(((sizes[counted] - 1) / (len(labels) - 1)).mean())
    return Neighbours(len(counted) - len(misses), len(counted), chance, misses)


def _misses(units: Floats, labels: Labels, rows: Indices) -> Iterator[Miss]:
    block = units[rows] @ units.T
    block[np.arange(len(rows)), rows] = -np.inf
    same = labels[rows][:, None] == labels[None, :]
    own = np.where(same, block, -np.inf).max(axis=1)
    others = np.where(same, -np.inf, block)
    for place in np.flatnonzero(own <= others.max(axis=1) + _ROUNDING):
        other = int(others[place].argmax())
        value = float(others[place, other])
        yield Miss(int(rows[place]), other, min(value, 1.0), tied=bool(abs(own[place] - value) <= _ROUNDING))


def _no_test_reason(labels: Labels) -> str | None:
    sizes = np.bincount(labels)
    if len(sizes) < 2:
        return "there is one label"
    if sizes.max() < 2:
        return "no label has two occurrences"
    if _labelings(sizes.tolist()) == _symmetries(sizes.tolist()):
        return "every way to deal these labels separates alike"
    return None


def permutation_test(units: Floats, labels: Labels, seed: int = 0) -> Permutation:
    """One-sided: how often permuted labels separate (within − across) at least as well as the real ones.

    Exact over all permutations where these are few; else over random ones, with p = (b + 1) / (m + 1)
    (Phipson & Smyth 2010).
    """
    sizes = np.bincount(labels).tolist()
    total = _labelings(sizes)
    observed = _separations(units, labels[None, :])[0]
    exact = total <= MAX_EXACT_LABELINGS
    labelings = _all_labelings(len(labels), sizes) if exact else _random_labelings(labels, seed)
    as_well = 0
    count = 0
    for block in _in_blocks(labelings, units):
        as_well += int((_separations(units, block) >= observed - _ROUNDING).sum())
        count += len(block)
    if exact:
        return Permutation(as_well / count, count, True, _symmetries(sizes) / total)
    return Permutation((as_well + 1) / (count + 1), count, False, max(_symmetries(sizes) / total, 1 / (count + 1)))


def _labelings(sizes: Sequence[int]) -> int:
    """The number of distinct permutations of labels with these frequencies: n! / Π n_l!"""
    left, ways = sum(sizes), 1
    for size in sizes:
        ways *= comb(left, size)
        left -= size
    return ways


def _symmetries(sizes: Sequence[int]) -> int:
    """How many of them only swap the names of equally frequent labels."""
    ways = 1
    for size in set(sizes):
        for place in range(1, sizes.count(size) + 1):
            ways *= place
    return ways


def _all_labelings(count: int, sizes: Sequence[int]) -> Iterator[list[int]]:
    def deal(free: tuple[int, ...], label: int, dealt: list[int]) -> Iterator[list[int]]:
        if label == len(sizes):
            yield dealt.copy()
            return
        for chosen in combinations(free, sizes[label]):
            for place in chosen:
                dealt[place] = label
            taken = set(chosen)
            yield from deal(tuple(place for place in free if place not in taken), label + 1, dealt)

    return deal(tuple(range(count)), 0, [0] * count)


def _random_labelings(labels: Labels, seed: int) -> Iterator[Labels]:
    rng = np.random.default_rng(seed)
    for _ in range(_PERMUTATIONS if len(labels) <= _MANY else _PERMUTATIONS_OF_MANY):
        yield rng.permutation(labels)


def _in_blocks(labelings: Iterator[list[int]] | Iterator[Labels], units: Floats) -> Iterator[Labels]:
    step = max(1, _BLOCK_ELEMENTS // units.size)
    block: list[object] = []
    for labeling in labelings:
        block.append(labeling)
        if len(block) == step:
            yield np.array(block, dtype=np.int64)
            block = []
    if block:
        yield np.array(block, dtype=np.int64)


def _separations(units: Floats, labelings: Labels) -> Floats:
    """within − across of each labeling, (m,). The cosines of a label's pairs sum to ‖Σu‖² − Σ‖u‖²."""
    count = len(units)
    sizes = np.bincount(labelings[0])
    own = float((units * units).sum())
    whole = units.sum(axis=0)
    total = float(whole @ whole)
    inside = np.zeros(len(labelings))
    for label in range(len(sizes)):
        sums = (labelings == label).astype(np.float64) @ units
        inside += (sums * sums).sum(axis=1)
    pairs_within = float((sizes * (sizes - 1)).sum())
    pairs_across = float(count**2 - (sizes**2).sum())
    return np.asarray((inside - own) / pairs_within - (total - inside) / pairs_across)


def _label_sums(units: Floats, labels: Labels) -> tuple[Floats, Indices]:
    """The sum of the vectors of each label, (labels, d), and their number, (labels,)."""
    sizes = np.bincount(labels)
    order = np.argsort(labels, kind="stable")
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return np.add.reduceat(units[order], starts, axis=0), sizes
