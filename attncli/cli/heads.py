"""The command `attn heads`: options, running it in one or several processes, and rendering the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import click

from attncli.api.requests import EffectsRequest, EncodingRequest, HeadsOptions, LoadingRequest, RunningRequest
from attncli.choices import DEFAULT_TOP, UNITS
from attncli.cli.browsing import browse_option, browse_text
from attncli.cli.command import Choice, Text, WholeNumber
from attncli.cli.environment import Environment, StdoutWriter, distributed, write_stdout
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
    tokenizer_option,
)
from attncli.cli.show_saved import ResultVerb
from attncli.effects import EFFECTS
from attncli.errors import UsageError
from attncli.metrics import METRICS, PROBED
from attncli.verbs import VERBS

if TYPE_CHECKING:
    from attncli.api.heads_input import HeadsInput
    from attncli.cli.output import OutputPlan
    from attncli.models.loading.distributed import Communicator
    from attncli.render.formats import Look
    from attncli.results.alignment import AlignedPair
    from attncli.results.heads import HeadsResult


def _list_metrics(ctx: click.Context, _: click.Parameter, given: str | None) -> str | None:
    """For `--metric list`, write what each metric measures, and end."""
    if given == "list" and not ctx.resilient_parsing:
        from attncli.render.views.metric_words import meaning

        width = max(map(len, METRICS))
        write_stdout(ctx.obj, "".join(f"{name:<{width}}  {meaning(name)}\n" for name in METRICS))
        ctx.exit()
    return given


head_options = bundle(
    "choice",
    HeadsOptions,
    "Input",
    option("--against TEXT", "A second text; shows how attention differs from that on the first.", type=Text()),
    "Heads",
    option("-l, --layer LAYERS", "Layers, counted from 0: 3, or 0-2,5, or -1 for the last.", multiple=True),
    option("-H, --head HEADS", "Heads as layer.head: 5.1,6.9; or heads of every chosen layer: 0,3.", multiple=True),
    option(
        "--stack NAME", "Which stack of a model that has several: encoder, decoder, cross, vision …", complete="stacks"
    ),
    option(
        "--metric NAME",
        f"Map and rank the heads by one metric: {', '.join(METRICS)}. list: say what each measures.",
        complete="metrics",
        is_eager=True,
        callback=_list_metrics,
    ),
    option(
        "--threshold METRIC=X",
        f"Lowest value of a metric at which a head gets its label: {PROBED}=0.3.",
        multiple=True,
        complete="thresholds",
    ),
    option(
        "--check CLAIM", f'Exit with 4 unless this is true: "1.2 {PROBED} > 0.8".', multiple=True, complete="claims"
    ),
    option("--patterns", "Include the attention patterns of all heads in the output data."),
    "Pattern",
    option(
        "--query P",
        "What does this query attend to? An index (-1), a word (it, it#2), cls, a patch 4,7; or a range of rows: 3:9.",
        type=Text(),
    ),
    option(
        "--key P",
        "A key, written like a query: which tokens attend to it? With --query: a ranking of heads by this weight.",
        type=Text(),
    ),
    option("--bins", "Pool each pattern to at most N × N cells.", type=WholeNumber(example=64)),
    option(
        "--by",
        "What a row and a column of a pattern stand for.",
        type=Choice(UNITS),
        default="token",
        show_default=True,
    ),
    option(
        "--top K",
        "How many keys or heads to list in a ranking.",
        type=WholeNumber(),
        default=DEFAULT_TOP,
        show_default=True,
    ),
    option(
        "--rollout", "Attention rollout: how much of each token reaches a position through all layers, heads averaged."
    ),
    option(
        "--receptive-field", "With --rollout: divide by the rollout of uniform attention, which favours early tokens."
    ),
    option("--norm-weighted", "Multiply each attention weight by the norm of its value vector."),
    option("--steps", "Compute one query of one head step by step, from q·k to its output; and what wrote q and k."),
    option("--hide-special", "Leave special tokens out of patterns, and rescale each row to sum to 1."),
)


effect_options = bundle(
    "effects",
    EffectsRequest,
    "Effects",
    option("--predict", "What the model expects at a position, and after each layer (logit lens)."),
    option(
        "--effect KIND",
        f"What each head does to the answer's logit: {', '.join(EFFECTS)}, or several.",
        multiple=True,
        complete="effects",
    ),
    option(
        "--answer TOKEN", "The answer: a word, =TEXT exactly as written, or id:5. [default: the likeliest]", type=Text()
    ),
    option(
        "--contrast TOKEN",
        "Measure the answer's logit minus this token's. [default: minus the mean of all tokens]",
        type=Text(),
    ),
    option(
        "--patch-from TEXT",
        "With --effect patch: the text that the output of heads is taken from, with the same number of tokens.",
        type=Text(),
    ),
)


@click.command(
    cls=ResultVerb,
    help="Show what a model's attention heads attend to: all heads at a glance, one layer, or one head in detail.",
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
@effect_options
@model_option
@tokenizer_option
@loading_options
@running_options
@output_options("heads")
@browse_option
@click.pass_obj
@distributed
def heads(
    environment: Environment,
    *,
    sharing: Communicator,
    source: TextOptions,
    inputs: HeadsInputOptions,
    choice: HeadsOptions,
    effects: EffectsRequest,
    encoding: EncodingRequest,
    model: tuple[str, ...],
    tokenizer: str | None,
    loading: LoadingRequest,
    running: RunningRequest,
    output: OutputOptions,
    browse: bool,
) -> None:
    from attncli.api.loading import ModelLoader
    from attncli.cli.messages import Messages
    from attncli.cli.output import plan_output
    from attncli.cli.texts import require_one_or_two_models

    plan, messages = plan_output(output, environment, VERBS["heads"]), Messages(environment, quiet=output.quiet)
    names = require_one_or_two_models(model, environment)
    given, notes = read_heads_input(source, inputs, names, environment)
    pairs = _pair_writer(given, plan, StdoutWriter(environment, before=messages.clear_progress))
    given = given._replace(encoding=encoding, each_pair=pairs and pairs.write)
    messages.notes(notes)
    loader = ModelLoader(names, tokenizer, loading, running, keeper=environment.keeper)
    if browse:
        browse_text(given, choice._replace(effects=effects), loader)
        return
    options = _with_defaults(choice._replace(effects=effects), plan, given, models=len(model))
    with messages.progress() as progress:
        from attncli.api import heads as verb

        result = verb.run_heads(given, options, loader._replace(progress=progress), sharing)
    messages.warnings(result.warnings)
    messages.notes(result.notes)
    _write(result, choice, plan, pairs, environment)
    messages.fail(result.failures or (), hint="--json has the values, and --metric NAME shows one metric of all heads")


def _with_defaults(choice: HeadsOptions, plan: OutputPlan, given: HeadsInput, *, models: int) -> HeadsOptions:
    """The options with all patterns requested where a file needs them and no heads are chosen.

    These are .npz files, pages, and figures other than the map of a metric. Several texts have no patterns, and those
    of several models can't always be compared.
    Raises UsageError for output formats that can't hold the result.
    """
    drawn = [form for form in plan.forms if form.all_patterns]
    if choice.steps and any(form.part == "arrays" for form in drawn):
        raise UsageError(
            ".npz files contain attention patterns, and --steps computes none",
            hint="write the steps to a .html, .png, .json or .csv file",
        )
    mapped = choice.metric or choice.effects.effect
    needed = not choice.steps and any(not (mapped and form.part == "figure") for form in drawn)
    one = not given.is_batch and models < 2
    everything = needed and one and not (choice.against or choice.layer or choice.head)
    return choice._replace(layer=choice.layer or None, head=choice.head or None, patterns=choice.patterns or everything)


class _PairWriter(NamedTuple):
    """Writes aligned pairs as lines of JSON, each as it is known."""

    stdout: StdoutWriter
    look: Look

    def write(self, pair: AlignedPair) -> None:
        from attncli.render.data import json_line

        self.stdout.write(json_line(pair.to_dict(), ascii_only=self.look.ascii_only).encode())


def _pair_writer(given: HeadsInput, plan: OutputPlan, stdout: StdoutWriter) -> _PairWriter | None:
    """What writes the lines of pairs of texts one by one; None where a whole result is written."""
    from attncli.api.aligned_lines import is_pairs
    from attncli.api.effects_lines import parse_columns

    lines = plan.stdout is not None and plan.stdout.part == "records" and not plan.files
    return _PairWriter(stdout, plan.stdout_look) if lines and is_pairs(parse_columns(given.columns)) else None


def _write(
    result: HeadsResult, choice: HeadsOptions, plan: OutputPlan, pairs: _PairWriter | None, environment: Environment
) -> None:
    """Write the result; aligned pairs are written already."""
    from attncli.cli.output import write_result

    if pairs is not None:
        pairs.stdout.flush()
        return
    write_result(plan, result, environment, data=_requested_data(result, choice), cells=choice.patterns)


def _requested_data(result: HeadsResult, choice: HeadsOptions) -> HeadsResult:
    """The result without patterns that are only there for another output file."""
    if choice.patterns or result.chosen:
        return result
    from dataclasses import replace

    return replace(result, stacks=tuple(replace(stack, patterns=()) for stack in result.stacks))
