"""What a counted model costs to store, to run and to train: memory, cache, counter and adapters."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import ceil, prod
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli.components import COMPONENTS, ROUTED
from attncli.parameters.cache import (
    attention_layers,
    cached_layers,
    encoder_positions,
    is_prediction_layer,
    table_length,
)
from attncli.parameters.count import InventoryShares, count_active
from attncli.parameters.inventory import Inventory, Settings, Tensor
from attncli.parameters.lora import LoraRequest, leaves_out_experts, lora_adapters
from attncli.results.costs import (
    CACHE_BITS,
    UNPACKED_DTYPES,
    USUAL_CACHE_DTYPE,
    WEIGHT_BITS,
    Cache,
    CachedLayer,
    Costs,
    Fit,
    Fits,
    Flops,
    Lora,
    Published,
    Training,
    in_bytes,
)

if TYPE_CHECKING:
    from attncli.parameters.classify import LocatedShare

#: Parts that a token of text doesn't pass through, and those that don't read text.
_TOWERS, _NON_TEXT_PARTS = ("vision", "audio", "projector"), ("vision", "audio")
#: Names of the field with the longest text that a model was made for.
_CONTEXT_FIELDS = (
    "max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "n_ctx", "max_target_positions",
    "decoder_max_position_embeddings", "seq_length", "max_source_positions", "context_length",
)  # fmt: skip
#: The context that is assumed where neither the configuration nor a position table gives one.
_FALLBACK_CONTEXT = 4096
#: The growth of attention is shown at the longest text divided by these.
_CONTEXT_DIVISORS = (64, 16, 4, 1)


class CostsRequest(NamedTuple):
    """What to estimate costs for.

    context: tokens per text; None for as many as the model was made for.  fit: the available memory in bytes, and
    fit_text: how the user wrote it.
    """

    context: int | None = None
    batch: int = 1
    fit: int | None = None
    fit_text: str | None = None
    training: bool = False
    lora: LoraRequest | None = None


def estimate_costs(
    inventory: Inventory,
    request: CostsRequest,
    *,
    total: int,
    generates: bool,
    shares: InventoryShares | None = None,
    cache_dtype: str = USUAL_CACHE_DTYPE,
    published: Published | None = None,
) -> Costs:
    """Estimate what a model costs.

    total: the parameters to store in memory.  generates: whether the model generates token by token, and so caches.
    shares: those of the inventory, if they are already computed.  cache_dtype: of the numbers in the cache's parts.
    published: the weights as published, if known.
    """
    shares = shares or InventoryShares(inventory)
    # A tensor of several names runs under each of them.
    located, settings = shares.untied, Settings(inventory.settings)
    counter = FlopCounter(located, settings)
    layers = cached_layers(located, settings) if generates else ()
    made_for = longest_text(located, settings)
    longest = made_for or _FALLBACK_CONTEXT
    context = request.context or longest
    growth = dict.fromkeys(max(max(longest, context) // part, 1) for part in _CONTEXT_DIVISORS)
    adapters = None if request.lora is None else lora_adapters(shares.unique, request.lora)
    cache = Cache(context, request.batch, layers, cache_dtype) if layers else None
    fits = None
    if request.fit is not None:
        fits = longest_contexts(
            total, layers, budget=request.fit, batch=request.batch, made_for=made_for, published=published
        )._replace(written=request.fit_text)
    # Where adapters are to be trained and there are none, nothing is.
    trains = request.training and (request.lora is None or adapters is not None)
    return Costs(
        parameters=total,
        cache=cache,
        flops=counter.flops(context),
        growth=tuple(map(counter.flops, growth)) if counter.attends else (),
        attends=counter.attends,
        fits=fits,
        training=training_memory(total, adapters.parameters if adapters else None) if trains else {},
        lora=adapters,
        made_for=made_for,
        published=published,
        notes=tuple(_notes(request, made_for, counter, cache, shares, adapters)),
    )


def _notes(
    request: CostsRequest,
    made_for: int | None,
    counter: FlopCounter,
    cache: Cache | None,
    shares: InventoryShares,
    adapters: Lora | None,
) -> Iterator[str]:
    if made_for is None and request.context is None and counter.attends:
        yield f"its context length is unknown: {_FALLBACK_CONTEXT:,} tokens are assumed (--context changes this)"
    if made_for is not None and request.context is not None and request.context > made_for:
        yield f"it is made for {made_for:,} tokens: the figures for {request.context:,} tokens are beyond its limit"
    if counter.positions is not None:
        yield f"its encoder always has {counter.positions:,} positions, and is counted with these"
    for kind, layers in counter.unknown_kinds.items():
        counted = "1 layer is" if layers == 1 else f"{layers} layers are"
        yield f"the cache of layers of the kind {kind!r} is unknown: {counted} counted as full attention"
    if cache is not None and cache.ratios:
        yield "the cache of an incomplete block of tokens is not counted"
    if request.lora is not None and adapters is None:
        yield f"it has no {' or '.join(request.lora.names)} matrix for LoRA"
    if request.lora is not None and leaves_out_experts(shares.unique, request.lora):
        yield (
            "its experts are stored together and are not linear layers: all-linear leaves them out (--lora "
            "RANK:moe adds them)"
        )


def longest_text(located: Sequence[LocatedShare], settings: Settings) -> int | None:
    """The longest sequence that the model was made for: what its configuration says, else its table of positions."""
    # The positions of an encoder of sound or pictures are no tokens of text.
    excluded = _NON_TEXT_PARTS if encoder_positions(located) is None else (*_NON_TEXT_PARTS, "encoder")
    reading = [entry for entry in located if entry.location.part not in excluded]
    stack = next((location.stack for _, location in reading if location.stack is not None), "")
    return settings.find_number(stack, _CONTEXT_FIELDS) or table_length(share for share, _ in (*reading, *located))


# --- Arithmetic


class FlopCounter:
    """Counts the floating-point operations of the forward pass, for any context.

    positions: those of the encoder, where their number is fixed. Tied tensors must be listed under each of their names,
    as each of them runs.
    """

    def __init__(self, located: Sequence[LocatedShare], settings: Settings) -> None:
        rest = [entry for entry in located if entry.location.part not in _TOWERS]
        text = rest if any(entry.location.stack is not None for entry in rest) else located
        shares = [entry for entry in text if not is_prediction_layer(entry.location, settings)]
        stacks: dict[str | None, list[LocatedShare]] = defaultdict(list)
        for entry in shares:
            stacks[entry.location.stack].append(entry)
        repeats = _stack_repeats(stacks, settings)
        active = {stack: count_active(members, settings) for stack, members in stacks.items()}
        self.linear = 2 * sum(each.without_embedding_lookup * repeats.get(stack, 1) for stack, each in active.items())
        self.positions = encoder_positions(located)
        layers = attention_layers(shares, settings, positions=self.positions)
        self._layers = [layer for layer in layers for _ in range(repeats.get(layer.stack, 1))]

    @property
    def attends(self) -> bool:
        return bool(self._layers)

    @property
    def unknown_kinds(self) -> dict[str, int]:
        """The kinds of layers that the configuration names and that aren't known, with how many there are of each."""
        return dict(Counter(layer.word for layer in self._layers if layer.word is not None and not layer.is_known))

    def flops(self, context: int) -> Flops:
        """For one token that attends to `context` tokens; of an encoder–decoder, for one token on each side."""
        # Scores and weighted sums: a multiplication and an addition for each number of all query and value heads.
        sums = (2 * (layer.queries + layer.values) * layer.visible_positions(context) for layer in self._layers)
        return Flops(context, self.linear, sum(sums))


def _stack_repeats(stacks: Mapping[str | None, Sequence[LocatedShare]], settings: Settings) -> Mapping[str | None, int]:
    """How often each stack of blocks is run, where fewer layers are stored than run (ALBERT)."""
    stored = {
        stack: {location.layer for _, location in members} for stack, members in stacks.items() if stack is not None
    }
    if len(stored) != 1:
        return {}
    ((stack, layers),) = stored.items()
    run = settings.look_up("", "decoder_layers") or len(layers)
    return {stack: run // len(layers)} if run > len(layers) and run % len(layers) == 0 else {}


# --- Memory

#: Bytes of a number.
_FLOAT32, _HALF = 4, 2
#: AdamW stores a mean and a variance of every gradient.
_MOMENTS = 2
#: A cache that fits at this context counts as one that memory doesn't limit.
_UNLIMITED = 1 << 48


def training_memory(parameters: int, trained: int | None = None) -> dict[str, Training]:
    """Bytes of weights, gradients and optimizer states, by the dtype of the weights; activations are not counted.

    In bfloat16 (mixed precision) the optimizer updates a float32 copy of the trained weights (Micikevicius 2018).
    trained: the parameters of adapters to a frozen model; None where the whole model is trained.
    """
    frozen = 0 if trained is None else parameters
    trainable = parameters if trained is None else trained
    moments = _MOMENTS * _FLOAT32 * trainable
    return {
        "float32": Training(_FLOAT32 * (frozen + trainable), _FLOAT32 * trainable, moments, 0),
        "bfloat16": Training(_HALF * (frozen + trainable), _HALF * trainable, moments, _FLOAT32 * trainable),
    }


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

    if layers and made_for is not None and fits(made_for):
        return Fit(weights, cache_dtype, made_for, by_positions=True)
    if fits(_UNLIMITED):
        return Fit(weights, cache_dtype, None)
    # By bisection, as a longer context never has a smaller cache.
    low, high = 0, _UNLIMITED
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return Fit(weights, cache_dtype, low)


# --- Published formats


class _Format(NamedTuple):
    """A format that weights are published packed in.

    components: of the matrices that are packed.  bits: of a weight, and scale_bits: of a scale.
    scales: the number of scales of a matrix, by the settings of the quantization.
    """

    components: frozenset[str]
    bits: int
    scale_bits: int
    scales: Callable[[Tensor, Mapping[str, Any]], int]


def _mxfp4_scales(tensor: Tensor, quantization: Mapping[str, Any]) -> int:
    """A scale for every 32 weights (OCP Microscaling Formats, 2023)."""
    return ceil(tensor.parameters / 32)


def _fp8_scales(tensor: Tensor, quantization: Mapping[str, Any]) -> int:
    """A scale for each block of a matrix, or for the whole of it."""
    rows, columns = tensor.shape[-2:]
    block = quantization.get("weight_block_size")
    high, wide = block if isinstance(block, list | tuple) and len(block) == 2 else (rows, columns)
    return prod(tensor.shape[:-2]) * ceil(rows / high) * ceil(columns / wide)


#: By the method of the quantization; of MXFP4 only experts are packed.
_FORMATS = {
    "mxfp4": _Format(ROUTED, 4, 8, _mxfp4_scales),
    "fp8": _Format(frozenset(name for name, each in COMPONENTS.items() if each.packed), 8, 32, _fp8_scales),
}


def published_format(
    located: Iterable[LocatedShare], quantization: Mapping[str, Any] | None, dtype: str | None
) -> Published | None:
    """The bytes of the weights in their dtype, or packed as `quantization_config` says; None where that is unknown.

    located: every tensor once.  dtype: of the weights that aren't packed.
    """
    shares = [entry.share for entry in located]
    total = sum(share.parameters for share in shares)
    if dtype is None or dtype not in WEIGHT_BITS or not total:
        return None
    if not quantization:
        return Published(dtype, in_bytes(total, WEIGHT_BITS[dtype]), float(WEIGHT_BITS[dtype]))
    method = str(quantization.get("quant_method"))
    if method not in _FORMATS:
        return None
    kinds: dict[Tensor, set[str]] = {}
    for share in shares:
        kinds.setdefault(share.tensor, set()).add("bias" if share.is_bias else share.component)
    layout, kept = _FORMATS[method], quantization.get("modules_to_not_convert") or ()
    bits = 0
    for tensor, components in kinds.items():
        is_matrix = len(tensor.shape) > 1 and not any(_names(str(name), tensor.module) for name in kept)
        if is_matrix and components <= layout.components:
            bits += tensor.parameters * layout.bits + layout.scales(tensor, quantization) * layout.scale_bits
        else:
            bits += tensor.parameters * WEIGHT_BITS[dtype]
    return Published(method.upper(), ceil(bits / 8), bits / total)


def _names(pattern: str, path: str) -> bool:
    """Whether an entry of `modules_to_not_convert` names a module or one around it.

    Names with a number are paths (`model.layers.3.mlp`); `lm_head` and `model.layers.*.mlp` are parts of paths.
    """
    if any(map(str.isdigit, pattern.split("."))):
        return f"{path}.".startswith(f"{pattern}.")
    steps = [step for step in pattern.split(".") if step != "*"]
    inner = [step for step in path.split(".") if not step.isdigit()]
    return any(inner[place : place + len(steps)] == steps for place in range(len(inner) - len(steps) + 1))
