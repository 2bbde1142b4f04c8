"""Parameter counts of an inventory: by component, layer, part, module and tensor, and the active ones.

The components add up to the total, and every share of a tensor belongs to one component.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from functools import cached_property
from typing import Literal

from attncli.components import COMPONENTS, PLACES, ROUTED
from attncli.parameters.cache import is_prediction_layer
from attncli.parameters.classify import LocatedShare, TensorShare, classify
from attncli.parameters.inventory import Inventory, Settings, Tensor
from attncli.parameters.locate import find_locations
from attncli.parameters.name_rules import Kind
from attncli.results.params import (
    Active,
    AlternativeCount,
    Component,
    Layer,
    Node,
    ParameterCount,
    ParameterDifference,
    PerHead,
    Row,
)

#: What the rows of a count are.
Grouping = Literal["component", "layer", "part", "module", "tensor", "cost"]


#: What a token looks up or adds, and what isn't a matrix.
_EMBEDDINGS = frozenset({"unembedding", *(name for name, each in COMPONENTS.items() if each.looked_up)})
_NOT_MATRICES = frozenset({"norm", "embedding.position", "embedding.segment"})


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
    total = looked_up = 0
    for share, _ in located:
        parameters = share.parameters
        if share.component in ROUTED:
            path = share.tensor.module
            experts, active = settings.look_up(path, "experts"), settings.look_up(path, "active_experts")
            if experts and active and active < experts:
                parameters = parameters * active // experts
        total += parameters
        # A token table that is also the unembedding is multiplied.
        if COMPONENTS[share.component].looked_up and not _is_tied_table(share):
            looked_up += parameters
    return Active(total, total - looked_up)


def _is_tied_table(share: TensorShare) -> bool:
    """Whether a token table is also the unembedding, under another name."""
    aliases = share.tensor.aliases if share.component == "embedding.token" else ()
    return any(alias.kind is not Kind.EMBEDDING for alias in aliases)


def alternative_counts(inventory: Inventory, shares: Sequence[TensorShare]) -> tuple[AlternativeCount, ...]:
    """Other ways to count a language model; empty for other models, and for pipelines."""
    if inventory.is_pipeline or not any(share.component == "embedding.token" for share in shares):
        return ()
    tied = sum(share.parameters for share in shares if _is_tied_table(share))
    matrices = sum(share.parameters for share in shares if not share.is_bias and share.component not in _NOT_MATRICES)
    embedded = sum(share.parameters for share in shares if share.component in _EMBEDDINGS)
    again = "the tied unembedding counted twice, as the hub counts a file with both"
    teaching = (
        "weights without norms and positions, the tied unembedding counted twice: as in published counts of GPT-3"
    )
    kaplan = "without embeddings and unembedding (Kaplan 2020)"
    return (
        AlternativeCount("matrices", matrices + tied, teaching),
        AlternativeCount("non_embedding", inventory.total - embedded, kaplan),
        *([AlternativeCount("untied", inventory.total + tied, again)] if tied else ()),
    )


def _without_prediction(inventory: Inventory, located: Iterable[LocatedShare]) -> Iterator[AlternativeCount]:
    """The total without layers for multi-token prediction, which are in files and not in transformers' modules."""
    settings = Settings(inventory.settings)
    beyond = sum(entry.share.parameters for entry in located if is_prediction_layer(entry, settings))
    if beyond:
        why = "without the layers for multi-token prediction, which a model runs without"
        yield AlternativeCount("without_prediction", inventory.total - beyond, why)


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
    keys = sorted({key for table in tables for key in table}, key=lambda key: (parts[key[0]], PLACES[key[1]]))
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
        node = Node(name, sum(share.parameters for _, share in group))
        steps, first = group[0]
        if len(steps) > level + 1:
            node = node._replace(children=_nodes(group, level + 1, depth, tensors=tensors))
        elif tensors:
            components = "+".join(dict.fromkeys(share.component for _, share in group))
            node = node._replace(shape=first.tensor.shape, component=components)
        else:
            continue
        before = nodes[-1] if nodes else None
        if before is not None and name.isdigit() and before.name.isdigit() and before.has_same_contents(node):
            nodes[-1] = before._replace(copies=before.copies + 1, last=name)
        else:
            nodes.append(node)
    return tuple(nodes)


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
    shares, settings = shares or InventoryShares(inventory), Settings(counted.settings)
    located = shares.untied if untie else shares.unique
    blocks: dict[tuple[str, str, int], list[LocatedShare]] = defaultdict(list)
    for entry in located:
        if entry.location.stack is not None and entry.location.layer is not None:
            blocks[entry.location.part, entry.location.stack, entry.location.layer].append(entry)
    return ParameterCount(
        model=model,
        source=source,
        total=counted.total,
        components=_components(located),
        layers=tuple(Layer(part, layer, stack, _components(each)) for (part, stack, layer), each in blocks.items()),
        tied=inventory.tied,
        readings=(
            *alternative_counts(counted, [entry.share for entry in located]),
            *_without_prediction(counted, located),
        ),
        per_head=per_head(located, settings),
        active=None
        if inventory.is_pipeline
        else count_active([entry for entry in located if not is_prediction_layer(entry, settings)], settings),
        rows=_rows(located, by, depth),
        notes=_notes({(stack, layer) for _, stack, layer in blocks}, settings),
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
    """Sums by part and component: parts in the model's order, components as they are shown."""
    weights: dict[tuple[str, str], int] = defaultdict(int)
    biases: dict[tuple[str, str], int] = defaultdict(int)
    parts: dict[str, int] = {}
    for share, location in located:
        parts.setdefault(location.part, len(parts))
        (biases if share.is_bias else weights)[location.part, share.component] += share.parameters
    keys = sorted({*weights, *biases}, key=lambda key: (parts[key[0]], PLACES[key[1]]))
    return tuple(Component(*key, weights[key], biases[key]) for key in keys)


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


def _notes(blocks: Set[tuple[str, int]], settings: Settings) -> tuple[str, ...]:
    """A note for a model that stores fewer layers than it runs (ALBERT). blocks: the stack and layer of each."""
    run, count = settings.look_up("", "layers"), len(blocks)
    if run is None or len({stack for stack, _ in blocks}) != 1 or run <= count or run % count:
        return ()
    layers = "1 layer is" if count == 1 else f"{count} layers are"
    return (f"{layers} stored and run as {run}",)


# --- What one head holds

#: The matrices of which each head has a part.
_HEAD_MATRICES = ("query", "key", "value", "output")


def per_head(located: Sequence[LocatedShare], settings: Settings) -> PerHead | None:
    """The sizes of one head's matrices, in the first attention layer of the stack with the most attention weights.

    None where the model has no attention, or its heads are unknown.
    """
    stacks: dict[str, dict[int, list[TensorShare]]] = defaultdict(lambda: defaultdict(list))
    weight: dict[str, int] = defaultdict(int)
    for share, location in located:
        if share.component.startswith("attention.") and location.stack is not None and location.layer is not None:
            stacks[location.stack][location.layer].append(share)
            weight[location.stack] += share.parameters
    stack = max(weight, key=lambda name: weight[name], default="")
    layers = list(stacks[stack].values())
    shares = layers[0] if layers else []
    query = next((share for share in shares if share.component == "attention.query"), None)
    heads = None if query is None else settings.look_up(query.tensor.module, "heads")
    sums = _component_sizes(shares)
    if not heads or sums["query"] % heads or sums["output"] % heads or not all(sums[kind] for kind in _HEAD_MATRICES):
        return None
    groups, rest = divmod(sums["key"] * heads, sums["query"])
    # Keys may be as many as queries but of another width (latent attention).
    groups = heads if rest or not groups else groups
    if sums["key"] % groups or sums["value"] % groups:
        return None
    shared = {"query": heads, "key": groups, "value": groups, "output": heads}
    sizes = {kind: sums[kind] // shared[kind] for kind in _HEAD_MATRICES}
    return PerHead(
        **sizes,
        heads=heads,
        key_value_heads=groups,
        layer=sum(share.parameters for share in shares if not share.is_bias),
        stack=stack,
        layers=sum(
            all(other[kind] == sums[kind] for kind in _HEAD_MATRICES) for other in map(_component_sizes, layers)
        ),
        shapes=_head_shapes(shares, sizes, settings),
    )


def _head_shapes(
    shares: Sequence[TensorShare], sizes: Mapping[str, int], settings: Settings
) -> tuple[tuple[int, int], ...] | None:
    """The shapes of a head's matrices, (input width, output width); None where they are unknown."""
    found = []
    matrices = _head_matrices(shares)
    for kind, parameters in sizes.items():
        tensors = [share.tensor for share in matrices if share.component == f"attention.{kind}"]
        widths = {_model_width(tensor, settings, gives=kind == "output") for tensor in tensors}
        width = widths.pop()
        if widths or not width or parameters % width:
            return None
        found.append((parameters // width, width) if kind == "output" else (width, parameters // width))
    return tuple(found)


def _model_width(tensor: Tensor, settings: Settings, *, gives: bool) -> int | None:
    """The width on the model's side: what the matrix of all heads reads, or what it `gives`."""
    if tensor.kind in (Kind.LINEAR, Kind.TRANSPOSED, Kind.PACKED_ATTENTION) and len(tensor.shape) == 2:
        return tensor.shape[gives == (tensor.kind is Kind.TRANSPOSED)]
    hidden = settings.look_up(tensor.module, "hidden")
    return hidden if hidden in tensor.shape else None


def _head_matrices(shares: Sequence[TensorShare]) -> list[TensorShare]:
    """The shares that are divided among heads: no biases, and no projection to a latent, which all heads share."""
    latent = {share.tensor.name for share in shares if share.component == "attention.latent"}
    return [share for share in shares if not share.is_bias and share.tensor.name not in latent]


def _component_sizes(shares: Sequence[TensorShare]) -> dict[str, int]:
    sums: dict[str, int] = defaultdict(int)
    for share in _head_matrices(shares):
        sums[share.component.removeprefix("attention.")] += share.parameters
    return sums
