"""Arithmetic of the forward pass, per token: what the matrices cost, and what attention costs on top of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from attncli.parameters.active import count_active
from attncli.parameters.attending import Attending, attending_layers, encoder_positions, number
from attncli.parameters.settings import Settings
from attncli.results.costs import Flops

if TYPE_CHECKING:
    from attncli.parameters.count import Placed

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
        layers = attending_layers(run, settings, positions=encoder_positions(placed))
        self._layers = [layer for layer in layers for _ in range(times.get(layer.stack, 1))]

    @property
    def attends(self) -> bool:
        return bool(self._layers)

    def flops(self, context: int) -> Flops:
        """For one token that attends to `context` tokens; of an encoder–decoder, for one token on either side."""
        return Flops(context, self.linear, sum(_attention(layer, context) for layer in self._layers))


def _attention(layer: Attending, context: int) -> int:
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
