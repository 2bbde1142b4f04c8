"""Text as it is compared: letters composed, apostrophes straight, maybe without case, each with its place in the text.

Also which characters grow together to one word: the boundary of a word is a question of its script.
"""

from __future__ import annotations

import re
import unicodedata
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
