"""A model that was loaded before a command asks for it (`KeptModel`): the process that is kept warm holds it.

It is used only where a command would load the very same: from the same files, unchanged since, in the same way. It is
loaded whole, and each command cuts it to the layers that it needs, as loading does. What can't be used again is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli.errors import AttnError, UsageError
from attncli.models.files.sources import ADAPTER_CONFIG

if TYPE_CHECKING:
    from attncli.models.capture.structure import BlockList
    from attncli.models.files.model_files import ModelFiles
    from attncli.models.files.reference import ModelRef
    from attncli.models.loading.forward import Modality
    from attncli.models.loading.loaded_model import LoadedModel

#: Names of the files that decide what is loaded end so. A tokenizer's don't.
_ENDINGS = ("config.json", ".index.json", ".safetensors", ".gguf", ".bin")
_SETTINGS = ("config.json", "generation_config.json", ADAPTER_CONFIG)


class LoadingOptions(NamedTuple):
    """What `load_model` is asked for besides the files and the depth, as it takes them."""

    device: str
    dtype: str
    eager: bool
    with_head: bool
    predicts: bool
    modality: Modality | None


class FileState(NamedTuple):
    """A file as it was when it was read."""

    path: str
    size: int
    modified: int
    inode: int

    @classmethod
    def of(cls, path: str | Path) -> FileState:
        """Raises OSError where there is no such file."""
        found = Path(path).stat()
        return cls(fspath(Path(path).absolute()), found.st_size, found.st_mtime_ns, found.st_ino)


class _Identity(NamedTuple):
    """All but the contents of files that decides what is loaded. main: the file that is read first."""

    ref: ModelRef
    revision: str | None
    source: str
    main: str
    names: frozenset[str]
    options: LoadingOptions


@dataclass(frozen=True)
class KeptModel:
    """A model that was loaded whole. states: of every file that it was loaded from."""

    identity: _Identity
    states: tuple[FileState, ...]
    model: LoadedModel

    @classmethod
    def load(cls, files: ModelFiles, options: LoadingOptions, load: Callable[[], LoadedModel]) -> KeptModel | None:
        """None where it may not be what another command would load: it brings random numbers, or its files changed.

        load: loads it whole.
        """
        import torch

        identity, before, state = _identity(files, options), file_states(files), torch.get_rng_state()
        model = load()
        is_same = identity == _identity(files, options) and before == file_states(files)
        if identity is None or not is_same or not is_repeatable(model) or not state.equal(torch.get_rng_state()):
            return None
        return cls(identity, before, model)

    @property
    def weight(self) -> int:
        """Bytes that it takes."""
        return whole_bytes(self.model)

    def is_of(self, files: ModelFiles, options: LoadingOptions) -> bool:
        """Whether loading from `files` would read the same files, which haven't changed."""
        try:
            return self.identity == _identity(files, options) and all(
                state == FileState.of(state.path) for state in self.states
            )
        except (AttnError, OSError):
            return False  # loading reports it

    def as_deep_as(self, depth: Callable[[Sequence[BlockList]], Mapping[str, int]]) -> LoadedModel | None:
        """The model cut to the layers that `depth` needs, for good; None where it refuses the model's layers."""
        from attncli.models.capture.structure import block_lists
        from attncli.models.loading.weights import truncate_stacks

        module = self.model.module
        try:
            blocks = truncate_stacks(module, depth)
        except UsageError:
            return None  # loading may find another class that has them, or reports this
        return replace(self.model, lists=tuple(block_lists(module)), blocks=blocks)


def is_repeatable(model: LoadedModel) -> bool:
    """Whether loading a model again gives the same, in another process too: nothing random, no code of others, on the
    CPU, and of the class that is tried first."""
    has_own_code = type(model.module).__module__.startswith("transformers_modules")
    return (
        model.device.type == "cpu"
        and model.adapter is None
        and model.is_first_choice
        and not model.warnings
        and not has_own_code
        and getattr(model.module, "hf_device_map", None) is None
    )


def file_states(files: ModelFiles) -> tuple[FileState, ...]:
    """Of every file that a model is loaded from. Raises AttnError and OSError where some can't be read."""
    weights = files.weights()
    settings = (files.source.local(name) for name in _SETTINGS)
    return tuple(FileState.of(path) for path in (*weights.paths, weights.index, *settings) if path is not None)


def _identity(files: ModelFiles, options: LoadingOptions) -> _Identity | None:
    """None for an adapter."""
    main = files.source.local(files.ref.weights_file or "config.json") if files.base is None else None
    if main is None:
        return None
    names = frozenset(name for name in files.source.local_names() if name.endswith(_ENDINGS))
    source = type(files.source).__name__
    return _Identity(files.ref, files.revision, source, fspath(main.absolute()), names, options)


class UsedModel(NamedTuple):
    """What a command has loaded, for a process that loads it whole.

    model, revision: as the user gave them.  states: of the files that it was loaded from.
    weight: bytes that the whole model takes, estimated by the layers that the command needed.
    """

    model: str
    revision: str | None
    options: LoadingOptions
    states: tuple[FileState, ...]
    weight: int

    @classmethod
    def from_list(cls, fields: Sequence[Any]) -> UsedModel:
        """From what JSON makes of it."""
        model, revision, options, states, weight = fields
        return cls(model, revision, LoadingOptions(*options), tuple(FileState(*state) for state in states), weight)


class ModelKeeper:
    """A command's way to the model that is kept.

    kept: that model.  used: what the command loaded itself and could be kept, of several the last.
    """

    def __init__(self, kept: KeptModel | None = None) -> None:
        self.kept = kept
        self._loaded: tuple[str, str | None, ModelFiles, LoadingOptions, LoadedModel] | None = None

    def find(
        self, files: ModelFiles, options: LoadingOptions, depth: Callable[[Sequence[BlockList]], Mapping[str, int]]
    ) -> LoadedModel | None:
        """The model that is kept, where loading would give the same. It can be found once, as it is cut for good."""
        if self.kept is None or not self.kept.is_of(files, options):
            return None
        found = self.kept.as_deep_as(depth)
        self.kept = self._loaded = None
        return found

    def note(
        self, name: str, revision: str | None, files: ModelFiles, options: LoadingOptions, model: LoadedModel
    ) -> None:
        """A model was loaded from files. name, revision: as the user gave them."""
        self._loaded = (name, revision, files, options, model)

    def used(self) -> UsedModel | None:
        """What was loaded last and may be kept. Takes time: call it when the command is done."""
        if self._loaded is None:
            return None
        from attncli.models.loading.device import available_devices

        name, revision, files, options, model = self._loaded
        if not is_repeatable(model) or files.base is not None or available_devices() != ["cpu"]:
            return None  # a process that has used another device can't be forked
        try:
            states = file_states(files)
        except (AttnError, OSError):
            return None
        return UsedModel(name, revision, options, states, whole_bytes(model))


def whole_bytes(model: LoadedModel) -> int:
    """The bytes of its weights, were all of its layers as large as those that are loaded."""
    parameters: list[Any] = [*model.module.parameters(), *model.module.buffers()]
    loaded = sum(tensor.numel() * tensor.element_size() for tensor in parameters)
    shares = (len(model.blocks[each.path]) / each.length for each in model.lists if each.length)
    return int(loaded * max((1.0, *shares)))
