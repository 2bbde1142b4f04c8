"""The command `attn compare`: options, reading the sentences, and rendering the result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click

from attncli.api.requests import CompareRequest, LoadingRequest, RunningRequest
from attncli.choices import ADJUSTMENTS, POOLS
from attncli.cli.command import Choice, Text, WholeNumber
from attncli.cli.environment import Environment
from attncli.cli.options import (
    OutputOptions,
    argument,
    bundle,
    loading_options,
    model_option,
    option,
    output_options,
    running_options,
    tokenizer_option,
)
from attncli.cli.show_saved import ResultVerb
from attncli.errors import UsageError
from attncli.verbs import VERBS


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
        raise UsageError(
            f"--seed can't be {value!r}: it has to be a whole number of at least 0", hint="for instance --seed 1"
        )


sentence_options = bundle(
    "source",
    SentenceOptions,
    argument("sentence", metavar="[SENTENCE]...", nargs=-1, type=Text()),
    "Input",
    option(
        "-f, --file FILE",
        "Read sentences from a file, one per line, each optionally followed by a tab and a label (- is stdin); several "
        "files are compared with each other.",
        multiple=True,
        complete="files",
    ),
)
compare_options = bundle(
    "request",
    CompareRequest,
    "Input",
    option("--versus WORD", "Another word to compare with (repeatable).", type=Text(), multiple=True),
    option(
        "--occurrence N|all", "Which occurrence, where a sentence has several. [default: first]", type=_Occurrence()
    ),
    option("--any-form", "Also find the word in other case and regular inflections: Mole, moles."),
    option("--skip", "Skip sentences without the word, and those where it lies beyond the model's limit."),
    "Measure",
    option(
        "--state STATES",
        "Hidden states: 0 is the input of the first layer, k the output of layer k-1: 0-6, 3, -1, all. [default: last]",
        multiple=True,
    ),
    option("--stack NAME", "Which stack of a model that has both: encoder or decoder.", complete="stacks"),
    option(
        "--echo",
        "Give each sentence twice and read the word in the second copy, so that a causal model knows what follows it.",
    ),
    option(
        "--template TEXT",
        "Read a text with {sentence} and {word} at its last token, instead of the word.",
        type=Text(),
    ),
    option("--pool", "How the vectors of a word's tokens become one.", type=Choice(POOLS), default="mean"),
    option(
        "--adjust",
        "Correct the vectors by a reference sample: baseline, standardize, or abtt (all-but-the-top).",
        type=Choice(ADJUSTMENTS),
        default="none",
    ),
    option(
        "--reference FILE", "File with the sentences of the reference sample, one per line; or none.", complete="files"
    ),
    option("--dimensions K", "List the K dimensions that contribute most to the cosine.", type=WholeNumber(example=3)),
    option("--seed", "Random seed of permutation tests and groups. [default: 0]", type=_Seed(), default=0),
)


@click.command(
    cls=ResultVerb,
    help="""Show whether context changes a word: how similar its vectors are in several sentences.

    Put [brackets] around the word to choose an occurrence where a sentence has several. Give each sentence a tab and a
    label for the sense of the word, and the senses are compared, with a permutation test.""",
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
@tokenizer_option
@loading_options
@running_options
@output_options("compare")
@click.pass_obj
def compare(
    environment: Environment,
    *,
    source: SentenceOptions,
    request: CompareRequest,
    model: tuple[str, ...],
    tokenizer: str | None,
    loading: LoadingRequest,
    running: RunningRequest,
    output: OutputOptions,
) -> None:
    from attncli.cli.messages import Messages
    from attncli.cli.output import plan_output, write_result
    from attncli.cli.texts import require_one_model

    plan = plan_output(output, environment, VERBS["compare"])
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

        loader = ModelLoader(name, tokenizer, loading, running, progress, environment.keeper)
        result = verb.run_compare(request, loader)
    messages.warnings(result.warnings)
    messages.notes(result.notes)
    write_result(plan, result, environment)


def _read_sentences(
    word: str | None, source: SentenceOptions, environment: Environment
) -> Iterator[str] | dict[str, Iterator[str]]:
    """The sentences from the arguments, from a file or from stdin; of several files a group each, by name.

    Raises UsageError for two ways or none, FailedError for what can't be read.
    """
    from attncli.cli.texts import check_one_stdin

    if word is None:
        raise UsageError(
            "the word is missing",
            hint='give the word, then the sentences: attn compare mole "A mole digs" "A mole of gas"',
        )
    if source.sentence and source.file:
        raise UsageError(
            "SENTENCE and -f can't be combined", hint="give the sentences as arguments or in a file, not both"
        )
    names = source.file or (("-",) if not source.sentence and not environment.stdin_is_interactive else ())
    if source.sentence == ("-",):
        names = ("-",)
    if not names and not source.sentence:
        raise UsageError(
            "there are no sentences", hint="write them after the word, give a file with -f FILE, or pipe them in"
        )
    check_one_stdin(names)
    if len(names) > 1:
        return {group: _read_lines(name, environment) for group, name in _group_names(names).items()}
    return _read_lines(names[0], environment) if names else iter(source.sentence)


def _group_names(names: tuple[str, ...]) -> dict[str, str]:
    """A file by the name of its group: its own, without folders where that is enough to tell the files apart."""
    if len(set(names)) < len(names):
        raise UsageError("-f was given the same file twice", hint="give different files, or the file only once")
    short = {"stdin" if name == "-" else Path(name).name: name for name in names}
    return short if len(short) == len(names) else {name: name for name in names}


def _read_lines(name: str, environment: Environment) -> Iterator[str]:
    from attncli.cli.stdin_text import lines, read_blocks

    yield from lines(read_blocks(name, environment))


def _read_reference(name: str | None, environment: Environment) -> Iterable[str] | None:
    """None: the default sample."""
    return None if name is None else () if name == "none" else _read_lines(name, environment)
