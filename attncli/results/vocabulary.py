"""What `attn tokenize --lint` found in a text, and in a vocabulary.

What `attn tokenize --vocab` found. Imports no numpy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal, NamedTuple

from attncli.results.base import short_repr

#: A warning is something to mend in the text or in its ids. A note is what this tokenizer does to every such text, or
#: what makes no difference to it. `--check lint` counts warnings.
Severity = Literal["warning", "note"]


@short_repr
class Finding(NamedTuple):
    """One thing that a reader of the text would not expect of its tokens.

    kind: a stable identifier (`trailing_space`).  message: a sentence.  hint: what mends it.
    start, end: characters of the text, half open; byte_start: the UTF-8 byte where it begins. None for ids without a
    text.  segment: 0 for the text, 1 for the pair beside it.
    tokens: the indices of the tokens that hold it; none where it left no trace in them.
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
        """`file:3:5`, as compilers and linters say it; `pair 3:5` of the text beside it, `token 7` of bare ids."""
        if self.line is None:
            return f"token {self.tokens[0]}" if self.tokens else "text"
        where = "pair " if self.segment else f"{file}:" if file is not None else ""
        return f"{where}{self.line}:{self.column}"

    def to_dict(self) -> dict[str, object]:
        return {**self._asdict(), "tokens": list(self.tokens)}


@short_repr
class DeadEntry(NamedTuple):
    """An entry of a vocabulary that its own text never encodes to.

    reason: `normalized`, the text is changed before it is cut; `cut`, other tokens take it; `duplicate`, another entry
    of the same text does; `unknown`, it becomes the unknown token.  ids: what its text, alone, encodes to instead.
    """

    id: int
    token: str
    text: str
    reason: str
    ids: tuple[int, ...]

    def to_dict(self) -> dict[str, object]:
        return {**self._asdict(), "ids": list(self.ids)}


@short_repr
class Unreachable(NamedTuple):
    """The entries of a vocabulary that no text was seen to need.

    entries: by id.  tried: entries whose own text was encoded, alone and beside a few others.
    undecided: entries that stand for part of a character, or for no text, so that there is nothing to encode.
    reserved: special tokens, which are not meant to come from a text.
    """

    entries: tuple[DeadEntry, ...]
    tried: int
    undecided: int
    reserved: int

    @property
    def reasons(self) -> dict[str, int]:
        """How many entries there are of each reason, the most frequent first."""
        return counts(entry.reason for entry in self.entries)

    def to_dict(self) -> dict[str, object]:
        entries = [entry.to_dict() for entry in self.entries]
        return {**self._asdict(), "entries": entries, "reasons": self.reasons}


def counts(names: Iterable[str]) -> dict[str, int]:
    """How often each name occurs, the most frequent first."""
    return dict(Counter(names).most_common())


class VocabularyEntry(NamedTuple):
    """One entry of a vocabulary.

    token: the raw form (`Ġmole`).  text: what a reader sees of it; bytes that make no whole character are `\\xf0`.
    bytes: how many UTF-8 bytes it stands for.  hex: these bytes.  kind: see `Vocabulary.kinds`.
    """

    id: int
    token: str
    text: str
    bytes: int
    hex: str
    kind: str
    special: bool = False

    def to_dict(self) -> dict[str, object]:
        return self._asdict()


@short_repr
class SpecialEntry(NamedTuple):
    """A special token, and what is known of its use: `begins` or `ends` a text, `unknown`."""

    id: int
    token: str
    uses: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        return {**self._asdict(), "uses": list(self.uses)}


@short_repr
class Search(NamedTuple):
    """What a vocabulary holds of a text.

    by_id: the entry of that number, where the text is one.  exact: entries that are the text, or are written so.
    variants: those that are it but for the space before it, the mark of a continued word, and capital letters.
    containing: the first of the others that contain it, capital letters apart: those that begin with it first, short
    ones before long ones.  hits: how many of these there are.  cut: what the text is cut into, alone.
    """

    text: str
    by_id: VocabularyEntry | None
    exact: tuple[VocabularyEntry, ...]
    variants: tuple[VocabularyEntry, ...]
    containing: tuple[VocabularyEntry, ...]
    hits: int
    cut: tuple[VocabularyEntry, ...]

    def to_dict(self) -> dict[str, object]:
        return {
            "text": self.text,
            "by_id": self.by_id.to_dict() if self.by_id else None,
            "exact": _dicts(self.exact),
            "variants": _dicts(self.variants),
            "containing": _dicts(self.containing),
            "hits": self.hits,
            "cut": _dicts(self.cut),
        }


@short_repr
class Vocabulary(NamedTuple):
    """A vocabulary in numbers.

    size: entries in all.  added: those that stand beside the model's own vocabulary, special tokens among them.
    highest_id; holes: half-open ranges of ids below it that stand for nothing.
    word_mark: how an entry that begins a word is told from one that continues it: `space` (it begins with one),
    `prefix` (continuing ones have it, as `##`), `suffix` (ending ones have it, as `</w>`), None where nothing does.
    specials: by id.  longest: by characters; spaces: the longest of nothing but white space.
    kinds: how many entries there are of each: `word` (begins a word; with `suffix`, ends one), `continuation`,
    `number`, `symbol`, `emoji`, `space`, `byte` (one that is no character alone), `partial` (several bytes that cut a
    character), `special`, `empty`.
    duplicates: entries that spell the same as one before them.  scripts: the entries with letters, by script.
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

    def to_dict(self) -> dict[str, object]:
        return {
            **self._asdict(),
            "holes": [list(hole) for hole in self.holes],
            "specials": [special.to_dict() for special in self.specials],
            "longest": _dicts(self.longest),
            "spaces": _dicts(self.spaces),
            "searches": [search.to_dict() for search in self.searches],
            "unreachable": self.unreachable.to_dict() if self.unreachable else None,
        }


def _dicts(entries: tuple[VocabularyEntry, ...]) -> list[dict[str, object]]:
    return [entry.to_dict() for entry in entries]
