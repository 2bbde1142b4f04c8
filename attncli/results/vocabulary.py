"""What `attn tokenize --vocab` found. Imports no numpy."""

from __future__ import annotations

from typing import NamedTuple

from attncli.results.brief import briefly
from attncli.results.findings import Unreachable


class Entry(NamedTuple):
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


@briefly
class SpecialEntry(NamedTuple):
    """A special token, and what is known of its use: `begins` or `ends` a text, `unknown`."""

    id: int
    token: str
    uses: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        return {**self._asdict(), "uses": list(self.uses)}


@briefly
class Search(NamedTuple):
    """What a vocabulary holds of a text.

    by_id: the entry of that number, where the text is one.  exact: entries that are the text, or are written so.
    variants: those that are it but for the space before it, the mark of a continued word, and capital letters.
    containing: the first of the others that contain it, capital letters apart: those that begin with it first, short
    ones before long ones.  hits: how many of these there are.  cut: what the text is cut into, alone.
    """

    text: str
    by_id: Entry | None
    exact: tuple[Entry, ...]
    variants: tuple[Entry, ...]
    containing: tuple[Entry, ...]
    hits: int
    cut: tuple[Entry, ...]

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


@briefly
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
    longest: tuple[Entry, ...]
    spaces: tuple[Entry, ...]
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


def _dicts(entries: tuple[Entry, ...]) -> list[dict[str, object]]:
    return [entry.to_dict() for entry in entries]
