"""`attncli.tokenize`: how models cut texts into tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli.errors import UsageError
from attncli.models.encoding import NoTokenizerError
from attncli.models.files import ModelFiles, open_files
from attncli.models.reference import DEFAULT_MODEL, parse_reference
from attncli.models.tokenizer import load_tokenizer, wrap_tokenizer
from attncli.progress import Progress, silent
from attncli.results.provenance import MadeBy
from attncli.results.tokenize import TokenizedText, TokenizeResult
from attncli.tokens.encode import encode, from_ids, kept, was_cut
from attncli.tokens.measure import measure
from attncli.verbs.ids import id_lists
from attncli.verbs.made_by import made_by

if TYPE_CHECKING:
    from attncli.models.encoding import Tokenizer


def tokenize(
    text: str | Sequence[str] | None = None,
    *,
    model: str | Path | Sequence[str | Path] | None = None,
    input_ids: Sequence[int] | Sequence[Sequence[int]] | None = None,
    pair: str | None = None,
    no_special: bool = False,
    truncate: bool = False,
    revision: str | None = None,
    refresh: bool = False,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    tokenizer: Any = None,
    progress: Progress = silent,
) -> TokenizeResult:
    """Cut texts into tokens, each with its id and its place in the text, and count them.

    text: one text or several; `pair` goes beside each of them as a second segment. Or `input_ids`: one list of ids or
    several, which are looked up in the vocabulary.
    model: a hub name or a path, or several to compare; None is all-MiniLM-L6-v2. No weights are read.
    tokenizer: a tokenizer of `transformers` or `tokenizers` that is loaded already, instead of a model's own.
    no_special: leave the special tokens out that the model expects.  truncate: cut to the tokens that it takes.
    allow_pickle: of no effect, as no tokenizer is read from a pickle; it is here because every verb takes it.

        >>> result = attncli.tokenize("Take a biopsy of the mole")
        >>> result.texts[0].ids
        [101, 2202, 1037, 16012, 18075, 1997, 1996, 16709, 102]

    Raises UsageError for an empty text and for ids that the vocabulary does not have, ModelError for a tokenizer that
    is not to be had.
    """
    inputs = _inputs(text, input_ids, pair)
    if tokenizer is None:
        refs = [parse_reference(name, revision=revision) for name in _names(model)]
        opened = (open_files(ref, refresh=refresh, progress=progress) for ref in refs)
        readers = [_load(files, trust_remote_code, needed=input_ids is None) for files in opened]
    else:
        readers = [_wrap(tokenizer, model)]
    results = [
        _cut(each, reader, record, not no_special, truncate) for reader in readers for record, each in enumerate(inputs)
    ]
    warnings = [*(note for reader in readers for note in reader.notes), *_lengths(results, len(inputs))]
    return TokenizeResult(tuple(result.text for result in results), _made_by(readers), tuple(warnings))


class _Input(NamedTuple):
    """One text, and the pair beside it; or ids."""

    text: str = ""
    pair: str | None = None
    ids: Sequence[int] | None = None


class _Reader(NamedTuple):
    """A tokenizer (None: ids stay numbers), the name of its model, and what a user should know of it."""

    model: str
    tokenizer: Tokenizer | None
    revision: str | None = None
    notes: tuple[str, ...] = ()


class _Result(NamedTuple):
    """A text in tokens, and whether some of it was left out to fit."""

    text: TokenizedText
    truncated: bool


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


def _inputs(text: Any, ids: Any, pair: str | None) -> list[_Input]:
    if (text is None) == (ids is None):
        raise UsageError("either a text or ids are needed", hint="give a text, or numbers with --input-ids")
    if text is not None:
        return [_Input(each, pair) for each in _texts(text, pair)]
    if pair is not None:
        raise UsageError("ids can't have a pair", hint="--pair goes with a text; leave it or --input-ids out")
    return [_Input(ids=each) for each in id_lists(ids)]


def _texts(text: Any, pair: str | None) -> list[str]:
    texts = list(text) if isinstance(text, Iterable) and not isinstance(text, str | bytes) else [text]
    if not all(isinstance(each, str) for each in texts):
        raise UsageError("a text is a string", hint="give one string, or a list of them")
    if not isinstance(pair, str | None):
        raise UsageError("a pair is a string", hint="give one string, which goes beside every text")
    if not texts or "" in texts or pair == "":
        which = f"text {texts.index('') + 1} of {len(texts)}" if "" in texts and len(texts) > 1 else "the text"
        raise UsageError(f"{which} is empty", hint="give some text, or numbers with --input-ids")
    return texts


def _load(files: ModelFiles, trust_remote_code: bool, *, needed: bool) -> _Reader:
    name = files.ref.name
    try:
        tokenizer = load_tokenizer(files, trust_remote_code=trust_remote_code)
    except NoTokenizerError:
        if needed:
            raise
        note = f"{name} has no tokenizer, so its ids are shown as numbers"
        return _Reader(name, None, files.revision, (note,))
    slow = f"{name} has no tokenizer.json: transformers read its tokenizer, which takes longer"
    notes = ([slow] if tokenizer.slow else []) + ([tokenizer.note] if tokenizer.note else [])
    return _Reader(name, tokenizer, files.revision, tuple(notes))


def _wrap(given: Any, model: object) -> _Reader:
    tokenizer = wrap_tokenizer(given)
    name = model if isinstance(model, str | Path) else getattr(given, "name_or_path", None)
    return _Reader(str(name or tokenizer.class_name), tokenizer)


def _cut(given: _Input, reader: _Reader, record: int, special: bool, truncate: bool) -> _Result:
    tokenizer = reader.tokenizer
    limit = tokenizer.max_length if tokenizer is not None else None
    if tokenizer is None or given.ids is not None:
        ids = given.ids or ()
        encoded = from_ids(tokenizer, ids[:limit] if truncate else ids)
        texts: list[str] = []
        truncated = len(encoded.tokens) < len(ids)
    else:
        encoded = encode(tokenizer, given.text, pair=given.pair, special=special, truncate=truncate)
        texts = [given.text] if given.pair is None else [given.text, given.pair]
        truncated = truncate and len(encoded.tokens) == limit and was_cut(encoded, texts)
    unknown_id = tokenizer.unknown_id if tokenizer is not None else None
    text = TokenizedText(
        record=record,
        model=reader.model,
        text=given.text if texts else None,
        pair=given.pair,
        tokens=encoded.tokens,
        stats=measure(encoded, kept(encoded, texts) if truncated else texts, unknown_id=unknown_id),
        max_length=limit,
    )
    return _Result(text, truncated)


def _lengths(results: Sequence[_Result], count: int) -> Iterator[str]:
    """What is too long for its model, and what was cut to fit."""
    for text, truncated in results:
        which = f"text {text.record + 1} of {count}" if count > 1 else "the text"
        if truncated:
            yield f"{which} was cut to the {text.max_length:,} tokens that {text.model} takes"
        elif text.max_length is not None and len(text.tokens) > text.max_length:
            lengths = f"has {len(text.tokens):,} tokens and {text.model} takes {text.max_length:,}"
            yield f"{which} {lengths} (--truncate cuts it)"


def _made_by(readers: Sequence[_Reader]) -> MadeBy:
    """The versions that took part; the tokenizer's class and the commit where there is one model."""
    tokenizers = [reader.tokenizer for reader in readers if reader.tokenizer is not None]
    packages = ["tokenizers"] * bool(tokenizers) + ["transformers"] * any(tokenizer.slow for tokenizer in tokenizers)
    alone = readers[0] if len(readers) == 1 else None
    return made_by(
        *packages,
        model_class=alone.tokenizer.class_name if alone is not None and alone.tokenizer is not None else None,
        revision=alone.revision if alone is not None else None,
    )
