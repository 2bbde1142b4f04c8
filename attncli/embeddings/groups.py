"""Groups that vectors fall into by themselves, told only where they are clear.

Vectors are divided into 2, 3, … groups by k-means, and the division with the greatest silhouette is taken. It counts as
clear where that silhouette is at least 0.5 ("a reasonable structure", Kaufman & Rousseeuw 1990), and where a single
Gaussian of the same covariance rarely divides as well (the idea of SigClust, Liu et al. 2008), as k-means divides
anything.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from attncli.embeddings.measure import Floats, Indices
from attncli.results.compare import Groups

#: The fewest occurrences that can make two groups of two.
FEWEST = 4
_MOST_GROUPS, _LEAST_SILHOUETTE, _MOST_P = 6, 0.5, 0.05
_SIMULATIONS, _ITERATIONS = 199, 25
#: Of more occurrences than this so many are drawn, and the others join the group that is nearest.
MOST_DIVIDED = 120
#: Principal components that are kept; up to one occurrence more than this, that loses nothing.
_COMPONENTS = 30

Batch = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def find_groups(units: Floats, seed: int = 0) -> Groups:
    """The groups of unit vectors, (n, d), the one with the first occurrence first. The order of rows plays no part."""
    count = len(units)
    if count < FEWEST:
        return Groups((), None, None, why_not=f"{count} occurrences can't make groups of two")
    chance = np.random.default_rng(seed)
    drawn = np.sort(chance.choice(count, MOST_DIVIDED, replace=False)) if count > MOST_DIVIDED else np.arange(count)
    points, spread = _reduced(units[drawn])
    if not spread.sum() > 1e-9:
        return Groups((), None, None, why_not="the occurrences are all alike")
    values, labels = _best_division(points[None])
    silhouette = float(values[0])
    if not np.isfinite(silhouette):
        return Groups((), None, None, why_not="no division has two occurrences in every group")
    like_one, _ = _best_division(chance.normal(size=(_SIMULATIONS, *points.shape)) * np.sqrt(spread))
    p = float(((like_one >= silhouette).sum() + 1) / (_SIMULATIONS + 1))
    sampled = len(drawn) if count > MOST_DIVIDED else None
    if silhouette < _LEAST_SILHOUETTE or p > _MOST_P:
        return Groups((), silhouette, p, sampled, why_not=_why_not(silhouette))
    return Groups(_members(units, drawn, labels[0]), silhouette, p, sampled)


def _why_not(silhouette: float) -> str:
    if silhouette < _LEAST_SILHOUETTE:
        return "groups would lie too close together"
    return "vectors of a single group divide as well by chance"


def _members(units: Floats, drawn: Indices, labels: Labels) -> tuple[tuple[int, ...], ...]:
    """Everyone's group: that of the drawn ones as it is, of the others by the nearest mean."""
    number = int(labels.max()) + 1
    centres = np.stack([units[drawn[labels == group]].mean(axis=0) for group in range(number)])
    everyone = np.asarray((units @ (centres / np.linalg.norm(centres, axis=1, keepdims=True)).T).argmax(axis=1))
    everyone[drawn] = labels
    groups = [tuple(np.flatnonzero(everyone == group).tolist()) for group in range(number)]
    return tuple(sorted(groups))


def _reduced(units: Floats) -> tuple[Floats, Floats]:
    """Coordinates in principal components, (n, p), and the variance of each."""
    centred = units - units.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    kept = min(_COMPONENTS, len(units) - 1, len(singular))
    points = left[:, :kept] * singular[:kept]
    return points, singular[:kept] ** 2 / (len(units) - 1)


def _best_division(points: Batch) -> tuple[Floats, Labels]:
    """For each set of points of a batch, (sets, n, p), the greatest silhouette, (sets,), and its labels, (sets, n).

    −∞ where every division leaves somebody alone.
    """
    sets, count, _ = points.shape
    best = np.full(sets, -np.inf)
    labels = np.zeros((sets, count), dtype=np.int64)
    for groups in range(2, min(_MOST_GROUPS, count // 2) + 1):
        divided = _k_means(points, groups)
        values = _silhouettes(points, divided, groups)
        better = values > best + 1e-9
        best[better], labels[better] = values[better], divided[better]
    return best, labels


def _k_means(points: Batch, groups: int) -> Labels:
    """Lloyd's algorithm from centres that lie far apart: the outermost point, then always the farthest one left."""
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

    No two points are ever held against each other: Σ_j |x − y_j|² = n |x|² + Σ|y_j|² − 2 x·Σy_j.
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
    """Between every two of them, (sets, n, m)."""
    squares = (points**2).sum(axis=2)[:, :, None] + (others**2).sum(axis=2)[:, None, :]
    distances: Batch = np.clip(squares - 2 * points @ others.transpose(0, 2, 1), 0.0, None)
    return distances
