"""The command `attn heads`: options, running it in one or several processes, and rendering the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import click

from attncli.choices import UNITS
from attncli.cli.command import Choice, Text, Verb, WholeNumber, completer
from attncli.cli.environment import Environment, distributed
from attncli.cli.heads_input import HeadsInputOptions, heads_input_options, read_heads_input
from attncli.cli.options import (
    EncodingOptions,
    LoadingOptions,
    OutputOptions,
    RunningOptions,
    TextOptions,
    bundle,
    encoding_options,
    flag,
    loading_options,
    model_option,
    option,
    output_options,
    running_options,
    text_options,
)
from attncli.errors import UsageError
from attncli.metrics import METRICS, PROBED

if TYPE_CHECKING:
    from attncli.cli.output import OutputPlan
    from attncli.models.loading.distributed import Communicator
    from attncli.render.common.terminal import Terminal
    from attncli.results.heads import HeadsResult

#: The first two metrics and the last.
_SOME_METRICS = ", ".join([*METRICS][:2] + [*METRICS][-1:])

ENDINGS = (".txt", ".json", ".csv", ".npz", ".html", ".svg", ".pdf", ".png")


class HeadOptions(NamedTuple):
    """Which heads to show, and what of them; fields are named as the keywords of the verb."""

    against: str | None
    layer: tuple[str, ...] | None
    head: tuple[str, ...] | None
    stack: str | None
    query: str | None
    key: str | None
    metric: str | None
    threshold: tuple[str, ...]
    check: tuple[str, ...]
    patterns: bool
    bins: int | None
    by: str
    hide_special: bool
    rollout: bool
    norm_weighted: bool
    top: int
    steps: bool

    def _check_forms(self, plan: OutputPlan) -> None:
        """Raise UsageError for output formats that can't hold the result."""
        pattern_forms = plan.forms & {"npz", "html", "svg", "pdf", "png"}
        if self.steps and pattern_forms:
            raise UsageError(
                f".{min(pattern_forms)} shows patterns, and --steps is a walk through numbers",
                hint="-o FILE.txt, .json or .csv holds the walk",
            )

    def with_defaults(self, plan: OutputPlan, *, one: bool) -> HeadOptions:
        """The options with all patterns requested where a file needs them and no heads are chosen.

        These are .npz files, pages, and figures other than the map of a metric. one: whether there is one text under
        one model; several texts have no patterns, and those of several models can't always be compared.
        """
        from attncli.cli.output import FIGURES

        self._check_forms(plan)
        pattern_forms = {"npz", "html", *(() if self.metric else FIGURES)}
        everything = bool(plan.forms & pattern_forms) and one and not (self.against or self.layer or self.head)
        return self._replace(layer=self.layer or None, head=self.head or None, patterns=self.patterns or everything)


_HEADS = "Heads"
_PATTERN = "Pattern"
head_options = bundle(
    "choice",
    HeadOptions,
    option(
        "--against", group="Input", type=Text(), metavar="TEXT", help="Another text; shows how the heads differ on it."
    ),
    option(
        "-l",
        "--layer",
        group=_HEADS,
        multiple=True,
        metavar="LAYERS",
        help="Layers, from 0: 3, or 0-2,5, or -1 for the last.",
    ),
    option(
        "-H",
        "--head",
        group=_HEADS,
        multiple=True,
        metavar="HEADS",
        help="Heads as layer.head: 5.1,6.9; or heads of every layer: 0,3.",
    ),
    option(
        "--stack",
        group=_HEADS,
        metavar="NAME",
        shell_complete=completer("stacks"),
        help="encoder, decoder, cross, vision … where a model has several.",
    ),
    option(
        "--metric",
        group=_HEADS,
        metavar="NAME",
        shell_complete=completer("metrics"),
        help=f"One metric: {_SOME_METRICS} …",
    ),
    option(
        "--threshold",
        group=_HEADS,
        multiple=True,
        metavar="METRIC=X",
        shell_complete=completer("thresholds"),
        help=f"What earns a label: {PROBED}=0.3.",
    ),
    option(
        "--check",
        group=_HEADS,
        multiple=True,
        metavar="CLAIM",
        shell_complete=completer("claims"),
        help=f'Exit with 4 unless it holds: "1.2 {PROBED} > 0.8".',
    ),
    flag("--patterns", group=_HEADS, help="Hold the patterns of all heads in the data."),
    option(
        "--query",
        group=_PATTERN,
        type=Text(),
        metavar="P",
        help="Where does it look? An index (-1), a word (it, it#2), cls, a patch 4,7; or rows of patterns: 3:9.",
    ),
    option(
        "--key",
        group=_PATTERN,
        type=Text(),
        metavar="P",
        help="Columns, likewise; with one query, ranks the heads by it.",
    ),
    option("--bins", group=_PATTERN, type=WholeNumber(example=64), help="Pool patterns to at most N × N cells."),
    option(
        "--by",
        group=_PATTERN,
        type=Choice(UNITS),
        default="token",
        show_default=True,
        help="What a row and a column stand for.",
    ),
    option(
        "--top",
        group=_PATTERN,
        type=WholeNumber(),
        metavar="K",
        default=10,
        show_default=True,
        help="How many keys or heads a ranking shows.",
    ),
    flag("--rollout", group=_PATTERN, help="What reaches each token through all layers up to one, heads averaged."),
    flag("--norm-weighted", group=_PATTERN, help="Weights times the size of what is read there."),
    flag("--steps", group=_PATTERN, help="Walk one query through one head: q·k, scale, mask, softmax, values, output."),
    flag("--hide-special", group=_PATTERN, help="Leave special tokens out; rows are made to sum to 1 again."),
)


@click.command(
    cls=Verb,
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
@output_options(ENDINGS)
@click.pass_obj
@distributed
def heads(
    environment: Environment,
    *,
    sharing: Communicator,
    source: TextOptions,
    inputs: HeadsInputOptions,
    choice: HeadOptions,
    encoding: EncodingOptions,
    model: tuple[str, ...],
    loading: LoadingOptions,
    running: RunningOptions,
    output: OutputOptions,
) -> None:
    from attncli.cli.messages import Messages
    from attncli.cli.output import plan_output, write_result
    from attncli.cli.texts import require_one_or_two_models

    plan = plan_output(output, environment, endings=ENDINGS)
    messages = Messages(environment, quiet=output.quiet)
    names = require_one_or_two_models(model, environment)
    given = read_heads_input(source, inputs, environment)
    messages.notes(given.notes)
    with messages.progress() as progress:
        from attncli.api import heads as verb

        result = verb.heads(
            given.text,
            model=names,
            sharing=sharing,
            progress=progress,
            **given.keywords(),
            **choice.with_defaults(plan, one=not given.is_batch and len(model) < 2)._asdict(),
            **encoding._asdict(),
            **loading._asdict(),
            **running._asdict(),
        )
    messages.warnings(result.warnings)
    messages.notes(result.notes)
    write_result(plan, lambda form, terminal: _render(result, form, terminal, choice, plan.title), environment)
    messages.fail(result.failures or (), hint="the values are in --json, and --metric NAME shows one of all heads")


def _render(result: HeadsResult, form: str, terminal: Terminal, choice: HeadOptions, title: str | None) -> str | bytes:
    if form == "text":
        from attncli.render.heads.text import heads_text

        return heads_text(result, terminal)
    if form == "npz":
        from attncli.render.npz import heads_npz

        return heads_npz(result)
    if form in ("svg", "pdf", "png"):
        from attncli.render.figures.heads import heads_figure

        return heads_figure(result, form, title=title)
    if form == "html":
        from attncli.render.html.heads import heads_html

        return heads_html(result, title=title)
    if form == "json":
        from attncli.render.data import json_text

        return json_text(_without_unrequested_patterns(result, choice), ascii_only=not terminal.unicode)
    from attncli.render.heads import tables

    if form == "csv":
        return tables.heads_csv(result, cells=choice.patterns)
    return tables.heads_jsonl(_without_unrequested_patterns(result, choice), ascii_only=not terminal.unicode)


def _without_unrequested_patterns(result: HeadsResult, choice: HeadOptions) -> HeadsResult:
    """The result without patterns that are only there for another output file."""
    if choice.patterns or result.chosen:
        return result
    from dataclasses import replace

    return replace(result, stacks=tuple(replace(stack, patterns=()) for stack in result.stacks))
