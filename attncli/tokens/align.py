"""Finding tokens in their text again, for tokenizers that keep no record of where they came from."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

Span = tuple[int, int]

#: How far behind the place where it is expected a token is looked for.
_REACH = 64


def align(text: str, data: Sequence[bytes]) -> list[Span | None]:
    """The characters of `text` that each token stands for; None where they are not to be found, as an unknown token's.

    data: the bytes that each token spells. Where together they spell the text, that says it all. Else tokens are sought
    in order and without regard to case, accents and the space around them, and a lost one is given up after a look at
    the next 64 characters: linear in the length of the text.
    """
    return _spelled(text, data) or _sought(text, [piece.decode("utf-8", "replace") for piece in data])


def _spelled(text: str, data: Sequence[bytes]) -> list[Span | None]:
    if b"".join(data) != text.encode("utf-8"):
        return []
    owners = [index for index, character in enumerate(text) for _ in character.encode("utf-8")]
    spans: list[Span | None] = []
    place = 0
    for piece in data:
        spans.append((owners[place], owners[place + len(piece) - 1] + 1) if piece else None)
        place += len(piece)
    return spans


def _sought(text: str, pieces: Sequence[str]) -> list[Span | None]:
    plain, origins = _folded(text)
    spans: list[Span | None] = []
    place = 0
    for piece in pieces:
        wanted, _ = _folded(piece.strip())
        found = plain.find(wanted, place, place + len(wanted) + _REACH) if wanted else -1
        if found < 0:
            spans.append(None)
            continue
        place = found + len(wanted)
        spans.append((origins[found], origins[place - 1] + 1))
    return spans


def _folded(text: str) -> tuple[str, list[int]]:
    """Lower-case letters without accents, and the character of `text` that each comes from."""
    folded: list[str] = []
    origins: list[int] = []
    for index, character in enumerate(text):
        for part in unicodedata.normalize("NFKD", character).casefold():
            if not unicodedata.combining(part):
                folded.append(part)
                origins.append(index)
    return "".join(folded), origins
