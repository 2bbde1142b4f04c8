"""Convert a raw token of a vocabulary to the bytes that it stands for.

Vocabularies write a space as `Ġ` or `▁`, a byte as `Ċ` or `<0x0A>`, a continued word as `##les`. Which of these applies
is read from the parts of the tokenizer, above all its decoder, and not from a model's name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

#: Keys of a sequence that hold its parts.
_CHILD_KEYS = ("decoders", "pretokenizers")

_HEX = frozenset("0123456789abcdefABCDEF")


class TokenBytes(NamedTuple):
    """How a vocabulary writes its tokens.

    byte_level: every character stands for one byte, in GPT-2's alphabet.  byte_fallback: `<0x0A>` stands for a byte.
    prefix: marks a token that continues a word (`##`).  suffix: marks one that ends a word (`</w>`).
    replacements: pairs of a string in the token and the text it stands for (`▁`, a space), applied in order.
    """

    byte_level: bool = False
    byte_fallback: bool = False
    prefix: str = ""
    suffix: str = ""
    replacements: tuple[tuple[str, str], ...] = ()

    def to_bytes(self, token: str) -> bytes:
        """The UTF-8 bytes that a raw token stands for."""
        if self.byte_fallback and (byte := _fallback_byte(token)) is not None:
            return bytes([byte])
        if self.byte_level:
            return b"".join(_ALPHABET.get(character) or character.encode("utf-8") for character in token)
        for string, text in self.replacements:
            token = token.replace(string, text)
        if token != self.prefix:
            token = token.removeprefix(self.prefix)
        if token != self.suffix:
            token = token.removesuffix(self.suffix)
        return token.encode("utf-8", "backslashreplace")


def read_token_bytes(
    decoder: Mapping[str, object] | None,
    pre_tokenizer: Mapping[str, object] | None,
    *,
    prefix: str = "",
    suffix: str = "",
    byte_fallback: bool = False,
) -> TokenBytes:
    """How a vocabulary writes tokens, read from its decoder, or from its pre-tokenizer where it has no decoder.

    decoder, pre_tokenizer: as in a tokenizer.json.  prefix, suffix, byte_fallback: of the model, used where the decoder
    has none.
    """
    parts = list(_flatten(decoder if decoder is not None else pre_tokenizer))
    kinds = {str(part.get("type")) for part in parts}
    return TokenBytes(
        byte_level="ByteLevel" in kinds,
        byte_fallback="ByteFallback" in kinds or byte_fallback,
        prefix=_text_setting(parts, "WordPiece", "prefix") or prefix,
        suffix=_text_setting(parts, "BPEDecoder", "suffix") or suffix,
        replacements=tuple(_replacements(parts)),
    )


def _flatten(part: Mapping[str, object] | None) -> Iterator[Mapping[str, object]]:
    if part is None:
        return
    yield part
    for key in _CHILD_KEYS:
        inner = part.get(key)
        for child in inner if isinstance(inner, list) else ():
            yield from _flatten(child)


def _text_setting(parts: list[Mapping[str, object]], kind: str, key: str) -> str:
    values = (part.get(key) for part in parts if part.get("type") == kind)
    return next((value for value in values if isinstance(value, str)), "")


def _replacements(parts: list[Mapping[str, object]]) -> Iterator[tuple[str, str]]:
    for part in parts:
        match part:
            case {"type": "Metaspace", "replacement": str(mark)} if mark:
                yield mark, " "
            case {"type": "Replace", "pattern": {"String": str(written)}, "content": str(meant)} if written:
                yield written, meant
            case {"type": "CTC", "word_delimiter_token": str(delimiter)} if delimiter:
                yield delimiter, " "


def _fallback_byte(token: str) -> int | None:
    """The byte of a token such as `<0x0A>`; None for other tokens."""
    is_byte = len(token) == 6 and token[:3] == "<0x" and token[5] == ">" and _HEX.issuperset(token[3:5])
    return int(token[3:5], 16) if is_byte else None


_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
#: GPT-2's bytes-to-unicode table: printable bytes are themselves, the others are U+0100 and following, in order.
_ALPHABET = {chr(byte): bytes([byte]) for byte in _PRINTABLE} | {
    chr(0x100 + place): bytes([byte]) for place, byte in enumerate(sorted(set(range(0x100)) - set(_PRINTABLE)))
}


def byte_letters() -> dict[int, str]:
    """GPT-2's letter for each byte."""
    return {byte[0]: letter for letter, byte in _ALPHABET.items()}


def part_state(part: Any) -> Mapping[str, object] | None:
    """A part of a tokenizer as in a tokenizer.json; None for no part, or one that is Python code."""
    if part is None:
        return None
    try:
        return json.loads(part.__getstate__())  # type: ignore[no-any-return]
    except Exception:  # tokenizers raises nothing more precise for a part that it cannot write down
        return None
