"""The results of `attn tokenize --lint` and `--vocab`: findings in texts, and vocabularies. Imports no numpy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal, NamedTuple

from attncli.results.base import struct

#: A warning is a problem of the text or its ids that should be fixed. A note is what the tokenizer does to every such
#: text, or something harmless. `--check lint` counts warnings.
Severity = Literal["warning", "note"]


@struct()
class Finding(NamedTuple):
    """One unexpected thing in the tokens of a text.

    kind: a stable identifier (`trailing_space`).  message: a sentence.  hint: how to fix it.
    start, end: characters of the text, half open; byte_start: the UTF-8 byte where it begins. None for ids without a
    text.  segment: 0 for the text, 1 for the pair beside it.
    tokens: the indices of the tokens that contain it; empty where none does.
    line, column: where it begins, both from 1 and column in characters, as editors count them: of the file that the
    text was read from (`source`), else of the text.
    """

    kind: str
    severity: Severity
    message: str
    hint: str
    start: int | None = None
    end: int | None = None
    byte_start: int | None = None
    tokens: tuple[int, ...] = ()
    segment: int = 0
    line: int | None = None
    column: int | None = None

    def place(self, file: str | None = None) -> str:
        """The position as compilers write it, `file:3:5`; `pair 3:5` in the text's pair, `token 7` for ids alone."""
        if self.line is None:
            return f"token {self.tokens[0]}" if self.tokens else "text"
        where = "pair " if self.segment else f"{file}:" if file is not None else ""
        return f"{where}{self.line}:{self.column}"


@struct()
class DeadEntry(NamedTuple):
    """An entry of a vocabulary that encoding its own text doesn't give.

    reason: `normalized`, the text is changed before it is cut; `cut`, it becomes other tokens; `duplicate`, another
    entry of the same text; `unknown`, the unknown token.  ids: the encoding of its text alone.
    """

    id: int
    token: str
    text: str
    reason: str
    ids: tuple[int, ...]


@struct("entries tried undecided reserved reasons")
class Unreachable(NamedTuple):
    """The entries of a vocabulary that no encoded text contained.

    entries: by id.  tried: entries whose own text was encoded, alone and next to a few others.
    undecided: entries for part of a character, or without text, which can't be encoded.
    reserved: special tokens, which are not meant to come from a text.
    """

    entries: tuple[DeadEntry, ...]
    tried: int
    undecided: int
    reserved: int

    @property
    def reasons(self) -> dict[str, int]:
        """The number of entries by reason, the most frequent first."""
        return counts(entry.reason for entry in self.entries)


def counts(names: Iterable[str]) -> dict[str, int]:
    """How often each name occurs, the most frequent first."""
    return dict(Counter(names).most_common())


@struct(short=False)
class VocabularyEntry(NamedTuple):
    """One entry of a vocabulary.

    token: the raw form (`Ġmole`).  text: the readable form; bytes that are no whole character are `\\xf0`.
    bytes: the number of its UTF-8 bytes.  hex: these bytes.  kind: see `Vocabulary.kinds`.
    """

    id: int
    token: str
    text: str
    bytes: int
    hex: str
    kind: str
    special: bool = False


@struct()
class SpecialEntry(NamedTuple):
    """A special token and its known uses: `begins` or `ends` a text, `unknown`."""

    id: int
    token: str
    uses: tuple[str, ...] = ()


@struct()
class Search(NamedTuple):
    """The entries of a vocabulary for a searched text.

    by_id: the entry of that number, where the text is one.  exact: entries whose text or raw form it is.
    variants: those that differ in the leading space, the mark of a continued word, or capital letters.
    containing: the first of the others that contain it, ignoring case: those that begin with it first, short ones
    before long ones.  hits: how many of these there are.  cut: the tokens of the text alone.
    """

    text: str
    by_id: VocabularyEntry | None
    exact: tuple[VocabularyEntry, ...]
    variants: tuple[VocabularyEntry, ...]
    containing: tuple[VocabularyEntry, ...]
    hits: int
    cut: tuple[VocabularyEntry, ...]


@struct()
class Vocabulary(NamedTuple):
    """A vocabulary in numbers.

    size: entries in all.  added: those outside the model's own vocabulary, special tokens included.
    highest_id; holes: half-open ranges of ids below it without an entry.
    word_mark: what distinguishes entries that begin a word from those that continue it: `space` (before the first),
    `prefix` (on continuing ones, as `##`), `suffix` (on ending ones, as `</w>`), or None.
    specials: by id.  longest: by characters; spaces: the longest of only white space.
    kinds: how many entries there are of each: `word` (begins a word; with `suffix`, ends one), `continuation`,
    `number`, `symbol`, `emoji`, `space`, `byte` (one that is no character alone), `partial` (several bytes that cut a
    character), `special`, `empty`.
    duplicates: entries with the same text as an earlier one.  scripts: the entries with letters, by script.
    """

    model: str
    algorithm: str
    size: int
    added: int
    highest_id: int
    holes: tuple[tuple[int, int], ...]
    word_mark: str | None
    specials: tuple[SpecialEntry, ...]
    longest: tuple[VocabularyEntry, ...]
    spaces: tuple[VocabularyEntry, ...]
    kinds: dict[str, int]
    scripts: dict[str, int]
    duplicates: int
    searches: tuple[Search, ...] = ()
    unreachable: Unreachable | None = None
