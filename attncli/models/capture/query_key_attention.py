"""Attention computed from queries and keys: its weights in blocks of rows, its output, and one query step by step."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from attncli.models.capture.fused_attention import FusedAttention, can_fuse
from attncli.models.capture.lazy_mask import LazyMaskTensor, Visibility, implied_visibility


@dataclass(frozen=True)
class QueryKeyAttention:
    """Attention computed from queries and keys, after position encoding.

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
        if isinstance(self.mask, LazyMaskTensor):
            return self.mask.definition.visibility
        if self.mask is None:
            return implied_visibility(
                causal=self.is_causal, queries=self.queries, keys=self.keys, device=self.query.device
            )
        if self.mask.dtype != torch.bool and any(bool(added.any()) for *_, added in self._mask_blocks()):
            return None
        rows = lambda start, stop: self.mask_rows(start, stop)[0]  # noqa: E731
        return Visibility("other", self.queries, self.keys, None, rows, self.query.device)

    @property
    def with_values(self) -> QueryKeyAttention:
        """Itself."""
        return self

    @property
    def fused(self) -> FusedAttention | None:
        """The same attention, computed by fused kernels without the matrix of weights.

        None where the scores are more than products of queries and keys, or the mask adds numbers besides hiding keys.
        """
        plain = self.bias is None and self.softcap is None and (self.sinks is None or self.sinks.ndim == 1)
        if not plain or self.visibility is None or not can_fuse(self.device):
            return None
        return FusedAttention(self, self.visibility)

    def blocks(self, heads: Sequence[int] | None = None, rows: tuple[int, int] | None = None) -> Iterator[RowBlock]:
        """All rows in order, or those of `rows` (start, stop); of all heads, or of `heads` alone."""
        selected = list(range(self.heads)) if heads is None else list(heads)
        first, last = rows or (0, self.queries)
        keeps_output = heads is None and rows is None and not self._outputs
        outputs = []
        for start, stop in row_spans(last - first, self.query.shape[0] * len(selected) * self.keys):
            start, stop = first + start, first + stop
            visible, added = self.mask_rows(start, stop)
            weights = self._weights(selected, start, stop, visible, added)
            if keeps_output:
                outputs.append((weights @ self._repeat_for_heads(self.value, selected).float()).to(self.value.dtype))
            yield RowBlock(start, stop, weights, visible)
        if keeps_output:
            self.keep_output(torch.cat(outputs, dim=2))

    def single_query(self, head: int, query: int) -> SingleQuery:
        """One query of one head of the first text. O(N·d)."""
        key_head = head // (self.heads // self.key.shape[1])
        vector, keys, values = (
            to_float64(states)
            for states in (self.query[0, head, query], self.key[0, key_head], self.value[0, key_head])
        )
        products = keys @ vector
        scaled = products * self.scaling
        capped = None if self.softcap is None else torch.tanh(scaled / self.softcap) * self.softcap
        visible, added = self.mask_rows(query, query + 1)
        biases = [
            to_float64(_single_row(each, head, query if each is self.bias else 0)).expand(self.keys)
            for each in (self.bias, added)
            if each is not None
        ]
        row_visible = _single_row(visible, head, 0).cpu().expand(self.keys)
        sink = None if self.sinks is None else _sink_logit(self.sinks, head, query)
        bias = sum(biases[1:], biases[0]) if any(bool(each.any()) for each in biases) else None
        return SingleQuery(key_head, vector, keys, values, products, scaled, capped, bias, row_visible, sink)

    def keep_output(self, output: Tensor) -> None:
        """Store the output, (batch, heads, queries, d), that was computed along with something else."""
        self._outputs.append(output)

    def output(self) -> Tensor:
        """The heads' output as the model's own attention would return it: (batch, queries, heads, d)."""
        if not self._outputs:
            fused = self.fused
            # Running through all rows stores the output.
            deque(self.blocks() if fused is None else fused.weighted_sums(), maxlen=0)
        return self._outputs[0].transpose(1, 2).contiguous()

    def _weights(self, heads: Sequence[int], start: int, stop: int, visible: Tensor, added: Tensor | None) -> Tensor:
        query, key = self.query[:, list(heads), start:stop].float(), self._repeat_for_heads(self.key, heads).float()
        scores = (query @ key.transpose(2, 3)) * self.scaling
        if self.softcap is not None:
            scores = torch.tanh(scores / self.softcap) * self.softcap
        if self.bias is not None:
            scores = scores + _select_heads(_select_rows(self.bias, start, stop), heads).float()
        if added is not None:
            scores = scores + _select_heads(added, heads)
        # The least number, not −∞: a row that sees nothing (padding) becomes uniform, as in transformers, and not NaN.
        scores = torch.where(_select_heads(visible, heads), scores, torch.finfo(torch.float32).min)
        if self.sinks is None:
            return scores.softmax(-1)
        sinks = self.sinks.reshape(1, -1, 1, 1) if self.sinks.ndim == 1 else _select_rows(self.sinks, start, stop)
        sinks = sinks[:, list(heads)].float().expand(*scores.shape[:-1], 1)
        return torch.cat([scores, sinks], dim=-1).softmax(-1)[..., :-1]

    def _mask_blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        assert self.mask is not None
        for start, stop in row_spans(self.queries, self.mask[..., :1, :].numel()):
            visible, added = self.mask_rows(start, stop)
            yield visible, torch.zeros((), dtype=torch.float32) if added is None else added

    def mask_rows(self, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
        """Which keys the rows see, and what a mask of finite numbers adds to their scores."""
        if isinstance(self.mask, LazyMaskTensor):
            return self.mask.definition.rows(start, stop), None
        if self.mask is None:
            assert self.visibility is not None
            return self.visibility.evaluate(start, stop), None
        rows = _select_rows(self.mask, start, stop)[..., : self.keys]
        if rows.dtype == torch.bool:
            return rows, None
        # Models hide a key with −∞ or with a number near the least one; larger numbers are a bias.
        visible = rows > torch.finfo(rows.dtype).min / 2
        return visible, torch.where(visible, rows, 0).float()

    def _repeat_for_heads(self, states: Tensor, heads: Sequence[int]) -> Tensor:
        """The keys or values of each of the heads, (batch, heads, keys, d)."""
        groups = self.heads // states.shape[1]
        return states[:, [head // groups for head in heads]]


def _select_rows(tensor: Tensor, start: int, stop: int) -> Tensor:
    """Rows of a mask or bias that may have one row for all queries."""
    return tensor if tensor.shape[-2] == 1 else tensor[..., start:stop, :]


def _select_heads(tensor: Tensor, heads: Sequence[int]) -> Tensor:
    """Some heads of a mask or bias that may have one head for all."""
    return tensor if tensor.ndim < 4 or tensor.shape[1] == 1 else tensor[:, list(heads)]


class SingleQuery(NamedTuple):
    """All numbers between one query and its scores: float64 on a CPU, converted from the model's own precision.

    key_head: of the keys and values, which several heads may share.  query: (d,).  keys: (keys, d).  values: (keys,
    d_value).  products: q·k_j, (keys,).  scaled: products times the scale.  capped: c·tanh(scaled/c), or None.
    bias: added for positions, or None where it is zero.  visible: bool, (keys,).  sink: the logit of a sink outside the
    sequence, or None.
    """

    key_head: int
    query: Tensor
    keys: Tensor
    values: Tensor
    products: Tensor
    scaled: Tensor
    capped: Tensor | None
    bias: Tensor | None
    visible: Tensor
    sink: float | None

    @property
    def scores(self) -> Tensor:
        """The input of the softmax, (keys,): −∞ where a key is hidden."""
        scores = self.scaled if self.capped is None else self.capped
        scores = scores if self.bias is None else scores + self.bias
        return scores.masked_fill(~self.visible, -torch.inf)


def to_float64(states: Tensor) -> Tensor:
    """The same numbers in float64 on a CPU."""
    return states.detach().cpu().double()


def _single_row(tensor: Tensor, head: int, row: int) -> Tensor:
    """One row of the first text, of a tensor (…, heads or 1, rows or 1, keys)."""
    whole = tensor[(None,) * (4 - tensor.ndim)] if tensor.ndim < 4 else tensor
    return whole[0, head if whole.shape[1] > 1 else 0, row if whole.shape[2] > 1 else 0]


def _sink_logit(sinks: Tensor, head: int, query: int) -> float:
    if sinks.ndim == 1:
        return float(sinks[head].detach())
    return float(_single_row(sinks, head, query)[0].detach())


#: Scores that are held at once, over all heads: 64 MiB of float32.
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


def row_spans(rows: int, elements_a_row: int) -> Iterator[tuple[int, int]]:
    """Cut `rows` into spans (start, stop) of at most `_BLOCK_ELEMENTS` elements, and of at least one row."""
    step = max(1, _BLOCK_ELEMENTS // max(1, elements_a_row))
    for start in range(0, rows, step):
        yield start, min(start + step, rows)
