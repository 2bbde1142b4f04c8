"""A counted model -> what it costs to keep, to run and to train."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from attncli.parameters.attending import number
from attncli.parameters.cache import cached_layers, longest_contexts
from attncli.parameters.count import Placements
from attncli.parameters.flops import Arithmetic
from attncli.parameters.inventory import Inventory
from attncli.parameters.lora import LoraWish, adapters
from attncli.parameters.settings import Settings
from attncli.parameters.training import training_memory
from attncli.results.costs import Cache, Costs

if TYPE_CHECKING:
    from attncli.parameters.count import Placed

#: What configurations call the longest text that a model was made for.
_CONTEXT = (
    "max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "n_ctx", "max_target_positions",
    "decoder_max_position_embeddings", "seq_length", "max_source_positions", "context_length",
)  # fmt: skip
#: Where neither the configuration nor a table of positions says how long a text is.
_FALLBACK_CONTEXT = 4096
#: The growth of attention is shown at these parts of the longest text.
_GROWTH = (64, 16, 4, 1)


class Wishes(NamedTuple):
    """What is asked beyond the plain numbers.

    context: tokens a text; None for as many as the model was made for.  fit: bytes of memory that have to do.
    """

    context: int | None = None
    batch: int = 1
    fit: int | None = None
    training: bool = False
    lora: LoraWish | None = None


def costs(
    inventory: Inventory, wishes: Wishes, *, total: int, generates: bool, placements: Placements | None = None
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
    added = None if wishes.lora is None else adapters(known.once, wishes.lora)
    fits = None
    if wishes.fit is not None:
        fits = longest_contexts(total, layers, budget=wishes.fit, batch=wishes.batch)._replace(made_for=named)
    return Costs(
        parameters=total,
        cache=Cache(context, wishes.batch, layers) if layers else None,
        flops=arithmetic.flops(context),
        growth=tuple(map(arithmetic.flops, growth)) if arithmetic.attends else (),
        attends=arithmetic.attends,
        fits=fits,
        training=training_memory(total, added.parameters if added else None) if wishes.training else {},
        lora=added,
        assumed_context=named is None and wishes.context is None and arithmetic.attends,
    )


def longest_text(placed: Sequence[Placed], settings: Settings) -> int | None:
    """The longest sequence that the model was made for: what its configuration says, else its table of positions."""
    stacks = [where.stack for _, where in placed if where.stack is not None and where.part not in ("vision", "audio")]
    named = number(settings, stacks[0] if stacks else "", _CONTEXT) or number(settings, "", _CONTEXT)
    tables = (share.tensor for share, _ in placed if share.component == "embedding.position" and not share.is_bias)
    return named or next((table.shape[-2] for table in tables if len(table.shape) > 1 and table.shape[-2] > 1), None)
