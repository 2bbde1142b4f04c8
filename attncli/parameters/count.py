"""An inventory -> how many parameters each component, layer, part and tensor has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Literal, NamedTuple

from attncli.parameters.active import count_active
from attncli.parameters.classify import Share, classify
from attncli.parameters.heads import per_head
from attncli.parameters.inventory import Inventory
from attncli.parameters.parts import Place, place
from attncli.parameters.readings import readings
from attncli.parameters.settings import Settings
from attncli.results.parameters import COMPONENTS, Component, Layer, ParameterCount, Row

By = Literal["component", "layer", "part", "module", "tensor"]


class Placed(NamedTuple):
    """A share of a tensor, and where the tensor stands."""

    share: Share
    place: Place


class Placements:
    """What each tensor of a model gives to which component, and where it stands: worked out once."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory

    @cached_property
    def once(self) -> list[Placed]:
        """Every tensor once."""
        return place_shares(self.inventory)

    @cached_property
    def apart(self) -> list[Placed]:
        """Every tensor under each of its names."""
        return place_shares(self.inventory.untied()) if self.inventory.tied else self.once


def count(
    inventory: Inventory,
    *,
    placements: Placements | None = None,
    model: str,
    source: str = "config",
    untie: bool = False,
    by: By = "component",
    depth: int = 1,
) -> ParameterCount:
    """Count the parameters of an inventory.

    untie: count a tensor once for each of its names.  by: "tensor" and "module" add rows, modules down to `depth`.
    placements: those of the inventory, if they are at hand.
    The components add up to the total, and every tensor is in exactly one place.
    """
    counted = inventory.untied() if untie else inventory
    known = placements or Placements(inventory)
    placed = known.apart if untie else known.once
    components = _components(placed)
    return ParameterCount(
        model=model,
        source=source,
        total=counted.total,
        components=components,
        layers=_layers(placed),
        tied=inventory.tied,
        readings=readings(counted, [entry.share for entry in placed]),
        per_head=per_head(placed, Settings(counted.settings)),
        active=count_active(placed, Settings(counted.settings)),
        rows=_rows(placed, by, depth),
        notes=_notes(placed, Settings(counted.settings)),
    )


def place_shares(inventory: Inventory) -> list[Placed]:
    """Every share of every tensor with its place, in the inventory's order."""
    shares = classify(inventory)
    found: dict[str, list[str]] = defaultdict(list)
    for share in shares:
        found[share.tensor.name].append(share.component)
    places = place(inventory, found)
    return [Placed(share, places[share.tensor.name]) for share in shares]


def _components(placed: Iterable[Placed]) -> tuple[Component, ...]:
    """Sums by part and component: parts as they come in the model, components in the order of COMPONENTS."""
    weights: dict[tuple[str, str], int] = defaultdict(int)
    biases: dict[tuple[str, str], int] = defaultdict(int)
    parts: dict[str, int] = {}
    for share, where in placed:
        parts.setdefault(where.part, len(parts))
        (biases if share.is_bias else weights)[where.part, share.component] += share.parameters
    keys = sorted({*weights, *biases}, key=lambda key: (parts[key[0]], COMPONENTS.index(key[1])))
    return tuple(Component(*key, weights[key], biases[key]) for key in keys)


def _layers(placed: Iterable[Placed]) -> tuple[Layer, ...]:
    blocks: dict[tuple[str, str, int], list[Placed]] = defaultdict(list)
    for entry in placed:
        if entry.place.stack is not None and entry.place.layer is not None:
            blocks[entry.place.part, entry.place.stack, entry.place.layer].append(entry)
    return tuple(Layer(part, layer, stack, _components(block)) for (part, stack, layer), block in blocks.items())


def _rows(placed: Sequence[Placed], by: By, depth: int) -> tuple[Row, ...]:
    if by == "tensor":
        return tuple(
            Row(share.tensor.module, share.tensor.name, share.tensor.shape, share.component, share.parameters)
            for share, _ in placed
        )
    if by != "module":
        return ()
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for share, _ in placed:
        sums[".".join(share.tensor.module.split(".")[:depth]), share.component] += share.parameters
    return tuple(Row(module, None, None, component, parameters) for (module, component), parameters in sums.items())


def _notes(placed: Iterable[Placed], settings: Settings) -> tuple[str, ...]:
    """What a reader would stumble over: a model that stores fewer layers than it runs."""
    stored: dict[str, set[int]] = defaultdict(set)
    for _, where in placed:
        if where.stack is not None and where.layer is not None:
            stored[where.stack].add(where.layer)
    run = settings.look("", "layers")
    if run is None or len(stored) != 1:
        return ()
    held = len(next(iter(stored.values())))
    if run <= held or run % held:
        return ()
    layers = "1 layer is" if held == 1 else f"{held} layers are"
    return (f"{layers} stored and run as {run}",)
