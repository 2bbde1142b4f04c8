"""Guards against a tokenizer.json that makes the library `tokenizers` panic, or a text grow without bound.

The library is written in Rust. A panic reaches Python as an exception that is no `Exception`, and an allocation that
fails ends the process. So panics are translated, and how much a text can grow is known before the library sees it: from
the settings of the parts, and where that bound is too high, from running the normaliser step by step.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend

from attncli.errors import AttnError, ModelError, is_panic, reason_of
from attncli.limits import MAX_NORMALIZED_BYTES, MAX_TEXT_GROWTH, MAX_TOKEN_CHARACTERS
from attncli.models.files.weight_headers import BrokenFileError, check_depth, check_file, quote_name, read_bytes
from attncli.models.tokenizers.config import flat_parts
from attncli.models.tokenizers.token_bytes import part_state

#: The most that parts without texts of their own multiply the bytes of a text by (https://unicode.org/faq/normalization).
_GROWTH = {
    "NFC": 3, "NFD": 3, "NFKC": 11, "NFKD": 11, "Lowercase": 3, "BertNormalizer": 8, "Precompiled": 11, "ByteLevel": 2,
    "Metaspace": 5, "BPEDecoder": 2, "WordPiece": 2,
}  # fmt: skip
_CHILDREN = ("normalizers", "pretokenizers", "decoders")
_HINT = "check its tokenizer.json, or use another model (-m)"

#: The part of a tokenizer.json that is searched for the parts before its vocabulary, which mostly comes last.
_HEAD_BYTES = 1 << 20
_AFTER_VOCABULARY = (b'ormalizer"', b'dded_tokens"', b"\\u00")
_LATE_PART = re.compile(rb'(ormalizer|dded_tokens)"\s*:\s*[\[{]|\\u00[4-7]')


@contextmanager
def translate_failures(what: str = "could not cut the text") -> Iterator[None]:
    """Turn what the library raises, panics included, into a ModelError: its settings contradict each other."""
    try:
        yield
    except (AttnError, MemoryError):
        raise
    except BaseException as error:  # the library raises nothing more precise
        if not (isinstance(error, Exception) or is_panic(error)):
            raise
        raise ModelError(f"the tokenizer {what}: {reason_of(error)[:300]}", hint=_HINT) from error


class GrowthLimit:
    """How much the parts of a tokenizer can make of a text, checked before it is given to the library."""

    def __init__(self, backend: Backend) -> None:
        """Raises ModelError for a decoder that could make too much of a token."""
        self._steps = [(step, growth(part_state(step))) for step in flat_parts(backend.normalizer)]
        self._later = growth(part_state(backend.pre_tokenizer))
        self._bound = prod(factor for _, factor in self._steps) * self._later
        decoder = growth(part_state(backend.decoder))
        if decoder > MAX_TEXT_GROWTH:
            raise ModelError(f"the tokenizer's decoder would turn one byte into {decoder:,.0f}", hint=_HINT)

    def check(self, texts: Sequence[str]) -> None:
        """Raise ModelError if texts would become too large together."""
        if self._bound > MAX_TEXT_GROWTH:
            first = size = _bytes(texts)
            for step, factor in self._steps:
                if size * self._bound <= MAX_NORMALIZED_BYTES:
                    return
                _refuse_growth(size, factor, first)
                texts = [step.normalize_str(text) for text in texts]
                size = _bytes(texts)
            _refuse_growth(size, self._later, first)


def _bytes(texts: Iterable[str]) -> int:
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)


def check_token(token: str) -> None:
    """Raise ModelError for a token that is longer than any model has: a text may have it for every word."""
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise ModelError(f"the vocabulary has a token of {len(token):,} characters: {quote_name(token)}", hint=_HINT)


def _refuse_growth(size: int, factor: float, first: int | None = None) -> None:
    """Raise ModelError if `size` bytes, which were `first` before the first step, may become too many."""
    if size * factor > max(MAX_NORMALIZED_BYTES, MAX_TEXT_GROWTH * (first or size)):
        raise ModelError(
            f"the tokenizer would turn {first or size:,} bytes into up to {size * factor:,.0f}, which is too much",
            hint="check Replace and Prepend in its tokenizer.json, or use another model (-m)",
        )


def growth(state: Mapping[str, Any] | None) -> float:
    """The most that a part, as in a tokenizer.json, multiplies the bytes of a text by; 1 for Python code."""
    if not isinstance(state, Mapping):
        return 1
    match state:
        case {"type": "Replace", "content": str(content), "pattern": {"String": str(pattern)}} if pattern:
            return max(1, len(content.encode()) / len(pattern.encode()))
        case {"type": "Replace", "content": str(content)}:
            # A regular expression may match between any two characters.
            return 1 + len(content.encode())
        case {"type": "Prepend", "prepend": str(prefix)}:
            return 1 + len(prefix.encode())
        case {"type": "Sequence"}:
            parts: list[Any] = next((state[name] for name in _CHILDREN if isinstance(state.get(name), list)), [])
            return prod(growth(part) for part in parts)
    return _GROWTH.get(str(state.get("type")), 1)


def check_charsmap(content: bytes) -> None:
    """Raise BrokenFileError for a `precompiled_charsmap` of SentencePiece whose table is longer than itself.

    Its first four bytes are the table's length, and the library allocates twice that before it reads the table.
    """
    length = int.from_bytes(content[:4], "little")
    if content and length > len(content) - 4:
        raise BrokenFileError(f"its precompiled_charsmap declares a table of {length:,} bytes and has {len(content):,}")


def _charsmaps(normalizer: object) -> Iterator[bytes]:
    """The tables of the Precompiled parts of a normaliser, as in a tokenizer.json."""
    if isinstance(normalizer, dict):
        charsmap, parts = normalizer.get("precompiled_charsmap"), normalizer.get("normalizers")
        if isinstance(charsmap, str):
            with suppress(ValueError):  # the library says what is wrong
                yield b64decode(charsmap)
        for part in parts if isinstance(parts, list) else []:
            yield from _charsmaps(part)


def check_file_growth(path: Path, *, repair_hint: str) -> None:
    """Raise ModelError for a tokenizer.json with which the library would run out of memory while it loads it.

    Loading normalises the added tokens, and makes the tables of SentencePiece's normalisers.
    """
    with check_file(path, repair_hint):
        parts = _parts(read_bytes(path))
        check_depth(parts)
        for charsmap in _charsmaps(parts.get("normalizer")):
            check_charsmap(charsmap)
    factor = growth(parts.get("normalizer"))
    tokens = parts.get("added_tokens")
    contents = [each.get("content") for each in tokens if isinstance(each, dict)] if isinstance(tokens, list) else []
    if factor > MAX_TEXT_GROWTH:
        _refuse_growth(_bytes(content for content in contents if isinstance(content, str)), factor)


def _parts(content: bytes) -> Mapping[str, Any]:
    """The parts of a tokenizer.json: normaliser, added tokens, …; the vocabulary is left out where it comes last."""
    head, place = _read_head(content[:_HEAD_BYTES])
    if place is not None and not (
        any(content.find(mark, place) >= 0 for mark in _AFTER_VOCABULARY) and _LATE_PART.search(content, place)
    ):
        return head
    try:
        found = json.loads(content.decode("utf-8"), object_pairs_hook=_reject_repeated_parts)
    except (ValueError, RecursionError):
        return {}  # the library says what is wrong
    return found if isinstance(found, dict) else {}


def _read_head(content: bytes) -> tuple[dict[str, Any], int | None]:
    """The parts before the vocabulary, and where it begins; None where it isn't reached."""
    text = content.decode("utf-8", "replace")
    decoder, found = json.JSONDecoder(), dict[str, Any]()
    match = re.match(r"\s*\{", text)
    try:
        while match is not None:
            name, place = decoder.raw_decode(text, re.compile(r"\s*").match(text, match.end()).end())  # type: ignore[union-attr]
            if name in found or not isinstance(name, str):
                return {}, None
            match = re.compile(r"\s*:\s*").match(text, place)
            if match is None or name == "model":
                return found, len(text[:place].encode()) if match else None
            found[name], place = decoder.raw_decode(text, match.end())
            match = re.compile(r"\s*,").match(text, place)
    except (ValueError, RecursionError):
        return {}, None
    return {}, None


def _reject_repeated_parts(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs) and [name for name, _ in pairs].count("normalizer") > 1:
        raise BrokenFileError("it has two normalizers")
    return found
