"""What a model caches while it generates: keys and values, latents, and recurrent states of constant size.

Also here: the attention layers of a model and the sizes of their heads, read off the shapes of their projections. No
model family is named: what a tensor is says `classify`.

Numbers per token and layer, not bytes: multi-head and grouped attention 2 · h_kv · d_head; latent attention
d_latent + d_rope (DeepSeek-V2). A layer with a window stops growing there; a state never grows.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from attncli.components import COMPONENTS
from attncli.parameters.classify import width_in, width_out
from attncli.parameters.inventory import FIELDS, Settings, Tensor
from attncli.parameters.name_rules import (
    DELAYED_RULE,
    INDEX_KEY_RULE,
    INDEXER_RULES,
    MERGED_RULE,
    PREDICTION_RULE,
    Kind,
)
from attncli.results.cache import CachedLayer, Compressed

if TYPE_CHECKING:
    from attncli.parameters.classify import LocatedShare, TensorShare

#: Names of the field with the size of the attention window in tokens, by the kind of window.
_WINDOWS: Mapping[str, tuple[str, ...]] = {
    "sliding": ("sliding_window", "attention_window_size", "window_size", "sliding_window_size"),
    "chunked": ("attention_chunk_size",),
}
#: Names of the field that lists the kind of every layer.
_LAYER_TYPES = ("layer_types", "layers_block_type", "attention_layers")
#: The kinds of layers in such a list, and what their attention, if they have any, sees: a window of some kind;
#: a window and, of what is before it, one entry for each block of tokens (DeepSeek-V4); or everything.
_LAYER_KINDS: Mapping[str, str] = {
    **dict.fromkeys(("sliding_attention", "hybrid_sliding", "local", "local_attention"), "sliding"),
    "chunked_attention": "chunked",
    **dict.fromkeys(("compressed_sparse_attention", "heavily_compressed_attention"), "compressed"),
    **dict.fromkeys((
        "full_attention", "attention", "global", "global_attention", "hybrid", "moe", "conv", "linear_attention",
        "mamba", "recurrent", "mlp", "indexed_attention", "deepseek_sparse_attention", "qwen_sparse_attention",
        "minimax_m3_sparse",
        # A window over the tokens that it writes, and everything of what it was given.
        "reference_sliding_attention",
    ), "full"),
}  # fmt: skip
#: In a module that makes one entry of each block: a vector for each position in a block, and the norm of an entry.
_BLOCK_POSITIONS, _ENTRY_NORM = "position_bias", "kv_norm.weight"
#: Fields with the width of the keys that sparse attention chooses by, and their heads.
_INDEX_WIDTH_FIELDS, _INDEX_HEAD_FIELDS = ("index_head_dim", "indexer_head_dim"), ("indexer_kv_heads",)
#: A field that may switch windows off although the size of one is given.
_WINDOW_SWITCH = "use_sliding_window"
#: Names of the field with the number of layers for multi-token prediction, which a model runs without.
PREDICTION_LAYERS = ("num_nextn_predict_layers", "num_mtp_layers", "mtp_num_hidden_layers", "mtp_num_layers")


class AttentionLayer(NamedTuple):
    """One layer's attention in numbers per token.

    queries: heads · d_qk.  values: heads · d_v, what the output projection takes.  cached: keys and values, or their
    latent.  window: how many tokens a query sees; None for all.  cross: the layer's attention to another sequence.
    positions: how many it attends to, however long the text; None where nothing fixes that.
    index_keys: the keys by which sparse attention chooses.  compressed: what it keeps of each block of tokens.
    word: the kind of the layer by the configuration; None where that lists none.  values_cached: how many of the cached
    numbers are values.  is_merged: whether it attends to another sequence too, with the same projections (T5Gemma 2).
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
    values_cached: int = 0
    is_merged: bool = False

    def visible_positions(self, context: int) -> int:
        """How many positions a query attends to where the text has `context` tokens."""
        if self.positions is not None:
            return self.positions
        entries = sum(context // part.ratio for part in self.compressed[:1])
        return entries + (context if self.window is None else min(context, self.window))

    @property
    def is_known(self) -> bool:
        """Whether it is known what a layer of this kind sees; one of another kind counts as full."""
        kind = None if self.word is None else _LAYER_KINDS.get(self.word)
        return bool(self.compressed) if kind == "compressed" else self.word is None or kind is not None


def encoder_positions(located: Iterable[LocatedShare]) -> int | None:
    """The number of positions of an encoder of sound or pictures: the length of its position table.

    None for an encoder that also reads text, and where there is no encoder or no table. Tied tensors must be listed
    under each of their names.
    """
    shares = [share for share, location in located if location.part == "encoder" and not share.is_bias]
    components = {share.component for share in shares}
    reads_other = any(COMPONENTS[component].part in ("audio", "vision") for component in components)
    return table_length(shares) if reads_other and "embedding.token" not in components else None


def table_length(shares: Iterable[TensorShare]) -> int | None:
    """The length of the first table of positions among them; None without any."""
    tables = (each.tensor.shape for each in shares if each.component == "embedding.position" and not each.is_bias)
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
    found = []
    for (part, stack, layer, cross), shares in groups.items():
        widths, path = projection_widths(shares), f"{stack}.{layer}"
        modules = dict.fromkeys(share.tensor.module for share in shares)
        compressed = tuple(entries[module] for module in modules if module in entries)
        words = () if cross else _listed_layers(path, settings)
        word = str(words[layer]) if layer < len(words) else None
        keys, values_cached = _cached_numbers(shares, widths)
        found.append(
            AttentionLayer(
                part,
                stack,
                layer,
                widths["query"],
                widths["output"],
                keys + values_cached,
                None if cross or (words and word is None) else _window(word, path, settings, blocks=bool(compressed)),
                cross,
                positions if cross or part == "encoder" else None,
                0 if compressed else _index_width(shares, settings),
                compressed,
                word,
                values_cached,
                _is_merged(shares),
            )
        )
    return tuple(layer for layer in found if layer.cached or layer.queries)


def _is_merged(shares: Sequence[TensorShare]) -> bool:
    labels = {f":{name}" for share in shares for name in share.tensor.classes}
    return MERGED_RULE.matches(sorted(labels))


def _compressed_entries(tensors: Iterable[Tensor]) -> dict[str, Compressed]:
    """What is kept of each block of tokens, by the path of the module that makes one entry of a block."""
    shapes = {tensor.name: tensor.shape for tensor in tensors if tensor.name.endswith((_BLOCK_POSITIONS, _ENTRY_NORM))}
    found = {}
    for name, shape in shapes.items():
        module = name.removesuffix(f".{_BLOCK_POSITIONS}")
        norm = shapes.get(f"{module}.{_ENTRY_NORM}")
        if module != name and norm is not None and len(shape) == 2 and shape[0]:
            # Keys or values and their gates; where blocks overlap, of two halves, one of which the next block reads.
            overlap = 2 * norm[0] * shape[0] if shape[1] > norm[0] else 0
            found[module] = Compressed(norm[0], shape[0], 2 * shape[1], overlap)
    return found


def _index_width(shares: Sequence[TensorShare], settings: Settings) -> int:
    """The width of the keys by which sparse attention chooses tokens; 0 where it has none."""
    tensors = []
    for tensor in dict.fromkeys(share.tensor for share in shares if not share.is_bias):
        labels = (*tensor.name.split(".")[:-1], *(f":{name}" for name in tensor.classes[1:]))
        if any(rule.matches([label]) for rule in INDEXER_RULES for label in labels):
            tensors.append(tensor)
    keys = [tensor for tensor in tensors if INDEX_KEY_RULE.matches([tensor.module.rpartition(".")[2]])]
    if keys or not tensors:
        return sum(width_out(tensor) for tensor in keys if len(tensor.shape) == 2)
    # Keys and queries in one matrix.
    path = tensors[0].module
    heads = settings.find_number(path, _INDEX_HEAD_FIELDS) or 1
    return heads * (settings.find_number(path, _INDEX_WIDTH_FIELDS) or 0)


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


def _cached_numbers(shares: Sequence[TensorShare], widths: Mapping[str, int]) -> tuple[int, int]:
    """Numbers of keys and of values cached per token; with latent attention the latent and the keys' rotary part.

    Where values have no projection, they are the keys before the norm, and both are cached.
    """
    kinds: dict[Tensor, set[str]] = defaultdict(set)
    for share in shares:
        if not share.is_bias:
            kinds[share.tensor].add(share.component.rpartition(".")[2])
    # Multi-head latent attention: a projection to the latent and the shared rotary part of the key.
    latents = [width_out(tensor) for tensor, found in kinds.items() if found == {"latent", "key"}]
    return (sum(latents), 0) if latents else (widths["key"], widths["value"] or widths["key"])


def _window(word: str | None, path: str, settings: Settings, *, blocks: bool) -> int | None:
    """The attention window of the layer at `path` in tokens; None where it has none.

    word: the layer's kind in the configuration.  blocks: it keeps an entry for each block of tokens before its window.
    """
    kind = "sliding" if word is None else _LAYER_KINDS.get(word, "full")
    if kind == "full" or (kind == "compressed" and not blocks):
        return None
    for fields in settings.enclosing_fields(path):
        if fields.get(_WINDOW_SWITCH) is False:
            return None
        for name in _WINDOWS["sliding" if kind == "compressed" else kind]:
            value = fields.get(name)
            if type(value) is int and value > 0:
                return value
        # A window outside of the configuration of the stack is for other stacks.
        is_configuration = any(type(value) is not int for value in fields.values())
        if is_configuration and any(name in fields for name in FIELDS["layers"]):
            return None
    return None


def _listed_layers(path: str, settings: Settings) -> Sequence[object]:
    """The configuration's list of the kinds of layers."""
    lists = (fields.get(name) for fields in settings.enclosing_fields(path) for name in _LAYER_TYPES)
    return next((kinds for kinds in lists if isinstance(kinds, list | tuple)), ())


def is_prediction_layer(entry: LocatedShare, settings: Settings) -> bool:
    """Whether a tensor is for multi-token prediction, in a block past the last layer or by its name; it doesn't run."""
    location = entry.location
    if PREDICTION_RULE.matches(entry.share.tensor.name.split(".")):
        return True
    if location.stack is None or location.layer is None:
        return False
    is_past = _is_past_last_layer(location.part, location.stack, location.layer, settings)
    return is_past and settings.find_number(location.stack, PREDICTION_LAYERS) is not None


def _is_past_last_layer(part: str, stack: str, layer: int, settings: Settings) -> bool:
    layers = settings.look_up(stack, "decoder_layers")
    return part != "decoder" and layers is not None and layer >= layers


# --- Recurrent states

#: The kernel of a convolution to which each token adds weights of its own (Inkling 2), (positions, channels).
STATIC_KERNEL = ".static_weight"
#: Fields with the size of a channel's state, and with the number of heads that share the keys.
_STATE_SIZE_FIELDS = ("ssm_state_size", "mamba_d_state", "state_size")
_KEY_HEAD_FIELDS = ("num_k_heads", "linear_num_key_heads", "n_groups", "num_heads", "num_attention_heads")
#: The field with the inputs that a convolution keeps of each channel where these are fewer than its kernel (GGUF).
_CONVOLUTION_COLUMNS = ("conv_state_columns",)
#: RWKV-4 holds five numbers a channel and no outer products (Peng 2023): numerator, denominator, their maximum, and the
#: previous token in both halves of a block. It is recognised by the learned decay of each channel.
_DECAY, _NUMBERS_WITH_DECAY = "time_decay", 5
#: The input gate of an mLSTM (Beck 2024), whose state also has a vector of keys and a maximum for each head.
_MLSTM_INPUT_GATE = "igate"


def held_back(located: Iterable[LocatedShare]) -> dict[tuple[str, int], int]:
    """The numbers of earlier tokens that attention keeps beside its keys and values, by part and layer (ZAYA1).

    A convolution over k positions of queries and keys keeps k - 1 inputs a channel; a value of the token before is kept
    as it is.
    """
    kept: dict[tuple[str, int], dict[Tensor, int]] = defaultdict(dict)
    for share, location in located:
        tensor, shape = share.tensor, share.tensor.shape
        if share.is_bias or location.layer is None or not share.component.startswith("attention."):
            continue
        if tensor.kind is Kind.CONVOLUTION and len(shape) == 3:
            kept[location.part, location.layer][tensor] = shape[0] * (shape[-1] - 1)
        elif DELAYED_RULE.matches([tensor.module.rpartition(".")[2]]):
            kept[location.part, location.layer][tensor] = width_out(tensor)
    return {key: sum(tensors.values()) for key, tensors in kept.items()}


def recurrent_states(located: Iterable[LocatedShare], settings: Settings) -> dict[tuple[str, int], int]:
    """The numbers in the states of layers that mix positions by something other than attention, by part and layer.

    A convolution over k positions stores k inputs a channel (Gu & Dao 2023); linear attention the outer products of
    keys and values, d_k · d_v a head (Katharopoulos 2020); a state-space layer the state of each channel. They are the
    same after any number of tokens.
    """
    groups: dict[tuple[str, str, int], list[TensorShare]] = defaultdict(list)
    for share, location in located:
        if share.component.startswith("mixer.") and location.stack is not None and location.layer is not None:
            groups[location.part, location.stack, location.layer].append(share)
    states = {}
    for (part, _, layer), shares in groups.items():
        # The module with the mixer's output projection, or one around it, has the sizes of the state.
        path = next((share for share in shares if share.component == "mixer.output"), shares[0]).tensor.module
        columns = settings.find_number(path, _CONVOLUTION_COLUMNS)
        kernels = (share for share in shares if _is_depthwise(share, columns))
        inputs = sum(_kept_inputs(each, columns) for each in kernels)
        states[part, layer] = inputs + _recurrent_numbers(shares, path, settings)
    return states


def _kept_inputs(share: TensorShare, columns: int | None) -> int:
    """The inputs that a convolution over positions keeps: of each channel as many as its kernel has, or `columns`."""
    if share.tensor.name.endswith(STATIC_KERNEL):
        return share.parameters  # (positions, channels)
    positions = share.tensor.shape[-1]
    return share.parameters // positions * (columns or positions)


def _is_depthwise(share: TensorShare, columns: int | None) -> bool:
    """A convolution over positions that keeps channels apart: (channels, 1, positions), in GGUF (channels, positions).

    columns: how many positions are kept, one less than there are, in a GGUF file; None elsewhere.
    """
    shape = share.tensor.shape
    if share.is_bias or share.component != "mixer.convolution":
        return False
    if share.tensor.name.endswith(STATIC_KERNEL):
        return len(shape) == 2
    if len(shape) == 2:
        return columns is not None and shape[1] == columns + 1
    return share.tensor.kind is Kind.CONVOLUTION and len(shape) == 3 and shape[1] == 1


def _recurrent_numbers(shares: Sequence[TensorShare], path: str, settings: Settings) -> int:
    """The numbers in a layer's state without the inputs of convolutions. path: of the module with its sizes."""
    widths, steps = projection_widths(shares), [share.tensor.name.split(".") for share in shares]
    if any(names[-1] == _DECAY for names in steps):
        return _NUMBERS_WITH_DECAY * widths["output"]
    if widths["key"]:
        heads = settings.find_number(path, _KEY_HEAD_FIELDS) or 1
        normalised = any(step.startswith(_MLSTM_INPUT_GATE) for names in steps for step in names)
        return widths["value"] * widths["key"] // heads + (widths["key"] + heads if normalised else 0)
    if any(share.component == "mixer.state" for share in shares):
        return widths["output"] * (settings.find_number(path, _STATE_SIZE_FIELDS) or 1)
    return 0


# --- The cache

#: Parts that read their whole input at once and cache nothing.
_PARALLEL_PARTS = frozenset({"encoder", "vision", "audio", "projector"})
#: Fields with the number of last layers that use the cache of an earlier layer.
_SHARED_CACHE_FIELDS = ("num_kv_shared_layers",)


def cached_layers(located: Sequence[LocatedShare], settings: Settings) -> tuple[CachedLayer, ...]:
    """What each layer caches, in the model's order. Tied tensors must be listed under each of their names."""
    # The stacks that generate tokens: no tower, and no encoder beside a decoder.
    in_blocks = [
        each for each in located if each.location.stack is not None and not is_prediction_layer(each, settings)
    ]
    generating = [entry for entry in in_blocks if entry.location.part not in _PARALLEL_PARTS]
    generating = [each for each in generating if not _is_encoder(str(each.location.stack))] or generating
    attending: dict[tuple[str, int], list[AttentionLayer]] = defaultdict(list)
    for layer in attention_layers(generating, settings, positions=encoder_positions(located)):
        # Layers of a checkpoint past the last one are for training (multi-token prediction), and don't run.
        if not _is_past_last_layer(layer.part, layer.stack, layer.layer, settings):
            attending[layer.part, layer.layer].append(layer)
    states = Counter(recurrent_states(generating, settings))
    states.update(held_back(generating))
    return tuple(_cached_layer(key, attending[key], states[key], settings) for key in sorted({*attending, *states}))


def _is_encoder(stack: str) -> bool:
    return any(step.endswith("encoder") for step in stack.split("."))


def _cached_layer(
    key: tuple[str, int], attending: Iterable[AttentionLayer], state: int, settings: Settings
) -> CachedLayer:
    self_attention = [layer for layer in attending if not layer.cross]
    cross_attention = [layer for layer in attending if layer.cross]
    own = [layer for layer in self_attention if not _shares_cache(layer, settings)]
    # An attention to both sequences keeps both.
    crossing = [*cross_attention, *(layer for layer in own if layer.is_merged)]
    return CachedLayer(
        *key,
        per_token=sum(layer.cached for layer in own),
        window=self_attention[0].window if self_attention else None,
        cross=sum(layer.cached for layer in crossing),
        state=state,
        cross_positions=cross_attention[0].positions if cross_attention else None,
        index_keys=sum(layer.index_keys for layer in own),
        compressed=tuple(part for layer in own for part in layer.compressed),
        values=sum(layer.values_cached for layer in own),
        cross_values=sum(layer.values_cached for layer in crossing),
    )


def _shares_cache(layer: AttentionLayer, settings: Settings) -> bool:
    layers = settings.look_up(layer.stack, "decoder_layers") or 0
    shared = settings.find_number(layer.stack, _SHARED_CACHE_FIELDS) or 0
    return bool(layers and shared) and layer.layer >= layers - shared
