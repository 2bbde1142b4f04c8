"""Which tokens of a vocabulary are ordinary ones, and with which token a model expects a text to begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attncli.tokens.kinds import kind_of, word_mark

if TYPE_CHECKING:
    from attncli.models.tokenizers.types import Piece, Tokenizer

#: Kinds of entries that no text needs to hold, or that are no text.
_ODD = frozenset({"special", "byte", "partial", "empty", "space"})


def ordinary_ids(tokenizer: Tokenizer, least: int) -> list[int]:
    """Ids of tokens as texts are made of them: words and pieces of words, in letters.

    Where a vocabulary has fewer than `least` of these, of everything that is neither special, nor unused, nor a byte.
    Special tokens, placeholders (`[unused7]`, `<extra_id_0>`) and bytes that stand in for what isn't in the vocabulary
    (`<0x0A>`) are none.
    """
    pieces = list(tokenizer.vocabulary())
    mark = word_mark(pieces, tokenizer.spelling)
    plain = [
        piece
        for piece in pieces
        if piece.id != tokenizer.unknown_id
        and kind_of(piece, tokenizer.spelling, mark) not in _ODD
        and not _is_placeholder(piece)
    ]
    letters = [piece.id for piece in plain if piece.text.strip().isalpha()]
    return letters if len(letters) >= least else [piece.id for piece in plain]


def first_special(tokenizer: Tokenizer) -> int | None:
    """The special token that the tokenizer puts before every text (BOS, CLS); None where it puts none."""
    encoding = tokenizer.encode("a")
    if encoding.sequences[:1] != [None] or all(sequence is None for sequence in encoding.sequences):
        return None
    return encoding.ids[0]


def _is_placeholder(piece: Piece) -> bool:
    text = piece.text.strip()
    return len(text) > 2 and (text[0], text[-1]) in {("<", ">"), ("[", "]")}
