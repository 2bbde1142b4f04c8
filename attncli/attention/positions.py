"""Positions in a text, picture or sound as users write them, and the tokens that they stand for (`Position.span`).

`-1` is an index, `3:9` a slice, `it` a word, `it#2` its second occurrence, `cls` a special token; in a picture `4,7` is
a patch by row and column, in a sound `1.5s` the frame at that time. Indices and slices count the tokens of the text;
virtual tokens of an adapter, which come before them, are named: `P0`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import groupby

from attncli.errors import UsageError
from attncli.results.tokens import Token

#: A range of token indices, half open.
Span = tuple[int, int]

_INDEX = re.compile(r"-?\d+")
_SLICE = re.compile(r"(-?\d+)?:(-?\d+)?")
_OCCURRENCE = re.compile(r"(?P<word>.+)#(?P<number>\d+)", re.DOTALL)
_PATCH = re.compile(r"(-?\d+)\s*,\s*(-?\d+)")
_SECONDS = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*s")

#: Characters around a special token's name: [CLS], <s>, <|endoftext|>.
_BRACKETS = "[]<>|▁ "

#: Punctuation around a word in the text that users leave out.
_PUNCTUATION = ".,;:!?…\"'()[]{}«»„“”‘’"


@dataclass(frozen=True)
class Position:
    """A position as typed. flag: the option that it came with, for error messages."""

    typed: str
    flag: str

    @property
    def is_slice(self) -> bool:
        """Whether it is a slice such as `3:9`."""
        return _SLICE.fullmatch(self.typed.strip()) is not None

    def span(self, tokens: Sequence[Token]) -> Span:
        """The tokens that it stands for, half open: one token, those of a word, or a slice.

        Raises UsageError where there are none; the hint names the nearest words.
        """
        first, typed = _count_virtual(tokens), self.typed.strip()
        count = len(tokens) - first
        indices = f"the tokens are numbered from 0 to {count - 1}; -1 is the last one"
        hint = indices if count > 1 else "there is only token 0"
        if sliced := _SLICE.fullmatch(typed):
            start, stop, _ = slice(*(None if part is None else int(part) for part in sliced.groups())).indices(count)
            if start >= stop:
                raise self._error(f"the slice {typed} is empty: there are {count:,} tokens", hint)
            return first + start, first + stop
        if _INDEX.fullmatch(typed):
            index = int(typed) + count * (int(typed) < 0)
            if not 0 <= index < count:
                raise self._error(f"there is no token {typed} in a text of {count:,} tokens", hint)
            return first + index, first + index + 1
        try:
            index_in_media = media_position(typed, tokens)
        except NoSuchPositionError as error:
            raise self._error(str(error), error.hint) from error
        return self._find(typed, tokens) if index_in_media is None else (index_in_media, index_in_media + 1)

    def _find(self, typed: str, tokens: Sequence[Token]) -> Span:
        """A word, a token or a special token by its text; `#2` behind it is the second occurrence."""
        match = _OCCURRENCE.fullmatch(typed)
        word, number = (match["word"], int(match["number"])) if match else (typed, 1)
        for found in (_find_words(word, tokens), _find_tokens(word, tokens), _find_special_tokens(word, tokens)):
            if len(found) >= number > 0:
                return found[number - 1]
            if found:
                times = f"{len(found)} time{'s' if len(found) > 1 else ''}"
                raise self._error(
                    f"{word!r} occurs {times} in the text, and not {number} times", f"{word}#1 is the first"
                )
        if phrase := _find_phrase(typed, tokens):
            start, stop = (place - _count_virtual(tokens) for place in phrase)
            message = f"{typed!r} is several words, and a position is one word"
            raise self._error(message, f"choose one of them, or all of them as a range: {self.flag} {start}:{stop}")
        raise self._error(f"{typed!r} is not in the text", _nearest_hint(word, tokens))

    def _error(self, message: str, hint: str) -> UsageError:
        return UsageError(f"{self.flag}: {message}", hint=hint)


def _count_virtual(tokens: Sequence[Token]) -> int:
    """How many virtual tokens of an adapter come before the text."""
    return sum(token.index < 0 for token in tokens)


# --- Words and tokens by their text


def word_spans(tokens: Sequence[Token]) -> list[Span]:
    """The tokens of each word; tokens in no word, such as special ones, are on their own."""
    return group_spans(token.word for token in tokens)


def group_spans(groups: Iterable[int | None]) -> list[Span]:
    """The positions of each run of equal numbers; those without one are on their own."""
    spans: list[Span] = []
    for _, run in groupby(enumerate(groups), lambda each: (each[1], each[0] if each[1] is None else None)):
        indices = [index for index, _ in run]
        spans.append((indices[0], indices[-1] + 1))
    return spans


def word_text(tokens: Sequence[Token], span: Span) -> str:
    """The text of a word."""
    return "".join(token.text for token in tokens[span[0] : span[1]]).strip()


def _find_words(typed: str, tokens: Sequence[Token]) -> list[Span]:
    """Words with this text; if there are none, ignoring the punctuation around them, then ignoring case as well."""
    spans = [span for span in word_spans(tokens) if tokens[span[0]].word is not None]
    texts = [word_text(tokens, span) for span in spans]
    for normalise in (str, _strip_punctuation, lambda text: _strip_punctuation(text).lower()):
        found = [span for span, text in zip(spans, texts, strict=True) if normalise(text) == normalise(typed)]
        if found:
            return found
    return []


def _strip_punctuation(text: str) -> str:
    return text.strip(_PUNCTUATION) or text


def _find_phrase(typed: str, tokens: Sequence[Token]) -> Span | None:
    """The tokens of the first consecutive words that match; None where none do, or only one word was typed."""
    words = [_strip_punctuation(word).lower() for word in typed.split()]
    spans = [span for span in word_spans(tokens) if tokens[span[0]].word is not None]
    texts = [_strip_punctuation(word_text(tokens, span)).lower() for span in spans]
    for first in range(len(spans) - len(words) + 1) if len(words) > 1 else ():
        if texts[first : first + len(words)] == words:
            return spans[first][0], spans[first + len(words) - 1][1]
    return None


def _find_tokens(typed: str, tokens: Sequence[Token]) -> list[Span]:
    """Single tokens with this text, or with this spelling in the vocabulary."""
    return [(index, index + 1) for index, token in enumerate(tokens) if typed in (token.text.strip(), token.token)]


def _find_special_tokens(typed: str, tokens: Sequence[Token]) -> list[Span]:
    """Special tokens by their name without brackets; `bos` and `eos` also stand for a special first and last token."""
    special = [index for index, token in enumerate(tokens) if token.special]
    name = typed.strip(_BRACKETS).lower()
    found = [index for index in special if tokens[index].token.strip(_BRACKETS).lower() == name]
    first = _count_virtual(tokens)
    if not found and name == "bos" and first in special:
        found = [first]
    if not found and name == "eos" and special[-1:] == [len(tokens) - 1]:
        found = special[-1:]
    return [(index, index + 1) for index in found]


def _nearest_hint(word: str, tokens: Sequence[Token]) -> str:
    texts = {_strip_punctuation(text): None for span in word_spans(tokens) if (text := word_text(tokens, span)).strip()}
    names = [token.token.strip(_BRACKETS).lower() for token in tokens if token.special]
    close = get_close_matches(word, [*texts, *names], n=3, cutoff=0.5)
    words = f"did you mean {' or '.join(close)}?" if close else f"its first words are {', '.join([*texts][:3])}"
    end = "" if close else ";"
    return f"{words}{end} an index works too: attn tokenize --table lists them"


# --- Patches of a picture and frames of a sound


class NoSuchPositionError(Exception):
    """There is no such patch or frame. hint: the valid range."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def seconds_of(typed: str) -> float | None:
    """The time that a position such as `1.5s` names; None for others."""
    found = _SECONDS.fullmatch(typed.strip())
    return None if found is None else float(found[1])


def media_position(typed: str, tokens: Sequence[Token]) -> int | None:
    """The index of a patch or a frame; None if neither was typed, or the tokens are not those of a picture or sound.

    A row or a column may count from the end (-1). Raises NoSuchPositionError for a patch or a time out of range.
    """
    last = tokens[-1].token if tokens and tokens[-1].word is None else ""
    if any(token.token == typed for token in tokens):
        return None  # a patch of this name, maybe among other tokens: it is found by its text
    if (patch := _PATCH.fullmatch(typed)) and (corner := _PATCH.fullmatch(last)):
        rows, columns = int(corner[1]) + 1, int(corner[2]) + 1
        row, column = (
            int(each) + size * (int(each) < 0) for each, size in zip(patch.groups(), (rows, columns), strict=True)
        )
        if not (0 <= row < rows and 0 <= column < columns):
            raise NoSuchPositionError(
                f"there is no patch {int(patch[1])},{int(patch[2])} in {rows} rows of {columns} patches",
                f"rows are numbered from 0 to {rows - 1}, columns from 0 to {columns - 1}",
            )
        # Tokens that are no patches, such as a class token, come before the patches.
        return len(tokens) - rows * columns + row * columns + column
    if (moment := _SECONDS.fullmatch(typed)) and _SECONDS.fullmatch(last) and len(tokens) > 1:
        # The step from the last frame's time has a smaller rounding error than the second frame's time.
        seconds, first = float(moment[1]), float(tokens[0].token.rstrip("s"))
        step = (float(last.rstrip("s")) - first) / (len(tokens) - 1)
        # 0.06 / 0.02 is a little less than 3.
        frame = int((seconds - first) / step + 1e-6)
        if 0 <= frame < len(tokens):
            return frame
        raise NoSuchPositionError(
            f"there is no frame at {seconds:g} s",
            f"the frames are at {first:g}s to {last}, one every {step:.3g} s",
        )
    return None
