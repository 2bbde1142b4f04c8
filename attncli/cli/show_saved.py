"""A verb's `--result FILE.json`: a saved result in any form, without the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from attncli.choices import STDIN
from attncli.cli import command
from attncli.cli.browsing import check_browsing
from attncli.cli.environment import Environment
from attncli.cli.options import OutputOptions
from attncli.errors import UsageError
from attncli.verbs import VERBS, Verb, verb_of

if TYPE_CHECKING:
    from attncli.cli.output import OutputPlan


class ResultVerb(command.Verb):
    """A verb that also shows a saved result."""

    def invoke(self, ctx: click.Context) -> Any:
        if ctx.params.get("browse"):
            check_browsing(ctx)
        if ctx.params["result"] is None:
            return super().invoke(ctx)
        assert self.name is not None
        return show_saved(self.name, ctx)


def show_saved(name: str, ctx: click.Context) -> None:
    """Show the result that `--result` names, as the verb would have shown it.

    Raises UsageError for another verb's result, for options that would need the model, and for a format that needs
    patterns that aren't in it; FailedError for a file that holds no result.
    """
    from attncli.cli.messages import Messages
    from attncli.cli.output import plan_output, write_result

    output = OutputOptions(**{field: ctx.params[field] for field in OutputOptions._fields})
    assert output.result is not None
    _refuse_other_options(ctx)
    environment: Environment = ctx.obj
    if ctx.params.get("browse"):
        from attncli.cli.browsing import browse_result

        browse_result(_read(output.result, VERBS[name], environment))
        return
    verb = VERBS[name]
    plan = plan_output(output, environment, verb)
    messages = Messages(environment, quiet=output.quiet)
    result = _read(output.result, verb, environment)
    if name == "heads":
        _require_patterns(result, plan, output.result)
    if checks := ctx.params.get("check"):
        from attncli.api.check_saved import check_saved

        result = check_saved(name, result, [checks] if isinstance(checks, str) else checks)
    messages.warnings(result.warnings)
    messages.notes(getattr(result, "notes", ()))
    write_result(plan, result, environment)
    if checks:
        messages.fail(result.failures or (), hint="--json has the values")


def _refuse_other_options(ctx: click.Context) -> None:
    for parameter in ctx.command.params:
        is_output = isinstance(parameter, command.Option) and (parameter.group == "Output" or parameter.name == "check")
        given = parameter.name is not None and ctx.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
        if given and not is_output:
            called = (
                parameter.opts[-1]
                if isinstance(parameter, command.Option)
                else parameter.make_metavar(ctx).strip("[].")
            )
            raise UsageError(
                f"{called} can't be combined with --result, which shows a result as it was saved",
                hint=f"leave {called} or --result out, or save a result with it; --check and output options work here",
            )


def _read(name: str, verb: Verb, environment: Environment) -> Any:
    from attncli.results.read import parse_result, read

    if name == STDIN:
        from attncli.cli.stdin_text import read_blocks

        result: Any = parse_result("".join(read_blocks(name, environment)).encode(), "stdin")
    else:
        result = read(name)
    found = verb_of(result)
    if found is not verb:
        raise UsageError(
            f"{name} contains a result of attn {found.name}, not of attn {verb.name}",
            hint=f"write attn {found.name} --result {name}",
        )
    return result


def _require_patterns(result: Any, plan: OutputPlan, name: str) -> None:
    drawn = [form for form in plan.forms if form.all_patterns]
    has_patterns = any(stack.patterns for stack in result.stacks)
    if result.steps is not None:
        if any(form.part == "arrays" for form in drawn):
            raise UsageError(
                f".npz files contain attention patterns, and {name} contains steps",
                hint="write the steps to a .html, .png, .json or .csv file",
            )
        return
    if result.qk_ov is not None:
        return
    mapped = result.effects is not None or result.prediction is not None
    needing = [form for form in drawn if not (mapped or (result.metric is not None and form.part == "figure"))]
    if needing and not has_patterns and result.texts is None:
        raise UsageError(
            f"{min(needing).file_ending} shows attention patterns, and {name} contains none",
            hint="save the result with patterns: attn heads TEXT --patterns -o FILE.json",
        )
