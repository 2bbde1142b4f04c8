"""Attention rollout: how much of each token of the input is in each position, if attention alone carried it.

    Â = rownorm(mean_h A + I),   R_l = Â_l R_{l−1},   R_{−1} = I          Abnar & Zuidema 2020

The identity stands for the residual stream. Rows of R sum to 1; in a causal model they tend to the first token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attncli.errors import UsageError

if TYPE_CHECKING:
    from attncli.models.capture.attention_types import Attention

#: R is a whole matrix: beyond this many tokens it takes too much memory and time to be worth it.
LONGEST = 8192


class Rollout:
    """R of one stack, layer after layer: float32 (batch, positions, positions)."""

    def __init__(self, batch: int, length: int, device: torch.device) -> None:
        if length > LONGEST:
            raise UsageError(
                f"--rollout needs the whole matrix of {length:,} tokens, and takes {LONGEST:,} at most",
                hint="--truncate cuts the text, or leave --rollout out",
            )
        self.product = torch.eye(length, device=device).expand(batch, -1, -1)

    def step(self, attention: Attention) -> Tensor:
        """Take one layer in, and answer with R so far."""
        parts = []
        for block in attention.blocks():
            mean = block.weights.mean(dim=1).to(self.product.device)
            places = torch.arange(block.start, block.stop, device=mean.device)
            mean[:, places - block.start, places] += 1
            parts.append((mean / mean.sum(-1, keepdim=True)) @ self.product)
        self.product = torch.cat(parts, dim=1)
        return self.product
