"""The strongest ordinary link of each head: the weight of one token on another that stands out most.

A weight stands out by as much as it is above that of uniform attention over the keys that the query sees. Links from or
to special tokens, and of a token to itself, don't count; nor do links to the first token of a causal stack, on which
heads rest as on a special token (Xiao et al. 2023, "Efficient streaming language models with attention sinks").
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from attncli.attention.metrics import QueryKeySides, uniform_weights
from attncli.results.heads import Link


class _Best(NamedTuple):
    """The best link of each head so far, (heads,): how far it is above uniform attention, its weight and its place."""

    excess: Tensor
    weight: Tensor
    query: Tensor
    key: Tensor


@dataclass
class LinkSearch:
    """Finds the strongest link of every head of a layer, in a batch of one text, block by block."""

    sides: QueryKeySides
    #: With links to the first key, and without them: whether the stack is causal is known at the end.
    _best: dict[bool, _Best] = field(default_factory=dict)

    def add(self, start: int, weights: Tensor, visible: Tensor) -> None:
        """Add the rows from `start`.

        weights: (1, heads, rows, keys).  visible: the keys that they see, (1, heads or 1, rows, keys).
        """
        counts = self._ordinary(start, weights)
        excess = (weights[0] - uniform_weights(visible)[0]).masked_fill(~(counts & visible[0]), -torch.inf)
        for with_first in (True, False):
            if not with_first:
                excess = excess.clone()
                excess[..., int(self.sides.keys.first[0])] = -torch.inf
            self._keep(with_first, _best_of(excess, weights[0], start))

    def _ordinary(self, start: int, weights: Tensor) -> Tensor:
        """Which pairs may be a link: (rows, keys)."""
        queries, keys = self.sides.queries, self.sides.keys
        stop = start + weights.shape[2]
        rows = (queries.real & ~queries.special)[0, start:stop]
        pairs: Tensor = rows[:, None] & (keys.real & ~keys.special)[0][None, :]
        if self.sides.same_sequence:
            itself = torch.arange(start, stop, device=pairs.device) + self.sides.prefix
            pairs = pairs & (itself[:, None] != torch.arange(pairs.shape[1], device=pairs.device))
        return pairs

    def _keep(self, with_first: bool, found: _Best) -> None:
        before = self._best.get(with_first)
        if before is not None:
            better = found.excess > before.excess
            found = _Best(*(torch.where(better, new, old) for new, old in zip(found, before, strict=True)))
        self._best[with_first] = found

    def links(self, *, causal: bool) -> list[Link | None]:
        """The link of every head; None where the text has no two ordinary tokens that see one another."""
        best = self._best.get(not causal)
        if best is None:
            return []
        rows = zip(*(each.tolist() for each in best), strict=True)
        return [
            None if excess == -torch.inf else Link(int(query), int(key), weight, weight - excess)
            for excess, weight, query, key in rows
        ]


def _best_of(excess: Tensor, weights: Tensor, start: int) -> _Best:
    """Of one block: (heads, rows, keys)."""
    largest, place = excess.flatten(1).max(dim=1)
    weight = weights.flatten(1).gather(1, place[:, None])[:, 0]
    query = torch.div(place, weights.shape[2], rounding_mode="floor") + start
    return _Best(largest, weight, query, place % weights.shape[2])
