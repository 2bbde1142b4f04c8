"""The command `attn params`: options and rendering the result."""

from __future__ import annotations

from collections.abc import Iterator

import click

from attncli.api.requests import LoadingRequest, ParamsRequest
from attncli.choices import ALLOCATIONS, BY, KV_DTYPES, OPTIMIZERS, RECOMPUTE, SOURCES
from attncli.cli.command import Choice, WholeNumber, completer
from attncli.cli.environment import Environment
from attncli.cli.options import (
    OutputOptions,
    bundle,
    loading_options,
    model_option,
    option,
    output_options,
)
from attncli.cli.show_saved import ResultVerb
from attncli.errors import UsageError
from attncli.verbs import VERBS

params_options = bundle(
    "request",
    ParamsRequest,
    "Count",
    option(
        "--source",
        "Read the shapes from config.json or from the header of the weights. [default: config, if there is one]",
        type=Choice(SOURCES),
    ),
    option("--by", f"List by {', '.join(BY)}.", type=Choice(BY), default="component"),
    option("--depth", "Depth of the list of modules or tensors.", type=WholeNumber()),
    option(
        "--set KEY=VALUE",
        "Change a field of the configuration, such as num_hidden_layers=48 (repeatable).",
        multiple=True,
    ),
    option("--untie", "Count tied tensors once per name, as if they were not tied."),
    option(
        "--check TOTAL",
        "Exit with 4 unless the model and its weights have this many parameters: 124,439,808, or rounded: 124M.",
    ),
    option("--list-presets", "List the architectures that can be given as preset:NAME."),
    "Cost",
    option("--context N", "Tokens per text, such as 8192 or 128k. [default: the longest the model is made for]"),
    option("--batch N", "Texts per batch. [default: 1]"),
    option(
        "--fit SIZE",
        "Show the longest context that fits into this much memory: 24GiB or 2x80GB; with --context, whether that fits;"
        " with --training, the largest batch.",
    ),
    option(
        "--kv-dtype DTYPE[,DTYPE]",
        f"Data type of the cache, or of keys,values: {', '.join(KV_DTYPES)}. [default: the checkpoint's own]",
    ),
    option(
        "--kv-allocation",
        "What layers with sliding-window attention cache: only the window, or all tokens (full). [default: window]",
        type=Choice(ALLOCATIONS),
    ),
    option(
        "--lora RANK[:COMPONENT,...]",
        "Count LoRA adapters of this rank: 16, 16:attention,mlp.up, 16:c_attn as in peft. [default: query and value]",
        complete="adapters",
    ),
    option("--training", "Show the memory that training needs: weights, gradients, optimizer, activations."),
    option("--optimizer", "The optimizer of --training. [default: adamw]", type=Choice(OPTIMIZERS)),
    option(
        "--recompute",
        "Activations that the backward pass computes again: none, selective (the attention weights, as FlashAttention"
        " does), or full (each layer). [default: selective]",
        type=Choice(RECOMPUTE),
    ),
)


@click.command(
    cls=ResultVerb,
    help="Count a model's parameters by component, and estimate the memory and arithmetic they cost. Reads no weights.",
    examples=(
        "attn params preset:gpt2 preset:gpt2-xl",
        "attn params preset:llama3.1-70b --fit 80GiB --kv-dtype q8_0",
        "attn params preset:llama3.1-8b --training --lora 16 --fit 24GiB --context 4096",
        "attn params preset:deepseek-v3 --by layer",
    ),
)
@click.argument("models", metavar="[MODEL]...", nargs=-1, shell_complete=completer("models"))
@params_options
@model_option
@loading_options
@output_options("params")
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

    plan = plan_output(output, environment, VERBS["params"])
    messages = Messages(environment, quiet=output.quiet)
    given = (*models, *request.model)
    if request.list_presets and given:
        raise UsageError(
            f"--list-presets counts no model, and {given[0]} is one",
            hint="leave the model out to see the list, or leave --list-presets out",
        )
    names = resolve_models(given, environment)
    with messages.progress() as progress:
        from attncli.api import params as verb

        result = verb.run_params(request._replace(model=names, loading=loading), progress)
    if any(form.part == "table" for form in plan.forms):
        messages.notes(_left_out_of_tables(request))
    # With --check, warnings are shown even with --quiet: they may make the check unreliable.
    warner = messages if request.check is None else Messages(environment)
    warner.warnings(result.warnings)
    write_result(plan, result, environment)
    messages.fail(
        result.failures or (),
        hint="--by component and --by tensor show where the parameters are; --untie counts tied tensors once per name",
    )


def _left_out_of_tables(request: ParamsRequest) -> Iterator[str]:
    """What was asked for and has no column in a table of parameters."""
    given = {"--fit": request.fit, "--training": request.training, "--lora": request.lora}
    asked = [option for option, value in given.items() if value]
    if asked and request.by != "cost":
        yield f"a table by {request.by} doesn't contain what {' and '.join(asked)} computes: --by cost lists it"
