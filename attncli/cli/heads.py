"""The command `attn heads`: options, running it in one or several processes, and rendering the result."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from attncli.api.requests import EncodingRequest, HeadsOptions, LoadingRequest, RunningRequest
from attncli.choices import UNITS
from attncli.cli.command import Choice, Text, WholeNumber
from attncli.cli.environment import Environment, distributed
from attncli.cli.heads_input import HeadsInputOptions, heads_input_options, read_heads_input
from attncli.cli.options import (
    OutputOptions,
    TextOptions,
    bundle,
    encoding_options,
    loading_options,
    model_option,
    option,
    output_options,
    running_options,
    text_options,
)
from attncli.cli.show_saved import ResultVerb
from attncli.errors import UsageError
from attncli.metrics import METRICS, PROBED
from attncli.verbs import VERBS

if TYPE_CHECKING:
    from attncli.cli.output import OutputPlan
    from attncli.models.loading.distributed import Communicator
    from attncli.results.heads import HeadsResult

#: The first two metrics and the last.
_SOME_METRICS = ", ".join([*METRICS][:2] + [*METRICS][-1:])


head_options = bundle(
    "choice",
    HeadsOptions,
    "Input",
    option("--against TEXT", "Another text; shows how the heads differ on it.", type=Text()),
    "Heads",
    option("-l, --layer LAYERS", "Layers, from 0: 3, or 0-2,5, or -1 for the last.", multiple=True),
    option("-H, --head HEADS", "Heads as layer.head: 5.1,6.9; or heads of every layer: 0,3.", multiple=True),
    option("--stack NAME", "encoder, decoder, cross, vision … where a model has several.", complete="stacks"),
    option("--metric NAME", f"One metric: {_SOME_METRICS} …", complete="metrics"),
    option("--threshold METRIC=X", f"What earns a label: {PROBED}=0.3.", multiple=True, complete="thresholds"),
    option("--check CLAIM", f'Exit with 4 unless it holds: "1.2 {PROBED} > 0.8".', multiple=True, complete="claims"),
    option("--patterns", "Hold the patterns of all heads in the data."),
    "Pattern",
    option(
        "--query P",
        "Where does it look? An index (-1), a word (it, it#2), cls, a patch 4,7; or rows of patterns: 3:9.",
        type=Text(),
    ),
    option("--key P", "Columns, likewise; with one query, ranks the heads by it.", type=Text()),
    option("--bins", "Pool patterns to at most N × N cells.", type=WholeNumber(example=64)),
    option("--by", "What a row and a column stand for.", type=Choice(UNITS), default="token", show_default=True),
    option("--top K", "How many keys or heads a ranking shows.", type=WholeNumber(), default=10, show_default=True),
    option("--rollout", "What reaches each token through all layers up to one, heads averaged."),
    option("--norm-weighted", "Weights times the size of what is read there."),
    option("--steps", "Walk one query through one head: q·k, scale, mask, softmax, values, output."),
    option("--hide-special", "Leave special tokens out; rows are made to sum to 1 again."),
)


@click.command(
    cls=ResultVerb,
    help="Show where a model's attention heads look: all of them at a glance, a layer, or one head in full.",
    examples=(
        'attn heads "The cat sat on the mat because it was tired"',
        'attn heads "The cat sat on the mat" --query mat',
        'attn heads "The cat sat on the mat" -H 2.3 --steps',
        "attn heads -m builtin:induction --probe",
    ),
)
@text_options
@heads_input_options
@encoding_options
@head_options
@model_option
@loading_options
@running_options
@output_options("heads")
@click.pass_obj
@distributed
def heads(
    environment: Environment,
    *,
    sharing: Communicator,
    source: TextOptions,
    inputs: HeadsInputOptions,
    choice: HeadsOptions,
    encoding: EncodingRequest,
    model: tuple[str, ...],
    loading: LoadingRequest,
    running: RunningRequest,
    output: OutputOptions,
) -> None:
    from attncli.cli.messages import Messages
    from attncli.cli.output import plan_output, write_result
    from attncli.cli.texts import require_one_or_two_models

    plan = plan_output(output, environment, VERBS["heads"])
    messages = Messages(environment, quiet=output.quiet)
    names = require_one_or_two_models(model, environment)
    given, notes = read_heads_input(source, inputs, environment)
    given = given._replace(encoding=encoding)
    messages.notes(notes)
    options = _with_defaults(choice, plan, one=not given.is_batch and len(model) < 2)
    with messages.progress() as progress:
        from attncli.api import heads as verb
        from attncli.api.loading import ModelLoader

        result = verb.run_heads(given, options, ModelLoader(names, None, loading, running, progress), sharing)
    messages.warnings(result.warnings)
    messages.notes(result.notes)
    write_result(plan, result, environment, data=_requested_data(result, choice), cells=choice.patterns)
    messages.fail(result.failures or (), hint="the values are in --json, and --metric NAME shows one of all heads")


def _with_defaults(choice: HeadsOptions, plan: OutputPlan, *, one: bool) -> HeadsOptions:
    """The options with all patterns requested where a file needs them and no heads are chosen.

    These are .npz files, pages, and figures other than the map of a metric. one: whether there is one text under one
    model; several texts have no patterns, and those of several models can't always be compared.
    Raises UsageError for output formats that can't hold the result.
    """
    drawn = [form for form in plan.forms if form.all_patterns]
    if choice.steps and any(form.part == "arrays" for form in drawn):
        raise UsageError(
            ".npz holds patterns, and --steps is a walk through numbers",
            hint="-o FILE.html, .png, .json or .csv holds the walk",
        )
    needed = not choice.steps and any(not (choice.metric and form.part == "figure") for form in drawn)
    everything = needed and one and not (choice.against or choice.layer or choice.head)
    return choice._replace(layer=choice.layer or None, head=choice.head or None, patterns=choice.patterns or everything)


def _requested_data(result: HeadsResult, choice: HeadsOptions) -> HeadsResult:
    """The result without patterns that are only there for another output file."""
    if choice.patterns or result.chosen:
        return result
    from dataclasses import replace

    return replace(result, stacks=tuple(replace(stack, patterns=()) for stack in result.stacks))
