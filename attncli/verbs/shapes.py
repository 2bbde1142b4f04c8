"""What the user named -> the tensors of the model, as far as its parameters need them: shapes, and no weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from attncli.errors import UsageError
from attncli.models.files import ModelFiles, open_files
from attncli.models.reference import ModelRef, parse_reference
from attncli.progress import Progress

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig

    from attncli.parameters.inventory import Inventory

Source = Literal["config", "header"]


class Shapes(NamedTuple):
    """The tensors of a model, and what else is known of it.

    name: as the user wrote it.  source: where the shapes came from.  generates: whether the model goes on from token
    to token.  dtype: what its weights are kept in.
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


class How(NamedTuple):
    """How a model that was named is to be had, and what is changed in its configuration."""

    source: Source | None
    changes: Sequence[str]
    revision: str | None
    refresh: bool
    trust_remote_code: bool
    progress: Progress

    def shapes(self, model: str | Path) -> Shapes:
        """The tensors of the model of this name. Raises ModelError where it is not to be had."""
        ref = parse_reference(str(model), revision=self.revision)
        return self._from_config(ref)

    def _from_config(self, ref: ModelRef) -> Shapes:
        files = open_files(ref, refresh=self.refresh, progress=self.progress)
        fields = _fields(files)
        # Before torch is imported, which takes seconds: numbers that can't be are said at once.
        check_fields(fields, ref.name)
        self.progress("starting torch", 0, None)
        from attncli.models.changed import changed_fields, rebuilt
        from attncli.models.skeleton import read_config

        config = read_config(files, trust_remote_code=self.trust_remote_code)
        if self.changes:
            fields = changed_fields(config, fields or config.to_diff_dict(), self.changes)
            check_fields(fields, ref.name)
            config = rebuilt(config, fields)
        return from_config(config, files, trust_remote_code=self.trust_remote_code)


def check_fields(fields: Mapping[str, Any], name: str) -> None:
    """Raise ModelError for a configuration with numbers that no model can have."""
    from attncli.models.declared import declares_value
    from attncli.parameters.plausible import OWN_HEAD_WIDTH, check_numbers

    check_numbers(fields, name, has_own_head_width=lambda kind: declares_value(kind, OWN_HEAD_WIDTH) is not False)


def _fields(files: ModelFiles) -> dict[str, Any]:
    """What config.json holds; nothing where there is none, as beside a GGUF file."""
    from attncli.models import headers

    path = files.find("config.json")
    return headers.read_json(path, mend=files.mend) if path is not None else {}


def from_config(config: PreTrainedConfig, files: ModelFiles, *, trust_remote_code: bool) -> Shapes:
    """The tensors of the module that a configuration stands for, on the meta device."""
    from attncli.models.architecture import empty_module, whole_class
    from attncli.models.generation import generates
    from attncli.parameters.walk import walk

    cls = whole_class(config, files, trust_remote_code=trust_remote_code)
    named = bool(config.architectures)
    return Shapes(
        name=files.ref.name,
        source="config",
        inventory=walk(empty_module(cls, config)),
        model_class=cls.__name__,
        generates=generates(cls, config),
        dtype=_dtype(config),
        revision=files.revision,
        notes=() if named else (f"config.json names no architecture: counted as {cls.__name__}",),
    )


def from_module(module: nn.Module, name: str | None = None) -> Shapes:
    """The tensors of a module that was handed over."""
    from attncli.models.generation import generates
    from attncli.parameters.walk import walk

    config = getattr(module, "config", None)
    return Shapes(
        name=name or getattr(module, "name_or_path", None) or type(module).__name__,
        source="module",
        inventory=walk(module),
        model_class=type(module).__name__,
        generates=generates(type(module), config),
        dtype=_dtype(config),
    )


def named_models(model: Any) -> list[Any]:
    """One model or several, by name or handed over. Raises UsageError for what is neither."""
    given = list(model) if isinstance(model, Sequence) and not isinstance(model, str) else [model]
    for each in given:
        if not isinstance(each, str | Path) and not hasattr(each, "named_modules"):
            raise UsageError(f"a {type(each).__name__} is no model", hint="give a name, a path or a torch module")
    return given


def _dtype(config: object) -> str | None:
    dtype = getattr(config, "dtype", None)
    return str(dtype).removeprefix("torch.") if dtype is not None else None
