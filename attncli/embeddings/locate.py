"""Where a word stands in a sentence: found by its characters, so that `mole` is never found inside `molecule`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from attncli.embeddings.folding import Folded, Span, fold, grows_together, is_hangul
from attncli.embeddings.forms import forms

_BRACKETS = re.compile(r"\[([^\[\]]+)\]")
_WORDS = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*")

#: How many syllables a Korean word may carry behind it as particles.
_PARTICLES = 3


class Sought(NamedTuple):
    """A word to be found (or a phrase), and whether other forms of it count: other case, inflections, particles."""

    word: str
    any_form: bool = False

    @property
    def pattern(self) -> re.Pattern[str]:
        *first, last = fold(self.word, case=self.any_form).text.split()
        lasts = sorted(forms(last), key=len, reverse=True) if self.any_form else [last]
        parts = [*map(re.escape, first), f"(?:{'|'.join(map(re.escape, lasts))})"]
        return re.compile(r"\s+".join(parts))


class Marked(NamedTuple):
    """A sentence without the brackets that pointed to a word, and where they pointed: (number of the word, span)."""

    text: str
    marks: tuple[tuple[int, Span], ...] = ()


def find_word(text: str, sought: Sought) -> list[Span]:
    """Every place of a word in a text, as characters, half open.

    >>> find_word("A mole and a molecule", Sought("mole"))
    [(2, 6)]

    A word ends where its script ends words: at what is no letter, digit or mark, and in scripts without spaces
    anywhere but within a run of Katakana. `can` isn't found in `can't`, but `mole` is in `mole's` and in `mole-like`.
    """
    return list(_found(fold(text, case=sought.any_form), sought.pattern, sought.any_form))


def _found(folded: Folded, pattern: re.Pattern[str], any_form: bool) -> Iterator[Span]:
    place = 0
    while match := pattern.search(folded.text, place):
        # One character on, not to the end: a place that didn't count may overlap one that does.
        place = match.start() + 1
        if _stands_alone(folded.text, *match.span(), any_form=any_form):
            place = match.end()
            yield folded.original(*match.span())


def _stands_alone(text: str, start: int, end: int, *, any_form: bool) -> bool:
    if start > 0 and grows_together(text[start - 1], text[start]):
        return False
    if end == len(text):
        return True
    if any_form and is_hangul(text[end - 1]) and is_hangul(text[end]):
        return _ends_soon(text, end)
    return not grows_together(text[end - 1], text[end]) and not _is_contracted(text, end)


def _ends_soon(text: str, end: int) -> bool:
    return not all(is_hangul(character) for character in text[end : end + _PARTICLES + 1].ljust(_PARTICLES + 1))


def _is_contracted(text: str, end: int) -> bool:
    """Behind the word an apostrophe and more than the s of a possessive: `can't`, `they'll`."""
    return re.match(r"'(?!s\b)\w", text[end : end + 4], re.IGNORECASE) is not None


def take_brackets(text: str, words: Sequence[str]) -> Marked:
    """The text without brackets around a word that is sought (in any form): brackets point to the one that is meant.

    >>> take_brackets("the [bank] of the bank [1]", ["bank"])
    Marked(text='the bank of the bank [1]', marks=((0, (4, 8)),))
    """
    parts: list[str] = []
    marks: list[tuple[int, Span]] = []
    place = length = 0
    for match in _BRACKETS.finditer(text):
        number = next((n for n, word in enumerate(words) if _is_form(match[1], word)), None)
        if number is None:
            continue
        parts += [text[place : match.start()], match[1]]
        length += match.start() - place
        marks.append((number, (length, length + len(match[1]))))
        length += len(match[1])
        place = match.end()
    return Marked("".join([*parts, text[place:]]), tuple(marks))


def _is_form(text: str, word: str) -> bool:
    return any(span == (0, len(text)) for span in find_word(text, Sought(word, any_form=True)))


def nearest_forms(text: str, word: str, count: int = 3) -> list[str]:
    """What of a text comes near a word that isn't in it: its other forms, then words that look alike."""
    found = [text[start:end] for start, end in find_word(text, Sought(word, any_form=True))]
    folded = {match[0].casefold(): match[0] for match in _WORDS.finditer(text)}
    alike = get_close_matches(word.casefold(), list(folded), n=count, cutoff=0.6)
    return list(dict.fromkeys([*found, *(folded[each] for each in alike)]))[:count]
