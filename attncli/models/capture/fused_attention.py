"""Attention computed by torch's fused kernels, without the matrix: weighted sums of any values, and tiles of scores.

The kernels also return the logarithm of each softmax's denominator (log-sum-exp), which
`scaled_dot_product_attention` drops; so the functions beneath it are called.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import pad

from attncli.models.capture.lazy_mask import Visibility, additive_mask

#: The kernels for CUDA read rows that begin at multiples of this many elements.
_ALIGNMENT = 16

#: Scores of a tile over all heads: 4 MiB of float32, which fit into a processor's cache.
_TILE_ELEMENTS = 1 << 20

#: In the place of −∞, where a sum of nothing else would be no number: its exponential is 0 as well.
_NEVER = -1e30

#: Rows that are multiplied element by element at a time.
_DOT_ROWS = 512


def can_fuse(device: torch.device) -> bool:
    """Whether torch has such a kernel for a device."""
    return device.type in ("cpu", "cuda")


def attention_with_lse(
    query: Tensor, key: Tensor, value: Tensor, *, scale: float, causal: bool = False, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """softmax(scale · Q Kᵀ + mask) V and ln Σ_j exp(score_ij) of each row, without the matrix.

    query: (batch, heads, queries, d).  key: (batch, heads, keys, d).  value: (batch, heads, keys, w); all float32.
    causal: query i sees the keys 0…i.  mask: float32, broadcastable to (batch, heads, queries, keys), −∞ hides a key;
    not together with `causal`.
    Returns (batch, heads, queries, w) and (batch, heads, queries). The output of a row that sees nothing is 0.
    """
    width, value_width, rows = max(query.shape[-1], value.shape[-1]), value.shape[-1], query.shape[2]
    if query.device.type == "cuda":
        width = -(-width // _ALIGNMENT) * _ALIGNMENT
    # The kernels want one width for all: zeros add nothing to a product, and their columns of the output are cut off.
    # `pad` would copy also where there is nothing to add.
    query, key, value = (
        each if each.shape[-1] == width else pad(each, (0, width - each.shape[-1])) for each in (query, key, value)
    )
    if query.device.type == "cuda":
        kernel = torch.ops.aten._scaled_dot_product_efficient_attention
        if mask is not None:
            aligned = pad(mask, (0, -mask.shape[-1] % _ALIGNMENT)).contiguous()[..., : mask.shape[-1]]
            mask = aligned.expand(*query.shape[:3], key.shape[2])
        output, lse, *_ = kernel(query, key, value, mask, True, 0.0, causal, scale=scale)
    else:
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        output, lse = kernel(query, key, value, 0.0, causal, attn_mask=mask, scale=scale)
    return output[..., :value_width], lse[..., :rows]


@dataclass(frozen=True)
class FusedRows:
    """Weighted sums of given values V' by some heads, for the queries start…stop.

    values: A V', float32 (batch, heads, rows, w).  lse: ln Σ_j exp(score_ij), including a sink, (batch, heads, rows),
    so that A_ij = exp(score_ij − lse_i).  score: Σ_j A_ij score_ij, (batch, heads, rows); None unless requested.
    share: Σ_j A_ij, (batch, heads, rows); None where rows sum to 1.
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
    """Scores of the queries from `start` on and the keys from `first` on, of every head: −∞ where a key is hidden.

    scores: float32, (batch, heads, rows, columns).
    """

    start: int
    first: int
    scores: Tensor


@dataclass(frozen=True)
class QueryKeyStates:
    """Queries, keys and values after position encoding, and what else decides on the weights:

    A = softmax(softcap(scaling · Q Kᵀ) + bias + mask), with the sinks as one more column that is dropped afterwards.

    query: (batch, heads, queries, d).  key, value: (batch, key heads, keys, d), shared by groups of query heads.
    mask: None, a `LazyMaskTensor`, or a tensor (bool: True is visible; else added).
    bias: added to the scores, or None.
    sinks: one logit a head, (heads,), or one a head and query, (batch, heads, queries, 1); or None.
    softcap: c of c·tanh(score/c), or None.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    is_causal: bool
    scaling: float
    bias: Tensor | None = None
    softcap: float | None = None
    sinks: Tensor | None = None
    #: The output, (batch, heads, queries, d), once it was computed along with something else; the first is used.
    outputs: list[Tensor] = field(default_factory=list, repr=False, compare=False)

    @property
    def heads(self) -> int:
        return self.query.shape[1]

    @property
    def queries(self) -> int:
        return self.query.shape[2]

    @property
    def keys(self) -> int:
        return self.key.shape[2]

    @property
    def device(self) -> torch.device:
        return self.query.device

    @property
    def has_sink(self) -> bool:
        return self.sinks is not None


@dataclass(frozen=True)
class FusedAttention:
    """Attention whose scores are only products of queries and keys, under a mask that only hides keys.

    visibility: the keys that the mask shows.
    """

    attention: QueryKeyStates
    visibility: Visibility

    def weighted_sums(self, values: Tensor | None = None, *, scores: bool = False) -> Iterator[FusedRows]:
        """The weighted sums of given values by all heads and rows, part by part, without the matrix.

        values: float32 (batch or 1, keys, w), the same for every head.  scores: also compute the mean score of each
        row, which is linear as well: Σ_j A_ij (scaling · q_i·k_j) = scaling · q_i·(A K)_i.
        The same pass computes the model's own output and stores it in `outputs` of the attention.
        """
        attention, parts = self.attention, [] if values is None else [values.to(self.attention.device)]
        value_width = attention.value.shape[-1]
        width = value_width + sum(part.shape[-1] for part in parts)
        # In the order that the model wants, so that `QueryKeyAttention.output` copies nothing.
        output = attention.value.new_empty(len(attention.query), attention.queries, attention.heads, value_width)
        output = output.transpose(1, 2)
        for heads, key_heads, start, stop, causal, mask in self._kernel_calls():
            query, key = attention.query[:, heads, start:stop].float(), attention.key[:, key_heads].float()
            # Relative to the mean of the keys: smaller numbers lose less to rounding.
            mean_key = key.mean(dim=2, keepdim=True)
            value = attention.value[:, key_heads].float()
            shared = [each[:, None].expand(*value.shape[:2], -1, -1) for each in parts]
            columns = torch.cat([value, *shared, *([key - mean_key] if scores else [])], dim=-1)
            sums, lse = attention_with_lse(query, key, columns, scale=attention.scaling, causal=causal, mask=mask)
            share = None
            if attention.sinks is not None:
                # The sink takes a part of each row; the keys are left with the rest.
                whole = torch.logaddexp(lse, attention.sinks[heads].float().reshape(1, -1, 1))
                share, lse = (lse - whole).exp(), whole
                sums = sums * share[..., None]
            output[:, heads, start:stop] = sums[..., :value_width].to(output.dtype)
            score = None
            if scores:
                offset = (query @ mean_key.transpose(2, 3)).squeeze(-1)
                score = _row_dots(sums[..., width:], query) + (offset if share is None else offset * share)
                score *= attention.scaling
            rows = FusedRows(heads, start, stop, sums[..., value_width:width], lse, score, share)
            # Free memory before the next part is computed.
            del columns, sums, query, key, value
            yield rows
            del rows
        attention.outputs.append(output)

    def earlier_weighted_sums(self, values: Tensor) -> Iterator[FusedRows]:
        """The weighted sums over the keys up to each query, as if later keys were hidden.

        values: float32 (batch or 1, keys, w). `lse` covers those keys only, without a sink. Queries and keys have to
        be the same tokens.
        """
        for heads, key_heads, start, stop, causal, mask in self._kernel_calls(earlier=True):
            query, key = self.attention.query[:, heads, start:stop].float(), self.attention.key[:, key_heads].float()
            columns = values.to(self.attention.device)[:, None].expand(*key.shape[:2], -1, -1)
            sums, lse = attention_with_lse(query, key, columns, scale=self.attention.scaling, causal=causal, mask=mask)
            yield FusedRows(heads, start, stop, sums, lse, None, None)

    def column_sums(self, lse: Tensor, queries: Tensor) -> Tensor:
        """Σ_i A_ij of every key j over the chosen queries i, without the matrix: float32 (batch, heads, keys).

        lse: of every row, (batch, heads, queries).  queries: the chosen ones, bool (batch, queries); each sees a key.
        Under a causal or full mask this is the kernel with queries and keys exchanged, where −lse_i is one more column
        of the product; other masks go over the scores tile by tile.
        """
        offset = torch.where(queries[:, None], -lse, _NEVER)
        if not (self.visibility.triangular or self.visibility.shape == "full"):
            return self._column_sums_by_tiles(offset)
        sums = lse.new_empty(*lse.shape[:2], self.attention.keys)
        for heads, key_heads in self._head_groups():
            sums[:, heads] = self._exchanged_lse(heads, key_heads, offset[:, heads]).exp()
        return sums

    def _exchanged_lse(self, heads: slice, key_heads: slice, offset: Tensor) -> Tensor:
        """ln Σ_i exp(s_ij + offset_i) of some heads: (batch, heads, keys). Under a causal mask, over i ≥ j.

        Both sides are reversed there, so that key j sees the queries from j on as a causal mask has it.
        """
        causal = self.visibility.triangular
        query = torch.cat([self.attention.query[:, heads].float() * self.attention.scaling, offset[..., None]], dim=-1)
        key = self.attention.key[:, key_heads].float()
        key = torch.cat([key, torch.ones_like(key[..., :1])], dim=-1)
        if causal:
            query, key = query.flip(2), key.flip(2)
        _, lse = attention_with_lse(key, query, query[..., :1], scale=1.0, causal=causal)
        return lse.flip(2) if causal else lse

    def _column_sums_by_tiles(self, offset: Tensor) -> Tensor:
        sums = offset.new_zeros(*offset.shape[:2], self.attention.keys)
        for tile in self.tiles():
            stop = tile.start + tile.scores.shape[2]
            weights = (tile.scores + offset[:, :, tile.start : stop, None]).exp_()
            sums[:, :, tile.first : tile.first + tile.scores.shape[3]] += weights.sum(2)
        return sums

    @cached_property
    def tile_size(self) -> tuple[int, int]:
        """Rows and columns of a tile of scores, which is twice as wide as high."""
        side = max(256, _TILE_ELEMENTS // (self.attention.query.shape[0] * self.attention.heads))
        rows = min(self.attention.queries, math.isqrt(side // 2))
        return rows, min(self.attention.keys, side // rows)

    def tiles(self) -> Iterator[ScoreTile]:
        """Scores tile by tile, for metrics that are not linear in the weights. Tiles without a visible key are left
        out.
        """
        visibility, (rows, columns) = self.visibility, self.tile_size
        batch = self.attention.query.shape[0]
        keys = self.attention.key.float().transpose(2, 3)
        for start in range(0, self.attention.queries, rows):
            stop = min(start + rows, self.attention.queries)
            query = self.attention.query[:, :, start:stop].float() * self.attention.scaling
            # The queries that share a key head, stacked: (batch, key heads, group · rows, d).
            query = query.reshape(batch, keys.shape[1], -1, stop - start, query.shape[-1]).flatten(2, 3)
            hidden = _hidden_keys(visibility, start, stop)
            for first in range(0, stop if visibility.triangular else self.attention.keys, columns):
                last = min(first + columns, self.attention.keys)
                mask = hidden(first, last)
                if mask is not None and not visibility.triangular and bool(mask.all()):
                    continue
                scores = (query @ keys[..., first:last]).view(batch, self.attention.heads, stop - start, last - first)
                yield ScoreTile(start, first, scores if mask is None else scores.masked_fill_(mask, -torch.inf))

    def scores_at(self, keys: Tensor) -> Tensor:
        """The score of every query at one key each, visible or not: float32 (batch, heads, queries). O(N·d).

        keys: their indices, (batch, queries).
        """
        query, key = self.attention.query, self.attention.key.transpose(1, 2)
        query = query.view(len(query), key.shape[2], -1, *query.shape[2:])
        texts, keys = torch.arange(len(keys), device=key.device)[:, None], keys.to(key.device)
        parts = []
        # Some rows at a time, so that no copy is made of all keys.
        for start in range(0, query.shape[3], _DOT_ROWS):
            rows = slice(start, start + _DOT_ROWS)
            chosen = key[texts, keys[:, rows]].transpose(1, 2)[:, :, None]
            parts.append((query[:, :, :, rows].float() * chosen.float()).sum(-1))
        return self.attention.scaling * torch.cat(parts, dim=-1).flatten(1, 2)

    def _kernel_calls(self, *, earlier: bool = False) -> Iterator[tuple[slice, slice, int, int, bool, Tensor | None]]:
        """The calls of the kernel that cover all heads and rows: query heads, key heads, start, stop, causal, mask.

        A few heads at a time where one call takes all rows, so that little is copied; one query head of every key head
        where the mask has to be evaluated block by block.  earlier: hide the keys after each query.
        """
        visibility = self.visibility
        causal = visibility.triangular or (earlier and visibility.shape == "full" and visibility.padded_at_end)
        if causal or (visibility.shape == "full" and not earlier):
            mask = None if causal else visibility.key_mask
            for heads, key_heads in self._head_groups():
                yield heads, key_heads, 0, self.attention.queries, causal, mask
            return
        for start, stop, visible in visibility.blocks(self.attention.query.shape[0]):
            if earlier:
                visible = visible.expand(-1, -1, stop - start, -1).tril(start)
            mask = additive_mask(visible)
            for heads, key_heads in self._head_groups(self.attention.key.shape[1]):
                yield heads, key_heads, start, stop, False, mask if mask.shape[1] == 1 else mask[:, heads]

    def _head_groups(self, step: int | None = None) -> Iterator[tuple[slice, slice]]:
        """One query head of each of `step` key heads at a time, and these: a key is shared, and not copied.

        step: without it, on a CPU one for each thread: within one causal head, the kernel would give the last thread
        the rows that see most keys, and the others would wait for it.
        """
        key_heads, groups = self.attention.key.shape[1], self.attention.heads // self.attention.key.shape[1]
        threads = torch.get_num_threads() if self.attention.device.type == "cpu" else 1
        step = step or -(-threads // self.attention.query.shape[0])
        for start in range(0, key_heads, step):
            stop = min(start + step, key_heads)
            for group in range(groups):
                yield slice(start * groups + group, stop * groups, groups), slice(start, stop)


def _hidden_keys(visibility: Visibility, start: int, stop: int) -> Callable[[int, int], Tensor | None]:
    """A function of (first, last): which of these keys the rows start…stop don't see; None where they see all."""
    if visibility.shape == "full" and visibility.key_mask is None:
        return lambda _first, _last: None
    hidden = None if visibility.triangular else ~visibility.evaluate(start, stop)
    rows = torch.arange(start, stop, device=visibility.device)[:, None]

    def tile(first: int, last: int) -> Tensor | None:
        if hidden is None:
            # Above the diagonal.
            return torch.arange(first, last, device=rows.device)[None, :] > rows if last > start + 1 else None
        part = hidden[..., first:last]
        return part if bool(part.any()) else None

    return tile


def _row_dots(left: Tensor, right: Tensor) -> Tensor:
    """The dot products of corresponding rows: (…, rows, d) and (…, rows, d) to (…, rows), float32.

    Some rows at a time, so that the elementwise product is still in the cache when it is summed.
    """
    parts = [
        (left[..., start : start + _DOT_ROWS, :].float() * right[..., start : start + _DOT_ROWS, :].float()).sum(-1)
        for start in range(0, left.shape[-2], _DOT_ROWS)
    ]
    return torch.cat(parts, dim=-1)
