"""Convert and correct the offsets of tokens in a text: from characters to UTF-8 bytes and words."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise, takewhile

from attncli.results.tokens import without_punctuation

Span = tuple[int, int]

#: A normaliser as a function of a text.
Composer = Callable[[str], str]

_WORD = re.compile(r"\S+")

#: Bytes that continue a character in UTF-8 are 10xxxxxx.
_CONTINUATION, _MASK = 0b1000_0000, 0b1100_0000


class WordSpans:
    """The words of a text: its maximal runs of non-space characters."""

    def __init__(self, text: str) -> None:
        spans = word_spans(text)
        self._starts = [start for start, _ in spans]
        self._ends = [end for _, end in spans]

    def __len__(self) -> int:
        return len(self._starts)

    def at(self, span: Span) -> int | None:
        """The index of the first word that a span of characters touches; None where it is empty or only space."""
        start, end = span
        word = bisect_right(self._ends, start)
        return word if start < end and word < len(self) and self._starts[word] < end else None


def word_spans(text: str, start: int = 0, end: int | None = None) -> list[Span]:
    """The maximal runs of non-space between two characters of a text."""
    return [match.span() for match in _WORD.finditer(text, start, len(text) if end is None else end)]


def tokens_per_word(text: str, spans: Iterable[Span], words: Sequence[Span]) -> list[int]:
    """The number of tokens in each word, without the punctuation around it: `mole,` is no word of two tokens.

    spans: the tokens in the order of the text. A token counts for the first word that it overlaps.
    """
    inner = [without_punctuation(text, *word) for word in words]
    counts = [0] * len(words)
    left = iter(index for index, (start, end) in enumerate(inner) if start < end)
    word = next(left, None)
    for start, end in spans:
        while word is not None and inner[word][1] <= start:
            word = next(left, None)
        if word is None:
            break
        if inner[word][0] < end and start < end:
            counts[word] += 1
    return counts


def restore_first_characters(text: str, spans: Sequence[Span], data: Sequence[bytes]) -> list[Span]:
    """The spans, with the first character restored where a tokenizer's offsets wrongly leave it out.

    Tokenizers that leave leading spaces out of a span do so even for a space that they added themselves. After a
    special token within the text, the span then lacks a letter instead.
    """
    corrected: list[Span] = []
    reach = 0
    for (start, end), piece in zip(spans, data, strict=True):
        # A span that begins with white space contains the space that the token spells.
        whole = not piece.startswith(b" ") or text[start : start + 1].isspace()
        lost = not whole and start > reach and text[start - 1] != " "
        if lost and text[start - 1 : end].encode("utf-8").startswith(piece[1:]):
            start -= 1
        corrected.append((start, end))
        reach = max(reach, end)
    return corrected


def empty_added_spaces(text: str, spans: Sequence[Span], data: Sequence[bytes]) -> list[Span]:
    """The spans, with an empty one for each token that is only a space which the tokenizer added.

    The library `tokenizers` gives an added `▁` (Metaspace) the span of the first character of the text, which belongs
    to the token after it (`▁` and `I` of `I` are both 0 to 1), but an added `Ġ` (ByteLevel) an empty span.
    """
    corrected = list(spans)
    for index in shared_starts(text, spans):
        if data[index] and not data[index].strip(b" "):
            start, _ = spans[index]
            corrected[index] = (start, start)
    return corrected


def shared_starts(text: str, spans: Sequence[Span]) -> list[int]:
    """The indices of tokens that begin with a non-space character at which the next token begins too."""
    return [
        index
        for index, ((start, end), (following, _)) in enumerate(pairwise(spans))
        if start == following and start < end and not text[start].isspace()
    ]


#: How many characters of the tokens beside a gap are looked at, and of a gap as a whole.
_BESIDE, _LONGEST_GAP = 4, 64


def cover_gaps(text: str, spans: Sequence[Span], compose: Composer | None) -> list[Span]:
    """The spans, with the characters between tokens that are a part of one nevertheless.

    compose: the tokenizer's normaliser, where it may make one character of several. The library `tokenizers` gives the
    result the span of one of them alone: in `e` and a combining accent, that of `e`.

    A combining mark belongs to the character before it, also where an accent was removed. Other characters that the
    normaliser changes together with those of a token beside them belong to that token; all others, as white space
    that a pre-tokenizer drops, to none.
    """
    if compose is None and text.isascii():
        return list(spans)
    starts, ends = [start for start, _ in spans], [end for _, end in spans]
    written = [index for index, (start, end) in enumerate(spans) if start < end]
    first, reach = 0, 0
    for after, index in enumerate([*written, None]):
        start, end = spans[index] if index is not None else (len(text), len(text))
        if start > reach:
            left, right = _split_gap(text, (first, reach, start, end), compose)
            # Several tokens may share the character before a gap, or the one after it.
            _replace(ends, map(written.__getitem__, range(after - 1, -1, -1)), reach, left)
            _replace(starts, map(written.__getitem__, range(after, len(written))), start, right)
        if end > reach:
            first, reach = start, end
    return list(zip(starts, ends, strict=True))


def _replace(borders: list[int], indices: Iterable[int], old: int, new: int) -> None:
    """Move the borders at one place to another, from the first of the indices to the last one there."""
    if old != new:
        for index in takewhile(lambda each: borders[each] == old, indices):
            borders[index] = new


def _split_gap(text: str, places: tuple[int, int, int, int], compose: Composer | None) -> Span:
    """Where the token before a gap ends and the token after it begins.

    places: where the token before begins and ends, and where the token after begins and ends.
    """
    first, left, right, last = places
    first, last = max(first, left - _BESIDE), min(last, right + _BESIDE)
    while first < left < right and (
        unicodedata.category(text[left])[0] == "M" or _interact(compose, text[first:left], text[left])
    ):
        left += 1
    while left < right < last and _interact(compose, text[right - 1], text[right:last]):
        right -= 1
    if not left < right <= left + _LONGEST_GAP:
        return left, right
    # Several characters that are replaced together, and of which none is changed beside its neighbour alone.
    gap = text[left:right]
    if first < left and _interact(compose, text[first:left], gap):
        return right, right
    return left, (left if right < last and _interact(compose, gap, text[right:last]) else right)


def _interact(compose: Composer | None, before: str, after: str) -> bool:
    """Whether the normaliser changes two parts of a text otherwise together than each alone."""
    return compose is not None and compose(before + after) != compose(before) + compose(after)


def byte_spans(text: str, spans: Sequence[Span], data: Sequence[bytes]) -> list[Span]:
    """The span of each token in the UTF-8 bytes of a text.

    spans: the characters of each token, in the order of the text.  data: the bytes that each token spells.

    Where several tokens share a character (byte-level vocabularies split characters), each gets its own bytes of it.
    Where the bytes differ from the text, because a normalizer changed it, each gets all bytes of its characters.
    """
    place = _byte_places(text)
    found = [(place(start), place(end)) for start, end in spans]
    encoded: bytes | None = None
    for first, last in _shared_runs(spans):
        encoded = text.encode("utf-8") if encoded is None else encoded
        shared = (min(start for start, _ in found[first:last]), max(end for _, end in found[first:last]))
        found[first:last] = _split_bytes(shared, encoded, data[first:last]) or found[first:last]
    return found


def _byte_places(text: str) -> Callable[[int], int]:
    """From the index of a character to the index of its first byte."""
    if text.isascii():
        return int
    encoded = text.encode("utf-8")
    starts = [index for index, byte in enumerate(encoded) if byte & _MASK != _CONTINUATION]
    return [*starts, len(encoded)].__getitem__


def _shared_runs(spans: Sequence[Span]) -> list[Span]:
    """Runs of neighbouring tokens that share characters, as half-open spans of their indices."""
    runs: list[Span] = []
    first, reach = 0, 0
    for index, (start, end) in enumerate(spans):
        if start >= reach or start == end:
            if index - first > 1:
                runs.append((first, index))
            first, reach = index, end
        reach = max(reach, end)
    if len(spans) - first > 1:
        runs.append((first, len(spans)))
    return runs


def _split_bytes(shared: Span, encoded: bytes, data: Sequence[bytes]) -> list[Span] | None:
    """The shared bytes split among the tokens that spell them; None where they spell something else."""
    start, end = shared
    spelled = b"".join(data)
    # A space that the tokenizer added, or left out of the span, is in `data` but not in the shared bytes.
    extra = len(spelled) - (end - start)
    if extra < 0 or spelled[extra:] != encoded[start:end] or spelled[:extra].strip(b" "):
        return None
    parts, at = [], start - extra
    for piece in data:
        parts.append((max(at, start), max(at + len(piece), start)))
        at += len(piece)
    return parts


def split_lines(text: str) -> list[str]:
    r"""The lines of a text, without the `\n` or `\r\n` between them; nothing else ends a line."""
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def covered_text(text: str, spans: Sequence[Span | None]) -> tuple[str, list[Span | None], bool]:
    """The part of a text that its tokens cover, their spans in it, and whether more than white space is left out."""
    found = [span for span in spans if span is not None]
    first, last = min((start for start, _ in found), default=0), max((end for _, end in found), default=0)
    moved = [span and (span[0] - first, span[1] - first) for span in spans]
    return text[first:last], moved, last - first < len(text.strip())


def ratio(part: int | None, whole: int | None) -> float | None:
    return part / whole if part is not None and whole else None
