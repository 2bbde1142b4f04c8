"""Tokens on their way out: a form for each place that the result goes to, fed text by text.

`attn tokenize`: argv -> texts as they come -> the verb -> a form for each place that wants one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from attncli.cli.command import Choice, Verb
from attncli.cli.environment import Environment, to_bytes
from attncli.cli.options import (
    EncodingOptions,
    LoadingOptions,
    OutputOptions,
    TextOptions,
    bundle,
    encoding_options,
    flag,
    loading_options,
    model_option,
    option,
    output_options,
    text_options,
)
from attncli.cli.output import Destination
from attncli.cli.texts import TextStream
from attncli.errors import UsageError

if TYPE_CHECKING:
    from attncli.api.cutting import TextInput
    from attncli.api.tokenizing import Tokenizing
    from attncli.render.tokenize.forms import Detail, Form
    from attncli.results.tokenize import IdsPart

ENDINGS = (".txt", ".json", ".jsonl", ".csv", ".npz", ".html")
#: As in `attncli.api.tokenizing`, which has no place in the start of the program.
_CHECKS = ("same", "lint")


class InputOptions(NamedTuple):
    """How the input is taken."""

    lines: bool
    chat: bool
    template: str | None
    generation_prompt: bool


class ViewOptions(NamedTuple):
    """What of the tokens is shown, and what has to hold of them."""

    ids: bool
    count_only: bool
    table: bool
    why: bool
    lint: bool
    stats: bool
    vocab: bool
    check: tuple[str, ...]

    @property
    def view(self) -> Detail:
        """How much of a text the data forms hold."""
        return "ids" if self.ids else "count" if self.count_only else "tokens"


_INPUT, _VIEW = "Input", "View"
input_options = bundle(
    "taken",
    InputOptions,
    flag("--lines", group=_INPUT, help="Each line is a text of its own (or a conversation)."),
    flag("--chat", group=_INPUT, help="The input is JSON messages, for the model's own chat template."),
    option("--template", group=_INPUT, metavar="NAME", help="The one of several chat templates."),
    flag("--generation-prompt", group=_INPUT, help="End the conversation with what makes the model answer."),
)
view_options = bundle(
    "wanted",
    ViewOptions,
    flag("--ids", group=_VIEW, help="The ids alone."),
    flag("--count", "count_only", group=_VIEW, help="The number of tokens alone."),
    flag("--table", group=_VIEW, help="A token per row: raw form, characters, bytes, word."),
    flag("--why", group=_VIEW, help="How the tokenizer came to these tokens, step by step."),
    flag("--lint", group=_VIEW, help="What is odd about the text and its tokens."),
    flag("--stats", group=_VIEW, help="Texts in figures, each and all: fertility, bytes per token, by script."),
    flag("--vocab", group=_VIEW, help="The vocabulary itself; TEXT is searched in it."),
    option(
        "--check",
        group=_VIEW,
        type=Choice(_CHECKS),
        multiple=True,
        help="Exit with 4 unless all models give the same ids (same), or nothing is to mend (lint).",
    ),
)


@click.command(
    cls=Verb,
    help="""Show how a model cuts text into tokens, with their ids and places in the text.

    A gap parts words, a bar the tokens of one word (a heavy bar where there are more than two). A dot is a space, a
    star marks special tokens, an arrow points at what became the unknown token, and in brackets stand the bytes of
    a character that is cut over several tokens.""",
    examples=(
        'attn tokenize "Take a biopsy of the mole"',
        'attn tokenize "Hello world" --ids',
        'echo "One mole of carbon dioxide" | attn tokenize --count',
    ),
)
@text_options
@input_options
@encoding_options
@model_option
@loading_options
@view_options
@output_options(ENDINGS)
@click.pass_obj
def tokenize(
    environment: Environment,
    *,
    source: TextOptions,
    taken: InputOptions,
    encoding: EncodingOptions,
    model: tuple[str, ...],
    loading: LoadingOptions,
    wanted: ViewOptions,
    output: OutputOptions,
) -> None:
    from attncli.api.tokenizing import open_tokenizing
    from attncli.cli.messages import Messages
    from attncli.cli.output import open_destinations, plan_output
    from attncli.cli.texts import open_texts, resolve_models

    _check_options(source, taken, encoding, wanted)
    plan = plan_output(output, environment, endings=ENDINGS)
    _check_forms(wanted, plan.forms)
    messages = Messages(environment, quiet=output.quiet)
    stream = open_texts(source, environment, lines=taken.lines, optional=wanted.vocab)
    messages.notes(stream.notes)
    with messages.progress() as progress:
        opened = open_tokenizing(
            resolve_models(model, environment),
            needs_tokenizer=stream.ids is None,
            progress=progress,
            **_tokenizing_keywords(encoding, taken, wanted),
            **loading._asdict(),
        )
        with opened as tokenizing, open_destinations(plan, environment, before=messages.clear_progress) as outlets:
            messages.warnings(tokenizing.notes)
            write_records(
                outlets, tokenizing, stream._replace(progress=progress), wanted, chat=taken.chat, pair=encoding.pair
            )
    messages.warnings(tokenizing.warnings)
    messages.fail(tokenizing.failures, hint=_check_hint(wanted))


def _check_options(source: TextOptions, taken: InputOptions, encoding: EncodingOptions, wanted: ViewOptions) -> None:
    shown = {
        "--ids": wanted.ids,
        "--count": wanted.count_only,
        "--table": wanted.table,
        "--stats": wanted.stats,
        "--vocab": wanted.vocab,
    }
    alone = [name for name, value in shown.items() if value]
    beside = {"--why": wanted.why, "--lint": wanted.lint and not wanted.vocab}
    alone += [name for name, value in beside.items() if value and alone]
    if len(alone) > 1:
        raise UsageError(f"{alone[0]} and {alone[1]} contradict each other", hint="leave one of them out")
    if wanted.vocab and (wanted.check or taken.chat or source.input_ids is not None):
        raise UsageError("--vocab looks at the vocabulary and cuts no text", hint="leave --vocab out to look at a text")
    if wanted.why and (encoding.pair is not None or encoding.truncate or source.input_ids is not None):
        raise UsageError("--why explains one whole text", hint="leave --pair, --truncate and --input-ids out")
    if taken.chat and (source.input_ids is not None or encoding.pair is not None):
        raise UsageError("a conversation stands alone", hint="--chat takes no --input-ids and no --pair")
    if source.input_ids is not None and encoding.pair is not None:
        raise UsageError("ids can't have a pair", hint="--pair goes with a text; leave it or --input-ids out")


def _check_forms(wanted: ViewOptions, forms: frozenset[str]) -> None:
    """Some forms have no room for what is asked."""
    asked = {"--why": wanted.why, "--stats": wanted.stats, "--vocab": wanted.vocab, "--lint": wanted.lint}
    without = {"npz": ("--why", "--stats", "--vocab", "--lint"), "csv": ("--why",)}
    for form in sorted(forms):
        lost = [name for name in without.get(form, ()) if asked[name]]
        if lost:
            raise UsageError(f"{form} has no place for {lost[0]}", hint="--json and -o FILE.json hold everything")


def _tokenizing_keywords(encoding: EncodingOptions, taken: InputOptions, wanted: ViewOptions) -> dict[str, Any]:
    """What the options say to the verb, by its keywords."""
    return {
        "no_special": encoding.no_special,
        "truncate": encoding.truncate,
        "chat": taken.chat,
        "template": taken.template,
        "generation_prompt": taken.generation_prompt,
        "why": wanted.why,
        "lint": wanted.lint,
        "stats": wanted.stats,
        "check": wanted.check,
    }


def _check_hint(wanted: ViewOptions) -> str:
    """What shows the places that a check has found."""
    shown = {"--ids": wanted.ids, "--count": wanted.count_only, "--table": wanted.table, "--stats": wanted.stats}
    instead = [name for name, value in {**shown, "--lint": wanted.lint}.items() if value]
    hints = []
    if "lint" in wanted.check:
        hints.append("the report on stdout shows each place" if wanted.lint else "--lint shows each place")
    if "same" in wanted.check:
        listed = "the models beside one another, and lists each difference"
        hints.append(f"leaving {instead[0]} out shows {listed}" if instead else f"stdout shows {listed}")
    return "; ".join(hints)


# --- Writing


def write_records(
    outlets: Sequence[Destination],
    tokenizing: Tokenizing,
    stream: TextStream,
    wanted: ViewOptions,
    *,
    chat: bool,
    pair: str | None,
) -> None:
    """Every text in every form, then what is to be said of all of them."""
    sinks = [_FormWriter(_choose_form(outlet, tokenizing, stream, wanted), outlet) for outlet in outlets]
    for sink in sinks:
        sink.write(sink.form.start())
    if not wanted.vocab:
        _write_texts(
            sinks, tokenizing, stream, plain=not chat and pair is None, inputs=_text_inputs(stream, chat, pair)
        )
        summary = tokenizing.summary()
    else:
        summary = tokenizing.summary_of_vocabularies([text for text in _search_texts(stream) if text])
    for sink in sinks:
        for content in sink.form.end(summary):
            sink.write(content)


class _FormWriter(NamedTuple):
    """A form, and the place that it is written to."""

    form: Form
    outlet: Destination

    def write(self, content: str | bytes) -> None:
        if content:
            self.outlet.write(to_bytes(content))


def _choose_form(outlet: Destination, tokenizing: Tokenizing, stream: TextStream, wanted: ViewOptions) -> Form:
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

        return SummaryForm(outlet.form, terminal, tokenizing.entries, texts=stream.text_count)
    if outlet.form == "csv" and wanted.lint:
        return forms.FindingsCsv()
    if outlet.form == "csv":
        return forms.CsvForm(wanted.view, several=several)
    if outlet.form == "jsonl":
        return forms.JsonLinesForm(wanted.view, several=several, ascii_only=not terminal.unicode)
    if wanted.view != "tokens":
        return forms.IdsText(several=several) if wanted.ids else forms.CountText(several=several)
    from attncli.render.tokenize.text import RecordText

    return RecordText(terminal, models=tokenizing.models, table=wanted.table, lint=wanted.lint, count=stream.text_count)


def _page_form(outlet: Destination, tokenizing: Tokenizing, stream: TextStream, wanted: ViewOptions) -> Form:
    """Tokens as a page, and beneath them what there is for a terminal besides."""
    from attncli.render.html.tokenize import SCREEN, PageForm

    if wanted.stats or wanted.vocab:
        from attncli.render.tokenize.forms import SummaryForm

        summaries = SummaryForm("text", SCREEN, tokenizing.entries, texts=stream.text_count)
        return PageForm(summaries, tokens=False, title=outlet.title)
    from attncli.render.tokenize.text import RecordText

    told = RecordText(SCREEN, models=tokenizing.models, lint=wanted.lint, count=stream.text_count)
    return PageForm(told, title=outlet.title)


def _write_texts(
    sinks: Sequence[_FormWriter],
    tokenizing: Tokenizing,
    stream: TextStream,
    *,
    plain: bool,
    inputs: Iterator[TextInput],
) -> None:
    """Give every text to every form, in the cheapest way that serves them all.

    plain: the inputs are nothing but the texts of the stream.
    """
    bare = [part_of for sink in sinks if (part_of := _id_part_writer(sink.form)) is not None]
    if plain and stream.ids is None and not tokenizing.settings.needs_tokens and len(bare) == len(sinks):
        for part in _id_parts(tokenizing, stream):
            for sink, part_of in zip(sinks, bare, strict=True):
                sink.write(part_of(part))
    elif all(sink.form.summary for sink in sinks) and not tokenizing.settings.check:
        tokenizing.count(inputs)
    else:
        for record in tokenizing.records(inputs):
            for sink in sinks:
                sink.write(sink.form.record(record))


def _id_part_writer(form: Form) -> Callable[[IdsPart], str] | None:
    """How a form takes bare ids; None where it needs whole texts."""
    from attncli.render.tokenize.forms import PartsForm

    return form.part if isinstance(form, PartsForm) and form.bare else None


def _id_parts(tokenizing: Tokenizing, stream: TextStream) -> Iterator[IdsPart]:
    """Bare ids. A text of any size goes through in parts where that is possible."""
    if stream.lines or not tokenizing.takes_parts:
        yield from tokenizing.ids(stream.texts())
        return
    for record, blocks in enumerate(stream.blocks()):
        yield from tokenizing.ids_of_stream(record, blocks)


def _search_texts(stream: TextStream) -> Iterator[str]:
    """What is sought in a vocabulary; nothing where stdin happens to be open and empty."""
    for blocks in stream.blocks(may_be_empty=not stream.literal):
        yield "".join(blocks)


def _text_inputs(stream: TextStream, chat: bool, pair: str | None) -> Iterator[TextInput]:
    from attncli.api.cutting import TextInput

    if stream.ids is not None:
        yield from (TextInput(ids=ids) for ids in stream.ids)
    elif chat:
        from attncli.api.tokenizing import conversations

        yield from (TextInput(conversation=each) for each in conversations(stream.texts(), lines=stream.lines))
    else:
        yield from (TextInput(text, pair, source=source) for text, source in stream.texts_with_sources())
