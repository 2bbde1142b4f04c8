"""Describe a tokenizer's vocabulary: kinds of entries, ordinary tokens, search, and entries that no text encodes to.

The latter are the unreachable tokens of Land and Bartolo (2024), "Fishing for Magikarp", on which a model was hardly
ever trained. An entry counts as unreachable if encoding its text gives other ids, both alone and beside each of a few
other texts, chosen from the vocabulary so that few entries begin or end with them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
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

#: Patterns by kind, in the order in which they are tried on the text without surrounding space.
_KINDS = {
    "number": regex.compile(r"\p{N}+"),
    "emoji": regex.compile(
        r"(?:(?!\p{N})[\p{Extended_Pictographic}\p{Regional_Indicator}][\p{M}\p{Emoji_Modifier}\u200d\ufe0f]*)+"
    ),
    "symbol": regex.compile(r"[^\p{L}\p{M}\p{N}]+"),
}

#: Kinds of entries that aren't ordinary tokens.
_NOT_ORDINARY = frozenset({"special", "byte", "partial", "empty", "space"})

#: How many of the longest entries, and of the entries that contain a searched text, are listed.
_LONGEST, _MOST_FOUND = 10, 20

#: The most digits of an id.
_MOST_DIGITS = 12

#: The columns of `vocabulary_rows`.
COLUMNS = VocabularyEntry._fields

#: How many letters (or short words) are tried before and after an entry that its text alone doesn't encode to.
_CONTEXT_WORDS = 6

#: Other contexts: what a pre-tokenizer may need before or after a token.
_CONTEXT_MARKS = ("0", "(", ".", "'", "\n", "  ")


# --- The vocabulary as a whole, and search


def describe_vocabulary(
    tokenizer: Tokenizer, *, model: str = "", search: Sequence[str] = (), lint: bool = False
) -> Vocabulary:
    """The size, special tokens, longest tokens and kinds of a vocabulary, and the matches for each text of `search`.

    lint: also the entries that no text encodes to, which takes a second or two.
    """
    pieces = list(tokenizer.vocabulary())
    ids = [-1, *(piece.id for piece in pieces)]
    kinds = _EntryKinds(tokenizer, pieces)
    kind = [kinds.kind_of(piece) for piece in pieces]
    whole = [piece for piece, own in zip(pieces, kind, strict=True) if own != "special" and _is_text(piece)]
    spaces = [piece for piece in whole if piece.text.isspace()]
    return Vocabulary(
        model=model,
        algorithm=tokenizer.algorithm,
        size=len(pieces),
        added=tokenizer.added_count,
        highest_id=max(ids),
        holes=tuple((before + 1, after) for before, after in pairwise(ids) if after > before + 1),
        word_mark=kinds.mark,
        specials=tuple(_specials(tokenizer, pieces)),
        longest=tuple(map(kinds.entry, _longest_entries(piece for piece in whole if not piece.text.isspace()))),
        spaces=tuple(map(kinds.entry, _longest_entries(piece for piece in spaces if len(piece.text) > 1))),
        kinds=counts(kind),
        scripts=counts(script for piece in whole if (script := script_of_entry(piece)) is not None),
        duplicates=len(whole) - len({piece.data for piece in whole}),
        searches=tuple(_search(tokenizer, pieces, kinds, text) for text in search),
        unreachable=find_unreachable(tokenizer) if lint else None,
    )


def vocabulary_rows(tokenizer: Tokenizer) -> Iterator[VocabularyEntry]:
    """Every entry in the order of ids, as rows of a table."""
    pieces = list(tokenizer.vocabulary())
    return map(_EntryKinds(tokenizer, pieces).entry, pieces)


class _EntryKinds:
    """Determines the kinds of the entries of one vocabulary."""

    def __init__(self, tokenizer: Tokenizer, pieces: Sequence[Piece]) -> None:
        self._spelling = tokenizer.token_bytes
        self._unknown_id = tokenizer.unknown_id
        self.mark = word_mark(pieces, tokenizer.token_bytes)

    def kind_of(self, piece: Piece) -> str:
        return "special" if piece.id == self._unknown_id else kind_of(piece, self._spelling, self.mark)

    def entry(self, piece: Piece) -> VocabularyEntry:
        kind = self.kind_of(piece)
        return VocabularyEntry(
            piece.id, piece.token, piece.text, len(piece.data), piece.data.hex(), kind, kind == "special"
        )


def _is_text(piece: Piece) -> bool:
    # Parts of a character's bytes are shown as escapes.
    return bool(piece.data) and ("\\" not in piece.text or piece.text.encode("utf-8") == piece.data)


def _specials(tokenizer: Tokenizer, pieces: Sequence[Piece]) -> Iterator[SpecialEntry]:
    """The special tokens, and how the tokenizer uses each: it `begins` or `ends` a text, or is the `unknown` one."""
    uses: dict[int, dict[str, None]] = defaultdict(dict)
    around = tokenizer.encode("a", special=True)
    own = [place for place, sequence in enumerate(around.sequences) if sequence is not None]
    first, last = (own[0], own[-1]) if own else (len(around.ids), len(around.ids))
    for place, identifier in enumerate(around.ids):
        if place < first or place > last:
            uses[identifier]["begins" if place < first else "ends"] = None
    if tokenizer.unknown_id is not None:
        uses[tokenizer.unknown_id]["unknown"] = None
    for piece in pieces:
        if piece.special or piece.id == tokenizer.unknown_id:
            yield SpecialEntry(piece.id, piece.token, tuple(uses[piece.id]))


def _longest_entries(pieces: Iterable[Piece]) -> list[Piece]:
    return nlargest(_LONGEST, pieces, key=lambda piece: (len(piece.text), len(piece.data), -piece.id))


def _search(tokenizer: Tokenizer, pieces: Sequence[Piece], kinds: _EntryKinds, text: str) -> Search:
    check_text(text)
    bare_text = text.strip()
    is_id = bare_text.isascii() and bare_text.isdigit() and len(bare_text) <= _MOST_DIGITS
    identifier = int(bare_text) if is_id else None
    folded, bare = text.casefold(), _fold(text)
    exact = [piece for piece in pieces if text in (piece.text, piece.token)]
    taken = {piece.id for piece in exact}
    variants = [piece for piece in pieces if piece.id not in taken and bare and _fold(piece.text) == bare]
    taken.update(piece.id for piece in variants)
    others = [piece for piece in pieces if folded in piece.text.casefold() and piece.id not in taken]
    others.sort(key=lambda piece: (not _fold(piece.text).startswith(folded), len(piece.text), piece.id))
    cut = tokenizer.describe(tokenizer.encode(text, special=False).ids)
    return Search(
        text=text,
        by_id=next((kinds.entry(piece) for piece in pieces if piece.id == identifier), None),
        exact=tuple(map(kinds.entry, exact)),
        variants=tuple(map(kinds.entry, variants)),
        containing=tuple(map(kinds.entry, others[:_MOST_FOUND])),
        hits=len(others),
        cut=tuple(kinds.entry(piece) for piece in cut if piece is not None),
    )


def _fold(text: str) -> str:
    return text.strip().casefold()


# --- Kinds of entries


def kind_of(piece: Piece, spelling: TokenBytes, mark: str | None) -> str:
    """The kind of an entry; see `Vocabulary.kinds`."""
    if piece.special:
        return "special"
    if not piece.data:
        return "empty"
    whole = _decode_text(piece)
    is_byte = len(piece.data) == 1
    # A byte such as `<0x61>`, of which the vocabulary mostly has the character (`a`) as well.
    if whole is None or (spelling.byte_fallback and is_byte and piece.token == f"<0x{piece.data[0]:02X}>"):
        return "byte" if is_byte else "partial"
    text = whole.strip()
    if not text:
        return "space"
    if not text.isalpha():  # most entries are letters and need no pattern
        for kind, pattern in _KINDS.items():
            if pattern.fullmatch(text):
                return kind
    return "word" if _is_word(piece, spelling, mark) else "continuation"


def word_mark(pieces: Iterable[Piece], spelling: TokenBytes) -> str | None:
    """How entries that begin a word are marked; see `Vocabulary.word_mark`."""
    if spelling.prefix:
        return "prefix"
    if spelling.suffix:
        return "suffix"
    begins = any(not piece.special and piece.data[:1] == b" " and len(piece.data) > 1 for piece in pieces)
    return "space" if begins else None


def script_of_entry(piece: Piece) -> str | None:
    """The script of the first letter; None where there is none."""
    if _decode_text(piece) is None:
        return None
    scripts = (script_of(character) for character in piece.text if character.isalpha())
    return next((script for script in scripts if script not in NEUTRAL), None)


def _decode_text(piece: Piece) -> str | None:
    """The text of an entry; None where it is only part of a character's bytes."""
    try:
        return piece.data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _is_word(piece: Piece, spelling: TokenBytes, mark: str | None) -> bool:
    if mark == "prefix":
        return not piece.token.startswith(spelling.prefix)
    if mark == "suffix":
        return piece.token.endswith(spelling.suffix)
    return mark is None or piece.data[:1] == b" "


# --- Ordinary tokens


def ordinary_ids(tokenizer: Tokenizer, least: int) -> list[int]:
    """Ids of ordinary tokens: words and pieces of words, in letters.

    Where a vocabulary has fewer than `least` of these, all tokens but special ones, placeholders (`[unused7]`,
    `<extra_id_0>`), bytes (`<0x0A>`) and white space.
    """
    pieces = list(tokenizer.vocabulary())
    mark = word_mark(pieces, tokenizer.token_bytes)
    plain = [
        piece
        for piece in pieces
        if piece.id != tokenizer.unknown_id
        and kind_of(piece, tokenizer.token_bytes, mark) not in _NOT_ORDINARY
        and not _is_placeholder(piece)
    ]
    letters = [piece.id for piece in plain if piece.text.strip().isalpha()]
    return letters if len(letters) >= least else [piece.id for piece in plain]


def first_special(tokenizer: Tokenizer) -> int | None:
    """The id of the special token that the tokenizer puts before every text (BOS, CLS); None if there is none."""
    encoding = tokenizer.encode("a")
    if encoding.sequences[:1] != [None] or all(sequence is None for sequence in encoding.sequences):
        return None
    return encoding.ids[0]


def _is_placeholder(piece: Piece) -> bool:
    text = piece.text.strip()
    return len(text) > 2 and (text[0], text[-1]) in {("<", ">"), ("[", "]")}


# --- Unreachable entries


def find_unreachable(tokenizer: Tokenizer) -> Unreachable:
    """The entries that none of the tried texts encodes to, and what their own text encodes to instead."""
    pieces = list(tokenizer.vocabulary())
    ordinary = [piece for piece in pieces if not piece.special and piece.id != tokenizer.unknown_id]
    tried = [piece for piece in ordinary if piece.data and _decode_text(piece) is not None]
    dead = _Context().not_encoded(tokenizer, tried)
    for context in _contexts(tried, dead) if dead else ():
        dead = context.not_encoded(tokenizer, dead)
    spelled = Counter(piece.data for piece in ordinary)
    entries = [
        DeadEntry(
            piece.id,
            piece.token,
            piece.text,
            "duplicate" if spelled[piece.data] > 1 else _reason(tokenizer, piece, ids),
            tuple(ids),
        )
        for piece, ids in zip(dead, _Context().encode(tokenizer, dead), strict=True)
    ]
    return Unreachable(tuple(entries), len(tried), len(ordinary) - len(tried), len(pieces) - len(ordinary))


class _Context(NamedTuple):
    """What is put before and after the text of an entry."""

    before: str = ""
    after: str = ""

    def encode(self, tokenizer: Tokenizer, pieces: Iterable[Piece]) -> Sequence[Sequence[int]]:
        texts = [f"{self.before}{piece.text}{self.after}" for piece in pieces]
        return tokenizer.encode_batch(texts, special=False)

    def not_encoded(self, tokenizer: Tokenizer, pieces: Sequence[Piece]) -> list[Piece]:
        """The entries that are not at the place of their own text among its ids in this context."""
        encoded = zip(pieces, self.encode(tokenizer, pieces), strict=True)
        if not (self.before or self.after):
            return [piece for piece, ids in encoded if list(ids) != [piece.id]]
        place = slice(None) if self.before and self.after else slice(-1, None) if self.before else slice(1)
        return [piece for piece, ids in encoded if piece.id not in ids[place]]


def _contexts(pieces: Sequence[Piece], dead: Sequence[Piece]) -> Iterator[_Context]:
    """The contexts to try.  dead: entries that their text alone doesn't encode to, which are no good contexts."""
    unseen = {piece.id for piece in dead}
    alone = {piece.text for piece in pieces if piece.id not in unseen}
    before = _rare_contexts(alone, Counter(piece.text[0] for piece in pieces), 0)
    after = _rare_contexts({piece.text for piece in pieces}, Counter(piece.text[-1] for piece in pieces), -1)
    yield from (_Context(before=each) for each in (*before, *_CONTEXT_MARKS))
    yield from (_Context(after=each) for each in (*after, *_CONTEXT_MARKS))
    yield from map(_Context, before, after)


def _rare_contexts(texts: Iterable[str], counts: Mapping[str, int], place: int) -> list[str]:
    """The shortest texts of letters, and of these the ones with the rarest letter at `place`.  counts: by letter."""
    letters = (text for text in texts if text.isalpha())
    return nsmallest(_CONTEXT_WORDS, letters, key=lambda text: (len(text), counts[text[place]], text))


def _reason(tokenizer: Tokenizer, piece: Piece, ids: Sequence[int]) -> str:
    if tokenizer.unknown_id in ids:
        return "unknown"
    instead = [other.data for other in tokenizer.describe(ids) if other is not None]
    # Ignore a space that the tokenizer adds before a text.
    return "cut" if b"".join(instead).lstrip(b" ") == piece.data.lstrip(b" ") else "normalized"
