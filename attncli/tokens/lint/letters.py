"""Lint of letters that look like others: decomposed, in a compatibility form that NFKC folds, or of another script.

The lookalikes, as the Cyrillic `а` in `pаypal`, are the letters of Unicode's confusables.txt (UTS #39) whose prototype
is an ASCII letter, of the scripts that share such shapes, less the pairs that only look related. A letter without a
lookalike in another script (`Δx`, `3 µm`, `Tシャツ`) is no mistake, however many scripts there are in a word.
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

#: Vowels that NFC doesn't compose, as their single character has a compatibility decomposition only: a mark on the
#: consonant and a letter after it, perhaps with a tone mark between them. (UnicodeData.txt has no other character of a
#: mark and a letter.) Thai and Lao are typed with the single character, which looks the same.
_SPLIT_VOWELS = {"\u0e4d\u0e32": "\u0e33", "\u0ecd\u0eb2": "\u0eb3"}
_SPLIT_VOWEL = regex.compile(r"\u0e4d([\u0e48-\u0e4b]*)\u0e32|\u0ecd([\u0ec8-\u0ecb]*)\u0eb2")

#: Candidates for compatibility forms of other letters and digits, and Latin ligatures.
_COMPATIBILITY = regex.compile(r"[\p{L}\p{N}\ufb00-\ufb06--[\x00-\xff]]+", regex.VERSION1)

#: Decomposition types in UnicodeData.txt: mathematical, full-width and circled letters. Superscripts, fractions and
#: half-width kana are left out, as they are mostly intended.
_COMPATIBILITY_KINDS = ("<font>", "<wide>", "<circle>")
_LIGATURES = frozenset("ﬀﬁﬂﬃﬄﬅﬆ")

#: By script: its letters, and below each the Latin letter that it looks like.
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


# --- Decomposed letters and compatibility forms


def letter_suspects(text: str) -> Iterator[Suspect]:
    """Every decomposed letter, and every run of letters in a compatibility form."""
    if text.isascii():
        return
    if not unicodedata.is_normalized("NFC", text):
        yield from _decomposed(text)
    yield from _split_vowels(text)
    yield from _compatibility_forms(text)


def _split_vowels(text: str) -> Iterator[Suspect]:
    for match in _SPLIT_VOWEL.finditer(text):
        decomposed = match[0]
        vowel = _SPLIT_VOWELS[decomposed[0] + decomposed[-1]]
        codes = " and ".join(f"U+{ord(character):04X}" for character in (decomposed[0], decomposed[-1]))
        message = f"{vowel} is written as two characters, {codes}"
        hint = f"write it as one character (U+{ord(vowel):04X}), which looks the same"
        yield Suspect("decomposed", match.start(), match.end(), message, hint, decomposed[1:-1] + vowel)


def _decomposed(text: str) -> Iterator[Suspect]:
    for match in _CLUSTER.finditer(text):
        decomposed = match[0]
        composed = unicodedata.normalize("NFC", decomposed)
        if len(composed) < len(decomposed):
            marks = " and ".join(_short_name(mark) for mark in decomposed[1:])
            message = f"{composed} is written as {decomposed[0]} and {marks}"
            hint = "write it as one character (Unicode's NFC)"
            yield Suspect("decomposed", match.start(), match.end(), message, hint, composed)


def _compatibility_forms(text: str) -> Iterator[Suspect]:
    for match in _COMPATIBILITY.finditer(text):
        start = match.start()
        for first, end in _compatibility_runs(match[0]):
            letters = match[0][first:end]
            plain = unicodedata.normalize("NFKC", letters)
            message = f"{letters} looks like {plain}, but {_describe_letters(letters)}"
            hint = "write plain letters (Unicode's NFKC)"
            yield Suspect("compatibility", start + first, start + end, message, hint, plain)


def _compatibility_runs(letters: str) -> Iterator[tuple[int, int]]:
    """The runs of letters in a compatibility form among others."""
    start: int | None = None
    for place, character in enumerate(f"{letters}\0"):
        if _is_compatibility(character):
            start = place if start is None else start
        elif start is not None:
            yield start, place
            start = None


def _is_compatibility(character: str) -> bool:
    """Whether it is a compatibility form, or a character that NFC replaces, as the Kelvin and Ångström signs."""
    decomposition = unicodedata.decomposition(character)
    if decomposition.startswith("<"):
        return decomposition.startswith(_COMPATIBILITY_KINDS) or character in _LIGATURES
    return bool(decomposition) and " " not in decomposition


def _describe_letters(letters: str) -> str:
    name = unicodedata.name(letters[0], f"U+{ord(letters[0]):04X}")
    return f"is {name}" if len(letters) == 1 else f"begins with {name}"


def _short_name(mark: str) -> str:
    """The mark's name with an article: `a combining acute accent`."""
    name = unicodedata.name(mark, f"U+{ord(mark):04X}").lower()
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


# --- Lookalikes of other scripts


class _Word(NamedTuple):
    """A word, its place in the text, and the script of each of its letters."""

    start: int
    text: str
    scripts: tuple[str, ...]


def lookalike_suspects(text: str) -> Iterator[Suspect]:
    """Every run of lookalike letters in a word of another script, and words of only such letters where nothing else in
    the text is of their script."""
    if text.isascii() or _LOOKALIKE.search(text) is None:
        return
    words = [_Word(match.start(), match[0], _scripts(match[0])) for match in _WORD.finditer(text)]
    in_use = {script for word in words for script in _scripts_in_use(word)}
    for word in words:
        kinds = set(word.scripts) & {_LATIN, *_LOOKALIKES}
        if len(kinds) > 1:
            yield from _foreign_runs(word, _main_script(word, kinds, in_use))
        elif len(word.text) > 1 and kinds.isdisjoint({_LATIN, *in_use}) and set(word.text) <= _TO_LATIN.keys():
            yield from _foreign_runs(word, _LATIN)


def _scripts(word: str) -> tuple[str, ...]:
    return tuple(map(script_of, word))


def _scripts_in_use(word: _Word) -> Iterator[str]:
    """The scripts that a text really uses, shown by a letter in this word that has no Latin lookalike."""
    if word.text.isascii():
        return
    for letter, script in zip(word.text, word.scripts, strict=True):
        if script in _LOOKALIKES and letter not in _TO_LATIN:
            yield script


def _main_script(word: _Word, kinds: set[str], in_use: set[str]) -> str:
    """The script of most of a word's letters, of Latin and the scripts in use."""
    likely = sorted(kinds & {_LATIN, *in_use}) or sorted(kinds)
    return max(likely, key=lambda kind: (word.scripts.count(kind), kind == _LATIN))


def _foreign_runs(word: _Word, main_script: str) -> Iterator[Suspect]:
    """The runs of letters of other scripts that look like letters of the script `main_script`."""
    start = 0
    while start < len(word.text):
        end = start
        while end < len(word.text) and _lookalike(word, end, main_script):
            end += 1
        if end > start:
            yield _suspect(word, start, end, main_script)
        start = max(end, start + 1)


def _lookalike(word: _Word, place: int, main_script: str) -> str | None:
    """The letter of `home` that a letter of another script looks like."""
    letter, script = word.text[place], word.scripts[place]
    if script == main_script:
        return None
    if main_script == _LATIN:
        return _TO_LATIN.get(letter)
    return _FROM_LATIN[main_script].get(letter if script == _LATIN else _TO_LATIN.get(letter, ""))


def _suspect(word: _Word, start: int, end: int, main_script: str) -> Suspect:
    letters = word.text[start:end]
    lookalike = "".join(_lookalike(word, place, main_script) or "" for place in range(start, end))
    what, looks = ("is a letter", "looks") if len(letters) == 1 else ("are letters", "look")
    where = f"within {word.text}" if len(letters) < len(word.text) else "where nothing else is"
    message = f"{letters} {what} of {word.scripts[start]} {where}, and {looks} like {lookalike} of {main_script}"
    hint = (
        f"write {lookalike} (U+{ord(lookalike[0]):04X}) if that is meant"
        if len(lookalike) == 1
        else f"write {lookalike} in {main_script}"
    )
    return Suspect("lookalike", word.start + start, word.start + end, message, hint, lookalike)
