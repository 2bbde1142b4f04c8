"""The inventory of a checkpoint from the names and shapes in its headers. Needs neither torch nor a module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attncli.parameters.inventory import Inventory, Kind, Tensor
from attncli.parameters.locate import TOWERS
from attncli.parameters.name_rules import Rule, first_match

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
    tensors = (Tensor(name, shape, _kind(name, shape, parameters)) for name, shape in parameters.items())
    return Inventory(tuple(tensors), dict(_settings(parameters, config)))


def is_buffer(name: str, shape: Shape) -> bool:
    """Whether a tensor of a checkpoint is no parameter. GPT-2's files hold the causal mask as a 4-D `attn.bias`."""
    leaf = name.rpartition(".")[2]
    return _BUFFER_NAMES.matches([leaf]) or (leaf == "bias" and len(shape) == 4 and shape[0] == shape[1] == 1)


def _kind(name: str, shape: Shape, shapes: Mapping[str, Shape]) -> Kind:
    module, _, leaf = name.rpartition(".")
    if leaf == "bias" and f"{module}.weight" in shapes:
        return _kind(f"{module}.weight", shapes[f"{module}.weight"], shapes)
    if leaf != "weight" or len(shape) < 2:
        return Kind.OTHER
    if len(shape) > 2:
        return Kind.CONVOLUTION
    if _TABLE_NAMES.matches([module.rpartition(".")[2]]):
        return Kind.EMBEDDING
    # A bias is as long as the layer's output; where that is the second axis, the matrix is transposed.
    bias = shapes.get(f"{module}.bias")
    return Kind.TRANSPOSED if bias == shape[1:] and shape[0] != shape[1] else Kind.LINEAR


def _settings(shapes: Mapping[str, Shape], config: Any) -> Iterator[tuple[str, tuple[Any, ...]]]:
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
