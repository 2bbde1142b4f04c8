"""The shapes of a model's tensors, from a module, or from a configuration that is built once and then cached."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli.api.loading import check_fields
from attncli.errors import AttnError, ModelError, UsageError
from attncli.models.files.user_cache import ShapeCache, shape_key
from attncli.models.loading.config_changes import check_changes
from attncli.progress import Progress
from attncli.quantities import whole_number

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig

    from attncli.models.builtin.presets import Preset
    from attncli.models.files.model_files import ModelFiles
    from attncli.parameters.inventory import Inventory
    from attncli.results.costs import Published
    from attncli.results.params import WeightFile
    from attncli.results.reconciliation import Reconciliation

#: The names of unpacked types, in the files and elsewhere.
DTYPE_NAMES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}

#: Libraries whose versions decide which module a configuration gives.
_LIBRARIES = ("transformers", "torch")


class ModelShapes(NamedTuple):
    """The shapes of a model's tensors, and what else is known about the model.

    name: as the user wrote it.  source: where the shapes come from.  generates: whether the model generates text token
    by token.  dtype: of its stored weights.  versions: of the libraries that built the shapes.
    reconciliation: the differences to a checkpoint, where one is on this disk.
    unknown_packing: the tensors of a checkpoint that are packed in an unknown way, for a sentence; None without any.
    quantization: the settings by which the published weights are packed.  published: these weights, where files say how
    large they are.  state_dtype: of states in a cache, where the engine that runs such files fixes it.  files: of the
    weights.
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
    unknown_packing: str | None = None
    quantization: Mapping[str, Any] | None = None
    published: Published | None = None
    state_dtype: str | None = None
    files: tuple[WeightFile, ...] | None = None


def shapes_from_module(module: nn.Module, name: str | None = None) -> ModelShapes:
    """The shapes of a loaded module."""
    from attncli.models.loading.meta_model import generates
    from attncli.parameters.inventory import inventory_from_module

    config = getattr(module, "config", None)
    return ModelShapes(
        name=name or getattr(module, "name_or_path", None) or type(module).__name__,
        source="module",
        inventory=inventory_from_module(module),
        model_class=type(module).__name__,
        generates=generates(type(module), config),
        dtype=dtype_of(config),
    )


def list_models(model: Any) -> list[Any]:
    """One model or several, as names or modules, in a list. Raises UsageError for anything else."""
    given = list(model) if isinstance(model, Sequence) and not isinstance(model, str) else [model]
    for each in given:
        if not isinstance(each, str | Path) and not hasattr(each, "named_modules"):
            raise UsageError(f"a {type(each).__name__} is not a model", hint="give a name, a path or a torch module")
    if not given:
        raise UsageError("the list of models is empty", hint="give a model, or leave model= out to use the default one")
    return given


def dtype_of(config: object) -> str | None:
    """The dtype of the weights according to a configuration."""
    dtype = getattr(config, "dtype", None)
    return str(dtype).removeprefix("torch.") if dtype is not None else None


# --- Shapes from a configuration, cached


class BuiltModule(NamedTuple):
    """The module of a configuration, on the meta device.

    config: None where the module has none.  writes: whether it generates text, where its class doesn't tell.
    """

    module: nn.Module
    config: PreTrainedConfig | None
    writes: bool = False
    notes: tuple[str, ...] = ()


class CheckpointNames(NamedTuple):
    """names: from names in the checkpoint to other names in the module.  buffers: tensors that aren't parameters."""

    names: Mapping[str, str]
    buffers: Sequence[str]


class ConfiguredShapes:
    """The shapes that follow from a configuration, from the cache if they are there.

    fields, changes: the configuration, and what is to be changed in it.
    build: builds the module, which takes seconds because it imports torch.
    key_fields: everything that decides the shapes; None where that is unknown, so that nothing is cached.
    facts: what the shapes have besides those in the cache, which belong to any model of the same configuration.
    shipped: what the cache would hold, where it comes with the package.
    """

    def __init__(
        self,
        fields: Mapping[str, Any],
        changes: Sequence[str],
        build: Callable[[], BuiltModule],
        key_fields: Mapping[str, Any] | None,
        facts: Mapping[str, Any],
        shipped: Mapping[str, Any] | None = None,
    ):
        quantization = fields.get("quantization_config") or fields.get("quantization")
        self._config, self._changes, self._build, self._fields = fields, changes, build, key_fields
        self._facts = {**facts, "quantization": quantization if isinstance(quantization, Mapping) else None}
        self._shipped, self._cache = shipped, ShapeCache.default()

    @cached_property
    def built(self) -> BuiltModule:
        """The module. A failure is told by heads that don't divide the width, where they don't."""
        try:
            return self._build()
        except AttnError:
            _check_config(self._config, self._changes, self._facts["name"], widths=True)
            raise

    def shapes(self) -> ModelShapes:
        """The shapes, from the cache, or from the module if there are none or in another format."""
        from attncli.parameters.inventory import inventory_from_json

        entry = self._shipped or self._read_cache(self._fields)
        if entry is None:
            return self._build_shapes()
        try:
            known = {name: entry[name] for name in ("model_class", "generates", "dtype", "notes", "versions")}
            return self._with_facts(known, inventory_from_json(entry["inventory"]))
        except (KeyError, TypeError, ValueError):
            return self._build_shapes()

    def checkpoint_names(self, names: Sequence[str]) -> CheckpointNames:
        """The module's names for the tensors of a checkpoint."""
        fields = None if self._fields is None else {**self._fields, "checkpoint": sorted(names)}
        entry = self._read_cache(fields)
        if entry is not None and entry.keys() == set(CheckpointNames._fields):
            return CheckpointNames(**entry)
        from attncli.models.loading.meta_model import buffer_names, module_names

        found = module_names(self.built.module, names)
        buffers = buffer_names(self.built.module)
        result = CheckpointNames(
            {name: module_name for name, module_name in found.items() if module_name != name},
            [name for name, module_name in found.items() if module_name in buffers],
        )
        self._write_cache(fields, result._asdict())
        return result

    def _build_shapes(self) -> ModelShapes:
        from attncli.parameters.inventory import inventory_to_json

        known, inventory = _describe(self.built)
        self._write_cache(self._fields, {**known, "inventory": inventory_to_json(inventory)})
        return self._with_facts(known, inventory)

    def _with_facts(self, known: Mapping[str, Any], inventory: Inventory) -> ModelShapes:
        notes = (*known["notes"], *self._facts.get("notes", ()))
        return ModelShapes(**{**known, **self._facts, "notes": notes, "inventory": inventory})

    def _read_cache(self, fields: Mapping[str, Any] | None) -> dict[str, Any] | None:
        return None if fields is None else self._cache.read(shape_key(fields))

    def _write_cache(self, fields: Mapping[str, Any] | None, entry: Mapping[str, Any]) -> None:
        if fields is not None:
            self._cache.write(shape_key(fields), entry)


def _describe(built: BuiltModule) -> tuple[dict[str, Any], Inventory]:
    """What the cache holds of a module besides its inventory, and that."""
    from attncli.models.loading.meta_model import generates
    from attncli.parameters.inventory import inventory_from_module

    module, config, writes, notes = built
    known = {
        "model_class": type(module).__name__,
        "generates": writes or generates(type(module), config),
        "dtype": dtype_of(config),
        "notes": notes,
        "versions": {name: str(sys.modules[name].__version__) for name in _LIBRARIES},
    }
    return known, inventory_from_module(module)


def configured_from_files(
    files: ModelFiles, fields: Mapping[str, Any], changes: Sequence[str], progress: Progress
) -> ConfiguredShapes:
    """The shapes that a model's config.json gives, with changes applied.

    Raises ModelError for impossible numbers in the configuration, UsageError for impossible changes.
    """
    name = files.ref.name
    _check_config(fields, changes, name)

    def build() -> BuiltModule:
        progress("starting torch", 0, None)
        from attncli.models.loading.configuration import read_config

        config = read_config(files)
        return _build_module(config, fields, changes, name, files)

    # The cache key contains neither a model's own code nor the configuration in a GGUF file.
    key_fields = None if files.trusted or not fields else {**fields, "changes": list(changes)}
    facts = {"name": name, "source": "config", "revision": files.revision}
    return ConfiguredShapes(fields, changes, build, key_fields, facts)


def configured_from_preset(name: str, preset: Preset, changes: Sequence[str], progress: Progress) -> ConfiguredShapes:
    """The shapes that a preset gives, with changes applied. Raises UsageError for impossible changes."""
    from attncli.api.preset_shapes import shipped_shapes
    from attncli.models.builtin.presets import override_preset

    def build() -> BuiltModule:
        progress("starting torch", 0, None)
        return _build_preset(preset, changes, name)

    # The published count holds for the unchanged architecture only.
    published = (f"{preset.title}: {preset.published} parameters in {preset.source}", *preset.notes)
    facts = {"name": name, "source": "preset", "notes": () if changes else published}
    shipped = None if changes else shipped_shapes(preset)
    if preset.module is not None:
        preset, changes = override_preset(preset, changes), ()
    _check_config(preset.fields, changes, name)
    key_fields = {**preset.fields, "changes": list(changes), "module": preset.module}
    return ConfiguredShapes(preset.fields, changes, build, key_fields, facts, shipped)


def describe_preset(preset: Preset) -> dict[str, Any]:
    """What the cache would hold of an unchanged preset, built anew."""
    from attncli.parameters.inventory import inventory_to_json

    known, inventory = _describe(_build_preset(preset, (), preset.name))
    return {**known, "inventory": inventory_to_json(inventory)}


def _build_preset(preset: Preset, changes: Sequence[str], name: str) -> BuiltModule:
    from attncli.models.builtin.preset_modules import preset_config, preset_module

    config = preset_config(preset)
    if config is None:
        return BuiltModule(preset_module(preset), None, writes=True)
    return _build_module(config, preset.fields, changes, name)


def _build_module(
    config: PreTrainedConfig,
    fields: Mapping[str, Any],
    changes: Sequence[str],
    name: str,
    files: ModelFiles | None = None,
) -> BuiltModule:
    """The module of a configuration with changes applied.

    Raises UsageError where they are impossible, or `--set architectures` names a class that doesn't take the
    configuration.
    """
    from attncli.models.loading.meta_model import empty_module, named_class_note, whole_class

    if changes:
        from attncli.models.loading.config_overrides import override_fields, rebuild_config

        changed = override_fields(config, fields or config.to_diff_dict(), changes)
        _check_overrides(changed, name)
        config = rebuild_config(config, changed)
    cls = whole_class(config, files)
    keys = [change.partition("=")[0].strip() for change in changes]
    if "architectures" in keys and config.architectures and cls.__name__ != config.architectures[0]:
        raise UsageError(
            f"--set architectures: {config.architectures[0]} doesn't accept a {type(config).__name__}",
            hint=f"use a class that does, such as {cls.__name__}",
        )
    note = None if files is None else named_class_note(cls, config)
    return BuiltModule(empty_module(cls, config), config, notes=() if note is None else (note,))


def _check_config(fields: Mapping[str, Any], changes: Sequence[str], name: str, *, widths: bool = False) -> None:
    """Check the numbers before torch is imported, which takes seconds.

    Changes of fields that the file has are checked here, others once the configuration is built.
    """
    check_fields(fields, name, widths=widths)
    check_changes(fields, changes, name)
    pairs = (change.partition("=") for change in changes)
    numbers = {key.strip(): whole_number(value.strip()) for key, _, value in pairs if key.strip() in fields}
    changed = {key: number for key, number in numbers.items() if number is not None}
    _check_overrides({**fields, **changed}, name, widths=widths)


def _check_overrides(fields: Mapping[str, Any], name: str, *, widths: bool = False) -> None:
    try:
        check_fields(fields, name, widths=widths)
    except ModelError as error:
        raise UsageError(error.message, hint="set another value, or change the related fields together") from error
