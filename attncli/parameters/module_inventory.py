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
    named: dict[int, list[Tensor]] = {}
    for tensor, parameter in _named(module):
        named.setdefault(id(parameter), []).append(tensor)
    return Inventory(tuple(_once(names) for names in named.values()), dict(_settings(module)))


def _once(names: list[Tensor]) -> Tensor:
    """A tensor under its first name; a table that is also the unembedding goes by its name as a table."""
    main = next((tensor for tensor in names if tensor.kind is Kind.EMBEDDING), names[0])
    return main._replace(aliases=tuple(tensor for tensor in names if tensor is not main))


def _named(module: nn.Module) -> Iterator[tuple[Tensor, nn.Parameter]]:
    """Every parameter under each of its names; a module that stands in several places is met in all of them."""
    classes: dict[str, tuple[str, ...]] = {}
    for path, part in module.named_modules(remove_duplicate=False):
        classes[path] = (*(classes[path.rpartition(".")[0]] if path else ()), type(part).__name__)
        for leaf, parameter in part._parameters.items():
            if parameter is not None:
                name = f"{path}.{leaf}" if path else leaf
                yield Tensor(name, tuple(parameter.shape), _kind(_user(module, path, part)), classes[path]), parameter


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
