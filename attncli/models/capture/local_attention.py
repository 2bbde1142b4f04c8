"""Attention to a few keys of each query: the columns of windows and blocks, and the windows of a picture's patches.

Swin cuts a picture's patches into windows, shifted in every second layer, and hands each window to its attention as if
it were a picture of a batch (Liu et al. 2021). Which patch is where follows from the block around the attention: its
window, its shift, and the number of rows and columns of patches that it was given (`ShiftedWindows`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from attncli.models.capture.attention_types import Attention, LocalAttention, all_weights
from attncli.models.capture.structure import is_attention

#: Attributes of a block that cuts its patches into shifted windows.
_WINDOW_ATTRIBUTES = ("window_size", "shift_size")

#: The argument in which it is given the rows and columns of its patches.
_GRID_SIZE_ARGUMENT = "input_dimensions"

#: An upper bound of a masked weight, where the mask adds −100 instead of −∞.
_MASKED_WEIGHT = 1e-30


def window_columns(queries: int, width: int, keys: int, device: torch.device) -> Tensor:
    """The keys of windows around each query, (queries, width): slot s of query i is key i + s − width // 2.

    The layout of Longformer's weights (Beltagy et al. 2020).
    """
    offsets = torch.arange(width, device=device) - width // 2
    columns = torch.arange(queries, device=device)[:, None] + offsets[None, :]
    return torch.where((columns >= 0) & (columns < keys), columns, -1)


def window_attention(weights: Tensor, width: int, length: int) -> LocalAttention | None:
    """Windows around each query of a text: (batch, queries, heads, width). None where there are other columns before
    them, for tokens that every query sees: which those are is unknown here."""
    if weights.shape[3] != width:
        return None
    local = weights.transpose(1, 2)[:, :, :length]
    return LocalAttention(local, window_columns(length, width, length, weights.device), length)


def neighbour_columns(queries: int, block: int, slots: int, keys: int, device: torch.device) -> Tensor:
    """The keys of blocks that see themselves and both neighbours, (queries, slots): slot s of a query in block b is key
    (b − 1) · block + s. Slots from 3 · block on are summaries of the text, and no keys.

    LongT5's local attention (Guo et al. 2022).
    """
    first = (torch.arange(queries, device=device) // block - 1) * block
    slot = torch.arange(slots, device=device)[None, :]
    columns = first[:, None] + slot
    return torch.where((columns >= 0) & (columns < keys) & (slot < 3 * block), columns, -1)


def block_attention(weights: Tensor, length: int) -> LocalAttention | None:
    """Blocks of a text that see their neighbours: (batch, blocks, heads, block, 3 · block or more)."""
    block, slots = weights.shape[3:]
    if slots < 3 * block:
        return None
    local = weights.transpose(1, 2).flatten(2, 3)[:, :, :length]
    return LocalAttention(local, neighbour_columns(length, block, slots, length, weights.device), length)


class ShiftedWindows:
    """Knows which patches are in the windows of every attention module, while its hooks are on."""

    def __init__(self, model: nn.Module) -> None:
        self._blocks = _windowed_blocks(model)
        self._block_of = {id(part): block for block in self._blocks for part in block.modules() if is_attention(part)}
        self._sizes: dict[int, tuple[int, int]] = {}

    def hooks(self) -> Iterator[RemovableHandle]:
        return (block.register_forward_pre_hook(self._record_grid, with_kwargs=True) for block in self._blocks)

    def _record_grid(self, block: nn.Module, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
        size = keywords.get(_GRID_SIZE_ARGUMENT, arguments[1] if len(arguments) > 1 else None)
        if isinstance(size, tuple) and len(size) == 2:
            self._sizes[id(block)] = (int(size[0]), int(size[1]))

    def window_patches(self, module: nn.Module) -> Tensor | None:
        """The patches of each window, int64 (windows, patches a window), −1 for padding; None for other modules."""
        block = self._block_of.get(id(module))
        if block is None or id(block) not in self._sizes:
            return None
        return shifted_window_patches(
            *self._sizes[id(block)], _side_length(block.window_size), _side_length(block.shift_size)
        )


def window_side(model: nn.Module) -> int | None:
    """The side of a model's windows in patches; None where it has none."""
    return max((_side_length(getattr(block, _WINDOW_ATTRIBUTES[0])) for block in _windowed_blocks(model)), default=None)


def _windowed_blocks(model: nn.Module) -> list[nn.Module]:
    return [part for part in model.modules() if all(hasattr(part, mark) for mark in _WINDOW_ATTRIBUTES)]


def _side_length(size: Any) -> int:
    return int(size[0]) if isinstance(size, tuple | list) else int(size)


def shifted_window_patches(rows: int, columns: int, side: int, shift: int) -> Tensor:
    """Which patch of rows × columns each slot of each window holds: (windows, side²), −1 for padding.

    >>> shifted_window_patches(2, 4, side=2, shift=0)
    tensor([[0, 1, 4, 5],
            [2, 3, 6, 7]])
    """
    patches = torch.arange(rows * columns).view(rows, columns)
    padded = nn.functional.pad(patches, (0, -columns % side, 0, -rows % side), value=-1)
    tiles = padded.roll((-shift, -shift), (0, 1)).unfold(0, side, side).unfold(1, side, side)
    return tiles.reshape(-1, side * side)


def patch_attention(attention: Attention, window_patches: Tensor) -> Attention | None:
    """Attention within the windows of one picture as attention between its patches; None where shapes don't match.

    window_patches: the patches of each window, (windows, slots), −1 for padding.
    A row sums to less than 1 where its window reaches over the edge: it attends to the padding, too.
    """
    weights = all_weights(attention)
    windows, slots = window_patches.shape
    if weights.shape[0] != windows or weights.shape[2:] != (slots, slots):
        return None
    weights = weights.masked_fill(weights < _MASKED_WEIGHT, 0)
    patches = int(window_patches.max()) + 1
    slot = torch.full((patches,), -1)
    flat = window_patches.flatten()
    slot[flat[flat >= 0]] = (flat >= 0).nonzero().flatten()
    window, row = slot // slots, slot % slots
    rows = weights.transpose(1, 2)[window.to(weights.device), row.to(weights.device)]
    return LocalAttention(rows.transpose(0, 1)[None], window_patches[window].to(weights.device), patches)
