"""Letters that look like others: composed apart, in a form that NFKC folds, or taken from another script.

Letters of one script within a word of another that look alike, as the `а` of Cyrillic in `pаypal`.

The letters are those of Unicode's confusables.txt (UTS #39) whose prototype is a letter of ASCII, of the scripts that
share such shapes, less the pairs that only look related. A letter that looks like none of another script (`Δx`,
`3 µm`, `Tシャツ`) is no mistake, however many scripts there are in a word.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import regex

from attncli.tokens.lint.characters import Suspect
from attncli.tokens.scripts import script_of

#: A character with the marks and Hangul vowels and consonants after it, which NFC may put together.
_CLUSTER = regex.compile(r"[^\p{M}\u1160-\u11ff][\p{M}\u1160-\u11ff]+")

#: Vowels that NFC leaves apart, as their one character has a compatibility decomposition only: a mark that is drawn
#: onto the consonant, and a letter behind it, with the tone mark perhaps between. (UnicodeData.txt has no other
#: character of a mark and a letter.) Thai and Lao are typed with the one character, which looks the same.
_SPLIT_VOWELS = {"\u0e4d\u0e32": "\u0e33", "\u0ecd\u0eb2": "\u0eb3"}
_SPLIT_VOWEL = regex.compile(r"\u0e4d([\u0e48-\u0e4b]*)\u0e32|\u0ecd([\u0ec8-\u0ecb]*)\u0eb2")

#: Letters and digits that are another letter in a different dress, and Latin ligatures.
_COMPATIBILITY = regex.compile(r"[\p{L}\p{N}\ufb00-\ufb06--[\x00-\xff]]+", regex.VERSION1)

#: Their kinds of decomposition in UnicodeData.txt: mathematical letters, full-width ones, circled ones. Superscripts,
#: fractions and half-width kana are left alone: those are mostly meant.
_COMPATIBILITY_KINDS = ("<font>", "<wide>", "<circle>")
_LIGATURES = frozenset("ﬀﬁﬂﬃﬄﬅﬆ")


def letter_suspects(text: str) -> Iterator[Suspect]:
    """Every letter composed apart, and every run of letters in another dress."""
    if text.isascii():
        return
    if not unicodedata.is_normalized("NFC", text):
        yield from _decomposed(text)
    yield from _split_vowels(text)
    yield from _compatibility_forms(text)


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


def _compatibility_forms(text: str) -> Iterator[Suspect]:
    for match in _COMPATIBILITY.finditer(text):
        start = match.start()
        for first, end in _compatibility_runs(match[0]):
            written = match[0][first:end]
            plain = unicodedata.normalize("NFKC", written)
            message = f"{written} looks like {plain}, but {_describe_letters(written)}"
            hint = "write plain letters (Unicode's NFKC)"
            yield Suspect("compatibility", start + first, start + end, message, hint, plain)


def _compatibility_runs(letters: str) -> Iterator[tuple[int, int]]:
    """The runs of letters in another dress among others."""
    start: int | None = None
    for place, character in enumerate(f"{letters}\0"):
        if _is_compatibility(character):
            start = place if start is None else start
        elif start is not None:
            yield start, place
            start = None


def _is_compatibility(character: str) -> bool:
    """Also what NFC itself replaces by another character, as the Kelvin and Ångström signs."""
    decomposition = unicodedata.decomposition(character)
    if decomposition.startswith("<"):
        return decomposition.startswith(_COMPATIBILITY_KINDS) or character in _LIGATURES
    return bool(decomposition) and " " not in decomposition


def _describe_letters(written: str) -> str:
    name = unicodedata.name(written[0], f"U+{ord(written[0]):04X}")
    return f"is {name}" if len(written) == 1 else f"begins with {name}"


def _short_name(mark: str) -> str:
    """`a combining acute accent`, as a sentence says it."""
    name = unicodedata.name(mark, f"U+{ord(mark):04X}").lower()
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


#: By script: its letters, and beneath each the Latin one that it looks like.
_LOOKALIKES = {
    "Cyrillic": (
        "аАЬВсСԁеЕԌһНіІјЈКӏӀМоОрРԛԚѕЅТѵѴԝԜхХуУүҮ",
        "aAbBcCdeEGhHiIjJKlIMoOpPqQsSTvVwWxXyYyY",
    ),
    "Greek": (
        "αΑΒϲϹΕΗιΙϳͿΚΜΝνοΟρΡΤυΧγΥΖ",
        "aABcCEHiIjJKMNvoOpPTuXyYZ",
    ),
    "Armenian": ("օՕհոսՍՏ", "oOhnuUS"),
    "Cherokee": ("ᎪᏴᏟᎠᎬᎻᎫᏦᏞᎷᏢᎡᏚᎢᏙᎳᎩᏃ", "ABCDEHJKLMPRSTVWYZ"),
    "Coptic": ("ⲥⲤⲎⲔⲘⲚⲟⲞⲣⲢⲦⲬⲨ", "cCHKMNoOpPTXY"),
    "Lisu": ("ꓮꓐꓚꓓꓰꓝꓖꓧꓙꓗꓲꓡꓟꓠꓳꓑꓣꓢꓔꓴꓦꓪꓫꓬꓜ", "ABCDEFGHJKILMNOPRSTUVWXYZ"),
}
_LATIN = "Latin"
_TO_LATIN = {
    letter: latin for letters, latins in _LOOKALIKES.values() for letter, latin in zip(letters, latins, strict=True)
}
_FROM_LATIN: Mapping[str, Mapping[str, str]] = {
    script: dict(zip(reversed(latins), reversed(letters), strict=True))
    for script, (letters, latins) in _LOOKALIKES.items()
}

#: A word for this purpose: letters and the marks upon them.
_WORD = regex.compile(r"[\p{L}\p{M}]+")
_LOOKALIKE = regex.compile(f"[{''.join(_TO_LATIN)}]")


class _Word(NamedTuple):
    """A word that holds a letter of the table."""

    start: int
    text: str
    scripts: tuple[str, ...]


def lookalike_suspects(text: str) -> Iterator[Suspect]:
    """Every run of letters that stands in a word of another script; and words that are wholly of such letters, where
    nothing else in the text is of their script."""
    if text.isascii() or _LOOKALIKE.search(text) is None:
        return
    words = [_Word(match.start(), match[0], _scripts(match[0])) for match in _WORD.finditer(text)]
    at_home = {script for word in words for script in _scripts_in_use(word)}
    for word in words:
        kinds = set(word.scripts) & {_LATIN, *_LOOKALIKES}
        if len(kinds) > 1:
            yield from _foreign_runs(word, _main_script(word, kinds, at_home))
        elif len(word.text) > 1 and kinds.isdisjoint({_LATIN, *at_home}) and set(word.text) <= _TO_LATIN.keys():
            yield from _foreign_runs(word, _LATIN)


def _scripts(word: str) -> tuple[str, ...]:
    return tuple(map(script_of, word))


def _scripts_in_use(word: _Word) -> Iterator[str]:
    """The scripts that a word shows to be in use: by a letter that looks like none of Latin's."""
    if word.text.isascii():
        return
    for letter, script in zip(word.text, word.scripts, strict=True):
        if script in _LOOKALIKES and letter not in _TO_LATIN:
            yield script


def _main_script(word: _Word, kinds: set[str], at_home: set[str]) -> str:
    """The script that most of a word is in, of Latin and those that the text has other letters of."""
    likely = sorted(kinds & {_LATIN, *at_home}) or sorted(kinds)
    return max(likely, key=lambda kind: (word.scripts.count(kind), kind == _LATIN))


def _foreign_runs(word: _Word, home: str) -> Iterator[Suspect]:
    """The runs of letters that look like ones of the script `home`, and are of another."""
    start = 0
    while start < len(word.text):
        end = start
        while end < len(word.text) and _lookalike(word, end, home):
            end += 1
        if end > start:
            yield _suspect(word, start, end, home)
        start = max(end, start + 1)


def _lookalike(word: _Word, place: int, home: str) -> str | None:
    """The letter of `home` that a letter of another script looks like."""
    letter, script = word.text[place], word.scripts[place]
    if script == home:
        return None
    if home == _LATIN:
        return _TO_LATIN.get(letter)
    return _FROM_LATIN[home].get(letter if script == _LATIN else _TO_LATIN.get(letter, ""))


def _suspect(word: _Word, start: int, end: int, home: str) -> Suspect:
    letters = word.text[start:end]
    meant = "".join(_lookalike(word, place, home) or "" for place in range(start, end))
    what, looks = ("is a letter", "looks") if len(letters) == 1 else ("are letters", "look")
    where = f"within {word.text}" if len(letters) < len(word.text) else "where nothing else is"
    message = f"{letters} {what} of {word.scripts[start]} {where}, and {looks} like {meant} of {home}"
    hint = f"write {meant} (U+{ord(meant[0]):04X}) if that is meant" if len(meant) == 1 else f"write {meant} in {home}"
    return Suspect("lookalike", word.start + start, word.start + end, message, hint, meant)
