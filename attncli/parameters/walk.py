"""A module, on the meta device or not -> its inventory: every parameter once, by identity."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from attncli.parameters.inventory import Inventory, Kind, Tensor

#: torch's own kinds of module; the first that fits. Subclasses count, so that a model's own Linear is one.
_KINDS: tuple[tuple[tuple[type[nn.Module], ...], Kind], ...] = (
    ((nn.Embedding, nn.EmbeddingBag), Kind.EMBEDDING),
    ((nn.Linear, nn.Bilinear), Kind.LINEAR),
    ((nn.modules.conv._ConvNd,), Kind.CONVOLUTION),
    ((nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase), Kind.NORM),
    ((nn.RNNBase, nn.RNNCellBase), Kind.RECURRENT),
    ((nn.MultiheadAttention,), Kind.PACKED_ATTENTION),
)


def walk(module: nn.Module) -> Inventory:
    """The inventory of a module: names, shapes and classes; tied and shared tensors once, with all their names."""
    classes: dict[str, str] = {}
    names: dict[int, list[str]] = {}
    kinds: dict[int, Kind] = {}
    tensors: dict[int, nn.Parameter] = {}
    for path, part in module.named_modules(remove_duplicate=False):
        classes[path] = type(part).__name__
        for leaf, parameter in part._parameters.items():
            if parameter is None:
                continue
            names.setdefault(id(parameter), []).append(f"{path}.{leaf}" if path else leaf)
            kinds.setdefault(id(parameter), _kind(_user(module, path, part)))
            tensors[id(parameter)] = parameter
    found = tuple(
        Tensor(first, tuple(tensors[key].shape), kinds[key], _classes(first, classes), tuple(rest))
        for key, (first, *rest) in names.items()
    )
    return Inventory(found, dict(_settings(module)))


def _classes(name: str, classes: dict[str, str]) -> tuple[str, ...]:
    steps = name.split(".")[:-1]
    return (classes[""], *(classes[".".join(steps[: depth + 1])] for depth in range(len(steps))))


def _user(module: nn.Module, path: str, owner: nn.Module) -> nn.Module:
    """The module that uses a parameter: where torch keeps it as the factors of a parametrization, the one around."""
    before, kept_apart, _ = path.rpartition("parametrizations.")
    return module.get_submodule(before.rstrip(".")) if kept_apart else owner


def _kind(owner: nn.Module) -> Kind:
    if type(owner).__name__ == "Conv1D" and hasattr(owner, "nf"):
        return Kind.TRANSPOSED
    found = next((kind for types, kind in _KINDS if isinstance(owner, types)), Kind.OTHER)
    is_norm = found is Kind.OTHER and type(owner).__name__.lower().endswith(("norm", "norm1d", "norm2d"))
    return Kind.NORM if is_norm else found


def _settings(module: nn.Module) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The numbers that modules keep of themselves, and the configurations that they keep; own numbers come first."""
    for path, part in module.named_modules(remove_duplicate=False):
        numbers = {name: value for name, value in vars(part).items() if type(value) is int}
        config = getattr(part, "config", None)
        found = tuple(source for source in (numbers, config) if source)
        if found:
            yield path, found
