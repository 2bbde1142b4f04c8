"""One attention computation as the probe meets it: the vocabulary between the models and the analysis of heads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from attncli.models.mask import RuleMask

#: Scores that are alive at once, over all heads: 64 MiB of float32.
_BLOCK_ELEMENTS = 1 << 24


@dataclass(frozen=True)
class RowBlock:
    """The attention of the queries start…stop of every head.

    weights: float32, (batch, heads, stop − start, keys).  visible: bool, broadcastable to the weights.
    """

    start: int
    stop: int
    weights: Tensor
    visible: Tensor


class Attention(Protocol):
    """What every family's attention has in common, however it was caught."""

    @property
    def heads(self) -> int: ...
    @property
    def queries(self) -> int: ...
    @property
    def keys(self) -> int: ...
    @property
    def has_sink(self) -> bool:
        """Rows may sum to less than 1: some attention goes to a place outside the sequence."""
        ...

    def blocks(self) -> Iterator[RowBlock]:
        """All rows in order, as many at a time as fit into a bounded memory."""
        ...


def row_spans(rows: int, elements_a_row: int) -> Iterator[tuple[int, int]]:
    """Cut `rows` into spans of at most `_BLOCK_ELEMENTS` elements, and of one row at least."""
    step = max(1, _BLOCK_ELEMENTS // max(1, elements_a_row))
    for start in range(0, rows, step):
        yield start, min(start + step, rows)


@dataclass(frozen=True)
class QueryKeyAttention:
    """Attention given by queries and keys, after position encoding.

    A = softmax(softcap(scaling · Q Kᵀ) + bias + mask), with the sinks as one more column that is dropped again.

    query: (batch, heads, queries, d).  key, value: (batch, key heads, keys, d), shared by groups of query heads.
    mask: None, a `RuleMask`, or a tensor (bool: True is visible; else added).  bias: added to the scores, or None.
    sinks: one logit a head, (heads,), or None.  softcap: c·tanh(score/c), or None.
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
    def has_sink(self) -> bool:
        return self.sinks is not None

    def blocks(self) -> Iterator[RowBlock]:
        batch = self.query.shape[0]
        for start, stop in row_spans(self.queries, batch * self.heads * self.keys):
            visible, added = self._mask_rows(start, stop)
            yield RowBlock(start, stop, self._weights(start, stop, visible, added), visible)

    def output(self) -> Tensor:
        """What the heads read, as the model's own attention would return it: (batch, queries, heads, d)."""
        value = self._grouped(self.value).float()
        rows = [(block.weights @ value).to(self.value.dtype) for block in self.blocks()]
        return torch.cat(rows, dim=2).transpose(1, 2).contiguous()

    def _weights(self, start: int, stop: int, visible: Tensor, added: Tensor | None) -> Tensor:
        query, key = self.query[:, :, start:stop].float(), self._grouped(self.key).float()
        scores = (query @ key.transpose(2, 3)) * self.scaling
        if self.softcap is not None:
            scores = torch.tanh(scores / self.softcap) * self.softcap
        if self.bias is not None:
            scores = scores + _rows(self.bias, start, stop).float()
        if added is not None:
            scores = scores + added
        # The least number, not −∞: a row that sees nothing (padding) comes out even, as in transformers, and not NaN.
        scores = torch.where(visible, scores, torch.finfo(torch.float32).min)
        if self.sinks is None:
            return scores.softmax(-1)
        sinks = self.sinks.float().reshape(1, -1, 1, 1).expand(*scores.shape[:-1], 1)
        return torch.cat([scores, sinks], dim=-1).softmax(-1)[..., :-1]

    def _mask_rows(self, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
        """Which keys the rows see, and what a mask of finite numbers adds to their scores."""
        if isinstance(self.mask, RuleMask):
            return self.mask.rule.rows(start, stop), None
        if self.mask is None:
            return self._implied_mask(start, stop), None
        rows = _rows(self.mask, start, stop)[..., : self.keys]
        if rows.dtype == torch.bool:
            return rows, None
        # Models hide a key with −∞ or with a number near the least one; what is larger is a bias and stays one.
        visible = rows > torch.finfo(rows.dtype).min / 2
        return visible, torch.where(visible, rows, 0).float()

    def _implied_mask(self, start: int, stop: int) -> Tensor:
        device = self.query.device
        columns = torch.arange(self.keys, device=device)[None, :]
        if not self.is_causal:
            return torch.ones(1, 1, stop - start, self.keys, dtype=torch.bool, device=device)
        return (columns <= torch.arange(start, stop, device=device)[:, None])[None, None]

    def _grouped(self, states: Tensor) -> Tensor:
        return states.repeat_interleave(self.heads // states.shape[1], dim=1)


@dataclass(frozen=True)
class WeightsAttention:
    """Attention that a family computes its own way and hands out as weights, (batch, heads, queries, keys)."""

    weights: Tensor

    @property
    def heads(self) -> int:
        return self.weights.shape[1]

    @property
    def queries(self) -> int:
        return self.weights.shape[2]

    @property
    def keys(self) -> int:
        return self.weights.shape[3]

    @property
    def has_sink(self) -> bool:
        # Half precision alone moves a sum by less than this.
        return bool((self.weights.float().sum(-1) < 0.99).any())

    def blocks(self) -> Iterator[RowBlock]:
        batch = self.weights.shape[0]
        for start, stop in row_spans(self.queries, batch * self.heads * self.keys):
            weights = self.weights[:, :, start:stop].float()
            yield RowBlock(start, stop, weights, self._visible(weights))

    def _visible(self, weights: Tensor) -> Tensor:
        # The mask itself is not to be had here; a masked weight is exactly 0 in every head, and others are not.
        return (weights != 0).any(dim=1, keepdim=True)


def _rows(tensor: Tensor, start: int, stop: int) -> Tensor:
    """Rows of a mask or bias that may be one row for all queries."""
    return tensor if tensor.shape[-2] == 1 else tensor[..., start:stop, :]
