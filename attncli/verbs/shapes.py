"""What the user named -> the tensors of the model, as far as its parameters need them: shapes, and no weights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from attncli.errors import UsageError
from attncli.models.files import ModelFiles, open_files
from attncli.models.reference import Kind, ModelRef, parse_reference
from attncli.progress import Progress

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig

    from attncli.models.checkpoint import Checkpoint
    from attncli.parameters.inventory import Inventory
    from attncli.parameters.stored import Unpacked

Source = Literal["config", "header"]


#: What peft writes before the names of the modules that it adapts.
_PEFT = "base_model.model."


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
        if ref.kind is Kind.FUNCTION:
            return self._from_function(ref)
        files = open_files(ref, refresh=self.refresh, progress=self.progress)
        fields = _fields(files)
        wants_header = self.source == "header" or (self.source is None and (ref.named_file or not fields))
        found = self._from_headers(files) if wants_header else self._from_config(files, fields)
        return found if files.base is None else with_adapter(found, files)

    def _from_function(self, ref: ModelRef) -> Shapes:
        if self.changes or self.source:
            raise UsageError(f"{ref.name} has no configuration", hint="leave --set and --source out")
        self.progress("starting torch", 0, None)
        from attncli.models.function import module_of

        return from_module(module_of(ref), ref.name)

    def _from_headers(self, files: ModelFiles) -> Shapes:
        """The tensors of the weights, by the headers of their files. Imports neither torch nor transformers."""
        if self.changes:
            raise UsageError("--set changes a configuration, not a checkpoint", hint="leave --source header out")
        from attncli.models.checkpoint import read_checkpoint

        return from_checkpoint(read_checkpoint(files), files)

    def _from_config(self, files: ModelFiles, fields: dict[str, Any]) -> Shapes:
        ref = files.ref
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


def from_checkpoint(checkpoint: Checkpoint, files: ModelFiles) -> Shapes:
    """The weights that stored tensors stand for: packed ones unfolded, buffers left out."""
    from attncli.models.declared import declares_writing
    from attncli.parameters.named import from_names
    from attncli.parameters.stored import unpack
    from attncli.parameters.tying import with_tied_unembedding

    config = checkpoint.config
    check_fields(config or {}, files.ref.name)
    unpacked = unpack(checkpoint.tensors, config)
    inventory, writes = from_names(unpacked.shapes, config), declares_writing(config or {})
    architectures = (config or {}).get("architectures")
    return Shapes(
        name=files.ref.name,
        source="header",
        inventory=with_tied_unembedding(inventory) if writes else inventory,
        model_class=str(architectures[0]) if isinstance(architectures, list) and architectures else None,
        generates=writes,
        dtype=_stored_dtypes(checkpoint),
        revision=files.revision,
        stored_bytes=checkpoint.stored_bytes,
        notes=(*checkpoint.notes, *_packed(unpacked)),
    )


def _stored_dtypes(checkpoint: Checkpoint) -> str:
    """The types of what is stored, those of most bytes first."""
    sizes: dict[str, int] = defaultdict(int)
    for tensor in checkpoint.tensors:
        sizes[tensor.dtype] += tensor.stored_bytes
    return ", ".join(sorted(sizes, key=lambda dtype: -sizes[dtype]))


def _packed(unpacked: Unpacked) -> Iterator[str]:
    for scheme, tensors in unpacked.schemes.items():
        yield f"{tensors:,} tensors are packed as {scheme}: their weights are counted, not the stored elements"
    if unpacked.doubtful:
        more = f" and {len(unpacked.doubtful) - 1:,} more" if len(unpacked.doubtful) > 1 else ""
        yield f"what is stored doesn't tell the shape of {unpacked.doubtful[0]}{more}"


def with_adapter(base: Shapes, files: ModelFiles) -> Shapes:
    """A model with the tensors of an adapter beside its own, where they are in the module that the adapter makes."""
    from attncli.models.checkpoint import read_own_checkpoint
    from attncli.parameters.named import from_names

    own = read_own_checkpoint(files.ref, files.source)
    added = from_names({tensor.path.removeprefix(_PEFT): tensor.shape for tensor in own.tensors})
    tensors = (*base.inventory.tensors, *added.tensors)
    assert files.base is not None
    note = f"the adapter adds {added.total:,} to {files.base.ref.name}"
    return base._replace(
        name=files.ref.name, inventory=base.inventory._replace(tensors=tensors), notes=(*base.notes, note)
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
