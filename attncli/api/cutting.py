"""Ids of tokens as a caller of the Python functions may hand them over.

Texts that are longer than their model takes, and texts that were cut to fit: one sentence for each kind.

One text, or ids, in the tokens of one model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import index
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli.api.loading import LoadedTokenizer
from attncli.errors import UsageError
from attncli.models.tokenizers.types import Encoding
from attncli.results.tokenize import Source, TokenizedText
from attncli.tokens.encode import check_text, covered_texts, encode, from_ids, was_cut
from attncli.tokens.measure import measure

if TYPE_CHECKING:
    from attncli.models.chat.template import Conversation
    from attncli.models.tokenizers.types import Tokenizer


def id_lists(ids: Any) -> list[list[int]]:
    """One list of ids, or several; also as an array or a tensor. Raises UsageError for anything else."""
    given = ids.tolist() if hasattr(ids, "tolist") else ids
    try:
        several = all(isinstance(each, Sequence) for each in given)
        lists = [[index(number) for number in each] for each in (given if several else [given])]
    except TypeError as error:
        raise UsageError("ids have to be whole numbers", hint="give the ids of tokens, or a text") from error
    if not all(lists) or not lists:
        raise UsageError("there are no ids", hint="give some numbers, or a text")
    return lists


class LengthWarnings:
    """Counts what is too long while texts stream by, so that a million long lines are one warning."""

    def __init__(self) -> None:
        self._texts = 0
        # By model and kind: the number of texts, and the first of them with its tokens and the model's limit.
        self._found: dict[tuple[str, bool], tuple[int, int, int, int]] = {}

    def see(self, record: int, model: str, tokens: int, limit: int | None, *, cut: bool) -> None:
        """Take note of one text under one model; `cut`: what was beyond the limit is left out."""
        self._texts = max(self._texts, record + 1)
        if limit is not None and (cut or tokens > limit):
            count, *first = self._found.get((model, cut), (0, record, tokens, limit))
            self._found[model, cut] = (count + 1, first[0], first[1], first[2])

    def warnings(self) -> Iterator[str]:
        for (model, cut), (count, record, tokens, limit) in self._found.items():
            which = self._which(count, record)
            if cut:
                verb = "were" if count > 1 else "was"
                yield f"{which} {verb} cut to the {limit:,} tokens that {model} takes"
            elif count == 1:
                yield f"{which} has {tokens:,} tokens and {model} takes {limit:,} (--truncate cuts it)"
            else:
                yield f"{which} have more tokens than the {limit:,} that {model} takes (--truncate cuts them)"

    def _which(self, count: int, record: int) -> str:
        if self._texts == 1:
            return "the text"
        if count == 1:
            return f"text {record + 1} of {self._texts:,}"
        return f"{count:,} of {self._texts:,} texts (text {record + 1} first)"


#: What can be checked: that all models make the same tokens, that there is nothing to mend in a text.
CHECKS = ("same", "lint")


class TextInput(NamedTuple):
    """One text, and the pair beside it; or ids; or a conversation, for the chat template of each model.

    source: where the text was read.
    """

    text: str = ""
    pair: str | None = None
    ids: Sequence[int] | None = None
    conversation: Conversation | None = None
    source: Source | None = None


class TokenizeSettings(NamedTuple):
    """How texts are cut, and what is wanted of them besides their tokens; the names are keywords of the verb.

    special: with the special tokens that the model expects.  truncate: cut to the tokens that it takes.
    why, lint, stats: see `attncli.tokenize`.  check: what has to hold, of `CHECKS`.
    """

    special: bool = True
    truncate: bool = False
    why: bool = False
    lint: bool = False
    stats: bool = False
    check: tuple[str, ...] = ()

    @property
    def needs_tokens(self) -> bool:
        """Whether ids alone are not enough."""
        return self.why or self.lint or self.stats or bool(self.check)


def input_texts(given: TextInput) -> list[str]:
    """The text and the pair beside it; none for ids."""
    return [] if given.ids is not None else [each for each in (given.text, given.pair) if each is not None]


def check_input(given: TextInput) -> None:
    """Raise UsageError where a text holds half a character."""
    for text in input_texts(given):
        check_text(text)


def max_tokens(reader: LoadedTokenizer) -> int | None:
    """How many tokens the model takes, if it says."""
    return reader.tokenizer.max_length if reader.tokenizer is not None else None


def require_tokenizer(reader: LoadedTokenizer) -> Tokenizer:
    """Its tokenizer. Raises UsageError where there is none, as ids alone can be shown without."""
    if reader.tokenizer is None:
        raise UsageError(f"{reader.model} has no tokenizer", hint="give it ids instead of a text: --input-ids")
    return reader.tokenizer


def tokenize_text(
    given: TextInput, reader: LoadedTokenizer, record: int, settings: TokenizeSettings
) -> tuple[TokenizedText, bool]:
    """One text in the tokens of one model, and whether some of it was left out to fit."""
    tokenizer, limit = reader.tokenizer, max_tokens(reader)
    texts = input_texts(given)
    if given.ids is not None:
        encoded = from_ids(tokenizer, given.ids[:limit] if settings.truncate else given.ids)
        truncated = len(encoded.tokens) < len(given.ids)
    else:
        encoded = encode(
            require_tokenizer(reader), given.text, pair=given.pair, special=settings.special, truncate=settings.truncate
        )
        truncated = settings.truncate and len(encoded.tokens) == limit and was_cut(encoded, texts)
    unknown_id = tokenizer.unknown_id if tokenizer is not None else None
    text = TokenizedText(
        record=record,
        model=reader.model,
        text=given.text if texts else None,
        pair=given.pair,
        tokens=encoded.tokens,
        stats=measure(encoded, covered_texts(encoded, texts) if truncated else texts, unknown_id=unknown_id),
        max_length=limit,
        sequences=encoded.sequences,
        unknown_id=unknown_id,
        source=given.source,
    )
    return text, truncated


def encode_input(given: TextInput, reader: LoadedTokenizer, settings: TokenizeSettings) -> Encoding:
    """A text, or ids, as the tokenizer's own encoding: what statistics are made of."""
    if given.ids is None:
        tokenizer = require_tokenizer(reader)
        return tokenizer.encode(given.text, pair=given.pair, special=settings.special, truncate=settings.truncate)
    ids = given.ids[: max_tokens(reader)] if settings.truncate else given.ids
    return Encoding(ids, [None] * len(ids), [0] * len(ids), [None] * len(ids))
