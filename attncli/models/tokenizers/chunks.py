r"""Where two overlapping chunks of a text may be joined, so that their tokens are those of the text in one chunk.

A tokenizer cuts a text into pre-tokens from left to right, and each pre-token into tokens by itself. What it does from
the start of a pre-token on does not depend on what came before. So where two chunks that overlap both start a
pre-token at the same character, everything before it can be taken from the left chunk, which saw the text before, and
everything after it from the right one, which sees the text that follows. That holds by induction from the first chunk
on, wherever the right one happened to begin: in the middle of a word or of a group of three digits.

What is left to rule out is that the end of the left chunk made it cut there: regular expressions look ahead as far as
a run of characters of one class reaches (`\s*[\r\n]+`, or digits grouped from the right). A seam is therefore only
where the class of character changes, with more text after it than any tokenizer looks at from there; and the pre-tokens
on both sides of it have to be the same in both chunks: that keeps it off normalisers that look at their neighbours,
off added tokens that take the space around them, and off what a tokenizer puts before the start of a text.

Work done one step ahead of whoever uses its results.

A text of any length as overlapping chunks, cut on all cores and joined again: linear in time, flat in memory.

A text in one chunk would cost 16 bytes of bookkeeping a byte, leave the caches, and use one core.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, groupby, islice, pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from tokenizers import Encoding


class Chunk(NamedTuple):
    """A part of a text, and its own tokens without added ones.  start: the character of the whole text it begins at."""

    start: int
    text: str
    encoding: Encoding
    ids: list[int]

    @property
    def end(self) -> int:
        return self.start + len(self.text)


class ChunkOverlap(NamedTuple):
    """How many tokens of the left chunk come before it, and how many of the right one are left out there."""

    left: int
    right: int


class _PreToken(NamedTuple):
    """start: its first character in the whole text.  first: its first token.  tokens: (id, start, end) of each."""

    start: int
    first: int
    tokens: tuple[tuple[int, int, int], ...]


def find_overlap(left: Chunk, right: Chunk, margin: int) -> ChunkOverlap | None:
    """The last place of their overlap where both chunks cut alike; None where there is none.

    margin: how many characters of the left chunk have to follow it.
    """
    known = {after.start: (before, after) for before, after in pairwise(_pre_tokens(right, right.start, left.end))}
    for before, after in reversed(list(pairwise(_pre_tokens(left, right.start, left.end - margin)))):
        twin = known.get(after.start)
        if (
            twin is not None
            and twin[0].tokens == before.tokens
            and twin[1].tokens == after.tokens
            and _is_class_change(left.text, after.start - left.start)
        ):
            return ChunkOverlap(after.first, twin[1].first)
    return None


def is_one_pre_token(chunk: Chunk) -> bool:
    """Whether nothing in the chunk was cut before the model cut it."""
    count = len(chunk.ids)
    return count == 0 or chunk.encoding.token_to_word(0) == chunk.encoding.token_to_word(count - 1)


def _pre_tokens(chunk: Chunk, start: int, end: int) -> Iterator[_PreToken]:
    """The pre-tokens whose tokens begin from one character of the whole text up to another."""
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
    """Space, letter, number, punctuation, symbol or other; a mark goes with the letter that it stands on."""
    if character.isspace():
        return " "
    general = unicodedata.category(character)[0]
    return "L" if general == "M" else general


Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`work` of each item, in order, in a thread that is one item ahead: for work that lets go of Python's lock.

    The items are fetched in the caller's thread, so that one that waits for its input can be interrupted. What `work`
    raises is raised where its result would have come. Whoever stops early does not wait for the item in work.
    """
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead")
    try:
        waiting: Future[Result] | None = None
        for item in items:
            coming = pool.submit(work, item)
            if waiting is not None:
                yield waiting.result()
            waiting = coming
        if waiting is not None:
            yield waiting.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


#: Cuts texts into tokens, none added.
Encode = Callable[[list[str]], "list[Encoding]"]

#: A part of the text, and the character that it begins at.
Window = tuple[int, str]


class ChunkSizes(NamedTuple):
    """In characters, but for the last.

    chunk: from the start of one chunk to that of the next.  overlap: how far each goes on beyond that.
    margin: how much of a chunk has to follow the place where it is left.  batch: how many chunks are cut at once.
    """

    chunk: int = 1 << 15
    overlap: int = 1 << 11
    margin: int = 1 << 10
    batch: int = 16


class ChunkTokens(NamedTuple):
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


def encode_chunks(encode: Encode, blocks: Iterable[str], sizes: ChunkSizes | None = None) -> Iterator[ChunkTokens]:
    """The tokens of a text that comes in blocks.

    Where two chunks can't be joined they are cut as one. Where the tokenizer makes the whole first chunk one pre-token
    (it has no pre-tokenizer, or the text no spaces) it would never come to a place: then the text is collected whole.
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
        batches = prefetch(
            lambda batch: _encode_windows(encode, batch), _batches(chain([second], windows), sizes.batch)
        )
        yield from _join_chunks(encode, first, chain.from_iterable(batches), sizes.margin)


def _join_chunks(encode: Encode, first: Chunk, others: Iterator[Chunk], margin: int) -> Iterator[ChunkTokens]:
    left, begin = first, 0
    for right in others:
        seam = find_overlap(left, right, margin)
        if seam is None:
            left = _extend_chunk(encode, left, right, others)
            continue
        yield ChunkTokens(left, begin, seam.left)
        left, begin = right, seam.right
    yield ChunkTokens(left, begin, len(left.ids))


def _extend_chunk(encode: Encode, left: Chunk, right: Chunk, others: Iterator[Chunk]) -> Chunk:
    """A chunk that goes on for at least twice its length: growing by a fixed length would take quadratic time."""
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
