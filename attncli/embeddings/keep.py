"""What is kept of the states as sentences go by: vectors of those that will be looked at, sums of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from tempfile import TemporaryFile

import numpy as np

from attncli.embeddings.adjust import adjusted_vectors
from attncli.embeddings.measure import Indices, Vectors, unit_vectors
from attncli.embeddings.path import GroupSums
from attncli.results.compare import Reference

#: Bytes of vectors that are kept in memory; what is more lies in a temporary file, or isn't kept.
_MEMORY = 256 << 20


@dataclass
class Keeper:
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
