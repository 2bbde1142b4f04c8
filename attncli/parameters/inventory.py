"""The inventory of a model: its tensors by name, shape and kind, and the numbers of its configuration.

A module, on the meta device or not, gives an inventory with kinds and classes (`inventory_from_module`); the headers of
a checkpoint give names and shapes alone (`inventory_from_header`). The analysis works on either. An inventory can be
written as JSON and read again, so that the same configuration need not be built twice. Only walking a module imports
torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli.parameters.name_rules import TOWERS, Kind, Rule, first_match

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, ...]

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
    (see `Settings`).  folders: the part that each folder of a model in several folders is, by its first step of names.
    """

    tensors: tuple[Tensor, ...]
    settings: Mapping[str, tuple[Any, ...]] = {}
    folders: Mapping[str, str] = {}

    @property
    def is_pipeline(self) -> bool:
        """Whether it holds several models, each in a folder of its own, rather than one."""
        return bool(self.folders) and all(tensor.name.partition(".")[0] in self.folders for tensor in self.tensors)

    def within(self, folder: str) -> Inventory:
        """The same tensors and settings with a folder before each of their names."""

        def moved(tensor: Tensor) -> Tensor:
            # The outermost class is that of the model; the folder stands between it and what holds the pipeline.
            classes = ("", *tensor.classes) if tensor.classes else ()
            aliases = tuple(map(moved, tensor.aliases))
            return tensor._replace(name=f"{folder}.{tensor.name}", classes=classes, aliases=aliases)

        settings = {f"{folder}.{path}".rstrip("."): found for path, found in self.settings.items()}
        return Inventory(tuple(map(moved, self.tensors)), settings)

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
            given = source_fields(each).items()
            fields = {name: value for name, value in given if _is_plain(value) and not name.startswith("_")}
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
    name, shape, kind, chain, names = fields
    aliases = tuple(_tensor(alias, classes) for alias in names)
    return Tensor(str(name), tuple(map(int, shape)), Kind(kind), classes[chain], aliases)


def _is_plain(value: object) -> bool:
    """Whether JSON can hold a field."""
    return all(isinstance(each, _SCALARS) for each in (value if isinstance(value, list | tuple) else [value]))


# --- From headers and modules

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
        name = f"{tower}_config"
        part = config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)
        if tower and part is not None:
            yield path, (part,)


def inventory_from_module(module: nn.Module) -> Inventory:
    """The names, shapes and classes of a module's parameters; tied and shared ones once, with all their names."""
    by_identity: dict[int, list[Tensor]] = {}
    for tensor, parameter in _named_parameters(module):
        by_identity.setdefault(id(parameter), []).append(tensor)
    tensors = []
    for names in by_identity.values():
        # An embedding table that is also the unembedding has its name as a table first.
        main = next((tensor for tensor in names if tensor.kind is Kind.EMBEDDING), names[0])
        tensors.append(main._replace(aliases=tuple(tensor for tensor in names if tensor is not main)))
    return Inventory(tuple(tensors), dict(_module_settings(module)))


def _named_parameters(module: nn.Module) -> Iterator[tuple[Tensor, nn.Parameter]]:
    """Every parameter under each of its names, also of a module that is used in several places."""
    classes: dict[str, tuple[str, ...]] = {}
    for path, part in module.named_modules(remove_duplicate=False):
        classes[path] = (*(classes[path.rpartition(".")[0]] if path else ()), type(part).__name__)
        # Not torch's parametrization, which stores a parameter, uses it, but the module around that.
        before, parametrization, _ = path.rpartition("parametrizations.")
        user = module.get_submodule(before.rstrip(".")) if parametrization else part
        for leaf, parameter in part._parameters.items():
            if parameter is not None:
                name = f"{path}.{leaf}" if path else leaf
                yield Tensor(name, tuple(parameter.shape), _kind_of_module(user), classes[path]), parameter


def _kind_of_module(owner: nn.Module) -> Kind:
    name = type(owner).__name__
    if name == "Conv1D" and hasattr(owner, "nf"):
        return Kind.TRANSPOSED
    usual = Kind.NORM if name.lower().endswith(("norm", "norm1d", "norm2d")) else Kind.OTHER
    return next((kind for types, kind in _module_kinds() if isinstance(owner, types)), usual)


def _module_settings(module: nn.Module) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The whole numbers among each module's attributes, and its configuration, by path; attributes come first."""
    for path, part in module.named_modules(remove_duplicate=False):
        numbers = {name: value for name, value in vars(part).items() if type(value) is int}
        config = getattr(part, "config", None)
        if found := tuple(source for source in (numbers, config) if source):
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
