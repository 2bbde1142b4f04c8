"""Tokenize a text, or look up ids, into `Token`s with their offsets in characters, UTF-8 bytes and words.

`align` finds the offsets for tokenizers that give none, and `measure` counts the tokens: added special tokens only in
their own count; words are maximal runs of non-space characters in scripts with spaces between words; runs in other
scripts, and of symbols, have a count of their own. With t tokens, w words and b UTF-8 bytes: fertility = t/w of these
scripts, the share of continued words = words of two or more tokens / w (Rust et al. 2021), where the punctuation around
a word doesn't count, bytes per token = b/t, the share of unknown tokens = unknown tokens / t.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from codecs import getincrementaldecoder
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from attncli.errors import ModelError, UsageError
from attncli.models.tokenizers.types import Encoding
from attncli.results.tokenize import TokenStats
from attncli.results.tokens import Token
from attncli.tokens.spans import (
    Composer,
    WordSpans,
    byte_spans,
    cover_gaps,
    covered_text,
    empty_added_spaces,
    ratio,
    restore_first_characters,
    tokens_per_word,
    word_spans,
)

if TYPE_CHECKING:
    from attncli.models.tokenizers.types import Piece, Tokenizer

Span = tuple[int, int]

#: start, end, byte_start, byte_end and word of a token.
TokenPlace = tuple[int | None, int | None, int | None, int | None, int | None]

#: How many characters after its expected place a token is searched for.
_SEARCH_REACH = 64

_NOWHERE: TokenPlace = (None, None, None, None, None)


# --- From a text or ids to tokens


class EncodedText(NamedTuple):
    """The tokens of a text; every field has one entry a token.

    segments: the model's `token_type_ids`.
    sequences: 0 for tokens of the text, 1 for those of its pair, None for added special tokens and for ids without a
    text. Offsets (`start`, `byte_start`, `word`) count within the token's own sequence.
    """

    tokens: tuple[Token, ...]
    segments: tuple[int, ...]
    sequences: tuple[int | None, ...] = ()


def encode(
    tokenizer: Tokenizer, text: str, *, pair: str | None = None, special: bool = True, truncate: bool = False
) -> EncodedText:
    """Tokenize a text, with `pair` as a second one.

    special: add the special tokens that the model expects.  truncate: cut to the number of tokens that the model takes,
    with special tokens kept.

    Raises UsageError where a text holds a lone surrogate, which no tokenizer can take.
    """
    texts = [text] if pair is None else [text, pair]
    for each in texts:
        check_text(each)
    return _locate(tokenizer, tokenizer.encode(text, pair=pair, special=special, truncate=truncate), texts)


def _locate(tokenizer: Tokenizer, encoding: Encoding, texts: Sequence[str]) -> EncodedText:
    pieces = list(_describe_pieces(tokenizer, encoding.ids))
    places: list[TokenPlace] = [_NOWHERE] * len(pieces)
    for number, each in enumerate(texts):
        members = [index for index, sequence in enumerate(encoding.sequences) if sequence == number]
        found = _token_places(each, encoding, pieces, members, tokenizer.composer)
        for index, place in zip(members, found, strict=True):
            places[index] = place
    tokens = (
        Token(index, piece.id, piece.token, piece.text, *place, piece.special or sequence is None)
        for index, (piece, place, sequence) in enumerate(zip(pieces, places, encoding.sequences, strict=True))
    )
    return EncodedText(tuple(tokens), tuple(encoding.segments), tuple(encoding.sequences))


def locate_ids(tokenizer: Tokenizer, ids: Sequence[int], text: str) -> EncodedText:
    """Look up ids that a processor made of a text and a picture, with the places of the text's own tokens in it."""
    special = [piece.special for piece in _describe_pieces(tokenizer, ids)]
    sequences = [None if each else 0 for each in special]
    return _locate(tokenizer, Encoding(ids, sequences, [0] * len(ids), [None] * len(ids)), [text])


def from_ids(tokenizer: Tokenizer | None, ids: Sequence[int]) -> EncodedText:
    """Look up ids that were given without a text, as tokens without offsets.

    tokenizer: None shows each token as its id.

    Raises UsageError for a number below 0 and for an id that the vocabulary doesn't have.
    """
    for identifier in ids:
        if identifier < 0:
            raise UsageError(f"{identifier} is not a token id", hint="token ids are whole numbers of at least 0")
    tokens = []
    pieces = [None] * len(ids) if tokenizer is None else tokenizer.describe(ids)
    for index, (identifier, piece) in enumerate(zip(ids, pieces, strict=True)):
        if tokenizer is None:
            tokens.append(Token(index, identifier, str(identifier), str(identifier)))
        elif piece is None:
            hint = f"its token ids are 0 to {tokenizer.vocabulary_size - 1:,}"
            raise UsageError(f"the vocabulary has no token {identifier}", hint=hint)
        else:
            tokens.append(Token(index, identifier, piece.token, piece.text, special=piece.special))
    return EncodedText(tuple(tokens), (0,) * len(tokens), (None,) * len(tokens))


def _describe_pieces(tokenizer: Tokenizer, ids: Sequence[int]) -> Iterator[Piece]:
    for identifier, piece in zip(ids, tokenizer.describe(ids), strict=True):
        if piece is None:
            raise ModelError(
                f"the tokenizer gave the token id {identifier}, which is not in its vocabulary",
                hint="its files don't belong together; use another model (-m)",
            )
        yield piece


def _token_places(
    text: str, encoding: Encoding, pieces: Sequence[Piece], members: Sequence[int], compose: Composer | None
) -> Iterator[TokenPlace]:
    """The offsets and words of the tokens of one text.

    members: their indices among all tokens.  compose: as for `cover_gaps`.
    """
    spans = [encoding.spans[index] for index in members]
    if None in spans:
        spans = align(text, [pieces[index].data for index in members])
    data = [pieces[index].data for index, span in zip(members, spans, strict=True) if span is not None]
    found = restore_first_characters(text, [span for span in spans if span is not None], data)
    found = cover_gaps(text, empty_added_spaces(text, found, data), compose)
    in_characters, in_bytes = iter(found), iter(byte_spans(text, found, data))
    words = WordSpans(text)
    for place in spans:
        span = None if place is None else next(in_characters)
        yield _NOWHERE if span is None else (*span, *next(in_bytes), words.at(span))


def count_unspelled(tokenizer: Tokenizer, text: str, spans: Sequence[Span | None]) -> int:
    """How many characters of a text, but for white space, have no token because the vocabulary can't spell them.

    spans: the characters of each token; None where they aren't known.

    A vocabulary without an unknown token drops such characters. Where there is one, a text without any token is looked
    at all the same: its normaliser may drop everything.
    """
    if (spans and tokenizer.unknown_id is not None) or None in spans:
        return 0
    reach, lost = 0, ""
    for start, end in [*(span for span in spans if span is not None), (len(text), len(text))]:
        lost += text[reach:start]
        reach = max(reach, end)
    without_token = {each for each in set(lost) if not each.isspace() and not tokenizer.encode(each, special=False).ids}
    return sum(each in without_token for each in lost)


def was_cut(encoded: EncodedText, texts: Sequence[str]) -> bool:
    """Whether the tokens leave out more of the texts than surrounding white space."""
    return any(len(part) < len(text.strip()) for part, text in zip(covered_texts(encoded, texts), texts, strict=True))


def covered_texts(encoded: EncodedText, texts: Sequence[str]) -> list[str]:
    """The part of each text from its first token to its last: less than all of it where it was truncated."""
    placed = list(zip(encoded.sequences, encoded.tokens, strict=True))
    return [covered_text(text, _spans_of(placed, number))[0] for number, text in enumerate(texts)]


def check_text(text: str) -> None:
    """Raise UsageError where a text holds a lone surrogate."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(
            f"the text contains half a character (the surrogate U+{ord(text[error.start]):04X}) at position "
            f"{error.start}",
            hint="read the text in its own encoding",
        ) from error


# --- Offsets for tokenizers that give none


def align(text: str, data: Sequence[bytes]) -> list[Span | None]:
    """The span of characters in `text` for each token; None where it isn't found, as for an unknown token.

    data: the bytes that each token spells. If they spell the text together, the spans follow from their lengths. Else
    tokens are searched for in order, ignoring case, accents and surrounding space, those that share a character
    together, within the next 64 characters each: linear in the length of the text.
    """
    return _align_exactly(text, data) or _align_by_search(text, data)


def _align_exactly(text: str, data: Sequence[bytes]) -> list[Span | None]:
    """The spans of tokens that spell the text, perhaps with a space before it; empty if they don't spell it."""
    joined, encoded = b"".join(data), text.encode("utf-8")
    put_before = len(joined) - len(encoded)
    if joined != b" " * put_before + encoded or put_before > 1:
        return []
    owners = [0] * put_before + [index for index, character in enumerate(text) for _ in character.encode("utf-8")]
    spans: list[Span | None] = []
    place = 0
    for piece in data:
        end = place + len(piece)
        spans.append((owners[place], owners[end - 1] + (end > put_before)) if piece else None)
        place = end
    return spans


def _align_by_search(text: str, data: Sequence[bytes]) -> list[Span | None]:
    folded = _FoldedText(text)
    spans: list[Span | None] = []
    place = 0
    for spelled, pieces in _whole_characters(data):
        exact = (place, place + len(spelled)) if spelled and text.startswith(spelled, place) else None
        found = exact or folded.find(spelled, place)
        if found is None:
            spans += [None] * len(pieces)
            continue
        # The tokens that share a span have the whole of it if they don't spell it exactly.
        start, place = found
        parts = _align_exactly(text[start:place], pieces) if len(pieces) > 1 else []
        spans += [part and (start + part[0], start + part[1]) for part in parts] or [found] * len(pieces)
    return spans


def _whole_characters(data: Sequence[bytes]) -> Iterator[tuple[str, Sequence[bytes]]]:
    """The tokens in the smallest groups that end at a character boundary, each with the text that it spells."""
    decoder = getincrementaldecoder("utf-8")("replace")
    spelled, first = "", 0
    for index, piece in enumerate(data):
        spelled += decoder.decode(piece)
        waiting, _ = decoder.getstate()
        if not waiting:
            yield spelled, data[first : index + 1]
            spelled, first = "", index + 1
    if first < len(data):
        yield spelled + decoder.decode(b"", final=True), data[first:]


class _FoldedText:
    """A text in lower case and without accents, for searching."""

    def __init__(self, text: str) -> None:
        parts = [(part, index) for index, character in enumerate(text) for part in _fold(character)]
        self._plain = "".join(part for part, _ in parts)
        self._origins = [index for _, index in parts]

    def find(self, wanted: str, start: int) -> Span | None:
        """The first characters of the text from `start` on that look like `wanted`, if they are near."""
        wanted = "".join(map(_fold, wanted.strip()))
        first = bisect_left(self._origins, start)
        found = self._plain.find(wanted, first, first + len(wanted) + _SEARCH_REACH) if wanted else -1
        return None if found < 0 else (self._origins[found], self._origins[found + len(wanted) - 1] + 1)


def _fold(character: str) -> str:
    folded = unicodedata.normalize("NFKD", character).casefold()
    return "".join(part for part in folded if not unicodedata.combining(part))


# --- Counts


#: Roughly the Unicode blocks of scripts without spaces: a text without any of these needs no closer look.
_MAY_BE_UNSPACED = (
    "[\u0e00-\u109f\u1780-\u1aaf\u1b00-\u1b7f\u203c\u2049\u2150-\u2bff\u2e50-\ua4cf\ua830-\ua83f\ua980-\uaadf"
    "\uf900-\ufaff\uff66-\uff9f\uffe0-\uffef\U00010100-\U000101ff\U00011700-\U0001174f\U00016fe0-\U0003ffff]"
)


def measure(encoded: EncodedText, texts: Sequence[str] = (), *, unknown_id: int | None = None) -> TokenStats:
    """The counts and ratios of one text.

    texts: the text, and its pair if any; empty for ids that were given without a text.
    unknown_id: the id of the tokenizer's unknown token, if it has one.
    """
    placed = list(zip(encoded.sequences, encoded.tokens, strict=True))
    own = [token for sequence, token in placed if sequence is not None or not token.special]
    characters, size = sum(map(len, texts)), sum(len(text.encode("utf-8")) for text in texts)
    # Compiled only when needed, as that takes as long as everything else here.
    unspaced = any(not text.isascii() and re.search(_MAY_BE_UNSPACED, text) for text in texts)
    count_words = _count_by_script if unspaced else _count_words
    spaced = count_words(placed, texts) if texts else _WordCounts(len(own))
    unknown_tokens = [token for token in own if token.id == unknown_id]
    unknown_characters = sum((token.end or 0) - (token.start or 0) for token in unknown_tokens)
    return TokenStats(
        tokens=len(own),
        special_tokens=len(encoded.tokens) - len(own),
        words=spaced.words,
        characters=characters,
        bytes=size,
        bytes_per_token=ratio(size, len(own)) if texts else None,
        characters_per_token=ratio(characters, len(own)) if texts else None,
        fertility=ratio(spaced.tokens, spaced.words),
        continued_words=spaced.continued,
        continued_words_share=ratio(spaced.continued, spaced.words),
        unknown=len(unknown_tokens),
        unknown_share=ratio(len(unknown_tokens), len(own)),
        spaced_tokens=spaced.tokens,
        spaced_words=spaced.words,
        unspaced_scripts=spaced.left_out,
        unknown_characters=min(unknown_characters, characters),
        words_unspaced=spaced.unspaced,
    )


class _WordCounts(NamedTuple):
    """Counts in scripts with spaces; unspaced: runs of non-space in those that are left out."""

    tokens: int
    words: int = 0
    continued: int = 0
    unspaced: int = 0
    left_out: tuple[str, ...] = ()


def _count_words(placed: Sequence[tuple[int | None, Token]], texts: Sequence[str]) -> _WordCounts:
    """Tokens and words of texts that are all in scripts with spaces."""
    tokens = words = continued = 0
    for number, text in enumerate(texts):
        spans = _spans_of(placed, number)
        found = word_spans(text)
        tokens, words = tokens + len(spans), words + len(found)
        pieces = tokens_per_word(text, sorted(span for span in spans if span is not None), found)
        continued += sum(count > 1 for count in pieces)
    return _WordCounts(tokens, words, continued)


def _count_by_script(placed: Sequence[tuple[int | None, Token]], texts: Sequence[str]) -> _WordCounts:
    """Tokens and words of those parts of the texts that are in scripts with spaces, as `--stats` counts them."""
    # Imported here because it is slow and few texts need it.
    from attncli.tokens.scripts import UNSPACED, RunCounts, add_counts, count_by_script

    runs: list[RunCounts] = []
    for number, text in enumerate(texts):
        spans = _spans_of(placed, number)
        runs += count_by_script(text, spans, [False] * len(spans)).runs
    left_out: Counter[str] = Counter()
    for run in runs:
        left_out[run.script] += run.characters if run.script in UNSPACED else 0
    spaced = add_counts("", (run for run in runs if run.script not in UNSPACED))
    unspaced = sum(run.words_unspaced for run in runs)
    scripts = tuple(script for script, characters in left_out.most_common() if characters)
    return _WordCounts(spaced.tokens, spaced.words, spaced.continued, unspaced, scripts)


def _spans_of(placed: Sequence[tuple[int | None, Token]], number: int) -> list[tuple[int, int] | None]:
    """The characters of each token of one text; None where they weren't found."""
    own = (token for sequence, token in placed if sequence == number)
    return [None if token.start is None or token.end is None else (token.start, token.end) for token in own]
