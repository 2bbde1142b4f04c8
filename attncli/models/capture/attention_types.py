"""What one captured attention computation offers to the analysis of heads, whether or not its queries are known."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from attncli.models.capture.fused_attention import FusedAttention, QueryKeyStates, can_fuse
from attncli.models.capture.lazy_mask import LazyMaskTensor, Visibility, implied_visibility, row_spans

#: Ends the path of an attention whose keys come from another stack, where the path of its module doesn't say so.
CROSS_SUFFIX = ".cross_attention"


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
    """One attention computation, for every family and however it was captured."""

    @property
    def heads(self) -> int: ...
    @property
    def queries(self) -> int: ...
    @property
    def keys(self) -> int: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def has_sink(self) -> bool:
        """Whether rows may sum to less than 1: some attention goes to a sink outside the sequence."""
        ...

    @property
    def fused(self) -> FusedAttention | None:
        """The same attention by fused kernels, without its matrix; None where its weights have to be computed."""
        return None

    @property
    def with_values(self) -> QueryKeyAttention | None:
        """Itself, with its queries, keys and values; None where only the weights are known."""
        return None

    def blocks(self, heads: Sequence[int] | None = None, rows: tuple[int, int] | None = None) -> Iterator[RowBlock]:
        """The weights of all rows in order, as many rows at a time as fit into a bounded memory.

        heads: only these.  rows: only those from start to stop.
        """
        ...


def all_weights(attention: Attention) -> Tensor:
    """The whole matrix, float32 (batch, heads, queries, keys)."""
    return torch.cat([block.weights for block in attention.blocks()], dim=2)


def batch_size(attention: Attention) -> int:
    """How many sequences an attention is of."""
    if isinstance(attention, QueryKeyAttention):
        return attention.query.shape[0]
    return next(iter(attention.blocks(rows=(0, 1)))).weights.shape[0]


@dataclass(frozen=True)
class QueryKeyAttention(QueryKeyStates):
    """Attention computed from queries and keys: its weights in blocks of rows, its output, and one query in steps."""

    @cached_property
    def visibility(self) -> Visibility | None:
        """Which keys are visible; None where the mask adds numbers as well."""
        if isinstance(self.mask, LazyMaskTensor):
            return self.mask.definition.visibility
        if self.mask is None:
            return implied_visibility(
                causal=self.is_causal, queries=self.queries, keys=self.keys, device=self.query.device
            )
        spans = row_spans(self.queries, self.mask[..., :1, :].numel())
        additions = (self.mask_rows(start, stop)[1] for start, stop in spans if self.mask.dtype != torch.bool)
        if any(added is not None and bool(added.any()) for added in additions):
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
        keeps_output = heads is None and rows is None and not self.outputs
        outputs = []
        for start, stop in row_spans(last - first, self.query.shape[0] * len(selected) * self.keys):
            start, stop = first + start, first + stop
            visible, added = self.mask_rows(start, stop)
            weights = self._weights(selected, start, stop, visible, added)
            if keeps_output:
                outputs.append((weights @ self._repeat_for_heads(self.value, selected).float()).to(self.value.dtype))
            yield RowBlock(start, stop, weights, visible)
        if keeps_output:
            self.outputs.append(torch.cat(outputs, dim=2))

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
        sink = None
        if self.sinks is not None:
            logit = self.sinks[head] if self.sinks.ndim == 1 else _single_row(self.sinks, head, query)[0]
            sink = float(logit.detach())
        bias = sum(biases[1:], biases[0]) if any(bool(each.any()) for each in biases) else None
        return SingleQuery(key_head, vector, keys, values, products, scaled, capped, bias, row_visible, sink)

    def output(self) -> Tensor:
        """The heads' output as the model's own attention would return it: (batch, queries, heads, d)."""
        if not self.outputs:
            fused = self.fused
            # Running through all rows stores the output.
            deque(self.blocks() if fused is None else fused.weighted_sums(), maxlen=0)
        return self.outputs[0].transpose(1, 2).contiguous()

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


# --- Attention of which only the weights are known


@dataclass(frozen=True)
class PrecomputedAttention(Attention):
    """Attention whose weights the model's own code computed. weights: (batch, heads, queries, …)."""

    weights: Tensor

    @property
    def heads(self) -> int:
        return self.weights.shape[1]

    @property
    def queries(self) -> int:
        return self.weights.shape[2]

    @property
    def device(self) -> torch.device:
        return self.weights.device

    def blocks(self, heads: Sequence[int] | None = None, rows: tuple[int, int] | None = None) -> Iterator[RowBlock]:
        first, last = rows or (0, self.queries)
        for start, stop in row_spans(last - first, self.weights.shape[0] * self.heads * self.keys):
            start, stop = first + start, first + stop
            weights = self._rows(start, stop)
            # The mask is unknown here: a masked weight is exactly 0 in every head, and others are not.
            visible = (weights != 0).any(dim=1, keepdim=True)
            yield RowBlock(start, stop, weights if heads is None else weights[:, list(heads)], visible)

    def _rows(self, start: int, stop: int) -> Tensor:
        """Whole rows, float32 (batch, heads, stop − start, keys)."""
        raise NotImplementedError


class WeightsAttention(PrecomputedAttention):
    """Weights for every key: (batch, heads, queries, keys)."""

    @property
    def keys(self) -> int:
        return self.weights.shape[3]

    @property
    def has_sink(self) -> bool:
        # Rounding in half precision changes a sum by less than this.
        return bool((self.weights.float().sum(-1) < 0.99).any())

    def _rows(self, start: int, stop: int) -> Tensor:
        return self.weights[:, :, start:stop].float()


@dataclass(frozen=True)
class LocalAttention(PrecomputedAttention):
    """Attention of each query to a few keys.

    weights: (batch, heads, queries, slots).  columns: the key in each slot, (queries, slots), −1 where there is none.
    key_count: how many keys there are.
    """

    columns: Tensor
    key_count: int

    @property
    def keys(self) -> int:
        return self.key_count

    @property
    def has_sink(self) -> bool:
        """True where a part of a row goes to summaries of the text, which have no column (LongT5)."""
        totals = (self.weights * (self.columns >= 0)).float().sum(-1)
        return bool(((totals > 0) & (totals < 0.99)).any())

    def _rows(self, start: int, stop: int) -> Tensor:
        weights, columns = self.weights[:, :, start:stop].float(), self.columns[start:stop]
        # Slots without a key go to one more column, which is cut off again.
        places = torch.where(columns < 0, self.keys, columns).expand(weights.shape)
        rows = weights.new_zeros(*weights.shape[:3], self.keys + 1)
        return rows.scatter_add_(3, places, weights)[..., : self.keys]


@dataclass(frozen=True)
class AttentionSlice(Attention):
    """A part of an attention to more than a text. Its rows sum to the attention that its keys get.

    rows, columns: (start, stop) of its queries and keys, None for all.  sequence: of the batch, None for all.
    """

    whole: Attention
    rows: tuple[int, int] | None = None
    columns: tuple[int, int] | None = None
    sequence: int | None = None

    @property
    def heads(self) -> int:
        return self.whole.heads

    @property
    def queries(self) -> int:
        return self.whole.queries if self.rows is None else self.rows[1] - self.rows[0]

    @property
    def keys(self) -> int:
        return self.whole.keys if self.columns is None else self.columns[1] - self.columns[0]

    @property
    def device(self) -> torch.device:
        return self.whole.device

    @property
    def has_sink(self) -> bool:
        return self.columns is not None or self.whole.has_sink

    def blocks(self, heads: Sequence[int] | None = None, rows: tuple[int, int] | None = None) -> Iterator[RowBlock]:
        first, last = rows or (0, self.queries)
        row = 0 if self.rows is None else self.rows[0]
        texts = slice(None) if self.sequence is None else slice(self.sequence, self.sequence + 1)
        columns = slice(*(self.columns or (None, None)))
        for block in self.whole.blocks(heads, (first + row, last + row)):
            # A mask may be one column for all keys.
            visible = block.visible.expand(-1 if self.sequence is None else len(block.weights), -1, -1, self.whole.keys)
            visible = visible[texts, ..., columns]
            yield RowBlock(block.start - row, block.stop - row, block.weights[texts, ..., columns], visible)


def sequences_of(attention: Attention) -> tuple[Attention, ...]:
    """The attention of every sequence of a batch by itself."""
    count = batch_size(attention)
    if isinstance(attention, QueryKeyAttention) and attention.mask is attention.bias is None:
        return tuple(
            replace(attention, query=query, key=key, value=value, outputs=[])
            for query, key, value in zip(
                *(states[:, None] for states in (attention.query, attention.key, attention.value)), strict=True
            )
        )
    return tuple(AttentionSlice(attention, sequence=number) for number in range(count))


@dataclass(frozen=True)
class ChunkedAttention(Attention):
    """Attention within chunks of a sequence, each of which a tower hands to its attention by itself: windows of patches
    (Qwen2.5-VL), or the crops of a picture.

    chunks: in order; no position sees another chunk.
    """

    chunks: tuple[Attention, ...]

    @property
    def heads(self) -> int:
        return self.chunks[0].heads

    @property
    def queries(self) -> int:
        return sum(chunk.queries for chunk in self.chunks)

    @property
    def keys(self) -> int:
        return sum(chunk.keys for chunk in self.chunks)

    @property
    def device(self) -> torch.device:
        return self.chunks[0].device

    @property
    def has_sink(self) -> bool:
        return any(chunk.has_sink for chunk in self.chunks)

    def blocks(self, heads: Sequence[int] | None = None, rows: tuple[int, int] | None = None) -> Iterator[RowBlock]:
        first, last = rows or (0, self.queries)
        row = column = 0
        for chunk in self.chunks:
            inside = (max(first - row, 0), min(last - row, chunk.queries))
            around = (column, self.keys - column - chunk.keys)
            for block in chunk.blocks(heads, inside) if inside[0] < inside[1] else ():
                visible = block.visible.expand(*block.visible.shape[:3], chunk.keys)
                weights, visible = (nn.functional.pad(part, around) for part in (block.weights, visible))
                yield RowBlock(row + block.start, row + block.stop, weights, visible)
            row, column = row + chunk.queries, column + chunk.keys
