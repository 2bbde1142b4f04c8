r"""Encode many texts, or one text of any length, on all cores, with memory that does not grow with them.

A long text is encoded in overlapping chunks, whose tokens are joined. Time is linear and memory constant; a text in one
chunk would take 16 bytes of bookkeeping a byte, leave the processor's caches, and use one core. The tokens are the same
as in one chunk. Why that holds:

A tokenizer cuts a text into pre-tokens from left to right, and each pre-token into tokens by itself. What it does from
the start of a pre-token on does not depend on what came before. So where two chunks that overlap both start a
pre-token at the same character, everything before it can be taken from the left chunk, which saw the text before, and
everything after it from the right one, which sees the text that follows. That holds by induction from the first chunk
on, wherever the right one happened to begin: in the middle of a word or of a group of three digits.

What is left to rule out is that the end of the left chunk made it cut there: regular expressions look ahead as far as
a run of characters of one class reaches (`\s*[\r\n]+`, or digits grouped from the right). So chunks are joined only
where the class of character changes, with more text after it than any tokenizer looks at from there. And the pre-tokens
on both sides have to be the same in both chunks: that rules out normalisers that look at neighbouring characters, added
tokens that take the space around them, and what a tokenizer puts before the start of a text.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, groupby, islice, pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from attncli.models.tokenizers.types import Encoding

if TYPE_CHECKING:
    from tokenizers import Encoding as BackendEncoding
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


# --- Chunks of one text


Item = TypeVar("Item")
Result = TypeVar("Result")

#: Encodes texts without special tokens.
Encode = Callable[[list[str]], "list[BackendEncoding]"]

#: The first character of a part of the text, and the part.
Window = tuple[int, str]


class ChunkSizes(NamedTuple):
    """Sizes in characters, except the last.

    chunk: from the start of one chunk to that of the next.  overlap: how far each chunk reaches into the next.
    margin: how much of a chunk has to follow the place where the next one takes over.  batch: chunks encoded at once.
    """

    chunk: int = 1 << 15
    overlap: int = 1 << 11
    margin: int = 1 << 10
    batch: int = 16


class Chunk(NamedTuple):
    """A part of a text, and its tokens without special ones.  start: its first character in the whole text."""

    start: int
    text: str
    encoding: BackendEncoding
    ids: list[int]

    @property
    def end(self) -> int:
        return self.start + len(self.text)


class ChunkTokens(NamedTuple):
    """The tokens of a chunk, from `first` to `last` (exclusive), that are tokens of the whole text."""

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


def encode_chunks(encode: Encode, blocks: Iterable[str], sizes: ChunkSizes | None = None) -> Iterator[ChunkTokens]:
    """The tokens of a text that comes in blocks.

    Chunks that can't be joined are encoded as one. If the whole first chunk is one pre-token (there is no
    pre-tokenizer, or the text has no spaces), no chunks could be joined: then the whole text is collected first.
    """
    sizes = sizes or ChunkSizes()
    windows = _overlapping_windows(blocks, sizes)
    (first,) = _encode_windows(encode, [next(windows)])
    if (second := next(windows, None)) is None:
        yield ChunkTokens(first, 0, len(first.ids))
    elif is_one_pre_token(first):
        whole = first.text + "".join(text[sizes.overlap :] for _, text in chain([second], windows))
        (chunk,) = _encode_windows(encode, [(0, whole)])
        yield ChunkTokens(chunk, 0, len(chunk.ids))
    else:
        others = chain([second], windows)
        batches = prefetch(
            lambda batch: _encode_windows(encode, batch), iter(lambda: list(islice(others, sizes.batch)), [])
        )
        yield from _join_chunks(encode, first, chain.from_iterable(batches), sizes.margin)


def _join_chunks(encode: Encode, first: Chunk, others: Iterator[Chunk], margin: int) -> Iterator[ChunkTokens]:
    left, begin = first, 0
    for right in others:
        overlap = find_overlap(left, right, margin)
        if overlap is None:
            left = _extend_chunk(encode, left, right, others)
            continue
        yield ChunkTokens(left, begin, overlap.left)
        left, begin = right, overlap.right
    yield ChunkTokens(left, begin, len(left.ids))


def _extend_chunk(encode: Encode, left: Chunk, right: Chunk, others: Iterator[Chunk]) -> Chunk:
    """The left chunk extended to at least twice its length: a fixed extension would take quadratic time."""
    parts, end = [left.text], left.end
    for chunk in chain([right], others):
        parts.append(chunk.text[end - chunk.start :])
        end = chunk.end
        if end - left.start >= 2 * len(left.text):
            break
    return _encode_windows(encode, [(left.start, "".join(parts))])[0]


def _encode_windows(encode: Encode, windows: list[Window]) -> list[Chunk]:
    encodings = encode([text for _, text in windows])
    return [
        Chunk(start, text, encoding, encoding.ids) for (start, text), encoding in zip(windows, encodings, strict=True)
    ]


def _overlapping_windows(blocks: Iterable[str], sizes: ChunkSizes) -> Iterator[Window]:
    """The windows of a text, at least one (maybe empty); the last is longer than the overlap, unless alone."""
    rest, start = "", 0
    for block in blocks:
        rest += block
        at = 0
        while len(rest) - at > sizes.chunk + sizes.overlap:
            yield start + at, rest[at : at + sizes.chunk + sizes.overlap]
            at += sizes.chunk
        rest, start = rest[at:], start + at
    yield start, rest


# --- Where two chunks may be joined


class ChunkOverlap(NamedTuple):
    """Where two chunks are joined.

    left: the number of tokens taken from the left chunk.  right: the first token taken from the right one.
    """

    left: int
    right: int


class _PreToken(NamedTuple):
    """start: its first character in the whole text.  first: its first token.  tokens: (id, start, end) of each."""

    start: int
    first: int
    tokens: tuple[tuple[int, int, int], ...]


def find_overlap(left: Chunk, right: Chunk, margin: int) -> ChunkOverlap | None:
    """The last place in their overlap where the chunks may be joined; None where there is none.

    margin: how many characters of the left chunk have to follow it.
    """
    in_right = {after.start: (before, after) for before, after in pairwise(_pre_tokens(right, right.start, left.end))}
    for before, after in reversed(list(pairwise(_pre_tokens(left, right.start, left.end - margin)))):
        match = in_right.get(after.start)
        if (
            match is not None
            and match[0].tokens == before.tokens
            and match[1].tokens == after.tokens
            and _is_class_change(left.text, after.start - left.start)
        ):
            return ChunkOverlap(after.first, match[1].first)
    return None


def is_one_pre_token(chunk: Chunk) -> bool:
    """Whether the whole chunk is one pre-token (or empty)."""
    count = len(chunk.ids)
    return count == 0 or chunk.encoding.token_to_word(0) == chunk.encoding.token_to_word(count - 1)


def _pre_tokens(chunk: Chunk, start: int, end: int) -> Iterator[_PreToken]:
    """The pre-tokens whose tokens begin between two characters of the whole text."""
    places = range(len(chunk.ids))
    first, last = (bisect_left(places, at, key=lambda token: _token_span(chunk, token)[0]) for at in (start, end))
    for _, group in groupby(range(first, last), key=chunk.encoding.token_to_word):
        members = list(group)
        tokens = tuple((chunk.ids[token], *_token_span(chunk, token)) for token in members)
        yield _PreToken(tokens[0][1], members[0], tokens)


def _token_span(chunk: Chunk, token: int) -> tuple[int, int]:
    """The characters of a token in the whole text."""
    span = chunk.encoding.token_to_chars(token)
    assert span is not None, "the chunk has that many tokens"
    return span[0] + chunk.start, span[1] + chunk.start


def _is_class_change(text: str, place: int) -> bool:
    return _character_class(text[place - 1]) != _character_class(text[place])


def _character_class(character: str) -> str:
    """Space, letter, number, punctuation, symbol or other; a combining mark counts as a letter."""
    if character.isspace():
        return " "
    general = unicodedata.category(character)[0]
    return "L" if general == "M" else general


# --- A thread that works ahead


def prefetch(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Apply `work` to each item, in order, in a thread that is one item ahead: for work that releases the GIL.

    The items are fetched in the caller's thread, so that waiting for input can be interrupted. What `work` raises is
    raised in place of its result. A caller that stops early does not wait for the item in progress.
    """
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")
    try:
        previous: Future[Result] | None = None
        for item in items:
            current = pool.submit(work, item)
            if previous is not None:
                yield previous.result()
            previous = current
        if previous is not None:
            yield previous.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
