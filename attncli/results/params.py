"""The result of `attn params`: parameters by component, layer and module, costs, and differences of models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from attncli.results.base import MadeBy, from_dict, show_result, struct, to_dict
from attncli.results.costs import Costs
from attncli.results.reconciliation import Reconciliation

if TYPE_CHECKING:
    from attncli.results.marks import FLAT, OPTIONAL, Key, Named, Only


@struct()
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


@struct("part component weights biases parameters", short=False)
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


@struct("part layer stack parameters components")
class Layer(NamedTuple):
    """A layer by its true index in its stack, the path of a list of blocks."""

    part: str
    layer: int
    stack: str
    components: tuple[Annotated[Component, Only(("component", "weights", "biases", "parameters"))], ...]

    @property
    def parameters(self) -> int:
        return sum(component.parameters for component in self.components)

    @staticmethod
    def _unwritten(data: dict[str, Any]) -> dict[str, Any]:
        components = [{**each, "part": data["part"]} for each in data["components"]]
        return {"components": from_dict(tuple[Component, ...], components)}


@struct()
class Row(NamedTuple):
    """The parameters of one component in a tensor, or without a tensor, in a module and all modules inside."""

    module: str
    tensor: str | None
    shape: tuple[int, ...] | None
    component: str
    parameters: int


@struct(short=False)
class AlternativeCount(NamedTuple):
    """Another way to count the same model, and where it is used."""

    name: str
    total: int
    source: str


@struct("query key value output heads layer key_value_heads stack layers shapes parameters", short=False)
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
    shapes: Annotated[tuple[tuple[int, int], ...] | None, Named(("query", "key", "value", "output"))] = None

    @property
    def parameters(self) -> int:
        return self.query + self.key + self.value + self.output

    @property
    def shared(self) -> int:
        """The attention parameters that all heads of the layer share: latents, gates, positions."""
        own = self.heads * (self.query + self.output) + self.key_value_heads * (self.key + self.value)
        return self.layer - own


@struct(short=False)
class Active(NamedTuple):
    """The parameters that one token passes through.

    total: without the experts that aren't chosen.  without_embedding_lookup: also without the tables of positions and
    segments, and without the token table unless it is the unembedding too.
    """

    total: int
    without_embedding_lookup: int


class ComponentShare(NamedTuple):
    """A component, and its share of all parameters."""

    component: Annotated[Component, FLAT]
    share: float


@struct("model source total tied readings component_shares layers per_head active notes rows")
class ParameterCount(NamedTuple):
    """The parameters of one model, each counted once.

    model: its name.  source: where the shapes came from (`config`, `header`).  total: all of them.
    components, layers: the same by component and by layer, each component by its part.
    tied: the names of each tensor that has several.  readings: other ways to count.  per_head: the parameters of one
    head; None where unknown.  active: those that one token passes through; None for several models in one
    pipeline.  rows: modules or tensors, if requested.
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
    active: Active | None
    rows: Annotated[tuple[Row, ...], OPTIONAL] = ()
    notes: tuple[str, ...] = ()

    def of(self, component: str) -> int:
        """The parameters of a component (`attention.query`) or of a group of them (`attention`) in all parts."""
        return sum(
            found.parameters
            for found in self.components
            if found.component == component or found.component.startswith(f"{component}.")
        )

    @property
    def component_shares(self) -> Annotated[tuple[ComponentShare, ...], Key("components")]:
        return tuple(
            ComponentShare(each, each.parameters / self.total if self.total else 0.0) for each in self.components
        )


@struct(short=False)
class WeightFile(NamedTuple):
    """A file of weights, and its size."""

    name: str
    bytes: int


SCHEMA: Literal["attncli.params/1"] = "attncli.params/1"


@struct(
    "model source changes total model_class dtype stored_bytes files counted costs reconciliation all_notes tree",
    short=False,
)
class ModelParameters(NamedTuple):
    """One model: its parameters and what they cost.

    counted: the parameters.  costs: memory, cache and arithmetic.
    model_class: the class of the model, if known.  dtype: of the weights by the configuration.
    stored_bytes: the size of its weight files, if known.  tree: its modules, if requested.
    reconciliation: the comparison with a checkpoint.  notes: how the numbers were found.
    changes: changed settings of the configuration, each `key=value`.
    files: those of its weights, if they are known.
    unknown_packing: stored tensors that are packed in an unknown way, for a sentence: counted from the header the total
    isn't that of the parameters, and counted from the configuration it can't be compared with the checkpoint.
    """

    counted: Annotated[ParameterCount, FLAT]
    costs: Annotated[Costs, FLAT]
    model_class: str | None = None
    dtype: str | None = None
    stored_bytes: int | None = None
    notes: tuple[str, ...] = ()
    tree: Annotated[tuple[Node, ...], OPTIONAL] = ()
    reconciliation: Reconciliation | None = None
    changes: tuple[str, ...] = ()
    unknown_packing: str | None = None
    files: tuple[WeightFile, ...] | None = None

    @property
    def name(self) -> str:
        """The name with the changes: `gpt2`, or `gpt2 with n_layer=48`."""
        return f"{self.counted.model} with {', '.join(self.changes)}" if self.changes else self.counted.model

    @property
    def model(self) -> str:
        return self.counted.model

    @property
    def source(self) -> str:
        return self.counted.source

    @property
    def total(self) -> int:
        return self.counted.total

    @property
    def all_notes(self) -> Annotated[tuple[str, ...], Key("notes")]:
        """The notes on the model, on how its numbers were found, and on its costs."""
        return (*self.counted.notes, *self.notes, *self.costs.notes)

    @staticmethod
    def _unwritten(data: dict[str, Any]) -> dict[str, Any]:
        others = data["notes"][: len(data["notes"]) - len(data["cost_notes"])]
        return {"counted": from_dict(ParameterCount, {**data, "notes": []}), "notes": tuple(others)}

    def __repr__(self) -> str:
        return f"<ModelParameters {self.name!r}: {self.counted.total:,} parameters>"


@struct()
class ParameterDifference(NamedTuple):
    """A component of a part, and its number of parameters in each model: 0 where a model hasn't got it."""

    part: str
    component: str
    parameters: tuple[int, ...]


@struct()
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


@show_result
@struct("schema warnings by models differences presets failures made_by")
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
    presets: Annotated[tuple[ListedPreset, ...], OPTIONAL] = ()
    failures: Annotated[tuple[str, ...] | None, OPTIONAL] = None

    @property
    def schema(self) -> Literal["attncli.params/1"]:
        return SCHEMA

    def to_dict(self) -> dict[str, Any]:
        """Exactly the JSON that `attn params --json` prints."""
        return to_dict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ParamsResult:
        """The result of such JSON."""
        return from_dict(cls, data)  # type: ignore[no-any-return]
