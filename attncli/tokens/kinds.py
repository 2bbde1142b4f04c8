"""What kind of thing an entry of a vocabulary is, and how its vocabulary marks words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import regex

from attncli.tokens.scripts import NEUTRAL, script_of

if TYPE_CHECKING:
    from attncli.models.tokenizers.token_bytes import Spelling
    from attncli.models.tokenizers.types import Piece

#: By kind, in the order in which they are tried; the first that the whole text without the space before it matches.
_KINDS = {
    "number": regex.compile(r"\p{N}+"),
    "emoji": regex.compile(
        r"(?:(?!\p{N})[\p{Extended_Pictographic}\p{Regional_Indicator}][\p{M}\p{Emoji_Modifier}\u200d\ufe0f]*)+"
    ),
    "symbol": regex.compile(r"[^\p{L}\p{M}\p{N}]+"),
}


def word_mark(pieces: Iterable[Piece], spelling: Spelling) -> str | None:
    """How the entry that begins a word is told from one that goes on with it; see `Vocabulary.word_mark`."""
    if spelling.prefix:
        return "prefix"
    if spelling.suffix:
        return "suffix"
    return "space" if any(_begins_with_space(piece) for piece in pieces) else None


def _begins_with_space(piece: Piece) -> bool:
    return not piece.special and piece.data[:1] == b" " and len(piece.data) > 1


def kind_of(piece: Piece, spelling: Spelling, mark: str | None) -> str:
    """The kind of an entry; see `Vocabulary.kinds`."""
    if piece.special:
        return "special"
    if not piece.data:
        return "empty"
    if (whole := _text(piece)) is None or (spelling.byte_fallback and _is_named_byte(piece)):
        return "byte" if len(piece.data) == 1 else "partial"
    text = whole.strip()
    if not text:
        return "space"
    if not text.isalpha():  # most are, and need no pattern
        for kind, pattern in _KINDS.items():
            if pattern.fullmatch(text):
                return kind
    return "word" if _is_word(piece, spelling, mark) else "continuation"


def script_of_entry(piece: Piece) -> str | None:
    """The script of the first letter; None where there is none."""
    if _text(piece) is None:
        return None
    scripts = (script_of(character) for character in piece.text if character.isalpha())
    return next((script for script in scripts if script not in NEUTRAL), None)


def _text(piece: Piece) -> str | None:
    """The characters that an entry stands for; None where it cuts one."""
    try:
        return piece.data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _is_named_byte(piece: Piece) -> bool:
    """`<0x61>`, beside which there is mostly an `a` that is used instead."""
    return len(piece.data) == 1 and piece.token == f"<0x{piece.data[0]:02X}>"


def _is_word(piece: Piece, spelling: Spelling, mark: str | None) -> bool:
    if mark == "prefix":
        return not piece.token.startswith(spelling.prefix)
    if mark == "suffix":
        return piece.token.endswith(spelling.suffix)
    return mark is None or piece.data[:1] == b" "
