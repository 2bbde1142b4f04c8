"""The senses of a word: whether occurrences with the same label are more similar to each other than to others, and
clusters of vectors without labels, reported only where they are clear.

Vectors are divided into 2, 3, … groups by k-means, and the division with the greatest silhouette is taken. It counts as
clear where that silhouette is at least 0.5 ("a reasonable structure", Kaufman & Rousseeuw 1990), and where a single
Gaussian of the same covariance rarely divides as well (the idea of SigClust, Liu et al. 2008), as k-means divides
any data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate, combinations, islice
from math import comb, factorial, prod

import numpy as np
import numpy.typing as npt

from attncli.embeddings.measure import Floats, GroupSums, Indices, row_blocks, sampled_rows
from attncli.results.compare import Groups, Miss, Neighbours, Permutation, Senses

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
    sums = GroupSums(len(names))
    sums.add(units, codes)
    within, across = sums.contrast(np.arange(sums.groups))
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


def silhouette(units: Floats, labels: Labels) -> float | None:
    """The mean silhouette (Rousseeuw 1987) on distances 1 − cosine; an occurrence alone in its label counts 0.

    None where all occurrences have the same label, or none has two occurrences.
    """
    values = silhouettes(units, labels)
    return None if values is None else float(values.mean())


def silhouettes(units: Floats, labels: Labels) -> Floats | None:
    """One silhouette per occurrence: (b − a) / max(a, b), with a the mean distance in its label, b to the next."""
    sizes = np.bincount(labels)
    if len(sizes) < 2 or sizes.max() < 2:
        return None
    # The sum of the vectors of each label, (labels, d).
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    totals = units @ np.add.reduceat(units[np.argsort(labels, kind="stable")], starts, axis=0).T
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
        return "all occurrences have the same label"
    if sizes.max() < 2:
        return "no label has two occurrences"
    if _labelings(sizes.tolist()) == _symmetries(sizes.tolist()):
        return "any other assignment of these labels gives the same difference"
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
    rng, draws = np.random.default_rng(seed), _PERMUTATIONS if len(labels) <= _MANY else _PERMUTATIONS_OF_MANY
    drawn = (rng.permutation(labels) for _ in range(draws))
    as_well = count = 0
    labelings = _all_labelings(len(labels), sizes) if exact else drawn
    step = max(1, _BLOCK_ELEMENTS // units.size)
    while dealt := list(islice(labelings, step)):
        block = np.array(dealt, dtype=np.int64)
        as_well += int((_separations(units, block) >= observed - _ROUNDING).sum())
        count += len(block)
    if exact:
        return Permutation(as_well / count, count, True, _symmetries(sizes) / total)
    return Permutation((as_well + 1) / (count + 1), count, False, max(_symmetries(sizes) / total, 1 / (count + 1)))


def _labelings(sizes: Sequence[int]) -> int:
    """The number of distinct permutations of labels with these frequencies: n! / Π n_l!"""
    return prod(comb(dealt, size) for dealt, size in zip(accumulate(sizes), sizes, strict=True))


def _symmetries(sizes: Sequence[int]) -> int:
    """How many of them only swap the names of equally frequent labels."""
    return prod(map(factorial, Counter(sizes).values()))


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


# --- Groups without labels

#: The fewest occurrences for two groups of two.
MIN_OCCURRENCES = 4
_MAX_GROUPS, _MIN_SILHOUETTE, _MAX_P = 6, 0.5, 0.05
_SIMULATIONS, _ITERATIONS = 199, 25
#: Of more occurrences than this a random sample is clustered, and the others join the nearest group.
MAX_CLUSTERED = 120
#: The number of principal components; for up to one more occurrence than this nothing is lost.
_COMPONENTS = 30

Batch = npt.NDArray[np.float64]


def find_groups(units: Floats, seed: int = 0) -> Groups:
    """The groups of unit vectors, (n, d), by their first occurrences. The order of rows makes no difference."""
    count = len(units)
    if count < MIN_OCCURRENCES:
        return Groups((), None, None, why_not=f"{count} occurrences are too few")
    rng = np.random.default_rng(seed)
    sample = np.sort(rng.choice(count, MAX_CLUSTERED, replace=False)) if count > MAX_CLUSTERED else np.arange(count)
    points, spread = _principal_coordinates(units[sample])
    if not spread.sum() > 1e-9:
        return Groups((), None, None, why_not="all occurrences have the same vector")
    values, labels = _best_division(points[None])
    silhouette = float(values[0])
    if not np.isfinite(silhouette):
        return Groups((), None, None, why_not="no division has at least two occurrences in every group")
    simulated, _ = _best_division(rng.normal(size=(_SIMULATIONS, *points.shape)) * np.sqrt(spread))
    p = float(((simulated >= silhouette).sum() + 1) / (_SIMULATIONS + 1))
    sampled = len(sample) if count > MAX_CLUSTERED else None
    if silhouette < _MIN_SILHOUETTE or p > _MAX_P:
        close, alone = "the groups would overlap", "vectors of one group would divide as well by chance"
        return Groups((), silhouette, p, sampled, why_not=close if silhouette < _MIN_SILHOUETTE else alone)
    return Groups(_assign_groups(units, sample, labels[0]), silhouette, p, sampled)


def _assign_groups(units: Floats, sample: Indices, labels: Labels) -> tuple[tuple[int, ...], ...]:
    """The members of each group: the clustered sample, and the other rows by their nearest mean."""
    number = int(labels.max()) + 1
    centres = np.stack([units[sample[labels == group]].mean(axis=0) for group in range(number)])
    all_labels = np.asarray((units @ (centres / np.linalg.norm(centres, axis=1, keepdims=True)).T).argmax(axis=1))
    all_labels[sample] = labels
    groups = [tuple(np.flatnonzero(all_labels == group).tolist()) for group in range(number)]
    return tuple(sorted(groups))


def _principal_coordinates(units: Floats) -> tuple[Floats, Floats]:
    """Coordinates in principal components, (n, p), and the variance of each."""
    centred = units - units.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    count = min(_COMPONENTS, len(units) - 1, len(singular))
    points = left[:, :count] * singular[:count]
    return points, singular[:count] ** 2 / (len(units) - 1)


def _best_division(points: Batch) -> tuple[Floats, Labels]:
    """For each set of points of a batch, (sets, n, p), the greatest silhouette, (sets,), and its labels, (sets, n).

    −∞ where every division has a group of one.
    """
    sets, count, _ = points.shape
    best = np.full(sets, -np.inf)
    labels = np.zeros((sets, count), dtype=np.int64)
    for groups in range(2, min(_MAX_GROUPS, count // 2) + 1):
        divided = _k_means(points, groups)
        values = _silhouettes(points, divided, groups)
        better = values > best + 1e-9
        best[better], labels[better] = values[better], divided[better]
    return best, labels


def _k_means(points: Batch, groups: int) -> Labels:
    """Lloyd's algorithm. The first centres are the outermost point, then always the point farthest from all others."""
    sets, count, _ = points.shape
    rows = np.arange(sets)
    centres = np.empty((sets, groups, points.shape[2]))
    far = ((points - points.mean(axis=1, keepdims=True)) ** 2).sum(axis=2)
    for group in range(groups):
        centres[:, group] = points[rows, far.argmax(axis=1)]
        from_it = _squared_distances(points, centres[:, group : group + 1])[:, :, 0]
        far = from_it if group == 0 else np.minimum(far, from_it)
    labels = np.zeros((sets, count), dtype=np.int64)
    for _ in range(_ITERATIONS):
        before, labels = labels, _squared_distances(points, centres).argmin(axis=2)
        if np.array_equal(before, labels):
            break
        members = np.eye(groups)[labels]
        sizes = members.sum(axis=1)[:, :, None]
        means = members.transpose(0, 2, 1) @ points / np.maximum(sizes, 1)
        centres = np.where(sizes > 0, means, centres)
    return labels


def _silhouettes(points: Batch, labels: Labels, groups: int) -> Floats:
    """The mean silhouette of each set, (sets,), on squared distances; −∞ where a group has fewer than two members.

    Computed without distances between pairs of points: Σ_j |x − y_j|² = n |x|² + Σ|y_j|² − 2 x·Σy_j.
    """
    members = np.eye(groups)[labels]
    sizes = members.sum(axis=1)
    squares = (points**2).sum(axis=2)
    sums = members.transpose(0, 2, 1) @ points
    square_sums = (members * squares[:, :, None]).sum(axis=1)
    totals = squares[:, :, None] * sizes[:, None, :] + square_sums[:, None, :] - 2 * points @ sums.transpose(0, 2, 1)
    own_size = np.take_along_axis(sizes, labels, axis=1)
    own = np.take_along_axis(totals, labels[:, :, None], axis=2)[:, :, 0] / np.maximum(own_size - 1, 1)
    others = totals / np.maximum(sizes, 1)[:, None, :]
    np.put_along_axis(others, labels[:, :, None], np.inf, axis=2)
    nearest = others.min(axis=2)
    values = ((nearest - own) / np.maximum(np.maximum(nearest, own), 1e-12)).mean(axis=1)
    mean: Floats = np.where(sizes.min(axis=1) >= 2, values, -np.inf)
    return mean


def _squared_distances(points: Batch, others: Batch) -> Batch:
    """The squared distances between points and others, (sets, n, m)."""
    squares = (points**2).sum(axis=2)[:, :, None] + (others**2).sum(axis=2)[:, None, :]
    distances: Batch = np.clip(squares - 2 * points @ others.transpose(0, 2, 1), 0.0, None)
    return distances
