"""Attention given by queries and keys: its weights block by block, and what can be read of it without them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attncli.models.call import RowBlock, row_spans
from attncli.models.kernels import can_fuse, fused_attention
from attncli.models.mask import RuleMask
from attncli.models.visibility import Visibility, implied

if TYPE_CHECKING:
    from attncli.models.query_row import QueryRow

#: Scores of a tile over all heads: 4 MiB of float32, which stay in a processor's cache.
_TILE_ELEMENTS = 1 << 20

#: Rows that are multiplied element by element at a time.
_ROWS = 512


@dataclass(frozen=True)
class Reading:
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


@dataclass(frozen=True)
class QueryKeyAttention:
    """Attention given by queries and keys, after position encoding.

    A = softmax(softcap(scaling · Q Kᵀ) + bias + mask), with the sinks as one more column that is dropped again.

    query: (batch, heads, queries, d).  key, value: (batch, key heads, keys, d), shared by groups of query heads.
    mask: None, a `RuleMask`, or a tensor (bool: True is visible; else added).  bias: added to the scores, or None.
    sinks: one logit a head, (heads,), or one a head and query, (batch, heads, queries, 1); or None.
    softcap: c·tanh(score/c), or None.
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
    #: The output, once somebody has computed it on the way to something else.
    _outputs: list[Tensor] = field(default_factory=list, repr=False, compare=False)

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

    @cached_property
    def visibility(self) -> Visibility | None:
        """Which keys are visible; None where the mask adds numbers as well."""
        if isinstance(self.mask, RuleMask):
            return self.mask.rule.visibility
        if self.mask is None:
            return implied(causal=self.is_causal, queries=self.queries, keys=self.keys, device=self.query.device)
        if self.mask.dtype != torch.bool and any(bool(added.any()) for *_, added in self._mask_blocks()):
            return None
        rows = lambda start, stop: self.mask_rows(start, stop)[0]  # noqa: E731
        return Visibility("other", self.queries, self.keys, None, rows, self.query.device)

    @property
    def values_of(self) -> QueryKeyAttention:
        """Itself: `value` is what its heads read."""
        return self

    @property
    def reader(self) -> QueryKeyAttention | None:
        """Itself where its scores are products of queries and keys and nothing else, so that a fused kernel makes them;
        `readings`, `earlier`, `tiles` and `scores_at` are for such ones."""
        plain = self.bias is None and self.softcap is None and self.visibility is not None
        plain = plain and (self.sinks is None or self.sinks.ndim == 1)
        return self if plain and can_fuse(self.query.device) else None

    def readings(self, values: Tensor | None = None, *, scores: bool = False) -> Iterator[Reading]:
        """Attention to other values, all heads and rows part by part, without the matrix (MATH: A V' is attention).

        values: float32 (batch or 1, keys, w), the same for every head.  scores: whether the mean score of each row is
        wanted, which is linear as well: Σ_j A_ij (scaling · q_i·k_j) = scaling · q_i·(A K)_i.
        The model's own output comes of the same pass.
        """
        parts = [] if values is None else [values.to(self.query.device)]
        output = self.value.new_empty(*self.query.shape[:3], self.value.shape[-1])
        for heads, key_heads, start, stop, causal, mask in self._calls():
            query = self.query[:, heads, start:stop].float()
            key = self.key[:, key_heads].float()
            # From the middle of the keys: a difference of smaller numbers is a more exact one.
            middle = key.mean(dim=2, keepdim=True)
            columns = self._columns(key_heads, parts, key - middle if scores else None)
            read, lse = self._attend(query, key, columns, causal=causal, mask=mask)
            # What is let go of here does not lie beside the next part.
            del columns
            share = None
            if self.sinks is not None:
                whole = torch.logaddexp(lse, self.sinks[heads].float().reshape(1, -1, 1))
                share, lse = (lse - whole).exp(), whole
                read = read * share[..., None]
            output[:, heads, start:stop] = read[..., : self.value.shape[-1]].to(output.dtype)
            width = self.value.shape[-1] + (parts[0].shape[-1] if parts else 0)
            score = None
            if scores:
                score = _dots(read[..., width:], query)
                offset = (query @ self._per_head(middle, query.shape[1]).transpose(2, 3)).squeeze(-1)
                score = self.scaling * (score + (offset if share is None else offset * share))
            reading = Reading(heads, start, stop, read[..., self.value.shape[-1] : width], lse, score, share)
            del read, query, key
            yield reading
            del reading
        self._outputs.append(output)

    def earlier(self, values: Tensor) -> Iterator[Reading]:
        """The same of what lies not after each query, as if all else were hidden; `lse` is of those keys alone, and
        without a sink. Values: float32 (batch or 1, keys, w). Queries and keys are the same tokens."""
        visibility = self.visibility
        assert visibility is not None
        whole = visibility.shape != "other" and visibility.padded_at_end
        for heads, key_heads, start, stop, mask in self._earlier_calls(whole):
            query, key = self.query[:, heads, start:stop].float(), self.key[:, key_heads].float()
            columns = values.to(self.query.device)[:, None].expand(key.shape[0], key.shape[1], -1, -1)
            read, lse = self._attend(query, key, columns, causal=mask is None, mask=mask)
            yield Reading(heads, start, stop, read, lse, None, None)

    @cached_property
    def tile_size(self) -> tuple[int, int]:
        """Rows and columns of a tile of scores; twice as wide as high."""
        side = max(256, _TILE_ELEMENTS // (self.query.shape[0] * self.heads))
        rows = min(self.queries, math.isqrt(side // 2))
        return rows, min(self.keys, side // rows)

    def tiles(self) -> Iterator[ScoreTile]:
        """Scores tile by tile, for what is not linear in the weights. Those where nothing is visible are left out."""
        visibility, (rows, columns) = self.visibility, self.tile_size
        assert visibility is not None
        batch = self.query.shape[0]
        keys = self.key.float().transpose(2, 3)
        for start in range(0, self.queries, rows):
            stop = min(start + rows, self.queries)
            query = self._by_key_head(self.query[:, :, start:stop].float() * self.scaling)
            hidden = _hidden(visibility, start, stop)
            for first in range(0, stop if visibility.triangular else self.keys, columns):
                last = min(first + columns, self.keys)
                mask = hidden(first, last)
                if mask is not None and not visibility.triangular and bool(mask.all()):
                    continue
                scores = (query @ keys[..., first:last]).view(batch, self.heads, stop - start, last - first)
                yield ScoreTile(start, first, scores if mask is None else scores.masked_fill_(mask, -torch.inf))

    def scores_at(self, keys: Tensor) -> Tensor:
        """The score of every query at one key of its own, whether visible or not: keys (batch, queries) of indices.

        float32 (batch, heads, queries); O(N·d).
        """
        texts = torch.arange(keys.shape[0], device=self.key.device)[:, None]
        chosen = self.key.transpose(1, 2)[texts, keys.to(self.key.device)].transpose(1, 2)
        groups = self.heads // self.key.shape[1]
        scores = [_dots(self.query[:, group::groups], chosen) for group in range(groups)]
        return self.scaling * torch.stack(scores, dim=2).flatten(1, 2)

    def blocks(self, heads: Sequence[int] | None = None, rows: tuple[int, int] | None = None) -> Iterator[RowBlock]:
        """All rows in order, or those of `rows` (start, stop); of all heads, or of `heads` alone."""
        chosen = list(range(self.heads)) if heads is None else list(heads)
        first, last = rows or (0, self.queries)
        whole = heads is None and rows is None and not self._outputs
        read = []
        for start, stop in row_spans(last - first, self.query.shape[0] * len(chosen) * self.keys):
            start, stop = first + start, first + stop
            visible, added = self.mask_rows(start, stop)
            weights = self._weights(chosen, start, stop, visible, added)
            if whole:
                read.append((weights @ self._grouped(self.value, chosen).float()).to(self.value.dtype))
            yield RowBlock(start, stop, weights, visible)
        if whole:
            self._outputs.append(torch.cat(read, dim=2))

    def row(self, head: int, query: int) -> QueryRow:
        """One query of one head of the first text, taken apart: see `attncli.models.query_row`."""
        from attncli.models.query_row import query_row

        return query_row(self, head, query)

    def output(self) -> Tensor:
        """What the heads read, as the model's own attention would return it: (batch, queries, heads, d)."""
        if not self._outputs:
            _exhaust(self.readings() if self.reader else self.blocks())
        return self._outputs[0].transpose(1, 2).contiguous()

    def _attend(
        self, query: Tensor, key: Tensor, values: Tensor, *, causal: bool, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The fused kernel, once for every query head that shares a key head; nothing is repeated in memory."""
        batch, heads, rows, width = query.shape
        groups = heads // key.shape[1]
        if groups == 1:
            return fused_attention(query, key, values, scale=self.scaling, causal=causal, mask=mask)
        by_group = query.view(batch, key.shape[1], groups, rows, width).unbind(2)
        parts = [fused_attention(each, key, values, scale=self.scaling, causal=causal, mask=mask) for each in by_group]
        read, lse = (torch.stack(states, dim=2) for states in zip(*parts, strict=True))
        return read.flatten(1, 2), lse.flatten(1, 2)

    def _columns(self, key_heads: slice, shared: Sequence[Tensor], own: Tensor | None) -> Tensor:
        """What is read at each key, side by side: the model's values, what all heads read, what belongs to the head."""
        value = self.value[:, key_heads].float()
        spread = [each[:, None].expand(value.shape[0], value.shape[1], -1, -1) for each in shared]
        return torch.cat([value, *spread, *([] if own is None else [own])], dim=-1)

    def _calls(self) -> Iterator[tuple[slice, slice, int, int, bool, Tensor | None]]:
        """Calls of the kernel that make up the whole: query heads, key heads, rows, and what masks them.

        A few key heads at a time where one call takes all rows, so that little is copied; all heads at once where the
        mask has to be spelled out block by block.
        """
        visibility = self.visibility
        assert visibility is not None
        if visibility.triangular or visibility.shape == "full":
            mask = None if visibility.triangular else visibility.key_mask
            for heads, key_heads in self._head_groups():
                yield heads, key_heads, 0, self.queries, visibility.triangular, mask
            return
        for start, stop, visible in visibility.blocks(self.query.shape[0]):
            yield slice(0, self.heads), slice(0, self.key.shape[1]), start, stop, False, _additive(visible)

    def _earlier_calls(self, whole: bool) -> Iterator[tuple[slice, slice, int, int, Tensor | None]]:
        visibility = self.visibility
        assert visibility is not None
        if whole:
            for heads, key_heads in self._head_groups():
                yield heads, key_heads, 0, self.queries, None
            return
        for start, stop, visible in visibility.blocks(self.query.shape[0]):
            visible = visible.expand(-1, -1, stop - start, -1).tril(start)
            yield slice(0, self.heads), slice(0, self.key.shape[1]), start, stop, _additive(visible)

    def _head_groups(self) -> Iterator[tuple[slice, slice]]:
        """Query heads and their key heads, a few at a time.

        On a CPU one for each thread: a kernel that deals out the rows of one causal head gives the last thread the rows
        that see most, and the others wait for it.
        """
        key_heads, groups = self.key.shape[1], self.heads // self.key.shape[1]
        threads = torch.get_num_threads() if self.device.type == "cpu" else 1
        step = -(-threads // self.query.shape[0])
        for start in range(0, key_heads, step):
            stop = min(start + step, key_heads)
            yield slice(start * groups, stop * groups), slice(start, stop)

    def _per_head(self, states: Tensor, heads: int) -> Tensor:
        """Something of each key head for every query head that shares it."""
        return states.repeat_interleave(heads // states.shape[1], dim=1)

    def _by_key_head(self, query: Tensor) -> Tensor:
        """Queries that share a key head one under another: (batch, key heads, group · rows, d)."""
        batch, _, rows, width = query.shape
        return query.reshape(batch, self.key.shape[1], -1, rows, width).flatten(2, 3)

    def _weights(self, heads: Sequence[int], start: int, stop: int, visible: Tensor, added: Tensor | None) -> Tensor:
        query, key = self.query[:, list(heads), start:stop].float(), self._grouped(self.key, heads).float()
        scores = (query @ key.transpose(2, 3)) * self.scaling
        if self.softcap is not None:
            scores = torch.tanh(scores / self.softcap) * self.softcap
        if self.bias is not None:
            scores = scores + _of_heads(_rows(self.bias, start, stop), heads).float()
        if added is not None:
            scores = scores + _of_heads(added, heads)
        # The least number, not −∞: a row that sees nothing (padding) comes out even, as in transformers, and not NaN.
        scores = torch.where(_of_heads(visible, heads), scores, torch.finfo(torch.float32).min)
        if self.sinks is None:
            return scores.softmax(-1)
        sinks = self.sinks.reshape(1, -1, 1, 1) if self.sinks.ndim == 1 else _rows(self.sinks, start, stop)
        sinks = sinks[:, list(heads)].float().expand(*scores.shape[:-1], 1)
        return torch.cat([scores, sinks], dim=-1).softmax(-1)[..., :-1]

    def _mask_blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        assert self.mask is not None
        for start, stop in row_spans(self.queries, self.mask[..., :1, :].numel()):
            visible, added = self.mask_rows(start, stop)
            yield visible, torch.zeros(()) if added is None else added

    def mask_rows(self, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
        """Which keys the rows see, and what a mask of finite numbers adds to their scores."""
        if isinstance(self.mask, RuleMask):
            return self.mask.rule.rows(start, stop), None
        if self.mask is None:
            assert self.visibility is not None
            return self.visibility.evaluate(start, stop), None
        rows = _rows(self.mask, start, stop)[..., : self.keys]
        if rows.dtype == torch.bool:
            return rows, None
        # Models hide a key with −∞ or with a number near the least one; what is larger is a bias and stays one.
        visible = rows > torch.finfo(rows.dtype).min / 2
        return visible, torch.where(visible, rows, 0).float()

    def _grouped(self, states: Tensor, heads: Sequence[int]) -> Tensor:
        """The keys or values of each of the heads."""
        groups = self.heads // states.shape[1]
        return states[:, [head // groups for head in heads]]


def _rows(tensor: Tensor, start: int, stop: int) -> Tensor:
    """Rows of a mask or bias that may be one row for all queries."""
    return tensor if tensor.shape[-2] == 1 else tensor[..., start:stop, :]


def _of_heads(tensor: Tensor, heads: Sequence[int]) -> Tensor:
    """Some heads of a mask or bias that may be one for all heads."""
    return tensor if tensor.ndim < 4 or tensor.shape[1] == 1 else tensor[:, list(heads)]


def _additive(visible: Tensor) -> Tensor:
    """What a kernel adds to hide keys: 0 or −∞, float32."""
    return torch.zeros(visible.shape, device=visible.device).masked_fill_(~visible, -torch.inf)


def _hidden(visibility: Visibility, start: int, stop: int) -> Callable[[int, int], Tensor | None]:
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


def _dots(left: Tensor, right: Tensor) -> Tensor:
    """The product of each row with its own: (…, rows, d) twice to (…, rows), float32.

    Some rows at a time, as what is written between the two steps should still be in the cache when it is read.
    """
    parts = [
        (left[..., start : start + _ROWS, :].float() * right[..., start : start + _ROWS, :].float()).sum(-1)
        for start in range(0, left.shape[-2], _ROWS)
    ]
    return torch.cat(parts, dim=-1)


def _exhaust(parts: Iterator[object]) -> None:
    deque(parts, maxlen=0)
