"""A tokenizer of transformers that is written in Python: it gives ids, but not where in the text they come from.

`attncli.tokens.encode` finds the places afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any

from attncli.errors import ModelError, reason_of
from attncli.models.tokenizers.token_bytes import TokenBytes
from attncli.models.tokenizers.types import Encoding, Piece


class PythonTokenizer:
    """`attncli.models.tokenizers.types.Tokenizer` around a tokenizer of transformers that is written in Python."""

    note: str | None = None

    def __init__(self, loaded: Any, *, max_length: int | None, slow: bool) -> None:
        self._loaded = loaded
        self.max_length = max_length
        self.slow = slow
        self.class_name = type(loaded).__name__
        self.unknown_id: int | None = getattr(loaded, "unk_token_id", None)
        self._special_as_text = False
        self._special = frozenset(loaded.all_special_ids) - {self.unknown_id}
        # How SentencePiece writes tokens is known; for any other class only its own decoder can tell.
        is_sentencepiece = hasattr(loaded, "sp_model")
        self._token_bytes = TokenBytes(byte_fallback=True, replacements=(("▁", " "),)) if is_sentencepiece else None

    @property
    def vocabulary_size(self) -> int:
        return len(self._loaded)

    def with_special_as_text(self) -> PythonTokenizer:
        reading = copy(self)
        reading._special_as_text = True
        return reading

    def encode(self, text: str, *, pair: str | None = None, special: bool = True, truncate: bool = False) -> Encoding:
        ids = self._ids(text)
        pair_ids = [] if pair is None else self._ids(pair)
        # The classes put special tokens around any numbers. Negative places instead of ids show which tokens of the
        # result come from the text, which from its pair, and which were added.
        first = [~place for place in range(len(ids))]
        second = None if pair is None else [~place for place in range(len(ids), len(ids) + len(pair_ids))]
        if truncate and self.max_length is not None:
            first, second = self._truncated(first, second, special)
        joined, segments = self._add_special_tokens(first, second, special)
        tokens = [(identifier, 0) for identifier in ids] + [(identifier, 1) for identifier in pair_ids]
        entries = [tokens[~number] if number < 0 else (number, None) for number in joined]
        return Encoding(
            ids=[identifier for identifier, _ in entries],
            sequences=[sequence for _, sequence in entries],
            segments=segments,
            spans=[None] * len(entries),
        )

    def encode_batch(
        self, texts: Sequence[str], *, special: bool = True, truncate: bool = False
    ) -> list[Sequence[int]]:
        return [self.encode(text, special=special, truncate=truncate).ids for text in texts]

    def encode_blocks(self, blocks: Iterable[str], *, special: bool = True) -> Iterator[Sequence[int]]:
        # Where such a tokenizer cuts is unknown, so the text can't be encoded in chunks.
        yield self.encode("".join(blocks), special=special).ids

    def differs_from_file(self, text: str) -> bool:
        return False

    def describe(self, ids: Sequence[int]) -> list[Piece | None]:
        pieces = {identifier: self._piece(identifier) for identifier in set(ids)}
        return [pieces[identifier] for identifier in ids]

    def vocabulary(self) -> Iterator[Piece]:
        ids = sorted({*range(self.vocabulary_size), *self._loaded.added_tokens_decoder})
        return (piece for identifier in ids if (piece := self._piece(identifier)) is not None)

    def decode(self, ids: Sequence[int]) -> str:
        decoded = self._loaded.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(decoded)

    @property
    def algorithm(self) -> str:
        return self.class_name

    @property
    def added_count(self) -> int:
        return int(self.vocabulary_size - self._loaded.vocab_size)

    @property
    def token_bytes(self) -> TokenBytes:
        return self._token_bytes or TokenBytes()

    @property
    def composer(self) -> None:
        return None

    def pipeline(self) -> None:
        return None

    def _ids(self, text: str) -> list[int]:
        with suppress_warnings():
            try:
                options = {"split_special_tokens": True} if self._special_as_text else {}
                return list(self._loaded.encode(text, add_special_tokens=False, **options))
            except Exception as error:  # each class raises its own
                raise ModelError(
                    f"the tokenizer {self.class_name} could not cut the text: {reason_of(error)}", hint="try another -m"
                ) from error

    def _add_special_tokens(
        self, first: list[int], second: list[int] | None, special: bool
    ) -> tuple[list[int], list[int]]:
        """Both sequences with special tokens around them, and the segment of each token."""
        if not special:
            joined = first + (second or [])
            return joined, [0] * len(joined)
        joined = self._loaded.build_inputs_with_special_tokens(first, second)
        segments = self._loaded.create_token_type_ids_from_sequences(first, second)
        return joined, segments if len(segments) == len(joined) else [0] * len(joined)

    def _truncated(
        self, first: list[int], second: list[int] | None, special: bool
    ) -> tuple[list[int], list[int] | None]:
        """Both sequences truncated, the longer one first, to fit with the special tokens around them."""
        added, _ = self._add_special_tokens([], None if second is None else [], special)
        room = max((self.max_length or 0) - len(added), 0)
        if second is None:
            return self._truncate(first, room), None
        shorter = min(len(first), len(second), room // 2)
        if len(first) <= len(second):
            return self._truncate(first, shorter), self._truncate(second, room - shorter)
        return self._truncate(first, room - shorter), self._truncate(second, shorter)

    def _truncate(self, places: list[int], length: int) -> list[int]:
        if len(places) <= length:
            return places
        left = getattr(self._loaded, "truncation_side", "right") == "left"
        return places[len(places) - length :] if left else places[:length]

    def _piece(self, identifier: int) -> Piece | None:
        if not 0 <= identifier < self.vocabulary_size and identifier not in self._loaded.added_tokens_decoder:
            return None
        token = self._loaded.convert_ids_to_tokens(identifier)
        if token is None:
            return None
        return Piece.of(identifier, token, self._piece_bytes(identifier, token), special=identifier in self._special)

    def _piece_bytes(self, identifier: int, token: str) -> bytes:
        if identifier in self._loaded.added_tokens_decoder:
            return token.encode("utf-8", "backslashreplace")
        if self._token_bytes is not None:
            return self._token_bytes.to_bytes(token)
        decoded = self._loaded.convert_tokens_to_string([token])
        if not decoded and len(token) == 1 and ord(token) < 0x100:
            # A tokenizer of bytes (ByT5) decodes a part of a character to nothing.
            return bytes([ord(token)])
        return (decoded or token).encode("utf-8", "backslashreplace")


@contextmanager
def suppress_warnings() -> Iterator[None]:
    """Keep transformers' warnings from stderr."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
