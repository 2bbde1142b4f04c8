"""The result of `attn params`: parameters by component, layer and module, costs, and differences of models."""

from __future__ import annotations

from typing import NamedTuple

from attncli.results.base import MadeBy, short_repr, showable
from attncli.results.costs import Costs
from attncli.results.reconciliation import Reconciliation


@short_repr
class Node(NamedTuple):
    """A module or a tensor, and its children.

    name: the last step of its path; of equal neighbours (layers) the first one's, and `last` the last one's.
    copies: how many equal neighbours the node represents.  parameters: of each of them.  shape, component: of a tensor.
    """

    name: str
    parameters: int
    copies: int = 1
    last: str | None = None
    shape: tuple[int, ...] | None = None
    component: str | None = None
    children: tuple[Node, ...] = ()

    @property
    def total(self) -> int:
        return self.copies * self.parameters

    def has_same_contents(self, other: Node) -> bool:
        """Whether two nodes differ only in their names."""
        return self._replace(name="", copies=1, last=None) == other._replace(name="", copies=1, last=None)


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

    def to_counts(self) -> dict[str, object]:
        """The JSON without the part, as in the list of a layer's components."""
        return {
            "component": self.component,
            "weights": self.weights,
            "biases": self.biases,
            "parameters": self.parameters,
        }


@short_repr
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
            "components": [component.to_counts() for component in self.components],
        }


@short_repr
class Row(NamedTuple):
    """The parameters of one component in a tensor, or without a tensor, in a module and all modules inside."""

    module: str
    tensor: str | None
    shape: tuple[int, ...] | None
    component: str
    parameters: int

    def to_dict(self) -> dict[str, object]:
        return {**self._asdict(), "shape": None if self.shape is None else list(self.shape)}


class AlternativeCount(NamedTuple):
    """Another way to count the same model, and where it is used."""

    name: str
    total: int
    source: str


class PerHead(NamedTuple):
    """The parameters of one head's matrices, without biases; heads of a group share key and value matrices.

    heads: how many a layer has.  layer: the attention matrices of the whole layer.  stack: the path of its stack.
    layers: how many of its layers have such heads.  shapes: of query, key, value and output, each (input width, output
    width); None where unknown.
    key_value_heads: how many key and value heads a layer has, fewer than heads in grouped attention (Ainslie 2023).
    """

    query: int
    key: int
    value: int
    output: int
    heads: int
    layer: int
    key_value_heads: int
    stack: str = ""
    layers: int = 1
    shapes: tuple[tuple[int, int], ...] | None = None

    @property
    def parameters(self) -> int:
        return self.query + self.key + self.value + self.output

    @property
    def shared(self) -> int:
        """The attention parameters that all heads of the layer share: latents, gates, positions."""
        own = self.heads * (self.query + self.output) + self.key_value_heads * (self.key + self.value)
        return self.layer - own

    def to_dict(self) -> dict[str, object]:
        named = zip(("query", "key", "value", "output"), self.shapes or (), strict=False)
        shapes = {name: list(shape) for name, shape in named} or None
        return {**self._asdict(), "shapes": shapes, "parameters": self.parameters}


class Active(NamedTuple):
    """The parameters that one token passes through.

    total: without the experts that aren't chosen.  without_embedding_lookup: also without the tables of positions and
    segments, and without the token table unless it is the unembedding too.
    """

    total: int
    without_embedding_lookup: int


@short_repr
class ParameterCount(NamedTuple):
    """The parameters of one model, each counted once.

    model: its name.  source: where the shapes came from (`config`, `header`).  total: all of them.
    components, layers: the same by component and by layer, each component by its part.
    tied: the names of each tensor that has several.  readings: other ways to count.  per_head: the parameters of one
    head; None where unknown.  active: those that one token passes through.  rows: modules or tensors, if requested.
    notes: particularities of the model.
    """

    model: str
    source: str
    total: int
    components: tuple[Component, ...]
    layers: tuple[Layer, ...]
    tied: tuple[tuple[str, ...], ...]
    readings: tuple[AlternativeCount, ...]
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
        return {"part": component.part, **component.to_counts(), "share": share}


SCHEMA = "attncli.params/1"


class ModelParameters(NamedTuple):
    """One model: its parameters and what they cost.

    counted: the parameters.  costs: memory, cache and arithmetic.
    model_class: the class of the model, if known.  dtype: of the weights by the configuration.
    stored_bytes: the size of its weight files, if known.  tree: its modules, if requested.
    reconciliation: the comparison with a checkpoint.  notes: how the numbers were found.
    changes: changed settings of the configuration, each `key=value`.
    unknown_packing: stored tensors that are packed in an unknown way, for a sentence: counted from the header the total
    isn't that of the parameters, and counted from the configuration it can't be compared with the checkpoint.
    """

    counted: ParameterCount
    costs: Costs
    model_class: str | None = None
    dtype: str | None = None
    stored_bytes: int | None = None
    notes: tuple[str, ...] = ()
    tree: tuple[Node, ...] = ()
    reconciliation: Reconciliation | None = None
    changes: tuple[str, ...] = ()
    unknown_packing: str | None = None

    @property
    def name(self) -> str:
        """The name with the changes: `gpt2`, or `gpt2 with n_layer=48`."""
        return f"{self.counted.model} with {', '.join(self.changes)}" if self.changes else self.counted.model

    def __repr__(self) -> str:
        return f"<ModelParameters {self.name!r}: {self.counted.total:,} parameters>"

    def to_dict(self) -> dict[str, object]:
        fields = self.counted.to_dict()
        head = {name: fields.pop(name) for name in ("model", "source")}
        head |= {"changes": list(self.changes), "total": fields.pop("total")}
        notes = [*self.counted.notes, *self.notes, *self.costs.notes]
        files = {"model_class": self.model_class, "dtype": self.dtype, "stored_bytes": self.stored_bytes}
        comparison = {"reconciliation": None if self.reconciliation is None else self.reconciliation.to_dict()}
        return {**head, **files, **fields, **self.costs.to_dict(), **comparison, "notes": notes}


@short_repr
class ParameterDifference(NamedTuple):
    """A component of a part, and its number of parameters in each model: 0 where a model hasn't got it."""

    part: str
    component: str
    parameters: tuple[int, ...]

    def to_dict(self) -> dict[str, object]:
        return {**self._asdict(), "parameters": list(self.parameters)}


@short_repr
class ListedPreset(NamedTuple):
    """An architecture that `preset:` knows.

    published: its number of parameters as its source gives it.  source: of its numbers.
    """

    name: str
    title: str
    published: str
    source: str
    aliases: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        return {**self._asdict(), "aliases": list(self.aliases), "notes": list(self.notes)}


@showable
@short_repr
class ParamsResult(NamedTuple):
    """The parameters and costs of one or several models.

    models: in the order of the request.  made_by: versions of the libraries.  warnings: reasons to doubt the numbers.
    differences: one row per component, where there are several models.
    by: what is listed.  failures: a sentence for each model without the expected total; None where none was expected.
    presets: every architecture that `preset:` knows, if their list was requested instead of a model.
    """

    models: tuple[ModelParameters, ...]
    made_by: MadeBy
    differences: tuple[ParameterDifference, ...] = ()
    by: str = "component"
    warnings: tuple[str, ...] = ()
    presets: tuple[ListedPreset, ...] = ()
    failures: tuple[str, ...] | None = None

    def to_dict(self) -> dict[str, object]:
        """Exactly the JSON that `attn params --json` prints."""
        return {
            "schema": SCHEMA,
            "warnings": list(self.warnings),
            "models": [model.to_dict() for model in self.models],
            "differences": [difference.to_dict() for difference in self.differences],
            **({"presets": [preset.to_dict() for preset in self.presets]} if self.presets else {}),
            **({} if self.failures is None else {"failures": list(self.failures)}),
            "made_by": self.made_by.to_dict(),
        }
