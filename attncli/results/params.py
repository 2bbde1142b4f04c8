"""The result of `attn params`: one model or several, what each costs, and how they differ."""

from __future__ import annotations

from typing import NamedTuple

from attncli.results.brief import briefly
from attncli.results.costs import Costs
from attncli.results.parameters import ParameterCount
from attncli.results.provenance import MadeBy
from attncli.results.reconciliation import Reconciliation
from attncli.results.trees import Node

SCHEMA = "attncli.params/1"


class ModelParameters(NamedTuple):
    """One model: its parameters and what they cost.

    counted: how many parameters there are, and where.  costs: memory, cache and arithmetic.
    model_class: the class that its parameters are those of, if one is known.  dtype: what its configuration says that
    the weights are kept in.  stored_bytes: what its files hold, if they were looked at.
    tree: its modules, where they are to be listed.  reconciliation: what a checkpoint at hand holds instead.
    notes: what a reader should know of all that.
    changes: what was set otherwise in its configuration, each `key=value`: then no such model need exist.
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

    @property
    def name(self) -> str:
        """What tells it from others: `gpt2`, or `gpt2 with n_layer=48`."""
        return f"{self.counted.model} with {', '.join(self.changes)}" if self.changes else self.counted.model

    def __repr__(self) -> str:
        return f"<ModelParameters {self.name!r}: {self.counted.total:,} parameters>"

    def to_dict(self) -> dict[str, object]:
        fields = self.counted.to_dict()
        head = {name: fields.pop(name) for name in ("model", "source")}
        head |= {"changes": list(self.changes), "total": fields.pop("total")}
        notes = [*self.counted.notes, *self.notes]
        kept = {"model_class": self.model_class, "dtype": self.dtype, "stored_bytes": self.stored_bytes}
        held = {"reconciliation": None if self.reconciliation is None else self.reconciliation.to_dict()}
        return {**head, **kept, **fields, **self.costs.to_dict(), **held, "notes": notes}


@briefly
class Difference(NamedTuple):
    """A component of a part, and how many parameters it has in each model: 0 where a model has no such thing."""

    part: str
    component: str
    parameters: tuple[int, ...]

    def to_dict(self) -> dict[str, object]:
        return {**self._asdict(), "parameters": list(self.parameters)}


@briefly
class ListedPreset(NamedTuple):
    """An architecture that `preset:` knows.

    published: the number of parameters that its source prints.  source: where its numbers are from.
    """

    name: str
    title: str
    published: str
    source: str
    aliases: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        return {**self._asdict(), "aliases": list(self.aliases), "notes": list(self.notes)}


@briefly
class ParamsResult(NamedTuple):
    """Every model that was asked for; differences where there are several.

    models: as they were named.  made_by: versions that took part.  warnings: what makes the numbers doubtful.
    differences: a row a component.
    by: what is listed.  failures: a sentence for each model whose total is not the expected one; None where none was.
    presets: every architecture that `preset:` knows, where they are what was asked for, and no model.
    """

    models: tuple[ModelParameters, ...]
    made_by: MadeBy
    differences: tuple[Difference, ...] = ()
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

    def __str__(self) -> str:
        """What the command prints, 80 columns wide and without colours."""
        from attncli.render.params.text import params_text
        from attncli.render.terminal import Terminal

        return params_text(self, Terminal()).removesuffix("\n")

    def _repr_html_(self) -> str:
        """The page, as notebooks show it."""
        from attncli.render.html.page import notebook
        from attncli.render.html.params import params_html

        return notebook(params_html(self))
