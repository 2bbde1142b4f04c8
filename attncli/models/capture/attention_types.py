"""What one captured attention computation offers to the analysis of heads, whether or not its queries are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from attncli.models.capture.query_key_attention import RowBlock, row_spans

if TYPE_CHECKING:
    import torch

    from attncli.models.capture.fused_attention import FusedAttention
    from attncli.models.capture.query_key_attention import QueryKeyAttention


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
        ...

    @property
    def with_values(self) -> QueryKeyAttention | None:
        """Itself, with its queries, keys and values; None where only the weights are known."""
        ...

    def blocks(self, heads: Sequence[int] | None = None, rows: tuple[int, int] | None = None) -> Iterator[RowBlock]:
        """The weights of all rows in order, as many rows at a time as fit into a bounded memory.

        heads: only these.  rows: only those from start to stop.
        """
        ...


class WithoutQueriesAndKeys:
    """Base of every `Attention` of which only the weights are known."""

    @property
    def fused(self) -> None:
        return None

    @property
    def with_values(self) -> None:
        return None


@dataclass(frozen=True)
class PrecomputedAttention(WithoutQueriesAndKeys):
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


@dataclass(frozen=True)
class WeightsAttention(PrecomputedAttention):
    """Weights for every key: (batch, heads, queries, keys)."""

    @property
    def keys(self) -> int:
        return self.weights.shape[3]

    @property
    def has_sink(self) -> bool:
        # Rounding in half precision changes a sum by less than this.
        return bool((self.weights.float().sum(-1) < 0.99).any())

    def blocks(self, heads: Sequence[int] | None = None, rows: tuple[int, int] | None = None) -> Iterator[RowBlock]:
        first, last = rows or (0, self.queries)
        for start, stop in row_spans(last - first, self.weights[:, :, :1].numel()):
            start, stop = first + start, first + stop
            weights = self.weights[:, :, start:stop].float()
            # The mask is unknown here: a masked weight is exactly 0 in every head, and others are not.
            visible = (weights != 0).any(dim=1, keepdim=True)
            yield RowBlock(start, stop, weights if heads is None else weights[:, list(heads)], visible)
