"""Collects hidden states while sentences run: vectors of the chosen states, and sums for the others.

The sum of a group's unit vectors is enough for its mean cosine, so most states needn't be stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from typing import NamedTuple

import numpy as np

from attncli.embeddings.measure import Floats, Indices, Vectors, unit_vectors
from attncli.embeddings.reference_sample import adjusted_vectors
from attncli.results.compare import Reference


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


class Contrast(NamedTuple):
    """Mean similarity within groups and across them; None where there are no such pairs."""

    within: float | None
    across: float | None


#: Bytes of vectors in memory; beyond that, those of chosen states are in temporary files and others aren't stored.
_MEMORY = 256 << 20


@dataclass
class StateAccumulator:
    """Collects the vectors of occurrences, state by state.

    codes: the group (word and label) of every row.  chosen: the states whose vectors are needed.
    last: later states are ignored.  references: of each state, for the requested adjustment.
    vectors: by state, (rows, d).  raw, adjusted: sums of unit vectors by state, before and after the adjustment.
    """

    codes: Indices
    chosen: frozenset[int]
    last: int
    references: Mapping[int, Reference]
    vectors: dict[int, Vectors] = field(default_factory=dict)
    raw: dict[int, GroupSums] = field(default_factory=dict)
    adjusted: dict[int, GroupSums] = field(default_factory=dict)

    def add(self, state: int, rows: Sequence[int], vectors: Vectors) -> None:
        """Add the vectors, (rows, d), of some rows at one state."""
        if state > self.last:
            return
        indices = np.asarray(rows, dtype=np.int64)
        codes = self.codes[indices]
        self._group_sums(self.raw, state).add(unit_vectors(vectors), codes)
        reference = self.references.get(state)
        if reference is not None and reference.mean is not None:
            self._group_sums(self.adjusted, state).add(unit_vectors(adjusted_vectors(vectors, reference)), codes)
        storage = self._storage(state, vectors.shape[1])
        if storage is not None:
            storage[indices] = vectors

    def _group_sums(self, sums: dict[int, GroupSums], state: int) -> GroupSums:
        return sums.setdefault(state, GroupSums(int(self.codes.max()) + 1))

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
