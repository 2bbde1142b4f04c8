"""The inventory of a checkpoint from the names and shapes in its headers, and that of a PyTorch module.

Only walking a module, on the meta device or not, imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from attncli.parameters.inventory import Inventory, Kind, Tensor
from attncli.parameters.locate import TOWERS
from attncli.parameters.name_rules import Rule, first_match

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, ...]

#: Tensors of checkpoints that are no parameters: masks, indices, running statistics, rotary frequencies.
_BUFFER_NAMES = Rule(
    "buffer",
    "position_ids token_type_ids inv_freq masked_bias running_mean running_var num_batches_tracked causal_mask",
)
_TABLE_NAMES = Rule(
    "table", "wte wpe shared *embed *embed_tokens *embeddings *embedding embed_* token_embd relative_attention_bias"
)


def inventory_from_header(shapes: Mapping[str, Shape], config: Any = None) -> Inventory:
    """The inventory of a checkpoint without its buffers (see `is_buffer`).

    config: the model's configuration, if known, for the number of heads.
    """
    parameters = {name: tuple(shape) for name, shape in shapes.items() if not is_buffer(name, shape)}
    tensors = (Tensor(name, shape, _kind_by_shape(name, shape, parameters)) for name, shape in parameters.items())
    return Inventory(tuple(tensors), dict(_config_settings(parameters, config)))


def is_buffer(name: str, shape: Shape) -> bool:
    """Whether a tensor of a checkpoint is no parameter. GPT-2's files hold the causal mask as a 4-D `attn.bias`."""
    leaf = name.rpartition(".")[2]
    return _BUFFER_NAMES.matches([leaf]) or (leaf == "bias" and len(shape) == 4 and shape[0] == shape[1] == 1)


def _kind_by_shape(name: str, shape: Shape, shapes: Mapping[str, Shape]) -> Kind:
    module, _, leaf = name.rpartition(".")
    if leaf == "bias" and f"{module}.weight" in shapes:
        return _kind_by_shape(f"{module}.weight", shapes[f"{module}.weight"], shapes)
    if leaf != "weight" or len(shape) < 2:
        return Kind.OTHER
    if len(shape) > 2:
        return Kind.CONVOLUTION
    if _TABLE_NAMES.matches([module.rpartition(".")[2]]):
        return Kind.EMBEDDING
    # A bias is as long as the layer's output; where that is the second axis, the matrix is transposed.
    bias = shapes.get(f"{module}.bias")
    return Kind.TRANSPOSED if bias == shape[1:] and shape[0] != shape[1] else Kind.LINEAR


def _config_settings(shapes: Mapping[str, Shape], config: Any) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The configuration, and its parts by the path of their modules: `vision_config` for `visual.*`."""
    if config is None:
        return
    yield "", (config,)
    for path in sorted({".".join(name.split(".")[:depth]) for name in shapes for depth in (1, 2)}):
        tower = first_match(TOWERS, [path.rpartition(".")[2]])
        part = _subconfig(config, f"{tower}_config") if tower else None
        if part is not None:
            yield path, (part,)


def _subconfig(config: Any, name: str) -> Any:
    return config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)


def inventory_from_module(module: nn.Module) -> Inventory:
    """The names, shapes and classes of a module's parameters; tied and shared ones once, with all their names."""
    by_identity: dict[int, list[Tensor]] = {}
    for tensor, parameter in _named_parameters(module):
        by_identity.setdefault(id(parameter), []).append(tensor)
    return Inventory(tuple(_tied_tensor(names) for names in by_identity.values()), dict(_module_settings(module)))


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
                    Tensor(
                        name, tuple(parameter.shape), _kind_of_module(_using_module(module, path, part)), classes[path]
                    ),
                    parameter,
                )


def _using_module(module: nn.Module, path: str, owner: nn.Module) -> nn.Module:
    """The module that uses a parameter: not torch's parametrization that stores it, but the one around that."""
    before, parametrization, _ = path.rpartition("parametrizations.")
    return module.get_submodule(before.rstrip(".")) if parametrization else owner


def _kind_of_module(owner: nn.Module) -> Kind:
    if type(owner).__name__ == "Conv1D" and hasattr(owner, "nf"):
        return Kind.TRANSPOSED
    found = next((kind for types, kind in _module_kinds() if isinstance(owner, types)), Kind.OTHER)
    is_norm = found is Kind.OTHER and type(owner).__name__.lower().endswith(("norm", "norm1d", "norm2d"))
    return Kind.NORM if is_norm else found


def _module_settings(module: nn.Module) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The whole numbers among each module's attributes, and its configuration, by path; attributes come first."""
    for path, part in module.named_modules(remove_duplicate=False):
        numbers = {name: value for name, value in vars(part).items() if type(value) is int}
        config = getattr(part, "config", None)
        found = tuple(source for source in (numbers, config) if source)
        if found:
            yield path, found


@cache
def _module_kinds() -> tuple[tuple[tuple[type[nn.Module], ...], Kind], ...]:
    """The kinds of torch's modules, of which the first match counts. Subclasses match too."""
    from torch import nn

    return (
        ((nn.Embedding, nn.EmbeddingBag), Kind.EMBEDDING),
        ((nn.Linear, nn.Bilinear), Kind.LINEAR),
        ((nn.modules.conv._ConvNd,), Kind.CONVOLUTION),
        ((nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase), Kind.NORM),
        ((nn.RNNBase, nn.RNNCellBase), Kind.RECURRENT),
        ((nn.MultiheadAttention,), Kind.PACKED_ATTENTION),
    )
