"""How the tables of names are written and matched."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate
from functools import cache
from typing import NamedTuple

from attncli.parameters.inventory import Kind


class Rule(NamedTuple):
    """One line of a table: what fits any of the words is a `meaning`.

    words: separated by spaces; `*` stands for anything and `?` for one character, and case doesn't matter. A word that
    starts with a colon is compared with a class, any other with a name.
    kinds: the kinds of module that the line is for; all of them where none is named.
    """

    meaning: str
    words: str
    kinds: tuple[Kind, ...] = ()

    def fits(self, steps: Iterable[str], kind: Kind = Kind.OTHER) -> bool:
        """Whether one of the steps (names, and classes with a colon before them) is one of the words."""
        if self.kinds and kind not in self.kinds:
            return False
        pattern = _compiled(self.words)
        return any(pattern.fullmatch(step) for step in steps)


@cache
def _compiled(words: str) -> re.Pattern[str]:
    # A `*` at the start of a name's word mustn't swallow the colon of a class.
    patterns = (translate(word) if word.startswith(":") else f"(?!:){translate(word)}" for word in words.split())
    return re.compile("|".join(patterns), re.IGNORECASE)


def first(rules: Iterable[Rule], steps: Iterable[str], kind: Kind = Kind.OTHER) -> str | None:
    """The meaning of the first rule that fits one of the steps; None where none does."""
    steps = tuple(steps)
    return next((rule.meaning for rule in rules if rule.fits(steps, kind)), None)
