"""Active parameters: what one token passes through in a mixture of experts, in both conventions.

Other ways to count the same model.

Several models, component by component.

The tensors of a model as the tree that their names make, with layers that are alike drawn together.

An inventory -> how many parameters each component, layer, part and tensor has.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Literal

from attncli.choices import COMPONENTS
from attncli.parameters.attention_layers import per_head
from attncli.parameters.classify import Placed, Share, also_unembeds, classify
from attncli.parameters.inventory import Inventory, Settings
from attncli.parameters.locate import place
from attncli.results.params import (
    Active,
    AlternativeCount,
    Component,
    Layer,
    Node,
    ParameterCount,
    ParameterDifference,
    Row,
)

_EXPERTS = ("moe.gate", "moe.up", "moe.down")
_TABLES = ("embedding.position", "embedding.segment")


def count_active(placed: Sequence[Placed], settings: Settings) -> Active:
    """Count the active parameters: of the routed experts, as many as a token is sent to."""
    total = sum(_active(share, settings) for share, _ in placed)
    return Active(total, total - sum(share.parameters for share, _ in placed if _is_looked_up(share)))


def _active(share: Share, settings: Settings) -> int:
    if share.component not in _EXPERTS:
        return share.parameters
    path = share.tensor.module
    experts, chosen = settings.look(path, "experts"), settings.look(path, "active_experts")
    if not experts or not chosen or chosen >= experts:
        return share.parameters
    return share.parameters * chosen // experts


def _is_looked_up(share: Share) -> bool:
    """Whether a token takes one row of it; a token table that is the unembedding too is multiplied whole."""
    if share.component == "embedding.token":
        return not also_unembeds(share.tensor)
    return share.component in _TABLES


_NO_MATRIX = ("norm", "embedding.position", "embedding.segment")
_TOKENS = ("embedding.token",)
_EMBEDDINGS = ("embedding.token", "embedding.position", "embedding.segment", "unembedding")


def readings(inventory: Inventory, shares: Sequence[Share]) -> tuple[AlternativeCount, ...]:
    """The readings of a language model, one that has a table of tokens; none for other models."""
    if not _sum(shares, _TOKENS):
        return ()
    again = sum(share.parameters for share in shares if share.component in _TOKENS and also_unembeds(share.tensor))
    matrices = sum(share.parameters for share in shares if not share.is_bias and share.component not in _NO_MATRIX)
    return (
        AlternativeCount(
            "matrices",
            matrices + again,
            "weights without norms and positions, a tied unembedding counted again: how teaching counts GPT-3",
        ),
        AlternativeCount(
            "non_embedding",
            inventory.total - _sum(shares, _EMBEDDINGS),
            "without embeddings and unembedding (Kaplan 2020)",
        ),
    )


def _sum(shares: Iterable[Share], components: Sequence[str]) -> int:
    return sum(share.parameters for share in shares if share.component in components)


def differences(counts: Sequence[ParameterCount]) -> tuple[ParameterDifference, ...]:
    """Every component that any of the models has, aligned by part and component; nothing for one model.

    Models of one part each are compared whatever their parts are called.
    """
    if len(counts) < 2:
        return ()
    alone = all(len({component.part for component in count.components}) == 1 for count in counts)
    name = counts[0].components[0].part if alone else None
    tables = [
        {(name or component.part, component.component): component.parameters for component in count.components}
        for count in counts
    ]
    parts = {part: index for index, part in enumerate(dict.fromkeys(part for table in tables for part, _ in table))}
    keys = sorted({key for table in tables for key in table}, key=lambda key: (parts[key[0]], COMPONENTS.index(key[1])))
    return tuple(ParameterDifference(*key, tuple(table.get(key, 0) for table in tables)) for key in keys)


def tree(shares: Sequence[Share], *, depth: int | None, tensors: bool) -> tuple[Node, ...]:
    """The modules of a model, down to `depth` steps of their paths; with `tensors`, those within that depth too."""
    entries = [(share.tensor.name.split("."), share) for share in shares]
    return _nodes(entries, 0, depth, tensors=tensors)


def _nodes(
    entries: Sequence[tuple[list[str], Share]], level: int, depth: int | None, *, tensors: bool
) -> tuple[Node, ...]:
    if depth is not None and level >= depth:
        return ()
    groups: dict[str, list[tuple[list[str], Share]]] = defaultdict(list)
    for steps, share in entries:
        groups[steps[level]].append((steps, share))
    nodes: list[Node] = []
    for name, group in groups.items():
        node = _node(name, group, level, depth, tensors=tensors)
        if node is None:
            continue
        before = nodes[-1] if nodes else None
        if before is not None and name.isdigit() and before.name.isdigit() and before.alike(node):
            nodes[-1] = before._replace(copies=before.copies + 1, last=name)
        else:
            nodes.append(node)
    return tuple(nodes)


def _node(
    name: str, group: Sequence[tuple[list[str], Share]], level: int, depth: int | None, *, tensors: bool
) -> Node | None:
    parameters = sum(share.parameters for _, share in group)
    steps, first = group[0]
    if len(steps) == level + 1:
        components = "+".join(dict.fromkeys(share.component for _, share in group))
        return Node(name, parameters, shape=first.tensor.shape, component=components) if tensors else None
    return Node(name, parameters, children=_nodes(group, level + 1, depth, tensors=tensors))


By = Literal["component", "layer", "part", "module", "tensor"]


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
