"""Load models and tokenizers, by name or as loaded objects, and record the library versions in a result."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from attncli._version import __version__
from attncli.api.configured_limits import ConfiguredLimits, configured_limits
from attncli.api.requests import LoadingRequest, RunningRequest, TokenizeRequest
from attncli.choices import DEVICES, DTYPES
from attncli.errors import UsageError
from attncli.models.files.model_files import ModelFiles, no_text_error, open_files
from attncli.models.files.reference import DEFAULT_MODEL, Kind, closest, parse_reference
from attncli.models.tokenizers.types import NoTokenizerError
from attncli.progress import Progress, silent
from attncli.results.base import MadeBy

if TYPE_CHECKING:
    from attncli.models.files.reference import ModelRef
    from attncli.models.loading.forward import Modality
    from attncli.models.loading.kept_model import ModelKeeper
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.models.loading.weights import Depth
    from attncli.models.tokenizers.types import Tokenizer


#: What `--device` accepts.
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,4})?")


def provenance(*packages: str, model_class: str | None = None, revision: str | None = None) -> MadeBy:
    """The version of attncli and of those packages that have been imported."""
    imported = {package: sys.modules[package] for package in packages if package in sys.modules}
    versions = {package: str(module.__version__) for package, module in imported.items()}
    return MadeBy(__version__, **versions, model_class=model_class, revision=revision)


class LoadedTokenizer(NamedTuple):
    """A tokenizer (None: ids are shown as numbers), the name of its model, and notes for the user.

    files: the model's other files, such as a chat template; None for a tokenizer object, which is then `user_object`.
    """

    model: str
    tokenizer: Tokenizer | None
    files: ModelFiles | None = None
    user_object: Any = None
    notes: tuple[str, ...] = ()


def find_files(model: str | Path, loading: LoadingRequest, progress: Progress) -> ModelFiles:
    """The files of a model. Raises UsageError for something that isn't a model's name, ModelError if unavailable."""
    ref = parse_reference(str(model), revision=loading.revision)
    return open_files(ref, refresh=loading.refresh, trusted=loading.trust_remote_code, progress=progress)


def read_tokenizer(files: ModelFiles) -> Tokenizer:
    """The tokenizer of a model. Raises ModelError where it has none, or can't be loaded."""
    # Not at the top: `params` passes through this module, and needs no tokenizers.
    from attncli.models.tokenizers.tokenizer_loader import load_tokenizer

    return load_tokenizer(files)


def open_tokenizers(request: TokenizeRequest, progress: Progress) -> tuple[LoadedTokenizer, ...]:
    """The tokenizer of each model, or the one that is loaded already.

    Raises UsageError for something that isn't a model's name and for a model together with a tokenizer, ModelError for
    a tokenizer that can't be loaded.
    """
    if request.tokenizer is None:
        return tuple(_load_tokenizer(name, request, progress) for name in _model_names(request.model))
    # A tokenizer is never read from a pickle.
    loading = request.loading._replace(allow_pickle=False)
    for option in (*(["model"] if request.model is not None else []), *loading.given):
        raise UsageError(f"{option}= can't be combined with tokenizer=", hint="leave one of them out")
    from attncli.models.tokenizers.tokenizer_loader import wrap_tokenizer

    tokenizer = wrap_tokenizer(request.tokenizer)
    name = getattr(request.tokenizer, "name_or_path", None)
    return (LoadedTokenizer(str(name or tokenizer.class_name), tokenizer, user_object=request.tokenizer),)


def tokenizer_provenance(tokenizers: Iterable[LoadedTokenizer]) -> MadeBy:
    """The library versions; with one model also the tokenizer's class and the commit."""
    loaded = list(tokenizers)
    found = [each.tokenizer for each in loaded if each.tokenizer is not None]
    packages = ["tokenizers"] * bool(found) + ["transformers"] * any(tokenizer.slow for tokenizer in found)
    single = loaded[0] if len(loaded) == 1 else None
    return provenance(
        *packages,
        model_class=single.tokenizer.class_name if single is not None and single.tokenizer is not None else None,
        revision=single.files.revision if single is not None and single.files is not None else None,
    )


def _model_names(model: str | Path | Sequence[str | Path] | None) -> list[str]:
    if not model:
        return [DEFAULT_MODEL]
    if isinstance(model, str | Path):
        return [str(model)]
    if not isinstance(model, Sequence) or not all(isinstance(name, str | Path) for name in model):
        raise UsageError(
            f"a {type(model).__name__} is not the name of a model",
            hint="give a name or a path; pass objects as tokenizer=",
        )
    return [str(name) for name in model]


def _load_tokenizer(model: str, request: TokenizeRequest, progress: Progress) -> LoadedTokenizer:
    files = find_files(model, request.loading, progress)
    name = files.ref.name
    try:
        tokenizer = read_tokenizer(files)
    except NoTokenizerError:
        if request.needs_tokenizer:
            raise
        return LoadedTokenizer(
            name, None, files, notes=(f"{name} has no tokenizer, so token ids are shown as numbers",)
        )
    slow = f"{name} has no tokenizer.json, so its tokenizer was loaded by transformers, which takes seconds"
    notes = ([slow] if tokenizer.slow else []) + ([tokenizer.note] if tokenizer.note else [])
    return LoadedTokenizer(name, tokenizer, files, notes=tuple(notes))


def id_lists(ids: Any) -> list[list[int]]:
    """One list of ids or several as a list of lists; arrays and tensors too. Raises UsageError for anything else."""
    given = ids.tolist() if hasattr(ids, "tolist") else ids
    try:
        several = all(isinstance(each, Sequence) for each in given)
        lists = [[index(number) for number in each] for each in (given if several else [given])]
    except TypeError as error:
        raise UsageError("token ids have to be whole numbers", hint="give token ids, or a text") from error
    if not all(lists) or not lists:
        raise UsageError("there are no token ids", hint="give whole numbers, or a text")
    return lists


def one_id_list(ids: Any, what: str = "ids") -> list[int]:
    """One list of ids. Raises UsageError as `id_lists`, and for several lists."""
    first, *others = id_lists(ids)
    if others:
        raise UsageError(
            f"{1 + len(others)} lists of {what} were given, and one is possible here", hint="give one list"
        )
    return first


Opened = TypeVar("Opened")


class OpenedOnce:
    """What is opened for the first run of a model and used again by the next ones: files, tokenizer, weights."""

    def __init__(self) -> None:
        self._opened: dict[str, Any] = {}

    def once(self, what: str, opened: Callable[[], Opened]) -> Opened:
        """What was opened by this name, or is now."""
        if what not in self._opened:
            self._opened[what] = opened()
        found: Opened = self._opened[what]
        return found


class RunningOptions(NamedTuple):
    """What `load_model` is asked for besides files and depth."""

    eager: bool
    writes: bool
    predicts: bool
    modality: Modality | None


class ModelLoader(NamedTuple):
    """What to load, and how: a model and its tokenizer.

    model: a hub name or a path (None: the default model), or a loaded module.
    tokenizer: a tokenizer, or the name of a model that has one.
    keeper: of a process that was forked from one that may have loaded the model before.
    name: of a loaded module, in results.  kept: what several runs of this model open once.
    The methods pass on `files`: those of a model given by name, None for a loaded module.
    """

    model: Any = None
    tokenizer: Any = None
    loading: LoadingRequest = LoadingRequest()
    running: RunningRequest = RunningRequest()
    progress: Progress = silent
    keeper: ModelKeeper | None = None
    name: str | None = None
    kept: OpenedOnce | None = None

    def with_own_code(self) -> tuple[ModelLoader, Any]:
        """This loader with the module that a `file.py:function` returns in place of its name, and its inputs or None.

        Raises ModelError where the function doesn't return one, or fails.
        """
        if not isinstance(self.model, str | Path):
            return self, None
        ref = parse_reference(str(self.model), revision=self.loading.revision)
        if ref.kind is not Kind.FUNCTION:
            return self, None
        return self._once("own code", lambda: self._run_own_code(ref))

    def _run_own_code(self, ref: ModelRef) -> tuple[ModelLoader, Any]:
        check_running(self.running)
        self.progress("starting torch", 0, None)
        from attncli.models.loading.device import place_module
        from attncli.models.loading.own_code import run_module_function

        code = run_module_function(ref)
        module = place_module(code.module, *self.running)
        tokenizer = code.tokenizer if self.tokenizer is None else self.tokenizer
        loader = self._replace(
            model=module, tokenizer=tokenizer, loading=LoadingRequest(), running=RunningRequest(), name=ref.name
        )
        return loader, code.inputs

    def _once(self, what: str, opened: Callable[[], Opened]) -> Opened:
        return opened() if self.kept is None else self.kept.once(what, opened)

    @property
    def is_loaded(self) -> bool:
        """Whether the model is a loaded module."""
        return not (self.model is None or isinstance(self.model, str | Path))

    def files(self) -> ModelFiles | None:
        """The model's files.

        Raises UsageError for something that isn't a model's name, and for a loaded module with an option that only a
        name can have; ModelError if they are unavailable.
        """
        check_running(self.running)
        if not self.is_loaded:
            return self._once("files", lambda: find_files(self.model or DEFAULT_MODEL, self.loading, self.progress))
        moving = [name for name, value in self.running._asdict().items() if value != "auto"]
        for name in (*moving, *self.loading.given):
            hint = (
                f"leave it out; model.to({name}=…) changes it"
                if name in moving
                else "leave it out, or give the model's name instead of the object"
            )
            raise UsageError(f"{name}= needs the name of a model, and this model is loaded already", hint=hint)
        return None

    def open_tokenizer(self, files: ModelFiles | None) -> Tokenizer:
        """Load the tokenizer without importing torch.

        Raises ModelError where the model has none, UsageError where a loaded module comes without one.
        """
        return self._once("tokenizer", lambda: self._open_tokenizer(files))

    def _open_tokenizer(self, files: ModelFiles | None) -> Tokenizer:
        if isinstance(self.tokenizer, str | Path):
            return read_tokenizer(find_files(self.tokenizer, LoadingRequest(), self.progress))
        if self.tokenizer is not None:
            from attncli.models.tokenizers.tokenizer_loader import wrap_tokenizer

            return wrap_tokenizer(self.tokenizer)
        if files is None:
            raise UsageError(
                f"{self.name or 'a model that is passed as an object'} needs a tokenizer for a text",
                hint="give --tokenizer MODEL, or token ids with --input-ids"
                if self.name
                else "pass tokenizer= together with model=",
            )
        return read_tokenizer(files)

    def find_tokenizer(self, files: ModelFiles | None, *, needed: bool) -> Tokenizer | None:
        """Load the tokenizer as `open_tokenizer` does, or give None where there is none and it is not `needed`."""
        if not needed and self.tokenizer is None and files is None:
            return None
        try:
            return self.open_tokenizer(files)
        except NoTokenizerError as error:
            if not needed:
                return None
            raise (no_text_error(files) if files is not None else None) or error from None

    def load(
        self,
        files: ModelFiles | None,
        depth: Depth,
        *,
        eager: bool = True,
        writes: bool = False,
        predicts: bool = False,
        modality: Modality | None = None,
    ) -> LoadedModel:
        """Load the model with the layers that `depth` chooses; a loaded module keeps all of its layers.

        eager, writes, predicts, modality: as `load_model` takes them. What is kept for several runs is loaded whole,
        with its language-model head if it has one. Raises as `load_model` and `wrap_model` do.
        """
        options = RunningOptions(eager, writes, predicts, modality)
        if self.kept is None:
            return self._load(files, depth, options)
        whole = options._replace(predicts=True) if modality is None else options
        loaded = self.kept.once("model", lambda: self._load(files, lambda _: {}, whole))
        depth(loaded.lists)  # refuses layers that the model doesn't have
        return loaded

    def _load(self, files: ModelFiles | None, depth: Depth, asked: RunningOptions) -> LoadedModel:
        eager, writes, predicts, modality = asked
        if files is not None:
            _check_configuration(files)
        self.progress("starting torch", 0, None)  # importing it takes seconds
        from attncli.models.loading.forward import refuse_without_modality
        from attncli.models.loading.kept_model import LoadingOptions
        from attncli.models.loading.library_errors import library_errors
        from attncli.models.loading.loaded_model import wrap_model
        from attncli.models.loading.weights import load_model

        if files is None:
            loaded = wrap_model(self.model, self.name)
            if modality is not None:
                refuse_without_modality(type(loaded.module), modality, loaded.name)
            depth(loaded.lists)
            return loaded
        options = LoadingOptions(self.running.device, self.running.dtype, eager, writes, predicts, modality)
        keeper = None if self.loading.allow_pickle or files.trusted else self.keeper
        if keeper is not None and (kept := keeper.find(files, options, depth)) is not None:
            return kept
        with library_errors(f"{files.ref.name} can't be loaded"):
            loaded = load_model(
                files,
                depth=depth,
                **options._asdict(),
                allow_pickle=self.loading.allow_pickle,
                progress=self.progress,
            )
        if keeper is not None:
            keeper.note(str(self.model or DEFAULT_MODEL), self.loading.revision, files, options, loaded)
        return loaded


def require_files(files: ModelFiles | None, modality: Modality) -> ModelFiles:
    """The files of a model. Raises UsageError for a loaded model: its processor has to be given with it."""
    if files is None:
        raise UsageError(
            f"a model that is passed as an object needs a processor for {modality}=",
            hint="pass processor= together with model=, for instance from transformers.AutoProcessor",
        )
    return files


def check_running(running: RunningRequest) -> None:
    """Raise UsageError for the name of a device or a number format that no machine has."""
    device, dtype = running
    if not (isinstance(device, str) and _DEVICE.fullmatch(device)):
        near = "cuda" if device == "gpu" else closest(str(device), DEVICES)
        meant = f"did you mean {near}? " if near else ""
        raise UsageError(
            f"there is no device {device!r}",
            hint=f"{meant}--device accepts auto, cpu, cuda, cuda:N (such as cuda:1) and mps",
        )
    if dtype not in DTYPES:
        raise UsageError(f"there is no dtype {dtype!r}", hint=f"--dtype accepts {', '.join(DTYPES)}")


def model_limits(files: ModelFiles | None) -> ConfiguredLimits:
    """What the configuration of a model says about its layers and heads; nothing for a loaded module."""
    return configured_limits(None if files is None else _read_fields(files))


def _check_configuration(files: ModelFiles) -> None:
    """Raise ModelError for impossible numbers, before transformers makes modules, labels and tables of them."""
    fields = _read_fields(files)
    if fields is not None:  # else `load_model` says what is missing
        check_fields(fields, files.ref.name)


def _read_fields(files: ModelFiles) -> Mapping[str, Any] | None:
    """The content of the model's config.json, or its GGUF metadata in that form; None where there is neither."""
    from attncli.models.files.gguf_header import read_gguf_header
    from attncli.models.files.gguf_names import config_fields
    from attncli.models.files.weight_headers import read_model_config

    name = (files if files.base is None else files.base).ref.weights_file
    is_gguf = name is not None and name.endswith(".gguf")
    path = files.find(name if name is not None and is_gguf else "config.json")
    if path is None:
        return None
    if is_gguf:
        return config_fields(read_gguf_header(path, repair_hint=files.repair_hint).metadata)[0]
    return read_model_config(path, repair_hint=files.repair_hint)


def check_fields(fields: Mapping[str, Any], name: str, *, widths: bool = False) -> None:
    """Raise ModelError for a configuration with impossible numbers.

    widths: also for heads that don't divide the width; some classes build them all the same, and so are counted.
    """
    from attncli.models.loading.config_source import declares_value
    from attncli.parameters.config_checks import HEAD_WIDTH_FIELDS, check_numbers

    def has_head_width(kind: str) -> bool:
        return declares_value(kind, HEAD_WIDTH_FIELDS) is not False

    check_numbers(fields, name, has_head_width=has_head_width if widths else None)
