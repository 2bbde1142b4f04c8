"""Which functions of torch are linear, and norms and activations with what isn't linear in them frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from typing import Any

import torch
from torch import Tensor


class Role(Enum):
    """What a function does to a tensor on a linear path.

    PASS: it moves, copies, sums or casts the numbers of its first argument.  SUM, SCALE, QUOTIENT: of two operands.
    JOIN: several tensors become one.  ASSIGN, COPY: a part of a tensor is set.  PRODUCT: of matrices.  AFFINE: of a
    matrix, and a bias behind or (in ADDED_PRODUCT) before it.  NORM: layer_norm, rms_norm.
    ACTIVATION: elementwise, and 0 at 0 (a sigmoid is a gate).  CAP: the one of softcaps.  LOOKUP: an embedding.
    """

    PASS = auto()
    SUM = auto()
    SCALE = auto()
    QUOTIENT = auto()
    JOIN = auto()
    PRODUCT = auto()
    AFFINE = auto()
    ADDED_PRODUCT = auto()
    NORM = auto()
    ACTIVATION = auto()
    CAP = auto()
    LOOKUP = auto()
    ASSIGN = auto()
    COPY = auto()


_NAMES: Mapping[Role, str] = {
    Role.PASS: "view reshape transpose permute contiguous to float half bfloat16 double type type_as expand expand_as "
    "squeeze unsqueeze flatten unflatten chunk split split_with_sizes tensor_split getitem select narrow index_select "
    "gather take_along_dim clone sum mean neg negative roll repeat repeat_interleave tile movedim moveaxis swapaxes "
    "swapdims t unbind pad dropout flip view_as reshape_as masked_fill unfold cumsum adjoint view_as_complex "
    "view_as_real",
    Role.SUM: "add sub subtract rsub",
    Role.SCALE: "mul multiply",
    Role.QUOTIENT: "div divide true_divide truediv",
    Role.JOIN: "cat concat concatenate stack hstack vstack where masked_scatter",
    Role.PRODUCT: "matmul mm bmm einsum",
    Role.AFFINE: "linear",
    Role.ADDED_PRODUCT: "addmm",
    Role.NORM: "layer_norm rms_norm",
    Role.ACTIVATION: "gelu silu relu mish hardswish leaky_relu elu selu softsign relu6",
    Role.CAP: "tanh",
    Role.LOOKUP: "embedding",
    Role.ASSIGN: "setitem",
    Role.COPY: "copy",
}
_ROLES: Mapping[str, Role] = {name: role for role, names in _NAMES.items() for name in names.split()}

#: Attributes that are functions: `x.T` is `Tensor.T.__get__(x)`.
_TRANSPOSED = (Tensor.T, Tensor.mT)

#: Operators by their names without underscores, with the prefix of reflected and in-place ones.
_OPERATORS = {"iadd": "add", "radd": "add", "isub": "sub", "imul": "mul", "rmul": "mul", "itruediv": "div",
              "rmatmul": "matmul"}  # fmt: skip

_IN_PLACE: Mapping[str, Callable[..., Any]] = {
    "__iadd__": torch.add, "__isub__": torch.sub, "__imul__": torch.mul, "__itruediv__": torch.div,
}  # fmt: skip


def role_of(func: Callable[..., Any]) -> Role | None:
    """The role of a function; None for one that isn't known to be linear."""
    name = getattr(func, "__name__", "")
    if name == "__get__":
        return Role.PASS if getattr(func, "__self__", None) in _TRANSPOSED else None
    bare = name.strip("_")
    return _ROLES.get(_OPERATORS.get(bare, bare) if name.startswith("__") else bare)


def out_of_place(func: Callable[..., Any]) -> Callable[..., Any]:
    """The function that returns what this one would leave in its first argument: sources can't be changed in place."""
    name = getattr(func, "__name__", "")
    if name in _IN_PLACE:
        return _IN_PLACE[name]
    plain = getattr(Tensor, name[:-1], None) if name.endswith("_") and not name.startswith("_") else None
    return func if plain is None else plain


def kept_ratio(given: Tensor, output: Tensor) -> Tensor:
    """An elementwise function of `given`, as a product with the ratio that it has here: linear in `given`."""
    ratio = torch.where(given == 0, torch.zeros_like(output), output / given).detach()
    with torch.enable_grad():
        return given * ratio


def frozen_norm(
    func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Tensor, Tensor | None]:
    """A layer_norm or rms_norm with its 1/σ as a constant, before its bias, and the bias."""
    names = ("input", "normalized_shape", "weight", "bias", "eps")
    centred = "layer" in func.__name__
    given = dict(zip(names if centred else (*names[:3], "eps"), args, strict=False)) | dict(kwargs)
    states: Tensor = given["input"]
    axes = tuple(range(-len(given["normalized_shape"]), 0))
    bare = {name: value for name, value in given.items() if name not in ("weight", "bias")}
    with torch.no_grad():
        normed = func(**bare)
        middle = states - states.mean(axes, keepdim=True) if centred else states
        # The scale of each position from its largest number, where rounding matters least.
        flat, plain = middle.flatten(-len(axes)), normed.flatten(-len(axes))
        place = flat.abs().argmax(-1, keepdim=True)
        scale = plain.gather(-1, place) / flat.gather(-1, place).masked_fill(flat.gather(-1, place) == 0, 1)
        scale = scale.reshape(*scale.shape[:-1], *[1] * len(axes))
    weight = given.get("weight")
    result = (states - states.mean(axes, keepdim=True) if centred else states) * scale
    return (result if weight is None else result * weight.detach()), given.get("bias")
