"""Arithmetic of the forward pass, per token: what the matrices cost, and what attention costs on top of them.

Memory that training holds.

A counted model -> what it costs to keep, to run and to train.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from attncli.parameters.attention_layers import AttentionLayer, attention_layers, encoder_positions, number
from attncli.parameters.cache import cached_layers, longest_contexts
from attncli.parameters.count import Placements, count_active
from attncli.parameters.inventory import Inventory, Settings
from attncli.parameters.lora import LoraRequest, lora_adapters
from attncli.results.costs import Cache, CachedLayer, Costs, Fits, Flops, Lora, Training

if TYPE_CHECKING:
    from attncli.parameters.classify import Placed

#: A token of text doesn't pass through the towers of other inputs.
_TOWERS = frozenset({"vision", "audio", "projector"})
_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")


class Arithmetic:
    """The arithmetic of a model for any context. Tensors must stand under each of their names: all of them run."""

    def __init__(self, placed: Sequence[Placed], settings: Settings) -> None:
        run = _passed_through(placed)
        times = _repeats(run, settings)
        active = (
            count_active([entry for entry in run if entry.place.stack == stack], settings).without_embedding_lookup
            * times.get(stack or "", 1)
            for stack in {entry.place.stack for entry in run}
        )
        self.linear = 2 * sum(active)
        layers = attention_layers(run, settings, positions=encoder_positions(placed))
        self._layers = [layer for layer in layers for _ in range(times.get(layer.stack, 1))]

    @property
    def attends(self) -> bool:
        return bool(self._layers)

    def flops(self, context: int) -> Flops:
        """For one token that attends to `context` tokens; of an encoder–decoder, for one token on either side."""
        return Flops(context, self.linear, sum(_attention(layer, context) for layer in self._layers))


def _attention(layer: AttentionLayer, context: int) -> int:
    """Scores and weighted sums: a multiplication and an addition for each number of each query's and value's head."""
    return 2 * (layer.queries + layer.values) * layer.seen(context)


def _passed_through(placed: Sequence[Placed]) -> list[Placed]:
    rest = [entry for entry in placed if entry.place.part not in _TOWERS]
    return rest if any(entry.place.stack is not None for entry in rest) else list(placed)


def _repeats(placed: Sequence[Placed], settings: Settings) -> dict[str, int]:
    """How often each stack of blocks runs where fewer layers are stored than run (ALBERT)."""
    stored: dict[str, set[int]] = defaultdict(set)
    for _, where in placed:
        if where.stack is not None and where.layer is not None:
            stored[where.stack].add(where.layer)
    if len(stored) != 1:
        return {}
    ((stack, layers),) = stored.items()
    run = number(settings, "", _LAYERS) or len(layers)
    return {stack: run // len(layers)} if run > len(layers) and run % len(layers) == 0 else {}


_FLOAT32, _HALF = 4, 2
#: AdamW keeps a mean and a variance of every gradient.
_MOMENTS = 2


def training_memory(parameters: int, trained: int | None = None) -> dict[str, Training]:
    """Weights, gradients and optimizer states in bytes, by the dtype of the weights; activations come on top.

    In bfloat16 (mixed precision) the optimizer updates a float32 copy of what it trains (Micikevicius 2018).
    trained: the parameters of adapters, beside which the model's own are frozen; None where all are trained.
    """
    frozen = 0 if trained is None else parameters
    moving = parameters if trained is None else trained
    moments = _MOMENTS * _FLOAT32 * moving
    return {
        "float32": Training(_FLOAT32 * (frozen + moving), _FLOAT32 * moving, moments, 0),
        "bfloat16": Training(_HALF * (frozen + moving), _HALF * moving, moments, _FLOAT32 * moving),
    }


#: What configurations call the longest text that a model was made for.
_CONTEXT = (
    "max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "n_ctx", "max_target_positions",
    "decoder_max_position_embeddings", "seq_length", "max_source_positions", "context_length",
)  # fmt: skip
#: Where neither the configuration nor a table of positions says how long a text is.
_FALLBACK_CONTEXT = 4096
#: The growth of attention is shown at these parts of the longest text.
_GROWTH = (64, 16, 4, 1)
#: Parts that read no text.
_OTHER_INPUTS = ("vision", "audio")


class CostsRequest(NamedTuple):
    """What is asked beyond the plain numbers.

    context: tokens a text; None for as many as the model was made for.  fit: bytes of memory that have to do, as
    they were `fit_written`.
    """

    context: int | None = None
    batch: int = 1
    fit: int | None = None
    fit_written: str | None = None
    training: bool = False
    lora: LoraRequest | None = None


def costs(
    inventory: Inventory, wishes: CostsRequest, *, total: int, generates: bool, placements: Placements | None = None
) -> Costs:
    """What a model costs.

    total: the parameters to be kept in memory.  generates: whether it goes on from token to token, and so caches.
    placements: those of the inventory, if they are at hand.
    """
    known = placements or Placements(inventory)
    # A tensor of several names runs under each of them.
    placed = known.apart
    settings = Settings(inventory.settings)
    arithmetic = Arithmetic(placed, settings)
    layers = cached_layers(placed, settings) if generates else ()
    named = longest_text(placed, settings)
    longest = named or _FALLBACK_CONTEXT
    context = wishes.context or longest
    growth = {max(max(longest, context) // part, 1): None for part in _GROWTH}
    added = None if wishes.lora is None else lora_adapters(known.once, wishes.lora)
    return Costs(
        parameters=total,
        cache=Cache(context, wishes.batch, layers) if layers else None,
        flops=arithmetic.flops(context),
        growth=tuple(map(arithmetic.flops, growth)) if arithmetic.attends else (),
        attends=arithmetic.attends,
        fits=_fits(total, layers, wishes, named),
        training=_training(total, wishes, added),
        lora=added,
        made_for=named,
        notes=tuple(_notes(wishes, named, arithmetic, encoder_positions(placed), added)),
    )


def _fits(total: int, layers: Sequence[CachedLayer], wishes: CostsRequest, made_for: int | None) -> Fits | None:
    if wishes.fit is None:
        return None
    found = longest_contexts(total, layers, budget=wishes.fit, batch=wishes.batch)
    return found._replace(made_for=made_for, written=wishes.fit_written)


def _training(total: int, wishes: CostsRequest, added: Lora | None) -> dict[str, Training]:
    """What training holds; nothing where adapters are to be trained and there are none."""
    if not wishes.training or (wishes.lora is not None and added is None):
        return {}
    return training_memory(total, added.parameters if added else None)


def _notes(
    wishes: CostsRequest, made_for: int | None, arithmetic: Arithmetic, positions: int | None, added: Lora | None
) -> Iterator[str]:
    if made_for is None and wishes.context is None and arithmetic.attends:
        yield f"it doesn't say how long its texts are: {_FALLBACK_CONTEXT:,} tokens are assumed (--context)"
    if made_for is not None and wishes.context is not None and wishes.context > made_for:
        yield f"it is made for {made_for:,} tokens: what is said of {wishes.context:,} is beyond what it takes"
    if positions is not None:
        yield f"its encoder has {positions:,} positions however long the text is, and is counted with as many"
    if wishes.lora is not None and added is None:
        yield f"it has no matrix of {' or '.join(wishes.lora.components)} to adapt"


def longest_text(placed: Sequence[Placed], settings: Settings) -> int | None:
    """The longest sequence that the model was made for: what its configuration says, else its table of positions."""
    # An encoder of sound or pictures says how much of them it reads.
    others = _OTHER_INPUTS if encoder_positions(placed) is None else (*_OTHER_INPUTS, "encoder")
    reading = [entry for entry in placed if entry.place.part not in others]
    stacks = [where.stack for _, where in reading if where.stack is not None]
    named = number(settings, stacks[0] if stacks else "", _CONTEXT) or number(settings, "", _CONTEXT)
    tables = (
        share.tensor
        for share, _ in (*reading, *placed)
        if share.component == "embedding.position" and not share.is_bias
    )
    return named or next((table.shape[-2] for table in tables if len(table.shape) > 1 and table.shape[-2] > 1), None)
