"""Which keys each query may see, known by its shape where that has a name, and row by row otherwise.

The probe's own attention mask: a rule instead of a matrix.

transformers' mask functions build a (batch, 1, queries, keys) tensor, a gigabyte at 16,384 tokens. `RuleMask` keeps
what that tensor would be made from and evaluates it for the rows that somebody looks at. It is a tensor to those who
ask (shape, dtype, device, `isinstance`), and turns into the real matrix when model code computes with it, so that
families which slice or add to their masks work unchanged.
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
#: Padding is no part of it.
MaskShape = Literal["causal", "full", "other"]

#: Entries of a mask that are alive at once where it has to be spelled out: 16 MiB of float32.
_MASK_ELEMENTS = 1 << 22


@dataclass(frozen=True)
class Visibility:
    """What is visible of `keys` to `queries`.

    padding: the keys that are no padding, bool (batch, keys); None where all are real.
    evaluate: the rows start…stop, padding included: bool, broadcastable to (batch, 1, stop − start, keys).
    """

    shape: MaskShape
    queries: int
    keys: int
    padding: Tensor | None
    evaluate: Callable[[int, int], Tensor]
    device: torch.device

    @cached_property
    def padded_at_end(self) -> bool:
        """Whether padding, if there is any, comes after all real keys: no real query looks back on it."""
        return self.padding is None or bool((self.padding[:, :-1] | ~self.padding[:, 1:]).all())

    @property
    def triangular(self) -> bool:
        """Whether a causal kernel gives every real query what it sees."""
        return self.shape == "causal" and self.padded_at_end

    @cached_property
    def key_mask(self) -> Tensor | None:
        """What a kernel adds for padding alone: 0 or −∞, float32 (batch, 1, 1, keys); None where there is none."""
        if self.padding is None:
            return None
        return torch.zeros(self.padding.shape, device=self.device).masked_fill(~self.padding, -torch.inf)[:, None, None]

    def blocks(self, batch: int = 1) -> Iterator[tuple[int, int, Tensor]]:
        """All rows in order, as (start, stop, visible), as many at a time as fit into a bounded memory."""
        step = max(1, _MASK_ELEMENTS // max(1, batch * self.keys))
        for start in range(0, self.queries, step):
            stop = min(start + step, self.queries)
            yield start, stop, self.evaluate(start, stop)


def implied_visibility(*, causal: bool, queries: int, keys: int, device: torch.device) -> Visibility:
    """What a call without a mask means: a query sees everything, or itself and earlier keys."""

    def evaluate(start: int, stop: int) -> Tensor:
        columns = torch.arange(keys, device=device)[None, :]
        if not causal:
            return torch.ones(1, 1, stop - start, keys, dtype=torch.bool, device=device)
        return (columns <= torch.arange(start, stop, device=device)[:, None])[None, None]

    return Visibility("causal" if causal else "full", queries, keys, None, evaluate, device)


@dataclass(frozen=True)
class LazyMask:
    """Arguments of a transformers mask function, to be evaluated later. Offsets and lengths are in tokens."""

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
    #: Where a search has chosen keys for each query, these alone are seen: (batch, queries, chosen), −1 for none.
    selected: Tensor | None = None
    #: Where the mask was moved to, with a layer on another device. The rule is still worked out where its tensors are.
    moved: torch.device | None = None

    @property
    def place(self) -> torch.device:
        """The device of what the rule answers."""
        return self.moved or self.device

    @property
    def visibility(self) -> Visibility:
        """What the mask leaves to see."""
        padding = self.padding
        if padding is not None:
            padding = prepare_padding_mask(padding, self.keys, self.key_offset)
            padding = padding[:, self.key_offset : self.key_offset + self.keys].bool()
            padding = None if bool(padding.all()) else padding.to(self.place)
        return Visibility(self.shape, self.queries, self.keys, padding, self.rows, self.place)

    def rows(self, start: int, stop: int) -> Tensor:
        """Which keys the queries start…stop see: bool, (batch, 1, stop − start, keys)."""
        rule = self._arguments(start, stop)
        mask: Tensor = sdpa_mask(**rule, allow_is_causal_skip=False, allow_is_bidirectional_skip=False)
        seen = (
            mask
            if self.selected is None
            else mask & _is_selected(self.selected[:, start:stop].to(mask.device), self.keys)
        )
        return seen.to(self.place)

    def additive(self, dtype: torch.dtype) -> Tensor:
        """The whole mask as transformers' eager attention adds it: 0 or the least number, (batch, 1, queries, keys)."""
        mask: Tensor = eager_mask(**self._arguments(0, self.queries), dtype=dtype)
        return (mask if self.selected is None else _hide_unselected(mask, self.selected.to(mask.device))).to(self.place)

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
    """An additive mask of shape (batch, 1, queries, keys) that has no storage; `rule` says what it would hold."""

    rule: LazyMask

    @staticmethod
    def __new__(cls, rule: LazyMask, dtype: torch.dtype) -> LazyMaskTensor:
        shape = (rule.batch, 1, rule.queries, rule.keys)
        mask = Tensor._make_wrapper_subclass(cls, shape, dtype=dtype, device=rule.place)
        mask.rule = rule
        return mask

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        def real(value: Any) -> Any:
            return value.rule.additive(value.dtype) if isinstance(value, LazyMaskTensor) else value

        device = (kwargs or {}).get("device")
        if func is torch.ops.aten._to_copy.default and device is not None:
            return LazyMaskTensor(replace(args[0].rule, moved=device), kwargs.get("dtype") or args[0].dtype)
        return func(*tree_map(real, args), **tree_map(real, kwargs or {}))

    def __repr__(self) -> str:  # type: ignore[override]
        return f"RuleMask{tuple(self.shape)}"


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
    """The twin that transformers' `AttentionMaskInterface` calls where it would build a mask.

    It never answers None: where other implementations leave a plain causal mask out and rely on a flag, the probe
    wants to know it. Whether they might have (`allow_…_skip`, and no window of `local_size` within reach) tells the
    shape of the mask.
    """
    no_window = local_size is None or kv_length < local_size
    square = q_length == kv_length and int(q_offset) == int(kv_offset)
    causal, full = allow_is_causal_skip and no_window and square, allow_is_bidirectional_skip and no_window
    rule = LazyMask(
        batch=batch_size,
        queries=q_length,
        keys=kv_length,
        query_offset=int(q_offset),
        key_offset=int(kv_offset),
        function=mask_function,
        padding=attention_mask,
        use_vmap=use_vmap,
        device=torch.device(device),
        # Some are told both, and mean the causal one.
        shape="causal" if causal else "full" if full and not allow_is_causal_skip else "other",
    )
    return LazyMaskTensor(rule, dtype)


def restrict_to_selected(mask: Tensor | None, selected: Tensor, *, keys: int) -> Tensor:
    """The mask that leaves of what `mask` shows only the keys that are `selected`: (batch, queries, chosen)."""
    if isinstance(mask, LazyMaskTensor):
        return LazyMaskTensor(replace(mask.rule, selected=selected, shape="other"), mask.dtype)
    if mask is None or mask.dtype == torch.bool:
        chosen = _is_selected(selected, keys)
        return chosen if mask is None else mask & chosen
    return _hide_unselected(mask, selected)


def _hide_unselected(mask: Tensor, selected: Tensor) -> Tensor:
    return mask.masked_fill(~_is_selected(selected, mask.shape[-1]), torch.finfo(mask.dtype).min)


def _is_selected(selected: Tensor, keys: int) -> Tensor:
    """Which keys are selected: bool, (batch, 1, queries, keys)."""
    places = torch.where(selected < 0, keys, selected).long()
    chosen = torch.zeros(*selected.shape[:2], keys + 1, dtype=torch.bool, device=selected.device)
    return chosen.scatter_(-1, places, True)[:, None, :, :keys]
