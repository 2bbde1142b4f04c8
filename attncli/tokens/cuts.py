"""Where the tokens of one tokenizer end in a text, in a form that can be laid over that of another tokenizer.

Tokenizers differ in what they do with white space (GPT-2's ` mole` holds it, BERT's `mole` leaves it out) and in what
they leave out of the text altogether. So that only cuts are compared, no gap is left between tokens: what stands
between two belongs to the first as far as the next white space (an accent that was taken off), the rest to the second.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from attncli.results.sequences import own_texts, sequences
from attncli.results.tokenize import TokenizedText

_BEFORE_SPACE = re.compile(r"\S*")


class Ruler:
    """Positions in the text and the pair behind it: bytes of both together, and characters of each.

    starts: where each of them begins.  total: where the last one ends.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        sizes = [len(text.encode("utf-8")) for text in texts]
        self.starts = [0, *accumulate(sizes)][:-1]
        self.total = sum(sizes)
        self._characters = [_character_starts(text) for text in texts]

    def sequence(self, position: int) -> int:
        """Which of the texts the byte at a position is of."""
        return max(index for index, start in enumerate(self.starts) if start <= position)

    def character(self, position: int, sequence: int) -> int | None:
        """The character that begins at a position, the length of the text at its end; None within a character."""
        return self._characters[sequence].get(position - self.starts[sequence])


class Stop(NamedTuple):
    """A position that no token reaches across: those before index `before` end there at the latest, those from
    `after` on begin there at the earliest, and those between are special ones that were added there."""

    before: int
    after: int


class Cuts:
    """Where the tokens of one model end.

    stops: by position in bytes, the beginning and the end of the text among them.
    ends: for each token the position that is reached with it.
    inner: the positions within the texts where a token ends and none goes on.
    """

    def __init__(self, text: TokenizedText, ruler: Ruler) -> None:
        self.stops: dict[int, Stop] = {0: Stop(0, 0)}
        self.ends: list[int] = []
        self._order = [0]
        self._reached = 0
        self._borders = (*ruler.starts, ruler.total)
        owners = sequences(text)
        borders = _borders(owners, ruler)
        for index, (token, span) in enumerate(zip(text.tokens, _spans(text, owners, ruler), strict=True)):
            if span is not None:
                self._place(index, span, ruler.starts[owners[index] or 0])
            elif token.special:
                self._add(index, borders[index])
            self.ends.append(self._reached)
        self._finish(len(text.tokens), ruler.total)
        self.inner = self.stops.keys() - set(self._borders)

    def _place(self, index: int, span: tuple[int, int], border: int) -> None:
        start, end = span
        self._reach(border, index)
        if start < self._reached and start < end:
            self._drop_after(max(start, border))
        elif end <= self._reached:
            return  # it stands for nothing of the text, and goes with what follows
        self._reached = max(self._reached, end)
        self._stop(self._reached, Stop(index + 1, index + 1))

    def _add(self, index: int, border: int | None) -> None:
        self._reach(self._reached if border is None else border, index)
        here = self.stops.get(self._reached)
        first = here.before if here is not None and here.after == index else index
        self._stop(self._reached, Stop(first, index + 1))

    def _reach(self, position: int, index: int) -> None:
        """Go on to a border between texts that tokens have not come to, and stop at those on the way."""
        for border in self._borders:
            if self._reached < border <= position:
                self._reached = border
                self._stop(border, Stop(index, index))

    def _finish(self, count: int, total: int) -> None:
        self._reach(total, count)
        last = self.stops.get(total)
        if last is None or last.after < count:
            self._stop(total, Stop(count, count))

    def _stop(self, position: int, stop: Stop) -> None:
        if position not in self.stops:
            self._order.append(position)
        self.stops[position] = stop

    def _drop_after(self, position: int) -> None:
        """Take back the stops that a token reaches across which shares characters with those before it."""
        while self._order[-1] > position:
            del self.stops[self._order.pop()]


def _character_starts(text: str) -> dict[int, int]:
    places = accumulate((len(character.encode("utf-8")) for character in text), initial=0)
    return {place: index for index, place in enumerate(places)}


def _spans(text: TokenizedText, owners: Sequence[int | None], ruler: Ruler) -> list[tuple[int, int] | None]:
    """The bytes of each token, and what was left out behind it as far as the next white space."""
    texts = own_texts(text)
    spans: list[tuple[int, int] | None] = []
    for index, (token, owner) in enumerate(zip(text.tokens, owners, strict=True)):
        if owner is None or token.end is None:
            spans.append(None)
            continue
        start, end = (ruler.starts[owner] + (place or 0) for place in (token.byte_start, token.byte_end))
        if start < end and not _is_before_unplaced(text, index):
            end += len(_left_out(text, index, owners, texts[owner]).encode("utf-8"))
        spans.append((start, end))
    return spans


def _is_before_unplaced(text: TokenizedText, index: int) -> bool:
    """Whether a token of the text follows whose place is not known: what is left out may be its own."""
    following = text.tokens[index + 1 : index + 2]
    return any(token.start is None and not token.special for token in following)


def _left_out(text: TokenizedText, index: int, owners: Sequence[int | None], own: str) -> str:
    """The non-space between a token and the next one of its text."""
    token = text.tokens[index]
    if token.end is None or own[token.end : token.end + 1].isspace() or token.end >= len(own):
        return ""
    follows = index + 1 < len(owners) and owners[index + 1] == owners[index]
    until = text.tokens[index + 1].start if follows else None
    match = _BEFORE_SPACE.match(own, token.end, len(own) if until is None else until)
    return match.group() if match else ""


def _borders(owners: Sequence[int | None], ruler: Ruler) -> list[int | None]:
    """For each token without a place, where the text begins that follows it, or the end of all; None amid a text."""
    following: list[int | None] = []
    after: int | None = None
    for owner in reversed(owners):
        after = after if owner is None else owner
        following.append(after)
    borders: list[int | None] = []
    before: int | None = None
    for owner, after in zip(owners, reversed(following), strict=True):
        before = before if owner is None else owner
        borders.append(ruler.total if after is None else None if after == before else ruler.starts[after])
    return borders
