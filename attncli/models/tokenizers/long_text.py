"""Encode many texts, or one text of any length, on all cores, with memory that does not grow with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from attncli.models.tokenizers.chunks import ChunkTokens, prefetch
from attncli.models.tokenizers.types import Encoding

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend

    from attncli.models.tokenizers.types import Tokenizer

#: A batch of texts is full when it has this many characters, or texts: enough work for every core, little memory.
_CHARACTERS = 1 << 19
_TEXTS = 1 << 13

#: An id that no vocabulary has.
_NO_ID = 2**32 - 1


class Frame(NamedTuple):
    """The special tokens before and after a text, as pairs of an id and a segment."""

    head: tuple[tuple[int, int], ...] = ()
    tail: tuple[tuple[int, int], ...] = ()

    @property
    def head_ids(self) -> list[int]:
        return [identifier for identifier, _ in self.head]

    @property
    def tail_ids(self) -> list[int]:
        return [identifier for identifier, _ in self.tail]


def encode_many(
    tokenizer: Tokenizer, texts: Iterable[str], *, special: bool = True, truncate: bool = False
) -> Iterator[Sequence[int]]:
    """The ids of each text in turn, as `tokenizer.encode` gives them.

    A batch is encoded in a thread of its own while the one before it is used and the one after it is read.
    """

    def encode(batch: list[str]) -> list[Sequence[int]]:
        return tokenizer.encode_batch(batch, special=special, truncate=truncate)

    return chain.from_iterable(prefetch(encode, _batches(texts)))


def encode_stream(tokenizer: Tokenizer, blocks: Iterable[str], *, special: bool = True) -> Iterator[Sequence[int]]:
    """The ids of one text that comes in blocks, part by part; joined, they are those of the whole text.

    The whole text is collected first where the tokenizer can't encode it in chunks.
    """
    return tokenizer.encode_blocks(blocks, special=special)


def read_frame(backend: Backend, *, special: bool) -> Frame | None:
    """The special tokens that the post-processor puts around a text; None where it changes the text itself as well.

    The truncation and padding of the backend have to be off.
    """
    from tokenizers import Encoding as BackendEncoding

    sample = BackendEncoding()
    sample.pad(2, pad_id=_NO_ID)
    processed = backend.post_process(sample, None, special)
    ids, entries = processed.ids, tuple(zip(processed.ids, processed.type_ids, strict=True))
    if ids.count(_NO_ID) != 2:
        return None
    first = ids.index(_NO_ID)
    return Frame(entries[:first], entries[first + 2 :]) if ids[first + 1] == _NO_ID else None


def add_frame(chunks: Iterable[ChunkTokens], frame: Frame) -> Encoding:
    """The tokens of a text as one encoding, with special tokens around them."""
    ids: list[int] = []
    segments: list[int] = []
    spans: list[tuple[int, int] | None] = []
    for part in chunks:
        ids += part.ids
        segments += part.segments
        spans += part.spans
    head, tail = len(frame.head), len(frame.tail)
    return Encoding(
        ids=[*frame.head_ids, *ids, *frame.tail_ids],
        sequences=[None] * head + [0] * len(ids) + [None] * tail,
        segments=[*(segment for _, segment in frame.head), *segments, *(segment for _, segment in frame.tail)],
        spans=[None] * head + spans + [None] * tail,
    )


def truncation_range(chunks: Iterable[ChunkTokens], limit: int, side: str) -> tuple[int, int | None]:
    """The characters (start, end) that hold the first (side: right) or the last (side: left) `limit` tokens of a text.

    side: of truncation. These characters, truncated, give the same tokens as the whole text would, whether or not
    special tokens count towards the limit.
    """
    seen: list[tuple[int, int]] = []
    tokens = 0
    for part in chunks:
        tokens += len(part.ids)
        if side == "right" and tokens >= limit:
            return 0, part.chunk.end
        seen.append((part.chunk.start, len(part.ids)))
    tokens = 0
    for start, count in reversed(seen):
        tokens += count
        if side == "left" and tokens >= limit:
            return start, None
    return 0, None


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= _CHARACTERS or len(batch) >= _TEXTS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
