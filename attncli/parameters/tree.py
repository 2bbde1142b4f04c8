"""The tensors of a model as the tree that their names make, with layers that are alike drawn together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from attncli.results.trees import Node

if TYPE_CHECKING:
    from attncli.parameters.classify import Share


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
