"""Figures of a state from sums alone, so that none has to be kept whole: Σu of every group tells its mean cosine.

What is kept of the states as sentences go by: vectors of those that will be looked at, sums of the others.
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
        """Take in the unit vectors, (n, d), of rows of these groups."""
        if self.sums is None:
            self.sums = np.zeros((self.groups, units.shape[1]))
            self.squares = np.zeros(self.groups)
            self.sizes = np.zeros(self.groups, dtype=np.int64)
        np.add.at(self.sums, codes, units)
        self.squares += np.bincount(codes, (units * units).sum(axis=1), minlength=self.groups)
        self.sizes += np.bincount(codes, minlength=self.groups)

    def self_similarity(self, groups: Indices) -> float | None:
        """The mean cosine over pairs of rows of any of these groups; None of fewer than two rows."""
        if self.sums is None:
            return None
        total = self.sums[groups].sum(axis=0)
        count = int(self.sizes[groups].sum())
        pairs = count * (count - 1)
        return float(total @ total - self.squares[groups].sum()) / pairs if pairs else None

    def contrast(self, groups: Indices) -> Contrast:
        """Mean cosine of pairs of the same group, and of different ones, among these groups."""
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


#: Bytes of vectors that are kept in memory; what is more lies in a temporary file, or isn't kept.
_MEMORY = 256 << 20


@dataclass
class StateAccumulator:
    """Takes vectors as they come.

    codes: the group (word and label) of every row.  chosen: the states that will be looked at.
    last: no state beyond it is of interest.  references: of each state, made for the adjustment that is wanted.
    raw, adjusted: sums of unit vectors by state, before and after that adjustment.
    """

    codes: Indices
    chosen: frozenset[int]
    last: int
    references: Mapping[int, Reference]
    vectors: dict[int, Vectors] = field(default_factory=dict)
    raw: dict[int, GroupSums] = field(default_factory=dict)
    adjusted: dict[int, GroupSums] = field(default_factory=dict)

    def take(self, state: int, rows: Sequence[int], vectors: Vectors) -> None:
        """The vectors, (rows, d), of some rows at one state."""
        if state > self.last:
            return
        some = np.asarray(rows, dtype=np.int64)
        codes = self.codes[some]
        self._sums(self.raw, state).add(unit_vectors(vectors), codes)
        reference = self.references.get(state)
        if reference is not None and reference.mean is not None:
            self._sums(self.adjusted, state).add(unit_vectors(adjusted_vectors(vectors, reference)), codes)
        kept = self._room(state, vectors.shape[1])
        if kept is not None:
            kept[some] = vectors

    def _sums(self, sums: dict[int, GroupSums], state: int) -> GroupSums:
        return sums.setdefault(state, GroupSums(int(self.codes.max()) + 1))

    def _room(self, state: int, width: int) -> Vectors | None:
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
    # The file goes when the array does, whose memory map keeps it.
    return np.memmap(TemporaryFile(), dtype=np.float32, mode="w+", shape=shape)
