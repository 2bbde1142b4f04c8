"""Which keys each query may see, known by its shape where that has a name, and row by row otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

#: `causal`: a query sees itself and earlier keys.  `full`: every key.  `other`: windows, packed texts, prefixes …
#: Padding is no part of it.
Shape = Literal["causal", "full", "other"]

#: Entries of a mask that are alive at once where it has to be spelled out: 16 MiB of float32.
_MASK_ELEMENTS = 1 << 22


@dataclass(frozen=True)
class Visibility:
    """What is visible of `keys` to `queries`.

    padding: the keys that are no padding, bool (batch, keys); None where all are real.
    evaluate: the rows start…stop, padding included: bool, broadcastable to (batch, 1, stop − start, keys).
    """

    shape: Shape
    queries: int
    keys: int
    padding: Tensor | None
    evaluate: Callable[[int, int], Tensor]
    device: torch.device

    @cached_property
    def padded_at_end(self) -> bool:
        """Whether padding, if there is any, comes after all real keys: no real query looks back on it."""
        return self.padding is None or bool((self.padding[:, :-1] | ~self.padding[:, 1:]).all())

    @property
    def triangular(self) -> bool:
        """Whether a causal kernel gives every real query what it sees."""
        return self.shape == "causal" and self.padded_at_end

    @cached_property
    def key_mask(self) -> Tensor | None:
        """What a kernel adds for padding alone: 0 or −∞, float32 (batch, 1, 1, keys); None where there is none."""
        if self.padding is None:
            return None
        return torch.zeros(self.padding.shape, device=self.device).masked_fill(~self.padding, -torch.inf)[:, None, None]

    def blocks(self, batch: int = 1) -> Iterator[tuple[int, int, Tensor]]:
        """All rows in order, as (start, stop, visible), as many at a time as fit into a bounded memory."""
        step = max(1, _MASK_ELEMENTS // max(1, batch * self.keys))
        for start in range(0, self.queries, step):
            stop = min(start + step, self.queries)
            yield start, stop, self.evaluate(start, stop)


def implied(*, causal: bool, queries: int, keys: int, device: torch.device) -> Visibility:
    """What a call without a mask means: a query sees everything, or itself and earlier keys."""

    def evaluate(start: int, stop: int) -> Tensor:
        columns = torch.arange(keys, device=device)[None, :]
        if not causal:
            return torch.ones(1, 1, stop - start, keys, dtype=torch.bool, device=device)
        return (columns <= torch.arange(start, stop, device=device)[:, None])[None, None]

    return Visibility("causal" if causal else "full", queries, keys, None, evaluate, device)
