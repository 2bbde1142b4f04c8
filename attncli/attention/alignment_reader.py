"""Keeps the cross-attention of the heads that follow a sound, for the times of words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from attncli.models.capture.attention_types import all_weights

if TYPE_CHECKING:
    from attncli.attention.collector import Collector
    from attncli.models.capture.attention_types import Attention


@dataclass
class AlignmentReader:
    """heads: (layer, head) of each.  weights: of their layers, float32 (1, heads, queries, keys)."""

    heads: Sequence[tuple[int, int]]
    weights: dict[int, Tensor] = field(default_factory=dict)

    def __call__(self, collector: Collector, attention: Attention) -> None:
        key, number = collector.latest
        if key.cross and any(layer == number for layer, _ in self.heads):
            self.weights[number] = all_weights(attention).float().cpu()
