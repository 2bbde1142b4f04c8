"""The command `attn tokenize`: options, reading the input, and writing the tokens to each output.

Texts are tokenized and written one after another, so that any number of them needs little memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import click

from attncli.api.requests import EncodingRequest, LoadingRequest, TokenizeRequest
from attncli.choices import CHECKS
from attncli.cli.command import Choice
from attncli.cli.environment import Environment, to_bytes
from attncli.cli.options import (
    OutputOptions,
    TextOptions,
    bundle,
    encoding_options,
    loading_options,
    model_option,
    option,
    output_options,
    text_options,
)
from attncli.cli.show_saved import ResultVerb
from attncli.cli.texts import TextStream
from attncli.errors import UsageError
from attncli.verbs import VERBS

if TYPE_CHECKING:
    from attncli.api.tokenizing import TextInput, TextTokenizer
    from attncli.cli.output import Destination
    from attncli.render.formats import Format
    from attncli.render.tokenize.forms import Detail, Form, TokenizeView
    from attncli.results.tokenize import IdsPart


class InputOptions(NamedTuple):
    """How the input is interpreted."""

    lines: bool
    chat: bool
    template: str | None
    generation_prompt: bool
    special_as_text: bool


class ViewOptions(NamedTuple):
    """What is shown of the tokens, and which checks are made."""

    ids: bool
    count_only: bool
    table: bool
    why: bool
    lint: bool
    stats: bool
    vocab: bool
    check: tuple[str, ...]

    @property
    def detail(self) -> Detail:
        """How much of each text is written as data."""
        return "ids" if self.ids else "count" if self.count_only else "tokens"

    def shown(self, tokenizing: TextTokenizer, texts: int | None) -> TokenizeView:
        from attncli.render.tokenize.forms import TokenizeView

        summary, entries = self.stats or self.vocab, tokenizing.vocabulary_entries
        return TokenizeView(self.detail, self.table, self.lint, summary, tokenizing.models, texts, entries)


input_options = bundle(
    "interpretation",
    InputOptions,
    "Input",
    option("--lines", "Treat each line as a separate text (or conversation)."),
    option("--chat", "The input is a conversation in JSON; apply the model's chat template to it."),
    option("--template NAME", "Which chat template, where a model has several."),
    option("--generation-prompt", "End the conversation with the prompt for the model's answer."),
    option("--special-as-text", "Treat special tokens written in the text as ordinary text."),
)
view_options = bundle(
    "view",
    ViewOptions,
    "View",
    option("--ids", "Print only the token ids."),
    option("--count", "Print only the number of tokens.", "count_only"),
    option("--table", "One row per token: its raw form, characters, bytes and word."),
    option("--why", "Explain step by step how the tokenizer made these tokens."),
    option("--lint", "Report what is unusual about the text and its tokens."),
    option("--stats", "Statistics per text and in total: fertility, bytes per token, by script."),
    option("--vocab", "Show the vocabulary; search it for TEXT."),
    option(
        "--check",
        "Exit with 4 unless all models give the same ids (same), or --lint finds nothing to fix (lint).",
        type=Choice(CHECKS),
        multiple=True,
    ),
)


@click.command(
    cls=ResultVerb,
    help="""Show how a model splits text into tokens, with their ids and positions in the text.

    Words are separated by gaps, the tokens of a word by bars (heavy bars where there are more than two). A star marks
    special tokens, an arrow points at text that became the unknown token, and brackets hold the bytes of a character
    that is split over several tokens.""",
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
@output_options("tokenize")
@click.pass_obj
def tokenize(
    environment: Environment,
    *,
    source: TextOptions,
    interpretation: InputOptions,
    encoding: EncodingRequest,
    model: tuple[str, ...],
    loading: LoadingRequest,
    view: ViewOptions,
    output: OutputOptions,
) -> None:
    from attncli.api.tokenizing import open_text_tokenizer
    from attncli.cli.messages import Messages
    from attncli.cli.output import open_destinations, plan_output
    from attncli.cli.texts import open_texts, resolve_models

    _check_options(source, interpretation, encoding, view)
    plan = plan_output(output, environment, VERBS["tokenize"])
    _check_forms(view, plan.forms)
    messages = Messages(environment, quiet=output.quiet)
    stream = open_texts(source, environment, lines=interpretation.lines, optional=view.vocab)
    messages.notes(stream.notes)
    with messages.progress() as progress:
        request = TokenizeRequest(
            resolve_models(model, environment), None, stream.ids is None, encoding, interpretation.chat,
            interpretation.template, interpretation.generation_prompt, interpretation.special_as_text, view.why,
            view.lint, view.stats, view.check, loading,
        )  # fmt: skip
        opened = open_text_tokenizer(request, progress)
        with opened as tokenizing, open_destinations(plan, environment, before=messages.clear_progress) as destinations:
            messages.warnings(tokenizing.notes)
            texts = stream._replace(progress=progress)
            write_records(destinations, tokenizing, texts, view, chat=interpretation.chat, pair=encoding.pair)
    messages.warnings(tokenizing.warnings)
    messages.fail(tokenizing.failures, hint=_check_hint(view))


def _check_options(
    source: TextOptions, interpretation: InputOptions, encoding: EncodingRequest, view: ViewOptions
) -> None:
    shown = {
        "--ids": view.ids,
        "--count": view.count_only,
        "--table": view.table,
        "--stats": view.stats,
        "--vocab": view.vocab,
    }
    chosen = [name for name, value in shown.items() if value]
    additions = {"--why": view.why, "--lint": view.lint and not view.vocab}
    chosen += [name for name, value in additions.items() if value and chosen]
    if len(chosen) > 1:
        raise UsageError(f"{chosen[0]} and {chosen[1]} can't be combined", hint="leave one of them out")
    given = {
        "--check": bool(view.check),
        "--chat": interpretation.chat,
        "--input-ids": source.input_ids is not None,
        "--pair": encoding.pair is not None,
        "--truncate": encoding.truncate,
    }
    if view.vocab:
        _refuse(given, ("--check", "--chat", "--input-ids"), "--vocab", "shows the vocabulary and splits no text")
    if view.why:
        _refuse(given, ("--pair", "--truncate", "--input-ids"), "--why", "explains one whole text")
    if interpretation.chat:
        _refuse(given, ("--input-ids", "--pair"), "--chat", "reads one conversation")
    if given["--input-ids"]:
        _refuse(given, ("--pair",), "--input-ids", "has no text")


def _refuse(given: Mapping[str, bool], others: Iterable[str], flag: str, reason: str) -> None:
    """Raise UsageError if one of the others was given beside the flag, which does what `reason` says."""
    other = next((other for other in others if given[other]), None)
    if other is not None:
        raise UsageError(f"{other} can't be combined with {flag}, which {reason}", hint=f"leave {other} or {flag} out")


def _check_forms(view: ViewOptions, forms: Iterable[Format]) -> None:
    """Raise UsageError for output formats that can't hold the view."""
    requested = {"--why": view.why, "--stats": view.stats, "--vocab": view.vocab, "--lint": view.lint}
    unsupported = {"arrays": ("--why", "--stats", "--vocab", "--lint"), "table": ("--why",)}
    for form in sorted(forms):
        lost = [name for name in unsupported.get(form.part, ()) if requested[name]]
        if lost:
            raise UsageError(f"{form.name} can't contain {lost[0]}", hint="--json and -o FILE.json contain everything")


def _check_hint(view: ViewOptions) -> str:
    """The hint of a failed check: where the differences or findings are shown."""
    shown = {"--ids": view.ids, "--count": view.count_only, "--table": view.table, "--stats": view.stats}
    instead = [name for name, value in {**shown, "--lint": view.lint}.items() if value]
    hints = []
    if "lint" in view.check:
        hints.append("the report on stdout shows where" if view.lint else "--lint shows where")
    if "same" in view.check:
        listed = "the models side by side, with each difference"
        hints.append(f"leave {instead[0]} out to see {listed}" if instead else f"stdout shows {listed}")
    return "; ".join(hints)


# --- Writing


def write_records(
    destinations: Sequence[Destination],
    tokenizing: TextTokenizer,
    stream: TextStream,
    view: ViewOptions,
    *,
    chat: bool,
    pair: str | None,
) -> None:
    """Write every text to every destination, then the summary of all texts."""
    from attncli.render.stream import open_form

    shown = view.shown(tokenizing, stream.text_count)
    writers = [_FormWriter(open_form(each.form, each.look, shown), each) for each in destinations]
    for writer in writers:
        writer.write(writer.form.start())
    if not view.vocab:
        _write_texts(
            writers, tokenizing, stream, plain=not chat and pair is None, inputs=_text_inputs(stream, chat, pair)
        )
        summary = tokenizing.summary()
    else:
        summary = tokenizing.vocabulary_summary([text for text in _search_texts(stream) if text])
    for writer in writers:
        for content in writer.form.end(summary):
            writer.write(content)


class _FormWriter(NamedTuple):
    """A form with the destination that it is written to."""

    form: Form
    destination: Destination

    def write(self, content: str | bytes) -> None:
        if content:
            self.destination.write(to_bytes(content))


def _write_texts(
    writers: Sequence[_FormWriter],
    tokenizing: TextTokenizer,
    stream: TextStream,
    *,
    plain: bool,
    inputs: Iterator[TextInput],
) -> None:
    """Write every text in every form, in the cheapest way that all forms allow.

    plain: whether the inputs are the texts of the stream alone (no conversations or pairs).
    """
    from attncli.render.tokenize.forms import PartsForm

    part_forms = [writer.form for writer in writers if isinstance(writer.form, PartsForm) and writer.form.bare]
    if plain and stream.ids is None and not tokenizing.request.needs_tokens and len(part_forms) == len(writers):
        for part in _id_parts(tokenizing, stream):
            for writer, form in zip(writers, part_forms, strict=True):
                writer.write(form.part(part))
    elif all(writer.form.summary for writer in writers) and not tokenizing.request.check:
        tokenizing.count(inputs)
    else:
        for record in tokenizing.records(inputs):
            for writer in writers:
                writer.write(writer.form.record(record))


def _id_parts(tokenizing: TextTokenizer, stream: TextStream) -> Iterator[IdsPart]:
    """The ids of every text; large texts are tokenized in parts where the tokenizers allow it."""
    if stream.lines or not tokenizing.can_stream:
        yield from tokenizing.ids(stream.texts())
        return
    for record, blocks in enumerate(stream.blocks()):
        yield from tokenizing.stream_ids(record, blocks)


def _search_texts(stream: TextStream) -> Iterator[str]:
    """The texts to search in a vocabulary; none if stdin is open but empty."""
    for blocks in stream.blocks(may_be_empty=not stream.literal):
        yield "".join(blocks)


def _text_inputs(stream: TextStream, chat: bool, pair: str | None) -> Iterator[TextInput]:
    from attncli.api.tokenizing import TextInput

    if stream.ids is not None:
        yield from (TextInput(ids=ids) for ids in stream.ids)
    elif chat:
        from attncli.api.text_details import parse_conversations

        yield from (TextInput(conversation=each) for each in parse_conversations(stream.texts(), lines=stream.lines))
    else:
        yield from (TextInput(text, pair, source=source) for text, source in stream.texts_with_sources())
