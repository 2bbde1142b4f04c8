"""A head's attention as a matrix, whole or pooled."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from attncli.results.brief import briefly

Weights = npt.NDArray[np.float32]
Span = tuple[int, int]


@briefly
@dataclass(frozen=True, slots=True)
class Bins:
    """Half-open spans of positions that the rows and the columns of a pooled pattern stand for."""

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    def to_dict(self) -> dict[str, object]:
        return {"rows": [list(span) for span in self.rows], "columns": [list(span) for span in self.columns]}


def equal_spans(length: int, bins: int) -> tuple[Span, ...]:
    """Cut 0…length into `bins` spans whose sizes differ by one at most (fewer spans where the length is smaller)."""
    bins = min(bins, length)
    edges = [length * index // bins for index in range(bins + 1)] if bins else [0]
    return tuple(pairwise(edges))


@briefly
@dataclass(frozen=True, slots=True)
class Pattern:
    """One head's attention, (queries, keys), rows summing to 1; or pooled: rows averaged and columns summed per bin.

    layer, head: from 0; head: None where it is of all heads together, a rollout up to this layer.
    weights: the matrix.  bins: what its rows and columns stand for, where it is pooled.
    """

    layer: int
    head: int | None
    weights: Weights
    bins: Bins | None = None

    def pooled(self, rows: int, columns: int) -> Pattern:
        """The same pattern in at most `rows` × `columns` cells; itself where it is that small already."""
        row_count, column_count = self.weights.shape
        if row_count <= rows and column_count <= columns:
            return self
        row_groups, column_groups = equal_spans(row_count, rows), equal_spans(column_count, columns)
        # A bin that stands for more queries weighs more in the mean of its group.
        sizes = [b - a for a, b in self._spans(0)]
        summed = np.add.reduceat(self.weights, [a for a, _ in column_groups], axis=1)
        weighed = summed * np.asarray(sizes, dtype=np.float32)[:, None]
        starts = [a for a, _ in row_groups]
        pooled = np.add.reduceat(weighed, starts, axis=0) / np.add.reduceat(sizes, starts)[:, None]
        bins = Bins(_merge(self._spans(0), row_groups), _merge(self._spans(1), column_groups))
        return Pattern(self.layer, self.head, pooled.astype(np.float32), bins)

    def _spans(self, axis: int) -> tuple[Span, ...]:
        if self.bins is not None:
            return self.bins.rows if axis == 0 else self.bins.columns
        return tuple((index, index + 1) for index in range(self.weights.shape[axis]))

    def to_dict(self) -> dict[str, object]:
        return {
            "layer": self.layer,
            "head": self.head,
            "weights": self.weights.tolist(),
            "bins": None if self.bins is None else self.bins.to_dict(),
        }


def _merge(spans: tuple[Span, ...], groups: tuple[Span, ...]) -> tuple[Span, ...]:
    return tuple((spans[a][0], spans[b - 1][1]) for a, b in groups)
