"""Text as it is compared: letters composed, apostrophes straight, maybe without case, each with its place in the text.

Also which characters grow together to one word: the boundary of a word is a question of its script.

The regular inflections of English words (`mole`, `moles`; `spy`, `spies`, `spied`): no dictionary, no irregular.

Where a word stands in a sentence: found by its characters, so that `mole` is never found inside `molecule`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import NamedTuple

Span = tuple[int, int]

_JOINERS = frozenset("\u200c\u200d")

#: Blocks of scripts that put no spaces between words: Thai, Lao, Myanmar, Khmer, kana, Han.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)
#: Katakana writes loanwords: a run of it is a word, so that `モル` (the mole of chemistry) isn't in `モルモット`.
_KATAKANA = re.compile("[\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f]")


class Folded(NamedTuple):
    """A text as it is compared, and for each of its characters the span of the original that it stands for."""

    text: str
    places: tuple[Span, ...] | None = None

    def original(self, start: int, end: int) -> Span:
        """The characters of the original behind a span that isn't empty."""
        if self.places is None:
            return start, end
        return self.places[start][0], self.places[end - 1][1]


def fold(text: str, *, case: bool = False) -> Folded:
    """Compose letters and their marks, straighten apostrophes, and with `case` take capitals away.

    >>> fold("CAFE\\u0301", case=True).text
    'café'
    """
    if text.isascii():
        return Folded(text.lower() if case else text)
    parts: list[str] = []
    places: list[Span] = []
    for start, end in _clusters(text):
        part = unicodedata.normalize("NFC", text[start:end]).replace("’", "'")
        part = unicodedata.normalize("NFC", part.casefold()) if case else part
        parts.append(part)
        places.extend([(start, end)] * len(part))
    return Folded("".join(parts), tuple(places))


def _clusters(text: str) -> list[Span]:
    """A letter with the marks on it, as spans."""
    starts = [i for i, character in enumerate(text) if i == 0 or unicodedata.combining(character) == 0]
    return list(zip(starts, [*starts[1:], len(text)], strict=True))


def grows_together(before: str, after: str) -> bool:
    """Whether two neighbours are of one word, so that no word ends between them."""
    if _is_mark(after):
        return True
    if not (_is_of_words(before) and _is_of_words(after)):
        return False
    if _KATAKANA.match(before) and _KATAKANA.match(after):
        return True
    return not (_UNSPACED.match(before) or _UNSPACED.match(after))


def _is_of_words(character: str) -> bool:
    return character.isalnum() or character == "_" or _is_mark(character)


def _is_mark(character: str) -> bool:
    return character in _JOINERS or unicodedata.category(character).startswith("M")


def is_hangul(character: str) -> bool:
    return "\uac00" <= character <= "\ud7a3"


#: The shortest word that an ending may be taken off to: `bus` has no singular `bu`.
_SHORTEST = 3
_VOWELS = "aeiou"
_SIBILANTS = ("s", "x", "z", "ch", "sh", "o")


def forms(word: str) -> frozenset[str]:
    """A word in lower case with its inflections, and those of every word that it is an inflection of itself.

    >>> sorted(forms("moles"))
    ['mole', 'moled', "mole's", ...]  # doctest: +SKIP
    """
    found = inflections(word)
    for stem in _stems(word):
        if word in inflections(stem):
            found |= inflections(stem)
    return found


def inflections(word: str) -> frozenset[str]:
    """The word with the endings of plurals, past tenses and participles, as English spells them."""
    if not word[-1:].isalpha() or not word.isascii():
        return frozenset({word})
    return frozenset({word, *_with_s(word), *_with_ending(word)})


def _with_s(word: str) -> Iterator[str]:
    if word.endswith("y") and word[-2:-1] not in (*_VOWELS, ""):
        yield f"{word[:-1]}ies"
    else:
        yield f"{word}es" if word.endswith(_SIBILANTS) else f"{word}s"
    if word.endswith("o"):
        yield f"{word}s"


def _with_ending(word: str) -> Iterator[str]:
    stem = word
    if word.endswith("y") and word[-2:-1] not in (*_VOWELS, ""):
        yield f"{word[:-1]}ied"
        yield f"{word}ing"
        return
    if word.endswith("e"):
        yield f"{word}d"
        yield f"{word[:-1]}ing"
        return
    yield f"{stem}ed"
    yield f"{stem}ing"
    if _doubles(word):
        yield f"{word}{word[-1]}ed"
        yield f"{word}{word[-1]}ing"


def _doubles(word: str) -> bool:
    """A consonant after one vowel may be doubled before an ending: `plan`, `planned`."""
    return len(word) > 2 and word[-1] not in (*_VOWELS, *"wxy") and word[-2] in _VOWELS and word[-3] not in _VOWELS


def _stems(word: str) -> Iterator[str]:
    """What may be left of a word without its ending; whether it would inflect to it is for others to say."""
    cuts = ("s", "es", "d", "ed", "ing")
    stems = [word[: -len(cut)] for cut in cuts if word.endswith(cut)]
    stems += [f"{stem}e" for stem in stems if word.endswith("ing")]
    stems += [f"{word[:-3]}y" for cut in ("ies", "ied") if word.endswith(cut)]
    stems += [stem[:-1] for stem in stems if stem[-1:] == stem[-2:-1]]
    return (stem for stem in stems if len(stem) >= _SHORTEST)


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
