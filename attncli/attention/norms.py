"""Norm-weighted attention: what a key is worth to a query counts the size of what is read there, not the weight alone.

A head adds Σ_j A_ij f(x_j) to the residual stream, with f(x) = (x W_V + b_V) W_O. Kobayashi et al. 2020 ("Attention is
not only a weight") look at ‖A_ij f(x_j)‖ = A_ij ‖f(x_j)‖ instead of A_ij: the separator that a head rests on often has
a large weight and a tiny vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attncli.errors import UsageError

if TYPE_CHECKING:
    from attncli.models.capture.attention_types import Attention


def value_norms(path: str, attention: Attention, projections: Mapping[str, Tensor]) -> Tensor:
    """‖f(x_j)‖ of every key for every head: float32 (batch, heads, keys). O(N · d²) a head.

    Raises UsageError where the values or the output matrix of the module are not to be had.
    """
    reader, matrix = attention.values_of, projections.get(path)
    if reader is None or matrix is None:
        raise UsageError(
            "--norm-weighted needs the values that heads read, and this model's attention doesn't show them",
            hint="leave --norm-weighted out, or name another model (-m)",
        )
    value = reader.value.float()
    heads, width = attention.heads, value.shape[-1]
    output = matrix.float().to(value.device).reshape(heads, width, -1)
    # ‖v W‖² = v (W Wᵀ) vᵀ: no vector of the model's width is kept for each key of each head.
    gram = output @ output.transpose(1, 2)
    value = value.repeat_interleave(heads // value.shape[1], dim=1)
    squares = torch.einsum("bhkd,hde,bhke->bhk", value, gram, value)
    return squares.clamp(min=0).sqrt()
