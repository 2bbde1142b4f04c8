"""The regular inflections of English words (`mole`, `moles`; `spy`, `spies`, `spied`): no dictionary, no irregular."""

from __future__ import annotations

from collections.abc import Iterator

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
