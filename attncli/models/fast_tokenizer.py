"""A tokenizer of the library `tokenizers`: what a tokenizer.json describes, without transformers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from attncli.errors import FailedError, ModelError
from attncli.models.encoding import Encoding, Piece
from attncli.models.spelling import Spelling, spelling_of
from attncli.models.tokenizer_config import TokenizerConfig

if TYPE_CHECKING:
    from tokenizers import Encoding as BackendEncoding

#: A character that no vocabulary holds: the last private one.
_UNKNOWN_CHARACTER = "\U0010fffd"


class FastTokenizer:
    """`attncli.models.encoding.Tokenizer` around a `tokenizers.Tokenizer`.

    The wrapped object's own truncation and padding are set aside during a call and given back after it, so that an
    object that belongs to somebody else stays as it was.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        class_name: str = "",
        max_length: int | None = None,
        truncation_side: str = "right",
        slow: bool = False,
        note: str | None = None,
    ) -> None:
        self._backend = backend
        self._truncation_side = truncation_side
        self.class_name = class_name or type(backend.model).__name__
        self.max_length = max_length
        self.slow = slow
        self.note = note
        self.unknown_id, self._spelling = _model_part(backend)
        self._added = backend.get_added_tokens_decoder()

    @property
    def vocabulary_size(self) -> int:
        return self._backend.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str, *, pair: str | None = None, special: bool = True, truncate: bool = False) -> Encoding:
        limit = self.max_length if truncate else None
        with _settings_aside(self._backend):
            if limit is not None:
                self._backend.enable_truncation(limit, direction=self._truncation_side)
            return _encoding(self._call(text, pair, special))

    def describe(self, ids: Sequence[int]) -> list[Piece | None]:
        pieces = {identifier: self._piece(identifier) for identifier in set(ids)}
        return [pieces[identifier] for identifier in ids]

    def _call(self, text: str, pair: str | None, special: bool) -> BackendEncoding:
        try:
            return self._backend.encode(text, pair, add_special_tokens=special)
        except Exception as error:  # tokenizers raises nothing more precise
            raise FailedError(
                f"the tokenizer could not cut the text: {error}", hint="look at its tokenizer.json, or try another -m"
            ) from error

    def _piece(self, identifier: int) -> Piece | None:
        if (added := self._added.get(identifier)) is not None:
            special = added.special and identifier != self.unknown_id
            return Piece.of(identifier, added.content, added.content.encode("utf-8"), special=special)
        try:
            token = self._backend.id_to_token(identifier)
        except OverflowError:  # ids are 32-bit numbers there
            return None
        return None if token is None else Piece.of(identifier, token, self._spelling.data(token))


def read_fast_tokenizer(path: Path, config: TokenizerConfig, *, mend: str, note: str | None = None) -> FastTokenizer:
    """The tokenizer of a tokenizer.json and of the settings beside it.

    Raises ModelError, with `mend` as its hint, where the file is broken.
    """
    try:
        backend = Backend.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing more precise
        raise ModelError(f"{path} could not be read: {error}", hint=mend) from error
    _rebuild(backend, config.rebuilt)
    _add_tokens(backend, config)
    backend.encode_special_tokens = config.split_special_tokens
    return FastTokenizer(
        backend,
        class_name=config.class_name,
        max_length=config.max_length,
        truncation_side=config.truncation_side,
        note=note,
    )


def _rebuild(backend: Backend, settings: Mapping[str, object]) -> None:
    """Let the settings that a tokenizer_config.json spells out outrank the parts of tokenizer.json."""
    for part in _flat(backend.normalizer):
        if type(part).__name__ == "BertNormalizer":
            _set(part, "lowercase", settings.get("do_lower_case"))
            _set(part, "handle_chinese_chars", settings.get("tokenize_chinese_chars"))
            if "strip_accents" in settings:
                part.strip_accents = settings["strip_accents"]
    for part in _flat(backend.pre_tokenizer):
        if type(part).__name__ == "ByteLevel":
            _set(part, "add_prefix_space", settings.get("add_prefix_space"))


def _add_tokens(backend: Backend, config: TokenizerConfig) -> None:
    """Add the tokens that only the configuration names; one that the vocabulary spells already keeps its id."""
    if config.numbered:
        backend.add_tokens([AddedToken(**token._asdict()) for token in config.numbered])
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    missing = {token.content: token for token in reversed(config.named) if token.content not in known}
    if missing:
        backend.add_tokens([AddedToken(**token._asdict()) for token in reversed(missing.values())])


def _flat(part: Any) -> Iterator[Any]:
    """A normaliser or pre-tokenizer as its simple parts."""
    if type(part).__name__ == "Sequence":
        for child in part:
            yield from _flat(child)
    elif part is not None:
        yield part


def _set(part: Any, name: str, value: object) -> None:
    if isinstance(value, bool):
        setattr(part, name, value)


def _model_part(backend: Backend) -> tuple[int | None, Spelling]:
    """The id of the unknown token and the spelling, as the parts of the tokenizer say."""
    model: Any = backend.model
    unknown, byte_fallback = _unigram(model) if type(model).__name__ == "Unigram" else _others(backend, model)
    decoder = _state(backend.decoder)
    spelling = spelling_of(
        decoder,
        None if decoder is not None else _state(backend.pre_tokenizer),
        prefix=getattr(model, "continuing_subword_prefix", None) or "",
        suffix=getattr(model, "end_of_word_suffix", None) or "",
        byte_fallback=byte_fallback,
    )
    return unknown, spelling


def _others(backend: Backend, model: Any) -> tuple[int | None, bool]:
    unknown = getattr(model, "unk_token", None)
    return backend.token_to_id(unknown) if unknown else None, bool(getattr(model, "byte_fallback", False))


def _unigram(model: Any) -> tuple[int | None, bool]:
    """A Unigram model names neither unknown id nor byte fallback: how it cuts an unknown character shows both."""
    try:
        pieces = model.tokenize(_UNKNOWN_CHARACTER)
    except Exception:  # tokenizers raises nothing more precise: this model has no unknown token
        return None, False
    if len(pieces) > 1:
        return None, True
    return next((piece.id for piece in pieces), None), False


def _state(part: Any) -> Mapping[str, object] | None:
    """A part as the JSON of a tokenizer.json; None where there is none, or where it is somebody's Python code."""
    if part is None:
        return None
    try:
        return json.loads(part.__getstate__())  # type: ignore[no-any-return]
    except Exception:  # tokenizers raises nothing more precise for a part that it cannot write down
        return None


@contextmanager
def _settings_aside(backend: Backend) -> Iterator[None]:
    """Switch truncation and padding off, and give them back afterwards."""
    truncation, padding = backend.truncation, backend.padding
    backend.no_truncation()
    backend.no_padding()
    try:
        yield
    finally:
        backend.no_truncation()
        if truncation is not None:
            backend.enable_truncation(**truncation)
        if padding is not None:
            backend.enable_padding(**padding)


def _encoding(encoding: BackendEncoding) -> Encoding:
    sequences: list[int | None] = encoding.sequence_ids
    spans = [None if own is None else span for own, span in zip(sequences, encoding.offsets, strict=True)]
    return Encoding(ids=encoding.ids, sequences=sequences, segments=encoding.type_ids, spans=spans)
