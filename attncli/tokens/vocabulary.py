"""What kind of thing an entry of a vocabulary is, and how its vocabulary marks words.

Which tokens of a vocabulary are ordinary ones, and with which token a model expects a text to begin.

A tokenizer's vocabulary in numbers, and texts sought in it.

Entries of a vocabulary that their own text never encodes to.

Land and Bartolo (2024), "Fishing for Magikarp", call them unreachable: a model was hardly ever trained on them. An
entry is taken for one if its text gives it neither alone nor beside any of a few others, which are chosen from the
vocabulary itself so that little of it begins or ends with them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import nlargest, nsmallest
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import regex

from attncli.results.vocabulary import (
    DeadEntry,
    Search,
    SpecialEntry,
    Unreachable,
    Vocabulary,
    VocabularyEntry,
    counts,
)
from attncli.tokens.encode import check_text
from attncli.tokens.scripts import NEUTRAL, script_of

if TYPE_CHECKING:
    from attncli.models.tokenizers.token_bytes import TokenBytes
    from attncli.models.tokenizers.types import Piece, Tokenizer

#: By kind, in the order in which they are tried; the first that the whole text without the space before it matches.
_KINDS = {
    "number": regex.compile(r"\p{N}+"),
    "emoji": regex.compile(
        r"(?:(?!\p{N})[\p{Extended_Pictographic}\p{Regional_Indicator}][\p{M}\p{Emoji_Modifier}\u200d\ufe0f]*)+"
    ),
    "symbol": regex.compile(r"[^\p{L}\p{M}\p{N}]+"),
}


def word_mark(pieces: Iterable[Piece], spelling: TokenBytes) -> str | None:
    """How the entry that begins a word is told from one that goes on with it; see `Vocabulary.word_mark`."""
    if spelling.prefix:
        return "prefix"
    if spelling.suffix:
        return "suffix"
    return "space" if any(_begins_with_space(piece) for piece in pieces) else None


def _begins_with_space(piece: Piece) -> bool:
    return not piece.special and piece.data[:1] == b" " and len(piece.data) > 1


def kind_of(piece: Piece, spelling: TokenBytes, mark: str | None) -> str:
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


def _is_word(piece: Piece, spelling: TokenBytes, mark: str | None) -> bool:
    if mark == "prefix":
        return not piece.token.startswith(spelling.prefix)
    if mark == "suffix":
        return piece.token.endswith(spelling.suffix)
    return mark is None or piece.data[:1] == b" "


#: Kinds of entries that no text needs to hold, or that are no text.
_ODD = frozenset({"special", "byte", "partial", "empty", "space"})


def ordinary_ids(tokenizer: Tokenizer, least: int) -> list[int]:
    """Ids of tokens as texts are made of them: words and pieces of words, in letters.

    Where a vocabulary has fewer than `least` of these, of everything that is neither special, nor unused, nor a byte.
    Special tokens, placeholders (`[unused7]`, `<extra_id_0>`) and bytes that stand in for what isn't in the vocabulary
    (`<0x0A>`) are none.
    """
    pieces = list(tokenizer.vocabulary())
    mark = word_mark(pieces, tokenizer.token_bytes)
    plain = [
        piece
        for piece in pieces
        if piece.id != tokenizer.unknown_id
        and kind_of(piece, tokenizer.token_bytes, mark) not in _ODD
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


#: How many of the longest entries, and of those that contain a text, are listed.
_LONGEST, _FOUND = 10, 20

#: No vocabulary has an id of more digits.
_MOST_DIGITS = 12

#: The columns of `vocabulary_rows`.
COLUMNS = VocabularyEntry._fields


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


def vocabulary_rows(tokenizer: Tokenizer) -> Iterator[VocabularyEntry]:
    """Every entry by id, as rows of a table."""
    pieces = list(tokenizer.vocabulary())
    return map(_Kinds(tokenizer, pieces).entry, pieces)


class _Kinds:
    """What kind each entry of one vocabulary is of."""

    def __init__(self, tokenizer: Tokenizer, pieces: Sequence[Piece]) -> None:
        self._spelling = tokenizer.token_bytes
        self._unknown_id = tokenizer.unknown_id
        self.mark = word_mark(pieces, tokenizer.token_bytes)

    def of(self, piece: Piece) -> str:
        return "special" if piece.id == self._unknown_id else kind_of(piece, self._spelling, self.mark)

    def entry(self, piece: Piece) -> VocabularyEntry:
        kind = self.of(piece)
        return VocabularyEntry(
            piece.id, piece.token, piece.text, len(piece.data), piece.data.hex(), kind, kind == "special"
        )


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
