"""The comparison of several tokenizers on one text: where they cut it, and where they differ.

Named tuples, as in every module that `tokenize` imports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from attncli.results.base import from_dict, struct
from attncli.results.tokens import Token

if TYPE_CHECKING:
    from attncli.results.marks import FLAT, Key, Only

#: A half-open range of indices into the tokens of one model.
TokenRange = tuple[int, int]


@struct()
class Segment(NamedTuple):
    """A part of the text between two neighbouring cuts that all models have in common.

    sequence: 0 in the text, 1 in its pair.  start, end: characters of that text, half open; byte_start, byte_end: its
    UTF-8 bytes.  Cuts within a character begin no segment, so `text` is whole characters. White space belongs to the
    text after it.
    tokens: for each model, the range of its tokens for the segment, which may be empty.
    same_cuts, same_ids: for each model, whether it has the same cuts and ids here as the first model. A token without
    characters of the text (an added leading space) is no cut.
    added: the segment is special tokens that a tokenizer added, and has no text.
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
        """Whether some model cuts the segment differently from the first one."""
        return not all(self.same_cuts)


@struct()
class TokenDifference(NamedTuple):
    """A segment that not all models cut in the same way, with the tokens of each."""

    segment: Annotated[Segment, FLAT, Only(("sequence", "start", "end", "byte_start", "byte_end", "text"))]
    pieces: tuple[tuple[Annotated[Token, Only(("index", "id", "token", "text"))], ...], ...]


@struct()
class IdDifference(NamedTuple):
    """The first position where a model's ids differ from those of the first model.

    Among the ordinary tokens, or where those are the same, among all.
    position: the index in the ids of the first model, special tokens included.  first, other: the tokens; None after
    the end of the shorter list.
    """

    position: Annotated[int, Key("index")]
    first: Annotated[Token | None, Only(("index", "id", "token", "text"))]
    other: Annotated[Token | None, Only(("index", "id", "token", "text"))]


@struct("record models same agreement parity ids differences segments")
class Comparison(NamedTuple):
    """One text cut by several tokenizers, in the order in which the user named them.

    segments: the whole text in order, with added special tokens in between.
    differences: the segments that are not cut in the same way.
    ids: for each model, where its ids first differ from those of the first; None where they are the same throughout.
    agreement[a][b]: the Jaccard index of the cuts of two models, |A ∩ B| / |A ∪ B| over the positions inside the text
    (in bytes; neither its beginning nor its end) where a token ends; 1.0 where neither cuts at all.
    parity[a][b]: tokens of a / tokens of b, added special ones excluded (Petrov et al. 2023); None where b has none.
    """

    record: int
    models: tuple[str, ...]
    segments: tuple[Segment, ...]
    differences: tuple[TokenDifference, ...]
    ids: Annotated[tuple[IdDifference | None, ...], Key("first_different_ids")]
    agreement: tuple[tuple[float, ...], ...]
    parity: tuple[tuple[float | None, ...], ...]

    @property
    def same(self) -> bool:
        """Whether all models have the same ids for the text, at the same positions."""
        return not self.differences and not any(self.ids)

    @staticmethod
    def _unwritten(data: dict[str, Any]) -> dict[str, Any]:
        segments = from_dict(tuple[Segment, ...], data["segments"])
        by_place = {segment[:6]: segment for segment in reversed(segments)}
        differences = []
        for each in data["differences"]:
            place = tuple(each[key] for key in Segment._fields[:6])
            differences.append(
                TokenDifference(by_place[place], from_dict(tuple[tuple[Token, ...], ...], each["pieces"]))
            )
        return {"segments": segments, "differences": tuple(differences)}
