"""Components and layers drawn together, as a reader takes them in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from attncli.results.base import short_repr
from attncli.results.params import Component, Layer, ParameterCount


@short_repr
class ComponentGroup(NamedTuple):
    """The components of a part that begin alike: `attention` stands for `attention.query` and its like."""

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


@short_repr
class LayerRun(NamedTuple):
    """Layers in a row that have the same parameters, component by component."""

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
    """Components by part, and within a part by what stands before the dot, in their order."""
    keyed = groupby(components, key=lambda component: (component.part, component.component.partition(".")[0]))
    return tuple(ComponentGroup(part, name, tuple(members)) for (part, name), members in keyed)


def layer_runs(layers: Sequence[Layer]) -> tuple[LayerRun, ...]:
    """Layers of a stack by the order of their indices, equal neighbours drawn together."""
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


@short_repr
class LayerKind(NamedTuple):
    """All layers of a stack that have the same parameters, wherever they stand in it."""

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
    """The kinds of layers that a model has, in the order of their first ones."""
    kinds: dict[tuple[str, str, tuple[Component, ...]], list[LayerRun]] = {}
    for run in layer_runs(layers):
        kinds.setdefault((run.part, run.stack, run.components), []).append(run)
    return tuple(LayerKind(part, stack, tuple(runs)) for (part, stack, _), runs in kinds.items())


def outside_layers(count: ParameterCount) -> int:
    """The parameters that stand in no layer."""
    return count.total - sum(layer.parameters for layer in count.layers)
