"""Where tokens stand in a text: from characters to UTF-8 bytes and to words."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise

Span = tuple[int, int]

_WORD = re.compile(r"\S+")

#: Bytes that continue a character in UTF-8 are 10xxxxxx.
_CONTINUATION, _MASK = 0b1000_0000, 0b1100_0000


class WordSpans:
    """The words of a text: its maximal runs of non-space characters."""

    def __init__(self, text: str) -> None:
        spans = [match.span() for match in _WORD.finditer(text)]
        self._starts = [start for start, _ in spans]
        self._ends = [end for _, end in spans]

    def __len__(self) -> int:
        return len(self._starts)

    def at(self, span: Span) -> int | None:
        """The index of the first word that a span of characters touches; None where it is empty or only space."""
        start, end = span
        word = bisect_right(self._ends, start)
        return word if start < end and word < len(self) and self._starts[word] < end else None


def restore_first_characters(text: str, spans: Sequence[Span], data: Sequence[bytes]) -> list[Span]:
    """The spans, with a character given back to those that lost one for a space that was never there.

    Tokenizers that leave the spaces of a token out of its span do so too for the space that they put before a text
    themselves. At its very start they know better; behind a special token in the text, a letter goes instead.
    """
    mended: list[Span] = []
    reach = 0
    for (start, end), piece in zip(spans, data, strict=True):
        # A span that begins with a space of any kind has the one that the piece spells.
        whole = not piece.startswith(b" ") or text[start : start + 1].isspace()
        lost = not whole and start > reach and text[start - 1] != " "
        if lost and text[start - 1 : end].encode("utf-8").startswith(piece[1:]):
            start -= 1
        mended.append((start, end))
        reach = max(reach, end)
    return mended


def empty_added_spaces(text: str, spans: Sequence[Span], data: Sequence[bytes]) -> list[Span]:
    """The spans, but an empty one for each token that spells a space alone which was put before the text.

    The library `tokenizers` gives the `▁` that Metaspace puts there the first character of the text, which the token
    behind it spells (`▁` and `I` of `I` are both 0 to 1), but the `Ġ` that ByteLevel puts there none.
    """
    mended = list(spans)
    for index in shared_starts(text, spans):
        if data[index] and not data[index].strip(b" "):
            start, _ = spans[index]
            mended[index] = (start, start)
    return mended


def shared_starts(text: str, spans: Sequence[Span]) -> list[int]:
    """The indices of tokens that begin, with something other than space, where the token behind them does."""
    return [
        index
        for index, ((start, end), (following, _)) in enumerate(pairwise(spans))
        if start == following and start < end and not text[start].isspace()
    ]


def byte_spans(text: str, spans: Sequence[Span], data: Sequence[bytes]) -> list[Span]:
    """The UTF-8 bytes of a text that each token stands for.

    spans: the characters of each token, in the order of the text.  data: the bytes that each token spells.

    Where several tokens share a character (a vocabulary of bytes cuts it up), each gets its own bytes of it. Where
    their bytes are not those of the text, because a normaliser changed it, each gets all bytes of its characters.
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
    """The shared bytes dealt out to the tokens that spell them; None where they spell something else."""
    start, end = shared
    spelled = b"".join(data)
    # A space that a tokenizer puts before the text, or leaves out of the span, is spelled but not there.
    extra = len(spelled) - (end - start)
    if extra < 0 or spelled[extra:] != encoded[start:end] or spelled[:extra].strip(b" "):
        return None
    dealt, at = [], start - extra
    for piece in data:
        dealt.append((max(at, start), max(at + len(piece), start)))
        at += len(piece)
    return dealt


def split_lines(text: str) -> list[str]:
    r"""The lines of a text, without the `\n` or `\r\n` between them; nothing else ends a line."""
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
