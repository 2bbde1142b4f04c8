"""A tokenizer of the library `tokenizers`, as a tokenizer.json describes it, without transformers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer as Backend
from tokenizers import models, normalizers

from attncli.errors import ModelError, is_panic, reason_of
from attncli.models.files.weight_headers import BrokenFileError, parse_json, read_bytes
from attncli.models.tokenizers.config import TokenizerConfig, apply_config, flat_parts
from attncli.models.tokenizers.guard import GrowthLimit, check_file_growth, check_token, translate_failures
from attncli.models.tokenizers.token_bytes import TokenBytes, part_state, read_token_bytes
from attncli.models.tokenizers.types import Encoding, Piece

if TYPE_CHECKING:
    from tokenizers import Encoding as BackendEncoding

    from attncli.models.tokenizers.config import FileParts
    from attncli.models.tokenizers.long_text import Frame
    from attncli.models.tokenizers.pipeline import TokenizerPipeline

#: Characters above which a text is encoded in chunks, which changes only the time it takes.
LONG_TEXT = 1 << 16

#: Normalisers that may make one character of several, and those that only change the ends of a text.
_COMPOSING_KINDS = frozenset(("NFC", "NFKC", "Precompiled"))
_ENDS_KINDS = frozenset(("Prepend", "Strip"))

#: A character that is in no vocabulary: the last one for private use.
_UNKNOWN_CHARACTER = "\U0010fffd"


class FastTokenizer:
    """`attncli.models.tokenizers.types.Tokenizer` around a `tokenizers.Tokenizer`.

    The wrapped object's own truncation and padding are switched off during a call and restored after it, as the object
    may be the user's. Calls from several threads wait for each other.
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
        file_parts: FileParts | None = None,
    ) -> None:
        self._backend = backend
        self._file_parts = file_parts
        self._truncation_side = truncation_side
        self.algorithm = type(backend.model).__name__
        self.class_name = class_name or self.algorithm
        self.max_length = max_length
        self.slow = slow
        self.note = note
        self.unknown_id, self.token_bytes = _unknown_id_and_token_bytes(backend)
        self._added = backend.get_added_tokens_decoder()
        steps = [part for part in flat_parts(backend.normalizer) if type(part).__name__ not in _ENDS_KINDS]
        self.composer = normalizers.Sequence(steps).normalize_str if any(map(_composes, steps)) else None
        self._special_as_text = False
        self._growth = GrowthLimit(backend)
        self._lock = Lock()

    @property
    def vocabulary_size(self) -> int:
        return self._backend.get_vocab_size(with_added_tokens=True)

    def with_special_as_text(self) -> FastTokenizer:
        from copy import copy  # most tokenizers start without it

        reading = copy(self)
        reading._special_as_text = True
        return reading

    def encode(self, text: str, *, pair: str | None = None, special: bool = True, truncate: bool = False) -> Encoding:
        limit = self.max_length if truncate else None
        if pair is None and len(text) > LONG_TEXT:
            return self._encode_long(text, special, limit)
        return self._encode_whole(text, pair, special, limit)

    def encode_batch(
        self, texts: Sequence[str], *, special: bool = True, truncate: bool = False
    ) -> list[Sequence[int]]:
        limit = self.max_length if truncate else None
        short = [text for text in texts if len(text) <= LONG_TEXT]
        with self._exclusive_backend(limit):
            self._growth.check(short)
            encoded = iter(self._backend.encode_batch_fast(short, add_special_tokens=special))
        return [next(encoded).ids if len(text) <= LONG_TEXT else self._long_ids(text, special, limit) for text in texts]

    def encode_blocks(self, blocks: Iterable[str], *, special: bool = True) -> Iterator[Sequence[int]]:
        from attncli.models.tokenizers.long_text import encode_chunks

        frame = self._frame(special)
        if frame is None:
            yield self._encode_whole("".join(blocks), None, special, None).ids
            return
        yield frame.head_ids
        yield from (part.ids for part in encode_chunks(self._encode_plain, blocks))
        yield frame.tail_ids

    def differs_from_file(self, text: str) -> bool:
        if self._file_parts is None:
            return False
        start = text[:LONG_TEXT]
        ids = self._encode_whole(start, None, False, None).ids
        own = self._backend.normalizer, self._backend.pre_tokenizer
        with self._exclusive_backend():
            self._backend.normalizer, self._backend.pre_tokenizer = self._file_parts
            try:
                return bool(self._backend.encode(start, add_special_tokens=False).ids != ids)
            finally:
                self._backend.normalizer, self._backend.pre_tokenizer = own

    def describe(self, ids: Sequence[int]) -> list[Piece | None]:
        pieces = {identifier: self._piece(identifier) for identifier in set(ids)}
        for piece in pieces.values():
            if piece is not None:
                check_token(piece.token)
        return [pieces[identifier] for identifier in ids]

    def vocabulary(self) -> Iterator[Piece]:
        entries = {identifier: token for token, identifier in self._backend.get_vocab(with_added_tokens=True).items()}
        to_bytes = self.token_bytes.to_bytes
        for identifier in sorted(entries):
            if identifier in self._added:
                yield self._added_piece(identifier)
            else:
                yield Piece.of(identifier, entries[identifier], to_bytes(entries[identifier]))

    def decode(self, ids: Sequence[int]) -> str:
        with translate_failures("could not decode the tokens"):
            return self._backend.decode(list(ids), skip_special_tokens=True)

    @property
    def added_count(self) -> int:
        return self.vocabulary_size - self._backend.get_vocab_size(with_added_tokens=False)

    def pipeline(self) -> TokenizerPipeline:
        from attncli.models.tokenizers.pipeline import TokenizerPipeline

        with self._exclusive_backend():
            return TokenizerPipeline(self._backend)

    def _encode_whole(self, text: str, pair: str | None, special: bool, limit: int | None) -> Encoding:
        with self._exclusive_backend(limit):
            self._growth.check([text] if pair is None else [text, pair])
            encoding = self._backend.encode(text, pair, add_special_tokens=special)
            sequences: list[int | None] = encoding.sequence_ids
            spans = [
                None if sequence is None else span for sequence, span in zip(sequences, encoding.offsets, strict=True)
            ]
            return Encoding(ids=encoding.ids, sequences=sequences, segments=encoding.type_ids, spans=spans)

    def _encode_long(self, text: str, special: bool, limit: int | None) -> Encoding:
        """`_encode_whole` in chunks of the text."""
        from attncli.models.tokenizers.long_text import add_frame, encode_chunks, truncation_range

        frame = self._frame(special)
        if frame is None:
            return self._encode_whole(text, None, special, limit)
        if limit is None:
            return add_frame(encode_chunks(self._encode_plain, [text]), frame)
        start, end = truncation_range(encode_chunks(self._encode_plain, [text]), limit, self._truncation_side)
        encoding = self._encode_whole(text[start:end], None, special, limit)
        return encoding._replace(spans=[span and (span[0] + start, span[1] + start) for span in encoding.spans])

    def _long_ids(self, text: str, special: bool, limit: int | None) -> Sequence[int]:
        if limit is not None:
            return self._encode_long(text, special, limit).ids
        return [identifier for part in self.encode_blocks([text], special=special) for identifier in part]

    def _encode_plain(self, texts: list[str]) -> list[BackendEncoding]:
        """Encode texts without special tokens around them."""
        with self._exclusive_backend():
            self._growth.check(texts)
            return self._backend.encode_batch(texts, add_special_tokens=False)

    def _frame(self, special: bool) -> Frame | None:
        from attncli.models.tokenizers.long_text import read_frame

        with self._exclusive_backend():
            return read_frame(self._backend, special=special)

    @contextmanager
    def _exclusive_backend(self, limit: int | None = None) -> Iterator[None]:
        """Use the backend in one thread at a time, without its own truncation and padding.

        limit: truncate to this many tokens. Raises ModelError where the library fails.
        """
        with self._lock, translate_failures(), _without_truncation_and_padding(self._backend):
            splits = self._backend.encode_special_tokens
            try:
                self._backend.encode_special_tokens = splits or self._special_as_text
                if limit is not None:
                    self._backend.enable_truncation(limit, direction=self._truncation_side)
                yield
            finally:
                self._backend.encode_special_tokens = splits

    def _piece(self, identifier: int) -> Piece | None:
        if identifier in self._added:
            return self._added_piece(identifier)
        try:
            token = self._backend.id_to_token(identifier)
        except OverflowError:  # the library's ids are 32-bit numbers
            return None
        return None if token is None else Piece.of(identifier, token, self.token_bytes.to_bytes(token))

    def _added_piece(self, identifier: int) -> Piece:
        added = self._added[identifier]
        special = added.special and identifier != self.unknown_id
        return Piece.of(identifier, added.content, added.content.encode("utf-8"), special=special)


def read_fast_tokenizer(
    path: Path, config: TokenizerConfig, *, repair_hint: str, note: str | None = None
) -> FastTokenizer:
    """The tokenizer of a tokenizer.json and the settings beside it.

    Raises ModelError, with `repair_hint` as its hint, where the file is broken.
    """
    check_file_growth(path, repair_hint=repair_hint)
    try:
        backend = Backend.from_file(str(path))
    except BaseException as error:  # tokenizers raises nothing more precise
        if not (isinstance(error, Exception) or is_panic(error)):
            raise
        raise ModelError(f"{path} could not be read: {_error_reason(path, error)}", hint=repair_hint) from error
    truncation = backend.truncation or {}
    stride, most = truncation.get("stride", 0), truncation.get("max_length", 1)
    if stride >= most:
        message = f"{path} can't be used: its truncation keeps {most:,} tokens and repeats {stride:,} of them"
        raise ModelError(message, hint=repair_hint)
    with translate_failures("can't be built from its files"):
        file_parts = apply_config(backend, config)
        return FastTokenizer(
            backend,
            class_name=config.class_name,
            max_length=config.max_length,
            truncation_side=config.truncation_side,
            note=note,
            file_parts=file_parts,
        )


def _error_reason(path: Path, error: BaseException) -> str:
    """The library's own message, except for an unknown type of model: there it only names parts of its code."""
    try:
        content = parse_json(read_bytes(path))
    except BrokenFileError as fault:
        return str(fault)
    model = content.get("model") if isinstance(content, dict) else None
    kind = model.get("type", "BPE") if isinstance(model, dict) else None
    if not isinstance(kind, str):
        return reason_of(error)[:300]
    known = [name for name in ("BPE", "Unigram", "WordLevel", "WordPiece") if hasattr(models, name)]
    return (
        reason_of(error)[:300]
        if kind in known
        else f"its model type {kind[:40]} is unknown; known are {', '.join(known)}"
    )


def _unknown_id_and_token_bytes(backend: Backend) -> tuple[int | None, TokenBytes]:
    """The id of the unknown token, and how the vocabulary writes bytes, read from the parts of the tokenizer."""
    model: Any = backend.model
    if type(model).__name__ == "Unigram":
        # A Unigram model tells neither: both are seen from how it cuts an unknown character.
        try:
            pieces = model.tokenize(_UNKNOWN_CHARACTER)
        except Exception:  # tokenizers raises nothing more precise: this model has no unknown token
            pieces = []
        unknown, byte_fallback = pieces[0].id if len(pieces) == 1 else None, len(pieces) > 1
    else:
        name = getattr(model, "unk_token", None)
        unknown = backend.token_to_id(name) if name else None
        byte_fallback = bool(getattr(model, "byte_fallback", False))
    decoder = part_state(backend.decoder)
    token_bytes = read_token_bytes(
        decoder,
        None if decoder is not None else part_state(backend.pre_tokenizer),
        prefix=getattr(model, "continuing_subword_prefix", None) or "",
        suffix=getattr(model, "end_of_word_suffix", None) or "",
        byte_fallback=byte_fallback,
    )
    return unknown, token_bytes


def _model_properties(backend: Backend, model: Any) -> tuple[int | None, bool]:
    unknown = getattr(model, "unk_token", None)
    return backend.token_to_id(unknown) if unknown else None, bool(getattr(model, "byte_fallback", False))


def _composes(step: Any) -> bool:
    """Whether a step of the normaliser may make one character of several."""
    kind = type(step).__name__
    if kind != "Replace":
        return kind in _COMPOSING_KINDS
    match part_state(step):
        case {"pattern": {"String": str(replaced)}}:
            return len(replaced) > 1
    return True


@contextmanager
def _without_truncation_and_padding(backend: Backend) -> Iterator[None]:
    """Switch truncation and padding off, and restore them afterwards."""
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
