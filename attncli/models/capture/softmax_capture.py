"""Attention that a family computes its own way, caught inside its attention modules.

Whatever else such a module does, it normalises scores with a softmax and hands the weights on: to the values and, when
asked, to its caller. `OwnWays` watches the softmaxes of every attention module, and takes the weights when the module
is done, so that no more than one layer's weights are alive, and nothing has to be asked for.
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

#: What modules hold that attend within windows: keys on one side of a query (Longformer, LED).
_WINDOW_ATTRIBUTE = "one_sided_attn_window_size"


#: What modules call the number of their heads, where they fold them into the batch.
_HEAD_COUNT_ATTRIBUTES = ("num_heads", "n_heads", "num_attention_heads")


@dataclass
class _ModuleCall:
    """A call of an attention module that is under way."""

    module: nn.Module
    caught: list[Tensor] = field(default_factory=list)
    seen: bool = False


class SoftmaxCapture(TorchFunctionMode):
    """While it is active, tells `hand_on` of the attention modules whose attention nobody else has seen.

    batch, length: of the texts; some modules pad their windows to more.  windows: of pictures.
    """

    def __init__(
        self,
        model: nn.Module,
        batch: int,
        length: int,
        hand_on: Callable[[nn.Module, Attention], None],
        windows: ShiftedWindows,
    ) -> None:
        super().__init__()
        self._windows = windows
        self._modules = [module for module in model.modules() if is_attention(module)]
        self._batch, self._length, self._hand_on = batch, length, hand_on
        self._calls: list[_ModuleCall] = []
        #: The modules that ran and whose attention can't be read.
        self.unread: list[nn.Module] = []
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
        if func in _SOFTMAXES and self._calls and not self._calls[-1].seen and isinstance(result, Tensor):
            self._calls[-1].caught.append(_zero_masked_rows(result, args[0] if args else None))
        return result

    def mark_seen(self) -> None:
        """The attention of the modules that are being called was seen another way."""
        for call in self._calls:
            call.seen = True

    def _begin(self, module: nn.Module, _: Any) -> None:
        self._calls.append(_ModuleCall(module))

    def _end(self, module: nn.Module, _: Any, output: Any) -> Any:
        call = self._calls.pop()
        place = None if call.seen else _weights_index(output, self._batch)
        attention: Attention | None = None
        if place is not None:
            attention = WeightsAttention(output[place])
        elif not call.seen:
            attention = self._caught(call)
        if attention is None:
            if not call.seen:
                self.unread.append(module)
            return None
        self.mark_seen()
        self._hand_on(module, attention)
        return None if place is None else _drop_weights(output, place)

    def _caught(self, call: _ModuleCall) -> Attention | None:
        """What the only softmax of a module says. Several, and none, are the mark of approximations."""
        if (places := self._windows.of(call.module)) is not None:
            inside = [WeightsAttention(each) for each in call.caught if _is_softmax_output(each, len(places))]
            return patch_attention(inside[0], places) if len(inside) == 1 else None
        unfolded = (_unfold_heads(each, call.module, self._batch) for each in call.caught)
        weights = [each for each in unfolded if _is_softmax_output(each, self._batch)]
        if len(weights) != 1:
            return None
        if weights[0].ndim == 5:
            return self._in_blocks(weights[0])
        if hasattr(call.module, _WINDOW_ATTRIBUTE):
            return self._in_windows(weights[0], 2 * getattr(call.module, _WINDOW_ATTRIBUTE) + 1)
        return WeightsAttention(weights[0])

    def _in_windows(self, weights: Tensor, width: int) -> Attention | None:
        """Windows around each query: (batch, queries, heads, width)."""
        if weights.shape[3] != width:
            # Tokens that all others see stand before the windows, and whose they are isn't said here.
            return None
        placed = weights.transpose(1, 2)[:, :, : self._length]
        return LocalAttention(
            placed, window_columns(self._length, width, self._length, weights.device), keys=self._length
        )

    def _in_blocks(self, weights: Tensor) -> Attention | None:
        """Blocks that see their neighbours: (batch, blocks, heads, block, 3 · block and maybe more)."""
        block, slots = weights.shape[3:]
        if slots < 3 * block:
            return None
        placed = weights.transpose(1, 2).flatten(2, 3)[:, :, : self._length]
        columns = neighbour_columns(self._length, block, slots, self._length, weights.device)
        return LocalAttention(placed, columns, keys=self._length)


def _unfold_heads(weights: Tensor, module: nn.Module, batch: int) -> Tensor:
    """(batch · heads, queries, keys) as (batch, heads, queries, keys); others as they are."""
    heads = next((getattr(module, name) for name in _HEAD_COUNT_ATTRIBUTES if hasattr(module, name)), None)
    if weights.ndim != 3 or heads is None or weights.shape[0] != batch * heads:
        return weights
    return weights.view(batch, heads, *weights.shape[1:])


def _zero_masked_rows(weights: Tensor, scores: object) -> Tensor:
    """A row whose every score is −∞ sees nothing (padding): 0 instead of NaN."""
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

    Broken weights (NaN) pass: whoever looks at them says which layer they are of.
    """
    sums = weights.float().sum(-1)
    return not bool((((sums - 1).abs() >= 0.01) & (sums != 0)).any()) and bool((sums != 0).any())


def _weights_index(output: object, batch: int) -> int | None:
    """Where in a module's output its attention stands: (batch, heads, queries, keys), not negative, rows that sum to 1.

    Rows of padding may be zero.
    """
    parts = list(enumerate(output))[1:] if isinstance(output, tuple | list) else []
    return next((index for index, part in parts if _are_weights(part, batch)), None)


def _are_weights(part: object, batch: int) -> bool:
    if not isinstance(part, Tensor) or part.ndim != 4 or not part.is_floating_point() or not part.numel():
        return False
    return part.shape[0] == batch and not bool((part < 0).any()) and _rows_sum_to_one(part)


def _drop_weights(output: Any, place: int) -> Any:
    """The output with an empty tensor in place of the weights, of as many dimensions: nobody above keeps them alive."""
    parts = [*output[:place], output[place].new_empty(0, 0, 0, 0), *output[place + 1 :]]
    return parts if isinstance(output, list) else tuple(parts)
