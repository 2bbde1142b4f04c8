"""The command `attn compare`: options, reading the sentences, and rendering the result."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from attncli.api.requests import CompareRequest, LoadingRequest, RunningRequest
from attncli.choices import ADJUSTMENTS, POOLS
from attncli.cli.command import Choice, Text, Verb, WholeNumber, completer
from attncli.cli.environment import Environment
from attncli.cli.options import (
    OutputOptions,
    bundle,
    flag,
    loading_options,
    model_option,
    option,
    output_options,
    running_options,
)
from attncli.errors import UsageError

if TYPE_CHECKING:
    from attncli.render.common.terminal import Terminal
    from attncli.results.compare import CompareResult

ENDINGS = (".txt", ".json", ".csv", ".npz", ".html", ".svg", ".pdf", ".png")

#: The value of --reference that means no reference sample.
_NO_REFERENCE = "none"


class SentenceOptions(NamedTuple):
    """The sentences or files, before any file is read."""

    sentence: tuple[str, ...]
    file: tuple[str, ...]


class _Occurrence(WholeNumber):
    """A number from 1, or `all`."""

    name = "N|all"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == "all" else super().convert(value, param, ctx)


class _Seed(click.types.IntParamType):
    """Random seed: any whole number from 0."""

    name = "N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int) or (value.isascii() and value.isdigit() and len(value) < 19):
            return int(value)
        raise UsageError(f"--seed can't be {value!r}: it is a whole number from 0", hint="for instance --seed 1")


_INPUT, _MEASURE = "Input", "Measure"
sentence_options = bundle(
    "source",
    SentenceOptions,
    click.argument("sentence", metavar="[SENTENCE]...", nargs=-1, type=Text()),
    option(
        "-f",
        "--file",
        group=_INPUT,
        metavar="FILE",
        shell_complete=completer("files"),
        multiple=True,
        help="Sentences from a file, one a line, each maybe with a tab and a sense label (- is stdin).",
    ),
)
compare_options = bundle(
    "request",
    CompareRequest,
    option("--versus", group=_INPUT, type=Text(), metavar="WORD", multiple=True, help="A further word to hold beside."),
    option(
        "--occurrence",
        group=_INPUT,
        type=_Occurrence(),
        metavar="N|all",
        help="Which of several in a sentence. [default: first]",
    ),
    flag("--any-form", group=_INPUT, help="Take other case and regular inflections, too: Mole, moles."),
    flag("--skip", group=_INPUT, help="Leave out sentences without the word, or too long to reach it."),
    option(
        "--state",
        group=_MEASURE,
        multiple=True,
        metavar="STATES",
        help="0 enters the first layer, k leaves layer k-1: 0-6, 3, -1, all. [default: last]",
    ),
    option(
        "--stack",
        group=_MEASURE,
        metavar="NAME",
        shell_complete=completer("stacks"),
        help="encoder or decoder, where a model has both.",
    ),
    option("--pool", group=_MEASURE, type=Choice(POOLS), default="mean", help="How several pieces become one vector."),
    option(
        "--adjust",
        group=_MEASURE,
        type=Choice(ADJUSTMENTS),
        default="none",
        help="Hold against a sample: baseline, standardize, or abtt (all but the top).",
    ),
    option(
        "--reference",
        group=_MEASURE,
        metavar="FILE",
        shell_complete=completer("files"),
        help="Sentences of that sample, one a line; or none.",
    ),
    option(
        "--dimensions",
        group=_MEASURE,
        type=WholeNumber(example=3),
        metavar="K",
        help="Name so many that drive the cosine.",
    ),
    option("--seed", group=_MEASURE, type=_Seed(), default=0, help="Of random labelings and groups. [default: 0]"),
)


@click.command(
    cls=Verb,
    help="""Show whether context changes a word: how alike its vectors are in several sentences, state by state.

    [Brackets] around the word choose among several in a sentence. A tab and a label behind each sentence say in which
    sense it is meant; then senses are held against each other, with a permutation test.""",
    examples=(
        'attn compare mole "A mole digs" "One mole of carbon"',
        'attn compare bank "a bank by a [bank]" "my bank" --state 5',
        'echo "A mole is no mole of gas" | attn compare mole',
    ),
)
@click.argument("word", type=Text(), required=False)
@sentence_options
@compare_options
@model_option
@loading_options
@running_options
@output_options(ENDINGS)
@click.pass_obj
def compare(
    environment: Environment,
    *,
    source: SentenceOptions,
    request: CompareRequest,
    model: tuple[str, ...],
    loading: LoadingRequest,
    running: RunningRequest,
    output: OutputOptions,
) -> None:
    from attncli.cli.messages import Messages
    from attncli.cli.output import plan_output, write_result
    from attncli.cli.texts import require_one_model

    plan = plan_output(output, environment, endings=ENDINGS)
    messages = Messages(environment, quiet=output.quiet)
    name = require_one_model(model, environment)
    request = request._replace(
        state=request.state or None,
        reference=_read_reference(request.reference, environment),
        word=request.word or "",
        sentences=_read_sentences(request.word, source, environment),
    )
    with messages.progress() as progress:
        from attncli.api import compare as verb
        from attncli.api.loading import ModelLoader

        result = verb.run_compare(request, ModelLoader(name, None, loading, running, progress))
    messages.warnings(result.warnings)
    messages.notes(result.notes)
    write_result(plan, lambda form, terminal: _render(result, form, terminal, plan.title), environment)


def _read_sentences(word: str | None, source: SentenceOptions, environment: Environment) -> Iterator[str]:
    """The sentences from the arguments, from files or from stdin.

    Raises UsageError for two ways or none, FailedError for what can't be read.
    """
    from attncli.cli.texts import check_one_stdin

    if word is None:
        raise UsageError(
            "no word was given", hint='give the word, then sentences: attn compare mole "A mole digs" "A mole of gas"'
        )
    if source.sentence and source.file:
        raise UsageError("SENTENCE and -f can't be combined", hint="give the sentences in one way")
    names = source.file or (("-",) if not source.sentence and not environment.stdin_is_interactive else ())
    if source.sentence == ("-",):
        names = ("-",)
    if not names and not source.sentence:
        raise UsageError("no sentence was given", hint="give them after the word, name a file with -f, or pipe them in")
    check_one_stdin(names)
    return _read_lines(names, environment) if names else iter(source.sentence)


def _read_lines(names: tuple[str, ...], environment: Environment) -> Iterator[str]:
    from attncli.cli.stdin_text import lines, read_blocks

    for name in names:
        yield from lines(read_blocks(name, environment))


def _read_reference(name: str | None, environment: Environment) -> Iterator[str] | tuple[()] | None:
    if name is None or name == _NO_REFERENCE:
        return None if name is None else ()
    return _read_lines((name,), environment)


def _render(result: CompareResult, form: str, terminal: Terminal, title: str | None) -> str | bytes:
    if form == "text":
        from attncli.render.compare.text import compare_text

        return compare_text(result, terminal)
    if form == "npz":
        from attncli.render.compare.tables import compare_npz

        return compare_npz(result)
    if form == "html":
        from attncli.render.html.compare import compare_html

        return compare_html(result, title=title)
    if form in ("svg", "pdf", "png"):
        from attncli.render.figures.compare import compare_figure

        return compare_figure(result, form, title=title)
    if form == "json":
        from attncli.render.data import json_text

        return json_text(result, ascii_only=not terminal.unicode)
    from attncli.render.compare import tables

    if form == "csv":
        return tables.compare_csv(result)
    return tables.compare_jsonl(result, ascii_only=not terminal.unicode)
