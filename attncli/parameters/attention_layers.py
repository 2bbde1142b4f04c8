"""The attention layers of a model and the sizes of their heads, read off the shapes of their projections.

No model family is named here: what a tensor is says `classify`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli.parameters.classify import width_in, width_out
from attncli.parameters.inventory import FIELDS, Kind, Settings, Tensor
from attncli.parameters.name_rules import INDEX_KEY_RULE, INDEXER_RULES
from attncli.results.costs import Compressed
from attncli.results.params import PerHead

if TYPE_CHECKING:
    from attncli.parameters.classify import LocatedShare, TensorShare
    from attncli.parameters.locate import Location

#: Names of the field with the size of the attention window in tokens, by the kind of window.
_WINDOWS: Mapping[str, tuple[str, ...]] = {
    "sliding": ("sliding_window", "attention_window_size", "window_size", "sliding_window_size"),
    "chunked": ("attention_chunk_size",),
}
#: Names of the field that lists the kind of every layer.
_LAYER_TYPES = ("layer_types", "layers_block_type", "attention_layers")
#: The kinds of layers with a window in such a list, and the kind of window.
_WINDOWED_LAYERS = {
    "sliding_attention": "sliding",
    "hybrid_sliding": "sliding",
    "local": "sliding",
    "local_attention": "sliding",
    "chunked_attention": "chunked",
}
#: Kinds with a window and, of what is before it, one entry for each block of tokens (DeepSeek-V4).
_COMPRESSED_LAYERS = frozenset({"compressed_sparse_attention", "heavily_compressed_attention"})
#: Kinds whose attention, if they have any, sees and caches everything.
_FULL_LAYERS = frozenset({
    "full_attention", "attention", "global", "global_attention", "hybrid", "moe", "conv", "linear_attention", "mamba",
    "recurrent", "mlp", "indexed_attention", "deepseek_sparse_attention", "qwen_sparse_attention", "minimax_m3_sparse",
    # A window over the tokens that it writes, and everything of what it was given.
    "reference_sliding_attention",
})  # fmt: skip
#: In a module that makes one entry of each block: a vector for each position in a block, and the norm of an entry.
_BLOCK_POSITIONS, _ENTRY_NORM = "position_bias", "kv_norm.weight"
#: Fields with the width of the keys that sparse attention chooses by, and their heads.
_INDEX_WIDTH_FIELDS, _INDEX_HEAD_FIELDS = ("index_head_dim", "indexer_head_dim"), ("indexer_kv_heads",)
#: A field that may switch windows off although the size of one is given.
_WINDOW_SWITCH = "use_sliding_window"
#: Components that embed something other than text.
_NON_TEXT_INPUTS = ("embedding.audio", "embedding.patch")


class AttentionLayer(NamedTuple):
    """One layer's attention in numbers per token.

    queries: heads · d_qk.  values: heads · d_v, what the output projection takes.  cached: keys and values, or their
    latent.  window: how many tokens a query sees; None for all.  cross: the layer's attention to another sequence.
    positions: how many it attends to, however long the text; None where nothing fixes that.
    index_keys: the keys by which sparse attention chooses.  compressed: what it keeps of each block of tokens.
    word: the kind of the layer by the configuration; None where that lists none.
    """

    part: str
    stack: str
    layer: int
    queries: int
    values: int
    cached: int
    window: int | None = None
    cross: bool = False
    positions: int | None = None
    index_keys: int = 0
    compressed: tuple[Compressed, ...] = ()
    word: str | None = None

    def visible_positions(self, context: int) -> int:
        """How many positions a query attends to where the text has `context` tokens."""
        if self.positions is not None:
            return self.positions
        entries = sum(context // part.ratio for part in self.compressed[:1])
        return entries + (context if self.window is None else min(context, self.window))

    @property
    def is_known(self) -> bool:
        """Whether it is known what a layer of this kind sees; one of another kind counts as full."""
        if self.word in _COMPRESSED_LAYERS:
            return bool(self.compressed)
        return self.word is None or self.word in _WINDOWED_LAYERS or self.word in _FULL_LAYERS


def encoder_positions(located: Iterable[LocatedShare]) -> int | None:
    """The number of positions of an encoder of sound or pictures: the length of its position table.

    None for an encoder that also reads text, and where there is no encoder or no table. Tied tensors must be listed
    under each of their names.
    """
    shares = [share for share, location in located if location.part == "encoder" and not share.is_bias]
    components = {share.component for share in shares}
    if components.isdisjoint(_NON_TEXT_INPUTS) or "embedding.token" in components:
        return None
    tables = (share.tensor.shape for share in shares if share.component == "embedding.position")
    return next((shape[-2] for shape in tables if len(shape) > 1 and shape[-2] > 1), None)


def attention_layers(
    located: Iterable[LocatedShare], settings: Settings, *, positions: int | None = None
) -> tuple[AttentionLayer, ...]:
    """Every attention of every layer, in the model's order. Tied tensors must be listed under each of their names.

    positions: those of the encoder, where their number is fixed (`encoder_positions`).
    """
    groups: dict[tuple[str, str, int, bool], list[TensorShare]] = defaultdict(list)
    listed = list(located)
    for share, location in listed:
        kind, _, _ = share.component.partition(".")
        if kind in ("attention", "cross_attention") and location.stack is not None and location.layer is not None:
            groups[location.part, location.stack, location.layer, kind == "cross_attention"].append(share)
    entries = _compressed_entries(share.tensor for share, _ in listed)
    found = (_attention_layer(key, shares, settings, positions, entries) for key, shares in groups.items())
    return tuple(layer for layer in found if layer.cached or layer.queries)


def _attention_layer(
    key: tuple[str, str, int, bool],
    shares: Sequence[TensorShare],
    settings: Settings,
    positions: int | None,
    entries: Mapping[str, Compressed],
) -> AttentionLayer:
    part, stack, layer, cross = key
    widths, path = projection_widths(shares), f"{stack}.{layer}"
    modules = {share.tensor.module: None for share in shares}
    compressed = tuple(entries[module] for module in modules if module in entries)
    word = None if cross else _layer_word(path, layer, settings)
    window = None if cross else layer_window(path, layer, settings, compresses=bool(compressed))
    fixed = positions if cross or part == "encoder" else None
    cached, index = _cached_numbers(shares, widths), 0 if compressed else _index_width(shares, settings)
    queries, values = widths["query"], widths["output"]
    return AttentionLayer(part, stack, layer, queries, values, cached, window, cross, fixed, index, compressed, word)


def _compressed_entries(tensors: Iterable[Tensor]) -> dict[str, Compressed]:
    """What is kept of each block of tokens, by the path of the module that makes one entry of a block."""
    shapes = {tensor.name: tensor.shape for tensor in tensors if tensor.name.endswith((_BLOCK_POSITIONS, _ENTRY_NORM))}
    found = {}
    for name, shape in shapes.items():
        module = name.removesuffix(f".{_BLOCK_POSITIONS}")
        norm = shapes.get(f"{module}.{_ENTRY_NORM}")
        if module != name and norm is not None and len(shape) == 2 and shape[0]:
            found[module] = Compressed(norm[0], shape[0])
    return found


def _index_width(shares: Sequence[TensorShare], settings: Settings) -> int:
    """The width of the keys by which sparse attention chooses tokens; 0 where it has none."""
    tensors = {share.tensor: None for share in shares if not share.is_bias and _is_in_indexer(share.tensor)}
    keys = [tensor for tensor in tensors if INDEX_KEY_RULE.matches([tensor.module.rpartition(".")[2]])]
    if keys or not tensors:
        return sum(width_out(tensor) for tensor in keys if len(tensor.shape) == 2)
    # Keys and queries in one matrix.
    path = next(iter(tensors)).module
    heads = settings.find_number(path, _INDEX_HEAD_FIELDS) or 1
    return heads * (settings.find_number(path, _INDEX_WIDTH_FIELDS) or 0)


def _is_in_indexer(tensor: Tensor) -> bool:
    steps = tensor.name.split(".")[:-1]
    labels = (*steps, *(f":{name}" for name in tensor.classes[1:]))
    return any(rule.matches([label]) for rule in INDEXER_RULES for label in labels)


def projection_widths(shares: Iterable[TensorShare]) -> dict[str, int]:
    """The widths of queries, keys and values, and of the output projection's input, summed over one layer."""
    widths: dict[str, int] = defaultdict(int)
    for share in shares:
        kind = share.component.rpartition(".")[2]
        if not share.is_bias:
            widths[kind] += _projection_width(share, is_output=kind == "output")
    return widths


def _projection_width(share: TensorShare, *, is_output: bool) -> int:
    """The output width of a projection, or the input width of an output projection; 0 for what is no matrix."""
    shape = share.tensor.shape
    while len(shape) > 2 and shape[-1] == 1:  # a convolution over one position
        shape = shape[:-1]
    if len(shape) == 3 and share.tensor.kind is not Kind.CONVOLUTION:
        # (d_model, heads, d_head), for the output too; or several matrices, of which one is used.
        return share.parameters // (shape[0] if shape[0] > shape[1] else shape[0] * shape[2])
    if len(shape) != 2:
        return 0
    matrix = share.tensor._replace(shape=shape)
    return share.parameters // (width_out(matrix) if is_output else width_in(matrix))


def _cached_numbers(shares: Sequence[TensorShare], widths: Mapping[str, int]) -> int:
    """Numbers cached per token: keys and values, or with latent attention the latent and the keys' rotary part.

    Where values have no projection, they are the keys before the norm, and both are cached.
    """
    latents = list(_key_latents(shares))
    return sum(map(width_out, latents)) if latents else widths["key"] + (widths["value"] or widths["key"])


def _key_latents(shares: Sequence[TensorShare]) -> Iterator[Tensor]:
    """The projections to a latent and the shared rotary part of the key (multi-head latent attention)."""
    components: dict[Tensor, set[str]] = defaultdict(set)
    for share in shares:
        if not share.is_bias:
            components[share.tensor].add(share.component.rpartition(".")[2])
    return (tensor for tensor, kinds in components.items() if kinds == {"latent", "key"})


def layer_window(path: str, layer: int, settings: Settings, *, compresses: bool = False) -> int | None:
    """The attention window of the layer at `path` in tokens; None where it has none.

    compresses: whether it keeps an entry for each block of the tokens before its window.
    """
    word = _layer_word(path, layer, settings)
    if word is None:
        return None if _lists_layers(path, settings) else _window_size("sliding", path, settings)
    if word in _COMPRESSED_LAYERS:
        return _window_size("sliding", path, settings) if compresses else None
    limited = _WINDOWED_LAYERS.get(word)
    return _window_size(limited, path, settings) if limited else None


def _layer_word(path: str, layer: int, settings: Settings) -> str | None:
    """What the configuration calls the layer; None where it lists no layers, or not so many."""
    kinds = _lists_layers(path, settings)
    return str(kinds[layer]) if layer < len(kinds) else None


def _lists_layers(path: str, settings: Settings) -> Sequence[object]:
    for fields in settings.enclosing_fields(path):
        for name in _LAYER_TYPES:
            if isinstance(kinds := fields.get(name), list | tuple):
                return kinds
    return ()


def _window_size(kind: str, path: str, settings: Settings) -> int | None:
    for fields in _stack_fields(settings, path):
        if fields.get(_WINDOW_SWITCH) is False:
            return None
        for name in _WINDOWS[kind]:
            value = fields.get(name)
            if type(value) is int and value > 0:
                return value
    return None


#: Names of the field with the number of layers for multi-token prediction, which a model runs without.
PREDICTION_LAYERS = ("num_nextn_predict_layers", "num_mtp_layers", "mtp_num_hidden_layers", "mtp_num_layers")


def is_prediction_layer(location: Location, settings: Settings) -> bool:
    """Whether a block of a checkpoint is for multi-token prediction: one past the last layer, which doesn't run."""
    if location.stack is None or location.layer is None:
        return False
    layers = settings.look_up(location.stack, "decoder_layers")
    beyond = location.part != "decoder" and layers is not None and location.layer >= layers
    return beyond and settings.find_number(location.stack, PREDICTION_LAYERS) is not None


def _stack_fields(settings: Settings, path: str) -> Iterator[Mapping[str, Any]]:
    """As `Settings.enclosing_fields`, up to the configuration of the stack: an outer window is for other stacks."""
    for fields in settings.enclosing_fields(path):
        yield fields
        is_configuration = any(type(value) is not int for value in fields.values())
        if is_configuration and any(name in fields for name in FIELDS["layers"]):
            return


# --- What one head holds

#: The matrices of which each head has a part.
_HEAD_MATRICES = ("query", "key", "value", "output")


def per_head(located: Sequence[LocatedShare], settings: Settings) -> PerHead | None:
    """The sizes of one head's matrices, in the first attention layer of the stack with the most attention weights.

    None where the model has no attention, or its heads are unknown.
    """
    stack, layers = _largest_stack(located)
    shares = layers[0] if layers else []
    query = next((share for share in shares if share.component == "attention.query"), None)
    if query is None:
        return None
    heads = settings.look_up(query.tensor.module, "heads")
    sums = _component_sizes(shares)
    if not heads or sums["query"] % heads or not all(sums[kind] for kind in _HEAD_MATRICES):
        return None
    groups = _key_value_heads(shares, heads, sums)
    if groups is None or sums["output"] % heads:
        return None
    shared = {"query": heads, "key": groups, "value": groups, "output": heads}
    whole = sum(share.parameters for share in shares if not share.is_bias)
    sizes = {kind: sums[kind] // shared[kind] for kind in _HEAD_MATRICES}
    layer_sums = map(_component_sizes, layers)
    same = sum(all(other[kind] == sums[kind] for kind in _HEAD_MATRICES) for other in layer_sums)
    shapes = _head_shapes(shares, sizes, settings)
    return PerHead(**sizes, heads=heads, key_value_heads=groups, layer=whole, stack=stack, layers=same, shapes=shapes)


def _head_shapes(
    shares: Sequence[TensorShare], sizes: Mapping[str, int], settings: Settings
) -> tuple[tuple[int, int], ...] | None:
    """The shapes of a head's matrices, (input width, output width); None where they are unknown."""
    found = []
    matrices = _head_matrices(shares)
    for kind, parameters in sizes.items():
        tensors = [share.tensor for share in matrices if share.component == f"attention.{kind}"]
        widths = {_model_width(tensor, settings, gives=kind == "output") for tensor in tensors}
        width = widths.pop()
        if widths or not width or parameters % width:
            return None
        found.append((parameters // width, width) if kind == "output" else (width, parameters // width))
    return tuple(found)


def _model_width(tensor: Tensor, settings: Settings, *, gives: bool) -> int | None:
    """The width on the model's side: what the matrix of all heads reads, or what it `gives`."""
    if tensor.kind in (Kind.LINEAR, Kind.TRANSPOSED, Kind.PACKED_ATTENTION) and len(tensor.shape) == 2:
        return tensor.shape[gives == (tensor.kind is Kind.TRANSPOSED)]
    hidden = settings.look_up(tensor.module, "hidden")
    return hidden if hidden in tensor.shape else None


def _largest_stack(located: Sequence[LocatedShare]) -> tuple[str, list[list[TensorShare]]]:
    """The stack with the most attention weights, and the shares of each of its attention layers."""
    found: dict[tuple[str, int], list[TensorShare]] = defaultdict(list)
    size: dict[str, int] = defaultdict(int)
    for share, location in located:
        if share.component.startswith("attention.") and location.stack is not None and location.layer is not None:
            found[location.stack, location.layer].append(share)
            size[location.stack] += share.parameters
    if not size:
        return "", []
    stack = max(size, key=lambda name: size[name])
    return stack, [shares for (name, _), shares in found.items() if name == stack]


def _head_matrices(shares: Sequence[TensorShare]) -> list[TensorShare]:
    """The shares that are divided among heads: no biases, and no projection to a latent, which all heads share."""
    latent = {share.tensor.name for share in shares if share.component == "attention.latent"}
    return [share for share in shares if not share.is_bias and share.tensor.name not in latent]


def _component_sizes(shares: Sequence[TensorShare]) -> dict[str, int]:
    sums: dict[str, int] = defaultdict(int)
    for share in _head_matrices(shares):
        sums[share.component.removeprefix("attention.")] += share.parameters
    return sums


def _key_value_heads(shares: Sequence[TensorShare], heads: int, sums: dict[str, int]) -> int | None:
    """The number of key and value heads, from the size of the keys beside the queries; None where it can't be."""
    groups, rest = divmod(sums["key"] * heads, sums["query"])
    if rest or not groups:
        # Keys are as many as queries but of another width (latent attention).
        groups = heads
    return groups if sums["key"] % groups == 0 and sums["value"] % groups == 0 else None
