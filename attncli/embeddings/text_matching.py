"""Finds a word in a sentence, in any script, and never inside another word (`mole` in `molecule`).

Texts are compared after normalization: letters composed, apostrophes straight, optionally without case, with the
original position of every character. Any form of a word may match: the regular inflections of English (`mole`,
`moles`; `spy`, `spied`), without a dictionary or irregular forms, and Korean particles.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import NamedTuple

Span = tuple[int, int]

# --- Normalization and word boundaries

_JOINERS = frozenset("\u200c\u200d")

#: Scripts without spaces between words: Thai, Lao, Myanmar, Khmer, kana, Han.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)
#: Katakana is for loanwords: a run of it is a word, so that `モル` (the mole of chemistry) isn't found in `モルモット`.
_KATAKANA = re.compile("[\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f]")


class NormalizedText(NamedTuple):
    """A normalized text, and for each of its characters the span of the original that it is from (None: the same)."""

    text: str
    spans: tuple[Span, ...] | None = None

    def original(self, start: int, end: int) -> Span:
        """The span of the original for a non-empty span of the normalized text."""
        if self.spans is None:
            return start, end
        return self.spans[start][0], self.spans[end - 1][1]


def normalize_text(text: str, *, case: bool = False) -> NormalizedText:
    """Compose letters with their marks, straighten apostrophes, and with `case` ignore case.

    >>> normalize_text("CAFE\\u0301", case=True).text
    'café'
    """
    if text.isascii():
        return NormalizedText(text.lower() if case else text)
    parts: list[str] = []
    spans: list[Span] = []
    # A letter with the marks on it.
    starts = [place for place, sign in enumerate(text) if place == 0 or unicodedata.combining(sign) == 0]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        part = unicodedata.normalize("NFC", text[start:end]).replace("’", "'")
        part = unicodedata.normalize("NFC", part.casefold()) if case else part
        parts.append(part)
        spans.extend([(start, end)] * len(part))
    return NormalizedText("".join(parts), tuple(spans))


def is_within_word(before: str, after: str) -> bool:
    """Whether no word ends between two neighbouring characters."""
    if _is_mark(after):
        return True
    if not (_is_word_character(before) and _is_word_character(after)):
        return False
    if _KATAKANA.match(before) and _KATAKANA.match(after):
        return True
    return not (_UNSPACED.match(before) or _UNSPACED.match(after))


def _is_word_character(character: str) -> bool:
    return character.isalnum() or character == "_" or _is_mark(character)


def _is_mark(character: str) -> bool:
    return character in _JOINERS or unicodedata.category(character).startswith("M")


def is_hangul(character: str) -> bool:
    return "\uac00" <= character <= "\ud7a3"


# --- Inflections

#: The shortest stem that is left when an ending is removed: `bus` has no singular `bu`.
_MIN_STEM = 3
_VOWELS = "aeiou"
_SIBILANTS = ("s", "x", "z", "ch", "sh", "o")


def word_forms(word: str) -> frozenset[str]:
    """The inflections of a lower-case word, and those of every word that it may be an inflection of.

    >>> {"spy", "spied", "spying"} <= word_forms("spies")
    True
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
    rest = word[:-1]
    if word.endswith("y") and word[-2:-1] not in (*_VOWELS, ""):
        return frozenset({word, f"{rest}ies", f"{rest}ied", f"{word}ing"})
    found = {word, f"{word}es" if word.endswith(_SIBILANTS) else f"{word}s"}
    if word.endswith("o"):
        found.add(f"{word}s")
    if word.endswith("e"):
        return frozenset({*found, f"{word}d", f"{rest}ing"})
    found |= {f"{word}ed", f"{word}ing"}
    return frozenset(found | ({f"{word}{word[-1]}ed", f"{word}{word[-1]}ing"} if _doubles(word) else set()))


def _doubles(word: str) -> bool:
    """A consonant after one vowel may be doubled before an ending: `plan`, `planned`."""
    return len(word) > 2 and word[-1] not in (*_VOWELS, *"wxy") and word[-2] in _VOWELS and word[-3] not in _VOWELS


def _stems(word: str) -> Iterator[str]:
    """Candidate stems of a word: without its ending. They needn't inflect to the word."""
    cuts = ("s", "es", "d", "ed", "ing")
    stems = [word[: -len(cut)] for cut in cuts if word.endswith(cut)]
    stems += [f"{stem}e" for stem in stems if word.endswith("ing")]
    stems += [f"{word[:-3]}y" for cut in ("ies", "ied") if word.endswith(cut)]
    stems += [stem[:-1] for stem in stems if stem[-1:] == stem[-2:-1]]
    return (stem for stem in stems if len(stem) >= _MIN_STEM)


# --- Search

_BRACKETS = re.compile(r"\[([^\[\]]+)\]")
_WORDS = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*")

#: The most syllables of particles after a Korean word.
_MAX_PARTICLES = 3


class WordPattern(NamedTuple):
    """A word or phrase to find, and whether other forms of it match: other case, inflections, particles."""

    word: str
    any_form: bool = False

    @property
    def pattern(self) -> re.Pattern[str]:
        *first, last = normalize_text(self.word, case=self.any_form).text.split()
        lasts = sorted(word_forms(last), key=len, reverse=True) if self.any_form else [last]
        parts = [*map(re.escape, first), f"(?:{'|'.join(map(re.escape, lasts))})"]
        return re.compile(r"\s+".join(parts))


class UnmarkedText(NamedTuple):
    """A sentence without the brackets that marked words, and the marks: (index of the word, span)."""

    text: str
    marks: tuple[tuple[int, Span], ...] = ()


def find_word(text: str, query: WordPattern) -> list[Span]:
    """Every occurrence of a word in a text, as half-open spans of characters.

    >>> find_word("A mole and a molecule", WordPattern("mole"))
    [(2, 6)]

    A word ends before a character that is no letter, digit or mark, and in scripts without spaces anywhere but within
    a run of Katakana. `can` isn't found in `can't`, but `mole` is in `mole's` and in `mole-like`.
    """
    normalized, pattern, start, found = normalize_text(text, case=query.any_form), query.pattern, 0, []
    while match := pattern.search(normalized.text, start):
        # Only one character further, as a match that isn't a word may overlap one that is.
        start = match.start() + 1
        if _stands_alone(normalized.text, *match.span(), any_form=query.any_form):
            start = match.end()
            found.append(normalized.original(*match.span()))
    return found


def _stands_alone(text: str, start: int, end: int, *, any_form: bool) -> bool:
    if start > 0 and is_within_word(text[start - 1], text[start]):
        return False
    if end == len(text):
        return True
    if any_form and is_hangul(text[end - 1]) and is_hangul(text[end]):
        following = text[end : end + _MAX_PARTICLES + 1]
        return len(following) <= _MAX_PARTICLES or not all(map(is_hangul, following))
    # An apostrophe with more than a possessive s after it contracts two words: `can't`, `they'll`.
    is_contracted = re.match(r"'(?!s\b)\w", text[end : end + 4], re.IGNORECASE) is not None
    return not is_within_word(text[end - 1], text[end]) and not is_contracted


def remove_brackets(text: str, words: Sequence[str]) -> UnmarkedText:
    """The text without the brackets around any form of the words; brackets mark which occurrence is meant.

    >>> remove_brackets("the [bank] of the bank [1]", ["bank"])
    UnmarkedText(text='the bank of the bank [1]', marks=((0, (4, 8)),))
    """
    parts: list[str] = []
    marks: list[tuple[int, Span]] = []
    place = length = 0
    for match in _BRACKETS.finditer(text):
        patterns = (WordPattern(word, any_form=True) for word in words)
        whole = (0, len(match[1]))
        number = next((n for n, query in enumerate(patterns) if whole in find_word(match[1], query)), None)
        if number is None:
            continue
        parts += [text[place : match.start()], match[1]]
        length += match.start() - place
        marks.append((number, (length, length + len(match[1]))))
        length += len(match[1])
        place = match.end()
    return UnmarkedText("".join([*parts, text[place:]]), tuple(marks))


def similar_words(text: str, word: str, count: int = 3) -> list[str]:
    """Words of a text similar to one that isn't in it: its other forms, then words that look alike."""
    found = [text[start:end] for start, end in find_word(text, WordPattern(word, any_form=True))]
    folded = {match[0].casefold(): match[0] for match in _WORDS.finditer(text)}
    alike = get_close_matches(word.casefold(), list(folded), n=count, cutoff=0.6)
    return list(dict.fromkeys([*found, *(folded[each] for each in alike)]))[:count]
