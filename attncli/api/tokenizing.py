"""Tokenize a stream of texts or conversations under one or several models.

Each text becomes a record, one at a time, so that memory does not grow with the number of texts. Conversations are
rendered with the chat template of each model first (`conversations`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain, tee
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attncli.api.cutting import (
    CHECKS,
    LengthWarnings,
    LossWarnings,
    TextInput,
    TokenizeSettings,
    check_input,
    encode_input,
    input_texts,
    require_tokenizer,
    tokenize_text,
)
from attncli.api.loading import LoadedTokenizer, open_tokenizers, tokenizer_provenance
from attncli.errors import UsageError
from attncli.progress import Progress, silent
from attncli.results.tokenize import IdsPart, Record, TokenizedText, TokenizeResult
from attncli.results.tokens import Token
from attncli.tokens.encode import check_text

if TYPE_CHECKING:
    from attncli.api.conversations import ChatRenderer
    from attncli.api.text_details import TextChecks, TextDetails
    from attncli.models.chat.chat_text import ChatText
    from attncli.models.chat.sandbox import Sandbox
    from attncli.results.vocabulary import Unreachable, Vocabulary, VocabularyEntry
    from attncli.tokens.statistics import Statistics


#: A text with fewer tokens than this is looked at again: they may all be special ones.
_FEW_TOKENS = 8


class TextTokenizer:
    """Tokenizes texts with every tokenizer, and collects warnings, statistics and checks for the end."""

    def __init__(
        self,
        tokenizers: Sequence[LoadedTokenizer],
        settings: TokenizeSettings,
        *,
        chat_renderer: ChatRenderer | None = None,
    ) -> None:
        self.settings = settings
        self._tokenizers = tuple(tokenizers)
        self._chat_renderer = chat_renderer
        self._details: TextDetails | None = None
        self._lengths = LengthWarnings()
        self._losses = LossWarnings()
        self._warnings: dict[str, None] = {}
        self._differing: set[int] = set()
        self._checks = _open_checks(settings)
        self._statistics = _open_statistics(tokenizers) if settings.stats else None

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
    def failures(self) -> tuple[str, ...]:
        """A sentence for each failed check so far."""
        return self._checks.failures if self._checks is not None else ()

    @property
    def can_stream(self) -> bool:
        """Whether one text can be tokenized in parts: with one model and without truncation."""
        return len(self._tokenizers) == 1 and not self.settings.truncate

    def records(self, inputs: Iterable[TextInput]) -> Iterator[Record]:
        """Every text under every model. Raises UsageError for ids that the vocabulary does not have."""
        for index, each in enumerate(inputs):
            texts = tuple(self._tokenize(each, loaded, index) for loaded in self._tokenizers)
            record = Record(index, texts)
            yield self._compare(record) if len(texts) > 1 or self.settings.check else record

    def ids(self, texts: Iterable[str]) -> Iterator[IdsPart]:
        """Only the ids of every text under every model: the fast way, in batches on all cores."""
        from attncli.models.tokenizers.long_text import encode_many

        special = self.settings.special
        originals, *copies = tee(_check_each(texts), 1 + len(self._tokenizers))
        streams = [
            encode_many(require_tokenizer(loaded), copy, special=special)
            for loaded, copy in zip(self._tokenizers, copies, strict=True)
        ]
        for record, (text, *encoded) in enumerate(zip(originals, *streams, strict=True)):
            for loaded, ids in zip(self._tokenizers, encoded, strict=True):
                self._compare_with_file(loaded, text)
                self._look_for_losses(loaded, text, len(ids))
                yield IdsPart(record, loaded.model, self._truncate(text, ids, loaded, record))

    def stream_ids(self, record: int, blocks: Iterable[str]) -> Iterator[IdsPart]:
        """Only the ids of one text of any size with the one tokenizer, part by part."""
        from attncli.models.tokenizers.long_text import encode_stream

        (loaded,) = self._tokenizers
        tokenizer = require_tokenizer(loaded)
        tokens, first = 0, True
        blocks = iter(_check_each(blocks))
        start = next(blocks, "")
        self._compare_with_file(loaded, start)
        parts = encode_stream(tokenizer, chain([start], blocks), special=self.settings.special)
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
                    check_input(each)
                    self._count(each, loaded, self.settings)
                else:
                    self._tokenize(each, loaded, index)

    def vocabularies(self, search: Sequence[str] = ()) -> tuple[Vocabulary, ...]:
        """A description of every model's vocabulary, and the entries that match each text of `search`."""
        from attncli.tokens.vocabulary import describe_vocabulary

        lint = self.settings.lint
        return tuple(
            describe_vocabulary(require_tokenizer(loaded), model=loaded.model, search=search, lint=lint)
            for loaded in self._tokenizers
        )

    def vocabulary_entries(self) -> Iterator[tuple[str, VocabularyEntry]]:
        """Every entry of every vocabulary, with the name of its model."""
        from attncli.tokens.vocabulary import vocabulary_rows

        for loaded in self._tokenizers:
            for entry in vocabulary_rows(require_tokenizer(loaded)):
                yield loaded.model, entry

    def vocabulary_summary(self, search: Sequence[str] = ()) -> TokenizeResult:
        """A result with the vocabularies and no texts."""
        result = TokenizeResult((), tokenizer_provenance(self._tokenizers), self.notes)
        return result._replace(vocabularies=self.vocabularies(search))

    def summary(self) -> TokenizeResult:
        """A result with everything about all texts together, without the texts."""
        result = TokenizeResult((), tokenizer_provenance(self._tokenizers), (*self.notes, *self.warnings))
        if self._statistics is not None:
            from attncli.tokens.statistics import parity

            statistics = tuple(each.result() for each in self._statistics.values())
            result = result._replace(statistics=statistics, parity=parity(statistics))
        if self.settings.lint:
            result = result._replace(unreachable=self._unreachable())
        if self._checks is not None:
            result = result._replace(failures=self.failures)
        return result

    def _compare(self, record: Record) -> Record:
        from attncli.api.text_details import compare_models

        record = record._replace(comparison=compare_models(record.texts))
        if self._checks is not None:
            self._checks.add(record)
        return record

    def _unreachable(self) -> tuple[Unreachable, ...]:
        from attncli.tokens.vocabulary import find_unreachable

        return tuple(find_unreachable(loaded.tokenizer) for loaded in self._tokenizers if loaded.tokenizer is not None)

    def _tokenize(self, given: TextInput, loaded: LoadedTokenizer, record: int) -> TokenizedText:
        settings = self.settings
        chat = None
        if self._chat_renderer is not None and given.conversation is not None:
            chat = self._chat_renderer.render(given.conversation, loaded)
            given = TextInput(chat.text)
            # The chat template contains the special tokens already.
            settings = settings._replace(special=False)
            self._warnings.update(dict.fromkeys(chat.warnings))
        text, cut = tokenize_text(given, loaded, record, settings)
        for number, each in enumerate(input_texts(given)):
            self._compare_with_file(loaded, each)
            self._losses.add(loaded, each, _spans_of(text.tokens, text.sequences, number))
        self._lengths.add(record, loaded.model, len(text.tokens), text.max_length, cut=cut)
        if settings.stats:
            self._count(given, loaded, settings)
        return self._add_details(text, loaded, chat)

    def _add_details(self, text: TokenizedText, loaded: LoadedTokenizer, chat: ChatText | None) -> TokenizedText:
        if chat is None and not (self.settings.needs_tokens and loaded.tokenizer):
            return text
        if self._details is None:
            from attncli.api.text_details import TextDetails

            self._details = TextDetails(self.settings)
        return self._details.add(text, require_tokenizer(loaded), chat)

    def _count(self, given: TextInput, loaded: LoadedTokenizer, settings: TokenizeSettings) -> None:
        assert self._statistics is not None
        encoding = encode_input(given, loaded, settings)
        for text in input_texts(given):
            self._compare_with_file(loaded, text)
            self._look_for_losses(loaded, text, len(encoding.ids))
        self._statistics[id(loaded)].add(encoding, input_texts(given), truncated=settings.truncate)

    def _compare_with_file(self, loaded: LoadedTokenizer, text: str) -> None:
        """Warn, once, where the tokenizer's class gives a text other ids than its tokenizer.json would alone."""
        tokenizer = loaded.tokenizer
        if tokenizer is None or id(loaded) in self._differing or not tokenizer.differs_from_file(text):
            return
        self._differing.add(id(loaded))
        warning = f"{loaded.model}: its class {tokenizer.class_name} gives other ids than its tokenizer.json alone"
        self._warnings[f"{warning} (-m FOLDER/tokenizer.json reads the file alone)"] = None

    def _look_for_losses(self, loaded: LoadedTokenizer, text: str, tokens: int) -> None:
        """As `_losses.add`, where only ids are wanted: for a text that has hardly any tokens."""
        if tokens < _FEW_TOKENS and text.strip():
            encoding = require_tokenizer(loaded).encode(text, special=False)
            self._losses.add(loaded, text, encoding.spans)

    def _truncate(self, text: str, ids: Sequence[int], loaded: LoadedTokenizer, record: int) -> Sequence[int]:
        """The ids of a text, truncated to what the model takes if the settings say so."""
        tokenizer = require_tokenizer(loaded)
        limit = tokenizer.max_length
        cut = self.settings.truncate and limit is not None and len(ids) > limit
        if cut:
            ids = tokenizer.encode(text, special=self.settings.special, truncate=True).ids
        self._lengths.add(record, loaded.model, len(ids), limit, cut=cut)
        return ids


@contextmanager
def open_text_tokenizer(
    model: str | Path | Sequence[str | Path] | None = None,
    *,
    tokenizer: Any = None,
    needs_tokenizer: bool = True,
    no_special: bool = False,
    truncate: bool = False,
    chat: bool = False,
    template: str | None = None,
    generation_prompt: bool = False,
    special_as_text: bool = False,
    why: bool = False,
    lint: bool = False,
    stats: bool = False,
    check: Sequence[str] = (),
    revision: str | None = None,
    refresh: bool = False,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    progress: Progress = silent,
) -> Iterator[TextTokenizer]:
    """Load the tokenizers, ready for texts; the keywords are those of `attncli.tokenize`.

    needs_tokenizer: whether a model without a tokenizer is an error; without one, ids are shown as numbers.
    Raises UsageError for something that isn't a model's name, ModelError for a tokenizer that can't be loaded.
    """
    settings = TokenizeSettings(not no_special, truncate, why, lint, stats, tuple(check))
    _check_settings(settings, chat=chat, chat_options=template is not None or generation_prompt)
    if special_as_text and (chat or not needs_tokenizer):
        what = "a conversation's template writes its special tokens as text" if chat else "ids are no text"
        raise UsageError(f"{what}, and --special-as-text is for texts", hint="leave --special-as-text out")
    with _sandbox(chat) as sandbox:
        tokenizers = open_tokenizers(
            model,
            tokenizer=tokenizer,
            needed=needs_tokenizer,
            revision=revision,
            refresh=refresh,
            trust_remote_code=trust_remote_code,
            progress=progress,
        )
        if special_as_text:
            tokenizers = tuple(_reading_special_as_text(loaded) for loaded in tokenizers)
        if "same" in settings.check and len(tokenizers) < 2:
            raise UsageError("--check same compares models, and there is one", hint="name two or more, each with -m")
        renderer = None
        if sandbox is not None:
            from attncli.api.conversations import ChatRenderer

            renderer = ChatRenderer(tokenizers, sandbox, template=template, generation_prompt=generation_prompt)
        yield TextTokenizer(tokenizers, settings, chat_renderer=renderer)


def _reading_special_as_text(loaded: LoadedTokenizer) -> LoadedTokenizer:
    return loaded._replace(tokenizer=require_tokenizer(loaded).with_special_as_text())


def _sandbox(chat: bool) -> AbstractContextManager[Sandbox | None]:
    """The child process that renders chat templates; it starts while tokenizers are loaded."""
    if not chat:
        return nullcontext()
    from attncli.models.chat.sandbox import Sandbox

    return Sandbox()


def _check_settings(settings: TokenizeSettings, *, chat: bool, chat_options: bool) -> None:
    """chat_options: whether an option was given that only a conversation can have."""
    if chat_options and not chat:
        raise UsageError("--template and --generation-prompt are for conversations", hint="add --chat, or leave it out")
    unknown = [name for name in settings.check if name not in CHECKS]
    if unknown:
        raise UsageError(f"there is no check {unknown[0]!r}", hint=f"--check takes {' or '.join(CHECKS)}")


def _open_checks(settings: TokenizeSettings) -> TextChecks | None:
    if not settings.check:
        return None
    from attncli.api.text_details import TextChecks

    return TextChecks(settings.check)


def _open_statistics(tokenizers: Sequence[LoadedTokenizer]) -> dict[int, Statistics]:
    from attncli.tokens.statistics import Statistics

    return {id(loaded): Statistics(loaded.model, loaded.tokenizer) for loaded in tokenizers}


def _spans_of(tokens: Sequence[Token], sequences: Sequence[int | None], number: int) -> list[tuple[int, int] | None]:
    """The characters of each token of one text of an input; None where they aren't known."""
    own = (token for token, sequence in zip(tokens, sequences, strict=True) if sequence == number)
    return [None if token.start is None or token.end is None else (token.start, token.end) for token in own]


def _check_each(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        check_text(text)
        yield text
