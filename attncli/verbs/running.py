"""A model that was named, or handed over, and its tokenizer: what verbs that run a model begin with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attncli.errors import UsageError
from attncli.models.files.model_files import ModelFiles, open_files
from attncli.models.files.reference import DEFAULT_MODEL, parse_reference
from attncli.models.media.pictures import without_text
from attncli.models.tokenizers.tokenizer_loader import load_tokenizer, wrap_tokenizer
from attncli.models.tokenizers.types import NoTokenizerError
from attncli.progress import Progress, silent

if TYPE_CHECKING:
    from attncli.models.loading.forward import Sense
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.models.loading.weights import Depth
    from attncli.models.tokenizers.types import Tokenizer


@dataclass(frozen=True)
class Opening:
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
        sense: Sense | None = None,
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
