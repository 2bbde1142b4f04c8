"""Places in a text that may cut it in a way that its reader does not expect, before a tokenizer is asked."""

from __future__ import annotations

from typing import NamedTuple


class Suspect(NamedTuple):
    """A half-open span of characters, and what would stand there if it were mended."""

    kind: str
    start: int
    end: int
    message: str
    hint: str
    mended: str


def mend(text: str, suspects: list[Suspect]) -> str:
    """The text with every suspect mended; where two overlap, the first."""
    parts: list[str] = []
    place = 0
    for suspect in sorted(suspects, key=lambda each: each.start):
        if suspect.start >= place:
            parts += [text[place : suspect.start], suspect.mended]
            place = suspect.end
    return "".join([*parts, text[place:]])
