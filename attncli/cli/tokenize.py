"""`attn tokenize`: argv -> the verb -> a rendering."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from attncli.cli.command import Verb
from attncli.cli.environment import Environment
from attncli.cli.options import (
    EncodingOptions,
    LoadingOptions,
    OutputOptions,
    TextOptions,
    encoding_options,
    flag,
    loading_options,
    model_option,
    output_options,
    text_options,
)
from attncli.errors import UsageError

if TYPE_CHECKING:
    from attncli.render.tables import View
    from attncli.render.terminal import Terminal
    from attncli.results.tokenize import TokenizeResult

ENDINGS = (".txt", ".json", ".jsonl", ".csv", ".npz")
_VIEW = "View"


@click.command(
    cls=Verb,
    help="Show how a model cuts text into tokens, with their ids and places in the text.",
    examples=(
        'attn tokenize "Take a biopsy of the mole"',
        'attn tokenize "Hello world" --ids',
        'echo "One mole of carbon dioxide" | attn tokenize --count',
    ),
)
@text_options
@encoding_options
@model_option
@loading_options
@flag("--ids", group=_VIEW, help="Print the ids alone.")
@flag("--count", group=_VIEW, help="Print the number of tokens alone.")
@output_options(ENDINGS)
@click.pass_obj
def tokenize(
    environment: Environment,
    *,
    source: TextOptions,
    encoding: EncodingOptions,
    model: tuple[str, ...],
    loading: LoadingOptions,
    ids: bool,
    count: bool,
    output: OutputOptions,
) -> None:
    from attncli.cli.messages import Messages
    from attncli.cli.output import deliver, plan_output
    from attncli.cli.texts import chosen_models, read_input, separate_texts

    view = _view(ids=ids, count=count)
    plan = plan_output(output, environment, endings=ENDINGS)
    messages = Messages(environment, quiet=output.quiet)
    given = separate_texts(read_input(source, environment))
    messages.notes(given.notes)
    with messages.progress() as progress:
        from attncli.verbs import tokenize as verb

        result = verb.tokenize(
            given.texts,
            input_ids=given.ids,
            model=chosen_models(model, environment),
            progress=progress,
            **encoding._asdict(),
            **loading._asdict(),
        )
    messages.warnings(result.warnings)
    deliver(plan, lambda form, terminal: _render(result, view, form, terminal), environment)


def _view(*, ids: bool, count: bool) -> View:
    if ids and count:
        raise UsageError("--ids and --count contradict each other", hint="leave one of them out")
    return "ids" if ids else "count" if count else "tokens"


def _render(result: TokenizeResult, view: View, form: str, terminal: Terminal) -> str | bytes:
    if form == "npz":
        from attncli.render.npz import tokenize_npz

        return tokenize_npz(result)
    if form == "text":
        from attncli.render import tokenize_text as text

        if view == "tokens":
            return text.tokenize_text(result, terminal)
        return text.ids_text(result) if view == "ids" else text.count_text(result)
    from attncli.render import tables

    if form == "csv":
        return tables.tokenize_csv(result, view)
    lower = tables.tokenize_json if form == "json" else tables.tokenize_jsonl
    return lower(result, view, ascii_only=not terminal.unicode)
