"""Where several tokenizers cut the same text, and where they part. Named tuples, as in all that `tokenize` imports."""

from __future__ import annotations

from typing import NamedTuple

from attncli.results.base import short_repr
from attncli.results.tokens import Token

#: A half-open range of indices into the tokens of one model.
TokenRange = tuple[int, int]


@short_repr
class Segment(NamedTuple):
    """A stretch of the text between two neighbouring cuts that all models have in common.

    sequence: 0 in the text, 1 in the pair beside it.  start, end: characters of that one, half open; byte_start,
    byte_end: its UTF-8 bytes.  Cuts within a character begin no segment, so `text` is whole characters. White space
    counts to what follows it.
    tokens: for each model, the range of its tokens that stand for the stretch; it may be empty.
    same_cuts, same_ids: for each model, whether it has the same cuts and the same ids here as the first model. A token
    that stands for no character of the text (a space put before it) cuts nothing.
    added: special tokens that a tokenizer added here; such a segment has no text.
    """

    sequence: int
    start: int
    end: int
    byte_start: int
    byte_end: int
    text: str
    tokens: tuple[TokenRange, ...]
    same_cuts: tuple[bool, ...]
    same_ids: tuple[bool, ...]
    added: bool = False

    @property
    def differs(self) -> bool:
        """Whether some model cuts the stretch in another way than the first one."""
        return not all(self.same_cuts)

    def to_dict(self) -> dict[str, object]:
        content = self._asdict()
        return {
            **content,
            **{key: list(content[key]) for key in ("same_cuts", "same_ids")},
            "tokens": _token_ranges(self),
        }


@short_repr
class TokenDifference(NamedTuple):
    """A segment that not all models cut alike, with the tokens that each makes of it."""

    segment: Segment
    pieces: tuple[tuple[Token, ...], ...]

    def to_dict(self) -> dict[str, object]:
        place = {key: getattr(self.segment, key) for key in ("sequence", "start", "end", "byte_start", "byte_end")}
        pieces = [[_token_summary(token) for token in tokens] for tokens in self.pieces]
        return {**place, "text": self.segment.text, "pieces": pieces}


@short_repr
class IdDifference(NamedTuple):
    """The first place where a model's ids are others than those of the first model.

    Among the ordinary tokens, or where those are the same, among all.
    position: the place in the ids of the first model, special tokens included.  first, other: the tokens; None behind
    the end of the shorter list.
    """

    position: int
    first: Token | None
    other: Token | None

    def to_dict(self) -> dict[str, object]:
        sides = {"first": self.first, "other": self.other}
        return {"index": self.position, **{key: token and _token_summary(token) for key, token in sides.items()}}


@short_repr
class Comparison(NamedTuple):
    """One text under several tokenizers, in the order in which they were named.

    segments: the text from its beginning to its end, with the added special tokens between.
    differences: those of the segments that are not cut alike.
    ids: for each model, where its ids first differ from those of the first; None where they are the same throughout.
    agreement[a][b]: the Jaccard index of the cuts of two models, |A ∩ B| / |A ∪ B| over the positions inside the text
    (in bytes; neither its beginning nor its end) where a token ends; 1.0 where neither cuts at all.
    parity[a][b]: tokens of a / tokens of b, added special ones excluded (Petrov et al. 2023); None where b has none.
    """

    record: int
    models: tuple[str, ...]
    segments: tuple[Segment, ...]
    differences: tuple[TokenDifference, ...]
    ids: tuple[IdDifference | None, ...]
    agreement: tuple[tuple[float, ...], ...]
    parity: tuple[tuple[float | None, ...], ...]

    @property
    def same(self) -> bool:
        """Whether all models make the same ids of the text, at the same places."""
        return not self.differences and not any(self.ids)

    def to_dict(self) -> dict[str, object]:
        return {
            "record": self.record,
            "models": list(self.models),
            "same": self.same,
            "agreement": [list(row) for row in self.agreement],
            "parity": [list(row) for row in self.parity],
            "first_different_ids": [place and place.to_dict() for place in self.ids],
            "differences": [difference.to_dict() for difference in self.differences],
            "segments": [segment.to_dict() for segment in self.segments],
        }


def _token_ranges(segment: Segment) -> list[list[int]]:
    return [list(indices) for indices in segment.tokens]


def _token_summary(token: Token) -> dict[str, object]:
    return {"index": token.index, "id": token.id, "token": token.token, "text": token.text}
