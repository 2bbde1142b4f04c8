"""Summaries of parameter counts: components by group, and equal layers together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from attncli.results.base import struct
from attncli.results.params import Component, Layer, ParameterCount


@struct()
class ComponentGroup(NamedTuple):
    """The components of a part with the same prefix: `attention` is `attention.query`, `attention.key`, …"""

    part: str
    name: str
    components: tuple[Component, ...]

    @property
    def weights(self) -> int:
        return sum(component.weights for component in self.components)

    @property
    def biases(self) -> int:
        return sum(component.biases for component in self.components)

    @property
    def parameters(self) -> int:
        return self.weights + self.biases


@struct()
class LayerRun(NamedTuple):
    """Consecutive layers with the same parameters, component by component."""

    part: str
    stack: str
    first: int
    last: int
    components: tuple[Component, ...]

    @property
    def layers(self) -> int:
        return self.last - self.first + 1

    @property
    def each(self) -> int:
        """Parameters of one of the layers."""
        return sum(component.parameters for component in self.components)

    @property
    def total(self) -> int:
        return self.layers * self.each


def component_groups(components: Iterable[Component]) -> tuple[ComponentGroup, ...]:
    """Components grouped by part and by the prefix before the dot, in their order."""
    keyed = groupby(components, key=lambda component: (component.part, component.component.partition(".")[0]))
    return tuple(ComponentGroup(part, name, tuple(members)) for (part, name), members in keyed)


def layer_runs(layers: Sequence[Layer]) -> tuple[LayerRun, ...]:
    """The layers of each stack in the order of their indices, with equal neighbours as one run."""
    runs: list[LayerRun] = []
    stacks = list(dict.fromkeys((layer.part, layer.stack) for layer in layers))
    for layer in sorted(layers, key=lambda layer: (stacks.index((layer.part, layer.stack)), layer.layer)):
        before = runs[-1] if runs else None
        same = before is not None and (before.part, before.stack) == (layer.part, layer.stack)
        if before is not None and same and before.components == layer.components and before.last == layer.layer - 1:
            runs[-1] = before._replace(last=layer.layer)
        else:
            runs.append(LayerRun(layer.part, layer.stack, layer.layer, layer.layer, layer.components))
    return tuple(runs)


@struct()
class LayerKind(NamedTuple):
    """All layers of a stack with the same parameters, also where they aren't neighbours."""

    part: str
    stack: str
    runs: tuple[LayerRun, ...]

    @property
    def layers(self) -> int:
        return sum(run.layers for run in self.runs)

    @property
    def each(self) -> int:
        return self.runs[0].each


def layer_kinds(layers: Sequence[Layer]) -> tuple[LayerKind, ...]:
    """The kinds of layers of a model, in the order of their first layers."""
    kinds: dict[tuple[str, str, tuple[Component, ...]], list[LayerRun]] = {}
    for run in layer_runs(layers):
        kinds.setdefault((run.part, run.stack, run.components), []).append(run)
    return tuple(LayerKind(part, stack, tuple(runs)) for (part, stack, _), runs in kinds.items())


def outside_layers(count: ParameterCount) -> int:
    """The number of parameters outside of all layers."""
    return count.total - sum(layer.parameters for layer in count.layers)
