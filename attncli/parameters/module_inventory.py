"""The inventory of a PyTorch module, on the meta device or not: every parameter once, by identity."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from attncli.parameters.inventory import Inventory, Kind, Tensor

#: The kinds of torch's modules, of which the first match counts. Subclasses match too.
_KINDS: tuple[tuple[tuple[type[nn.Module], ...], Kind], ...] = (
    ((nn.Embedding, nn.EmbeddingBag), Kind.EMBEDDING),
    ((nn.Linear, nn.Bilinear), Kind.LINEAR),
    ((nn.modules.conv._ConvNd,), Kind.CONVOLUTION),
    ((nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase), Kind.NORM),
    ((nn.RNNBase, nn.RNNCellBase), Kind.RECURRENT),
    ((nn.MultiheadAttention,), Kind.PACKED_ATTENTION),
)


def inventory_from_module(module: nn.Module) -> Inventory:
    """The names, shapes and classes of a module's parameters; tied and shared ones once, with all their names."""
    by_identity: dict[int, list[Tensor]] = {}
    for tensor, parameter in _named_parameters(module):
        by_identity.setdefault(id(parameter), []).append(tensor)
    return Inventory(tuple(_tied_tensor(names) for names in by_identity.values()), dict(_settings(module)))


def _tied_tensor(names: list[Tensor]) -> Tensor:
    """A tensor under its first name; an embedding table that is also the unembedding by its name as a table."""
    main = next((tensor for tensor in names if tensor.kind is Kind.EMBEDDING), names[0])
    return main._replace(aliases=tuple(tensor for tensor in names if tensor is not main))


def _named_parameters(module: nn.Module) -> Iterator[tuple[Tensor, nn.Parameter]]:
    """Every parameter under each of its names, also of a module that is used in several places."""
    classes: dict[str, tuple[str, ...]] = {}
    for path, part in module.named_modules(remove_duplicate=False):
        classes[path] = (*(classes[path.rpartition(".")[0]] if path else ()), type(part).__name__)
        for leaf, parameter in part._parameters.items():
            if parameter is not None:
                name = f"{path}.{leaf}" if path else leaf
                yield (
                    Tensor(name, tuple(parameter.shape), _kind(_using_module(module, path, part)), classes[path]),
                    parameter,
                )


def _using_module(module: nn.Module, path: str, owner: nn.Module) -> nn.Module:
    """The module that uses a parameter: not torch's parametrization that stores it, but the one around that."""
    before, parametrization, _ = path.rpartition("parametrizations.")
    return module.get_submodule(before.rstrip(".")) if parametrization else owner


def _kind(owner: nn.Module) -> Kind:
    if type(owner).__name__ == "Conv1D" and hasattr(owner, "nf"):
        return Kind.TRANSPOSED
    found = next((kind for types, kind in _KINDS if isinstance(owner, types)), Kind.OTHER)
    is_norm = found is Kind.OTHER and type(owner).__name__.lower().endswith(("norm", "norm1d", "norm2d"))
    return Kind.NORM if is_norm else found


def _settings(module: nn.Module) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The whole numbers among each module's attributes, and its configuration, by path; attributes come first."""
    for path, part in module.named_modules(remove_duplicate=False):
        numbers = {name: value for name, value in vars(part).items() if type(value) is int}
        config = getattr(part, "config", None)
        found = tuple(source for source in (numbers, config) if source)
        if found:
            yield path, found
