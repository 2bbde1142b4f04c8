"""What is shown of a pattern: which queries and keys, by what unit. Imports no torch, as texts are met before it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, get_args

from attncli.attention.positions import Position, Span, words_of
from attncli.errors import UsageError
from attncli.results.tokens import Token

Unit = Literal["token", "word", "line"]
UNITS: tuple[str, ...] = get_args(Unit)


@dataclass(frozen=True)
class View:
    """What is shown of a pattern: which queries and keys, by what unit, and whether without special tokens.

    line_starts: the characters at which lines of the text begin, for the unit `line`.
    """

    query: Position | None = None
    key: Position | None = None
    by: Unit = "token"
    hide_special: bool = False
    line_starts: tuple[int, ...] = ()

    @property
    def reads_one(self) -> bool:
        """Whether the rows are one position, however many tokens it has: what it reads can be told key by key."""
        return self.query is not None and not self.query.is_slice

    @property
    def reads_one_key(self) -> bool:
        """Whether that position is looked at with one key alone, so that there is one weight a head."""
        return self.reads_one and self.key is not None and not self.key.is_slice

    def shown(self, tokens: Sequence[Token], position: Position | None) -> list[Span]:
        """The tokens of each row or column on one side, half open. A word or a line of which a part was asked for is
        cut to that part.

        Raises UsageError for a position that isn't there, or where special tokens were all that there was.
        """
        start, stop = (0, len(tokens)) if position is None else position.span(tokens)
        spans = [(max(a, start), min(b, stop)) for a, b in self._units(tokens) if a < stop and b > start]
        if not self.hide_special:
            return spans
        ordinary = [(a, b) for a, b in spans if not all(token.special for token in tokens[a:b])]
        if not ordinary:
            raise _all_special(tokens, position, start, stop)
        return ordinary

    def _units(self, tokens: Sequence[Token]) -> list[Span]:
        if self.by == "token":
            return [(place, place + 1) for place in range(len(tokens))]
        if self.by == "word":
            return words_of(tokens)
        keys = [
            (place, "alone") if token.start is None else (bisect_right(self.line_starts, token.start), "line")
            for place, token in enumerate(tokens)
        ]
        groups = (list(places) for _, places in groupby(range(len(tokens)), keys.__getitem__))
        return [(places[0], places[-1] + 1) for places in groups]


def _all_special(tokens: Sequence[Token], position: Position | None, start: int, stop: int) -> UsageError:
    """What there is to say where special tokens are all that was asked for, with the nearest of the others."""
    others = [place for place, token in enumerate(tokens) if not token.special]
    if position is None or not others:
        return UsageError("nothing but special tokens is left to show", hint="leave --hide-special out")
    nearest = min(others, key=lambda place: abs(place - start))
    names = ", ".join(token.token for token in tokens[start:stop])
    are = "is a special token" if stop - start == 1 else "are special tokens"
    return UsageError(
        f"{position.flag} {position.typed}: {names} {are}, which --hide-special leaves out",
        hint=f"leave --hide-special out; the nearest other token is {nearest} ({tokens[nearest].text.strip()})",
    )


def line_starts(text: str) -> tuple[int, ...]:
    """The characters at which the lines of a text begin."""
    return (0, *(place + 1 for place, character in enumerate(text) if character == "\n"))
