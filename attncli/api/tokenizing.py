"""Tokenize a stream of texts, ids or conversations under one or several models.

Each text becomes a record, one at a time, so that memory does not grow with the number of texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain, tee
from typing import TYPE_CHECKING, NamedTuple

from attncli.api.loading import LoadedTokenizer, open_tokenizers, tokenizer_provenance
from attncli.api.requests import TokenizeRequest
from attncli.choices import CHECKS
from attncli.errors import UsageError
from attncli.models.tokenizers.types import Encoding
from attncli.progress import Progress, silent
from attncli.results.tokenize import IdsPart, Record, Source, TokenizedText, TokenizeResult
from attncli.tokens.encode import check_text, count_unspelled, covered_texts, encode, from_ids, measure, was_cut

if TYPE_CHECKING:
    from attncli.models.chat.chat_text import ChatText
    from attncli.models.chat.sandbox import Sandbox
    from attncli.models.chat.template import Conversation
    from attncli.models.tokenizers.types import Tokenizer
    from attncli.results.vocabulary import VocabularyEntry
    from attncli.tokens.explain import Explainer
    from attncli.tokens.statistics import Statistics

#: A text with fewer tokens than this is looked at again: they may all be special ones.
_FEW_TOKENS = 8


class TextInput(NamedTuple):
    """One text, perhaps with a second one (`pair`); or ids; or a conversation for the chat template of each model.

    source: where the text was read.
    """

    text: str = ""
    pair: str | None = None
    ids: Sequence[int] | None = None
    conversation: Conversation | None = None
    source: Source | None = None

    @property
    def texts(self) -> list[str]:
        """The text and its pair; empty for ids."""
        return [] if self.ids is not None else [each for each in (self.text, self.pair) if each is not None]


@contextmanager
def open_text_tokenizer(request: TokenizeRequest, progress: Progress = silent) -> Iterator[TextTokenizer]:
    """Load the tokenizers, ready for texts.

    Raises UsageError for options that contradict each other and for something that isn't a model's name, ModelError for
    a tokenizer that can't be loaded.
    """
    _check_request(request)
    with _sandbox(request.chat) as sandbox:
        tokenizers = open_tokenizers(request, progress)
        if request.special_as_text:
            tokenizers = tuple(
                loaded._replace(tokenizer=require_tokenizer(loaded).with_special_as_text()) for loaded in tokenizers
            )
        if "same" in request.check and len(tokenizers) < 2:
            raise UsageError("--check same compares models, and there is one", hint="name two or more, each with -m")
        render = None
        if sandbox is not None:
            from attncli.api.text_details import chat_renderer

            render = chat_renderer(tokenizers, sandbox, request)
        yield TextTokenizer(tokenizers, request, render)


def _sandbox(chat: bool) -> AbstractContextManager[Sandbox | None]:
    """The child process that renders chat templates; it starts while tokenizers are loaded."""
    if not chat:
        return nullcontext()
    from attncli.models.chat.sandbox import Sandbox

    return Sandbox()


def _check_request(request: TokenizeRequest) -> None:
    if (request.template is not None or request.generation_prompt) and not request.chat:
        flag = "--generation-prompt" if request.template is None else "--template"
        raise UsageError(f"{flag} needs a conversation", hint=f"add --chat, or leave {flag} out")
    unknown = [name for name in request.check if name not in CHECKS]
    if unknown:
        raise UsageError(f"--check can't be {unknown[0]!r}", hint=f"it has to be {' or '.join(CHECKS)}")
    if request.special_as_text and (request.chat or not request.needs_tokenizer):
        other = "--chat, whose template writes special tokens" if request.chat else "token ids"
        raise UsageError(f"--special-as-text can't be combined with {other}", hint="leave --special-as-text out")


class TextTokenizer:
    """Tokenizes texts with every tokenizer, and collects warnings, statistics and checks for the end."""

    def __init__(
        self,
        tokenizers: Sequence[LoadedTokenizer],
        request: TokenizeRequest,
        render: Callable[[Conversation, LoadedTokenizer], ChatText] | None,
    ) -> None:
        self.request = request
        self._tokenizers = tuple(tokenizers)
        self._render = render
        self._explainers: dict[int, Explainer] = {}
        self._lengths = LengthWarnings()
        self._losses = LossWarnings()
        self._warnings: dict[str, None] = {}
        self._differing: set[int] = set()
        #: A sentence for each failed check so far.
        self.failures: tuple[str, ...] = ()
        self._statistics: dict[int, Statistics] | None = None
        if request.stats:
            from attncli.tokens.statistics import Statistics

            self._statistics = {id(loaded): Statistics(loaded.model, loaded.tokenizer) for loaded in tokenizers}

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(loaded.model for loaded in self._tokenizers)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on the tokenizers."""
        return tuple(note for loaded in self._tokenizers for note in loaded.notes)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about the texts so far."""
        return (*self._warnings, *self._losses.warnings(), *self._lengths.warnings())

    @property
    def can_stream(self) -> bool:
        """Whether one text can be tokenized in parts: with one model and without truncation."""
        return len(self._tokenizers) == 1 and not self.request.encoding.truncate

    def records(self, inputs: Iterable[TextInput]) -> Iterator[Record]:
        """Every text under every model. Raises UsageError for ids that the vocabulary does not have."""
        for index, each in enumerate(inputs):
            texts = tuple(self._tokenize(each, loaded, index) for loaded in self._tokenizers)
            record = Record(index, texts)
            if len(texts) > 1 or self.request.check:
                from attncli.api.text_details import compare_models, failed_checks

                record = record._replace(comparison=compare_models(texts))
                self.failures += tuple(failed_checks(record, self.request.check))
            yield record

    def ids(self, texts: Iterable[str]) -> Iterator[IdsPart]:
        """Only the ids of every text under every model: the fast way, in batches on all cores."""
        from attncli.models.tokenizers.long_text import encode_many

        special = self.request.special
        originals, *copies = tee(_check_each(texts), 1 + len(self._tokenizers))
        streams = [
            encode_many(require_tokenizer(loaded), copy, special=special)
            for loaded, copy in zip(self._tokenizers, copies, strict=True)
        ]
        for record, (text, *encoded) in enumerate(zip(originals, *streams, strict=True)):
            for loaded, ids in zip(self._tokenizers, encoded, strict=True):
                self._compare_with_file(loaded, text)
                self._look_for_losses(loaded, text, len(ids))
                tokenizer, found = require_tokenizer(loaded), ids
                limit = tokenizer.max_length
                cut = self.request.encoding.truncate and limit is not None and len(ids) > limit
                if cut:
                    found = tokenizer.encode(text, special=special, truncate=True).ids
                self._lengths.add(record, loaded.model, len(found), limit, cut=cut)
                yield IdsPart(record, loaded.model, found)

    def stream_ids(self, record: int, blocks: Iterable[str]) -> Iterator[IdsPart]:
        """Only the ids of one text of any size with the one tokenizer, part by part."""
        from attncli.models.tokenizers.long_text import encode_stream

        (loaded,) = self._tokenizers
        tokenizer = require_tokenizer(loaded)
        tokens, first = 0, True
        blocks = iter(_check_each(blocks))
        start = next(blocks, "")
        self._compare_with_file(loaded, start)
        parts = encode_stream(tokenizer, chain([start], blocks), special=self.request.special)
        # Without special tokens, the part before the text is empty: `first` belongs to the first part with ids.
        for ids in filter(None, parts):
            yield IdsPart(record, loaded.model, ids, first=first, last=False)
            tokens, first = tokens + len(ids), False
        yield IdsPart(record, loaded.model, (), first=first)
        self._lengths.add(record, loaded.model, tokens, tokenizer.max_length, cut=False)
        self._look_for_losses(loaded, start, tokens)

    def count(self, inputs: Iterable[TextInput]) -> None:
        """Add every text to the statistics only, which is faster than `records`."""
        for index, each in enumerate(inputs):
            for loaded in self._tokenizers:
                if each.ids is None and each.conversation is None:
                    for text in each.texts:
                        check_text(text)
                    self._count(each, loaded, self.request)
                else:
                    self._tokenize(each, loaded, index)

    def vocabulary_entries(self) -> Iterator[tuple[str, VocabularyEntry]]:
        """Every entry of every vocabulary, with the name of its model."""
        from attncli.tokens.vocabulary import vocabulary_rows

        for loaded in self._tokenizers:
            for entry in vocabulary_rows(require_tokenizer(loaded)):
                yield loaded.model, entry

    def vocabulary_summary(self, search: Sequence[str] = ()) -> TokenizeResult:
        """A result with a description of every vocabulary, and the entries that match each text of `search`."""
        from attncli.tokens.vocabulary import describe_vocabulary

        lint = self.request.lint
        vocabularies = tuple(
            describe_vocabulary(require_tokenizer(loaded), model=loaded.model, search=search, lint=lint)
            for loaded in self._tokenizers
        )
        return TokenizeResult((), tokenizer_provenance(self._tokenizers), self.notes, vocabularies=vocabularies)

    def summary(self) -> TokenizeResult:
        """A result with everything about all texts together, without the texts."""
        result = TokenizeResult((), tokenizer_provenance(self._tokenizers), (*self.notes, *self.warnings))
        if self._statistics is not None:
            from attncli.tokens.statistics import parity

            statistics = tuple(each.result() for each in self._statistics.values())
            result = result._replace(statistics=statistics, parity=parity(statistics))
        if self.request.lint:
            from attncli.tokens.vocabulary import find_unreachable

            found = (find_unreachable(each.tokenizer) for each in self._tokenizers if each.tokenizer is not None)
            result = result._replace(unreachable=tuple(found))
        if self.request.check:
            result = result._replace(failures=self.failures)
        return result

    def _tokenize(self, given: TextInput, loaded: LoadedTokenizer, record: int) -> TokenizedText:
        request, chat = self.request, None
        if self._render is not None and given.conversation is not None:
            chat = self._render(given.conversation, loaded)
            given = TextInput(chat.text)
            # The chat template contains the special tokens already.
            request = request._replace(encoding=request.encoding._replace(no_special=True))
            self._warnings.update(dict.fromkeys(chat.warnings))
        text, cut = _tokenize_text(given, loaded, record, request)
        for number, each in enumerate(given.texts):
            self._compare_with_file(loaded, each)
            self._losses.add(loaded, each, _spans_of(text, number))
        self._lengths.add(record, loaded.model, len(text.tokens), text.max_length, cut=cut)
        if request.stats:
            self._count(given, loaded, request)
        return self._add_details(text, loaded, chat)

    def _add_details(self, text: TokenizedText, loaded: LoadedTokenizer, chat: ChatText | None) -> TokenizedText:
        if chat is None and not (self.request.needs_tokens and loaded.tokenizer):
            return text
        from attncli.api.text_details import add_details

        return add_details(text, require_tokenizer(loaded), chat, self.request, self._explainers)

    def _count(self, given: TextInput, loaded: LoadedTokenizer, request: TokenizeRequest) -> None:
        assert self._statistics is not None
        truncate = request.encoding.truncate
        if given.ids is None:
            encoding = require_tokenizer(loaded).encode(
                given.text, pair=given.pair, special=request.special, truncate=truncate
            )
        else:
            ids = given.ids[: _max_tokens(loaded)] if truncate else given.ids
            encoding = Encoding(ids, [None] * len(ids), [0] * len(ids), [None] * len(ids))
        for text in given.texts:
            self._compare_with_file(loaded, text)
            self._look_for_losses(loaded, text, len(encoding.ids))
        self._statistics[id(loaded)].add(encoding, given.texts, truncated=truncate)

    def _compare_with_file(self, loaded: LoadedTokenizer, text: str) -> None:
        """Warn, once, where the tokenizer's class gives a text other ids than its tokenizer.json would alone."""
        tokenizer = loaded.tokenizer
        if tokenizer is None or id(loaded) in self._differing or not tokenizer.differs_from_file(text):
            return
        self._differing.add(id(loaded))
        warning = f"{loaded.model}: its class {tokenizer.class_name} gives other token ids than its tokenizer.json"
        self._warnings[f"{warning} (-m FOLDER/tokenizer.json uses only the file)"] = None

    def _look_for_losses(self, loaded: LoadedTokenizer, text: str, tokens: int) -> None:
        """As `_losses.add`, where only ids are wanted: for a text that has hardly any tokens."""
        if tokens < _FEW_TOKENS and text.strip():
            encoding = require_tokenizer(loaded).encode(text, special=False)
            self._losses.add(loaded, text, encoding.spans)


def _tokenize_text(
    given: TextInput, loaded: LoadedTokenizer, record: int, request: TokenizeRequest
) -> tuple[TokenizedText, bool]:
    """One text in the tokens of one model, and whether it was truncated."""
    tokenizer, limit, texts, truncate = loaded.tokenizer, _max_tokens(loaded), given.texts, request.encoding.truncate
    if given.ids is not None:
        encoded = from_ids(tokenizer, given.ids[:limit] if truncate else given.ids)
        truncated = len(encoded.tokens) < len(given.ids)
    else:
        encoded = encode(
            require_tokenizer(loaded), given.text, pair=given.pair, special=request.special, truncate=truncate
        )
        truncated = truncate and len(encoded.tokens) == limit and was_cut(encoded, texts)
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


def _max_tokens(loaded: LoadedTokenizer) -> int | None:
    """How many tokens the model takes; None where its tokenizer doesn't say."""
    return loaded.tokenizer.max_length if loaded.tokenizer is not None else None


def require_tokenizer(loaded: LoadedTokenizer) -> Tokenizer:
    """The tokenizer. Raises UsageError where the model has none: only ids can be shown without."""
    if loaded.tokenizer is None:
        raise UsageError(f"{loaded.model} has no tokenizer", hint="give token ids instead of a text: --input-ids")
    return loaded.tokenizer


def _spans_of(text: TokenizedText, number: int) -> list[tuple[int, int] | None]:
    """The characters of each token of one text of an input; None where they aren't known."""
    own = (token for token, sequence in zip(text.tokens, text.sequences, strict=True) if sequence == number)
    return [None if token.start is None or token.end is None else (token.start, token.end) for token in own]


def _check_each(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        check_text(text)
        yield text


# --- Warnings


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
            which = "the text"
            if count == 1 and self._texts > 1:
                which = f"text {record + 1} of {self._texts:,}"
            elif self._texts > 1:
                which = f"{count:,} of {self._texts:,} texts (text {record + 1} first)"
            if cut:
                verb = "were" if count > 1 else "was"
                yield f"{which} {verb} truncated to the {limit:,} tokens that {model} accepts"
            elif count == 1:
                yield (
                    f"{which} has {tokens:,} tokens, and {model} accepts at most {limit:,} (add --truncate to "
                    "shorten it)"
                )
            else:
                yield (
                    f"{which} have more than the {limit:,} tokens that {model} accepts (add --truncate to shorten them)"
                )


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
            them = "it" if characters == 1 else "them"
            yield f"{model} has no token for {counted} of {where} and drops {them}"
