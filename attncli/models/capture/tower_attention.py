"""The attention of towers of pictures and sounds, which run beside a text on several crops or chunks of one input.

Several crops of a picture are a batch, of which the first is taken. Chunks of one sequence (the windows of Qwen2.5-VL)
are handed to the attention one after another within one call of its module (`TowerCalls`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from attncli.models.capture.attention_types import Attention, WithoutQueriesAndKeys
from attncli.models.capture.query_key_attention import QueryKeyAttention, RowBlock
from attncli.models.capture.structure import is_attention, stack_word


def is_tower(path: str) -> bool:
    """Whether a module is part of a tower of pictures or sounds, by its path."""
    return stack_word(path) in ("vision", "audio")


class TowerCalls:
    """While active, gathers the attention of each call of a tower's attention module.

    emit: called with the module and its attention, that of all chunks together.
    """

    def __init__(self, model: nn.Module, emit: Callable[[nn.Module, Attention], None]) -> None:
        self._modules = [part for path, part in model.named_modules() if is_attention(part) and is_tower(path)]
        self._emit = emit
        #: The attention of the chunks so far, by the id of each module that is being called.
        self._chunks: dict[int, list[Attention]] = {}
        self._hooks: list[RemovableHandle] = []

    def __enter__(self) -> TowerCalls:
        for module in self._modules:
            self._hooks.append(module.register_forward_pre_hook(self._begin))
            self._hooks.append(module.register_forward_hook(self._end))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def take(self, module: nn.Module, attention: Attention) -> bool:
        """Keep an attention until its module's call ends. Returns whether the module is one of a tower."""
        if id(module) not in self._chunks:
            return False
        self._chunks[id(module)].append(attention)
        return True

    def _begin(self, module: nn.Module, _: Any) -> None:
        self._chunks[id(module)] = []

    def _end(self, module: nn.Module, _: Any, __: Any) -> None:
        chunks = self._chunks.pop(id(module))
        if chunks:
            self._emit(module, chunks[0] if len(chunks) == 1 else ChunkedAttention(tuple(chunks)))


def batch_of(attention: Attention) -> int:
    """How many sequences an attention is of."""
    if isinstance(attention, QueryKeyAttention):
        return attention.query.shape[0]
    return next(iter(attention.blocks(rows=(0, 1)))).weights.shape[0]


@dataclass(frozen=True)
class ChunkedAttention(WithoutQueriesAndKeys):
    """Attention within chunks of a sequence, each of which a tower hands to its attention by itself (Qwen2.5-VL).

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
                # A mask may be one column for all keys.
                visible = block.visible.expand(*block.visible.shape[:3], chunk.keys)
                weights, visible = (nn.functional.pad(part, around) for part in (block.weights, visible))
                yield RowBlock(row + block.start, row + block.stop, weights, visible)
            row, column = row + chunk.queries, column + chunk.keys


@dataclass(frozen=True)
class FirstOfBatch(WithoutQueriesAndKeys):
    """The first sequence of a batch: a tower may take several crops of one picture."""

    whole: Attention

    @property
    def heads(self) -> int:
        return self.whole.heads

    @property
    def queries(self) -> int:
        return self.whole.queries

    @property
    def keys(self) -> int:
        return self.whole.keys

    @property
    def device(self) -> torch.device:
        return self.whole.device

    @property
    def has_sink(self) -> bool:
        return self.whole.has_sink

    def blocks(self, heads: Sequence[int] | None = None, rows: tuple[int, int] | None = None) -> Iterator[RowBlock]:
        for block in self.whole.blocks(heads, rows):
            yield RowBlock(block.start, block.stop, block.weights[:1], block.visible[:1])
