"""The command `attn params`: options and rendering the result."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from attncli.api.requests import LoadingRequest, ParamsRequest
from attncli.choices import BY, SOURCES
from attncli.cli.command import Choice, Verb, WholeNumber, completer
from attncli.cli.environment import Environment
from attncli.cli.options import (
    OutputOptions,
    bundle,
    flag,
    loading_options,
    model_option,
    option,
    output_options,
)

if TYPE_CHECKING:
    from attncli.render.common.terminal import Terminal
    from attncli.results.params import ParamsResult

ENDINGS = (".txt", ".json", ".jsonl", ".csv", ".html")


_COUNT, _COST = "Count", "Cost"
params_options = bundle(
    "request",
    ParamsRequest,
    option(
        "--source",
        group=_COUNT,
        type=Choice(SOURCES),
        help="Where shapes come from: config, or the header of the weights. [default: config where there is one]",
    ),
    option("--by", group=_COUNT, type=Choice(BY), default="component", help=f"List by {', '.join(BY)}."),
    option("--depth", group=_COUNT, type=WholeNumber(), help="How deep to list modules and tensors."),
    option(
        "--set",
        group=_COUNT,
        metavar="KEY=VALUE",
        multiple=True,
        help="What if: change a field of the configuration, as num_hidden_layers=48 (repeatable).",
    ),
    flag("--untie", group=_COUNT, help="Count tied tensors apart, once for each of their names."),
    option(
        "--check",
        group=_COUNT,
        metavar="TOTAL",
        help="Exit with 4 unless it, and its files, have so many parameters: 124,439,808, or rounded, 124M.",
    ),
    flag("--list-presets", group=_COUNT, help="List the architectures that preset:NAME knows."),
    option("--context", group=_COST, metavar="N", help="Tokens a text, as 8192 or 128k. [default: the model's most]"),
    option("--batch", group=_COST, metavar="N", help="Texts at once. [default: 1]"),
    option("--fit", group=_COST, metavar="SIZE", help="The longest context that fits, in 24GiB or 2x80GB of memory."),
    option(
        "--lora",
        group=_COST,
        metavar="RANK[:COMPONENT,...]",
        shell_complete=completer("adapters"),
        help="What adapters add, as 16, 16:attention,mlp.up, or 16:c_attn as in peft. [default: query and value]",
    ),
    flag("--training", group=_COST, help="What training holds: weights, gradients, AdamW."),
)


@click.command(
    cls=Verb,
    help="Count a model's parameters by component, and say what they cost to keep and to run. Reads no weights.",
    examples=(
        "attn params preset:gpt2 preset:gpt2-xl",
        "attn params preset:llama3.1-70b --fit 80GiB --training",
        "attn params preset:deepseek-v3 --by layer",
    ),
)
@click.argument("models", metavar="[MODEL]...", nargs=-1, shell_complete=completer("models"))
@params_options
@model_option
@loading_options
@output_options(ENDINGS)
@click.pass_obj
def params(
    environment: Environment,
    *,
    models: tuple[str, ...],
    request: ParamsRequest,
    loading: LoadingRequest,
    output: OutputOptions,
) -> None:
    from attncli.cli.messages import Messages
    from attncli.cli.output import plan_output, write_result
    from attncli.cli.texts import resolve_models

    plan = plan_output(output, environment, endings=ENDINGS)
    messages = Messages(environment, quiet=output.quiet)
    names = resolve_models((*models, *request.model), environment)
    with messages.progress() as progress:
        from attncli.api import params as verb

        result = verb.run_params(request._replace(model=names, loading=loading), progress)
    # With --check, warnings are shown even with --quiet: they may make the check unreliable.
    warner = messages if request.check is None else Messages(environment)
    warner.warnings(result.warnings)
    write_result(plan, lambda form, terminal: _render(result, form, terminal, plan.title), environment)
    messages.fail(
        result.failures or (),
        hint="--by component and --by tensor show where they sit; --untie counts tied tensors apart",
    )


def _render(result: ParamsResult, form: str, terminal: Terminal, title: str | None) -> str | bytes:
    if form == "text":
        from attncli.render.params.text import params_text

        return params_text(result, terminal)
    if form == "html":
        from attncli.render.html.params import params_html

        return params_html(result, title=title)
    if form == "json":
        from attncli.render.data import json_text

        return json_text(result, ascii_only=not terminal.unicode)
    from attncli.render.params import tables as params_rows

    if form == "csv":
        return params_rows.params_csv(result)
    return params_rows.params_jsonl(result, ascii_only=not terminal.unicode)
