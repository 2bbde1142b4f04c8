"""The inventory of a model: its tensors by name, shape and kind, and the numbers of its configuration.

A module on the meta device gives an inventory with kinds and classes (`module_inventory`); the headers of a checkpoint
give names and shapes alone (`header_inventory`). The analysis works on either. An inventory can be written as JSON
and read again, so that the same configuration need not be built twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from math import prod
from typing import Any, NamedTuple

#: The names that modules and configurations use for a number; the first one present counts.
FIELDS: Mapping[str, tuple[str, ...]] = {
    "heads": ("num_attention_heads", "num_heads", "n_head", "n_heads", "attention_heads", "num_attn_heads", "nhead"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads", "n_head_kv", "kv_n_heads", "n_kv_heads", "kv_heads"),
    "head_dim": ("head_dim", "attention_head_size", "d_kv", "head_size", "kv_channels", "d_head"),
    "value_head_dim": ("v_head_dim", "value_head_dim"),
    "latent_rank": ("kv_lora_rank",),
    "hidden": ("hidden_size", "d_model", "n_embd", "embed_dim", "dim"),
    "vocabulary": ("vocab_size", "n_vocab", "vocabulary_size"),
    "layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers", "encoder_layers"),
    "decoder_layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "experts": ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts", "num_routed_experts"),
    "active_experts": ("num_experts_per_tok", "num_experts_per_token", "moe_top_k", "moe_topk", "top_k", "moe_k",
                       "num_selected_experts", "n_active_experts", "top_k_experts"),
}  # fmt: skip


class Settings(NamedTuple):
    """Numbers that shapes alone don't tell (heads, experts), by the path of the module that holds them.

    sources: configurations or plain mappings by path; the path "" is the model itself.
    """

    sources: Mapping[str, tuple[Any, ...]]

    def look_up(self, path: str, field: str) -> int | None:
        """The number called `field` in FIELDS that holds at `path`: the innermost module that has it decides."""
        return self.find_number(path, FIELDS[field])

    def find_number(self, path: str, names: Sequence[str]) -> int | None:
        """The first positive whole number under one of these names, searched from `path` outwards."""
        for fields in self.enclosing_fields(path):
            for name in names:
                value = fields.get(name)
                if type(value) is int and value > 0:
                    return value
        return None

    def enclosing_fields(self, path: str) -> Iterator[Mapping[str, Any]]:
        """The fields known at a path, then at the module around it, and so on to the whole model."""
        while True:
            for source in self.sources.get(path, ()):
                yield source_fields(source)
            if not path:
                return
            path = path.rpartition(".")[0]


def source_fields(source: Any) -> Mapping[str, Any]:
    """The fields of a configuration, or of a plain mapping."""
    # Not by getattr: a configuration whose layers differ refuses to name one value for them all.
    return source if isinstance(source, Mapping) else vars(source)


class Kind(Enum):
    """What the module that owns a tensor does with it. It decides which axis is input and which output."""

    LINEAR = "linear"  # (out, in)
    TRANSPOSED = "transposed"  # (in, out): GPT-2's Conv1D
    CONVOLUTION = "convolution"
    EMBEDDING = "embedding"
    NORM = "norm"
    RECURRENT = "recurrent"
    PACKED_ATTENTION = "packed attention"  # torch's MultiheadAttention, which holds its in-projection itself
    OTHER = "other"  # another module, or unknown, as in a checkpoint's header


class Tensor(NamedTuple):
    """One stored tensor, counted once.

    name: its first dotted name.  shape: as stored.  classes: the class of the module at each dot of the name, the
    owner last; empty where only names are known.  aliases: further names of the same tensor.
    """

    name: str
    shape: tuple[int, ...]
    kind: Kind = Kind.OTHER
    classes: tuple[str, ...] = ()
    aliases: tuple[Tensor, ...] = ()

    @property
    def parameters(self) -> int:
        return prod(self.shape)

    @property
    def module(self) -> str:
        """The path of the module that owns the tensor."""
        return self.name.rpartition(".")[0]


class Inventory(NamedTuple):
    """The tensors of one model.

    settings: configurations or plain mappings by the path of the module that they hold for, "" for the whole model
    (see `Settings`).
    """

    tensors: tuple[Tensor, ...]
    settings: Mapping[str, tuple[Any, ...]] = {}

    @property
    def total(self) -> int:
        return sum(tensor.parameters for tensor in self.tensors)

    @property
    def tied(self) -> tuple[tuple[str, ...], ...]:
        """The names of each tensor that has several."""
        return tuple(
            (tensor.name, *(alias.name for alias in tensor.aliases)) for tensor in self.tensors if tensor.aliases
        )

    def untied(self) -> Inventory:
        """The same model with a separate tensor for every name."""
        separate = (part for tensor in self.tensors for part in (tensor._replace(aliases=()), *tensor.aliases))
        return self._replace(tensors=tuple(separate))


_SCALARS = (int, float, str, type(None))  # bool is an int


def inventory_to_json(inventory: Inventory) -> dict[str, Any]:
    """The inventory as JSON, for `inventory_from_json`. Of configurations it holds numbers, strings and lists of them.

    A model repeats itself, so chains of classes and configurations are written once and numbered.
    """
    classes: dict[tuple[str, ...], int] = {}
    sources: list[dict[str, Any]] = []
    numbers: dict[int, int] = {}

    def tensor(each: Tensor) -> list[Any]:
        chain = classes.setdefault(each.classes, len(classes))
        return [each.name, list(each.shape), each.kind.value, chain, [tensor(alias) for alias in each.aliases]]

    def source(each: Any) -> int:
        # By identity: one configuration serves many modules. The inventory keeps it alive meanwhile.
        if id(each) not in numbers:
            fields = _plain_fields(each)
            if fields not in sources:
                sources.append(fields)
            numbers[id(each)] = sources.index(fields)
        return numbers[id(each)]

    tensors = [tensor(each) for each in inventory.tensors]
    settings = {path: [source(each) for each in found] for path, found in inventory.settings.items()}
    return {"classes": list(map(list, classes)), "tensors": tensors, "sources": sources, "settings": settings}


def inventory_from_json(content: Mapping[str, Any]) -> Inventory:
    """The inventory that `inventory_to_json` wrote. Raises ValueError for any other content."""
    try:
        classes = [tuple(map(str, chain)) for chain in content["classes"]]
        sources = content["sources"]
        tensors = tuple(_tensor(fields, classes) for fields in content["tensors"])
        settings = {path: tuple(sources[number] for number in found) for path, found in content["settings"].items()}
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError("no inventory") from error
    return Inventory(tensors, settings)


def _tensor(fields: list[Any], classes: list[tuple[str, ...]]) -> Tensor:
    name, shape, kind, chain, aliases = fields
    return Tensor(
        str(name),
        tuple(map(int, shape)),
        Kind(kind),
        classes[chain],
        tuple(_tensor(alias, classes) for alias in aliases),
    )


def _plain_fields(source: Any) -> dict[str, Any]:
    """The fields of a configuration that JSON can hold."""
    fields = source_fields(source)
    return {name: value for name, value in fields.items() if _is_plain(value) and not name.startswith("_")}


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(isinstance(each, _SCALARS) for each in value)
    return isinstance(value, _SCALARS)
