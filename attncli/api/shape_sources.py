"""Get the shapes of a model's tensors from its configuration, the headers of its weight files, a preset or code."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from attncli.api.configured_shapes import (
    DTYPE_NAMES,
    ConfiguredShapes,
    ModelShapes,
    configured_from_files,
    configured_from_preset,
    shapes_from_module,
)
from attncli.api.folder_shapes import (
    add_modules,
    files_within,
    has_only_pickles,
    listed_files,
    merge_parts,
    part_files,
    weight_files,
)
from attncli.api.loading import check_fields
from attncli.api.requests import LoadingRequest
from attncli.errors import ModelError, UsageError
from attncli.models.files.checkpoint import Checkpoint, local_checkpoint, read_checkpoint, read_source_checkpoint
from attncli.models.files.model_files import ModelFiles, open_files
from attncli.models.files.reference import Kind, ModelRef, parse_reference
from attncli.models.files.sources import (
    MODULES_FILE,
    PIPELINE_FILE,
    SentenceModule,
    read_pipeline,
    sentence_modules,
    subfolder,
)
from attncli.models.files.weight_files import has_standard_weights
from attncli.parameters.count import locate_shares
from attncli.parameters.inventory import inventory_from_header
from attncli.parameters.published import stored_components
from attncli.parameters.quantization import unpack
from attncli.parameters.reconcile import prediction_layers
from attncli.progress import Progress
from attncli.results.costs import Published

if TYPE_CHECKING:
    from attncli.api.folder_shapes import Part
    from attncli.parameters.inventory import Inventory
    from attncli.parameters.quantization import UnpackedCheckpoint

Source = Literal["config", "header"]

#: The prefix that peft writes before the names of adapted modules.
_PEFT_PREFIX = "base_model.model."
_HEADER_SUFFIXES = (".safetensors", ".gguf")

_FOREIGN_NOTE = "its config.json has no model_type, so the parameters are counted by the header of the weights"


class ShapeSource(NamedTuple):
    """Where to get the shapes of a model given by name, and what to change in its configuration."""

    source: Source | None
    changes: Sequence[str]
    loading: LoadingRequest
    progress: Progress

    def shapes(self, model: str | Path) -> ModelShapes:
        """The shapes of the model with this name. Raises ModelError where it can't be loaded."""
        ref = parse_reference(str(model), revision=self.loading.revision)
        if ref.kind is Kind.FUNCTION:
            return self._from_function(ref)
        if ref.kind is Kind.PRESET:
            return self._from_preset(ref)
        files, fields = self._open(ref)
        if files.base is None:
            modules = _sentence_modules(files, fields)
            if modules:
                return self._from_modules(files, fields, modules)
            index = files.find(PIPELINE_FILE) if fields is None and ref.weights_file is None else None
            return self._from_files(files, fields) if index is None else self._from_pipeline(files, index)
        from attncli.models.files.model_files import check_adapter_header

        check_adapter_header(ref, files.source)
        return add_adapter(self._from_files(files, fields), files)

    def _from_modules(
        self, files: ModelFiles, fields: dict[str, Any] | None, modules: Sequence[SentenceModule]
    ) -> ModelShapes:
        """The shapes of a model of sentence-transformers: transformers' model, and the modules behind it."""
        # Transformers' model is the first module, whatever its class (CLIPModel).
        folder, inner = modules[0].folder, files
        if fields is None and folder:
            inner = files._replace(source=subfolder(files.source, folder))
            fields = _read_config(inner)
        base = self._from_files(inner, fields)
        if inner is not files:
            base = base._replace(files=tuple(files_within(folder, base)) or None)
        return add_modules(base, files, modules[1:])

    def _from_pipeline(self, files: ModelFiles, index: Path) -> ModelShapes:
        """The shapes of a pipeline of diffusers: of each part as of a model by itself."""
        pipeline = read_pipeline(index, repair_hint=files.repair_hint)
        parts: dict[str, Part] = {}
        pickled, empty = [], []
        for folder, part in part_files(files, pipeline):
            fields = _read_config(part)
            # A part without model_type is diffusers' own, which transformers can't build.
            needs_header = self.source == "header" or "model_type" not in (fields or {})
            if needs_header and self.source == "config" and fields is not None:
                raise UsageError(
                    f"--source config needs configurations of transformers, and that of {part.ref.name} is another's",
                    hint="leave --source config out to count that part by the header of its weights",
                )
            if needs_header and has_only_pickles(part):
                pickled.append(folder)
            elif fields is not None or has_standard_weights(part.source):
                parts[folder] = part, self._from_files(part, fields)
            else:
                empty.append(folder)
        return merge_parts(files, pipeline, parts, pickled=pickled, empty=empty)

    def _from_files(self, files: ModelFiles, fields: dict[str, Any] | None) -> ModelShapes:
        if self.source != "header" and not (self.source is None and _needs_header(files, fields)):
            configured = configured_from_files(files, fields or {}, self.changes, self.progress)
            # A changed model can't be compared with the checkpoint.
            return configured.shapes() if self.changes else reconcile_with_checkpoint(configured, files)
        # The headers of the weight files, which take neither torch nor transformers.
        if self.changes:
            raise UsageError(
                f"--set changes a configuration, and the weights of {files.ref.name} are counted by their header",
                hint="name its config.json instead, or leave --set out",
            )
        return shapes_from_checkpoint(read_checkpoint(files), files)

    def _open(self, ref: ModelRef) -> tuple[ModelFiles, dict[str, Any] | None]:
        """The files of a model and its configuration. Where they can't be loaded, the hint may name a preset."""
        try:
            trusted = self.loading.trust_remote_code
            files = open_files(ref, refresh=self.loading.refresh, trusted=trusted, progress=self.progress)
            return files, _read_config(files)
        except ModelError as error:
            from attncli.models.builtin.presets import preset_for_model

            preset = preset_for_model(ref.location) if ref.kind is Kind.HUB else None
            if preset is None:
                raise
            hint = f"use preset:{preset} to count this architecture without the hub; {error.hint}"
            raise ModelError(error.message, hint=hint) from error

    def _from_function(self, ref: ModelRef) -> ModelShapes:
        if self.changes or self.source:
            flag = "--set" if self.changes else f"--source {self.source}"
            raise UsageError(f"{flag} needs a configuration, and {ref.name} has none", hint=f"leave {flag} out")
        self.progress("starting torch", 0, None)
        from attncli.models.loading.own_code import call_module_function

        return shapes_from_module(call_module_function(ref), ref.name)

    def _from_preset(self, ref: ModelRef) -> ModelShapes:
        if self.source == "header":
            raise UsageError(
                f"--source header reads weights, and {ref.name} is an architecture without weights",
                hint="leave --source header out",
            )
        from attncli.models.builtin.presets import read_preset

        return configured_from_preset(ref.name, read_preset(ref.location), self.changes, self.progress).shapes()


def _read_config(files: ModelFiles) -> dict[str, Any] | None:
    """The content of config.json; None where there is none, as with a GGUF file."""
    from attncli.models.files import weight_headers

    path = files.find("config.json")
    return weight_headers.read_model_config(path, repair_hint=files.repair_hint) if path is not None else None


def _needs_header(files: ModelFiles, fields: dict[str, Any] | None) -> bool:
    """Whether the user named a weight file, or there is no configuration to build from."""
    if files.ref.weights_file or fields is None:
        return True
    # A configuration that isn't transformers' (timm's), or is empty, is an error, unless there are weights to count.
    model = files if files.base is None else files.base
    return "model_type" not in fields and any(name.endswith(_HEADER_SUFFIXES) for name in model.source.names())


def _sentence_modules(files: ModelFiles, fields: Mapping[str, object] | None) -> tuple[SentenceModule, ...]:
    """The modules of a sentence-transformers model; none for other models, and where a weight file was named."""
    from attncli.models.loading.config_source import declares_generation

    if files.ref.weights_file is not None:
        return ()
    # A model that generates text is hardly ever one, and its cached files are to be read without a request.
    is_likely = fields is None or not declares_generation(fields)
    path = files.source.find(MODULES_FILE) if is_likely else files.source.local(MODULES_FILE)
    return () if path is None else sentence_modules(path, repair_hint=files.repair_hint)


def shapes_from_checkpoint(checkpoint: Checkpoint, files: ModelFiles) -> ModelShapes:
    """The shapes of the weights in a checkpoint: quantized ones unpacked, buffers left out."""
    from attncli.models.files.layer_windows import with_layer_types
    from attncli.models.loading.config_source import declares_generation
    from attncli.parameters.reconcile import with_tied_unembedding

    config = None if checkpoint.config is None else with_layer_types(checkpoint.config)
    check_fields(config or {}, files.ref.name)
    unpacked = unpack(checkpoint.tensors, config)
    inventory, writes = inventory_from_header(unpacked.shapes, config), declares_generation(config or {})
    architectures = (config or {}).get("architectures")
    sizes: dict[str, int] = defaultdict(int)
    for tensor in checkpoint.tensors:
        sizes[tensor.dtype] += tensor.stored_bytes
    first, beyond = prediction_layers(inventory, config or {})
    note = f"{beyond:,} from layer {first} on are for multi-token prediction and are not used by the model itself"
    predicting = [note] if beyond else []
    # A configuration of diffusers names its class instead.
    names_library = config is None or any(name in config for name in ("model_type", "_class_name"))
    is_foreign = checkpoint.format == "safetensors" and not names_library
    return ModelShapes(
        name=files.ref.name,
        source="header",
        inventory=with_tied_unembedding(inventory) if writes else inventory,
        model_class=str(architectures[0]) if isinstance(architectures, list) and architectures else None,
        generates=writes,
        # Those with the most bytes first.
        dtype=", ".join(sorted(sizes, key=lambda dtype: -sizes[dtype])),
        revision=files.revision,
        stored_bytes=checkpoint.stored_bytes,
        notes=(
            *checkpoint.notes,
            *([_FOREIGN_NOTE] if is_foreign else []),
            *_packing_notes(unpacked),
            *predicting,
        ),
        unknown_packing=_unknown_packing(unpacked, config),
        published=_published_in_files(checkpoint, unpacked, inventory),
        quantization=_quantization(config),
        # llama.cpp keeps recurrent states in float32 (llama-memory-recurrent.cpp, type_r and type_s).
        state_dtype="float32" if checkpoint.format == "gguf" else None,
        files=weight_files(checkpoint),
    )


def reconcile_with_checkpoint(configured: ConfiguredShapes, files: ModelFiles) -> ModelShapes:
    """The shapes of a configuration, compared with its checkpoint if that is on this disk."""
    shapes = configured.shapes()
    try:
        checkpoint = local_checkpoint(files if files.base is None else files.base)
    except ModelError as error:
        return shapes._replace(notes=(*shapes.notes, f"its weights can't be compared: {error.message}"))
    if checkpoint is None:
        return shapes._replace(files=listed_files(files.source) or None)
    from attncli.parameters.reconcile import reconcile

    named = (each for tensor in shapes.inventory.tensors for each in (tensor, *tensor.aliases))
    unpacked = unpack(checkpoint.tensors, checkpoint.config, {each.name: each.shape for each in named})
    shapes = shapes._replace(
        stored_bytes=checkpoint.stored_bytes,
        notes=(*shapes.notes, *checkpoint.notes, *_packing_notes(unpacked)),
        files=weight_files(checkpoint),
    )
    if unpacked.unknown:
        return shapes._replace(unknown_packing=_unknown_packing(unpacked, checkpoint.config))
    checkpoint_names = configured.checkpoint_names([each.name for each in unpacked.weights])
    return shapes._replace(
        published=_published_in_files(checkpoint, unpacked, inventory_from_header(unpacked.shapes, checkpoint.config)),
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


def _quantization(config: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    found = (config or {}).get("quantization_config") or (config or {}).get("quantization")
    return found if isinstance(found, Mapping) else None


def _published_in_files(checkpoint: Checkpoint, unpacked: UnpackedCheckpoint, inventory: Inventory) -> Published | None:
    """The format of the files: the scheme of packed weights, else the type of most elements.

    inventory: of the files' weights. None where a packing is unknown, as the number of weights is then unknown too.
    """
    stored, scheme = checkpoint.stored_bytes, next(iter(unpacked.schemes), None)
    parameters = sum(each.parameters for each in unpacked.weights)
    if not stored or not parameters or unpacked.unknown:
        return None
    elements: dict[str, int] = defaultdict(int)
    for tensor in checkpoint.tensors:
        elements[tensor.dtype] += prod(tensor.shape)
    dtype = max(elements, key=lambda name: elements[name])
    is_packed = scheme is not None or dtype not in DTYPE_NAMES
    sizes = {each.name: each.stored_bytes for each in unpacked.weights}
    components = stored_components(sizes, locate_shares(inventory)) if is_packed else ()
    return Published(scheme or DTYPE_NAMES.get(dtype, dtype), stored, 8 * stored / parameters, components)


def _packing_notes(unpacked: UnpackedCheckpoint) -> Iterator[str]:
    for scheme, tensors in unpacked.schemes.items():
        are = "tensor is" if tensors == 1 else "tensors are"
        yield f"{tensors:,} {are} packed as {scheme}: the weights are counted, not the stored elements"
    if unpacked.flat:
        yield f"the shape of {_first_of(unpacked.flat)} can't be determined from the stored data"
    if unpacked.disputed:
        names = _first_of(unpacked.disputed)
        yield f"the configuration gives another number of bits than {names} has: the stored data is counted"


def _unknown_packing(unpacked: UnpackedCheckpoint, config: Mapping[str, Any] | None) -> str | None:
    """The tensors that are packed in an unknown way, with the name that the configuration has for it."""
    if not unpacked.unknown:
        return None
    from attncli.parameters.quantization import PackingSettings

    method = PackingSettings(config or {}).method
    return f"{_first_of(unpacked.unknown)}{f' ({method})' if method else ''}"


def _first_of(names: Sequence[str]) -> str:
    more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
    return f"{names[0]}{more}"
