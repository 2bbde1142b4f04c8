"""What a model caches while it generates: keys and values, latents, and recurrent states of constant size.

Numbers per token and layer, not bytes: multi-head and grouped attention 2 · h_kv · d_head; latent attention
d_latent + d_rope (DeepSeek-V2). A layer with a window stops growing there; a state never grows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from attncli.parameters.attention_layers import (
    AttentionLayer,
    attention_layers,
    encoder_positions,
    projection_widths,
)
from attncli.parameters.inventory import Kind, Settings
from attncli.results.costs import (
    CACHE_BITS,
    UNPACKED_DTYPES,
    USUAL_CACHE_DTYPE,
    WEIGHT_BITS,
    CachedLayer,
    Fit,
    Fits,
    Published,
    in_bytes,
)

if TYPE_CHECKING:
    from attncli.parameters.classify import LocatedShare, TensorShare

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


class RecurrentState(NamedTuple):
    """The size of one layer's state, in numbers; the same after any number of tokens."""

    part: str
    layer: int
    numbers: int


def recurrent_states(located: Iterable[LocatedShare], settings: Settings) -> tuple[RecurrentState, ...]:
    """The states of every layer that mixes positions by something other than attention.

    A convolution over k positions stores k inputs a channel (Gu & Dao 2023); linear attention the outer products of
    keys and values, d_k · d_v a head (Katharopoulos 2020); a state-space layer the state of each channel.
    """
    groups: dict[tuple[str, str, int], list[TensorShare]] = defaultdict(list)
    for share, location in located:
        if share.component.startswith("mixer.") and location.stack is not None and location.layer is not None:
            groups[location.part, location.stack, location.layer].append(share)
    return tuple(
        RecurrentState(part, layer, _state_numbers(shares, settings)) for (part, _, layer), shares in groups.items()
    )


def _state_numbers(shares: Sequence[TensorShare], settings: Settings) -> int:
    columns = settings.find_number(_settings_path(shares), _CONVOLUTION_COLUMNS)
    kernels = (share for share in shares if _is_depthwise(share, columns))
    inputs = sum(each.parameters // each.tensor.shape[-1] * (columns or each.tensor.shape[-1]) for each in kernels)
    return inputs + _recurrent_numbers(shares, settings)


def _is_depthwise(share: TensorShare, columns: int | None) -> bool:
    """A convolution over positions that keeps channels apart: (channels, 1, positions), in GGUF (channels, positions).

    columns: how many positions are kept, one less than there are, in a GGUF file; None elsewhere.
    """
    shape = share.tensor.shape
    if share.is_bias or share.component != "mixer.convolution":
        return False
    if len(shape) == 2:
        return columns is not None and shape[1] == columns + 1
    return share.tensor.kind is Kind.CONVOLUTION and len(shape) == 3 and shape[1] == 1


def _recurrent_numbers(shares: Sequence[TensorShare], settings: Settings) -> int:
    widths, leaves = projection_widths(shares), {share.tensor.name.rpartition(".")[2] for share in shares}
    path = _settings_path(shares)
    if _DECAY in leaves:
        return _NUMBERS_WITH_DECAY * widths["output"]
    if widths["key"]:
        heads = settings.find_number(path, _KEY_HEAD_FIELDS) or 1
        return _outer_products(shares, widths["key"], widths["value"], heads)
    if any(share.component == "mixer.state" for share in shares):
        return widths["output"] * (settings.find_number(path, _STATE_SIZE_FIELDS) or 1)
    return 0


def _outer_products(shares: Sequence[TensorShare], keys: int, values: int, heads: int) -> int:
    normalised = any(step.startswith(_MLSTM_INPUT_GATE) for share in shares for step in share.tensor.name.split("."))
    return values * keys // heads + (keys + heads if normalised else 0)


def _settings_path(shares: Sequence[TensorShare]) -> str:
    """The module with the mixer's output projection: it, or a module around it, has the sizes of the state."""
    found = next((share for share in shares if share.component == "mixer.output"), shares[0])
    return found.tensor.module


#: Parts that read their whole input at once and cache nothing.
_PARALLEL_PARTS = frozenset({"encoder", "vision", "audio", "projector"})
#: Fields with the number of last layers that use the cache of an earlier layer.
_SHARED_CACHE_FIELDS = ("num_kv_shared_layers",)
#: A cache that fits at this context counts as one that memory doesn't limit.
_UNLIMITED = 1 << 48


def cached_layers(located: Sequence[LocatedShare], settings: Settings) -> tuple[CachedLayer, ...]:
    """What each layer caches, in the model's order. Tied tensors must be listed under each of their names."""
    generating = _generating_shares(located)
    attending: dict[tuple[str, int], list[AttentionLayer]] = defaultdict(list)
    for layer in attention_layers(generating, settings, positions=encoder_positions(located)):
        if _is_run(layer, settings):
            attending[layer.part, layer.layer].append(layer)
    recurrent = {(state.part, state.layer): state for state in recurrent_states(generating, settings)}
    keys = sorted({*attending, *recurrent}, key=lambda key: (key[0], key[1]))
    return tuple(_cached_layer(key, attending[key], recurrent.get(key), settings) for key in keys)


def _generating_shares(located: Sequence[LocatedShare]) -> list[LocatedShare]:
    """The shares in the stacks that generate tokens: no tower, and no encoder beside a decoder."""
    in_blocks = [entry for entry in located if entry.location.stack is not None]
    generating = [entry for entry in in_blocks if entry.location.part not in _PARALLEL_PARTS]
    decoding = [entry for entry in generating if "encoder" not in str(entry.location.stack).split(".")]
    return decoding or generating


def _cached_layer(
    key: tuple[str, int], attending: Iterable[AttentionLayer], state: RecurrentState | None, settings: Settings
) -> CachedLayer:
    self_attention = [layer for layer in attending if not layer.cross]
    cross_attention = [layer for layer in attending if layer.cross]
    cross = sum(layer.cached for layer in cross_attention)
    positions = cross_attention[0].positions if cross_attention else None
    window = self_attention[0].window if self_attention else None
    own = [layer for layer in self_attention if not _shares_cache(layer, settings)]
    return CachedLayer(
        *key,
        per_token=sum(layer.cached for layer in own),
        window=window,
        cross=cross,
        state=state.numbers if state else 0,
        cross_positions=positions,
        index_keys=sum(layer.index_keys for layer in own),
        compressed=tuple(part for layer in own for part in layer.compressed),
    )


def _is_run(layer: AttentionLayer, settings: Settings) -> bool:
    # Layers of a checkpoint past this number are for training (multi-token prediction), and don't run.
    layers = settings.look_up(layer.stack, "decoder_layers")
    return layer.part == "decoder" or layers is None or layer.layer < layers


def _shares_cache(layer: AttentionLayer, settings: Settings) -> bool:
    layers = settings.look_up(layer.stack, "decoder_layers")
    shared = settings.find_number(layer.stack, _SHARED_CACHE_FIELDS)
    return bool(layers and shared) and layer.layer >= (layers or 0) - (shared or 0)


def longest_contexts(
    parameters: int,
    layers: Sequence[CachedLayer],
    *,
    budget: int,
    batch: int,
    made_for: int | None = None,
    published: Published | None = None,
) -> Fits:
    """The longest context whose cache fits beside the weights, by the dtype of the weights, and as published.

    The cache has the dtype of the weights, or bfloat16 beside packed ones. Activations are not counted.
    made_for: the longest text that the model takes, which no context exceeds; None where that is unknown.
    """
    sizes = {dtype: in_bytes(parameters, bits) for dtype, bits in WEIGHT_BITS.items()}
    if published is not None and published.is_packed:
        sizes[published.format] = published.bytes
    choices = (_fit(name, budget - size, layers, batch, made_for) for name, size in sizes.items())
    return Fits(budget, batch, tuple(choices), made_for)


def _fit(weights: str, available: int, layers: Sequence[CachedLayer], batch: int, made_for: int | None) -> Fit:
    """available: the bytes beside the weights."""
    cache_dtype = weights if weights in UNPACKED_DTYPES else USUAL_CACHE_DTYPE

    def fits(context: int) -> bool:
        numbers = batch * sum(layer.numbers(context) for layer in layers)
        return in_bytes(numbers, CACHE_BITS[cache_dtype]) <= available

    if not fits(1):
        return Fit(weights, cache_dtype, 0)
    if layers and made_for is not None and fits(made_for):
        return Fit(weights, cache_dtype, made_for, by_positions=True)
    if fits(_UNLIMITED):
        return Fit(weights, cache_dtype, None)
    return Fit(weights, cache_dtype, _longest_fit(fits))


def _longest_fit(fits: Callable[[int], bool]) -> int:
    """The largest context that fits, by bisection: a longer context never has a smaller cache."""
    low, high = 1, _UNLIMITED
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
