"""What a model looked at as it wrote each new token, over all heads (`--generate`).

A token is predicted at the position before it. Of that position's row in every head, keys on which heads rest and the
position itself are left out (see `resting_places`): what is left are the ordinary tokens that are read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from attncli.attention.metrics import QueryKeySides, uniform_weights
from attncli.results.heads import resting_places

if TYPE_CHECKING:
    from attncli.models.capture.attention_types import Attention


class StrongestRead(NamedTuple):
    """The head furthest above uniform attention on one key, by its layer and number. excess: how far."""

    excess: float
    layer: int
    head: int
    place: int
    weight: float


@dataclass
class RowTrace:
    """The rows of some positions of one stack, summed over all heads of the layers added so far.

    rows: the positions.  sums: of the weights, float32 (rows, keys).  strongest: of each row; None where it has no
    ordinary key.
    """

    rows: range
    causal: bool
    heads: int = 0
    sums: Tensor | None = None
    strongest: list[StrongestRead | None] = field(default_factory=list)
    ordinary: Tensor | None = None

    def add(self, number: int, attention: Attention, sides: QueryKeySides) -> None:
        """Add a layer: all its heads on the first text."""
        first = self.rows.start + sides.queries.virtual
        ordinary = self._ordinary_keys(sides)
        parts = []
        for block in attention.blocks(rows=(first, first + len(self.rows))):
            seen = sides.seen(block.start, block.stop, block.visible)[0]
            self._add_strongest(number, block.start - first, block.weights[0], seen, ordinary)
            parts.append(block.weights[0].sum(0))
        added = torch.cat(parts)
        self.sums = added if self.sums is None else self.sums + added.to(self.sums.device)
        self.ordinary, self.heads = ordinary, self.heads + attention.heads

    def _ordinary_keys(self, sides: QueryKeySides) -> Tensor:
        """Which keys count for each row: bool (rows, keys)."""
        keys = sides.keys.tokens[0]
        kept = torch.ones(len(self.rows), len(keys), dtype=torch.bool, device=sides.keys.ids.device)
        kept[:, [*resting_places(keys, causal=self.causal)]] = False
        if sides.same_sequence:
            own = torch.arange(len(self.rows)) + self.rows.start + sides.queries.virtual + sides.prefix
            kept[torch.arange(len(self.rows)), own] = False
        return kept

    def _add_strongest(self, number: int, first: int, weights: Tensor, seen: Tensor, ordinary: Tensor) -> None:
        """weights: (heads, rows, keys), of the rows from `first` on.  seen: broadcastable to them."""
        counted = seen & ordinary[first : first + weights.shape[1]]
        excess = (weights - uniform_weights(seen)).masked_fill(~counted, -torch.inf)
        best, place = excess.max(-1)
        for row, head in enumerate(best.argmax(0).tolist()):
            at = int(place[head, row])
            found = StrongestRead(float(best[head, row]), number, head, at, float(weights[head, row, at]))
            if len(self.strongest) <= first + row:
                self.strongest.append(None)
            before = self.strongest[first + row]
            if found.excess > (-torch.inf if before is None else before.excess):
                self.strongest[first + row] = found
