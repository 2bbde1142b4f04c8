"""Names and shapes, as the headers of a checkpoint list them -> an inventory. Needs neither torch nor a module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attncli.parameters.inventory import Inventory, Kind, Tensor
from attncli.parameters.locate import TOWERS
from attncli.parameters.name_rules import Rule, first

Shape = tuple[int, ...]

#: What checkpoints hold beside parameters: masks, indices, running statistics, rotary frequencies.
_BUFFERS = Rule(
    "buffer",
    "position_ids token_type_ids inv_freq masked_bias running_mean running_var num_batches_tracked causal_mask",
)
_TABLES = Rule(
    "table", "wte wpe shared *embed *embed_tokens *embeddings *embedding embed_* token_embd relative_attention_bias"
)


def from_names(shapes: Mapping[str, Shape], config: Any = None) -> Inventory:
    """The inventory of a checkpoint. config: the model's configuration, if one is at hand, for the counts of heads.

    What isn't a parameter (see `is_buffer`) is left out.
    """
    kept = {name: tuple(shape) for name, shape in shapes.items() if not is_buffer(name, shape)}
    tensors = (Tensor(name, shape, _kind(name, shape, kept)) for name, shape in kept.items())
    return Inventory(tuple(tensors), dict(_settings(kept, config)))


def is_buffer(name: str, shape: Shape) -> bool:
    """Whether a tensor of a checkpoint is no parameter: GPT-2's files hold the causal mask as `attn.bias`, 4-D."""
    leaf = name.rpartition(".")[2]
    return _BUFFERS.fits([leaf]) or (leaf == "bias" and len(shape) == 4 and shape[0] == shape[1] == 1)


def _kind(name: str, shape: Shape, shapes: Mapping[str, Shape]) -> Kind:
    module, _, leaf = name.rpartition(".")
    if leaf == "bias" and f"{module}.weight" in shapes:
        return _kind(f"{module}.weight", shapes[f"{module}.weight"], shapes)
    if leaf != "weight" or len(shape) < 2:
        return Kind.OTHER
    if len(shape) > 2:
        return Kind.CONVOLUTION
    if _TABLES.fits([module.rpartition(".")[2]]):
        return Kind.EMBEDDING
    # A bias is as long as what a layer gives; where that is the second axis, the matrix is stored the other way round.
    bias = shapes.get(f"{module}.bias")
    return Kind.TRANSPOSED if bias == shape[1:] and shape[0] != shape[1] else Kind.LINEAR


def _settings(shapes: Mapping[str, Shape], config: Any) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The configuration, and its parts by the modules that they are for: `vision_config` for `visual.*`."""
    if config is None:
        return
    yield "", (config,)
    for path in sorted({".".join(name.split(".")[:depth]) for name in shapes for depth in (1, 2)}):
        tower = first(TOWERS, [path.rpartition(".")[2]])
        part = _part(config, f"{tower}_config") if tower else None
        if part is not None:
            yield path, (part,)


def _part(config: Any, name: str) -> Any:
    return config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)
