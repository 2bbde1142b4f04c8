"""Compare the tokens of one text under several tokenizers: the boundaries that all share, and the tokens between them.

Tokenizers differ in white space (GPT-2's ` mole` contains it, BERT's `mole` leaves it out) and in other characters that
they drop. So that only boundaries are compared, tokens are extended until there is no gap: characters between two
tokens belong to the first up to the next white space (a removed accent, for instance), the rest to the second.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise, zip_longest
from typing import NamedTuple

from attncli.errors import UsageError
from attncli.results.comparison import Comparison, IdDifference, Segment, TokenDifference
from attncli.results.tokenize import Source, TokenizedText, input_texts, sequences
from attncli.results.tokens import Token
from attncli.tokens.spans import ratio

_BEFORE_SPACE = re.compile(r"\S*")

#: The most characters of the text, and the most tokens, that a message about a difference quotes.
_SHOWN_CHARACTERS, _SHOWN_TOKENS = 60, 8


# --- Comparing


def compare_tokenizations(texts: Sequence[TokenizedText]) -> Comparison:
    """Compare the tokens of two or more tokenizers for the same text; `Comparison` defines every number.

    A token without offsets belongs to the segment after it. Linear in the number of tokens.

    Raises UsageError for ids without a text, ValueError where the texts differ.
    """
    first = texts[0]
    if any((text.text, text.pair) != (first.text, first.pair) for text in texts):
        raise ValueError("only the tokens of one text can be compared")
    if first.text is None:
        raise UsageError(
            "tokenizers can't be compared on token ids without a text", hint="give a text, or one model with -m"
        )
    positions = TextPositions(input_texts(first))
    all_boundaries = [TokenBoundaries(text, positions) for text in texts]
    segments = tuple(_segments(texts, all_boundaries, positions))
    every_inner = [boundaries.inner for boundaries in all_boundaries]
    return Comparison(
        record=first.record,
        models=tuple(text.model for text in texts),
        segments=segments,
        differences=tuple(
            TokenDifference(
                each, tuple(text.tokens[slice(*part)] for text, part in zip(texts, each.tokens, strict=True))
            )
            for each in segments
            if each.differs
        ),
        ids=tuple(_first_difference(first, text) for text in texts),
        # Jaccard: shared boundaries over all of both.
        agreement=tuple(
            tuple(len(one & other) / len(one | other) if one or other else 1.0 for other in every_inner)
            for one in every_inner
        ),
        parity=tuple(tuple(ratio(one.stats.tokens, other.stats.tokens) for other in texts) for one in texts),
    )


def _segments(
    texts: Sequence[TokenizedText], all_boundaries: Sequence[TokenBoundaries], positions: TextPositions
) -> Iterator[Segment]:
    common = set.intersection(*(set(model.boundaries) for model in all_boundaries))
    places = sorted(place for place in common if positions.character(place, positions.sequence(place)) is not None)
    # Between two boundaries, and at each, where added tokens may stand.
    for start, end in [(0, 0), *(span for each in pairwise(places) for span in (each, (each[1], each[1])))]:
        if start == end:
            ranges = [model.boundaries[start] for model in all_boundaries]
        else:
            ranges = [Boundary(model.boundaries[start].after, model.boundaries[end].before) for model in all_boundaries]
        if start < end or any(first < last for first, last in ranges):
            yield _segment(texts, all_boundaries, ranges, (start, end), positions)


def _segment(
    texts: Sequence[TokenizedText],
    all_boundaries: Sequence[TokenBoundaries],
    ranges: Sequence[tuple[int, int]],
    place: tuple[int, int],
    positions: TextPositions,
) -> Segment:
    added = place[0] == place[1]
    # A token for no part of the text, such as an added space, ends where the one before it does.
    ends = [
        {end for end in model.ends[first:last] if end > place[0]}
        for model, (first, last) in zip(all_boundaries, ranges, strict=True)
    ]
    ids = [[token.id for token in text.tokens[first:last]] for text, (first, last) in zip(texts, ranges, strict=True)]
    # Added tokens stand at the end of a text, or at the beginning.
    sequence = positions.sequence(max(place[0] - added, 0))
    offset = positions.starts[sequence]
    start, end = (positions.character(position, sequence) or 0 for position in place)
    return Segment(
        sequence=sequence,
        start=start,
        end=end,
        byte_start=place[0] - offset,
        byte_end=place[1] - offset,
        text=positions.texts[sequence][start:end],
        tokens=tuple((first, last) for first, last in ranges),
        same_cuts=tuple(added or each == ends[0] for each in ends),
        same_ids=tuple(each == ids[0] for each in ids),
        added=added,
    )


def _first_difference(one: TokenizedText, other: TokenizedText) -> IdDifference | None:
    """The first difference among the ordinary tokens, or if there is none, among all tokens."""
    if one.ids == other.ids:
        return None
    ordinary = [[token for token in text.tokens if not token.special] for text in (one, other)]
    for ours, theirs in [*zip_longest(*ordinary), *zip_longest(one.tokens, other.tokens)]:
        if ours is None or theirs is None or ours.id != theirs.id:
            return IdDifference((ours or theirs or one.tokens[0]).index, ours, theirs)
    return None


# --- Messages for `--check same`


def failures(comparison: Comparison, source: Source | None = None) -> list[str]:
    """A sentence for each model whose tokens have other boundaries or other ids than those of the first.

    source: where the text was read from.
    """
    found = []
    first = comparison.models[0]
    for model, other in enumerate(comparison.models[1:], start=1):
        place = comparison.ids[model]
        if (sentence := _boundary_failure(comparison, model, source)) is not None:
            found.append(sentence)
        elif place is not None:
            ours, theirs = _describe_token(place.first), _describe_token(place.other)
            where = f"first at token {place.position}: {ours} in {first} and {theirs} in {other}"
            found.append(f"{other} splits the text as {first} does but gives other ids, {where}")
    return found


def _boundary_failure(comparison: Comparison, model: int, source: Source | None) -> str | None:
    first, other = comparison.models[0], comparison.models[model]
    for difference in comparison.differences:
        segment = difference.segment
        if not segment.same_cuts[model]:
            ours, theirs = _quote_tokens(difference.pieces[0]), _quote_tokens(difference.pieces[model])
            where = _source_position(comparison, segment, source)
            pieces = f"{_quote(segment.text)} is {ours} in {first} and {theirs} in {other}"
            return f"{other} splits the text at other positions than {first}, first at {where}: {pieces}"
    return None


def _source_position(comparison: Comparison, segment: Segment, source: Source | None) -> str:
    """The line and column of a segment, from 1; in its file, where the text was read from one."""
    source_text = "".join(each.text for each in comparison.segments if each.sequence == segment.sequence)
    # Skip white space at the start, as the message does.
    start = segment.start + (len(segment.text) - len(segment.text.lstrip()) if segment.text.strip() else 0)
    source = source if source is not None and not segment.sequence else Source(None)
    line, column = source.line + source_text.count("\n", 0, start), start - source_text.rfind("\n", 0, start)
    where = "pair " if segment.sequence else f"{source.file}:" if source.file is not None else ""
    return f"{where}{line}:{column}"


def _quote(text: str) -> str:
    text = text.strip() or text
    return repr(text) if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]!r}…"


def _quote_tokens(tokens: Sequence[Token]) -> str:
    if len(tokens) > _SHOWN_TOKENS:
        return f"{len(tokens):,} tokens"
    return " + ".join(_quote(token.text) for token in tokens) or "nothing"


def _describe_token(token: Token | None) -> str:
    return "nothing" if token is None else f"{token.id} ({_quote(token.text)})"


# --- The boundaries between one model's tokens


class TextPositions:
    """Converts positions in the bytes of a text and its pair, one after the other, to characters of each.

    starts: the position where each text begins.  total: where the last one ends.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        # From the byte at which a character begins to its index, with the end of the text.
        self._characters = [
            {
                place: index
                for index, place in enumerate(accumulate((len(each.encode("utf-8")) for each in text), initial=0))
            }
            for text in texts
        ]
        *self.starts, self.total = accumulate((max(places) for places in self._characters), initial=0)

    def sequence(self, position: int) -> int:
        """The index of the text that contains the byte at a position."""
        return max(index for index, start in enumerate(self.starts) if start <= position)

    def character(self, position: int, sequence: int) -> int | None:
        """The character that begins at a position, the length of the text at its end; None within a character."""
        return self._characters[sequence].get(position - self.starts[sequence])


class Boundary(NamedTuple):
    """A position that no token crosses: tokens before index `before` end there or earlier, tokens from `after` on begin
    there or later, and those between are special tokens that were added there."""

    before: int
    after: int


class TokenBoundaries:
    """The boundaries between the tokens of one model.

    boundaries: by position in bytes, with the beginning and the end of the text.
    ends: for each token the position where it ends.
    inner: the positions of boundaries within the texts.
    """

    def __init__(self, text: TokenizedText, positions: TextPositions) -> None:
        self.boundaries: dict[int, Boundary] = {0: Boundary(0, 0)}
        self.ends: list[int] = []
        self._order = [0]
        self._reached = 0
        self._borders = (*positions.starts, positions.total)
        owners = sequences(text)
        borders = _text_borders(owners, positions)
        for index, (token, span) in enumerate(zip(text.tokens, _spans(text, owners, positions), strict=True)):
            if span is not None:
                self._place_token(index, span, positions.starts[owners[index] or 0])
            elif token.special:
                border = borders[index]
                self._advance_to(self._reached if border is None else border, index)
                here = self.boundaries.get(self._reached)
                first = here.before if here is not None and here.after == index else index
                self._add_boundary(self._reached, Boundary(first, index + 1))
            self.ends.append(self._reached)
        count = len(text.tokens)
        self._advance_to(positions.total, count)
        last = self.boundaries.get(positions.total)
        if last is None or last.after < count:
            self._add_boundary(positions.total, Boundary(count, count))
        self.inner = self.boundaries.keys() - set(self._borders)

    def _place_token(self, index: int, span: tuple[int, int], border: int) -> None:
        start, end = span
        self._advance_to(border, index)
        if start < self._reached and start < end:
            position = max(start, border)
            while self._order[-1] > position:
                del self.boundaries[self._order.pop()]
        elif end <= self._reached:
            return  # a token for no part of the text belongs to what follows
        self._reached = max(self._reached, end)
        self._add_boundary(self._reached, Boundary(index + 1, index + 1))

    def _advance_to(self, position: int, index: int) -> None:
        """Go on to a border between texts, and add a boundary at each border on the way."""
        for border in self._borders:
            if self._reached < border <= position:
                self._reached = border
                self._add_boundary(border, Boundary(index, index))

    def _add_boundary(self, position: int, boundary: Boundary) -> None:
        if position not in self.boundaries:
            self._order.append(position)
        self.boundaries[position] = boundary


def _spans(text: TokenizedText, owners: Sequence[int | None], positions: TextPositions) -> list[tuple[int, int] | None]:
    """The bytes of each token, extended over characters left out after it up to the next white space."""
    texts = input_texts(text)
    spans: list[tuple[int, int] | None] = []
    for index, (token, owner) in enumerate(zip(text.tokens, owners, strict=True)):
        if owner is None or token.end is None:
            spans.append(None)
            continue
        start, end = (positions.starts[owner] + (place or 0) for place in (token.byte_start, token.byte_end))
        following = text.tokens[index + 1 : index + 2]
        if start < end and not any(token.start is None and not token.special for token in following):
            end += len(_uncovered_text(text, index, owners, texts[owner]).encode("utf-8"))
        spans.append((start, end))
    return spans


def _uncovered_text(text: TokenizedText, index: int, owners: Sequence[int | None], source_text: str) -> str:
    """The non-space characters between a token and the next one of its text."""
    token = text.tokens[index]
    if token.end is None or source_text[token.end : token.end + 1].isspace() or token.end >= len(source_text):
        return ""
    follows = index + 1 < len(owners) and owners[index + 1] == owners[index]
    until = text.tokens[index + 1].start if follows else None
    match = _BEFORE_SPACE.match(source_text, token.end, len(source_text) if until is None else until)
    return match.group() if match else ""


def _text_borders(owners: Sequence[int | None], positions: TextPositions) -> list[int | None]:
    """For each token: where the text after it begins, or the end of all texts; None within a text."""
    following: list[int | None] = []
    after: int | None = None
    for owner in reversed(owners):
        after = after if owner is None else owner
        following.append(after)
    borders: list[int | None] = []
    before: int | None = None
    for owner, after in zip(owners, reversed(following), strict=True):
        before = before if owner is None else owner
        borders.append(positions.total if after is None else None if after == before else positions.starts[after])
    return borders
