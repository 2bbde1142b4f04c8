"""The tensors of a model as far as its parameters need them: shapes, and no weights; wherever they come from.

A configuration, of a file or a preset, and the shapes that follow from it: built once, and kept.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli.errors import ModelError, UsageError
from attncli.models.files.user_cache import ShapeCache, cache_key
from attncli.progress import Progress
from attncli.quantities import whole_number

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig

    from attncli.models.builtin.presets import Preset
    from attncli.models.files.model_files import ModelFiles
    from attncli.parameters.inventory import Inventory
    from attncli.results.reconciliation import Reconciliation


class ModelShapes(NamedTuple):
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


def shapes_from_module(module: nn.Module, name: str | None = None) -> ModelShapes:
    """The tensors of a module that was handed over."""
    from attncli.models.loading.meta_model import generates
    from attncli.parameters.module_inventory import walk

    config = getattr(module, "config", None)
    return ModelShapes(
        name=name or getattr(module, "name_or_path", None) or type(module).__name__,
        source="module",
        inventory=walk(module),
        model_class=type(module).__name__,
        generates=generates(type(module), config),
        dtype=dtype_of(config),
    )


def list_models(model: Any) -> list[Any]:
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


#: Libraries that have a say in what a configuration becomes.
_LIBRARIES = ("transformers", "torch")


class BuiltModule(NamedTuple):
    """The module of a configuration, on the meta device; config: None where a module has none.

    writes: whether it goes on from token to token, where its class doesn't tell.
    """

    module: nn.Module
    config: PreTrainedConfig | None
    writes: bool = False
    notes: tuple[str, ...] = ()


class CheckpointNames(NamedTuple):
    """names: of tensors that the module calls otherwise.  buffers: which tensors are no parameters there."""

    names: Mapping[str, str]
    buffers: Sequence[str]


class ConfiguredShapes:
    """A configuration by what it follows from.

    key_fields: everything that decides what is built; None where that can't be told, and nothing is kept.
    build: makes the module, which takes seconds: torch has to be imported.
    """

    def __init__(
        self, shapes: Callable[..., ModelShapes], key_fields: Mapping[str, Any] | None, build: Callable[[], BuiltModule]
    ):
        self._shapes = shapes
        self._fields = key_fields
        self._build = build
        self._cache = ShapeCache.of_user()

    @cached_property
    def built(self) -> BuiltModule:
        return self._build()

    def shapes(self) -> ModelShapes:
        """The shapes, as they were kept, or from the module."""
        return self._remembered() or self._made()

    def _remembered(self) -> ModelShapes | None:
        """The shapes that were kept; None where there are none, or of another form: they are then written anew."""
        from attncli.parameters.inventory import from_json

        kept = self._kept(self._fields)
        if kept is None:
            return None
        try:
            return self._shapes(**_module_facts(kept), inventory=from_json(kept["inventory"]))
        except (KeyError, TypeError, ValueError):
            return None

    def called(self, names: Sequence[str]) -> CheckpointNames:
        """What the module calls the tensors of a checkpoint."""
        fields = None if self._fields is None else {**self._fields, "checkpoint": sorted(names)}
        kept = self._kept(fields)
        if kept is not None and kept.keys() == set(CheckpointNames._fields):
            return CheckpointNames(**kept)
        from attncli.models.loading.meta_model import buffer_names, module_names

        found = module_names(self.built.module, names)
        buffers = buffer_names(self.built.module)
        called = CheckpointNames(
            {name: called for name, called in found.items() if called != name},
            [name for name, called in found.items() if called in buffers],
        )
        self._keep(fields, called._asdict())
        return called

    def _made(self) -> ModelShapes:
        from attncli.models.loading.meta_model import generates
        from attncli.parameters.inventory import to_json
        from attncli.parameters.module_inventory import walk

        module, config, writes, notes = self.built
        inventory = walk(module)
        known = {
            "model_class": type(module).__name__,
            "generates": writes or generates(type(module), config),
            "dtype": dtype_of(config),
            "notes": notes,
            "versions": {name: str(sys.modules[name].__version__) for name in _LIBRARIES},
        }
        self._keep(self._fields, {**known, "inventory": to_json(inventory)})
        return self._shapes(**known, inventory=inventory)

    def _kept(self, fields: Mapping[str, Any] | None) -> dict[str, Any] | None:
        return None if fields is None else self._cache.read(cache_key(fields))

    def _keep(self, fields: Mapping[str, Any] | None, entry: Mapping[str, Any]) -> None:
        if fields is not None:
            self._cache.write(cache_key(fields), entry)


def configured_from_files(
    files: ModelFiles, fields: Mapping[str, Any], changes: Sequence[str], progress: Progress, *, trust_remote_code: bool
) -> ConfiguredShapes:
    """The configuration of a model's config.json, with changes in it.

    Raises ModelError, and UsageError for changes, for numbers that can't be.
    """
    _check_config(fields, changes, files.ref.name)

    def build() -> BuiltModule:
        progress("starting torch", 0, None)
        from attncli.models.loading.configuration import read_config
        from attncli.models.loading.meta_model import empty_module, whole_class

        config = _override_config(
            read_config(files, trust_remote_code=trust_remote_code), fields, changes, files.ref.name
        )
        cls = whole_class(config, files, trust_remote_code=trust_remote_code)
        _check_class(cls, config, changes)
        named = () if config.architectures else (f"config.json names no architecture: counted as {cls.__name__}",)
        return BuiltModule(empty_module(cls, config), config, notes=named)

    # Code that came with a model isn't seen by the key, and a GGUF file's configuration is in no field.
    known = None if trust_remote_code or not fields else _with_changes(fields, changes)
    return ConfiguredShapes(_shapes_factory(files.ref.name, "config", revision=files.revision), known, build)


def configured_from_preset(name: str, preset: Preset, changes: Sequence[str], progress: Progress) -> ConfiguredShapes:
    """The configuration of a preset, with changes in it. Raises UsageError for changes that can't be."""
    from attncli.models.builtin.presets import changed_preset

    def build() -> BuiltModule:
        progress("starting torch", 0, None)
        from attncli.models.builtin.preset_modules import preset_config, preset_module
        from attncli.models.loading.meta_model import empty_module, whole_class

        config = preset_config(preset)
        if config is None:
            return BuiltModule(preset_module(preset), None, writes=True)
        config = _override_config(config, preset.fields, changes, name)
        cls = whole_class(config)
        _check_class(cls, config, changes)
        return BuiltModule(empty_module(cls, config), config)

    # What its source says is said of the architecture as it is there.
    published = (f"{preset.title}: {preset.published} parameters in {preset.source}", *preset.notes)
    notes = () if changes else published
    if preset.module is not None:
        preset, changes = changed_preset(preset, changes), ()
    _check_config(preset.fields, changes, name)
    fields = {**_with_changes(preset.fields, changes), "module": preset.module}
    return ConfiguredShapes(_shapes_factory(name, "preset", notes=notes), fields, build)


def _shapes_factory(
    name: str, source: str, *, revision: str | None = None, notes: Iterable[str] = ()
) -> Callable[..., ModelShapes]:
    """Makes the shapes of a model of this name; what is kept of them belongs to any model of the same configuration."""

    def shapes(**known: Any) -> ModelShapes:
        return ModelShapes(name, source, revision=revision, **{**known, "notes": (*known["notes"], *notes)})

    return shapes


def _with_changes(fields: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    return {**fields, "changes": list(changes)}


def _module_facts(kept: Mapping[str, Any]) -> dict[str, Any]:
    return {name: kept[name] for name in ("model_class", "generates", "dtype", "notes", "versions")}


def _override_config(
    config: PreTrainedConfig, fields: Mapping[str, Any], changes: Sequence[str], name: str
) -> PreTrainedConfig:
    if not changes:
        return config
    from attncli.models.loading.config_overrides import override_fields, rebuild_config

    changed = override_fields(config, fields or config.to_diff_dict(), changes)
    _check_overrides(changed, name)
    return rebuild_config(config, changed)


def _check_config(fields: Mapping[str, Any], changes: Sequence[str], name: str) -> None:
    """Before torch is imported, which takes seconds: numbers that can't be are said at once.

    Changes of fields that the file has are seen here already, any others once the configuration is there.
    """
    check_fields(fields, name)
    pairs = (change.partition("=") for change in changes)
    numbers = {key.strip(): whole_number(value.strip()) for key, _, value in pairs if key.strip() in fields}
    _check_overrides({**fields, **{key: number for key, number in numbers.items() if number is not None}}, name)


def _check_class(cls: type[nn.Module], config: PreTrainedConfig, changes: Sequence[str]) -> None:
    """Raise UsageError where a class was set that doesn't take the configuration, so that another one would count."""
    keys = [change.partition("=")[0].strip() for change in changes]
    if "architectures" in keys and config.architectures and cls.__name__ != config.architectures[0]:
        raise UsageError(
            f"--set architectures: {config.architectures[0]} is no class for a {type(config).__name__}",
            hint=f"name one that takes it, such as {cls.__name__}",
        )


def _check_overrides(fields: Mapping[str, Any], name: str) -> None:
    try:
        check_fields(fields, name)
    except ModelError as error:
        raise UsageError(error.message, hint="set another value, or set together what belongs together") from error
