"""A text of any length as overlapping chunks, cut on all cores and joined again: linear in time, flat in memory.

A text in one chunk would cost 16 bytes of bookkeeping a byte, leave the caches, and use one core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

from attncli.models.tokenizers.ahead import one_ahead
from attncli.models.tokenizers.seams import Chunk, find_seam, is_one_pre_token

if TYPE_CHECKING:
    from tokenizers import Encoding

#: Cuts texts into tokens, none added.
Encode = Callable[[list[str]], "list[Encoding]"]

#: A part of the text, and the character that it begins at.
Window = tuple[int, str]


class Sizes(NamedTuple):
    """In characters, but for the last.

    chunk: from the start of one chunk to that of the next.  overlap: how far each goes on beyond that.
    margin: how much of a chunk has to follow the place where it is left.  batch: how many chunks are cut at once.
    """

    chunk: int = 1 << 15
    overlap: int = 1 << 11
    margin: int = 1 << 10
    batch: int = 16


class Stretch(NamedTuple):
    """The tokens from `first` to `last` of a chunk: those of the whole text, in order."""

    chunk: Chunk
    first: int
    last: int

    @property
    def ids(self) -> list[int]:
        return self.chunk.ids[self.first : self.last]

    @property
    def segments(self) -> list[int]:
        return self.chunk.encoding.type_ids[self.first : self.last]

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Characters of the whole text."""
        shift = self.chunk.start
        offsets = self.chunk.encoding.offsets[self.first : self.last]
        return [(start + shift, end + shift) for start, end in offsets] if shift else offsets


def stretches(encode: Encode, blocks: Iterable[str], sizes: Sizes | None = None) -> Iterator[Stretch]:
    """The tokens of a text that comes in blocks.

    Where two chunks can't be joined they are cut as one. Where the tokenizer makes the whole first chunk one pre-token
    (it has no pre-tokenizer, or the text no spaces) it would never come to a place: then the text is collected whole.
    """
    sizes = sizes or Sizes()
    windows = _windows(blocks, sizes)
    (first,) = _cut(encode, [next(windows)])
    if (second := next(windows, None)) is None:
        yield Stretch(first, 0, len(first.ids))
    elif is_one_pre_token(first):
        whole = first.text + "".join(text[sizes.overlap :] for _, text in chain([second], windows))
        (chunk,) = _cut(encode, [(0, whole)])
        yield Stretch(chunk, 0, len(chunk.ids))
    else:
        batches = one_ahead(lambda batch: _cut(encode, batch), _batches(chain([second], windows), sizes.batch))
        yield from _joined(encode, first, chain.from_iterable(batches), sizes.margin)


def _joined(encode: Encode, first: Chunk, others: Iterator[Chunk], margin: int) -> Iterator[Stretch]:
    left, begin = first, 0
    for right in others:
        seam = find_seam(left, right, margin)
        if seam is None:
            left = _grown(encode, left, right, others)
            continue
        yield Stretch(left, begin, seam.left)
        left, begin = right, seam.right
    yield Stretch(left, begin, len(left.ids))


def _grown(encode: Encode, left: Chunk, right: Chunk, others: Iterator[Chunk]) -> Chunk:
    """A chunk that goes on for at least twice its length: growing by a fixed length would take quadratic time."""
    parts, end = [left.text], left.end
    for chunk in chain([right], others):
        parts.append(chunk.text[end - chunk.start :])
        end = chunk.end
        if end - left.start >= 2 * len(left.text):
            break
    return _cut(encode, [(left.start, "".join(parts))])[0]


def _cut(encode: Encode, windows: list[Window]) -> list[Chunk]:
    encodings = encode([text for _, text in windows])
    return [
        Chunk(start, text, encoding, encoding.ids) for (start, text), encoding in zip(windows, encodings, strict=True)
    ]


def _windows(blocks: Iterable[str], sizes: Sizes) -> Iterator[Window]:
    """The chunks, at least one (of an empty text an empty one); the last is longer than the overlap, unless alone."""
    rest, start = "", 0
    for block in blocks:
        rest += block
        at = 0
        while len(rest) - at > sizes.chunk + sizes.overlap:
            yield start + at, rest[at : at + sizes.chunk + sizes.overlap]
            at += sizes.chunk
        rest, start = rest[at:], start + at
    yield start, rest


def _batches(windows: Iterator[Window], size: int) -> Iterator[list[Window]]:
    while batch := list(islice(windows, size)):
        yield batch
