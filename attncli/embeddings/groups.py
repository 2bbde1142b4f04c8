"""Clusters of vectors, reported only where they are clear.

Vectors are divided into 2, 3, … groups by k-means, and the division with the greatest silhouette is taken. It counts as
clear where that silhouette is at least 0.5 ("a reasonable structure", Kaufman & Rousseeuw 1990), and where a single
Gaussian of the same covariance rarely divides as well (the idea of SigClust, Liu et al. 2008), as k-means divides
any data.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from attncli.embeddings.measure import Floats, Indices
from attncli.results.compare import Groups

#: The fewest occurrences for two groups of two.
MIN_OCCURRENCES = 4
_MAX_GROUPS, _MIN_SILHOUETTE, _MAX_P = 6, 0.5, 0.05
_SIMULATIONS, _ITERATIONS = 199, 25
#: Of more occurrences than this a random sample is clustered, and the others join the nearest group.
MAX_CLUSTERED = 120
#: The number of principal components; for up to one more occurrence than this nothing is lost.
_COMPONENTS = 30

Batch = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def find_groups(units: Floats, seed: int = 0) -> Groups:
    """The groups of unit vectors, (n, d), by their first occurrences. The order of rows makes no difference."""
    count = len(units)
    if count < MIN_OCCURRENCES:
        return Groups((), None, None, why_not=f"{count} occurrences can't make groups of two")
    rng = np.random.default_rng(seed)
    sample = np.sort(rng.choice(count, MAX_CLUSTERED, replace=False)) if count > MAX_CLUSTERED else np.arange(count)
    points, spread = _principal_coordinates(units[sample])
    if not spread.sum() > 1e-9:
        return Groups((), None, None, why_not="the occurrences are all alike")
    values, labels = _best_division(points[None])
    silhouette = float(values[0])
    if not np.isfinite(silhouette):
        return Groups((), None, None, why_not="no division has two occurrences in every group")
    simulated, _ = _best_division(rng.normal(size=(_SIMULATIONS, *points.shape)) * np.sqrt(spread))
    p = float(((simulated >= silhouette).sum() + 1) / (_SIMULATIONS + 1))
    sampled = len(sample) if count > MAX_CLUSTERED else None
    if silhouette < _MIN_SILHOUETTE or p > _MAX_P:
        return Groups((), silhouette, p, sampled, why_not=_no_groups_reason(silhouette))
    return Groups(_assign_groups(units, sample, labels[0]), silhouette, p, sampled)


def _no_groups_reason(silhouette: float) -> str:
    if silhouette < _MIN_SILHOUETTE:
        return "groups would lie too close together"
    return "vectors of a single group divide as well by chance"


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
