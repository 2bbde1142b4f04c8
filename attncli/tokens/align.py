"""Finding tokens in their text again, for tokenizers that keep no record of where they came from."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from codecs import getincrementaldecoder
from collections.abc import Iterator, Sequence

Span = tuple[int, int]

#: How far behind the place where it is expected a token is looked for.
_REACH = 64


def align(text: str, data: Sequence[bytes]) -> list[Span | None]:
    """The characters of `text` that each token stands for; None where they are not to be found, as an unknown token's.

    data: the bytes that each token spells. Where together they spell the text, that says it all. Else tokens are sought
    in order and without regard to case, accents and the space around them, those that cut a character up together, and
    a lost one is given up after a look at the next 64 characters: linear in the length of the text.
    """
    return _spelled(text, data) or _sought(text, data)


def _spelled(text: str, data: Sequence[bytes]) -> list[Span | None]:
    """The places of tokens that spell the text, perhaps with a space before it; none where they spell another."""
    joined, encoded = b"".join(data), text.encode("utf-8")
    put_before = len(joined) - len(encoded)
    if joined != b" " * put_before + encoded or put_before > 1:
        return []
    owners = [0] * put_before + [index for index, character in enumerate(text) for _ in character.encode("utf-8")]
    spans: list[Span | None] = []
    place = 0
    for piece in data:
        end = place + len(piece)
        spans.append((owners[place], owners[end - 1] + (end > put_before)) if piece else None)
        place = end
    return spans


def _sought(text: str, data: Sequence[bytes]) -> list[Span | None]:
    folded = _Folded(text)
    spans: list[Span | None] = []
    place = 0
    for spelled, pieces in _whole_characters(data):
        exact = (place, place + len(spelled)) if spelled and text.startswith(spelled, place) else None
        found = exact or folded.find(spelled, place)
        place = found[1] if found else place
        spans += _dealt(text, found, pieces) if found else [None] * len(pieces)
    return spans


def _whole_characters(data: Sequence[bytes]) -> Iterator[tuple[str, Sequence[bytes]]]:
    """The fewest tokens at a time that end where a character does, and what they spell."""
    decoder = getincrementaldecoder("utf-8")("replace")
    spelled, first = "", 0
    for index, piece in enumerate(data):
        spelled += decoder.decode(piece)
        waiting, _ = decoder.getstate()
        if not waiting:
            yield spelled, data[first : index + 1]
            spelled, first = "", index + 1
    if first < len(data):
        yield spelled + decoder.decode(b"", final=True), data[first:]


def _dealt(text: str, span: Span, pieces: Sequence[bytes]) -> list[Span | None]:
    """The characters of each of the tokens that share a span: all of them where that span spells something else."""
    start, end = span
    own = _spelled(text[start:end], pieces) if len(pieces) > 1 else []
    return [piece and (start + piece[0], start + piece[1]) for piece in own] or [span] * len(pieces)


class _Folded:
    """A text in lower case and without accents, to be searched."""

    def __init__(self, text: str) -> None:
        parts = [(part, index) for index, character in enumerate(text) for part in _plain(character)]
        self._plain = "".join(part for part, _ in parts)
        self._origins = [index for _, index in parts]

    def find(self, wanted: str, start: int) -> Span | None:
        """The first characters of the text from `start` on that look like `wanted`, if they are near."""
        wanted = "".join(map(_plain, wanted.strip()))
        first = bisect_left(self._origins, start)
        found = self._plain.find(wanted, first, first + len(wanted) + _REACH) if wanted else -1
        return None if found < 0 else (self._origins[found], self._origins[found + len(wanted) - 1] + 1)


def _plain(character: str) -> str:
    folded = unicodedata.normalize("NFKD", character).casefold()
    return "".join(part for part in folded if not unicodedata.combining(part))
