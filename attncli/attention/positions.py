"""Positions as users write them: an index, a word, a special token, a slice (`-1`, `it`, `it#2`, `cls`, `3:9`).

In a picture also a patch (`4,7`), in a sound a moment (`1.5s`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import groupby

from attncli.errors import UsageError
from attncli.results.tokens import Token

#: Places from…to of a sequence, half open.
Span = tuple[int, int]

_INDEX = re.compile(r"-?\d+")
_SLICE = re.compile(r"(-?\d+)?:(-?\d+)?")
_OCCURRENCE = re.compile(r"(?P<word>.+)#(?P<number>\d+)", re.DOTALL)

#: What stands around a special token's name: [CLS], <s>, <|endoftext|>.
_BRACKETS = "[]<>|▁ "

#: What goes around a word in a text and isn't typed with it.
_PUNCTUATION = ".,;:!?…\"'()[]{}«»„“”‘’"


@dataclass(frozen=True)
class Position:
    """One position as typed; `flag` is the option that it came with, for what is said of it."""

    typed: str
    flag: str

    @property
    def is_slice(self) -> bool:
        """Whether it is a stretch of positions, and not one."""
        return _SLICE.fullmatch(self.typed.strip()) is not None

    def span(self, tokens: Sequence[Token]) -> Span:
        """The tokens that it means, half open: one, the pieces of a word, or a slice.

        Raises UsageError where there are none, with the nearest that there are.
        """
        count, typed = len(tokens), self.typed.strip()
        if sliced := _SLICE.fullmatch(typed):
            start, stop, _ = slice(*(None if part is None else int(part) for part in sliced.groups())).indices(count)
            if start >= stop:
                raise self._missing(f"the slice {typed} holds none of the {count:,} tokens", _index_hint(count))
            return start, stop
        if _INDEX.fullmatch(typed):
            index = int(typed) + count * (int(typed) < 0)
            if not 0 <= index < count:
                raise self._missing(f"no token {typed} among {count:,}", _index_hint(count))
            return index, index + 1
        try:
            place = media_position(typed, tokens)
        except NoSuchPositionError as error:
            raise self._missing(str(error), error.hint) from error
        return self._named(typed, tokens) if place is None else (place, place + 1)

    def _named(self, typed: str, tokens: Sequence[Token]) -> Span:
        match = _OCCURRENCE.fullmatch(typed)
        word, number = (match["word"], int(match["number"])) if match else (typed, 1)
        for found in (_find_words(word, tokens), _find_tokens(word, tokens), _find_special_tokens(word, tokens)):
            if len(found) >= number > 0:
                return found[number - 1]
            if found:
                times = f"{len(found)} time{'s' if len(found) > 1 else ''}"
                raise self._missing(f"{word!r} stands {times} in the text, not {number}", f"{word}#1 is the first")
        if phrase := _find_phrase(typed, tokens):
            start, stop = phrase
            message = f"{typed!r} is several words, and a position is one of them"
            raise self._missing(message, f"a slice holds them all: {self.flag} {start}:{stop}")
        raise self._missing(f"{typed!r} is not in the text", _nearest_hint(word, tokens))

    def _missing(self, message: str, hint: str) -> UsageError:
        return UsageError(f"{self.flag}: {message}", hint=hint)


def word_spans(tokens: Sequence[Token]) -> list[Span]:
    """The tokens of each word, special tokens and those without a word alone."""
    keyed = groupby(
        range(len(tokens)), lambda place: place if tokens[place].word is None else (tokens[place].word, "word")
    )
    spans = []
    for _, places in keyed:
        own = list(places)
        spans.append((own[0], own[-1] + 1))
    return spans


def word_text(tokens: Sequence[Token], span: Span) -> str:
    """What a word reads as."""
    return "".join(token.text for token in tokens[span[0] : span[1]]).strip()


def _find_words(typed: str, tokens: Sequence[Token]) -> list[Span]:
    """Words that read so; without the punctuation around them; and then in other case."""
    spans = [span for span in word_spans(tokens) if tokens[span[0]].word is not None]
    texts = [word_text(tokens, span) for span in spans]
    for simple in (str, _strip_punctuation, lambda text: _strip_punctuation(text).lower()):
        found = [span for span, text in zip(spans, texts, strict=True) if simple(text) == simple(typed)]
        if found:
            return found
    return []


def _strip_punctuation(text: str) -> str:
    return text.strip(_PUNCTUATION) or text


def _find_phrase(typed: str, tokens: Sequence[Token]) -> Span | None:
    """The tokens of the first words in a row that read so; None where they are not in the text, or only one."""
    wanted = [_strip_punctuation(word).lower() for word in typed.split()]
    spans = [span for span in word_spans(tokens) if tokens[span[0]].word is not None]
    texts = [_strip_punctuation(word_text(tokens, span)).lower() for span in spans]
    for first in range(len(spans) - len(wanted) + 1) if len(wanted) > 1 else ():
        if texts[first : first + len(wanted)] == wanted:
            return spans[first][0], spans[first + len(wanted) - 1][1]
    return None


def _find_tokens(typed: str, tokens: Sequence[Token]) -> list[Span]:
    """Single tokens that read so, or are so in the vocabulary."""
    return [(place, place + 1) for place, token in enumerate(tokens) if typed in (token.text.strip(), token.token)]


def _find_special_tokens(typed: str, tokens: Sequence[Token]) -> list[Span]:
    """Special tokens by their name without brackets; `bos` and `eos` are the first and the last, whatever they say."""
    places = [place for place, token in enumerate(tokens) if token.special]
    name = typed.strip(_BRACKETS).lower()
    found = [place for place in places if tokens[place].token.strip(_BRACKETS).lower() == name]
    if not found and name == "bos" and places[:1] == [0]:
        found = [0]
    if not found and name == "eos" and places[-1:] == [len(tokens) - 1]:
        found = places[-1:]
    return [(place, place + 1) for place in found]


def _index_hint(count: int) -> str:
    return (
        f"tokens run from 0 to {count - 1}, or from the end, -1 to -{count}" if count > 1 else "there is token 0 alone"
    )


def _nearest_hint(word: str, tokens: Sequence[Token]) -> str:
    texts = {_strip_punctuation(text): None for span in word_spans(tokens) if (text := word_text(tokens, span)).strip()}
    names = [token.token.strip(_BRACKETS).lower() for token in tokens if token.special]
    close = get_close_matches(word, [*texts, *names], n=3, cutoff=0.5)
    words = f"the nearest: {', '.join(close)}" if close else f"it begins with {', '.join([*texts][:3])}"
    return f"{words}; or give an index, as `attn tokenize --table` shows them"


_PATCH = re.compile(r"(-?\d+)\s*,\s*(-?\d+)")


_SECONDS = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*s")


class NoSuchPositionError(Exception):
    """There is no such place; the message says so, and `hint` which there are."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def media_position(typed: str, tokens: Sequence[Token]) -> int | None:
    """The position of a patch or of a moment; None for what is neither, or where there are no such places.

    A row or a column may count from the end (-1). Raises NoPlaceError for a patch or a moment that isn't there.
    """
    last = tokens[-1].token if tokens and tokens[-1].word is None else ""
    if (patch := _PATCH.fullmatch(typed)) and (corner := _PATCH.fullmatch(last)):
        return _patch_position((int(patch[1]), int(patch[2])), (int(corner[1]) + 1, int(corner[2]) + 1), len(tokens))
    if (moment := _SECONDS.fullmatch(typed)) and _SECONDS.fullmatch(last) and len(tokens) > 1:
        # The last frame's time over their number is less rounded than the second one's.
        return _frame_position(float(moment[1]), float(last.rstrip("s")) / (len(tokens) - 1), len(tokens))
    return None


def _patch_position(typed: tuple[int, int], size: tuple[int, int], count: int) -> int:
    row, column = (place + length * (place < 0) for place, length in zip(typed, size, strict=True))
    if not (0 <= row < size[0] and 0 <= column < size[1]):
        raise NoSuchPositionError(
            f"no patch {typed[0]},{typed[1]} among {size[0]} rows of {size[1]}",
            f"rows run from 0 to {size[0] - 1}, columns from 0 to {size[1] - 1}",
        )
    # What is no patch stands before them.
    return count - size[0] * size[1] + row * size[1] + column


def _frame_position(seconds: float, step: float, count: int) -> int:
    # 0.06 / 0.02 is a little less than 3.
    frame = int(seconds / step + 1e-6)
    if frame >= count:
        raise NoSuchPositionError(
            f"nothing is heard at {seconds:g} s", f"moments run from 0s to {step * (count - 1):.2f}s, {step:.3g} s each"
        )
    return frame
