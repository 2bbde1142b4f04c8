"""Similarity measures: cosines, self-similarity, explained variance, nearest neighbours, principal components.

Most functions take `units`, (occurrences, d): vectors of length 1, whose inner products are cosines. Large products are
computed in blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.floating]
Indices = npt.NDArray[np.int64]

#: Similarities in memory at once: 32 MiB of float64.
_BLOCK_ELEMENTS = 1 << 22
#: Up to this many occurrences all nearest neighbours are computed; of more, those of a random sample.
MAX_ALL_NEIGHBOURS = 20_000
_SAMPLED_NEIGHBOURS = 2_000


def unit_vectors(vectors: Vectors) -> Floats:
    """Each row divided by its length, in float64; a row of zeros stays zero."""
    exact = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    return exact / np.where(lengths > 0, lengths, 1.0)


def similarities(units: Floats) -> Floats:
    """All cosines, (n, n): symmetric, and exactly 1 on the diagonal."""
    matrix = units @ units.T
    # Rounding may differ on both sides of the diagonal, lead beyond 1, and keep equal vectors from reaching it.
    matrix = np.clip((matrix + matrix.T) / 2, -1.0, 1.0)
    matrix[matrix > 1 - 1e-12] = 1.0
    np.fill_diagonal(matrix, 1.0)
    return matrix


def mean_over_pairs(units: Floats) -> float | None:
    """The mean cosine over pairs of different rows, without their matrix: (‖Σu‖² − Σ‖u‖²) / (n(n − 1)).

    None for fewer than two rows.
    """
    count = len(units)
    if count < 2:
        return None
    total = units.sum(axis=0)
    return float((total @ total - (units * units).sum()) / (count * (count - 1)))


def mean_across(first: Floats, second: Floats) -> float:
    """The mean cosine over pairs of a row of `first` and a row of `second`."""
    return float(first.mean(axis=0) @ second.mean(axis=0))


def explained_variance(vectors: Vectors) -> float | None:
    """σ₁²/Σσ² of the matrix of occurrences, not centred: the share of it that one vector explains (Ethayarajh 2019).

    None for fewer than two vectors, and where all are zero.
    """
    count, width = vectors.shape
    if count < 2:
        return None
    exact = np.asarray(vectors, dtype=np.float64)
    squares = np.linalg.eigvalsh(exact @ exact.T if count <= width else exact.T @ exact)
    total = float(squares.sum())
    return float(squares[-1]) / total if total > 0 else None


def nearest(units: Floats, seed: int = 0) -> tuple[Indices, Floats]:
    """Each row's nearest other row and their cosine; −1 and 0 for rows outside of the sample (`sampled_rows`).

    Of equally near rows the first counts.
    """
    count = len(units)
    indices, values = np.full(count, -1, dtype=np.int64), np.zeros(count)
    if count < 2:
        return indices, values
    for rows in row_blocks(sampled_rows(count, seed), count):
        block = units[rows] @ units.T
        block[np.arange(len(rows)), rows] = -np.inf
        # Of values that differ only by rounding the first is the greatest.
        indices[rows] = np.argmax(block >= block.max(axis=1, keepdims=True) - 1e-9, axis=1)
        values[rows] = np.clip(block[np.arange(len(rows)), indices[rows]], -1.0, 1.0)
    return indices, values


def sampled_rows(count: int, seed: int = 0) -> Indices:
    """The rows whose neighbours are computed: all of them, or a random sample where they are too many."""
    if count <= MAX_ALL_NEIGHBOURS:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, _SAMPLED_NEIGHBOURS, replace=False))


def row_blocks(rows: Indices, columns: int) -> Iterator[Indices]:
    """Split rows into blocks whose products with `columns` rows fit in memory."""
    step = max(1, _BLOCK_ELEMENTS // max(columns, 1))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def dimension_contributions(units: Floats) -> Floats:
    """Each dimension's mean contribution u_i·v_i to the cosine of a pair, (d,); they sum to the mean cosine.

    (Timkey & van Schijndel 2021, with ‖u‖ = ‖v‖ = 1.)
    """
    count = len(units)
    total = units.sum(axis=0)
    return np.asarray((total**2 - (units**2).sum(axis=0)) / (count * (count - 1)))


def principal_components(vectors: Vectors) -> tuple[Floats, tuple[float, float]]:
    """Coordinates in the first two principal components, (n, 2), and the share of the variance that each explains.

    The sign of a component is arbitrary; here the coordinate farthest from 0 is positive, whatever the order of rows.
    """
    exact = np.asarray(vectors, dtype=np.float64)
    centred = exact - exact.mean(axis=0)
    values, axes = np.linalg.eigh(centred.T @ centred if len(exact) > exact.shape[1] else centred @ centred.T)
    values = np.clip(values[::-1], 0, None)
    if len(exact) > exact.shape[1]:
        points = centred @ axes[:, ::-1][:, :2]
    else:
        points = axes[:, ::-1][:, :2] * np.sqrt(values[:2])
    points = np.pad(points, ((0, 0), (0, 2 - points.shape[1])))
    signs = np.sign(points[np.abs(points).argmax(axis=0), [0, 1]])
    total = float(values.sum()) or 1.0
    shares = [*(values[:2] / total).tolist(), 0.0]
    return points * np.where(signs == 0, 1.0, signs), (shares[0], shares[1])


class Contrast(NamedTuple):
    """Mean similarity within groups and across them; None where there are no such pairs."""

    within: float | None
    across: float | None


@dataclass
class GroupSums:
    """For each group of rows the sum of their unit vectors, (groups, d), of their squared lengths, and their number."""

    groups: int
    sums: Floats | None = None
    squares: Floats = field(default_factory=lambda: np.zeros(0))
    sizes: Indices = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def add(self, units: Floats, codes: Indices) -> None:
        """Add unit vectors, (n, d), and the group of each, (n,)."""
        if self.sums is None:
            self.sums = np.zeros((self.groups, units.shape[1]))
            self.squares = np.zeros(self.groups)
            self.sizes = np.zeros(self.groups, dtype=np.int64)
        np.add.at(self.sums, codes, units)
        self.squares += np.bincount(codes, (units * units).sum(axis=1), minlength=self.groups)
        self.sizes += np.bincount(codes, minlength=self.groups)

    def self_similarity(self, groups: Indices) -> float | None:
        """The mean cosine over all pairs of rows in these groups; None for fewer than two rows."""
        if self.sums is None:
            return None
        total = self.sums[groups].sum(axis=0)
        count = int(self.sizes[groups].sum())
        pairs = count * (count - 1)
        return float(total @ total - self.squares[groups].sum()) / pairs if pairs else None

    def contrast(self, groups: Indices) -> Contrast:
        """The mean cosine of pairs within a group, and of pairs across groups, among these groups."""
        if self.sums is None:
            return Contrast(None, None)
        sums, sizes = self.sums[groups], self.sizes[groups]
        inside = float((sums * sums).sum())
        total = sums.sum(axis=0)
        within = int((sizes * (sizes - 1)).sum())
        across = int(sizes.sum()) ** 2 - int((sizes**2).sum())
        return Contrast(
            (inside - float(self.squares[groups].sum())) / within if within else None,
            (float(total @ total) - inside) / across if across else None,
        )
