"""How much attention stays within each of two texts that were read together, and how much crosses over.

A quadrant is the mean over the queries of one text of their weight on the keys of one text: Σ_j A_ij over j in B, at
the mean over i in A. That is linear in the weights, so that long texts need no matrix: it is attention to an indicator
of B.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attncli.attention.exact import summable
from attncli.attention.metrics import Pair, uniform
from attncli.results.heads import Quadrants

if TYPE_CHECKING:
    from attncli.models.capture.fused_attention import Reader
    from attncli.models.capture.lazy_mask import Visibility

#: What a token is part of: the first text, the second, or neither (special tokens); −1 for padding.
FIRST, SECOND, APART = 0, 1, 2


def parts_of(sequences: Sequence[int | None], special: Sequence[bool]) -> list[int]:
    """The part of every token. sequences: of which text it is, None of neither."""
    return [
        APART if sequence is None or apart else sequence for sequence, apart in zip(sequences, special, strict=True)
    ]


@dataclass
class QuadrantSums:
    """Running sums of the mass on each part, of so many heads of one layer, by the part of the query.

    They are (batch, heads, 2, 3): queries of the first and the second text; keys of the first, the second, of neither.
    """

    pair: Pair
    _sums: Tensor | None = field(default=None, init=False)

    @classmethod
    def of(cls, pair: Pair) -> QuadrantSums | None:
        """None where queries or keys are not of two texts."""
        parts = pair.queries.parts, pair.keys.parts
        return None if any(side is None or not bool((side == SECOND).any()) for side in parts) else cls(pair)

    @property
    def indicators(self) -> Tensor:
        """A column for each part, float32 (batch, keys, 3)."""
        assert self.pair.keys.parts is not None
        return torch.stack([self.pair.keys.parts == part for part in (FIRST, SECOND, APART)], dim=-1).float()

    def add(self, start: int, weights: Tensor) -> None:
        """Take in the rows from `start`: weights float32 (batch, heads, rows, keys)."""
        self.add_masses(start, weights @ self.indicators[:, None])

    def add_masses(self, start: int, masses: Tensor) -> None:
        """Take in what rows give to each part: (batch, heads, rows, 3)."""
        assert self.pair.queries.parts is not None
        parts = self.pair.queries.parts[:, start : start + masses.shape[2]]
        own = summable(torch.stack([parts == part for part in (FIRST, SECOND)], dim=1)).double()
        total = own[:, None] @ summable(masses).double()
        self._sums = total if self._sums is None else self._sums + total

    def read(self, reader: Reader) -> None:
        """Take in all rows without the matrix."""
        heads = reader.attention.heads
        for reading in reader.readings(self.indicators):
            masses = reading.values.new_zeros(reading.values.shape[0], heads, *reading.values.shape[2:])
            masses[:, reading.heads] = reading.values
            self.add_masses(reading.start, masses)

    def spread(self, visibility: Visibility) -> None:
        """Take in attention spread evenly over what a mask shows."""
        for start, _, visible in visibility.blocks(self.pair.keys.ids.shape[0]):
            self.add(start, uniform(visible & self.pair.keys.real[:, None, None, :]))

    def means(self, text: int) -> list[Quadrants]:
        """The quadrants of every head."""
        assert self._sums is not None and self.pair.queries.parts is not None
        counts = torch.stack([(self.pair.queries.parts[text] == part).sum() for part in (FIRST, SECOND)])
        means = (self._sums[text].cpu() / counts.clamp(min=1)[:, None].cpu()).tolist()
        return [Quadrants(*first, *second) for first, second in means]
