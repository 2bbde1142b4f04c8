"""The tensors that a model's files hold, by their headers: counted as they are, or held against a configuration.

What the user named -> the shapes of that model, from its configuration, its files' headers, or the user's code.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from attncli.api.configured_shapes import ModelShapes, check_fields, shapes_from_module
from attncli.errors import ModelError, UsageError
from attncli.models.files.checkpoint import Checkpoint, local_checkpoint, read_own_checkpoint
from attncli.models.files.model_files import ModelFiles, open_files
from attncli.models.files.reference import Kind, ModelRef, parse_reference
from attncli.parameters.header_inventory import from_names
from attncli.parameters.quantization import unpack
from attncli.parameters.reconcile import prediction_layers
from attncli.progress import Progress

if TYPE_CHECKING:
    from attncli.api.configured_shapes import ConfiguredShapes
    from attncli.parameters.inventory import Inventory
    from attncli.parameters.quantization import Unpacked

#: What peft writes before the names of the modules that it adapts.
_PEFT_PREFIX = "base_model.model."


def shapes_from_checkpoint(checkpoint: Checkpoint, files: ModelFiles) -> ModelShapes:
    """The weights that stored tensors stand for: packed ones unfolded, buffers left out."""
    from attncli.models.loading.config_source import declares_writing
    from attncli.parameters.reconcile import with_tied_unembedding

    config = checkpoint.config
    check_fields(config or {}, files.ref.name)
    unpacked = unpack(checkpoint.tensors, config)
    inventory, writes = from_names(unpacked.shapes, config), declares_writing(config or {})
    architectures = (config or {}).get("architectures")
    return ModelShapes(
        name=files.ref.name,
        source="header",
        inventory=with_tied_unembedding(inventory) if writes else inventory,
        model_class=str(architectures[0]) if isinstance(architectures, list) and architectures else None,
        generates=writes,
        dtype=_stored_dtypes(checkpoint),
        revision=files.revision,
        stored_bytes=checkpoint.stored_bytes,
        notes=(*checkpoint.notes, *_packing_notes(unpacked), *_prediction_notes(inventory, config or {})),
    )


def reconcile_with_checkpoint(configured: ConfiguredShapes, files: ModelFiles) -> ModelShapes:
    """The shapes of a configuration, held against the checkpoint beside it where that is on this disk."""
    shapes = configured.shapes()
    try:
        checkpoint = local_checkpoint(files if files.base is None else files.base)
    except ModelError as error:
        return shapes._replace(notes=(*shapes.notes, f"its weights can't be compared: {error.message}"))
    if checkpoint is None:
        return shapes
    from attncli.parameters.reconcile import reconcile

    unpacked = unpack(checkpoint.tensors, checkpoint.config, _parameter_shapes(shapes.inventory))
    called = configured.called([each.name for each in unpacked.weights])
    return shapes._replace(
        stored_bytes=checkpoint.stored_bytes,
        notes=(*shapes.notes, *checkpoint.notes, *_packing_notes(unpacked)),
        reconciliation=reconcile(shapes.inventory, unpacked.weights, called.names, frozenset(called.buffers)),
    )


def add_adapter(base: ModelShapes, files: ModelFiles) -> ModelShapes:
    """A model with the tensors of an adapter beside its own, where they are in the module that the adapter makes."""
    own = read_own_checkpoint(files.ref, files.source)
    added = from_names({tensor.path.removeprefix(_PEFT_PREFIX): tensor.shape for tensor in own.tensors})
    tensors = (*base.inventory.tensors, *added.tensors)
    assert files.base is not None
    note = f"the adapter adds {added.total:,} to {files.base.ref.name}"
    return base._replace(
        name=files.ref.name, inventory=base.inventory._replace(tensors=tensors), notes=(*base.notes, note)
    )


def _parameter_shapes(inventory: Inventory) -> Mapping[str, tuple[int, ...]]:
    return {each.name: each.shape for tensor in inventory.tensors for each in (tensor, *tensor.aliases)}


def _stored_dtypes(checkpoint: Checkpoint) -> str:
    """The types of what is stored, those of most bytes first."""
    sizes: dict[str, int] = defaultdict(int)
    for tensor in checkpoint.tensors:
        sizes[tensor.dtype] += tensor.stored_bytes
    return ", ".join(sorted(sizes, key=lambda dtype: -sizes[dtype]))


def _prediction_notes(inventory: Inventory, config: Mapping[str, object]) -> Iterator[str]:
    first, beyond = prediction_layers(inventory, config)
    if beyond:
        yield f"{beyond:,} from layer {first} on are for multi-token prediction, which the model runs without"


def _packing_notes(unpacked: Unpacked) -> Iterator[str]:
    for scheme, tensors in unpacked.schemes.items():
        yield f"{tensors:,} tensors are packed as {scheme}: their weights are counted, not the stored elements"
    if unpacked.unknown is not None:
        yield f"its weights are packed as {unpacked.unknown}, which is not known here: stored elements are counted"
    if unpacked.doubtful:
        more = f" and {len(unpacked.doubtful) - 1:,} more" if len(unpacked.doubtful) > 1 else ""
        yield f"what is stored doesn't tell the shape of {unpacked.doubtful[0]}{more}"


Source = Literal["config", "header"]
_HEADER_SUFFIXES = (".safetensors", ".gguf")


class ShapeSource(NamedTuple):
    """How a model that was named is to be had, and what is changed in its configuration."""

    source: Source | None
    changes: Sequence[str]
    revision: str | None
    refresh: bool
    trust_remote_code: bool
    progress: Progress

    def shapes(self, model: str | Path) -> ModelShapes:
        """The tensors of the model of this name. Raises ModelError where it is not to be had."""
        ref = parse_reference(str(model), revision=self.revision)
        if ref.kind is Kind.FUNCTION:
            return self._from_function(ref)
        if ref.kind is Kind.PRESET:
            return self._from_preset(ref)
        files, fields = self._opened(ref)
        if files.base is None:
            return self._from_files(files, fields)
        from attncli.models.files.adapters import check_adapter_header

        check_adapter_header(ref, files.source)
        return add_adapter(self._from_files(files, fields), files)

    def _from_files(self, files: ModelFiles, fields: dict[str, Any] | None) -> ModelShapes:
        from_header = _needs_header(files, fields) if self.source is None else self.source == "header"
        return self._from_headers(files) if from_header else self._from_config(files, fields or {})

    def _opened(self, ref: ModelRef) -> tuple[ModelFiles, dict[str, Any] | None]:
        """The files of a model, and its configuration. Where they are not to be had, a preset may do."""
        try:
            files = open_files(ref, refresh=self.refresh, progress=self.progress)
            return files, _read_config(files)
        except ModelError as error:
            from attncli.models.builtin.presets import preset_called

            preset = preset_called(ref.location) if ref.kind is Kind.HUB else None
            if preset is None:
                raise
            hint = f"preset:{preset} counts this architecture without the hub; {error.hint}"
            raise ModelError(error.message, hint=hint) from error

    def _from_function(self, ref: ModelRef) -> ModelShapes:
        if self.changes or self.source:
            raise UsageError(f"{ref.name} has no configuration", hint="leave --set and --source out")
        self.progress("starting torch", 0, None)
        from attncli.models.loading.own_code import module_of

        return shapes_from_module(module_of(ref), ref.name)

    def _from_preset(self, ref: ModelRef) -> ModelShapes:
        if self.source == "header":
            raise UsageError(f"{ref.name} is an architecture without weights", hint="leave --source header out")
        from attncli.api.configured_shapes import configured_from_preset
        from attncli.models.builtin.presets import read_preset

        return configured_from_preset(ref.name, read_preset(ref.location), self.changes, self.progress).shapes()

    def _from_headers(self, files: ModelFiles) -> ModelShapes:
        """The tensors of the weights, by the headers of their files. Imports neither torch nor transformers."""
        if self.changes:
            raise UsageError("--set changes a configuration, not a checkpoint", hint="name its config.json instead")
        from attncli.models.files.checkpoint import read_checkpoint

        return shapes_from_checkpoint(read_checkpoint(files), files)

    def _from_config(self, files: ModelFiles, fields: dict[str, Any]) -> ModelShapes:
        from attncli.api.configured_shapes import configured_from_files

        configured = configured_from_files(
            files, fields, self.changes, self.progress, trust_remote_code=self.trust_remote_code
        )
        # A checkpoint says nothing about a model that is otherwise.
        return configured.shapes() if self.changes else reconcile_with_checkpoint(configured, files)


def _read_config(files: ModelFiles) -> dict[str, Any] | None:
    """What config.json holds; None where there is none, as beside a GGUF file."""
    from attncli.models.files import weight_headers

    path = files.find("config.json")
    return weight_headers.read_json(path, repair_hint=files.repair_hint) if path is not None else None


def _needs_header(files: ModelFiles, fields: dict[str, Any] | None) -> bool:
    """Whether the weights were named, or no configuration says anything of them."""
    if files.ref.named_file or fields is None:
        return True
    # A configuration that is there and empty is what is wrong with the model, unless there are weights beside it.
    model = files if files.base is None else files.base
    return not fields and any(name.endswith(_HEADER_SUFFIXES) for name in model.source.names())
