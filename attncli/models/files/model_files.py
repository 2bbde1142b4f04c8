"""The files of a model: found locally or downloaded, all of one revision, the weights checked.

A folder with an adapter (LoRA and others, applied by peft) has the files of its base model beside its own.
Imports neither torch nor transformers, and huggingface_hub only when a request to the hub is necessary.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from attncli.errors import ModelError, UsageError
from attncli.models.files import weight_headers
from attncli.models.files.reference import DEFAULT_MODEL, Kind, ModelRef, closest, is_repository, parse_reference
from attncli.models.files.sources import ADAPTER_CONFIG, FolderSource, Source, installed_package
from attncli.models.files.weight_headers import read_json
from attncli.progress import Progress, silent

if TYPE_CHECKING:
    from attncli.models.files.weight_files import WeightFiles

_WEIGHTS_NAMES = ("adapter_model.safetensors", "adapter_model.bin")
_BASE_HINT = "put the base model where base_model_name_or_path in adapter_config.json says, or correct that name"


def base_reference(ref: ModelRef, config: Path) -> ModelRef:
    """The base model that an adapter_config.json names. Raises ModelError if it names none or an unusable one."""
    fields = weight_headers.read_json(config)
    name, revision = fields.get("base_model_name_or_path"), fields.get("revision")
    if not isinstance(name, str) or not name:
        hint = f"write the name of the base model as base_model_name_or_path into {config}"
        raise ModelError(f"the adapter {ref.name} doesn't name its base model", hint=hint)
    try:
        base = parse_reference(name)
        if base.kind is Kind.HUB and isinstance(revision, str) and revision:
            base = parse_reference(name, revision=revision)
    except (ModelError, UsageError) as error:
        raise ModelError(
            f"the base model '{name}' of the adapter {ref.name} is unavailable: {error.message}", hint=_BASE_HINT
        ) from error
    # The configuration is untrusted: it must not be able to run code, as `file.py:function` does.
    if base.kind not in (Kind.HUB, Kind.FOLDER, Kind.FILE):
        raise ModelError(
            f"the base model '{name}' of the adapter {ref.name} is neither on the hub nor a folder", hint=_BASE_HINT
        )
    return base


def check_adapter(ref: ModelRef, source: Source, *, allow_pickle: bool) -> None:
    """Download an adapter's weights if necessary and check them, and that peft is installed to apply them.

    Raises ModelError if peft is missing, for missing or broken weights, and for a pickle that isn't allowed.
    """
    if find_spec("peft") is None:
        message = f"{ref.name} is an adapter, which needs the package peft"
        raise ModelError(message, hint="pip install 'attncli[adapters]'")
    name = _adapter_weights(ref, source)
    if name.endswith(".bin") and not allow_pickle:
        message = f"the weights of the adapter {ref.name} are stored as pickle ({name}), which can run any code"
        raise ModelError(message, hint="add --allow-pickle if you trust its source")
    path = source.find(name)
    if path is not None and name.endswith(".safetensors"):
        weight_headers.read_header(path, repair_hint=source.repair_hint)


def check_adapter_header(ref: ModelRef, source: Source) -> None:
    """Check that an adapter has weights with a header, which lists their shapes.

    Raises ModelError for missing weights, and for a pickle.
    """
    name = _adapter_weights(ref, source)
    if name.endswith(".bin"):
        message = f"the weights of the adapter {ref.name} are stored as pickle ({name}), which has no header to read"
        raise ModelError(message, hint=f"save them as {_WEIGHTS_NAMES[0]}")


def _adapter_weights(ref: ModelRef, source: Source) -> str:
    name = next((name for name in _WEIGHTS_NAMES if source.has(name)), None)
    if name is None:
        message = f"the adapter {ref.name} has no weights: {_WEIGHTS_NAMES[0]} is missing"
        hint = f"put {_WEIGHTS_NAMES[0]} next to its {ADAPTER_CONFIG}, or use its base model"
        raise source.listing_error() or ModelError(message, hint=hint)
    return name


#: The settings of an image processor or feature extractor, and the newer file that holds those of all processors.
PREPROCESSOR_FILE = "preprocessor_config.json"
PROCESSOR_FILE = "processor_config.json"

_BUILTIN_FOLDER = Path(__file__).parents[1] / "builtin"


class ModelFiles(NamedTuple):
    """The files of one model.

    base: for an adapter, the files of its base model; None for any other model.
    trusted: whether Python code among them may be run.
    """

    ref: ModelRef
    source: Source
    base: ModelFiles | None = None
    trusted: bool = False

    @property
    def revision(self) -> str | None:
        """The hub commit that all files are from; None for a local folder or an installed package."""
        return self.source.revision

    @property
    def adapter(self) -> Path | None:
        """The folder of an adapter's files, once `weights` has downloaded them; None for any other model."""
        config = self.source.local(ADAPTER_CONFIG) if self.base is not None else None
        return None if config is None else config.parent

    @property
    def repair_hint(self) -> str:
        """The hint of errors about a broken file of the model."""
        return (self.base or self).source.repair_hint

    def find(self, name: str) -> Path | None:
        """The local path of a file, downloaded if necessary; None if the model has no such file.

        An adapter's tokenizer takes precedence over its base's; the configuration is always the base's. A file that
        isn't cached counts as absent if the hub can't be reached.
        """
        if self.base is None:
            return self.source.find(name)
        own = None if name == "config.json" else self.source.find(name)
        return own or self.base.find(name)

    def require(self, name: str) -> Path:
        """As `find`, but raises ModelError if there is no such file, or if the user named only a tokenizer."""
        self._refuse_tokenizer()
        path = self.find(name)
        if path is not None:
            return path
        model = self.base or self
        raise self.listing_error() or _missing_file_error(model.ref, model.source, name)

    def listing_error(self) -> ModelError | None:
        """The error that kept the hub from listing its files, so that a file may exist though `find` returned None."""
        return self.source.listing_error() or (self.base.listing_error() if self.base else None)

    def weights(self, *, allow_pickle: bool = False) -> WeightFiles:
        """The weight files, all local and with valid headers; for an adapter, those of its base.

        Raises ModelError if they are missing, broken, or pickles that aren't allowed.
        """
        self._refuse_tokenizer()
        if self.base is not None:
            check_adapter(self.ref, self.source, allow_pickle=allow_pickle)
            return self.base.weights(allow_pickle=allow_pickle)
        # Imported here: `attn tokenize` doesn't need it and must start fast.
        from attncli.models.files.weight_files import find_weights

        return find_weights(self.ref, self.source, allow_pickle=allow_pickle)

    def _refuse_tokenizer(self) -> None:
        path = self.ref.tokenizer_file
        if path is not None:
            message = f"{self.ref.name} is only a tokenizer, without the weights of a model"
            raise ModelError(message, hint=f"attn tokenize can read it; for the model, give its folder: {path.parent}")


def open_files(
    ref: ModelRef, *, refresh: bool = False, trusted: bool = False, progress: Progress = silent
) -> ModelFiles:
    """The files of the model that `ref` names.

    refresh: ask the hub for the newest commit even if one is cached.  trusted: Python code among the files, or among
    those of the base of an adapter, may be run.  progress: called with the bytes of each download.
    Raises ModelError if the model is unavailable, and for presets and functions, which have no files.
    """
    files = ModelFiles(ref, _open_source(ref, refresh=refresh, progress=progress), trusted=trusted)
    config = _adapter_config(files)
    if config is None:
        return files

    base = base_reference(ref, config)
    base_files = files._replace(ref=base, source=_open_source(base, refresh=refresh, progress=progress))
    if _adapter_config(base_files) is not None:
        message = f"the base model {base.name} of the adapter {ref.name} is itself an adapter"
        raise ModelError(message, hint=f"merge {base.name} into its own base model first")
    return files._replace(base=base_files)


def _adapter_config(files: ModelFiles) -> Path | None:
    """The path of adapter_config.json if the model is an adapter."""
    if files.ref.weights_file is not None or files.ref.tokenizer_file is not None:
        return None
    # Looked up locally only, so that a cached model needs no request; `open_hub` has downloaded it if there is one.
    return files.source.local(ADAPTER_CONFIG)


def _open_source(ref: ModelRef, *, refresh: bool, progress: Progress) -> Source:
    if ref.kind is Kind.HUB:
        if ref.location == DEFAULT_MODEL and ref.revision is None and ref.file is None and not refresh:
            package = installed_package()
            if package is not None:
                return package
        from attncli.models.files.hub import open_hub

        return open_hub(ref, refresh=refresh, progress=progress)
    if ref.kind in (Kind.FOLDER, Kind.FILE):
        return FolderSource(ref.path if ref.kind is Kind.FOLDER else ref.path.parent)
    if ref.kind is Kind.BUILTIN:
        # Only folders with a config.json are models; the presets are in the same folder.
        names = sorted(path.parent.name for path in _BUILTIN_FOLDER.glob("*/config.json"))
        if ref.location in names:
            return FolderSource(_BUILTIN_FOLDER / ref.location)
        near = closest(ref.location, names)
        listed = f"built-in models: {', '.join(f'builtin:{name}' for name in names)}"
        hint = f"did you mean builtin:{near}?" if near else listed
        raise ModelError(f"there is no built-in model {ref.location}", hint=hint)
    what = "is a Python function, which has no tokenizer and no files"
    if ref.kind is Kind.PRESET:
        what = "is an architecture without weights and without a tokenizer"
    counts = f"count its parameters with attn params {ref.name}"
    hint = f"use a model from the hub (org/name) or a local folder; {counts}"
    raise ModelError(f"{ref.name} {what}", hint=hint)


def _missing_file_error(ref: ModelRef, source: Source, name: str) -> ModelError:
    message = f"{ref.name} has no {name}" if ref.kind is not Kind.FILE else f"there is no {name} next to {ref.name}"
    gguf = min((other for other in source.names() if other.endswith(".gguf")), default=None)
    if gguf is not None:
        from attncli.models.files.weight_files import sibling_reference

        return ModelError(message, hint=f"give one of its files: {sibling_reference(ref, gguf)}")
    if ref.kind is Kind.FOLDER and is_repository(ref.name):
        return ModelError(
            message, hint=f"{ref.name} is a folder here; for the model of this name on the hub, write {ref.name}@main"
        )
    return ModelError(message, hint="a model folder needs a config.json, weights and the files of a tokenizer")


def no_text_error(files: ModelFiles) -> UsageError | None:
    """The error for a text given to a model of pictures or sounds without a tokenizer; None for other models."""
    path = files.find(PREPROCESSOR_FILE) or files.find(PROCESSOR_FILE)
    if path is None:
        return None
    settings = read_json(path, repair_hint=files.repair_hint)
    # Older files call the image processor a feature extractor too.
    is_audio = "sampling_rate" in settings or "feature_extractor" in settings
    inputs, instead = ("sounds", "a sound with --audio") if is_audio else ("pictures", "a picture with --image")
    return UsageError(f"{files.ref.name} reads {inputs}, not text", hint=f"give {instead}, and leave the text out")


def processor_settings(files: ModelFiles, part: Literal["image_processor", "feature_extractor"]) -> dict[str, Any]:
    """The settings of a model's image processor or feature extractor. Raises ModelError if it has none."""
    together = files.find(PROCESSOR_FILE)
    if together is not None and isinstance(inner := read_json(together, repair_hint=files.repair_hint).get(part), dict):
        return inner
    path = files.find(PREPROCESSOR_FILE)
    if path is None:
        what = "pictures" if part == "image_processor" else "sounds"
        raise files.listing_error() or ModelError(
            f"{files.ref.name} has no {PREPROCESSOR_FILE}, which says how {what} are preprocessed",
            hint=f"use another model for {what} (-m), or put that file next to its config.json",
        )
    return read_json(path, repair_hint=files.repair_hint)
