"""The fused attention kernels of torch that give the logarithm of each row's sum beside the output.

`scaled_dot_product_attention` keeps that number to itself; the functions beneath it hand it out.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

#: The kernels for CUDA read rows that begin at multiples of so many elements.
_ALIGNMENT = 16


def can_fuse(device: torch.device) -> bool:
    """Whether there is such a kernel for a device."""
    return device.type in ("cpu", "cuda")


def fused_attention(
    query: Tensor, key: Tensor, value: Tensor, *, scale: float, causal: bool = False, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """softmax(scale · Q Kᵀ + mask) V and the logarithm of the sum under each row, without the matrix.

    query: (batch, heads, queries, d).  key: (batch, heads, keys, d).  value: (batch, heads, keys, w); all float32.
    causal: a query sees as many keys as it has predecessors, and itself.  mask: float32, broadcastable to (batch,
    heads, queries, keys), −∞ hides a key; not beside `causal`.
    Returns (batch, heads, queries, w) and (batch, heads, queries). A row that sees nothing has zeros for output.
    """
    width, asked = max(query.shape[-1], value.shape[-1]), value.shape[-1]
    if query.device.type == "cuda":
        width = -(-width // _ALIGNMENT) * _ALIGNMENT
    # One width for all: zeros add nothing to a product, and what they add to the output is cut off.
    query, key, value = (_widened(states, width) for states in (query, key, value))
    kernel = _on_cuda if query.device.type == "cuda" else _on_cpu
    output, lse = kernel(query, key, value, scale, causal, mask)
    return output[..., :asked], lse


def _widened(states: Tensor, width: int) -> Tensor:
    """`pad` copies also where there is nothing to add."""
    return states if states.shape[-1] == width else pad(states, (0, width - states.shape[-1]))


def _on_cpu(
    query: Tensor, key: Tensor, value: Tensor, scale: float, causal: bool, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    output, lse = kernel(query, key, value, 0.0, causal, attn_mask=mask, scale=scale)
    return output, lse


def _on_cuda(
    query: Tensor, key: Tensor, value: Tensor, scale: float, causal: bool, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    kernel = torch.ops.aten._scaled_dot_product_efficient_attention
    bias = None if mask is None else _aligned(mask, (*query.shape[:3], key.shape[2]))
    output, lse, *_ = kernel(query, key, value, bias, True, 0.0, causal, scale=scale)
    return output, lse[..., : query.shape[2]]


def _aligned(mask: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
    """The mask of the whole shape, in memory whose rows begin where the kernel can read them."""
    keys = shape[-1]
    return pad(mask, (0, -keys % _ALIGNMENT)).contiguous()[..., :keys].expand(shape)
