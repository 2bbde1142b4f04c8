"""Get the shapes of a model's tensors from its configuration, the headers of its weight files, a preset or code."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from attncli.api.configured_shapes import ModelShapes, check_fields, shapes_from_module
from attncli.errors import ModelError, UsageError
from attncli.models.files.checkpoint import Checkpoint, local_checkpoint, read_source_checkpoint
from attncli.models.files.model_files import ModelFiles, open_files
from attncli.models.files.reference import Kind, ModelRef, parse_reference
from attncli.parameters.inventory_sources import inventory_from_header
from attncli.parameters.quantization import unpack
from attncli.parameters.reconcile import prediction_layers
from attncli.progress import Progress

if TYPE_CHECKING:
    from attncli.api.configured_shapes import ConfiguredShapes
    from attncli.parameters.inventory import Inventory
    from attncli.parameters.quantization import UnpackedCheckpoint

Source = Literal["config", "header"]

#: The prefix that peft writes before the names of adapted modules.
_PEFT_PREFIX = "base_model.model."
_HEADER_SUFFIXES = (".safetensors", ".gguf")


class ShapeSource(NamedTuple):
    """Where to get the shapes of a model given by name, and what to change in its configuration."""

    source: Source | None
    changes: Sequence[str]
    revision: str | None
    refresh: bool
    trust_remote_code: bool
    progress: Progress

    def shapes(self, model: str | Path) -> ModelShapes:
        """The shapes of the model with this name. Raises ModelError where it can't be loaded."""
        ref = parse_reference(str(model), revision=self.revision)
        if ref.kind is Kind.FUNCTION:
            return self._from_function(ref)
        if ref.kind is Kind.PRESET:
            return self._from_preset(ref)
        files, fields = self._open(ref)
        if files.base is None:
            return self._from_files(files, fields)
        from attncli.models.files.model_files import check_adapter_header

        check_adapter_header(ref, files.source)
        return add_adapter(self._from_files(files, fields), files)

    def _from_files(self, files: ModelFiles, fields: dict[str, Any] | None) -> ModelShapes:
        from_header = _needs_header(files, fields) if self.source is None else self.source == "header"
        return self._from_headers(files) if from_header else self._from_config(files, fields or {})

    def _open(self, ref: ModelRef) -> tuple[ModelFiles, dict[str, Any] | None]:
        """The files of a model and its configuration. Where they can't be loaded, the hint may name a preset."""
        try:
            files = open_files(ref, refresh=self.refresh, progress=self.progress)
            return files, _read_config(files)
        except ModelError as error:
            from attncli.models.builtin.presets import preset_for_model

            preset = preset_for_model(ref.location) if ref.kind is Kind.HUB else None
            if preset is None:
                raise
            hint = f"preset:{preset} counts this architecture without the hub; {error.hint}"
            raise ModelError(error.message, hint=hint) from error

    def _from_function(self, ref: ModelRef) -> ModelShapes:
        if self.changes or self.source:
            raise UsageError(f"{ref.name} has no configuration", hint="leave --set and --source out")
        self.progress("starting torch", 0, None)
        from attncli.models.loading.own_code import call_module_function

        return shapes_from_module(call_module_function(ref), ref.name)

    def _from_preset(self, ref: ModelRef) -> ModelShapes:
        if self.source == "header":
            raise UsageError(f"{ref.name} is an architecture without weights", hint="leave --source header out")
        from attncli.api.configured_shapes import configured_from_preset
        from attncli.models.builtin.presets import read_preset

        return configured_from_preset(ref.name, read_preset(ref.location), self.changes, self.progress).shapes()

    def _from_headers(self, files: ModelFiles) -> ModelShapes:
        """The shapes in the headers of the weight files. Imports neither torch nor transformers."""
        if self.changes:
            raise UsageError("--set changes a configuration, not a checkpoint", hint="name its config.json instead")
        from attncli.models.files.checkpoint import read_checkpoint

        return shapes_from_checkpoint(read_checkpoint(files), files)

    def _from_config(self, files: ModelFiles, fields: dict[str, Any]) -> ModelShapes:
        from attncli.api.configured_shapes import configured_from_files

        configured = configured_from_files(
            files, fields, self.changes, self.progress, trust_remote_code=self.trust_remote_code
        )
        # A changed model can't be compared with the checkpoint.
        return configured.shapes() if self.changes else reconcile_with_checkpoint(configured, files)


def _read_config(files: ModelFiles) -> dict[str, Any] | None:
    """The content of config.json; None where there is none, as with a GGUF file."""
    from attncli.models.files import weight_headers

    path = files.find("config.json")
    return weight_headers.read_model_config(path, repair_hint=files.repair_hint) if path is not None else None


def _needs_header(files: ModelFiles, fields: dict[str, Any] | None) -> bool:
    """Whether the user named a weight file, or there is no configuration to build from."""
    if files.ref.weights_file or fields is None:
        return True
    # An empty configuration is reported as an error, unless there are weights to count.
    model = files if files.base is None else files.base
    return not fields and any(name.endswith(_HEADER_SUFFIXES) for name in model.source.names())


def shapes_from_checkpoint(checkpoint: Checkpoint, files: ModelFiles) -> ModelShapes:
    """The shapes of the weights in a checkpoint: quantized ones unpacked, buffers left out."""
    from attncli.models.loading.config_source import declares_generation
    from attncli.parameters.reconcile import with_tied_unembedding

    config = checkpoint.config
    check_fields(config or {}, files.ref.name)
    unpacked = unpack(checkpoint.tensors, config)
    inventory, writes = inventory_from_header(unpacked.shapes, config), declares_generation(config or {})
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
    """The shapes of a configuration, compared with its checkpoint if that is on this disk."""
    shapes = configured.shapes()
    try:
        checkpoint = local_checkpoint(files if files.base is None else files.base)
    except ModelError as error:
        return shapes._replace(notes=(*shapes.notes, f"its weights can't be compared: {error.message}"))
    if checkpoint is None:
        return shapes
    from attncli.parameters.reconcile import reconcile

    unpacked = unpack(checkpoint.tensors, checkpoint.config, _parameter_shapes(shapes.inventory))
    checkpoint_names = configured.checkpoint_names([each.name for each in unpacked.weights])
    return shapes._replace(
        stored_bytes=checkpoint.stored_bytes,
        notes=(*shapes.notes, *checkpoint.notes, *_packing_notes(unpacked)),
        reconciliation=reconcile(
            shapes.inventory, unpacked.weights, checkpoint_names.names, frozenset(checkpoint_names.buffers)
        ),
    )


def add_adapter(base: ModelShapes, files: ModelFiles) -> ModelShapes:
    """The shapes of a model with those of an adapter's tensors, placed in the modules that it adapts."""
    adapter = read_source_checkpoint(files.ref, files.source)
    added = inventory_from_header({tensor.path.removeprefix(_PEFT_PREFIX): tensor.shape for tensor in adapter.tensors})
    tensors = (*base.inventory.tensors, *added.tensors)
    assert files.base is not None
    note = f"the adapter adds {added.total:,} to {files.base.ref.name}"
    return base._replace(
        name=files.ref.name, inventory=base.inventory._replace(tensors=tensors), notes=(*base.notes, note)
    )


def _parameter_shapes(inventory: Inventory) -> Mapping[str, tuple[int, ...]]:
    return {each.name: each.shape for tensor in inventory.tensors for each in (tensor, *tensor.aliases)}


def _stored_dtypes(checkpoint: Checkpoint) -> str:
    """The stored dtypes, those with the most bytes first."""
    sizes: dict[str, int] = defaultdict(int)
    for tensor in checkpoint.tensors:
        sizes[tensor.dtype] += tensor.stored_bytes
    return ", ".join(sorted(sizes, key=lambda dtype: -sizes[dtype]))


def _prediction_notes(inventory: Inventory, config: Mapping[str, object]) -> Iterator[str]:
    first, beyond = prediction_layers(inventory, config)
    if beyond:
        yield f"{beyond:,} from layer {first} on are for multi-token prediction, which the model runs without"


def _packing_notes(unpacked: UnpackedCheckpoint) -> Iterator[str]:
    for scheme, tensors in unpacked.schemes.items():
        yield f"{tensors:,} tensors are packed as {scheme}: their weights are counted, not the stored elements"
    if unpacked.unknown_scheme is not None:
        scheme = unpacked.unknown_scheme
        yield f"its weights are packed as {scheme}, which is not known here: stored elements are counted"
    if unpacked.uncertain:
        more = f" and {len(unpacked.uncertain) - 1:,} more" if len(unpacked.uncertain) > 1 else ""
        yield f"what is stored doesn't tell the shape of {unpacked.uncertain[0]}{more}"
