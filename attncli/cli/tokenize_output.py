"""Tokens on their way out: a form for each place that the result goes to, fed text by text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from attncli.cli.output import Outlet
from attncli.cli.streams import encoded
from attncli.cli.text_stream import TextStream

if TYPE_CHECKING:
    from attncli.api.cutting import TextInput
    from attncli.api.tokenizing import Tokenizing
    from attncli.cli.tokenize import ViewOptions
    from attncli.render.tokenize.forms import Form
    from attncli.results.tokenize import IdsPart


def write(
    outlets: Sequence[Outlet],
    tokenizing: Tokenizing,
    stream: TextStream,
    wanted: ViewOptions,
    *,
    chat: bool,
    pair: str | None,
) -> None:
    """Every text in every form, then what is to be said of all of them."""
    sinks = [_Sink(_form(outlet, tokenizing, stream, wanted), outlet) for outlet in outlets]
    for sink in sinks:
        sink.write(sink.form.start())
    if not wanted.vocab:
        _feed(sinks, tokenizing, stream, plain=not chat and pair is None, inputs=_inputs(stream, chat, pair))
        summary = tokenizing.summary()
    else:
        summary = tokenizing.summary_of_vocabularies([text for text in _sought(stream) if text])
    for sink in sinks:
        for content in sink.form.end(summary):
            sink.write(content)


class _Sink(NamedTuple):
    """A form, and the place that it is written to."""

    form: Form
    outlet: Outlet

    def write(self, content: str | bytes) -> None:
        if content:
            self.outlet.write(encoded(content))


def _form(outlet: Outlet, tokenizing: Tokenizing, stream: TextStream, wanted: ViewOptions) -> Form:
    from attncli.render.tokenize import forms

    terminal, several = outlet.terminal, len(tokenizing.models) > 1
    if outlet.form == "npz":
        from attncli.render.npz import IdsForm

        return IdsForm()
    if outlet.form == "html":
        return _page_form(outlet, tokenizing, stream, wanted)
    if outlet.form == "json":
        return forms.JsonForm(wanted.view, several=several, ascii_only=not terminal.unicode)
    if wanted.stats or wanted.vocab:
        from attncli.render.tokenize.forms import SummaryForm

        return SummaryForm(outlet.form, terminal, tokenizing.entries, texts=stream.texts_known)
    if outlet.form == "csv" and wanted.lint:
        return forms.FindingsCsv()
    if outlet.form == "csv":
        return forms.CsvForm(wanted.view, several=several)
    if outlet.form == "jsonl":
        return forms.JsonLinesForm(wanted.view, several=several, ascii_only=not terminal.unicode)
    if wanted.view != "tokens":
        return forms.IdsText(several=several) if wanted.ids else forms.CountText(several=several)
    from attncli.render.tokenize.record import RecordText

    return RecordText(
        terminal, models=tokenizing.models, table=wanted.table, lint=wanted.lint, count=stream.texts_known
    )


def _page_form(outlet: Outlet, tokenizing: Tokenizing, stream: TextStream, wanted: ViewOptions) -> Form:
    """Tokens as a page, and beneath them what there is for a terminal besides."""
    from attncli.render.html.tokens import SCREEN, PageForm

    if wanted.stats or wanted.vocab:
        from attncli.render.tokenize.forms import SummaryForm

        summaries = SummaryForm("text", SCREEN, tokenizing.entries, texts=stream.texts_known)
        return PageForm(summaries, tokens=False, title=outlet.title)
    from attncli.render.tokenize.record import RecordText

    told = RecordText(SCREEN, models=tokenizing.models, lint=wanted.lint, count=stream.texts_known)
    return PageForm(told, title=outlet.title)


def _feed(
    sinks: Sequence[_Sink], tokenizing: Tokenizing, stream: TextStream, *, plain: bool, inputs: Iterator[TextInput]
) -> None:
    """Give every text to every form, in the cheapest way that serves them all.

    plain: the inputs are nothing but the texts of the stream.
    """
    bare = [part_of for sink in sinks if (part_of := _takes_parts(sink.form)) is not None]
    if plain and stream.ids is None and not tokenizing.settings.needs_tokens and len(bare) == len(sinks):
        for part in _parts(tokenizing, stream):
            for sink, part_of in zip(sinks, bare, strict=True):
                sink.write(part_of(part))
    elif all(sink.form.summary for sink in sinks) and not tokenizing.settings.check:
        tokenizing.count(inputs)
    else:
        for record in tokenizing.records(inputs):
            for sink in sinks:
                sink.write(sink.form.record(record))


def _takes_parts(form: Form) -> Callable[[IdsPart], str] | None:
    """How a form takes bare ids; None where it needs whole texts."""
    from attncli.render.tokenize.forms import PartsForm

    return form.part if isinstance(form, PartsForm) and form.bare else None


def _sought(stream: TextStream) -> Iterator[str]:
    """What is sought in a vocabulary; nothing where stdin happens to be open and empty."""
    for blocks in stream.blocks(may_be_empty=not stream.literal):
        yield "".join(blocks)


def _parts(tokenizing: Tokenizing, stream: TextStream) -> Iterator[IdsPart]:
    """Bare ids. A text of any size goes through in parts where that is possible."""
    if stream.lines or not tokenizing.takes_parts:
        yield from tokenizing.ids(stream.texts())
        return
    for record, blocks in enumerate(stream.blocks()):
        yield from tokenizing.ids_of_stream(record, blocks)


def _inputs(stream: TextStream, chat: bool, pair: str | None) -> Iterator[TextInput]:
    from attncli.api.cutting import TextInput

    if stream.ids is not None:
        yield from (TextInput(ids=ids) for ids in stream.ids)
    elif chat:
        from attncli.api.tokenizing import conversations

        yield from (TextInput(conversation=each) for each in conversations(stream.texts(), lines=stream.lines))
    else:
        yield from (TextInput(text, pair, source=source) for text, source in stream.sourced_texts())
