"""What `attn params` found: how many parameters each component of a model has, and where they stand."""

from __future__ import annotations

from typing import NamedTuple

from attncli.results.brief import briefly

#: The components in the order in which they are shown.
COMPONENTS = (
    *(f"embedding.{kind}" for kind in ("token", "position", "segment", "patch", "audio", "other")),
    *(
        f"{attention}.{kind}"
        for attention in ("attention", "cross_attention")
        for kind in ("query", "key", "value", "output", "latent", "position_bias", "gate", "sinks", "other")
    ),
    *(f"mlp.{kind}" for kind in ("gate", "up", "down")),
    *(f"moe.{kind}" for kind in ("router", "gate", "up", "down", "shared")),
    *(
        f"mixer.{kind}"
        for kind in ("input", "query", "key", "value", "gate", "state", "convolution", "recurrent", "output", "other")
    ),
    "norm",
    "pooler",
    "unembedding",
    "task_head",
    "adapter",
    "other",
)


class Component(NamedTuple):
    """The parameters of one component of one part (`text`, `vision`, …).

    weights: elements that multiply or are looked up.  biases: elements that are added.
    """

    part: str
    component: str
    weights: int
    biases: int

    @property
    def parameters(self) -> int:
        return self.weights + self.biases

    def counts(self) -> dict[str, object]:
        """Without the part, as a layer's components are listed."""
        return {
            "component": self.component,
            "weights": self.weights,
            "biases": self.biases,
            "parameters": self.parameters,
        }


@briefly
class Layer(NamedTuple):
    """A layer by its true index in its stack, the path of a list of blocks."""

    part: str
    layer: int
    stack: str
    components: tuple[Component, ...]

    @property
    def parameters(self) -> int:
        return sum(component.parameters for component in self.components)

    def to_dict(self) -> dict[str, object]:
        return {
            "part": self.part,
            "layer": self.layer,
            "stack": self.stack,
            "parameters": self.parameters,
            "components": [component.counts() for component in self.components],
        }


@briefly
class Row(NamedTuple):
    """A tensor's share in a component, or with no tensor, that of a module and all that is in it."""

    module: str
    tensor: str | None
    shape: tuple[int, ...] | None
    component: str
    parameters: int

    def to_dict(self) -> dict[str, object]:
        return {**self._asdict(), "shape": None if self.shape is None else list(self.shape)}


class Reading(NamedTuple):
    """Another way to count the same model, and who counts so."""

    name: str
    total: int
    source: str


class PerHead(NamedTuple):
    """The matrices that one head works with, without biases; heads of a group have the same key and value matrices.

    heads: how many a layer has.  layer: the attention matrices of the whole layer.  stack: the path of its stack.
    layers: how many in it have such heads.  shapes: of query, key, value and output, each (what it reads, what it
    gives); None where they can't be told.
    """

    query: int
    key: int
    value: int
    output: int
    heads: int
    layer: int
    stack: str = ""
    layers: int = 1
    shapes: tuple[tuple[int, int], ...] | None = None

    @property
    def parameters(self) -> int:
        return self.query + self.key + self.value + self.output

    def to_dict(self) -> dict[str, object]:
        named = zip(("query", "key", "value", "output"), self.shapes or (), strict=False)
        shapes = {name: list(shape) for name, shape in named} or None
        return {**self._asdict(), "shapes": shapes, "parameters": self.parameters}


class Active(NamedTuple):
    """The parameters that one token passes through.

    total: all but the experts that aren't chosen.  without_embedding_lookup: less the token table where it isn't the
    unembedding too, and less the tables of positions and segments.
    """

    total: int
    without_embedding_lookup: int


@briefly
class ParameterCount(NamedTuple):
    """The parameters of one model, each counted once.

    model: its name.  source: where the shapes came from (`config`, `header`).  total: all of them.
    components, layers: the same by component and by layer, each component by its part.
    tied: the names of each tensor that has several.  readings: other ways to count.  per_head: what one head holds;
    None where no head can be told.  active: what one token passes through.  rows: modules or tensors, where these are
    to be listed.  notes: what a reader should know of the count.
    """

    model: str
    source: str
    total: int
    components: tuple[Component, ...]
    layers: tuple[Layer, ...]
    tied: tuple[tuple[str, ...], ...]
    readings: tuple[Reading, ...]
    per_head: PerHead | None
    active: Active
    rows: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()

    def of(self, component: str) -> int:
        """The parameters of a component (`attention.query`) or of a group of them (`attention`) in all parts."""
        return sum(
            found.parameters
            for found in self.components
            if found.component == component or found.component.startswith(f"{component}.")
        )

    def to_dict(self) -> dict[str, object]:
        """The model's entry in the JSON of `attn params`."""
        return {
            "model": self.model,
            "source": self.source,
            "total": self.total,
            "tied": [list(names) for names in self.tied],
            "readings": [reading._asdict() for reading in self.readings],
            "components": [self._component(component) for component in self.components],
            "layers": [layer.to_dict() for layer in self.layers],
            "per_head": None if self.per_head is None else self.per_head.to_dict(),
            "active": self.active._asdict(),
            "notes": list(self.notes),
            **({"rows": [row.to_dict() for row in self.rows]} if self.rows else {}),
        }

    def _component(self, component: Component) -> dict[str, object]:
        share = component.parameters / self.total if self.total else 0.0
        return {"part": component.part, **component.counts(), "share": share}
