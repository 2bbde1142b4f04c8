"""Split a text into runs of one Unicode script, and count its characters, words and tokens by script.

Scripts are those of Unicode's Scripts.txt, by their long names (`Latin`, `Han`), from the package `regex`. Emoji and
other symbols have no script there; here they are `Symbols`, as in ISO 15924 (Zsym), because whether a vocabulary has
them doesn't depend on the letters around them.

Characters, bytes, words and tokens count in the run where they begin, so that a token of two scripts counts for the
first, and the scripts add up to the total. A word that continues from a script with spaces into one without
(`Python写`) ends where that begins.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby, pairwise
from typing import NamedTuple

import regex

from attncli.results.tokenize import SYMBOLS
from attncli.results.tokens import without_punctuation
from attncli.tokens.spans import tokens_per_word, word_spans

Span = tuple[int, int]

#: Characters of texts in any script (digits, punctuation, spaces); those that take the script before them (accents);
#: those without one (private use, unassigned).
COMMON, INHERITED, UNKNOWN = NEUTRAL = ("Common", "Inherited", "Unknown")

#: Emoji, skin tones and other symbols (So) without a script: 👍, 🏽, ★. Not those of Latin-1 (©, °) nor letterlike ones
#: (℃, ㎏), which stand among letters, as mathematical and currency signs do.
_SYMBOL = (
    r"[[\p{Script=Common}&&[\p{So}\p{Extended_Pictographic}\p{Emoji_Modifier}]]"
    r"--[\x00-\xff\u2100-\u214f\u3200-\u33ff\ufffc\ufffd]]"
)

#: The same, with joiners and variation selectors after them.
_SYMBOLS = rf"{_SYMBOL}[{_SYMBOL}\p{{Script=Inherited}}\p{{Cf}}]*+"

#: Scripts without spaces between words, so that nothing can be counted per word. In UAX #14, line breaking needs a
#: dictionary for the first nine (class SA); the ideographic ones and kana break nearly anywhere (classes ID and CJ);
#: Tibetan has a mark after each syllable (class BA); Balinese and Javanese break between syllables (class AK). Hangul
#: has spaces. Symbols are no words at all.
UNSPACED = frozenset(
    (
        *("Thai", "Lao", "Khmer", "Myanmar", "Tai_Le", "New_Tai_Lue", "Tai_Tham", "Tai_Viet", "Ahom"),
        *("Han", "Hiragana", "Katakana", "Bopomofo", "Yi", "Tangut", "Nushu", "Khitan_Small_Script"),
        *("Tibetan", "Balinese", "Javanese"),
        SYMBOLS,
    )
)

#: Every script of Unicode 17 (Scripts.txt) but the neutral ones, the most frequent first, as they are tried in this
#: order. A script of a later version is `Unknown` until it is added here.
_NAMES = (
    "Latin Han Cyrillic Arabic Devanagari Hangul Hiragana Katakana Greek Hebrew Thai Bengali Tamil Telugu Gujarati "
    "Kannada Malayalam Gurmukhi Oriya Sinhala Khmer Lao Myanmar Tibetan Georgian Armenian Ethiopic Mongolian Adlam "
    "Ahom Anatolian_Hieroglyphs Avestan Balinese Bamum Bassa_Vah Batak Beria_Erfe Bhaiksuki Bopomofo Brahmi Braille "
    "Buginese Buhid Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham Cherokee Chorasmian Coptic Cuneiform "
    "Cypriot Cypro_Minoan Deseret Dives_Akuru Dogra Duployan Egyptian_Hieroglyphs Elbasan Elymaic Garay Glagolitic "
    "Gothic Grantha Gunjala_Gondi Gurung_Khema Hanifi_Rohingya Hanunoo Hatran Imperial_Aramaic "
    "Inscriptional_Pahlavi Inscriptional_Parthian Javanese Kaithi Kawi Kayah_Li Kharoshthi Khitan_Small_Script Khojki "
    "Khudawadi Kirat_Rai Lepcha Limbu Linear_A Linear_B Lisu Lycian Lydian Mahajani Makasar Mandaic Manichaean "
    "Marchen Masaram_Gondi Medefaidrin Meetei_Mayek Mende_Kikakui Meroitic_Cursive Meroitic_Hieroglyphs Miao Modi "
    "Mro Multani Nabataean Nag_Mundari Nandinagari New_Tai_Lue Newa Nko Nushu Nyiakeng_Puachue_Hmong Ogham Ol_Chiki "
    "Ol_Onal Old_Hungarian Old_Italic Old_North_Arabian Old_Permic Old_Persian Old_Sogdian Old_South_Arabian "
    "Old_Turkic Old_Uyghur Osage Osmanya Pahawh_Hmong Palmyrene Pau_Cin_Hau Phags_Pa Phoenician Psalter_Pahlavi "
    "Rejang Runic Samaritan Saurashtra Sharada Shavian Siddham Sidetic SignWriting Sogdian Sora_Sompeng Soyombo "
    "Sundanese Sunuwar Syloti_Nagri Syriac Tagalog Tagbanwa Tai_Le Tai_Tham Tai_Viet Tai_Yo Takri Tangsa Tangut "
    "Thaana Tifinagh Tirhuta Todhri Tolong_Siki Toto Tulu_Tigalari Ugaritic Vai Vithkuqi Wancho Warang_Citi Yezidi "
    "Yi Zanabazar_Square"
)
_CLASSES = {SYMBOLS: _SYMBOL} | {name: rf"\p{{Script={name}}}" for name in (*NEUTRAL, *_NAMES.split())}
_SCRIPT = regex.compile("|".join(f"(?P<{name}>{each})" for name, each in _CLASSES.items()), regex.VERSION1)


# --- Runs of one script


class ScriptRun(NamedTuple):
    """Neighbouring characters of one script, as a half-open span."""

    script: str
    start: int
    end: int


@lru_cache(maxsize=1 << 14)
def script_of(character: str) -> str:
    """The script of one character by its Unicode name (`Latin`), or `Common`, `Inherited`, `Unknown` or `Symbols`."""
    match = _SCRIPT.match(character)
    return match.lastgroup or UNKNOWN if match else UNKNOWN


def script_runs(text: str) -> Iterator[ScriptRun]:
    """The text in runs of one script; together they are the whole text, and neighbours differ.

    Neutral characters belong to the run before them; but where a space separates them from it and none from the run
    after them, they belong to that, with the space: `写 (hi)` is `写` and ` (hi)`. Those before the first run belong to
    it. Symbols only take the space before them: neutral characters after them continue the script before the symbols,
    or are `Common` if there is none, as is a text of nothing else.

    Linear in the length of the text.
    """
    scripts = frozenset(map(script_of, set(text))).difference(NEUTRAL)
    if not scripts or (len(scripts) == 1 and SYMBOLS not in scripts):
        if text:
            yield ScriptRun(next(iter(scripts), COMMON), 0, len(text))
        return
    script, start = "", 0
    for found, place in _script_starts(text, scripts):
        if script and found != script:
            border = _run_end(text, start, place, takes_neutral=found != SYMBOLS)
            yield ScriptRun(script, start, border)
            start = border
        script = found
    yield ScriptRun(script, start, len(text))


def _script_starts(text: str, scripts: frozenset[str]) -> Iterator[tuple[str, int]]:
    """The script and start of each run. Neutral characters after symbols take the script before those; at the beginning
    of the text, that of the letters after them."""
    letters = ""
    for match in _run_pattern(scripts).finditer(text):
        script = match.lastgroup or COMMON
        if script == COMMON:
            if match[0].isspace() or _belongs_to_next(text, *match.span()):
                continue
            script = letters or COMMON
        elif script != SYMBOLS:
            letters = script
        yield script, match.start()


def _belongs_to_next(text: str, start: int, end: int) -> bool:
    """Whether neutral characters belong to the letters after them: at the beginning of the text, and where only a space
    separates them from what is before."""
    letters = end < len(text) and script_of(text[end]) != SYMBOLS
    return letters and (not start or (text[start].isspace() and len(text[start:end].split()) == 1))


@lru_cache(maxsize=1 << 8)
def _run_pattern(scripts: Iterable[str]) -> regex.Pattern[str]:
    """A pattern that matches a run of any of these scripts, in a group of its name, or of none, in the group `Common`.

    It has only the scripts of one text, as each further group slows every match.
    """
    kinds = {name: _CLASSES[name] for name in sorted(scripts)}
    others = {name: "".join(kind for other, kind in kinds.items() if other != name) for name in kinds}
    runs = {name: f"{kind}[^{others[name]}]*+" if others[name] else kind for name, kind in kinds.items()}
    if SYMBOLS in kinds:
        runs[SYMBOLS] = _SYMBOLS
    runs[COMMON] = f"[^{''.join(kinds.values())}]++"
    return regex.compile("|".join(f"(?P<{name}>{run})" for name, run in runs.items()), regex.VERSION1)


def _run_end(text: str, start: int, end: int, *, takes_neutral: bool) -> int:
    """Where the run from `start` ends if another script follows at `end`: before the space, if only neutral characters
    are between that and `end`.  takes_neutral: whether these belong to the next run; else only space does."""
    place = end
    while takes_neutral and place > start and not text[place - 1].isspace():
        if script_of(text[place - 1]) not in NEUTRAL:
            return end
        place -= 1
    while place > start and text[place - 1].isspace():
        place -= 1
    return place if place > start else end


# --- Counts by script


class RunCounts(NamedTuple):
    """Counts of what begins in one run of one script. `words` is 0 in scripts without spaces.

    words_unspaced: runs of non-space in scripts without spaces between words; 0 in others.
    unknown_characters: characters of the run that unknown tokens replaced, wherever these tokens begin.
    """

    script: str
    characters: int = 0
    bytes: int = 0
    tokens: int = 0
    unknown: int = 0
    words: int = 0
    continued: int = 0
    unknown_characters: int = 0
    words_unspaced: int = 0


def add_counts(script: str, runs: Iterable[RunCounts]) -> RunCounts:
    """The sum of the counts of runs, under this name."""
    return RunCounts(script, *map(sum, zip(RunCounts(script)[1:], *(run[1:] for run in runs), strict=True)))


class CountedText(NamedTuple):
    """The counts of each run of a text, and of each of its words the characters and the number of tokens, both without
    the punctuation around it."""

    runs: tuple[RunCounts, ...]
    words: Sequence[Span]
    pieces: Sequence[int]


def count_by_script(text: str, spans: Sequence[Span | None], unknown: Sequence[bool]) -> CountedText:
    """Count the tokens of a text by script.

    spans: the characters of each token, in the order of the text; None where it wasn't found.
    unknown: whether each token is the unknown one.
    """
    runs = list(script_runs(text)) or [ScriptRun(COMMON, 0, 0)]
    words = list(_words(text, runs, unspaced=False))
    pieces = tokens_per_word(text, sorted(span for span in spans if span is not None), words)
    starts = _token_starts(spans)
    counts = zip(
        (run.script for run in runs),
        (run.end - run.start for run in runs),
        (_utf8_size(text[run.start : run.end]) for run in runs),
        _count_by_run(runs, starts),
        _count_by_run(runs, [start for start, lost in zip(starts, unknown, strict=True) if lost]),
        _count_by_run(runs, [start for start, _ in words]),
        _count_by_run(runs, [start for (start, _), count in zip(words, pieces, strict=True) if count > 1]),
        _count_characters(runs, [span for span, lost in zip(spans, unknown, strict=True) if lost and span is not None]),
        _count_by_run(runs, [start for start, _ in _words(text, runs, unspaced=True)]),
        strict=True,
    )
    inner = [without_punctuation(text, *word) for word in words]
    return CountedText(tuple(RunCounts(*each) for each in counts), inner, pieces)


def _token_starts(spans: Sequence[Span | None]) -> list[int]:
    """Where each token begins; one without a span, where the one before it ends."""
    starts, reach = [], 0
    for span in spans:
        if span is None:
            starts.append(reach)
        else:
            start, reach = span
            starts.append(start)
    return starts


def _words(text: str, runs: Iterable[ScriptRun], *, unspaced: bool) -> Iterator[Span]:
    """The runs of non-space, in scripts with spaces between words or in those without.

    One ends where the other kind of script begins.
    """
    for apart, neighbours in groupby(runs, key=lambda run: run.script in UNSPACED):
        if apart == unspaced:
            stretch = list(neighbours)
            yield from word_spans(text, stretch[0].start, stretch[-1].end)


def _count_by_run(runs: Sequence[ScriptRun], places: Sequence[int]) -> list[int]:
    """How many of the indices are in each run; those after the last run count for it."""
    if len(runs) == 1:
        return [len(places)]
    ordered = sorted(places)
    borders = [0, *(bisect_left(ordered, run.start) for run in runs[1:]), len(ordered)]
    return [after - before for before, after in pairwise(borders)]


def _count_characters(runs: Sequence[ScriptRun], spans: Iterable[Span]) -> list[int]:
    """How many characters of each run the spans cover, each counted once."""
    taken = [0] * len(runs)
    starts = [run.start for run in runs]
    reach = 0
    for start, end in sorted(spans):
        start = max(start, reach)
        index = max(bisect_right(starts, start) - 1, 0)
        while index < len(runs) and start < end:
            until = min(end, runs[index].end)
            taken[index] += max(until - start, 0)
            start, index = max(until, start), index + 1
        reach = max(reach, end)
    return taken


def _utf8_size(text: str) -> int:
    """The length in UTF-8 bytes."""
    return len(text) if text.isascii() else len(text.encode("utf-8"))
