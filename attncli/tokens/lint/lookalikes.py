"""Letters of one script within a word of another that look alike, as the `а` of Cyrillic in `pаypal`.

The letters are those of Unicode's confusables.txt (UTS #39) whose prototype is a letter of ASCII, of the scripts that
share such shapes, less the pairs that only look related. A letter that looks like none of another script (`Δx`,
`3 µm`, `Tシャツ`) is no mistake, however many scripts there are in a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import regex

from attncli.tokens.lint.suspects import Suspect
from attncli.tokens.scripts import script_of

#: By script: its letters, and beneath each the Latin one that it looks like.
_TABLE = {
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
    letter: latin for letters, latins in _TABLE.values() for letter, latin in zip(letters, latins, strict=True)
}
_FROM_LATIN: Mapping[str, Mapping[str, str]] = {
    script: dict(zip(reversed(latins), reversed(letters), strict=True)) for script, (letters, latins) in _TABLE.items()
}

#: A word for this purpose: letters and the marks upon them.
_WORD = regex.compile(r"[\p{L}\p{M}]+")
_ANY = regex.compile(f"[{''.join(_TO_LATIN)}]")


class _Word(NamedTuple):
    """A word that holds a letter of the table."""

    start: int
    text: str
    scripts: tuple[str, ...]


def lookalike_suspects(text: str) -> Iterator[Suspect]:
    """Every run of letters that stands in a word of another script; and words that are wholly of such letters, where
    nothing else in the text is of their script."""
    if text.isascii() or _ANY.search(text) is None:
        return
    words = [_Word(match.start(), match[0], _scripts(match[0])) for match in _WORD.finditer(text)]
    at_home = {script for word in words for script in _at_home(word)}
    for word in words:
        kinds = set(word.scripts) & {_LATIN, *_TABLE}
        if len(kinds) > 1:
            yield from _strangers(word, _home(word, kinds, at_home))
        elif len(word.text) > 1 and kinds.isdisjoint({_LATIN, *at_home}) and set(word.text) <= _TO_LATIN.keys():
            yield from _strangers(word, _LATIN)


def _scripts(word: str) -> tuple[str, ...]:
    return tuple(map(script_of, word))


def _at_home(word: _Word) -> Iterator[str]:
    """The scripts that a word shows to be in use: by a letter that looks like none of Latin's."""
    if word.text.isascii():
        return
    for letter, script in zip(word.text, word.scripts, strict=True):
        if script in _TABLE and letter not in _TO_LATIN:
            yield script


def _home(word: _Word, kinds: set[str], at_home: set[str]) -> str:
    """The script that most of a word is in, of Latin and those that the text has other letters of."""
    likely = sorted(kinds & {_LATIN, *at_home}) or sorted(kinds)
    return max(likely, key=lambda kind: (word.scripts.count(kind), kind == _LATIN))


def _strangers(word: _Word, home: str) -> Iterator[Suspect]:
    """The runs of letters that look like ones of the script `home`, and are of another."""
    start = 0
    while start < len(word.text):
        end = start
        while end < len(word.text) and _meant(word, end, home):
            end += 1
        if end > start:
            yield _suspect(word, start, end, home)
        start = max(end, start + 1)


def _meant(word: _Word, place: int, home: str) -> str | None:
    """The letter of `home` that a letter of another script looks like."""
    letter, script = word.text[place], word.scripts[place]
    if script == home:
        return None
    if home == _LATIN:
        return _TO_LATIN.get(letter)
    return _FROM_LATIN[home].get(letter if script == _LATIN else _TO_LATIN.get(letter, ""))


def _suspect(word: _Word, start: int, end: int, home: str) -> Suspect:
    letters = word.text[start:end]
    meant = "".join(_meant(word, place, home) or "" for place in range(start, end))
    what, looks = ("is a letter", "looks") if len(letters) == 1 else ("are letters", "look")
    where = f"within {word.text}" if len(letters) < len(word.text) else "where nothing else is"
    message = f"{letters} {what} of {word.scripts[start]} {where}, and {looks} like {meant} of {home}"
    hint = f"write {meant} (U+{ord(meant[0]):04X}) if that is meant" if len(meant) == 1 else f"write {meant} in {home}"
    return Suspect("lookalike", word.start + start, word.start + end, message, hint, meant)
