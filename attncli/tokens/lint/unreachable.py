"""Entries of a vocabulary that their own text never encodes to.

Land and Bartolo (2024), "Fishing for Magikarp", call them unreachable: a model was hardly ever trained on them. An
entry is taken for one if its text gives it neither alone nor beside any of a few others, which are chosen from the
vocabulary itself so that little of it begins or ends with them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import nsmallest
from typing import TYPE_CHECKING, NamedTuple

from attncli.results.findings import DeadEntry, Unreachable

if TYPE_CHECKING:
    from attncli.models.tokenizers.types import Piece, Tokenizer

#: How many letters (or short words) are tried before and behind an entry that its text alone does not give.
_LETTERS = 6

#: Beside letters: what a pre-tokenizer may want before or behind a token.
_OTHERS = ("0", "(", ".", "'", "\n", "  ")


class _Context(NamedTuple):
    """What stands before and behind the text of an entry."""

    before: str
    behind: str


def unreachable(tokenizer: Tokenizer) -> Unreachable:
    """Every entry that no text was seen to encode to, and what it encodes to instead."""
    pieces = list(tokenizer.vocabulary())
    ordinary = [piece for piece in pieces if not piece.special and piece.id != tokenizer.unknown_id]
    tried = [piece for piece in ordinary if piece.data and _is_whole(piece.data)]
    dead = _unseen(tokenizer, tried, _Context("", ""))
    for context in _contexts(tried, dead) if dead else ():
        dead = _unseen(tokenizer, dead, context)
    return Unreachable(
        entries=tuple(_described(tokenizer, dead, Counter(piece.data for piece in ordinary))),
        tried=len(tried),
        undecided=len(ordinary) - len(tried),
        reserved=len(pieces) - len(ordinary),
    )


def _is_whole(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _unseen(tokenizer: Tokenizer, pieces: Sequence[Piece], context: _Context) -> list[Piece]:
    """Those that their text in this context does not give."""
    encoded = _encoded(tokenizer, pieces, context)
    return [piece for piece, ids in zip(pieces, encoded, strict=True) if not _in(piece, ids, context)]


def _encoded(tokenizer: Tokenizer, pieces: Iterable[Piece], context: _Context) -> Sequence[Sequence[int]]:
    texts = [f"{context.before}{piece.text}{context.behind}" for piece in pieces]
    return tokenizer.encode_batch(texts, special=False)


def _in(piece: Piece, ids: Sequence[int], context: _Context) -> bool:
    """Whether the ids of a text hold the entry where its own text stands."""
    if not context.before and not context.behind:
        return list(ids) == [piece.id]
    if not context.behind:
        return bool(ids) and ids[-1] == piece.id
    if not context.before:
        return bool(ids) and ids[0] == piece.id
    return piece.id in ids


def _contexts(pieces: Sequence[Piece], dead: Sequence[Piece]) -> Iterator[_Context]:
    """dead: those that their text alone does not give; so words do not begin with them."""
    unseen = {piece.id for piece in dead}
    alone = {piece.text for piece in pieces if piece.id not in unseen}
    before = _rare(alone, Counter(piece.text[0] for piece in pieces), 0)
    behind = _rare({piece.text for piece in pieces}, Counter(piece.text[-1] for piece in pieces), -1)
    yield from (_Context(each, "") for each in (*before, *_OTHERS))
    yield from (_Context("", each) for each in (*behind, *_OTHERS))
    yield from (_Context(first, last) for first, last in zip(before, behind, strict=False))


def _rare(texts: Iterable[str], counts: Mapping[str, int], place: int) -> list[str]:
    """The shortest texts of letters, of these the ones whose letter at `place` the fewest entries have there."""
    letters = (text for text in texts if text.isalpha())
    return nsmallest(_LETTERS, letters, key=lambda text: (len(text), counts[text[place]], text))


def _described(tokenizer: Tokenizer, dead: Sequence[Piece], spelled: Mapping[bytes, int]) -> Iterator[DeadEntry]:
    """spelled: how many entries stand for the same bytes."""
    for piece, ids in zip(dead, _encoded(tokenizer, dead, _Context("", "")), strict=True):
        reason = "duplicate" if spelled[piece.data] > 1 else _reason(tokenizer, piece, ids)
        yield DeadEntry(piece.id, piece.token, piece.text, reason, tuple(ids))


def _reason(tokenizer: Tokenizer, piece: Piece, ids: Sequence[int]) -> str:
    if tokenizer.unknown_id in ids:
        return "unknown"
    instead = [other.data for other in tokenizer.describe(ids) if other is not None]
    # A space that the tokenizer itself puts before a text is no change of it.
    return "cut" if b"".join(instead).lstrip(b" ") == piece.data.lstrip(b" ") else "normalized"
