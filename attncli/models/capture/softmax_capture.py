"""Capture attention weights at the softmax, for families that don't use transformers' attention interface.

An attention module normalises scores with a softmax and passes the weights on: to the values and, if requested, to its
caller. `SoftmaxCapture` records the softmaxes of every attention module, and takes the weights when the module is done,
so that only one layer's weights are held at a time and the model needs no `output_attentions`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from attncli.models.capture.attention_types import Attention, WeightsAttention
from attncli.models.capture.local_attention import (
    LocalAttention,
    ShiftedWindows,
    neighbour_columns,
    patch_attention,
    window_columns,
)
from attncli.models.capture.structure import is_attention

_SOFTMAXES = frozenset({torch.softmax, nn.functional.softmax, Tensor.softmax})

#: The attribute of modules that attend within windows: the keys on one side of a query (Longformer, LED).
_WINDOW_ATTRIBUTE = "one_sided_attn_window_size"

#: Names for the number of heads in modules that fold them into the batch.
_HEAD_COUNT_ATTRIBUTES = ("num_heads", "n_heads", "num_attention_heads")


@dataclass
class _ModuleCall:
    """A call of an attention module that has not returned yet.

    softmaxes: results of the softmaxes inside it.  captured: whether its attention was captured already.
    """

    module: nn.Module
    softmaxes: list[Tensor] = field(default_factory=list)
    captured: bool = False


class SoftmaxCapture(TorchFunctionMode):
    """While active, passes the attention of each module that wasn't captured otherwise to `emit`.

    batch, length: of the texts; some modules pad their windows to more.  windows: of pictures.
    """

    def __init__(
        self,
        model: nn.Module,
        batch: int,
        length: int,
        emit: Callable[[nn.Module, Attention], None],
        windows: ShiftedWindows,
    ) -> None:
        super().__init__()
        self._windows = windows
        self._modules = [module for module in model.modules() if is_attention(module)]
        self._batch, self._length, self._emit = batch, length, emit
        #: Calls within calls, the innermost last.
        self._calls: list[_ModuleCall] = []
        #: The modules that ran and whose attention can't be read.
        self.unreadable: list[nn.Module] = []
        self._hooks: list[RemovableHandle] = []

    def __enter__(self) -> SoftmaxCapture:
        for module in self._modules:
            self._hooks.append(module.register_forward_pre_hook(self._begin))
            self._hooks.append(module.register_forward_hook(self._end, prepend=True))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        for hook in self._hooks:
            hook.remove()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _SOFTMAXES and self._calls and not self._calls[-1].captured and isinstance(result, Tensor):
            self._calls[-1].softmaxes.append(_zero_masked_rows(result, args[0] if args else None))
        return result

    def mark_captured(self) -> None:
        """Note that the attention of the modules that are being called was captured another way."""
        for call in self._calls:
            call.captured = True

    def _begin(self, module: nn.Module, _: Any) -> None:
        self._calls.append(_ModuleCall(module))

    def _end(self, module: nn.Module, _: Any, output: Any) -> Any:
        call = self._calls.pop()
        index = None if call.captured else _weights_index(output, self._batch)
        attention: Attention | None = None
        if index is not None:
            attention = WeightsAttention(output[index])
        elif not call.captured:
            attention = self._from_softmax(call)
        if attention is None:
            if not call.captured:
                self.unreadable.append(module)
            return None
        self.mark_captured()
        self._emit(module, attention)
        return None if index is None else _drop_weights(output, index)

    def _from_softmax(self, call: _ModuleCall) -> Attention | None:
        """The attention of a module with exactly one softmax; several, or none, belong to approximations."""
        if (patches := self._windows.window_patches(call.module)) is not None:
            inside = [WeightsAttention(each) for each in call.softmaxes if _is_softmax_output(each, len(patches))]
            return patch_attention(inside[0], patches) if len(inside) == 1 else None
        unfolded = (_unfold_heads(each, call.module, self._batch) for each in call.softmaxes)
        weights = [each for each in unfolded if _is_softmax_output(each, self._batch)]
        if len(weights) != 1:
            return None
        if weights[0].ndim == 5:
            return self._block_attention(weights[0])
        if hasattr(call.module, _WINDOW_ATTRIBUTE):
            return self._window_attention(weights[0], 2 * getattr(call.module, _WINDOW_ATTRIBUTE) + 1)
        return WeightsAttention(weights[0])

    def _window_attention(self, weights: Tensor, width: int) -> Attention | None:
        """Windows around each query: (batch, queries, heads, width)."""
        if weights.shape[3] != width:
            # Before the windows come columns for tokens that every query sees, and which those are is unknown here.
            return None
        local = weights.transpose(1, 2)[:, :, : self._length]
        return LocalAttention(
            local, window_columns(self._length, width, self._length, weights.device), keys=self._length
        )

    def _block_attention(self, weights: Tensor) -> Attention | None:
        """Blocks that see their neighbours: (batch, blocks, heads, block, 3 · block or more)."""
        block, slots = weights.shape[3:]
        if slots < 3 * block:
            return None
        local = weights.transpose(1, 2).flatten(2, 3)[:, :, : self._length]
        columns = neighbour_columns(self._length, block, slots, self._length, weights.device)
        return LocalAttention(local, columns, keys=self._length)


def _unfold_heads(weights: Tensor, module: nn.Module, batch: int) -> Tensor:
    """(batch · heads, queries, keys) as (batch, heads, queries, keys); others as they are."""
    heads = next((getattr(module, name) for name in _HEAD_COUNT_ATTRIBUTES if hasattr(module, name)), None)
    if weights.ndim != 3 or heads is None or weights.shape[0] != batch * heads:
        return weights
    return weights.view(batch, heads, *weights.shape[1:])


def _zero_masked_rows(weights: Tensor, scores: object) -> Tensor:
    """The weights with 0 instead of NaN in rows whose scores are all −∞, which see nothing (padding)."""
    if not isinstance(scores, Tensor) or scores.shape != weights.shape or not bool(weights.isnan().any()):
        return weights
    return weights.masked_fill((scores == -torch.inf).all(-1, keepdim=True), 0)


def _is_softmax_output(weights: Tensor, batch: int) -> bool:
    """Whether a softmax ran over the last of four or five dimensions, the first of them the batch."""
    if weights.ndim not in (4, 5) or weights.shape[0] != batch or not weights.numel():
        return False
    return _rows_sum_to_one(weights)


def _rows_sum_to_one(weights: Tensor) -> bool:
    """Whether rows sum to 1, or to 0 where nothing is seen.

    NaN passes: it is reported later, with its layer.
    """
    sums = weights.float().sum(-1)
    return not bool((((sums - 1).abs() >= 0.01) & (sums != 0)).any()) and bool((sums != 0).any())


def _weights_index(output: object, batch: int) -> int | None:
    """The index of the weights in a module's output: (batch, heads, queries, keys), no less than 0, rows sum to 1."""
    parts = list(enumerate(output))[1:] if isinstance(output, tuple | list) else []
    return next((index for index, part in parts if _are_weights(part, batch)), None)


def _are_weights(part: object, batch: int) -> bool:
    if not isinstance(part, Tensor) or part.ndim != 4 or not part.is_floating_point() or not part.numel():
        return False
    return part.shape[0] == batch and not bool((part < 0).any()) and _rows_sum_to_one(part)


def _drop_weights(output: Any, index: int) -> Any:
    """The output with an empty four-dimensional tensor in place of the weights, so that they can be freed."""
    parts = [*output[:index], output[index].new_empty(0, 0, 0, 0), *output[index + 1 :]]
    return parts if isinstance(output, list) else tuple(parts)
