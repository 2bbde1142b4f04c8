"""The tensors of a model as far as its parameters need them: shapes, and no weights; wherever they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from attncli.parameters.inventory import Inventory
    from attncli.results.reconciliation import Reconciliation


class Shapes(NamedTuple):
    """The tensors of a model, and what else is known of it.

    name: as the user wrote it.  source: where the shapes came from.  generates: whether the model goes on from token
    to token.  dtype: what its weights are kept in.  versions: of the libraries that the shapes were made with.
    reconciliation: what a checkpoint that was at hand holds instead.
    """

    name: str
    source: str
    inventory: Inventory
    model_class: str | None = None
    generates: bool = False
    dtype: str | None = None
    revision: str | None = None
    stored_bytes: int | None = None
    notes: tuple[str, ...] = ()
    versions: Mapping[str, str] = {}
    reconciliation: Reconciliation | None = None


def from_module(module: nn.Module, name: str | None = None) -> Shapes:
    """The tensors of a module that was handed over."""
    from attncli.models.loading.meta_model import generates
    from attncli.parameters.module_inventory import walk

    config = getattr(module, "config", None)
    return Shapes(
        name=name or getattr(module, "name_or_path", None) or type(module).__name__,
        source="module",
        inventory=walk(module),
        model_class=type(module).__name__,
        generates=generates(type(module), config),
        dtype=dtype_of(config),
    )


def named_models(model: Any) -> list[Any]:
    """One model or several, by name or handed over. Raises UsageError for what is neither."""
    given = list(model) if isinstance(model, Sequence) and not isinstance(model, str) else [model]
    for each in given:
        if not isinstance(each, str | Path) and not hasattr(each, "named_modules"):
            raise UsageError(f"a {type(each).__name__} is no model", hint="give a name, a path or a torch module")
    if not given:
        raise UsageError("there is no model in that list", hint="name one, or leave it out for the default model")
    return given


def dtype_of(config: object) -> str | None:
    """What a configuration says that its weights are kept in."""
    dtype = getattr(config, "dtype", None)
    return str(dtype).removeprefix("torch.") if dtype is not None else None


def check_fields(fields: Mapping[str, Any], name: str) -> None:
    """Raise ModelError for a configuration with numbers that no model can have."""
    from attncli.models.loading.config_source import declares_value
    from attncli.parameters.config_checks import OWN_HEAD_WIDTH, check_numbers

    check_numbers(fields, name, has_own_head_width=lambda kind: declares_value(kind, OWN_HEAD_WIDTH) is not False)
