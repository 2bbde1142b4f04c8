"""The command `attn` and its verbs, by name: a verb's module is imported when it is invoked or asked for help."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from attncli.cli.command import Option, help_option, show_help
from attncli.cli.failures import did_you_mean
from attncli.cli.streams import write_stdout
from attncli.cli.surroundings import EXIT_CODES, VARIABLES
from attncli.errors import UsageError

#: Every verb with its line in the help; its command is `attncli.cli.<verb>.<verb>`.
VERBS = {
    "compare": "Show whether context changes a word.",
    "heads": "Show where a model's attention heads look.",
    "params": "Count a model's parameters and what they cost.",
    "tokenize": "Show how a model cuts text into tokens.",
}


class Verbs(click.Group):
    """A group that knows its commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = getattr(import_module(f"attncli.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in VERBS and not ctx.resilient_parsing:
            verbs = f"the verbs are {', '.join(VERBS)}"
            # A text was given where a verb stands first.
            otherwise = 'put a verb before the text: attn heads "…"' if " " in args[0] else verbs
            raise UsageError(f"attn has no verb {args[0]!r}", hint=did_you_mean(args[0], VERBS, otherwise))
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))
        with formatter.section("Options"):
            formatter.write_dl([record for option in self.params if (record := option.get_help_record(ctx))])
        with formatter.section("Environment"):
            formatter.write_dl(list(VARIABLES.items()))
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in EXIT_CODES.items()])


def _show_version(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from attncli import __version__

        write_stdout(ctx.obj, f"attncli {__version__}\n")
        ctx.exit()


def _without_verb(**_: Any) -> None:
    ctx = click.get_current_context()
    if ctx.invoked_subcommand is None:
        show_help(ctx)


attn = Verbs(
    name="attn",
    help="Look inside any transformer: how it cuts text, where heads look, what context and parameters do.",
    epilog="`attn VERB --help` shows a verb's options and examples.",
    callback=_without_verb,
    invoke_without_command=True,
    subcommand_metavar="VERB ...",
    add_help_option=False,
    params=[
        help_option(),
        Option(
            ["-V", "--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_show_version,
            group="Help",
            help="Show the version and exit.",
        ),
    ],
)
