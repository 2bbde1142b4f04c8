"""The tokenizers that a call works with: one a model, loaded before the first text is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli.errors import UsageError
from attncli.models.files.model_files import ModelFiles, open_files
from attncli.models.files.reference import DEFAULT_MODEL, parse_reference
from attncli.models.tokenizers.tokenizer_loader import load_tokenizer, wrap_tokenizer
from attncli.models.tokenizers.types import NoTokenizerError
from attncli.progress import Progress, silent
from attncli.results.base import MadeBy
from attncli.verbs.made_by import made_by

if TYPE_CHECKING:
    from attncli.models.tokenizers.types import Tokenizer


class Reader(NamedTuple):
    """A tokenizer (None: ids stay numbers), the name of its model, and what a user should know of it.

    files: what else the model brings (a chat template); None for a tokenizer that a user loaded, which is `given`.
    """

    model: str
    tokenizer: Tokenizer | None
    files: ModelFiles | None = None
    given: Any = None
    notes: tuple[str, ...] = ()


def open_readers(
    model: str | Path | Sequence[str | Path] | None,
    *,
    tokenizer: Any = None,
    needed: bool = True,
    revision: str | None = None,
    refresh: bool = False,
    trust_remote_code: bool = False,
    progress: Progress = silent,
) -> tuple[Reader, ...]:
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
        return (_wrapped(tokenizer),)
    refs = [parse_reference(name, revision=revision) for name in _names(model)]
    return tuple(
        _load(open_files(ref, refresh=refresh, progress=progress), trust_remote_code, needed=needed) for ref in refs
    )


def versions(readers: Iterable[Reader]) -> MadeBy:
    """The versions that took part; the tokenizer's class and the commit where there is one model."""
    every = list(readers)
    tokenizers = [reader.tokenizer for reader in every if reader.tokenizer is not None]
    packages = ["tokenizers"] * bool(tokenizers) + ["transformers"] * any(tokenizer.slow for tokenizer in tokenizers)
    alone = every[0] if len(every) == 1 else None
    return made_by(
        *packages,
        model_class=alone.tokenizer.class_name if alone is not None and alone.tokenizer is not None else None,
        revision=alone.files.revision if alone is not None and alone.files is not None else None,
    )


def _names(model: str | Path | Sequence[str | Path] | None) -> list[str]:
    if not model:
        return [DEFAULT_MODEL]
    if isinstance(model, str | Path):
        return [str(model)]
    if not isinstance(model, Sequence) or not all(isinstance(name, str | Path) for name in model):
        raise UsageError(
            f"a {type(model).__name__} names no model", hint="give a name or a path; tokenizer= takes objects"
        )
    return [str(name) for name in model]


def _load(files: ModelFiles, trust_remote_code: bool, *, needed: bool) -> Reader:
    name = files.ref.name
    try:
        tokenizer = load_tokenizer(files, trust_remote_code=trust_remote_code)
    except NoTokenizerError:
        if needed:
            raise
        return Reader(name, None, files, notes=(f"{name} has no tokenizer, so its ids are shown as numbers",))
    slow = f"the tokenizer of {name} was read by transformers, which takes seconds; a tokenizer.json is read at once"
    notes = ([slow] if tokenizer.slow else []) + ([tokenizer.note] if tokenizer.note else [])
    return Reader(name, tokenizer, files, notes=tuple(notes))


def _wrapped(given: Any) -> Reader:
    tokenizer = wrap_tokenizer(given)
    name = getattr(given, "name_or_path", None)
    return Reader(str(name or tokenizer.class_name), tokenizer, given=given)
