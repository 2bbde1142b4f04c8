"""Attention to one part of a sequence after another: the parts are put together to one attention.

Own code may cut a sequence into chunks and hand each to the same module (CANINE's local attention, Clark et al. 2021).
Slices of states are followed, so that for each call it is known which positions its states are (`SequenceParts`).
Towers of pictures hand the chunks of a sequence (the windows of Qwen2.5-VL) to the attention one after another within
one call of its module (`TowerCalls`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakTensorKeyDictionary

from attncli.errors import ModelError
from attncli.models.capture.attention_types import (
    Attention,
    ChunkedAttention,
    LocalAttention,
    all_weights,
    batch_size,
)
from attncli.models.capture.structure import is_attention, is_tower

_CUTS = frozenset({"__getitem__", "narrow", "split", "chunk", "tensor_split"})
_JOINS = frozenset({"cat", "concat", "concatenate"})


@dataclass(eq=False)
class _Sequence:
    """A sequence of states that was cut. call: the module call that cut it.  parts: what was attended to in each."""

    call: object
    length: int
    parts: list[tuple[nn.Module, PartPlaces, Attention]] = field(default_factory=list)


class _Places(NamedTuple):
    """Which positions of a sequence some states are, int64 (n,)."""

    sequence: _Sequence
    places: Tensor

    @property
    def length(self) -> int:
        return len(self.places)


class PartPlaces(NamedTuple):
    """The positions of the queries and of the keys of a call."""

    queries: _Places
    keys: _Places

    def add(self, module: nn.Module, attention: Attention) -> None:
        """Keep the attention of a module within this part, until the whole sequence is read."""
        self.queries.sequence.parts.append((module, self, attention))

    def fits(self, attention: Attention) -> bool:
        return (self.queries.length, self.keys.length) == (attention.queries, attention.keys)


class SequenceParts:
    """Follows states (batch, positions, width) that are cut from longer ones."""

    def __init__(self) -> None:
        self._places: Any = WeakTensorKeyDictionary()
        self._cut: list[_Sequence] = []

    def follow(
        self, call: object, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], result: Any
    ) -> None:
        """After a function of torch. call: of the innermost module."""
        name = getattr(func, "__name__", "")
        first: Any = args[0] if args else None
        if name in _CUTS and _is_states(first):
            self._follow_cut(call, first, lambda places: func(places, *args[1:], **kwargs), result)
        elif name in _JOINS and self._places and isinstance(first, tuple | list):
            self._follow_join(first, result)
        elif (
            self._places
            and _is_states(first)
            and _is_states(result)
            and first in self._places
            and result.shape[:2] == first.shape[:2]
        ):
            self._places[result] = self._places[first]

    def of_inputs(self, inputs: Sequence[Any]) -> PartPlaces | None:
        """What part of a sequence a module is given: queries come first, then keys, if they are others."""
        states = [each for each in inputs if _is_states(each)]
        if not states or states[0] not in self._places:
            return None
        queries = self._places[states[0]]
        others = (each for each in states[1:] if each in self._places and each.shape[2] == states[0].shape[2])
        keys = next((self._places[each] for each in others), queries)
        is_whole = all(each.length == each.sequence.length for each in (queries, keys))
        return None if is_whole else PartPlaces(queries, keys)

    def finished(self, call: object) -> Iterator[tuple[nn.Module, Attention]]:
        """After a module: the attention of what was cut in it, in one where the parts are a whole sequence.

        Raises ModelError where several parts leave out some of it.
        """
        done = [sequence for sequence in self._cut if sequence.call is call]
        self._cut = [sequence for sequence in self._cut if sequence.call is not call]
        for sequence in done:
            for module in dict.fromkeys(module for module, *_ in sequence.parts):
                parts = [(places, attention) for other, places, attention in sequence.parts if other is module]
                for group in _rounds(parts, sequence.length):
                    yield module, _put_together(group, sequence.length, module)

    def _follow_cut(self, call: object, states: Tensor, cut: Callable[[Tensor], Any], result: Any) -> None:
        results = list(result) if isinstance(result, tuple | list) else [result]
        if not all(_is_states(each) and each.numel() for each in results):
            return
        if states not in self._places:
            self._cut.append(_Sequence(call, states.shape[1]))
            self._places[states] = _Places(self._cut[-1], torch.arange(states.shape[1], device=states.device))
        sequence, places = self._places[states]
        parts = cut(places[None, :, None].expand(states.shape))
        for each, part in zip(results, parts if isinstance(parts, tuple | list) else [parts], strict=True):
            self._places[each] = _Places(sequence, part[0, :, 0])

    def _follow_join(self, parts: Sequence[Any], result: Any) -> None:
        if not parts or not all(_is_states(each) and each in self._places for each in parts):
            return
        places = [self._places[each] for each in parts]
        joined = torch.cat([each.places for each in places])
        if len({id(each.sequence) for each in places}) == 1 and len(joined) == result.shape[1]:
            self._places[result] = _Places(places[0].sequence, joined)


#: Where a part is, and the attention within it.
_Part = tuple[PartPlaces, Attention]


def _is_states(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 3 and value.is_floating_point()


def _rounds(parts: Sequence[_Part], length: int) -> Iterator[list[_Part]]:
    """The parts of each time that a module went through a sequence: until all of it was read, or some of it again."""
    group: list[_Part] = []
    read = set[int]()
    for part in parts:
        queries = set(part[0].queries.places.tolist())
        if len(read) == length or queries & read:
            yield group
            group, read = [], set()
        group.append(part)
        read |= queries
    yield group


def _put_together(parts: Sequence[_Part], length: int, module: nn.Module) -> Attention:
    """The attention of the whole sequence, or that of the only part that is read."""
    queries = torch.cat([places.queries.places for places, _ in parts])
    if not torch.equal(queries.sort().values, torch.arange(length, device=queries.device)):
        if len(parts) == 1:
            return parts[0][1]
        raise ModelError(
            f"{type(module).__name__} attends to parts of the text, and {len(queries):,} of its {length:,} positions "
            "are known",
            hint="use another model (-m)",
        )
    slots = max(attention.keys for _, attention in parts)
    first = parts[0][1]
    weights = torch.zeros(batch_size(first), first.heads, length, slots, device=first.device)
    columns = torch.full((length, slots), -1, device=first.device)
    for places, attention in parts:
        rows, keys = places.queries.places, places.keys.places
        weights[:, :, rows, : len(keys)] = all_weights(attention)
        columns[rows, : len(keys)] = keys
    return LocalAttention(weights, columns, parts[0][0].keys.sequence.length)


# --- Towers


class TowerCalls:
    """Gathers the attention of each call of a tower's attention module, while its hooks are on.

    emit: called with the module and its attention, that of all chunks together.
    """

    def __init__(self, model: nn.Module, emit: Callable[[nn.Module, Attention], None]) -> None:
        self._modules = [part for path, part in model.named_modules() if is_attention(part) and is_tower(path)]
        self._emit = emit
        #: The attention of the chunks so far, by the id of each module that is being called.
        self._chunks: dict[int, list[Attention]] = {}

    def hooks(self) -> Iterator[RemovableHandle]:
        for module in self._modules:
            yield module.register_forward_pre_hook(self._begin)
            yield module.register_forward_hook(self._end)

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
