"""A tokenizer's vocabulary in numbers, and texts sought in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import nlargest
from itertools import pairwise
from typing import TYPE_CHECKING

from attncli.results.findings import counts
from attncli.results.vocabulary import Entry, Search, SpecialEntry, Vocabulary
from attncli.tokens.encode import check_text
from attncli.tokens.kinds import kind_of, script_of_entry, word_mark
from attncli.tokens.lint.unreachable import unreachable

if TYPE_CHECKING:
    from attncli.models.tokenizers.types import Piece, Tokenizer

#: How many of the longest entries, and of those that contain a text, are listed.
_LONGEST, _FOUND = 10, 20

#: No vocabulary has an id of more digits.
_MOST_DIGITS = 12

#: The columns of `vocabulary_rows`.
COLUMNS = Entry._fields


def describe_vocabulary(
    tokenizer: Tokenizer, *, model: str = "", search: Sequence[str] = (), lint: bool = False
) -> Vocabulary:
    """Its size, special tokens, longest tokens and kinds; each text of `search` sought in it.

    lint: with the entries that no text encodes to, which takes a second or two.
    """
    pieces = list(tokenizer.vocabulary())
    kinds = _Kinds(tokenizer, pieces)
    kind = [kinds.of(piece) for piece in pieces]
    whole = [piece for piece, own in zip(pieces, kind, strict=True) if own != "special" and _is_text(piece)]
    spaces = [piece for piece in whole if piece.text.isspace()]
    return Vocabulary(
        model=model,
        algorithm=tokenizer.algorithm,
        size=len(pieces),
        added=tokenizer.added_count,
        highest_id=max((piece.id for piece in pieces), default=-1),
        holes=tuple(_holes(pieces)),
        word_mark=kinds.mark,
        specials=tuple(_specials(tokenizer, pieces)),
        longest=tuple(map(kinds.entry, _longest(piece for piece in whole if not piece.text.isspace()))),
        spaces=tuple(map(kinds.entry, _longest(piece for piece in spaces if len(piece.text) > 1))),
        kinds=counts(kind),
        scripts=counts(script for piece in whole if (script := script_of_entry(piece)) is not None),
        duplicates=len(whole) - len({piece.data for piece in whole}),
        searches=tuple(_sought(tokenizer, pieces, kinds, text) for text in search),
        unreachable=unreachable(tokenizer) if lint else None,
    )


def vocabulary_rows(tokenizer: Tokenizer) -> Iterator[Entry]:
    """Every entry by id, as rows of a table."""
    pieces = list(tokenizer.vocabulary())
    return map(_Kinds(tokenizer, pieces).entry, pieces)


class _Kinds:
    """What kind each entry of one vocabulary is of."""

    def __init__(self, tokenizer: Tokenizer, pieces: Sequence[Piece]) -> None:
        self._spelling = tokenizer.spelling
        self._unknown_id = tokenizer.unknown_id
        self.mark = word_mark(pieces, tokenizer.spelling)

    def of(self, piece: Piece) -> str:
        return "special" if piece.id == self._unknown_id else kind_of(piece, self._spelling, self.mark)

    def entry(self, piece: Piece) -> Entry:
        kind = self.of(piece)
        return Entry(piece.id, piece.token, piece.text, len(piece.data), piece.data.hex(), kind, kind == "special")


def _is_text(piece: Piece) -> bool:
    # Bytes that cut a character are written as escapes.
    return bool(piece.data) and ("\\" not in piece.text or piece.text.encode("utf-8") == piece.data)


def _holes(pieces: Sequence[Piece]) -> Iterator[tuple[int, int]]:
    for before, after in pairwise([-1, *(piece.id for piece in pieces)]):
        if after > before + 1:
            yield before + 1, after


def _specials(tokenizer: Tokenizer, pieces: Sequence[Piece]) -> Iterator[SpecialEntry]:
    uses = _uses(tokenizer)
    for piece in pieces:
        if piece.special or piece.id == tokenizer.unknown_id:
            yield SpecialEntry(piece.id, piece.token, tuple(uses.get(piece.id, ())))


def _uses(tokenizer: Tokenizer) -> dict[int, list[str]]:
    """What the tokenizer itself does with special tokens: it puts them around a text, or where it can't spell it."""
    uses: dict[int, list[str]] = {}
    around = tokenizer.encode("a", special=True)
    own = [place for place, sequence in enumerate(around.sequences) if sequence is not None]
    first, last = (own[0], own[-1]) if own else (len(around.ids), len(around.ids))
    for place, identifier in enumerate(around.ids):
        use = "begins" if place < first else "ends" if place > last else None
        if use is not None and use not in uses.setdefault(identifier, []):
            uses[identifier].append(use)
    if tokenizer.unknown_id is not None:
        uses.setdefault(tokenizer.unknown_id, []).append("unknown")
    return uses


def _longest(pieces: Iterator[Piece]) -> list[Piece]:
    return nlargest(_LONGEST, pieces, key=lambda piece: (len(piece.text), len(piece.data), -piece.id))


def _sought(tokenizer: Tokenizer, pieces: Sequence[Piece], kinds: _Kinds, text: str) -> Search:
    check_text(text)
    folded, bare = text.casefold(), _bare(text)
    exact = [piece for piece in pieces if text in (piece.text, piece.token)]
    taken = {piece.id for piece in exact}
    variants = [piece for piece in pieces if piece.id not in taken and bare and _bare(piece.text) == bare]
    taken.update(piece.id for piece in variants)
    others = [piece for piece in pieces if folded in piece.text.casefold() and piece.id not in taken]
    others.sort(key=lambda piece: (not _bare(piece.text).startswith(folded), len(piece.text), piece.id))
    cut = tokenizer.describe(tokenizer.encode(text, special=False).ids)
    return Search(
        text=text,
        by_id=next((kinds.entry(piece) for piece in pieces if piece.id == _number(text)), None),
        exact=tuple(map(kinds.entry, exact)),
        variants=tuple(map(kinds.entry, variants)),
        containing=tuple(map(kinds.entry, others[:_FOUND])),
        hits=len(others),
        cut=tuple(kinds.entry(piece) for piece in cut if piece is not None),
    )


def _bare(text: str) -> str:
    return text.strip().casefold()


def _number(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None
