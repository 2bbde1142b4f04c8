"""Products of two tensors with a letter for every axis, as in an einsum: which of them holds weights, and of what.

A product mixes values if one operand, the weights, has an axis of queries and one of keys, and the other, the values,
has the axis of keys and none of queries; the keys are summed. Which axes count tokens is told by two runs on texts of
different lengths: they are those whose size differs (`Growth`).
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

#: For each axis of a tensor, whether its size depends on the length of the text.
Growth = tuple[bool, ...]

_MATMULS = frozenset({torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm, torch.linalg.matmul})
_REVERSED_MATMULS = frozenset({Tensor.__rmatmul__})
#: Their first argument is added to the product of the other two.
_ADDED_MATMULS = frozenset({torch.baddbmm, Tensor.baddbmm, torch.addmm, Tensor.addmm})
_PRODUCTS = _MATMULS | _REVERSED_MATMULS | _ADDED_MATMULS | {nn.functional.linear}


class Product(NamedTuple):
    """A product of two tensors. axes: a letter for each axis of both.  result: the letters that are not summed."""

    operands: tuple[Tensor, Tensor]
    axes: tuple[str, str]
    result: str

    def find_weights(self, side: int, growth: tuple[Growth, Growth] | None) -> tuple[int, int] | None:
        """The axes of queries and keys, if operand `side` may hold weights that mix the other operand's values.

        growth: of both operands; where it is unknown, the layout of the product alone counts.
        """
        weights, values = self.axes[side], self.axes[1 - side]
        summed = [letter for letter in weights if letter in values and letter not in self.result]
        if len(summed) != 1:
            return None
        key, own = weights.index(summed[0]), [axis for axis, letter in enumerate(weights) if letter not in values]
        if growth is None:
            return (own[-1], key) if own else None
        grows = growth[side]
        queries = [axis for axis in own if grows[axis]]
        only_keys_grow = growth[1 - side][values.index(summed[0])] and sum(growth[1 - side]) == 1
        # An axis of both that counts tokens is that of windows, or of what each token chooses from.
        if len(queries) != 1 or sum(grows) != 2 or not grows[key] or not only_keys_grow:
            return None
        return queries[0], key


def find_product(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Product | None:
    """The product that a call of torch computes; None for other functions, and for more operands than two."""
    if func is torch.einsum:
        return _einsum(args)
    if func not in _PRODUCTS:
        return None
    tensors = [each for each in (*args, *kwargs.values()) if isinstance(each, Tensor)]
    if func in _ADDED_MATMULS:
        return _matmul(*tensors[1:3]) if len(tensors) == 3 else None
    if len(tensors) < 2:
        return None
    if func in _MATMULS:
        return _matmul(tensors[0], tensors[1])
    if func in _REVERSED_MATMULS:
        return _matmul(tensors[1], tensors[0])
    if func is nn.functional.linear and tensors[1].ndim == 2:
        lead = string.ascii_lowercase[: tensors[0].ndim - 1]
        return Product((tensors[0], tensors[1]), (lead + "Z", "YZ"), lead + "Y")
    return None


def _matmul(left: Tensor, right: Tensor) -> Product | None:
    """(…, m, k) times (…, k, n)."""
    if left.ndim < 2 or right.ndim < 2:
        return None
    batch = _batch_letters(left, right), _batch_letters(right, left)
    return Product((left, right), (batch[0] + "YZ", batch[1] + "ZX"), "".join(batch) + "YX")


def _batch_letters(operand: Tensor, other: Tensor) -> str:
    """Letters from the right; an axis of size 1 that is repeated for the other operand is no shared axis."""
    letters = []
    for axis in range(-operand.ndim, -2):
        letter = string.ascii_lowercase[-axis - 3]
        is_repeated = -axis <= other.ndim and operand.shape[axis] == 1 != other.shape[axis]
        letters.append(letter.upper() if is_repeated else letter)
    return "".join(letters)


def _einsum(args: Sequence[Any]) -> Product | None:
    equation, operands = args[0], args[1:]
    if len(operands) == 1 and isinstance(operands[0], tuple | list):
        operands = tuple(operands[0])
    if not isinstance(equation, str) or len(operands) != 2:
        return None
    inputs, arrow, result = equation.replace(" ", "").partition("->")
    left, right = (_expand(part, operand.ndim) for part, operand in zip(inputs.split(","), operands, strict=True))
    if not arrow:
        # As in numpy: letters that stand once, in order.
        result = "".join(sorted(letter for letter in left + right if (left + right).count(letter) == 1))
        result = "".join(letter for letter in left if letter.isdigit()) + result.strip(string.digits)
    else:
        result = _expand(result, None, left + right)
    repeated = any(len(set(part)) != len(part) for part in (left, right))
    return None if repeated else Product((operands[0], operands[1]), (left, right), result)


def _expand(part: str, ndim: int | None, others: str = "") -> str:
    """The letters of an operand with digits in place of an ellipsis, counted from its end."""
    before, dots, after = part.partition("...")
    if not dots:
        return part
    if ndim is None:
        return before + "".join(sorted({each for each in others if each.isdigit()}, reverse=True)) + after
    return before + "".join(str(place) for place in reversed(range(ndim - len(before) - len(after)))) + after
