"""Lint of single characters: invisible ones, odd spaces, controls, line ends, damage, and white space at the end.

These are suspects only: `lint` then compares the tokens with and without them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import groupby
from typing import NamedTuple

import regex

from attncli.tokens.scripts import script_of


class Suspect(NamedTuple):
    """A half-open span of characters with a problem, and the text to put there instead."""

    kind: str
    start: int
    end: int
    message: str
    hint: str
    replacement: str


def apply_fixes(text: str, suspects: list[Suspect]) -> str:
    """The text with every suspect replaced; where two overlap, only the first."""
    parts: list[str] = []
    place = 0
    for suspect in sorted(suspects, key=lambda each: each.start):
        if suspect.start >= place:
            parts += [text[place : suspect.start], suspect.replacement]
            place = suspect.end
    return "".join([*parts, text[place:]])


#: Runs of invisible characters: Default_Ignorable_Code_Point of Unicode's DerivedCoreProperties.txt (zero-width
#: characters, bidi controls, variation selectors, tags, fillers), the interlinear marks and the empty Braille pattern.
_INVISIBLE = regex.compile(r"[\p{Default_Ignorable_Code_Point}\ufff9-\ufffb\u2800]+")
_SPACES = regex.compile(r"[\p{Zs}\p{Zl}\p{Zp}--[ ]]+", regex.VERSION1)
_CONTROLS = regex.compile(r"[\p{Cc}--[\t\n\r]]+|\r(?!\n)", regex.VERSION1)
_LINE_ENDS = regex.compile(r"\r\n")
_DAMAGE = regex.compile(r"[\ufffd\p{Co}\p{Cn}--\p{Default_Ignorable_Code_Point}]+", regex.VERSION1)

_JOINERS = "\u200c\u200d"

#: What may stand before and after a joiner: parts of an emoji on both sides; or, after UAX #31 (rules A1, A2 and B), a
#: virama before it, or letters of a joining script on both sides.
_EMOJI_BEFORE = regex.compile(r"[\p{Extended_Pictographic}\p{Emoji_Modifier}\ufe0f]")
_EMOJI_AFTER = regex.compile(r"\p{Extended_Pictographic}")
_JOINING = regex.compile(r"[\p{Arabic}\p{Syriac}\p{Mongolian}\p{Nko}\p{Mandaic}\p{Adlam}]")
_VIRAMA = 9

#: Variation selectors, and what each kind of them may follow.
_SELECTORS = (
    ("\ufe0e\ufe0f", regex.compile(r"\p{Emoji}")),
    (
        "".join(map(chr, range(0xFE00, 0xFE0E))),
        regex.compile(r"[\p{S}\p{Han}\p{Myanmar}\p{Phags_Pa}\p{Manichaean}\p{Egyptian_Hieroglyphs}0]"),
    ),
    ("".join(map(chr, range(0xE0100, 0xE01F0))), regex.compile(r"\p{Han}")),
    ("\u180b\u180c\u180d\u180f", regex.compile(r"\p{Mongolian}")),
)

#: The flags of England, Scotland and Wales: a black flag, the tags of their code, and the tag that ends it.
_FLAG = "\U0001f3f4"
_TAG_BASE, _FIRST_TAG, _LAST_TAG = 0xE0000, "\U000e0020", "\U000e007f"


def character_suspects(text: str) -> Iterator[Suspect]:
    """All suspects but white space at the end, kind by kind, in the order of the text."""
    if not text.isascii():
        for pattern, judge in ((_INVISIBLE, _invisible), (_SPACES, _odd_space), (_DAMAGE, _damaged)):
            for match in pattern.finditer(text):
                yield from judge(text, *match.span())
    for match in _CONTROLS.finditer(text):
        message = f"{describe_characters(match[0])} is a control character"
        hint = "remove it: it usually comes from another file format"
        yield Suspect("control", match.start(), match.end(), message, hint, "")
    for match in _LINE_ENDS.finditer(text):
        message = "the line ends with a carriage return and a newline, as on Windows"
        hint = "convert the file, for instance with dos2unix"
        yield Suspect("line_end", match.start(), match.end(), message, hint, "\n")


def describe_characters(characters: str) -> str:
    """The first character's code and name, and how many there are: `U+200B ZERO WIDTH SPACE (3 times)`."""
    first = characters[0]
    name = unicodedata.name(first, "")
    code = f"U+{ord(first):04X}{f' {name}' if name else ''}"
    if len(characters) == 1:
        return code
    same = len(set(characters)) == 1
    return f"{code} ({len(characters)} times)" if same else f"{code} and {len(characters) - 1} more"


def _invisible(text: str, start: int, end: int) -> Iterator[Suspect]:
    """The part of a run of invisible characters that doesn't belong to the character before it."""
    while start < end and (taken := _expected_length(text, start, end)):
        start += taken
    if start == end:
        return
    run = text[start:end]
    hint = "remove it, or if it is intended, check its tokens"
    spelled = "".join(chr(ord(character) - _TAG_BASE) for character in run if _FIRST_TAG <= character < _LAST_TAG)
    yield Suspect(
        "invisible",
        start,
        end,
        f"{describe_characters(run)} is invisible{(f' and spells “{spelled}”' if spelled else '')}",
        hint,
        "",
    )


def _expected_length(text: str, place: int, end: int) -> int:
    """How many of the invisible characters from `place` on belong to the character before them."""
    before, character, after = text[place - 1 : place], text[place], text[place + 1 : place + 2]
    if not before:
        return 0
    if character in _JOINERS:
        pairs = ((_EMOJI_BEFORE, _EMOJI_AFTER), (_JOINING, _JOINING))
        joins = any(left.match(before) and right.match(after) for left, right in pairs)
        return int(joins or unicodedata.combining(before) == _VIRAMA)
    if before == _FLAG and _FIRST_TAG < character < _LAST_TAG:
        closing = text.find(_LAST_TAG, place, end)
        return closing + 1 - place if 0 < closing - place <= 6 else 0
    return int(any(character in selectors and base.match(before) for selectors, base in _SELECTORS))


def _odd_space(text: str, start: int, end: int) -> Iterator[Suspect]:
    characters = text[start - 1 : start] + text[end : end + 1]
    if text[start] == "\u3000" and any(unicodedata.east_asian_width(character) in "WF" for character in characters):
        return  # the space of Chinese and Japanese texts
    line = text[start] in "\u2028\u2029"
    what = "ends a line, but is not a newline" if line else "looks like a space, but is a different character"
    replacement = "\n" if line else " " * (end - start)
    hint = "write a plain newline there" if line else "write a plain space there"
    yield Suspect("odd_space", start, end, f"{describe_characters(text[start:end])} {what}", hint, replacement)


def _damaged(text: str, start: int, end: int) -> Iterator[Suspect]:
    run = text[start:end]
    if run[0] == "\ufffd":
        what, hint = "replaces a character that was lost", "read the text again in its own encoding"
    elif unicodedata.category(run[0]) == "Co":
        what, hint = "is a private-use character: its meaning depends on the font", "write what it means instead"
    else:
        what, hint = "is not a character of Unicode", "read the text again in its own encoding"
    yield Suspect("damaged", start, end, f"{describe_characters(run)} {what}", hint, "")


def trailing_suspects(text: str) -> Iterator[Suspect]:
    """White space at the end of a text, which makes a model continue it badly; none in a text of nothing else."""
    stripped = text.rstrip()
    if not stripped or len(stripped) == len(text):
        return
    what, hint = (
        "white space",
        "remove it: models expect the space at the beginning of the next word",
    )
    if text.endswith("\n"):
        what, hint = "a newline", "remove it, unless the continuation has to begin on a new line"
    elif text.endswith(" "):
        what = "a space"
    yield Suspect("trailing_space", len(stripped), len(text), f"the text ends with {what}", hint, "")


# --- Letters that look like others


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
    for match in _SPLIT_VOWEL.finditer(text):
        decomposed = match[0]
        vowel = _SPLIT_VOWELS[decomposed[0] + decomposed[-1]]
        codes = " and ".join(f"U+{ord(character):04X}" for character in (decomposed[0], decomposed[-1]))
        message = f"{vowel} is written as two characters, {codes}"
        hint = f"write it as one character (U+{ord(vowel):04X}), which looks the same"
        yield Suspect("decomposed", match.start(), match.end(), message, hint, decomposed[1:-1] + vowel)
    for match in _COMPATIBILITY.finditer(text):
        for is_form, run in groupby(range(*match.span()), key=lambda place: _is_compatibility(text[place])):
            if is_form:
                places = list(run)
                start, end = places[0], places[-1] + 1
                letters = text[start:end]
                plain = unicodedata.normalize("NFKC", letters)
                name = unicodedata.name(letters[0], f"U+{ord(letters[0]):04X}")
                what = "is" if len(letters) == 1 else "begins with"
                message = f"{letters} looks like {plain}, but {what} {name}"
                yield Suspect("compatibility", start, end, message, "write plain letters (Unicode's NFKC)", plain)


def _decomposed(text: str) -> Iterator[Suspect]:
    for match in _CLUSTER.finditer(text):
        decomposed = match[0]
        composed = unicodedata.normalize("NFC", decomposed)
        if len(composed) < len(decomposed):
            names = [unicodedata.name(mark, f"U+{ord(mark):04X}").lower() for mark in decomposed[1:]]
            marks = " and ".join(f"{'an' if name[0] in 'aeiou' else 'a'} {name}" for name in names)
            message = f"{composed} is written as {decomposed[0]} and {marks}"
            hint = "write it as one character (Unicode's NFC)"
            yield Suspect("decomposed", match.start(), match.end(), message, hint, composed)


def _is_compatibility(character: str) -> bool:
    """Whether it is a compatibility form, or a character that NFC replaces, as the Kelvin and Ångström signs."""
    decomposition = unicodedata.decomposition(character)
    if decomposition.startswith("<"):
        return decomposition.startswith(_COMPATIBILITY_KINDS) or character in _LIGATURES
    return bool(decomposition) and " " not in decomposition


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
    words = [_Word(match.start(), match[0], tuple(map(script_of, match[0]))) for match in _WORD.finditer(text)]
    # The scripts that the text really uses, shown by a letter that has no Latin lookalike.
    in_use = {
        script
        for word in words
        if not word.text.isascii()
        for letter, script in zip(word.text, word.scripts, strict=True)
        if script in _LOOKALIKES and letter not in _TO_LATIN
    }
    for word in words:
        kinds = set(word.scripts) & {_LATIN, *_LOOKALIKES}
        if len(kinds) > 1:
            # The script of most of its letters, of Latin and the scripts in use.
            likely = sorted(kinds & {_LATIN, *in_use}) or sorted(kinds)
            yield from _foreign_runs(word, max(likely, key=partial(_weight, word)))
        elif len(word.text) > 1 and kinds.isdisjoint({_LATIN, *in_use}) and set(word.text) <= _TO_LATIN.keys():
            yield from _foreign_runs(word, _LATIN)


def _weight(word: _Word, script: str) -> tuple[int, bool]:
    return word.scripts.count(script), script == _LATIN


def _foreign_runs(word: _Word, main_script: str) -> Iterator[Suspect]:
    """The runs of letters of other scripts that look like letters of the script `main_script`."""
    start = 0
    while start < len(word.text):
        end = start
        while end < len(word.text) and _lookalike(word, end, main_script):
            end += 1
        if end > start:
            letters = word.text[start:end]
            lookalike = "".join(_lookalike(word, place, main_script) or "" for place in range(start, end))
            what, looks = ("is a letter", "looks") if len(letters) == 1 else ("are letters", "look")
            where = f"within {word.text}" if len(letters) < len(word.text) else "where nothing else is"
            message = (
                f"{letters} {what} of {word.scripts[start]} {where}, and {looks} like {lookalike} of {main_script}"
            )
            hint = (
                f"write {lookalike} (U+{ord(lookalike[0]):04X}) if that is intended"
                if len(lookalike) == 1
                else f"write {lookalike} in {main_script}"
            )
            yield Suspect("lookalike", word.start + start, word.start + end, message, hint, lookalike)
        start = max(end, start + 1)


def _lookalike(word: _Word, place: int, main_script: str) -> str | None:
    """The letter of `home` that a letter of another script looks like."""
    letter, script = word.text[place], word.scripts[place]
    if script == main_script:
        return None
    if main_script == _LATIN:
        return _TO_LATIN.get(letter)
    return _FROM_LATIN[main_script].get(letter if script == _LATIN else _TO_LATIN.get(letter, ""))
