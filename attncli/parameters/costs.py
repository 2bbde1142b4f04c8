"""What a counted model costs to store, to run and to train: memory, cache, arithmetic and adapters.

What fits stands in `fits`, training in `training`, the format of published weights in `published`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from attncli.components import COMPONENTS
from attncli.parameters.cache import (
    attention_layers,
    cached_layers,
    encoder_positions,
    is_prediction_layer,
    table_length,
)
from attncli.parameters.count import InventoryShares, count_active
from attncli.parameters.fits import Memory, largest_batches, longest_contexts
from attncli.parameters.gguf_mixes import mix_bytes
from attncli.parameters.inventory import Inventory, Settings
from attncli.parameters.lora import LoraRequest, adapter_tensors, leaves_out_experts, lora_adapters
from attncli.parameters.training import TrainingRequest, activations, trained_tensors, training_memory
from attncli.results.cache import Cache, CachedLayer, CacheDtypes, by_dtype, without_windows
from attncli.results.costs import (
    WEIGHT_BITS,
    Costs,
    Fits,
    Flops,
    Lora,
    Published,
    Training,
    TrainingSetup,
)

if TYPE_CHECKING:
    from attncli.parameters.classify import LocatedShare, TensorShare
    from attncli.parameters.training import Activations

#: Parts that a token of text doesn't pass through, and those that don't read text.
_TOWERS, _NON_TEXT_PARTS = ("vision", "audio", "projector"), ("vision", "audio")
#: Names of the field with the longest text that a model was made for.
_CONTEXT_FIELDS = (
    "max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "n_ctx", "max_target_positions",
    "decoder_max_position_embeddings", "seq_length", "max_source_positions", "context_length",
)  # fmt: skip
#: The field with the tokens that a diffusion language model writes at once.
_CANVAS_FIELDS = ("canvas_length",)
#: The context that is assumed where neither the configuration nor a position table gives one.
_FALLBACK_CONTEXT = 4096
#: The growth of attention is shown at the longest text divided by these.
_CONTEXT_DIVISORS = (64, 16, 4, 1)


class CostsRequest(NamedTuple):
    """What to estimate costs for.

    context: tokens per text; None for as many as the model was made for.  fit: the available memory in bytes, and
    fit_text: how the user wrote it.  kv_dtypes: of keys and values; None for the cache's own.
    kv_allocation: as in choices.ALLOCATIONS.  training: how to train, if at all.
    """

    context: int | None = None
    batch: int = 1
    fit: int | None = None
    fit_text: str | None = None
    training: TrainingRequest | None = None
    lora: LoraRequest | None = None
    kv_dtypes: tuple[str, str] | None = None
    kv_allocation: str = "window"


class Stored(NamedTuple):
    """What the files of a model say beside its shapes.

    published: its weights as published, if known.  cache: the dtypes of its cache unless the user says otherwise.
    prescribes: whether its quantization prescribes them.  notes: on them.
    """

    published: Published | None = None
    cache: CacheDtypes = CacheDtypes()
    prescribes: bool = False
    notes: tuple[str, ...] = ()


def estimate_costs(
    inventory: Inventory,
    request: CostsRequest,
    *,
    total: int,
    generates: bool,
    shares: InventoryShares | None = None,
    stored: Stored = Stored(),  # noqa: B008 (immutable)
) -> Costs:
    """Estimate what a model costs.

    total: the parameters to store in memory.  generates: whether the model generates token by token, and so caches.
    shares: those of the inventory, if they are already computed.
    """
    return _Estimate(inventory, request, total, generates, shares or InventoryShares(inventory), stored).costs()


class _Estimate:
    """The costs of one model, part by part."""

    def __init__(
        self,
        inventory: Inventory,
        request: CostsRequest,
        total: int,
        generates: bool,
        shares: InventoryShares,
        stored: Stored,
    ) -> None:
        self._request, self._total, self._shares, self._stored = request, total, shares, stored
        # A tensor of several names runs under each of them.
        self._located, self._settings = shares.untied, Settings(inventory.settings)
        self._counter = FlopCounter(self._located, self._settings)
        self._layers = cached_layers(self._located, self._settings) if generates else ()
        self._made_for = longest_text(self._located, self._settings)
        self._context = request.context or self._made_for or _FALLBACK_CONTEXT
        self._adapters = None if request.lora is None else lora_adapters(shares.unique, request.lora)

    def costs(self) -> Costs:
        request, counter = self._request, self._counter
        longest = max(self._made_for or _FALLBACK_CONTEXT, self._context)
        growth = dict.fromkeys(max(longest // part, 1) for part in _CONTEXT_DIVISORS)
        # Where adapters are to be trained and there are none, nothing is.
        trains = request.training is not None and (request.lora is None or self._adapters is not None)
        # No token passes through all of several models.
        is_pipeline = self._shares.inventory.is_pipeline
        attends = counter.attends and not is_pipeline
        return Costs(
            parameters=self._total,
            cache=self._cache,
            flops=None if is_pipeline else counter.flops(self._context),
            growth=tuple(map(counter.flops, growth)) if attends else (),
            attends=attends,
            fits=None if request.fit is None else self._fits(request.fit, trains=trains),
            training=self._training(request.batch) if trains else {},
            training_setup=self._training_setup() if trains else None,
            lora=self._adapters,
            made_for=self._made_for,
            published=self._stored.published,
            mixes=self._mixes,
            notes=tuple(self._notes()),
        )

    @cached_property
    def _cached_layers(self) -> tuple[CachedLayer, ...]:
        """The layers as they are allocated."""
        return without_windows(self._layers) if self._request.kv_allocation == "full" else self._layers

    @cached_property
    def _dtypes(self) -> CacheDtypes:
        chosen = self._request.kv_dtypes
        return self._stored.cache if chosen is None else CacheDtypes(*chosen, self._stored.cache.states)

    @cached_property
    def _cache(self) -> Cache | None:
        request = self._request
        if not self._layers:
            return None
        return Cache(self._context, request.batch, self._cached_layers, self._dtypes, request.kv_allocation)

    @cached_property
    def _mixes(self) -> dict[str, int]:
        return {} if self._shares.inventory.is_pipeline else mix_bytes(self._shares.unique, self._settings)

    def _fits(self, budget: int, *, trains: bool) -> Fits:
        request, published = self._request, self._stored.published
        sizes = {published.format: published.bytes} if published is not None and published.is_packed else {}
        sizes |= {**by_dtype(self._total, WEIGHT_BITS), **self._mixes}
        memory = Memory(budget, request.batch, self._made_for, request.context, request.fit_text)
        is_given = request.kv_dtypes is not None or self._stored.prescribes
        found = longest_contexts(sizes, self._cached_layers, memory, self._dtypes if is_given else None)
        return found._replace(training=largest_batches(self._training, budget, request.batch)) if trains else found

    def _training(self, batch: int) -> dict[str, Training]:
        lora, how = self._request.lora, self._request.training or TrainingRequest()
        located = self._shares.unique
        trained = trained_tensors(each.share for each in located) if lora is None else adapter_tensors(located, lora)
        return training_memory(
            self._total,
            trained,
            how,
            frozen=lora is not None,
            packed=0 if lora is None else sum(each.parameters for each in self._linear_weights),
            kept=self._activations,
            context=self._context,
            batch=batch,
        )

    @cached_property
    def _linear_weights(self) -> list[TensorShare]:
        """What QLoRA packs: the linear layers of the blocks."""
        shares = (each.share for each in self._shares.unique)
        return [
            share
            for share in shares
            if COMPONENTS[share.component].packed and not share.is_bias and len(share.tensor.shape) > 1
        ]

    @cached_property
    def _activations(self) -> Activations | None:
        return None if self._shares.inventory.is_pipeline else activations(self._located, self._settings)

    def _training_setup(self) -> TrainingSetup:
        request, how = self._request, self._request.training or TrainingRequest()
        unknown = [] if self._activations is not None else ["activations, as the widths of its layers aren't known"]
        towers = {each.location.part for each in self._located} & set(_TOWERS) if self._activations is not None else ()
        others = [f"activations of its {' and '.join(sorted(towers))}"] if towers else []
        left_out = ", ".join([*unknown, *others, "temporary buffers", "what the framework itself takes"])
        return TrainingSetup(how.optimizer, how.recompute, self._context, request.batch, left_out)

    def _notes(self) -> Iterator[str]:
        yield from _notes(self._request, self._made_for, self._counter, self._cache, self._shares, self._adapters)
        if self._cache is None:
            return
        yield from self._stored.notes
        if self._settings.find_number("", _CANVAS_FIELDS):
            yield "it writes a block of tokens at once by diffusion: the cache is that of the text before the block"
        if self._request.kv_allocation == "full" and any(layer.window for layer in self._layers):
            yield "every layer is given room for all tokens, those with a window too (--kv-allocation full)"
        if self._request.kv_dtypes is not None and self._cache.state:
            yield f"states stay in {self._dtypes.states}: --kv-dtype is that of keys and values"


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
        yield "with the tokens of one block that isn't full yet: its most, whatever the length of the text"
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
        shares = [entry for entry in text if not is_prediction_layer(entry, settings)]
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
