"""One attention computation as the probe meets it: the vocabulary between the models and the analysis of heads."""

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
    """What every family's attention has in common, however it was caught."""

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
        """Rows may sum to less than 1: some attention goes to a place outside the sequence."""
        ...

    @property
    def fused(self) -> FusedAttention | None:
        """What reads it without its matrix; None where its weights have to be computed."""
        ...

    @property
    def with_values(self) -> QueryKeyAttention | None:
        """Itself where what its heads read is known; None where there are weights alone."""
        ...

    def blocks(self, heads: Sequence[int] | None = None, rows: tuple[int, int] | None = None) -> Iterator[RowBlock]:
        """All rows in order, as many at a time as fit into a bounded memory.

        heads: of these alone.  rows: start and stop of those that are wanted.
        """
        ...


class WithoutQueriesAndKeys:
    """The part of an `Attention` that has weights, and neither queries nor keys."""

    @property
    def fused(self) -> None:
        return None

    @property
    def with_values(self) -> None:
        return None


@dataclass(frozen=True)
class PrecomputedAttention(WithoutQueriesAndKeys):
    """Attention that a family computes its own way. weights: (batch, heads, queries, …)."""

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
        # Half precision alone moves a sum by less than this.
        return bool((self.weights.float().sum(-1) < 0.99).any())

    def blocks(self, heads: Sequence[int] | None = None, rows: tuple[int, int] | None = None) -> Iterator[RowBlock]:
        first, last = rows or (0, self.queries)
        for start, stop in row_spans(last - first, self.weights[:, :, :1].numel()):
            start, stop = first + start, first + stop
            weights = self.weights[:, :, start:stop].float()
            # The mask itself is not to be had here; a masked weight is exactly 0 in every head, and others are not.
            visible = (weights != 0).any(dim=1, keepdim=True)
            yield RowBlock(start, stop, weights if heads is None else weights[:, list(heads)], visible)
