"""What a counted model costs to store, to run and to train: memory, cache, counter and adapters."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from attncli.parameters.attention_layers import (
    AttentionLayer,
    attention_layers,
    encoder_positions,
    is_prediction_layer,
)
from attncli.parameters.cache import cached_layers, longest_contexts
from attncli.parameters.count import InventoryShares, count_active
from attncli.parameters.inventory import Inventory, Settings
from attncli.parameters.lora import LoraRequest, leaves_out_experts, lora_adapters
from attncli.results.costs import USUAL_CACHE_DTYPE, Cache, CachedLayer, Costs, Fits, Flops, Lora, Published, Training

if TYPE_CHECKING:
    from attncli.parameters.classify import LocatedShare

#: Parts that a token of text doesn't pass through.
_TOWERS = frozenset({"vision", "audio", "projector"})


class FlopCounter:
    """Counts the floating-point operations of the forward pass, for any context.

    Tied tensors must be listed under each of their names, as each of them runs.
    """

    def __init__(self, located: Sequence[LocatedShare], settings: Settings) -> None:
        shares = [entry for entry in _text_shares(located) if not is_prediction_layer(entry.location, settings)]
        repeats = _stack_repeats(shares, settings)
        stacks: dict[str | None, list[LocatedShare]] = defaultdict(list)
        for entry in shares:
            stacks[entry.location.stack].append(entry)
        active = (
            count_active(members, settings).without_embedding_lookup * repeats.get(stack or "", 1)
            for stack, members in stacks.items()
        )
        self.linear = 2 * sum(active)
        layers = attention_layers(shares, settings, positions=encoder_positions(located))
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
        return Flops(context, self.linear, sum(_attention_flops(layer, context) for layer in self._layers))


def _attention_flops(layer: AttentionLayer, context: int) -> int:
    """Scores and weighted sums: a multiplication and an addition for each number of all query and value heads."""
    return 2 * (layer.queries + layer.values) * layer.visible_positions(context)


def _text_shares(located: Sequence[LocatedShare]) -> list[LocatedShare]:
    rest = [entry for entry in located if entry.location.part not in _TOWERS]
    return rest if any(entry.location.stack is not None for entry in rest) else list(located)


def _stack_repeats(located: Sequence[LocatedShare], settings: Settings) -> dict[str, int]:
    """How often each stack of blocks is run, where fewer layers are stored than run (ALBERT)."""
    stored: dict[str, set[int]] = defaultdict(set)
    for _, location in located:
        if location.stack is not None and location.layer is not None:
            stored[location.stack].add(location.layer)
    if len(stored) != 1:
        return {}
    ((stack, layers),) = stored.items()
    run = settings.look_up("", "decoder_layers") or len(layers)
    return {stack: run // len(layers)} if run > len(layers) and run % len(layers) == 0 else {}


#: Bytes of a number.
_FLOAT32, _HALF = 4, 2
#: AdamW stores a mean and a variance of every gradient.
_MOMENTS = 2


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


#: Names of the field with the longest text that a model was made for.
_CONTEXT_FIELDS = (
    "max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "n_ctx", "max_target_positions",
    "decoder_max_position_embeddings", "seq_length", "max_source_positions", "context_length",
)  # fmt: skip
#: The context that is assumed where neither the configuration nor a position table gives one.
_FALLBACK_CONTEXT = 4096
#: The growth of attention is shown at the longest text divided by these.
_CONTEXT_DIVISORS = (64, 16, 4, 1)
#: Parts that don't read text.
_NON_TEXT_PARTS = ("vision", "audio")


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
    located = shares.untied
    settings = Settings(inventory.settings)
    counter = FlopCounter(located, settings)
    layers = cached_layers(located, settings) if generates else ()
    made_for = longest_text(located, settings)
    longest = made_for or _FALLBACK_CONTEXT
    context = request.context or longest
    growth = {max(max(longest, context) // part, 1): None for part in _CONTEXT_DIVISORS}
    adapters = None if request.lora is None else lora_adapters(shares.unique, request.lora)
    cache = Cache(context, request.batch, layers, cache_dtype) if layers else None
    return Costs(
        parameters=total,
        cache=cache,
        flops=counter.flops(context),
        growth=tuple(map(counter.flops, growth)) if counter.attends else (),
        attends=counter.attends,
        fits=_fits(total, layers, request, made_for, published),
        training=_training(total, request, adapters),
        lora=adapters,
        made_for=made_for,
        published=published,
        notes=(
            *_notes(request, made_for, counter, cache, encoder_positions(located), adapters),
            *_lora_notes(shares.unique, request.lora),
        ),
    )


def _fits(
    total: int,
    layers: Sequence[CachedLayer],
    request: CostsRequest,
    made_for: int | None,
    published: Published | None,
) -> Fits | None:
    if request.fit is None:
        return None
    found = longest_contexts(
        total, layers, budget=request.fit, batch=request.batch, made_for=made_for, published=published
    )
    return found._replace(written=request.fit_text)


def _training(total: int, request: CostsRequest, adapters: Lora | None) -> dict[str, Training]:
    """The memory of training; empty where adapters are to be trained and there are none."""
    if not request.training or (request.lora is not None and adapters is None):
        return {}
    return training_memory(total, adapters.parameters if adapters else None)


def _notes(
    request: CostsRequest,
    made_for: int | None,
    counter: FlopCounter,
    cache: Cache | None,
    positions: int | None,
    adapters: Lora | None,
) -> Iterator[str]:
    if made_for is None and request.context is None and counter.attends:
        yield f"it doesn't say how long its texts are: {_FALLBACK_CONTEXT:,} tokens are assumed (--context)"
    if made_for is not None and request.context is not None and request.context > made_for:
        yield f"it is made for {made_for:,} tokens: what is said of {request.context:,} is beyond what it takes"
    if positions is not None:
        yield f"its encoder has {positions:,} positions however long the text is, and is counted with as many"
    for kind, layers in counter.unknown_kinds.items():
        counted = "1 layer is" if layers == 1 else f"{layers} layers are"
        yield f"what a layer of the kind {kind!r} keeps is not known here: {counted} counted as full attention"
    if cache is not None and cache.ratios:
        yield "what its layers keep of a block of tokens that isn't full yet is not counted"
    if request.lora is not None and adapters is None:
        yield f"it has no matrix of {' or '.join(request.lora.names)} to adapt"


def _lora_notes(located: Sequence[LocatedShare], request: LoraRequest | None) -> Iterator[str]:
    if request is not None and leaves_out_experts(located, request):
        yield "its experts are stored together and no linear layers: all-linear leaves them out (--lora RANK:moe)"


def longest_text(located: Sequence[LocatedShare], settings: Settings) -> int | None:
    """The longest sequence that the model was made for: what its configuration says, else its table of positions."""
    # The positions of an encoder of sound or pictures are no tokens of text.
    excluded = _NON_TEXT_PARTS if encoder_positions(located) is None else (*_NON_TEXT_PARTS, "encoder")
    reading = [entry for entry in located if entry.location.part not in excluded]
    stacks = [location.stack for _, location in reading if location.stack is not None]
    configured = settings.find_number(stacks[0] if stacks else "", _CONTEXT_FIELDS)
    tables = (
        share.tensor.shape
        for share, _ in (*reading, *located)
        if share.component == "embedding.position" and not share.is_bias
    )
    return configured or next((shape[-2] for shape in tables if len(shape) > 1 and shape[-2] > 1), None)
