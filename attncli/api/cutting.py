"""Tokenize one text, or look up given ids, with one model's tokenizer; the settings and length warnings for that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import index
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli.api.loading import LoadedTokenizer
from attncli.errors import UsageError
from attncli.models.tokenizers.types import Encoding
from attncli.results.tokenize import Source, TokenizedText
from attncli.tokens.encode import (
    check_text,
    count_unspelled,
    covered_texts,
    encode,
    from_ids,
    measure,
    was_cut,
)

if TYPE_CHECKING:
    from attncli.models.chat.template import Conversation
    from attncli.models.tokenizers.types import Tokenizer

#: What `--check` takes: all models give the same tokens; lint has no warnings.
CHECKS = ("same", "lint")


class TextInput(NamedTuple):
    """One text, perhaps with a second one (`pair`); or ids; or a conversation for the chat template of each model.

    source: where the text was read.
    """

    text: str = ""
    pair: str | None = None
    ids: Sequence[int] | None = None
    conversation: Conversation | None = None
    source: Source | None = None


class TokenizeSettings(NamedTuple):
    """How to tokenize texts and what to compute besides; the fields are keywords of `attncli.tokenize`.

    special: add special tokens.  truncate: cut to the number of tokens that the model takes.
    why, lint, stats: see `attncli.tokenize`.  check: names from `CHECKS`.
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


def tokenize_text(
    given: TextInput, loaded: LoadedTokenizer, record: int, settings: TokenizeSettings
) -> tuple[TokenizedText, bool]:
    """One text in the tokens of one model, and whether it was truncated."""
    tokenizer, limit = loaded.tokenizer, max_tokens(loaded)
    texts = input_texts(given)
    if given.ids is not None:
        encoded = from_ids(tokenizer, given.ids[:limit] if settings.truncate else given.ids)
        truncated = len(encoded.tokens) < len(given.ids)
    else:
        encoded = encode(
            require_tokenizer(loaded), given.text, pair=given.pair, special=settings.special, truncate=settings.truncate
        )
        truncated = settings.truncate and len(encoded.tokens) == limit and was_cut(encoded, texts)
    unknown_id = tokenizer.unknown_id if tokenizer is not None else None
    text = TokenizedText(
        record=record,
        model=loaded.model,
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


def encode_input(given: TextInput, loaded: LoadedTokenizer, settings: TokenizeSettings) -> Encoding:
    """A text, or ids, as the tokenizer's encoding, from which statistics are computed."""
    if given.ids is None:
        tokenizer = require_tokenizer(loaded)
        return tokenizer.encode(given.text, pair=given.pair, special=settings.special, truncate=settings.truncate)
    ids = given.ids[: max_tokens(loaded)] if settings.truncate else given.ids
    return Encoding(ids, [None] * len(ids), [0] * len(ids), [None] * len(ids))


def input_texts(given: TextInput) -> list[str]:
    """The text and its pair; empty for ids."""
    return [] if given.ids is not None else [each for each in (given.text, given.pair) if each is not None]


def check_input(given: TextInput) -> None:
    """Raise UsageError where a text holds a lone surrogate."""
    for text in input_texts(given):
        check_text(text)


def max_tokens(loaded: LoadedTokenizer) -> int | None:
    """How many tokens the model takes; None where its tokenizer doesn't say."""
    return loaded.tokenizer.max_length if loaded.tokenizer is not None else None


def require_tokenizer(loaded: LoadedTokenizer) -> Tokenizer:
    """The tokenizer. Raises UsageError where the model has none: only ids can be shown without."""
    if loaded.tokenizer is None:
        raise UsageError(f"{loaded.model} has no tokenizer", hint="give it ids instead of a text: --input-ids")
    return loaded.tokenizer


def id_lists(ids: Any) -> list[list[int]]:
    """One list of ids or several as a list of lists; arrays and tensors too. Raises UsageError for anything else."""
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
    """Counts texts that are too long or truncated, and makes one warning for each kind."""

    def __init__(self) -> None:
        self._texts = 0
        # By model and kind: the number of texts, and the first of them with its tokens and the model's limit.
        self._found: dict[tuple[str, bool], tuple[int, int, int, int]] = {}

    def add(self, record: int, model: str, tokens: int, limit: int | None, *, cut: bool) -> None:
        """Count one text under one model.  cut: whether it was truncated to the limit."""
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


class LossWarnings:
    """Counts characters that vocabularies have no token for, and makes one warning for each model."""

    def __init__(self) -> None:
        # By model: the number of texts and of such characters in them.
        self._found: dict[str, tuple[int, int]] = {}

    def add(self, loaded: LoadedTokenizer, text: str, spans: Sequence[tuple[int, int] | None]) -> None:
        """Look at one text under one model.  spans: the characters of its tokens."""
        if loaded.tokenizer is None or not (lost := count_unspelled(loaded.tokenizer, text, spans)):
            return
        texts, characters = self._found.get(loaded.model, (0, 0))
        self._found[loaded.model] = (texts + 1, characters + lost)

    def warnings(self) -> Iterator[str]:
        for model, (texts, characters) in self._found.items():
            where = "the text" if texts == 1 else f"{texts:,} texts"
            counted = "a character" if characters == 1 else f"{characters:,} characters"
            yield f"{model} has no token for {counted} of {where}, and leaves them out"
