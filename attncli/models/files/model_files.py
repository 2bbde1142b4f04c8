"""A `ModelRef` -> the model's files on this disk: fetched if need be, all of one revision, the weights checked.

Imports neither torch nor transformers, and huggingface_hub only where the hub must be asked.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from attncli.errors import ModelError, UsageError
from attncli.models.files.reference import DEFAULT_MODEL, Kind, ModelRef, closest, is_repository
from attncli.models.files.sources import ADAPTER_CONFIG, FolderSource, Source
from attncli.models.files.weight_headers import read_json
from attncli.progress import Progress, silent

if TYPE_CHECKING:
    from attncli.models.files.weight_files import WeightFiles

_BUILTIN = Path(__file__).parents[1] / "builtin"


class ModelFiles(NamedTuple):
    """The files of one model.

    base: of an adapter, the files of the model that it changes; None for any other model.
    """

    ref: ModelRef
    source: Source
    base: ModelFiles | None = None

    @property
    def revision(self) -> str | None:
        """The hub's commit that every file is of; None for what is local, or comes in a package."""
        return self.source.revision

    @property
    def adapter(self) -> Path | None:
        """The folder of an adapter's files, once `weights` has fetched them; None for any other model."""
        config = self.source.local(ADAPTER_CONFIG) if self.base is not None else None
        return None if config is None else config.parent

    @property
    def repair_hint(self) -> str:
        """The hint for a file of the model that turns out to be broken."""
        return (self if self.base is None else self.base).source.repair_hint

    def find(self, name: str) -> Path | None:
        """The local path of a file, fetched if need be; None where the model has no such file.

        An adapter's own tokenizer goes before its base's; the configuration is always the base's. A file that isn't
        cached counts as absent where the hub can't be asked.
        """
        if self.base is None:
            return self.source.find(name)
        own = None if name == "config.json" else self.source.find(name)
        return own or self.base.find(name)

    def require(self, name: str) -> Path:
        """As `find`, but raise ModelError where there is no such file, or where only a tokenizer was named."""
        self._refuse_tokenizer()
        path = self.find(name)
        if path is not None:
            return path
        model = self if self.base is None else self.base
        raise self.why_missing() or _lacking(model.ref, model.source, name)

    def why_missing(self) -> ModelError | None:
        """Why a file that `find` did not find may exist all the same: the hub could not be asked. None: it was."""
        return self.source.why_missing() or (None if self.base is None else self.base.why_missing())

    def weights(self, *, allow_pickle: bool = False) -> WeightFiles:
        """The files that hold the weights, all local and with sound headers; of an adapter, those of its base.

        Raises ModelError where they are missing, broken, or pickles that aren't allowed.
        """
        self._refuse_tokenizer()
        # Not at the top: a tokenizer is read without them, and has to be there at once.
        from attncli.models.files.weight_files import find_weights

        if self.base is None:
            return find_weights(self.ref, self.source, allow_pickle=allow_pickle)
        from attncli.models.files.adapters import check_adapter

        check_adapter(self.ref, self.source, allow_pickle=allow_pickle)
        return self.base.weights(allow_pickle=allow_pickle)

    def _refuse_tokenizer(self) -> None:
        named = self.ref.tokenizer_file
        if named is not None:
            message = f"{self.ref.name} is a tokenizer's file, without the weights of a model"
            raise ModelError(message, hint=f"`attn tokenize` reads it; else name the model's folder: {named.parent}")


def open_files(ref: ModelRef, *, refresh: bool = False, progress: Progress = silent) -> ModelFiles:
    """The files of the model that `ref` names.

    refresh: ask the hub for the newest commit even where one is cached.  progress: told the bytes of each download.
    Raises ModelError where the model is not to be had, and for what has no files: presets and functions.
    """
    files = ModelFiles(ref, _source(ref, refresh=refresh, progress=progress))
    config = _adapter_config(files)
    if config is None:
        return files
    from attncli.models.files.adapters import base_reference

    base = base_reference(ref, config)
    opened = ModelFiles(base, _source(base, refresh=refresh, progress=progress))
    if _adapter_config(opened) is not None:
        message = f"the adapter {ref.name} changes {base.name}, which is itself an adapter"
        raise ModelError(message, hint=f"merge {base.name} into its own base model first")
    return ModelFiles(ref, files.source, opened)


def _adapter_config(files: ModelFiles) -> Path | None:
    """The configuration of an adapter, if the model is one."""
    if files.ref.named_file is not None or files.ref.tokenizer_file is not None:
        return None
    # Looked for on this disk alone, so that a cached model needs no request; `open_hub` has fetched it if there is one.
    return files.source.local(ADAPTER_CONFIG)


def _source(ref: ModelRef, *, refresh: bool, progress: Progress) -> Source:
    if ref.kind is Kind.HUB:
        return _hub(ref, refresh=refresh, progress=progress)
    if ref.kind is Kind.FOLDER:
        return FolderSource(ref.path)
    if ref.kind is Kind.FILE:
        return FolderSource(ref.path.parent)
    if ref.kind is Kind.BUILTIN:
        return FolderSource(_builtin(ref))
    raise _without_files(ref)


def _hub(ref: ModelRef, *, refresh: bool, progress: Progress) -> Source:
    if ref.location == DEFAULT_MODEL and ref.revision is None and ref.file is None and not refresh:
        from attncli.models.files.package import installed_package

        package = installed_package()
        if package is not None:
            return package
    from attncli.models.files.hub import open_hub

    return open_hub(ref, refresh=refresh, progress=progress)


def _builtin(ref: ModelRef) -> Path:
    # What has a configuration is a model; presets lie beside them.
    names = sorted(path.parent.name for path in _BUILTIN.glob("*/config.json"))
    if ref.location in names:
        return _BUILTIN / ref.location
    near = closest(ref.location, names)
    listed = f"built-in models: {', '.join(f'builtin:{name}' for name in names)}"
    hint = f"did you mean builtin:{near}?" if near else listed
    raise ModelError(f"there is no built-in model {ref.location}", hint=hint)


def _without_files(ref: ModelRef) -> ModelError:
    if ref.kind is Kind.PRESET:
        message = f"{ref.name} is an architecture without weights and without a tokenizer"
    else:
        message = f"{ref.name} makes a module of its own, which comes without a tokenizer and files"
    counts = f"attn params {ref.name} counts it"
    return ModelError(message, hint=f"name a model of the hub as org/name, or a local folder; {counts}")


def _lacking(ref: ModelRef, source: Source, name: str) -> ModelError:
    message = f"{ref.name} has no {name}" if ref.kind is not Kind.FILE else f"there is no {name} beside {ref.name}"
    gguf = min((other for other in source.names() if other.endswith(".gguf")), default=None)
    if gguf is not None:
        from attncli.models.files.weight_files import beside

        return ModelError(message, hint=f"name one of its files: {beside(ref, gguf)}")
    if ref.kind is Kind.FOLDER and is_repository(ref.name):
        return ModelError(message, hint=f"that is a folder here; for the hub's model of that name: {ref.name}@main")
    return ModelError(message, hint="a model is a config.json, its weights and its tokenizer's files in one folder")


#: The file of these settings alone, and the newer one in which they stand beside those of a tokenizer.
SETTINGS = "preprocessor_config.json"


TOGETHER = "processor_config.json"


def without_text(files: ModelFiles) -> UsageError | None:
    """What to say of a text for a model without a tokenizer, if it takes pictures or sounds; None if it doesn't."""
    path = files.find(SETTINGS) or files.find(TOGETHER)
    if path is None:
        return None
    settings = read_json(path, repair_hint=files.repair_hint)
    # Older files call what makes pictures ready a feature extractor, too.
    hears = "sampling_rate" in settings or "feature_extractor" in settings
    reads, instead = ("sounds", "a sound with --audio") if hears else ("pictures", "a picture with --image")
    return UsageError(f"{files.ref.name} reads {reads} and no text", hint=f"give it {instead}, and leave the text out")


def processor_settings(files: ModelFiles, part: Literal["image_processor", "feature_extractor"]) -> dict[str, Any]:
    """The settings of one part. Raises ModelError where the model has none."""
    together = files.find(TOGETHER)
    if together is not None and isinstance(inner := read_json(together, repair_hint=files.repair_hint).get(part), dict):
        return inner
    path = files.find(SETTINGS)
    if path is None:
        what = "pictures" if part == "image_processor" else "sounds"
        raise files.why_missing() or ModelError(
            f"{files.ref.name} doesn't say how {what} are made ready for it: it has no {SETTINGS}",
            hint=f"name a model of {what} (-m), or put that file beside its config.json",
        )
    return read_json(path, repair_hint=files.repair_hint)
