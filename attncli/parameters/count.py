"""Parameter counts of an inventory: by component, layer, part, module and tensor, and the active ones.

The components add up to the total, and every share of a tensor belongs to one component.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Literal

from attncli.choices import COMPONENTS
from attncli.parameters.attention_layers import per_head
from attncli.parameters.classify import LocatedShare, TensorShare, classify, is_tied_unembedding
from attncli.parameters.inventory import Inventory, Settings
from attncli.parameters.locate import find_locations
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

#: What the rows of a count are.
Grouping = Literal["component", "layer", "part", "module", "tensor"]

_EXPERTS = ("moe.gate", "moe.up", "moe.down")
_LOOKUP_TABLES = ("embedding.position", "embedding.segment")


class InventoryShares:
    """The components and locations of an inventory's tensors, computed once."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory

    @cached_property
    def unique(self) -> list[LocatedShare]:
        """The shares of every tensor once."""
        return locate_shares(self.inventory)

    @cached_property
    def untied(self) -> list[LocatedShare]:
        """The shares of every tensor under each of its names."""
        return locate_shares(self.inventory.untied()) if self.inventory.tied else self.unique


def count_active(located: Sequence[LocatedShare], settings: Settings) -> Active:
    """Count the active parameters, in both conventions: only as many routed experts as a token is sent to."""
    total = sum(_active_parameters(share, settings) for share, _ in located)
    return Active(total, total - sum(share.parameters for share, _ in located if _is_looked_up(share)))


def _active_parameters(share: TensorShare, settings: Settings) -> int:
    if share.component not in _EXPERTS:
        return share.parameters
    path = share.tensor.module
    experts, active = settings.look_up(path, "experts"), settings.look_up(path, "active_experts")
    if not experts or not active or active >= experts:
        return share.parameters
    return share.parameters * active // experts


def _is_looked_up(share: TensorShare) -> bool:
    """Whether a token looks up one row of a table; a token table that is also the unembedding is multiplied."""
    if share.component == "embedding.token":
        return not is_tied_unembedding(share.tensor)
    return share.component in _LOOKUP_TABLES


_NOT_MATRICES = ("norm", "embedding.position", "embedding.segment")
_TOKENS = ("embedding.token",)
_EMBEDDINGS = ("embedding.token", "embedding.position", "embedding.segment", "unembedding")


def alternative_counts(inventory: Inventory, shares: Sequence[TensorShare]) -> tuple[AlternativeCount, ...]:
    """Other ways to count a language model; empty for a model without a token table."""
    if not _sum_components(shares, _TOKENS):
        return ()
    tied = sum(share.parameters for share in shares if share.component in _TOKENS and is_tied_unembedding(share.tensor))
    matrices = sum(share.parameters for share in shares if not share.is_bias and share.component not in _NOT_MATRICES)
    again = "the tied unembedding counted again, as hubs count a file that holds both"
    return (
        AlternativeCount(
            "matrices",
            matrices + tied,
            "weights without norms and positions, a tied unembedding counted again: how teaching counts GPT-3",
        ),
        AlternativeCount(
            "non_embedding",
            inventory.total - _sum_components(shares, _EMBEDDINGS),
            "without embeddings and unembedding (Kaplan 2020)",
        ),
        *([AlternativeCount("untied", inventory.total + tied, again)] if tied else ()),
    )


def _sum_components(shares: Iterable[TensorShare], components: Sequence[str]) -> int:
    return sum(share.parameters for share in shares if share.component in components)


def compare_counts(counts: Sequence[ParameterCount]) -> tuple[ParameterDifference, ...]:
    """The components of all models, aligned by part and component; empty for one model.

    Where every model has a single part, the names of the parts are ignored.
    """
    if len(counts) < 2:
        return ()
    single_part = all(len({component.part for component in count.components}) == 1 for count in counts)
    name = counts[0].components[0].part if single_part else None
    tables = [
        {(name or component.part, component.component): component.parameters for component in count.components}
        for count in counts
    ]
    parts = {part: index for index, part in enumerate(dict.fromkeys(part for table in tables for part, _ in table))}
    keys = sorted({key for table in tables for key in table}, key=lambda key: (parts[key[0]], COMPONENTS.index(key[1])))
    return tuple(ParameterDifference(*key, tuple(table.get(key, 0) for table in tables)) for key in keys)


def module_tree(shares: Sequence[TensorShare], *, depth: int | None, tensors: bool) -> tuple[Node, ...]:
    """The tree of a model's modules, `depth` steps of their paths deep; equal neighbouring layers are one node.

    tensors: list the tensors within that depth too.
    """
    entries = [(share.tensor.name.split("."), share) for share in shares]
    return _nodes(entries, 0, depth, tensors=tensors)


def _nodes(
    entries: Sequence[tuple[list[str], TensorShare]], level: int, depth: int | None, *, tensors: bool
) -> tuple[Node, ...]:
    if depth is not None and level >= depth:
        return ()
    groups: dict[str, list[tuple[list[str], TensorShare]]] = defaultdict(list)
    for steps, share in entries:
        groups[steps[level]].append((steps, share))
    nodes: list[Node] = []
    for name, group in groups.items():
        node = _node(name, group, level, depth, tensors=tensors)
        if node is None:
            continue
        before = nodes[-1] if nodes else None
        if before is not None and name.isdigit() and before.name.isdigit() and before.has_same_contents(node):
            nodes[-1] = before._replace(copies=before.copies + 1, last=name)
        else:
            nodes.append(node)
    return tuple(nodes)


def _node(
    name: str, group: Sequence[tuple[list[str], TensorShare]], level: int, depth: int | None, *, tensors: bool
) -> Node | None:
    parameters = sum(share.parameters for _, share in group)
    steps, first = group[0]
    if len(steps) == level + 1:
        components = "+".join(dict.fromkeys(share.component for _, share in group))
        return Node(name, parameters, shape=first.tensor.shape, component=components) if tensors else None
    return Node(name, parameters, children=_nodes(group, level + 1, depth, tensors=tensors))


def count_parameters(
    inventory: Inventory,
    *,
    shares: InventoryShares | None = None,
    model: str,
    source: str = "config",
    untie: bool = False,
    by: Grouping = "component",
    depth: int = 1,
) -> ParameterCount:
    """Count the parameters of an inventory.

    untie: count a tensor once for each of its names.  by: "tensor" and "module" add rows, modules down to `depth`.
    shares: those of the inventory, if they are already computed.
    """
    counted = inventory.untied() if untie else inventory
    shares = shares or InventoryShares(inventory)
    located = shares.untied if untie else shares.unique
    components = _components(located)
    return ParameterCount(
        model=model,
        source=source,
        total=counted.total,
        components=components,
        layers=_layers(located),
        tied=inventory.tied,
        readings=alternative_counts(counted, [entry.share for entry in located]),
        per_head=per_head(located, Settings(counted.settings)),
        active=count_active(located, Settings(counted.settings)),
        rows=_rows(located, by, depth),
        notes=_notes(located, Settings(counted.settings)),
    )


def locate_shares(inventory: Inventory) -> list[LocatedShare]:
    """The shares of every tensor with their locations, in the inventory's order."""
    shares = classify(inventory)
    components: dict[str, list[str]] = defaultdict(list)
    for share in shares:
        components[share.tensor.name].append(share.component)
    locations = find_locations(inventory, components)
    return [LocatedShare(share, locations[share.tensor.name]) for share in shares]


def _components(located: Iterable[LocatedShare]) -> tuple[Component, ...]:
    """Sums by part and component: parts in the model's order, components in that of COMPONENTS."""
    weights: dict[tuple[str, str], int] = defaultdict(int)
    biases: dict[tuple[str, str], int] = defaultdict(int)
    parts: dict[str, int] = {}
    for share, location in located:
        parts.setdefault(location.part, len(parts))
        (biases if share.is_bias else weights)[location.part, share.component] += share.parameters
    keys = sorted({*weights, *biases}, key=lambda key: (parts[key[0]], COMPONENTS.index(key[1])))
    return tuple(Component(*key, weights[key], biases[key]) for key in keys)


def _layers(located: Iterable[LocatedShare]) -> tuple[Layer, ...]:
    blocks: dict[tuple[str, str, int], list[LocatedShare]] = defaultdict(list)
    for entry in located:
        if entry.location.stack is not None and entry.location.layer is not None:
            blocks[entry.location.part, entry.location.stack, entry.location.layer].append(entry)
    return tuple(Layer(part, layer, stack, _components(block)) for (part, stack, layer), block in blocks.items())


def _rows(located: Sequence[LocatedShare], by: Grouping, depth: int) -> tuple[Row, ...]:
    if by == "tensor":
        return tuple(
            Row(share.tensor.module, share.tensor.name, share.tensor.shape, share.component, share.parameters)
            for share, _ in located
        )
    if by != "module":
        return ()
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for share, _ in located:
        sums[".".join(share.tensor.module.split(".")[:depth]), share.component] += share.parameters
    return tuple(Row(module, None, None, component, parameters) for (module, component), parameters in sums.items())


def _notes(located: Iterable[LocatedShare], settings: Settings) -> tuple[str, ...]:
    """A note for a model that stores fewer layers than it runs (ALBERT)."""
    stored: dict[str, set[int]] = defaultdict(set)
    for _, location in located:
        if location.stack is not None and location.layer is not None:
            stored[location.stack].add(location.layer)
    run = settings.look_up("", "layers")
    if run is None or len(stored) != 1:
        return ()
    count = len(next(iter(stored.values())))
    if run <= count or run % count:
        return ()
    layers = "1 layer is" if count == 1 else f"{count} layers are"
    return (f"{layers} stored and run as {run}",)
