"""The attention mask of a captured model, evaluated only for the rows that are needed (causal, sliding window, …).

transformers' mask functions build a (batch, 1, queries, keys) tensor, a gigabyte at 16,384 tokens. `lazy_mask`, which
is registered in their place, returns a `LazyMaskTensor` instead: it has that shape, dtype and device, but stores only
the arguments (`LazyMask`). It becomes the real matrix when model code computes with it, so that families which slice
or add to their masks work unchanged. `Visibility` is what the analysis sees of any mask: its shape if that has a name,
and a function that evaluates rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._pytree import tree_map
from transformers.masking_utils import eager_mask, prepare_padding_mask, sdpa_mask

#: `causal`: a query sees itself and earlier keys.  `full`: every key.  `other`: windows, packed texts, prefixes …
#: Padding is not part of it.
MaskShape = Literal["causal", "full", "other"]

#: Scores that are held at once, over all heads: 64 MiB of float32.
_BLOCK_ELEMENTS = 1 << 24

#: Entries of a mask that are held at once where it has to be evaluated: 16 MiB of float32.
_MASK_ELEMENTS = 1 << 22


def row_spans(rows: int, elements_a_row: int, at_once: int = _BLOCK_ELEMENTS) -> Iterator[tuple[int, int]]:
    """Cut `rows` into spans (start, stop) of at most `at_once` elements, and of at least one row."""
    step = max(1, at_once // max(1, elements_a_row))
    return ((start, min(start + step, rows)) for start in range(0, rows, step))


def additive_mask(visible: Tensor) -> Tensor:
    """A mask as kernels add it to the scores: 0 or −∞, float32."""
    return torch.zeros(visible.shape, dtype=torch.float32, device=visible.device).masked_fill_(~visible, -torch.inf)


@dataclass(frozen=True)
class Visibility:
    """Which of the keys each query sees.

    padding: False for padding, bool (batch, keys); None where there is none.
    evaluate: a function of (start, stop) that returns these rows of the mask, padding included: bool, broadcastable to
    (batch, 1, stop − start, keys).
    """

    shape: MaskShape
    queries: int
    keys: int
    padding: Tensor | None
    evaluate: Callable[[int, int], Tensor]
    device: torch.device

    @cached_property
    def padded_at_end(self) -> bool:
        """Whether any padding comes after all real keys, so that no real query of a causal mask sees it."""
        return self.padding is None or bool((self.padding[:, :-1] | ~self.padding[:, 1:]).all())

    @property
    def triangular(self) -> bool:
        """Whether a kernel's own causal mask is right for every real query."""
        return self.shape == "causal" and self.padded_at_end

    @cached_property
    def key_mask(self) -> Tensor | None:
        """The padding as kernels add it to the scores: 0 or −∞, float32 (batch, 1, 1, keys); None without padding."""
        return None if self.padding is None else additive_mask(self.padding)[:, None, None]

    def blocks(self, batch: int = 1) -> Iterator[tuple[int, int, Tensor]]:
        """All rows in order, as (start, stop, visible), as many at a time as fit into a bounded memory."""
        for start, stop in row_spans(self.queries, batch * self.keys, _MASK_ELEMENTS):
            yield start, stop, self.evaluate(start, stop)


def implied_visibility(*, causal: bool, queries: int, keys: int, device: torch.device) -> Visibility:
    """The visibility of a call without a mask: each query sees all keys, or itself and earlier keys (causal)."""

    def evaluate(start: int, stop: int) -> Tensor:
        columns = torch.arange(keys, device=device)[None, :]
        if not causal:
            return torch.ones(1, 1, stop - start, keys, dtype=torch.bool, device=device)
        return (columns <= torch.arange(start, stop, device=device)[:, None])[None, None]

    return Visibility("causal" if causal else "full", queries, keys, None, evaluate, device)


@dataclass(frozen=True)
class LazyMask:
    """The arguments of a transformers mask function, evaluated row by row. Offsets and lengths are in tokens."""

    batch: int
    queries: int
    keys: int
    query_offset: int
    key_offset: int
    function: Callable[..., Tensor]
    padding: Tensor | None
    use_vmap: bool
    device: torch.device
    shape: MaskShape = "other"
    #: The only keys that each query sees, where the model selects some: (batch, queries, selected), −1 for none.
    selected: Tensor | None = None
    #: The device of the layer that the mask was moved to. It is still evaluated on the device of its own tensors.
    moved: torch.device | None = None

    @property
    def result_device(self) -> torch.device:
        """The device of the rows that it returns."""
        return self.moved or self.device

    @property
    def visibility(self) -> Visibility:
        """The mask as the analysis sees it."""
        padding = self.padding
        if padding is not None:
            padding = prepare_padding_mask(padding, self.keys, self.key_offset)
            padding = padding[:, self.key_offset : self.key_offset + self.keys].bool()
            padding = None if bool(padding.all()) else padding.to(self.result_device)
        return Visibility(self.shape, self.queries, self.keys, padding, self.rows, self.result_device)

    def rows(self, start: int, stop: int) -> Tensor:
        """Which keys the queries start…stop see: bool, (batch, 1, stop − start, keys)."""
        arguments = self._arguments(start, stop)
        visible: Tensor = sdpa_mask(**arguments, allow_is_causal_skip=False, allow_is_bidirectional_skip=False)
        if self.selected is not None:
            visible = visible & _is_selected(self.selected[:, start:stop].to(visible.device), self.keys)
        return visible.to(self.result_device)

    def additive(self, dtype: torch.dtype) -> Tensor:
        """The whole mask as transformers' eager attention adds it: 0 or the least number, (batch, 1, queries, keys)."""
        mask: Tensor = eager_mask(**self._arguments(0, self.queries), dtype=dtype)
        if self.selected is not None:
            mask = _hide_unselected(mask, self.selected.to(mask.device))
        return mask.to(self.result_device)

    def _arguments(self, start: int, stop: int) -> dict[str, Any]:
        return {
            "batch_size": self.batch,
            "q_length": stop - start,
            "kv_length": self.keys,
            "q_offset": self.query_offset + start,
            "kv_offset": self.key_offset,
            "mask_function": self.function,
            "attention_mask": self.padding,
            "use_vmap": self.use_vmap,
            "device": self.device,
        }


class LazyMaskTensor(Tensor):
    """An additive mask of shape (batch, 1, queries, keys) without storage; `definition` says what it would hold."""

    definition: LazyMask

    @staticmethod
    def __new__(cls, definition: LazyMask, dtype: torch.dtype) -> LazyMaskTensor:
        shape = (definition.batch, 1, definition.queries, definition.keys)
        mask = Tensor._make_wrapper_subclass(cls, shape, dtype=dtype, device=definition.result_device)
        mask.definition = definition
        return mask

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        def materialize(value: Any) -> Any:
            return value.definition.additive(value.dtype) if isinstance(value, LazyMaskTensor) else value

        device = (kwargs or {}).get("device")
        if func is torch.ops.aten._to_copy.default and device is not None:
            return LazyMaskTensor(replace(args[0].definition, moved=device), kwargs.get("dtype") or args[0].dtype)
        return func(*tree_map(materialize, args), **tree_map(materialize, kwargs or {}))

    def __repr__(self) -> str:  # type: ignore[override]
        return f"LazyMaskTensor{tuple(self.shape)}"


def lazy_mask(
    *,
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    kv_offset: int = 0,
    mask_function: Callable[..., Tensor],
    attention_mask: Tensor | None = None,
    use_vmap: bool = False,
    local_size: int | None = None,
    allow_is_causal_skip: bool = False,
    allow_is_bidirectional_skip: bool = False,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    **_: object,
) -> LazyMaskTensor:
    """The mask function that is registered with transformers' `AttentionMaskInterface`.

    It never returns None: other implementations leave out a plain causal or full mask and rely on a flag, but here the
    mask has to be known. Whether they might leave it out (`allow_…_skip`, and no window of `local_size` shorter than
    the keys) tells the shape of the mask.
    """
    no_window = local_size is None or kv_length < local_size
    square = q_length == kv_length and int(q_offset) == int(kv_offset)
    causal, full = allow_is_causal_skip and no_window and square, allow_is_bidirectional_skip and no_window
    definition = LazyMask(
        batch=batch_size,
        queries=q_length,
        keys=kv_length,
        query_offset=int(q_offset),
        key_offset=int(kv_offset),
        function=mask_function,
        padding=attention_mask,
        use_vmap=use_vmap,
        device=torch.device(device),
        # Some callers allow both, and mean causal.
        shape="causal" if causal else "full" if full and not allow_is_causal_skip else "other",
    )
    return LazyMaskTensor(definition, dtype)


def restrict_to_selected(mask: Tensor | None, selected: Tensor, *, keys: int) -> Tensor:
    """`mask` with every key hidden that is not `selected`: (batch, queries, selected), −1 for none."""
    if isinstance(mask, LazyMaskTensor):
        return LazyMaskTensor(replace(mask.definition, selected=selected, shape="other"), mask.dtype)
    if mask is None or mask.dtype == torch.bool:
        visible = _is_selected(selected, keys)
        return visible if mask is None else mask & visible
    return _hide_unselected(mask, selected)


def _hide_unselected(mask: Tensor, selected: Tensor) -> Tensor:
    return mask.masked_fill(~_is_selected(selected, mask.shape[-1]), torch.finfo(mask.dtype).min)


def _is_selected(selected: Tensor, keys: int) -> Tensor:
    """Which keys are selected: bool, (batch, 1, queries, keys)."""
    # −1 marks one more column, which is cut off again.
    places = torch.where(selected < 0, keys, selected).long()
    is_selected = torch.zeros(*selected.shape[:2], keys + 1, dtype=torch.bool, device=selected.device)
    return is_selected.scatter_(-1, places, True)[:, None, :, :keys]
