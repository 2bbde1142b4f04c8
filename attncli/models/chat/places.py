"""Where messages stand in the text that a chat template makes of them.

A template only gives a text. The rest is found out by rendering other conversations: with marks around each content,
which shows the contents; and the first 0, 1, 2, … messages alone (or the last ones), whose texts end where the next
message begins, wherever they are the beginning (or the end) of the whole. What can't be told for sure is left open.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from attncli.models.chat.conversation import Message

Span = tuple[int, int]

#: Marks around the contents: characters that are nobody's, a pair for each of so many messages.
_OPENING, _CLOSING, MOST_MARKED = 0xF0000, 0x100000, 0xFFFE
_MARK = re.compile(f"[{chr(_OPENING)}-{chr(0x10FFFF)}]")


class MessagePlace(NamedTuple):
    """Where a message stands in the text, in characters, half open.

    span: all that the template writes for it; None where that can't be told from what it writes for its neighbours.
    contents: its own text, in one piece or more; empty where it has none. None where it was not found.
    """

    role: str
    span: Span | None
    contents: tuple[Span, ...] | None


# Marks around the contents


def has_marks(text: str) -> bool:
    """Whether a text holds characters that are used as marks."""
    return _MARK.search(text) is not None


def own_texts(message: Message) -> list[str]:
    """The texts that are a message's content: one, or one a part."""
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
    return [text for text in texts if isinstance(text, str)]


def marked(message: Message, place: int, inside: bool) -> Message:
    """A message whose texts stand between the marks of its place; `inside` the space around each text."""
    content = message.get("content")
    if isinstance(content, list):
        return {**message, "content": [_marked_part(part, place, inside) for part in content]}
    return {**message, "content": _between(content, place, inside)} if isinstance(content, str) else message


def _marked_part(part: object, place: int, inside: bool) -> object:
    if isinstance(part, Mapping) and isinstance(part.get("text"), str):
        return {**part, "text": _between(part["text"], place, inside)}
    return _between(part, place, inside) if isinstance(part, str) else part


def _between(text: str, place: int, inside: bool) -> str:
    inner = text.strip()
    if not inner:
        return text
    before, _, after = text.partition(inner) if inside else ("", "", "")
    return f"{before}{chr(_OPENING + place)}{inner if inside else text}{chr(_CLOSING + place)}{after}"


def found(rendering: str | None, text: str) -> dict[int, tuple[Span, ...]] | None:
    """From a rendering with marks: the spans of each place in the text; None where it isn't that text with marks."""
    if rendering is None:
        return None
    pieces: list[str] = []
    length = last = 0
    opened: dict[int, int] = {}
    spans: dict[int, tuple[Span, ...]] = {}
    for match in _MARK.finditer(rendering):
        pieces.append(rendering[last : match.start()])
        length, last = length + len(pieces[-1]), match.end()
        number = ord(match.group())
        if number < _CLOSING:
            opened[number - _OPENING] = length
        elif (start := opened.pop(number - _CLOSING, None)) is not None:
            place = number - _CLOSING
            spans[place] = (*spans.get(place, ()), (start, length))
    return spans if "".join([*pieces, rendering[last:]]) == text else None


# Whole messages


def before_first(once: str | None, twice: str | None) -> int:
    """What a template writes before the first message, told by what a second one like it adds.

    Needed where it can't do without messages; 0 where that can't be told either.
    """
    if once is None or twice is None or not twice.startswith(once):
        return 0
    added = twice[len(once) :]
    return len(once) - len(added) if added and once.endswith(added) else 0


def before_ending(text: str, ending: str | None, first: int) -> int | None:
    """Where the last messages begin in the text, told by their rendering alone; None where it doesn't tell.

    first: where the first message begins, behind what stands before any messages.
    """
    if ending is None or len(ending) <= first or ending[:first] != text[:first] or not text.endswith(ending[first:]):
        return None
    return len(text) - len(ending) + first


def message_spans(
    contents: Sequence[tuple[Span, ...] | None], boundaries: Mapping[int, int], end: int
) -> Iterator[Span | None]:
    """The span of each message: between two boundaries, or around its contents where it shares that space."""
    known = {place: at for place, at in {**boundaries, len(contents): end}.items() if _parts(contents, place, at)}
    rising = _rising(known)
    for place, own in enumerate(contents):
        if place in rising and place + 1 in rising:
            yield rising[place], rising[place + 1]
        else:
            yield (own[0][0], own[-1][1]) if own else None


def _parts(contents: Sequence[tuple[Span, ...] | None], place: int, at: int) -> bool:
    """Whether a boundary before the message at `place` parts the contents of the messages before from the others."""
    before = (end for own in contents[:place] for _, end in own or ())
    after = (start for own in contents[place:] for start, _ in own or ())
    return max(before, default=0) <= at <= min(after, default=at)


def _rising(boundaries: Mapping[int, int]) -> dict[int, int]:
    """The boundaries in order; none of them where they don't rise as the messages do."""
    ordered = dict(sorted(boundaries.items()))
    falls = any(left > right for left, right in pairwise(ordered.values()))
    return {} if falls else ordered
