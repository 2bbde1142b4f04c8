"""Conversations on their way to tokens: each model writes them with a chat template of its own.

Texts as they come -> tokens: a record at a time, so that memory does not grow with the number of texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attncli.api.cutting import (
    CHECKS,
    Lengths,
    Settings,
    TextInput,
    check_texts,
    cut_text,
    encoding_of,
    own_texts,
    tokenizer_of,
)
from attncli.api.loading import LoadedTokenizer, open_tokenizers, versions
from attncli.errors import AttnError, UsageError
from attncli.models.chat.chat_text import ChatText, render_chat
from attncli.models.chat.sandbox import Sandbox
from attncli.models.chat.template import (
    ChatFormat,
    Conversation,
    build_conversation,
    loaded_format,
    parse_conversation,
    read_format,
)
from attncli.progress import Progress, silent
from attncli.results.tokenize import IdsPart, Record, TokenizedText, TokenizeResult
from attncli.tokens.encode import check_text

if TYPE_CHECKING:
    from attncli.api.text_details import Checks, Details
    from attncli.results.vocabulary import Unreachable, Vocabulary, VocabularyEntry
    from attncli.tokens.statistics import Statistics


class Chatting:
    """The chat templates of all readers, and the child process that renders them.

    template: the name of one of several.  generation_prompt: with what makes the model answer.
    """

    def __init__(
        self, readers: Sequence[LoadedTokenizer], sandbox: Sandbox, *, template: str | None, generation_prompt: bool
    ) -> None:
        self._template = template
        self._generation_prompt = generation_prompt
        self._formats = {id(reader): _format(reader, template) for reader in readers}
        self._sandbox = sandbox

    def written(self, given: Conversation, reader: LoadedTokenizer) -> ChatText:
        """A conversation as the model of `reader` reads it. Raises as `render_chat` does."""
        return render_chat(
            given,
            self._formats[id(reader)],
            self._sandbox,
            template=self._template,
            generation_prompt=self._generation_prompt,
        )


def read_conversation(given: Any) -> Conversation:
    """JSON, or what it would hold: a list of messages, or an object with them. Raises AttnError for anything else."""
    return parse_conversation(given) if isinstance(given, str) else build_conversation(given)


def conversations(texts: Iterable[str], *, lines: bool) -> Iterator[Conversation]:
    """A conversation a text; where each is a line, blank ones are passed over, as JSON Lines allows.

    Raises as `read_conversation` does, and says in which line.
    """
    for number, text in enumerate(texts, start=1):
        if lines and not text.strip():
            continue
        try:
            yield read_conversation(text)
        except AttnError as error:
            if lines:
                error.message = f"line {number}: {error.message}"
            raise


def _format(reader: LoadedTokenizer, template: str | None) -> ChatFormat:
    if reader.files is None:
        return loaded_format(reader.given, reader.model)
    return read_format(reader.files, template)


class Tokenizing:
    """Cuts texts under every reader, and keeps count of what is said of all of them at the end."""

    def __init__(
        self, readers: Sequence[LoadedTokenizer], settings: Settings, *, chatting: Chatting | None = None
    ) -> None:
        self.settings = settings
        self._readers = tuple(readers)
        self._chatting = chatting
        self._details: Details | None = None
        self._lengths = Lengths()
        self._warnings: dict[str, None] = {}
        self._checks = _checks(settings)
        self._statistics = _statistics(readers) if settings.stats else None

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(reader.model for reader in self._readers)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of the tokenizers themselves."""
        return tuple(note for reader in self._readers for note in reader.notes)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know of the texts that went through."""
        return (*self._warnings, *self._lengths.warnings())

    @property
    def failures(self) -> tuple[str, ...]:
        """A sentence for each check that did not hold so far."""
        return self._checks.failures if self._checks is not None else ()

    @property
    def takes_parts(self) -> bool:
        """Whether one text may go through in parts: under one model, and whole."""
        return len(self._readers) == 1 and not self.settings.truncate

    def records(self, inputs: Iterable[TextInput]) -> Iterator[Record]:
        """Every text under every model. Raises UsageError for ids that the vocabulary does not have."""
        for index, each in enumerate(inputs):
            texts = tuple(self._cut(each, reader, index) for reader in self._readers)
            record = Record(index, texts)
            yield self._compared(record) if len(texts) > 1 or self.settings.check else record

    def ids(self, texts: Iterable[str]) -> Iterator[IdsPart]:
        """The bare ids of every text under every model: the fast way, batch by batch over all cores."""
        from attncli.models.tokenizers.long_text import encode_many

        special = self.settings.special
        own, *copies = tee(_checked(texts), 1 + len(self._readers))
        streams = [
            encode_many(tokenizer_of(reader), copy, special=special)
            for reader, copy in zip(self._readers, copies, strict=True)
        ]
        for record, (text, *encoded) in enumerate(zip(own, *streams, strict=True)):
            for reader, ids in zip(self._readers, encoded, strict=True):
                yield IdsPart(record, reader.model, self._fitting(text, ids, reader, record))

    def ids_of_stream(self, record: int, blocks: Iterable[str]) -> Iterator[IdsPart]:
        """The bare ids of one text of any size under the one reader, part by part."""
        from attncli.models.tokenizers.long_text import encode_stream

        (reader,) = self._readers
        tokenizer = tokenizer_of(reader)
        tokens, first = 0, True
        parts = encode_stream(tokenizer, _checked(blocks), special=self.settings.special)
        # There may be nothing before the text, where a special token might stand: the first part is one with ids.
        for ids in filter(None, parts):
            yield IdsPart(record, reader.model, ids, first=first, last=False)
            tokens, first = tokens + len(ids), False
        yield IdsPart(record, reader.model, (), first=first)
        self._lengths.see(record, reader.model, tokens, tokenizer.max_length, cut=False)

    def count(self, inputs: Iterable[TextInput]) -> None:
        """Take every text into the statistics and make nothing else of it, which is faster than `records`."""
        for index, each in enumerate(inputs):
            for reader in self._readers:
                if each.ids is None and each.conversation is None:
                    check_texts(each)
                    self._count(each, reader, self.settings)
                else:
                    self._cut(each, reader, index)

    def vocabularies(self, search: Sequence[str] = ()) -> tuple[Vocabulary, ...]:
        """The vocabulary of every model, and what it holds of each text of `search`."""
        from attncli.tokens.vocabulary import describe_vocabulary

        lint = self.settings.lint
        return tuple(
            describe_vocabulary(tokenizer_of(reader), model=reader.model, search=search, lint=lint)
            for reader in self._readers
        )

    def entries(self) -> Iterator[tuple[str, VocabularyEntry]]:
        """Every entry of every vocabulary, with the name of its model."""
        from attncli.tokens.vocabulary import vocabulary_rows

        for reader in self._readers:
            for entry in vocabulary_rows(tokenizer_of(reader)):
                yield reader.model, entry

    def summary_of_vocabularies(self, search: Sequence[str] = ()) -> TokenizeResult:
        """What is to be said of the vocabularies alone, of no text."""
        result = TokenizeResult((), versions(self._readers), self.notes)
        return result._replace(vocabularies=self.vocabularies(search))

    def summary(self) -> TokenizeResult:
        """What is to be said of all texts together; it holds none of them."""
        result = TokenizeResult((), versions(self._readers), (*self.notes, *self.warnings))
        if self._statistics is not None:
            from attncli.tokens.statistics import parity

            statistics = tuple(each.result() for each in self._statistics.values())
            result = result._replace(statistics=statistics, parity=parity(statistics))
        if self.settings.lint:
            result = result._replace(unreachable=self._unreachable())
        if self._checks is not None:
            result = result._replace(failures=self.failures)
        return result

    def _compared(self, record: Record) -> Record:
        from attncli.api.text_details import compared

        record = record._replace(comparison=compared(record.texts))
        if self._checks is not None:
            self._checks.see(record)
        return record

    def _unreachable(self) -> tuple[Unreachable, ...]:
        from attncli.tokens.vocabulary import unreachable

        return tuple(unreachable(reader.tokenizer) for reader in self._readers if reader.tokenizer is not None)

    def _cut(self, given: TextInput, reader: LoadedTokenizer, record: int) -> TokenizedText:
        settings = self.settings
        chat = None
        if self._chatting is not None and given.conversation is not None:
            chat = self._chatting.written(given.conversation, reader)
            given = TextInput(chat.text)
            # A template writes the special tokens itself.
            settings = settings._replace(special=False)
            self._warnings.update(dict.fromkeys(chat.warnings))
        text, cut = cut_text(given, reader, record, settings)
        self._lengths.see(record, reader.model, len(text.tokens), text.max_length, cut=cut)
        if settings.stats:
            self._count(given, reader, settings)
        return self._detailed(text, reader, chat)

    def _detailed(self, text: TokenizedText, reader: LoadedTokenizer, chat: ChatText | None) -> TokenizedText:
        if chat is None and not (self.settings.needs_tokens and reader.tokenizer):
            return text
        if self._details is None:
            from attncli.api.text_details import Details

            self._details = Details(self.settings)
        return self._details.of(text, tokenizer_of(reader), chat)

    def _count(self, given: TextInput, reader: LoadedTokenizer, settings: Settings) -> None:
        assert self._statistics is not None  # they were asked for
        encoding = encoding_of(given, reader, settings)
        self._statistics[id(reader)].add(encoding, own_texts(given), truncated=settings.truncate)

    def _fitting(self, text: str, ids: Sequence[int], reader: LoadedTokenizer, record: int) -> Sequence[int]:
        """The ids of a text, cut to what the model takes if that is wanted."""
        tokenizer = tokenizer_of(reader)
        limit = tokenizer.max_length
        cut = self.settings.truncate and limit is not None and len(ids) > limit
        if cut:
            ids = tokenizer.encode(text, special=self.settings.special, truncate=True).ids
        self._lengths.see(record, reader.model, len(ids), limit, cut=cut)
        return ids


@contextmanager
def open_tokenizing(
    model: str | Path | Sequence[str | Path] | None = None,
    *,
    tokenizer: Any = None,
    needs_tokenizer: bool = True,
    no_special: bool = False,
    truncate: bool = False,
    chat: bool = False,
    template: str | None = None,
    generation_prompt: bool = False,
    why: bool = False,
    lint: bool = False,
    stats: bool = False,
    check: Sequence[str] = (),
    revision: str | None = None,
    refresh: bool = False,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    progress: Progress = silent,
) -> Iterator[Tokenizing]:
    """Load the tokenizers, ready for texts; the keywords are those of `attncli.tokenize`.

    needs_tokenizer: whether a model without one is an error; ids can be shown as numbers.
    Raises UsageError for what names no model, ModelError for a tokenizer that is not to be had.
    """
    settings = Settings(not no_special, truncate, why, lint, stats, tuple(check))
    _check_settings(settings, chat=chat, asked=template is not None or generation_prompt)
    with _sandbox(chat) as sandbox:
        readers = open_tokenizers(
            model,
            tokenizer=tokenizer,
            needed=needs_tokenizer,
            revision=revision,
            refresh=refresh,
            trust_remote_code=trust_remote_code,
            progress=progress,
        )
        if "same" in settings.check and len(readers) < 2:
            raise UsageError("--check same compares models, and there is one", hint="name two or more, each with -m")
        chatting = None
        if sandbox is not None:
            chatting = Chatting(readers, sandbox, template=template, generation_prompt=generation_prompt)
        yield Tokenizing(readers, settings, chatting=chatting)


def _sandbox(chat: bool) -> AbstractContextManager[Sandbox | None]:
    """The process that chat templates are rendered in: it starts while tokenizers are read."""
    if not chat:
        return nullcontext()
    from attncli.models.chat.sandbox import Sandbox

    return Sandbox()


def _check_settings(settings: Settings, *, chat: bool, asked: bool) -> None:
    """asked: for something that only a conversation has."""
    if asked and not chat:
        raise UsageError("--template and --generation-prompt are for conversations", hint="add --chat, or leave it out")
    unknown = [name for name in settings.check if name not in CHECKS]
    if unknown:
        raise UsageError(f"there is no check {unknown[0]!r}", hint=f"--check takes {' or '.join(CHECKS)}")


def _checks(settings: Settings) -> Checks | None:
    if not settings.check:
        return None
    from attncli.api.text_details import Checks

    return Checks(settings.check)


def _statistics(readers: Sequence[LoadedTokenizer]) -> dict[int, Statistics]:
    from attncli.tokens.statistics import Statistics

    return {id(reader): Statistics(reader.model, reader.tokenizer) for reader in readers}


def _checked(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        check_text(text)
        yield text
