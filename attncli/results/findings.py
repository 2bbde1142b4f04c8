"""What `attn tokenize --lint` found in a text, and in a vocabulary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal, NamedTuple

from attncli.results.brief import briefly

#: A warning is something to mend in the text or in its ids. A note is what this tokenizer does to every such text, or
#: what makes no difference to it. `--check lint` counts warnings.
Severity = Literal["warning", "note"]


@briefly
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


@briefly
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


@briefly
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
