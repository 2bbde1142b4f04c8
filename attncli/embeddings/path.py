"""Figures of a state from sums alone, so that none has to be kept whole: Σu of every group tells its mean cosine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from attncli.embeddings.measure import Floats, Indices


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
