"""States of constant size: what layers without attention keep of all that they have read.

What a model keeps while it goes on from token to token: keys and values, latents, states.

Per token and layer (formulas in numbers, not bytes): multi-head and grouped attention 2 · h_kv · d_head; latent
attention d_latent + d_rope (DeepSeek-V2); a layer with a window stops growing there; a state never grows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from attncli.parameters.attention_layers import (
    AttentionLayer,
    attention_layers,
    encoder_positions,
    number,
    widths_of,
)
from attncli.parameters.inventory import Kind, Settings
from attncli.results.costs import CACHE_BITS, WEIGHT_BITS, CachedLayer, Fit, Fits, in_bytes

if TYPE_CHECKING:
    from attncli.parameters.classify import Placed, Share

#: What a state holds for each of its channels, and over how many heads its keys are spread.
_STATE_SIZE = ("ssm_state_size", "mamba_d_state", "state_size")
_KEY_HEADS = ("num_k_heads", "linear_num_key_heads", "num_heads", "num_attention_heads")
#: RWKV-4 keeps numbers alone, no outer products (Peng 2023): a channel's numerator, denominator and their maximum, and
#: the token before it, in both halves of a block. Told by the decay that it learns for each channel.
_DECAY, _NUMBERS_WITH_DECAY = "time_decay", 5
#: The input gate of an mLSTM (Beck 2024), which normalises its state by a vector of keys and a maximum a head.
_NORMALISED = "igate"


class State(NamedTuple):
    """The numbers that one layer keeps, however much it has read."""

    part: str
    layer: int
    numbers: int


def states(placed: Iterable[Placed], settings: Settings) -> tuple[State, ...]:
    """The states of every layer that mixes positions in another way than by attention.

    A convolution over the last k positions keeps k inputs a channel (Gu & Dao 2023); a linear attention the outer
    products of its keys and values, d_k · d_v a head (Katharopoulos 2020); a state space its state a channel.
    """
    groups: dict[tuple[str, str, int], list[Share]] = defaultdict(list)
    for share, where in placed:
        if share.component.startswith("mixer.") and where.stack is not None and where.layer is not None:
            groups[where.part, where.stack, where.layer].append(share)
    return tuple(State(part, layer, _numbers(shares, settings)) for (part, _, layer), shares in groups.items())


def _numbers(shares: Sequence[Share], settings: Settings) -> int:
    convolutions = (share.parameters for share in shares if _is_depthwise(share))
    return sum(convolutions) + _recurrent(shares, settings)


def _is_depthwise(share: Share) -> bool:
    """A convolution over positions that keeps channels apart: (channels, 1, positions)."""
    shape = share.tensor.shape
    return share.tensor.kind is Kind.CONVOLUTION and len(shape) == 3 and shape[1] == 1 and not share.is_bias


def _recurrent(shares: Sequence[Share], settings: Settings) -> int:
    widths, leaves = widths_of(shares), {share.tensor.name.rpartition(".")[2] for share in shares}
    path = _path(shares)
    if _DECAY in leaves:
        return _NUMBERS_WITH_DECAY * widths["output"]
    if widths["key"]:
        return _products(shares, widths["key"], widths["value"], number(settings, path, _KEY_HEADS) or 1)
    if any(share.component == "mixer.state" for share in shares):
        return widths["output"] * (number(settings, path, _STATE_SIZE) or 1)
    return 0


def _products(shares: Sequence[Share], keys: int, values: int, heads: int) -> int:
    normalised = any(step.startswith(_NORMALISED) for share in shares for step in share.tensor.name.split("."))
    return values * keys // heads + (keys + heads if normalised else 0)


def _path(shares: Sequence[Share]) -> str:
    """The module that holds the mixer's output projection: it, or what holds it, knows the sizes of the state."""
    found = next((share for share in shares if share.component == "mixer.output"), shares[0])
    return found.tensor.module


#: Parts that read everything at once, and keep nothing from one token to the next.
_AT_ONCE = frozenset({"encoder", "vision", "audio", "projector"})
#: The last layers may attend to what an earlier one cached.
_SHARED = ("num_kv_shared_layers",)
#: Layers of a checkpoint past this number are for training (multi-token prediction), and don't run.
_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
#: With weights of few bits the cache stays in half precision.
_CACHE_BESIDE = {"int8": "bfloat16", "int4": "bfloat16"}
#: No context is longer than this: what fits beyond it has no limit.
_ENDLESS = 1 << 48


def cached_layers(placed: Sequence[Placed], settings: Settings) -> tuple[CachedLayer, ...]:
    """What each layer caches, in the model's order. Tensors must stand under each of their names."""
    writing = _writing(placed)
    attending: dict[tuple[str, int], list[AttentionLayer]] = defaultdict(list)
    for layer in attention_layers(writing, settings, positions=encoder_positions(placed)):
        if _runs(layer, settings):
            attending[layer.part, layer.layer].append(layer)
    kept = {(state.part, state.layer): state for state in states(writing, settings)}
    keys = sorted({*attending, *kept}, key=lambda key: (key[0], key[1]))
    return tuple(_cached(key, attending[key], kept.get(key), settings) for key in keys)


def _writing(placed: Sequence[Placed]) -> list[Placed]:
    """What stands in the stacks that go on from token to token: no tower, and no encoder beside a decoder."""
    found = [entry for entry in placed if entry.place.part not in _AT_ONCE and entry.place.stack is not None]
    decoding = [entry for entry in found if "encoder" not in str(entry.place.stack).split(".")]
    return decoding or found


def _cached(
    key: tuple[str, int], attending: Iterable[AttentionLayer], state: State | None, settings: Settings
) -> CachedLayer:
    own = [layer for layer in attending if not layer.cross]
    other = [layer for layer in attending if layer.cross]
    cross, positions = sum(layer.cached for layer in other), other[0].positions if other else None
    window = own[0].window if own else None
    per_token = sum(layer.cached for layer in own if not _is_shared(layer, settings))
    return CachedLayer(*key, per_token, window, cross, state.numbers if state else 0, positions)


def _runs(layer: AttentionLayer, settings: Settings) -> bool:
    layers = number(settings, layer.stack, _LAYERS)
    return layer.part == "decoder" or layers is None or layer.layer < layers


def _is_shared(layer: AttentionLayer, settings: Settings) -> bool:
    layers, shared = (number(settings, layer.stack, names) for names in (_LAYERS, _SHARED))
    return bool(layers and shared) and layer.layer >= (layers or 0) - (shared or 0)


def longest_contexts(parameters: int, layers: Sequence[CachedLayer], *, budget: int, batch: int) -> Fits:
    """The longest context whose cache fits beside the weights, by the dtype of the weights.

    The cache is of the same dtype, or of bfloat16 beside weights of 8 and 4 bits. Activations come on top of both.
    """
    return Fits(budget, batch, tuple(_fit(dtype, parameters, layers, budget, batch) for dtype in WEIGHT_BITS))


def _fit(dtype: str, parameters: int, layers: Sequence[CachedLayer], budget: int, batch: int) -> Fit:
    beside = _CACHE_BESIDE.get(dtype, dtype)
    room = budget - in_bytes(parameters, WEIGHT_BITS[dtype])

    def fits(context: int) -> bool:
        numbers = batch * sum(layer.numbers(context) for layer in layers)
        return in_bytes(numbers, CACHE_BITS[beside]) <= room

    if not fits(1):
        return Fit(dtype, beside, 0)
    if fits(_ENDLESS):
        return Fit(dtype, beside, None)
    return Fit(dtype, beside, _longest(fits))


def _longest(fits: Callable[[int], bool]) -> int:
    """The largest context that fits: a cache never shrinks as it grows, so halving finds it."""
    low, high = 1, _ENDLESS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
