"""Which versions of which libraries took part in a result.

The tokenizers that a call works with: one a model, loaded before the first text is read.

A model that was named, or handed over, and its tokenizer: what verbs that run a model begin with.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli._version import __version__
from attncli.errors import UsageError
from attncli.models.files.model_files import ModelFiles, open_files, without_text
from attncli.models.files.reference import DEFAULT_MODEL, parse_reference
from attncli.models.tokenizers.tokenizer_loader import load_tokenizer, wrap_tokenizer
from attncli.models.tokenizers.types import NoTokenizerError
from attncli.progress import Progress, silent
from attncli.results.base import MadeBy

if TYPE_CHECKING:
    from attncli.models.loading.forward import Modality
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.models.loading.weights import Depth
    from attncli.models.tokenizers.types import Tokenizer


def provenance(*packages: str, model_class: str | None = None, revision: str | None = None) -> MadeBy:
    """Our version, and those of the named packages as far as they took part, that is, were imported."""
    imported = {package: sys.modules[package] for package in packages if package in sys.modules}
    versions = {package: str(module.__version__) for package, module in imported.items()}
    return MadeBy(__version__, **versions, model_class=model_class, revision=revision)


class LoadedTokenizer(NamedTuple):
    """A tokenizer (None: ids stay numbers), the name of its model, and what a user should know of it.

    files: what else the model brings (a chat template); None for a tokenizer that a user loaded, which is `given`.
    """

    model: str
    tokenizer: Tokenizer | None
    files: ModelFiles | None = None
    given: Any = None
    notes: tuple[str, ...] = ()


def open_tokenizers(
    model: str | Path | Sequence[str | Path] | None,
    *,
    tokenizer: Any = None,
    needed: bool = True,
    revision: str | None = None,
    refresh: bool = False,
    trust_remote_code: bool = False,
    progress: Progress = silent,
) -> tuple[LoadedTokenizer, ...]:
    """The tokenizers of the named models, or the one that was loaded already.

    needed: whether a model without one is an error; ids can be shown as numbers.
    Raises UsageError for what names no model and for both, ModelError for a tokenizer that is not to be had.
    """
    if tokenizer is not None:
        beside = {"model": model is not None, "revision": revision is not None, "refresh": refresh}
        for name, is_given in {**beside, "trust_remote_code": trust_remote_code}.items():
            if is_given:
                raise UsageError(
                    f"{name}= names a tokenizer, and one is loaded already", hint=f"leave {name}= or tokenizer= out"
                )
        return (_wrap_user_tokenizer(tokenizer),)
    refs = [parse_reference(name, revision=revision) for name in _model_names(model)]
    return tuple(
        _load_tokenizer(open_files(ref, refresh=refresh, progress=progress), trust_remote_code, needed=needed)
        for ref in refs
    )


def tokenizer_provenance(readers: Iterable[LoadedTokenizer]) -> MadeBy:
    """The versions that took part; the tokenizer's class and the commit where there is one model."""
    every = list(readers)
    tokenizers = [reader.tokenizer for reader in every if reader.tokenizer is not None]
    packages = ["tokenizers"] * bool(tokenizers) + ["transformers"] * any(tokenizer.slow for tokenizer in tokenizers)
    alone = every[0] if len(every) == 1 else None
    return provenance(
        *packages,
        model_class=alone.tokenizer.class_name if alone is not None and alone.tokenizer is not None else None,
        revision=alone.files.revision if alone is not None and alone.files is not None else None,
    )


def _model_names(model: str | Path | Sequence[str | Path] | None) -> list[str]:
    if not model:
        return [DEFAULT_MODEL]
    if isinstance(model, str | Path):
        return [str(model)]
    if not isinstance(model, Sequence) or not all(isinstance(name, str | Path) for name in model):
        raise UsageError(
            f"a {type(model).__name__} names no model", hint="give a name or a path; tokenizer= takes objects"
        )
    return [str(name) for name in model]


def _load_tokenizer(files: ModelFiles, trust_remote_code: bool, *, needed: bool) -> LoadedTokenizer:
    name = files.ref.name
    try:
        tokenizer = load_tokenizer(files, trust_remote_code=trust_remote_code)
    except NoTokenizerError:
        if needed:
            raise
        return LoadedTokenizer(name, None, files, notes=(f"{name} has no tokenizer, so its ids are shown as numbers",))
    slow = f"the tokenizer of {name} was read by transformers, which takes seconds; a tokenizer.json is read at once"
    notes = ([slow] if tokenizer.slow else []) + ([tokenizer.note] if tokenizer.note else [])
    return LoadedTokenizer(name, tokenizer, files, notes=tuple(notes))


def _wrap_user_tokenizer(given: Any) -> LoadedTokenizer:
    tokenizer = wrap_tokenizer(given)
    name = getattr(given, "name_or_path", None)
    return LoadedTokenizer(str(name or tokenizer.class_name), tokenizer, given=given)


@dataclass(frozen=True)
class ModelLoader:
    """How a model is to be had. model: a name or a path (None: the default), or a loaded module.

    files: of a model that was named; None for one that was handed over.
    """

    model: Any
    tokenizer: Any = None
    revision: str | None = None
    refresh: bool = False
    trust_remote_code: bool = False
    allow_pickle: bool = False
    device: str = "auto"
    dtype: str = "auto"
    progress: Progress = silent

    def __post_init__(self) -> None:
        """Raises UsageError for what goes with a name alone, beside a model that was handed over."""
        if not self.is_loaded:
            return
        placed = {"device": self.device != "auto", "dtype": self.dtype != "auto"}
        fetched = ("revision", "refresh", "trust_remote_code", "allow_pickle")
        for name, given in {**placed, **{each: bool(getattr(self, each)) for each in fetched}}.items():
            if given:
                hint = (
                    f"leave it out; model.to({name}=…) changes it"
                    if name in placed
                    else "leave it out, or give the model by its name"
                )
                raise UsageError(f"{name}= goes with the name of a model, and this one is loaded already", hint=hint)

    @property
    def is_loaded(self) -> bool:
        """Whether it was handed over."""
        return not (self.model is None or isinstance(self.model, str | Path))

    def files(self) -> ModelFiles | None:
        """Raises UsageError for what names no model, ModelError for one that is not to be had."""
        if self.is_loaded:
            return None
        ref = parse_reference(str(self.model) if self.model else DEFAULT_MODEL, revision=self.revision)
        return open_files(ref, refresh=self.refresh, progress=self.progress)

    def open_tokenizer(self, files: ModelFiles | None) -> Tokenizer:
        """Without importing torch. Raises ModelError where there is none, UsageError where one has to be passed."""
        if self.tokenizer is not None:
            return wrap_tokenizer(self.tokenizer)
        if files is None:
            raise UsageError(
                "a model that was handed over needs a tokenizer for a text", hint="pass tokenizer= beside model="
            )
        return load_tokenizer(files, trust_remote_code=self.trust_remote_code)

    def find_tokenizer(self, files: ModelFiles | None, *, needed: bool) -> Tokenizer | None:
        """The same, and None where there is none and it is not `needed`, as ids say all."""
        if not needed and self.tokenizer is None and files is None:
            return None
        try:
            return self.open_tokenizer(files)
        except NoTokenizerError as error:
            if not needed:
                return None
            raise (without_text(files) if files is not None else None) or error from None

    def load(
        self,
        files: ModelFiles | None,
        depth: Depth,
        *,
        eager: bool = True,
        writes: bool = False,
        sense: Modality | None = None,
    ) -> LoadedModel:
        """The model, as deep as asked; a module that was handed over stays whole.

        eager, writes, sense: as `load_model` takes them. Raises what `load_model` and `wrap_model` raise.
        """
        # Some seconds for libraries alone; whoever waits should know for what.
        self.progress("starting torch", 0, None)
        from attncli.models.loading.loaded_model import wrap_model
        from attncli.models.loading.weights import load_model

        if files is None:
            loaded = wrap_model(self.model)
            if sense is not None:
                loaded.refuse_without(sense)
            depth(loaded.lists)
            return loaded
        return load_model(
            files,
            depth=depth,
            device=self.device,
            dtype=self.dtype,
            eager=eager,
            writes=writes,
            allow_pickle=self.allow_pickle,
            trust_remote_code=self.trust_remote_code,
            sense=sense,
            progress=self.progress,
        )
