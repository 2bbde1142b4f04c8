"""Attention to a few keys of each query (windows, blocks), at the right columns of the whole matrix, and slices of it.

Swin cuts a picture's patches into windows, shifted in every second layer, and hands each window to its attention as if
it were a picture of a batch (Liu et al. 2021). Which patch is where follows from the block around the attention: its
window, its shift, and the number of rows and columns of patches that it was given (`ShiftedWindows`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from attncli.models.capture.attention_types import Attention, PrecomputedAttention, WithoutQueriesAndKeys
from attncli.models.capture.query_key_attention import RowBlock, row_spans
from attncli.models.capture.structure import is_attention

#: Attributes of a block that cuts its patches into shifted windows.
_WINDOW_ATTRIBUTES = ("window_size", "shift_size")

#: The argument in which it is given the rows and columns of its patches.
_GRID_SIZE_ARGUMENT = "input_dimensions"

#: An upper bound of a masked weight, where the mask adds −100 instead of −∞.
_MASKED_WEIGHT = 1e-30


@dataclass(frozen=True)
class LocalAttention(PrecomputedAttention):
    """Attention of each query to a few keys.

    weights: (batch, heads, queries, slots).  columns: the key in each slot, (queries, slots), −1 where there is none.
    keys: the number of keys.
    """

    columns: Tensor
    keys: int

    @property
    def has_sink(self) -> bool:
        """True where a part of a row goes to summaries of the text, which have no column (LongT5)."""
        totals = (self.weights * (self.columns >= 0)).float().sum(-1)
        return bool(((totals > 0) & (totals < 0.99)).any())

    def blocks(self, heads: Sequence[int] | None = None, rows: tuple[int, int] | None = None) -> Iterator[RowBlock]:
        selected = list(range(self.heads)) if heads is None else list(heads)
        first, last = rows or (0, self.queries)
        for start, stop in row_spans(last - first, self.weights.shape[0] * self.heads * self.keys):
            start, stop = first + start, first + stop
            weights = self._rows(start, stop)
            # The mask is unknown: a weight outside of the window, or masked, is 0 in every head.
            yield RowBlock(start, stop, weights[:, selected], (weights != 0).any(dim=1, keepdim=True))

    def _rows(self, start: int, stop: int) -> Tensor:
        """Whole rows, (batch, heads, stop − start, keys)."""
        weights, columns = self.weights[:, :, start:stop].float(), self.columns[start:stop]
        # Slots without a key go to one more column, which is cut off again.
        places = torch.where(columns < 0, self.keys, columns).expand(weights.shape)
        rows = weights.new_zeros(*weights.shape[:3], self.keys + 1)
        return rows.scatter_add_(3, places, weights)[..., : self.keys]


@dataclass(frozen=True)
class AttentionSlice(WithoutQueriesAndKeys):
    """Some rows and columns of an attention to more than a text: rows sum to the attention that these keys get.

    row, column: of the first query and key.
    """

    whole: Attention
    row: int
    column: int
    queries: int
    keys: int

    @property
    def heads(self) -> int:
        return self.whole.heads

    @property
    def device(self) -> torch.device:
        return self.whole.device

    @property
    def has_sink(self) -> bool:
        return True

    def blocks(self, heads: Sequence[int] | None = None, rows: tuple[int, int] | None = None) -> Iterator[RowBlock]:
        first, last = rows or (0, self.queries)
        span = slice(self.column, self.column + self.keys)
        for block in self.whole.blocks(heads, (first + self.row, last + self.row)):
            # A mask may be one column for all keys.
            visible = block.visible.expand(*block.visible.shape[:3], self.whole.keys)[..., span]
            yield RowBlock(block.start - self.row, block.stop - self.row, block.weights[..., span], visible)


def window_columns(queries: int, width: int, keys: int, device: torch.device) -> Tensor:
    """The keys of windows around each query, (queries, width): slot s of query i is key i + s − width // 2.

    The layout of Longformer's weights (Beltagy et al. 2020).
    """
    offsets = torch.arange(width, device=device) - width // 2
    return _valid_columns(torch.arange(queries, device=device)[:, None] + offsets[None, :], keys)


def neighbour_columns(queries: int, block: int, slots: int, keys: int, device: torch.device) -> Tensor:
    """The keys of blocks that see themselves and both neighbours, (queries, slots): slot s of a query in block b is key
    (b − 1) · block + s. Slots from 3 · block on are summaries of the text, and no keys.

    LongT5's local attention (Guo et al. 2022).
    """
    first = (torch.arange(queries, device=device) // block - 1) * block
    places = torch.arange(slots, device=device)
    columns = _valid_columns(first[:, None] + places[None, :], keys)
    return torch.where(places[None, :] < 3 * block, columns, -1)


def _valid_columns(columns: Tensor, keys: int) -> Tensor:
    return torch.where((columns >= 0) & (columns < keys), columns, -1)


# --- Shifted windows of a picture's patches


class ShiftedWindows:
    """While active, knows which patches are in the windows of every attention module."""

    def __init__(self, model: nn.Module) -> None:
        self._blocks = _windowed_blocks(model)
        parts = ((part, block) for block in self._blocks for part in block.modules())
        self._block_of = {id(part): block for part, block in parts if is_attention(part)}
        self._sizes: dict[int, tuple[int, int]] = {}
        self._hooks: list[RemovableHandle] = []

    def __enter__(self) -> ShiftedWindows:
        self._hooks = [block.register_forward_pre_hook(self._record_grid, with_kwargs=True) for block in self._blocks]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def _record_grid(self, block: nn.Module, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
        size = keywords.get(_GRID_SIZE_ARGUMENT, arguments[1] if len(arguments) > 1 else None)
        if isinstance(size, tuple) and len(size) == 2:
            self._sizes[id(block)] = (int(size[0]), int(size[1]))

    def window_patches(self, module: nn.Module) -> Tensor | None:
        """The patches of each window, int64 (windows, patches a window), −1 for padding; None for other modules."""
        block = self._block_of.get(id(module))
        if block is None or id(block) not in self._sizes:
            return None
        rows, columns = self._sizes[id(block)]
        return shifted_window_patches(rows, columns, _side_length(block.window_size), _side_length(block.shift_size))


def window_side(model: nn.Module) -> int | None:
    """The side of a model's windows in patches; None where it has none."""
    return max((_side_length(getattr(block, _WINDOW_ATTRIBUTES[0])) for block in _windowed_blocks(model)), default=None)


def _windowed_blocks(model: nn.Module) -> list[nn.Module]:
    return [part for part in model.modules() if all(hasattr(part, mark) for mark in _WINDOW_ATTRIBUTES)]


def shifted_window_patches(rows: int, columns: int, side: int, shift: int) -> Tensor:
    """Which patch of rows × columns each slot of each window holds: (windows, side²), −1 for padding.

    >>> window_places(2, 4, side=2, shift=0)
    tensor([[0, 1, 4, 5],
            [2, 3, 6, 7]])
    """
    places = torch.arange(rows * columns).view(rows, columns)
    padded = nn.functional.pad(places, (0, -columns % side, 0, -rows % side), value=-1)
    shifted = padded.roll((-shift, -shift), (0, 1))
    tiles = shifted.unfold(0, side, side).unfold(1, side, side)
    return tiles.reshape(-1, side * side)


def patch_attention(attention: Attention, window_patches: Tensor) -> Attention | None:
    """Attention within the windows of one picture as attention between its patches; None where shapes don't match.

    window_patches: the patches of each window, (windows, slots), −1 for padding.
    A row sums to less than 1 where its window reaches over the edge: it attends to the padding, too.
    """
    weights = torch.cat([block.weights for block in attention.blocks()], dim=2)
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
    return LocalAttention(rows.transpose(0, 1)[None], window_patches[window].to(weights.device), keys=patches)


def _side_length(size: Any) -> int:
    return int(size[0]) if isinstance(size, tuple | list) else int(size)
