"""Attention of recurrent decoders: one query at a time, whose softmax over the source weighs a sum of its states.

So attend the decoders of Bahdanau et al. (2015, additive scores) and Luong et al. (2015, multiplicative): at step t the
context is c_t = Σ_s a_ts h_s, with a_t a softmax over the source. However the scores are computed, a_t is what a
softmax gave and what states are then multiplied by and summed, as a product of matrices or element by element. The
rows of all steps of a module are its pattern, (queries, keys). Sums whose number of terms is the same in a text of
another length are none over a source, but over experts or the like.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from attncli.models.capture.attention_types import Attention, QueryKeyAttention, WeightsAttention
from attncli.models.capture.mixing_watch import FusedCall, MixingWatch, ModuleCall, Product

_MULTIPLIES = frozenset({torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__, torch.multiply, Tensor.multiply})
_SUMS = frozenset({torch.sum, Tensor.sum})
_VECTOR_PRODUCTS = frozenset({torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.mv})

#: A row of weights, as this differs from 1, is none.
_ROUNDING = 0.01


class StepCapture(MixingWatch):
    """While it is `watching`, keeps the row of weights of every step, (heads, keys), by the module that takes it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.rows: dict[nn.Module, list[Tensor]] = {}
        #: What came from a softmax, and what it was multiplied by states: the weights, as they are there.
        self._weights: Any = WeakTensorKeyDictionary()
        self._weighted: Any = WeakTensorKeyDictionary()

    def on_softmax(self, call: ModuleCall, weights: Tensor, scores: object) -> None:
        self._weights[weights] = True

    def on_result(
        self, call: ModuleCall, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], result: Any
    ) -> None:
        if not isinstance(result, Tensor) or not result.is_floating_point():
            return
        tensors = [each for each in args if isinstance(each, Tensor)]
        weights = next((each for each in tensors if each in self._weights), None)
        if func in _SUMS and tensors and tensors[0] in self._weighted:
            self._take_sum(call, self._weighted[tensors[0]], tensors[0], result)
        elif weights is None:
            return
        elif func in _MULTIPLIES and len(tensors) == 2 and not _is_size_of(result, weights):
            self._weighted[result] = weights
        elif func in _VECTOR_PRODUCTS and weights.ndim == 1:
            self._take(call, weights[None])
        elif _is_size_of(result, weights) or getattr(func, "__name__", "") in ("expand", "expand_as"):
            self._weights[result] = True

    def on_product(self, call: ModuleCall, product: Product, result: Tensor) -> None:
        for side in (0, 1):
            weights, axes = product.operands[side], product.axes[side]
            summed = [letter for letter in axes if letter in product.axes[1 - side] and letter not in product.result]
            if weights in self._weights and len(summed) == 1:
                key = axes.index(summed[0])
                own = [
                    size
                    for letter, size in zip(axes, weights.shape, strict=True)
                    if letter not in product.axes[1 - side]
                ]
                if all(size == 1 for size in own):
                    self._take(call, weights.movedim(key, -1).flatten(0, -2))

    def on_fused(self, call: ModuleCall, fused: FusedCall, result: Tensor) -> None:
        query, key, value, mask, _, scale = fused
        if query.shape[-2] == 1 and query.ndim == 4:
            scaling = query.shape[-1] ** -0.5 if scale is None else float(scale)
            (block,) = QueryKeyAttention(query, key, value, mask, False, scaling).blocks()
            self._take(call, block.weights[0, :, 0])

    def on_weights(self, call: ModuleCall, weights: Callable[[], Tensor], extra_keys: int) -> None:
        found = weights()
        if found.shape[-2] == 1:
            self._take(call, found[..., : found.shape[-1] - extra_keys].flatten(0, -2))

    def _take_sum(self, call: ModuleCall, weights: Tensor, weighted: Tensor, result: Tensor) -> None:
        """A sum over the one axis of the weighted states along which the weights sum to 1."""
        lead = weighted.ndim - weights.ndim
        sums = [axis for axis in range(weights.ndim) if weights.shape[axis] > 1 and _sums_to_one(weights, axis)]
        for axis in sums:
            shape = weighted.shape
            kept = (*shape[: axis + lead], *shape[axis + lead + 1 :])
            if tuple(result.shape) in (kept, (*shape[: axis + lead], 1, *shape[axis + lead + 1 :])):
                own = weights.select(-1, 0) if axis < weights.ndim - 1 and weights.shape[-1] == shape[-1] > 1 else None
                rows = weights if own is None else own
                self._take(call, rows.movedim(axis, -1).flatten(0, -2) if rows.ndim > 1 else rows[None])
                return

    def _take(self, call: ModuleCall, rows: Tensor) -> None:
        if _sums_to_one(rows, -1):
            self.rows.setdefault(call.module, []).append(rows.detach())


def _is_size_of(result: Tensor, weights: Tensor) -> bool:
    return result.numel() == weights.numel()


def _sums_to_one(weights: Tensor, axis: int) -> bool:
    sums = weights.float().sum(axis)
    return bool(((sums - 1).abs() < _ROUNDING).all()) and not bool((weights < 0).any())


def step_patterns(
    rows: Mapping[nn.Module, Sequence[Tensor]], other: Mapping[nn.Module, Sequence[Tensor]] | None
) -> dict[nn.Module, Attention]:
    """The pattern of each module whose steps read a source, from the rows of its steps.

    other: the rows in a text of another length, where the model could be run on one.
    """
    found: dict[nn.Module, Attention] = {}
    for module, steps in rows.items():
        others = set() if other is None else {step.shape for step in other.get(module, ())}
        read = [step for step in steps if step.shape not in others]
        if len({step.shape for step in read}) == 1:
            found[module] = WeightsAttention(torch.stack(read, dim=1)[None])
    return found
