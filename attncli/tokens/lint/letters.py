"""Letters that look like others: composed apart, in a form that NFKC folds, or taken from another script."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import regex

from attncli.tokens.lint.suspects import Suspect

#: A character with the marks and Hangul vowels and consonants after it, which NFC may put together.
_CLUSTER = regex.compile(r"[^\p{M}\u1160-\u11ff][\p{M}\u1160-\u11ff]+")

#: Vowels that NFC leaves apart, as their one character has a compatibility decomposition only: a mark that is drawn
#: onto the consonant, and a letter behind it, with the tone mark perhaps between. (UnicodeData.txt has no other
#: character of a mark and a letter.) Thai and Lao are typed with the one character, which looks the same.
_SPLIT_VOWELS = {"\u0e4d\u0e32": "\u0e33", "\u0ecd\u0eb2": "\u0eb3"}
_SPLIT_VOWEL = regex.compile(r"\u0e4d([\u0e48-\u0e4b]*)\u0e32|\u0ecd([\u0ec8-\u0ecb]*)\u0eb2")

#: Letters and digits that are another letter in a different dress, and Latin ligatures.
_DRESSED = regex.compile(r"[\p{L}\p{N}\ufb00-\ufb06--[\x00-\xff]]+", regex.VERSION1)

#: Their kinds of decomposition in UnicodeData.txt: mathematical letters, full-width ones, circled ones. Superscripts,
#: fractions and half-width kana are left alone: those are mostly meant.
_DRESSES = ("<font>", "<wide>", "<circle>")
_LIGATURES = frozenset("ﬀﬁﬂﬃﬄﬅﬆ")


def letter_suspects(text: str) -> Iterator[Suspect]:
    """Every letter composed apart, and every run of letters in another dress."""
    if text.isascii():
        return
    if not unicodedata.is_normalized("NFC", text):
        yield from _decomposed(text)
    yield from _split_vowels(text)
    yield from _dressed(text)


def _split_vowels(text: str) -> Iterator[Suspect]:
    for match in _SPLIT_VOWEL.finditer(text):
        written = match[0]
        vowel = _SPLIT_VOWELS[written[0] + written[-1]]
        codes = " and ".join(f"U+{ord(character):04X}" for character in (written[0], written[-1]))
        message = f"{vowel} is written as two characters, {codes}"
        hint = f"write it as one character (U+{ord(vowel):04X}), which looks the same"
        yield Suspect("decomposed", match.start(), match.end(), message, hint, written[1:-1] + vowel)


def _decomposed(text: str) -> Iterator[Suspect]:
    for match in _CLUSTER.finditer(text):
        written = match[0]
        composed = unicodedata.normalize("NFC", written)
        if len(composed) < len(written):
            marks = " and ".join(_short_name(mark) for mark in written[1:])
            message = f"{composed} is written as {written[0]} and {marks}"
            hint = "write it as one character (Unicode's NFC)"
            yield Suspect("decomposed", match.start(), match.end(), message, hint, composed)


def _dressed(text: str) -> Iterator[Suspect]:
    for match in _DRESSED.finditer(text):
        start = match.start()
        for first, end in _spans_of(match[0]):
            written = match[0][first:end]
            plain = unicodedata.normalize("NFKC", written)
            message = f"{written} looks like {plain}, but {_count(written)}"
            hint = "write plain letters (Unicode's NFKC)"
            yield Suspect("compatibility", start + first, start + end, message, hint, plain)


def _spans_of(letters: str) -> Iterator[tuple[int, int]]:
    """The runs of letters in another dress among others."""
    start: int | None = None
    for place, character in enumerate(f"{letters}\0"):
        if _is_dressed(character):
            start = place if start is None else start
        elif start is not None:
            yield start, place
            start = None


def _is_dressed(character: str) -> bool:
    """Also what NFC itself replaces by another character, as the Kelvin and Ångström signs."""
    decomposition = unicodedata.decomposition(character)
    if decomposition.startswith("<"):
        return decomposition.startswith(_DRESSES) or character in _LIGATURES
    return bool(decomposition) and " " not in decomposition


def _count(written: str) -> str:
    name = unicodedata.name(written[0], f"U+{ord(written[0]):04X}")
    return f"is {name}" if len(written) == 1 else f"begins with {name}"


def _short_name(mark: str) -> str:
    """`a combining acute accent`, as a sentence says it."""
    name = unicodedata.name(mark, f"U+{ord(mark):04X}").lower()
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
