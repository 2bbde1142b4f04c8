"""One query of one head, taken apart: every number between its vectors and its scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from attncli.models.query_key import QueryKeyAttention


class QueryRow(NamedTuple):
    """What the query meets; float64 on a CPU, of the very numbers that the model computed in its own precision.

    key_head: of the keys and values, which several heads may share.  query: (d,).  keys: (keys, d).  values: (keys,
    d_value).  products: q·k_j, (keys,).  scaled: products times the scale.  capped: c·tanh(scaled/c), or None.
    bias: what is added for positions, or None where that is nothing.  visible: bool, (keys,).  sink: the logit of a
    place outside the sequence, or None.
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
        """What the softmax is taken of, (keys,): −∞ where a key is hidden."""
        scores = self.scaled if self.capped is None else self.capped
        scores = scores if self.bias is None else scores + self.bias
        return scores.masked_fill(~self.visible, -torch.inf)


def query_row(attention: QueryKeyAttention, head: int, query: int) -> QueryRow:
    """The row of a query of the first text, of one head. O(N·d)."""
    key_head = head // (attention.heads // attention.key.shape[1])
    vector, keys, values = (
        exact(states)
        for states in (attention.query[0, head, query], attention.key[0, key_head], attention.value[0, key_head])
    )
    products = keys @ vector
    scaled = products * attention.scaling
    capped = None if attention.softcap is None else torch.tanh(scaled / attention.softcap) * attention.softcap
    visible, added = attention.mask_rows(query, query + 1)
    biases = [
        exact(_place(each, head, query if each is attention.bias else 0)).expand(attention.keys)
        for each in (attention.bias, added)
        if each is not None
    ]
    seen = _place(visible, head, 0).cpu().expand(attention.keys)
    sink = None if attention.sinks is None else _sink(attention.sinks, head, query)
    bias = sum(biases[1:], biases[0]) if any(bool(each.any()) for each in biases) else None
    return QueryRow(key_head, vector, keys, values, products, scaled, capped, bias, seen, sink)


def exact(states: Tensor) -> Tensor:
    """The same numbers in float64 on a CPU."""
    return states.detach().cpu().double()


def _place(tensor: Tensor, head: int, row: int) -> Tensor:
    """One row of something that may be one for all texts, heads and rows: (…, heads or 1, rows or 1, keys)."""
    whole = tensor[(None,) * (4 - tensor.ndim)] if tensor.ndim < 4 else tensor
    return whole[0, head if whole.shape[1] > 1 else 0, row if whole.shape[2] > 1 else 0]


def _sink(sinks: Tensor, head: int, query: int) -> float:
    if sinks.ndim == 1:
        return float(sinks[head].detach())
    return float(_place(sinks, head, query)[0].detach())
