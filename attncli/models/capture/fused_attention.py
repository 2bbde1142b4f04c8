"""The fused attention kernels of torch that give the logarithm of each row's sum beside the output.

`scaled_dot_product_attention` keeps that number to itself; the functions beneath it hand it out.

Attention read by a fused kernel: other values, the sum under each row, and scores tile by tile; never the matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from attncli.models.capture.lazy_mask import Visibility

#: The kernels for CUDA read rows that begin at multiples of so many elements.
_ALIGNMENT = 16


def can_fuse(device: torch.device) -> bool:
    """Whether there is such a kernel for a device."""
    return device.type in ("cpu", "cuda")


def attention_with_lse(
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
    query, key, value = (_pad_width(states, width) for states in (query, key, value))
    kernel = _cuda_kernel if query.device.type == "cuda" else _cpu_kernel
    output, lse = kernel(query, key, value, scale, causal, mask)
    return output[..., :asked], lse


def _pad_width(states: Tensor, width: int) -> Tensor:
    """`pad` copies also where there is nothing to add."""
    return states if states.shape[-1] == width else pad(states, (0, width - states.shape[-1]))


def _cpu_kernel(
    query: Tensor, key: Tensor, value: Tensor, scale: float, causal: bool, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    output, lse = kernel(query, key, value, 0.0, causal, attn_mask=mask, scale=scale)
    return output, lse


def _cuda_kernel(
    query: Tensor, key: Tensor, value: Tensor, scale: float, causal: bool, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    kernel = torch.ops.aten._scaled_dot_product_efficient_attention
    bias = None if mask is None else _align_mask(mask, (*query.shape[:3], key.shape[2]))
    output, lse, *_ = kernel(query, key, value, bias, True, 0.0, causal, scale=scale)
    return output, lse[..., : query.shape[2]]


def _align_mask(mask: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
    """The mask of the whole shape, in memory whose rows begin where the kernel can read them."""
    keys = shape[-1]
    return pad(mask, (0, -keys % _ALIGNMENT)).contiguous()[..., :keys].expand(shape)


#: Scores of a tile over all heads: 4 MiB of float32, which stay in a processor's cache.
_TILE_ELEMENTS = 1 << 20

#: Rows that are multiplied element by element at a time.
_DOT_ROWS = 512


@dataclass(frozen=True)
class FusedRows:
    """What some heads read of given values, for the queries start…stop.

    heads: which.  values: A V', float32 (batch, heads, rows, w).  lse: ln Σ_j exp(score_ij), of a sink too, (batch,
    heads, rows), so that A_ij = exp(score_ij − lse_i).  score: Σ_j A_ij score_ij, likewise; None where not asked for.
    share: Σ_j A_ij, likewise; None where rows sum to 1.
    """

    heads: slice
    start: int
    stop: int
    values: Tensor
    lse: Tensor
    score: Tensor | None
    share: Tensor | None


@dataclass(frozen=True)
class ScoreTile:
    """Scores of the queries from `start` and the keys from `first`, of every head: −∞ where a key is hidden.

    scores: float32, (batch, heads, rows, columns).
    """

    start: int
    first: int
    scores: Tensor


class QueryKeyStates(Protocol):
    """What is needed of an attention here: see `QueryKeyAttention`, which has it."""

    @property
    def query(self) -> Tensor: ...
    @property
    def key(self) -> Tensor: ...
    @property
    def value(self) -> Tensor: ...
    @property
    def scaling(self) -> float: ...
    @property
    def mask(self) -> Tensor | None: ...
    @property
    def is_causal(self) -> bool: ...
    @property
    def has_sink(self) -> bool: ...
    @property
    def sinks(self) -> Tensor | None: ...
    @property
    def heads(self) -> int: ...
    @property
    def queries(self) -> int: ...
    @property
    def keys(self) -> int: ...
    @property
    def device(self) -> torch.device: ...
    def keep_output(self, output: Tensor) -> None: ...


@dataclass(frozen=True)
class FusedAttention:
    """Reads attention whose scores are products of queries and keys and nothing else, under a mask that only hides.

    visibility: which keys the mask leaves.
    """

    attention: QueryKeyStates
    visibility: Visibility

    def weighted_sums(self, values: Tensor | None = None, *, scores: bool = False) -> Iterator[FusedRows]:
        """Attention to other values, all heads and rows part by part, without the matrix.

        values: float32 (batch or 1, keys, w), the same for every head.  scores: whether the mean score of each row is
        wanted, which is linear as well: Σ_j A_ij (scaling · q_i·k_j) = scaling · q_i·(A K)_i.
        The model's own output comes of the same pass.
        """
        attention, parts = self.attention, [] if values is None else [values.to(self.attention.device)]
        own = attention.value.shape[-1]
        width = own + sum(part.shape[-1] for part in parts)
        output = attention.value.new_empty(*attention.query.shape[:3], own)
        for heads, key_heads, start, stop, causal, mask in self._calls():
            query, key = attention.query[:, heads, start:stop].float(), attention.key[:, key_heads].float()
            # From the middle of the keys: a difference of smaller numbers is a more exact one.
            middle = key.mean(dim=2, keepdim=True)
            columns = self._columns(key_heads, parts, key - middle if scores else None)
            read, lse = self._attend(query, key, columns, causal=causal, mask=mask)
            read, lse, share = self._beside_sinks(read, lse, heads)
            output[:, heads, start:stop] = read[..., :own].to(output.dtype)
            score = self._mean_score(read[..., width:], query, middle, share) if scores else None
            reading = FusedRows(heads, start, stop, read[..., own:width], lse, score, share)
            # What is let go of here does not lie beside the next part.
            del columns, read, query, key
            yield reading
            del reading
        attention.keep_output(output)

    def _beside_sinks(self, read: Tensor, lse: Tensor, heads: slice) -> tuple[Tensor, Tensor, Tensor | None]:
        """What is read where a sink takes a part of each row, with it in the sum, and the share that is left."""
        if self.attention.sinks is None:
            return read, lse, None
        whole = torch.logaddexp(lse, self.attention.sinks[heads].float().reshape(1, -1, 1))
        share = (lse - whole).exp()
        return read * share[..., None], whole, share

    def _mean_score(self, read: Tensor, query: Tensor, middle: Tensor, share: Tensor | None) -> Tensor:
        """Σ_j A_ij score_ij, from what is read of keys that stand from their middle on."""
        offset = (query @ self._per_head(middle, query.shape[1]).transpose(2, 3)).squeeze(-1)
        return self.attention.scaling * (_row_dots(read, query) + (offset if share is None else offset * share))

    def earlier_weighted_sums(self, values: Tensor) -> Iterator[FusedRows]:
        """The same of what lies not after each query, as if all else were hidden; `lse` is of those keys alone, and
        without a sink. Values: float32 (batch or 1, keys, w). Queries and keys are the same tokens."""
        visibility = self.visibility
        whole = visibility.shape != "other" and visibility.padded_at_end
        for heads, key_heads, start, stop, mask in self._earlier_calls(whole):
            query, key = self.attention.query[:, heads, start:stop].float(), self.attention.key[:, key_heads].float()
            columns = values.to(self.attention.query.device)[:, None].expand(key.shape[0], key.shape[1], -1, -1)
            read, lse = self._attend(query, key, columns, causal=mask is None, mask=mask)
            yield FusedRows(heads, start, stop, read, lse, None, None)

    @cached_property
    def tile_size(self) -> tuple[int, int]:
        """Rows and columns of a tile of scores; twice as wide as high."""
        side = max(256, _TILE_ELEMENTS // (self.attention.query.shape[0] * self.attention.heads))
        rows = min(self.attention.queries, math.isqrt(side // 2))
        return rows, min(self.attention.keys, side // rows)

    def tiles(self) -> Iterator[ScoreTile]:
        """Scores tile by tile, for what is not linear in the weights. Those where nothing is visible are left out."""
        visibility, (rows, columns) = self.visibility, self.tile_size
        batch = self.attention.query.shape[0]
        keys = self.attention.key.float().transpose(2, 3)
        for start in range(0, self.attention.queries, rows):
            stop = min(start + rows, self.attention.queries)
            query = self._by_key_head(self.attention.query[:, :, start:stop].float() * self.attention.scaling)
            hidden = _hidden_keys(visibility, start, stop)
            for first in range(0, stop if visibility.triangular else self.attention.keys, columns):
                last = min(first + columns, self.attention.keys)
                mask = hidden(first, last)
                if mask is not None and not visibility.triangular and bool(mask.all()):
                    continue
                scores = (query @ keys[..., first:last]).view(batch, self.attention.heads, stop - start, last - first)
                yield ScoreTile(start, first, scores if mask is None else scores.masked_fill_(mask, -torch.inf))

    def scores_at(self, keys: Tensor) -> Tensor:
        """The score of every query at one key of its own, whether visible or not: keys (batch, queries) of indices.

        float32 (batch, heads, queries); O(N·d).
        """
        texts = torch.arange(keys.shape[0], device=self.attention.key.device)[:, None]
        chosen = self.attention.key.transpose(1, 2)[texts, keys.to(self.attention.key.device)].transpose(1, 2)
        groups = self.attention.heads // self.attention.key.shape[1]
        scores = [_row_dots(self.attention.query[:, group::groups], chosen) for group in range(groups)]
        return self.attention.scaling * torch.stack(scores, dim=2).flatten(1, 2)

    def _attend(
        self, query: Tensor, key: Tensor, values: Tensor, *, causal: bool, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The fused kernel, once for every query head that shares a key head; nothing is repeated in memory."""
        batch, heads, rows, width = query.shape
        groups = heads // key.shape[1]
        if groups == 1:
            return attention_with_lse(query, key, values, scale=self.attention.scaling, causal=causal, mask=mask)
        by_group = query.view(batch, key.shape[1], groups, rows, width).unbind(2)
        parts = [
            attention_with_lse(each, key, values, scale=self.attention.scaling, causal=causal, mask=mask)
            for each in by_group
        ]
        read, lse = (torch.stack(states, dim=2) for states in zip(*parts, strict=True))
        return read.flatten(1, 2), lse.flatten(1, 2)

    def _columns(self, key_heads: slice, shared: Sequence[Tensor], own: Tensor | None) -> Tensor:
        """What is read at each key, side by side: the model's values, what all heads read, what belongs to the head."""
        value = self.attention.value[:, key_heads].float()
        spread = [each[:, None].expand(value.shape[0], value.shape[1], -1, -1) for each in shared]
        return torch.cat([value, *spread, *([] if own is None else [own])], dim=-1)

    def _calls(self) -> Iterator[tuple[slice, slice, int, int, bool, Tensor | None]]:
        """Calls of the kernel that make up the whole: query heads, key heads, rows, and what masks them.

        A few key heads at a time where one call takes all rows, so that little is copied; all heads at once where the
        mask has to be spelled out block by block.
        """
        visibility = self.visibility
        if visibility.triangular or visibility.shape == "full":
            mask = None if visibility.triangular else visibility.key_mask
            for heads, key_heads in self._head_groups():
                yield heads, key_heads, 0, self.attention.queries, visibility.triangular, mask
            return
        for start, stop, visible in visibility.blocks(self.attention.query.shape[0]):
            yield (
                slice(0, self.attention.heads),
                slice(0, self.attention.key.shape[1]),
                start,
                stop,
                False,
                _additive_mask(visible),
            )

    def _earlier_calls(self, whole: bool) -> Iterator[tuple[slice, slice, int, int, Tensor | None]]:
        visibility = self.visibility
        if whole:
            for heads, key_heads in self._head_groups():
                yield heads, key_heads, 0, self.attention.queries, None
            return
        for start, stop, visible in visibility.blocks(self.attention.query.shape[0]):
            visible = visible.expand(-1, -1, stop - start, -1).tril(start)
            yield (
                slice(0, self.attention.heads),
                slice(0, self.attention.key.shape[1]),
                start,
                stop,
                _additive_mask(visible),
            )

    def _head_groups(self) -> Iterator[tuple[slice, slice]]:
        """Query heads and their key heads, a few at a time.

        On a CPU one for each thread: a kernel that deals out the rows of one causal head gives the last thread the rows
        that see most, and the others wait for it.
        """
        key_heads, groups = self.attention.key.shape[1], self.attention.heads // self.attention.key.shape[1]
        threads = torch.get_num_threads() if self.attention.device.type == "cpu" else 1
        step = -(-threads // self.attention.query.shape[0])
        for start in range(0, key_heads, step):
            stop = min(start + step, key_heads)
            yield slice(start * groups, stop * groups), slice(start, stop)

    def _per_head(self, states: Tensor, heads: int) -> Tensor:
        """Something of each key head for every query head that shares it."""
        return states.repeat_interleave(heads // states.shape[1], dim=1)

    def _by_key_head(self, query: Tensor) -> Tensor:
        """Queries that share a key head one under another: (batch, key heads, group · rows, d)."""
        batch, _, rows, width = query.shape
        return query.reshape(batch, self.attention.key.shape[1], -1, rows, width).flatten(2, 3)


def _additive_mask(visible: Tensor) -> Tensor:
    """What a kernel adds to hide keys: 0 or −∞, float32."""
    return torch.zeros(visible.shape, device=visible.device).masked_fill_(~visible, -torch.inf)


def _hidden_keys(visibility: Visibility, start: int, stop: int) -> Callable[[int, int], Tensor | None]:
    """Which keys of first…last the rows don't see, asked tile by tile; None where they see all of them."""
    if visibility.shape == "full" and visibility.key_mask is None:
        return lambda _first, _last: None
    if visibility.triangular:
        return lambda first, last: _above_diagonal(start, stop, first, last, visibility.device)
    hidden = ~visibility.evaluate(start, stop)

    def tile(first: int, last: int) -> Tensor | None:
        part = hidden[..., first:last]
        return part if bool(part.any()) else None

    return tile


def _above_diagonal(start: int, stop: int, first: int, last: int, device: torch.device) -> Tensor | None:
    if last <= start + 1:
        return None
    return torch.arange(first, last, device=device)[None, :] > torch.arange(start, stop, device=device)[:, None]


def _row_dots(left: Tensor, right: Tensor) -> Tensor:
    """The product of each row with its own: (…, rows, d) twice to (…, rows), float32.

    Some rows at a time, as what is written between the two steps should still be in the cache when it is read.
    """
    parts = [
        (left[..., start : start + _DOT_ROWS, :].float() * right[..., start : start + _DOT_ROWS, :].float()).sum(-1)
        for start in range(0, left.shape[-2], _DOT_ROWS)
    ]
    return torch.cat(parts, dim=-1)
