"""How the tables of names are written and matched."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cache
from typing import NamedTuple

from attncli.parameters.inventory import Kind


class Rule(NamedTuple):
    """One line of a table: what fits any of the words is a `meaning`.

    words: separated by spaces; `*` stands for anything, `?` for one character, `[a-z]` for one of several, and case
    doesn't matter. A word that starts with a colon is compared with a class, any other with a name.
    kinds: the kinds of module that the line is for; all of them where none is named.
    """

    meaning: str
    words: str
    kinds: tuple[Kind, ...] = ()

    def fits(self, steps: Iterable[str], kind: Kind = Kind.OTHER) -> bool:
        """Whether one of the steps (names, and classes with a colon before them) is one of the words."""
        if self.kinds and kind not in self.kinds:
            return False
        names, classes = _by_form(self.words)
        return any(classes.hold(step[1:]) if step[:1] == ":" else names.hold(step) for step in map(str.lower, steps))


class _Forms(NamedTuple):
    """Words by their form: to compile them all as patterns would take a good part of a whole run.

    starts, ends: what stands before and behind a star.  inner: what stands between two.
    open: words with question marks alone.  patterns: any other form.
    """

    plain: frozenset[str]
    starts: tuple[str, ...]
    ends: tuple[str, ...]
    inner: tuple[str, ...]
    open: tuple[str, ...]
    patterns: tuple[str, ...]

    def hold(self, step: str) -> bool:
        if step in self.plain or step.startswith(self.starts) or step.endswith(self.ends):
            return True
        if any(word in step for word in self.inner) or any(_fills(step, word) for word in self.open):
            return True
        return any(fnmatchcase(step, word) for word in self.patterns)


def _fills(step: str, word: str) -> bool:
    return len(step) == len(word) and all(there in ("?", here) for here, there in zip(step, word, strict=True))


@cache
def _by_form(words: str) -> tuple[_Forms, _Forms]:
    """The words for names, and those for classes."""
    lowered = words.lower().split()
    return (
        _forms(word for word in lowered if not word.startswith(":")),
        _forms(word[1:] for word in lowered if word.startswith(":")),
    )


def _forms(words: Iterable[str]) -> _Forms:
    found: dict[str, list[str]] = defaultdict(list)
    for word in words:
        text = word.strip("*")
        if "?" in text and not any(sign in word for sign in "*["):
            found["?"].append(word)
            continue
        form = "[" if any(sign in text for sign in "*?[") else "*" * (word[0] == "*") + "-" + "*" * (word[-1] == "*")
        found[form].append(word if form == "[" else text)
    return _Forms(frozenset(found["-"]), *(tuple(found[form]) for form in ("-*", "*-", "*-*", "?", "[")))


def first(rules: Iterable[Rule], steps: Iterable[str], kind: Kind = Kind.OTHER) -> str | None:
    """The meaning of the first rule that fits one of the steps; None where none does."""
    steps = tuple(steps)
    return next((rule.meaning for rule in rules if rule.fits(steps, kind)), None)
