"""The command `attn`: its verbs, its help with options grouped by purpose, and option types with our own errors.

A verb's module is imported only when the verb is run or its help is shown.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import groupby
from typing import Any

import click

from attncli._version import __version__
from attncli.cli.environment import write_stdout
from attncli.cli.failures import did_you_mean
from attncli.errors import ExitCode, FailedError, UsageError
from attncli.verbs import VERBS

VARIABLES = {
    "ATTN_MODEL": "The model to use where -m is not given.",
    "ATTN_CACHE": "Folder where attn keeps computed shapes and reference samples. Empty: keep nothing.",
    "HF_HOME, HF_HUB_CACHE": "Where models from the hub are cached.",
    "HF_HUB_OFFLINE": "1: never contact the hub, use only cached models.",
    "HF_ENDPOINT, HF_TOKEN": "Address of another hub; access token for gated models.",
    "ATTN_KEEP_WARM": "A time such as 10m: keep a process ready for so long, from the first command that needs torch.",
    "NO_COLOR, FORCE_COLOR": "Never use colour; use colour in pipes too.",
    "COLUMNS": "Width of the text where --width is not given.",
}


class Option(click.Option):
    """An option with the heading (`group`) under which the help lists it."""

    def __init__(self, *args: Any, group: str, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.group = group


def completer(name: str) -> Callable[[click.Context, click.Parameter, str], Any]:
    """A `shell_complete` callback that calls the function of this name in `cli.completion`, imported only then."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> Any:
        from attncli.cli import completion

        return getattr(completion, name)(ctx, param, incomplete)

    return complete


class Choice(click.Choice[str]):
    """One of a few words; an error about another word suggests the closest."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value in self.choices:
            return str(value)
        name = _parameter_name(param)
        raise UsageError(
            f"{name} can't be {value!r}: it has to be one of {', '.join(self.choices)}",
            hint=did_you_mean(str(value), self.choices, f"for instance {name} {self.choices[0]}"),
        )


class Text(click.types.StringParamType):
    """A text in UTF-8, whatever the locale. Raises FailedError for invalid UTF-8, which tokenizers can't encode."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(super().convert(value, param, ctx))
        if not text.isprintable():
            # Undo the decoding of a UTF-8 argument with another locale's encoding.
            with suppress(UnicodeError):
                text = os.fsencode(text).decode("utf-8")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            position = len(text[: error.start].encode())
            raise FailedError(
                f"{_parameter_name(param)} is not valid UTF-8: no character begins at byte {position}",
                hint="save the text in a file as UTF-8, and read it with -f FILE",
            ) from error
        return text


class WholeNumber(click.types.IntParamType):
    """A whole number from `least` to `most` (None: no limit).

    example: the value that a hint shows where there is no default.
    """

    name = "N"

    def __init__(self, most: int | None = None, *, least: int = 1, example: int = 2) -> None:
        self.most = most
        self.least = least
        self.example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        # int() also accepts 1_000, and raises another error for a number of 5,000 digits.
        if value.isascii() and value.isdigit() and len(value) < 10 and self.least <= int(value) <= (self.most or 10**9):
            return int(value)
        default = param.default if param is not None else None
        example = default if isinstance(default, int) else self.example
        limits = f"from {self.least} to {self.most}" if self.most else f"of at least {self.least}"
        raise UsageError(
            f"{_parameter_name(param)} can't be {value!r}: it has to be a whole number {limits}",
            hint=f"for instance {_parameter_name(param)} {example}",
        )


def _parameter_name(parameter: click.Parameter | None) -> str:
    """The parameter's name in the help: `--pair`, `TEXT`."""
    if parameter is None:
        return "the value"
    return max(parameter.opts, key=len) if isinstance(parameter, click.Option) else (parameter.name or "").upper()


class Verb(click.Command):
    """A verb of `attn`. Its help has a sentence about what it does, examples, and options under headings."""

    def __init__(self, *args: Any, examples: tuple[str, ...] = (), **attributes: Any) -> None:
        super().__init__(*args, **{**attributes, "add_help_option": False})
        self.examples = examples
        self.params.append(help_option())

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            # Some of Click's errors lack the context, which the hint needs.
            error.ctx = error.ctx or ctx
            raise

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_help_text(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{example}\n")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups = list(option_groups(self, ctx))
        width = max(len(term) for _, records in groups for term, _ in records if len(term) <= 26)
        for title, records in groups:
            with formatter.section(title):
                # Padding the terms aligns the descriptions of all sections.
                formatter.write_dl([(term.ljust(width), text) for term, text in records], col_max=width)


def option_groups(command: click.Command, ctx: click.Context) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The options of a command by heading, each as its term and description in the help."""
    options = (parameter for parameter in command.params if isinstance(parameter, Option))
    for title, members in groupby(options, key=lambda option: option.group):
        yield title, [record for option in members if (record := option.get_help_record(ctx))]


def eager_option(names: list[str], help: str, text: Callable[[click.Context], str]) -> Option:  # noqa: A002
    """An option that writes a text to the stdout of the `Environment`, and ends."""

    def show(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
        if wanted and not ctx.resilient_parsing:
            write_stdout(ctx.obj, f"{text(ctx)}\n")
            ctx.exit()

    return Option(names, is_flag=True, is_eager=True, expose_value=False, callback=show, group="Help", help=help)


def help_option() -> Option:
    return eager_option(["-h", "--help"], "Show this text and exit.", click.Context.get_help)


class VerbGroup(click.Group):
    """The group of verbs, which imports a verb's module only when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = VERBS[cmd_name].load("command")
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in VERBS and not ctx.resilient_parsing:
            verbs = f"the verbs are {', '.join(VERBS)}"
            # Probably a text without a verb before it.
            otherwise = 'write a verb before the text: attn heads "…"' if " " in args[0] else verbs
            raise UsageError(f"attn has no verb {args[0]!r}", hint=did_you_mean(args[0], VERBS, otherwise))
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(verb.name, verb.summary) for verb in VERBS.values()])
        with formatter.section("Options"):
            formatter.write_dl([record for option in self.params if (record := option.get_help_record(ctx))])
        with formatter.section("Environment"):
            formatter.write_dl(list(VARIABLES.items()))
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(int(code)), code.meaning) for code in ExitCode])


def _keep_warm(ctx: click.Context, param: click.Parameter, given: str | None) -> None:
    if given is not None:
        from attncli.cli.warm.control import keep_warm

        keep_warm(ctx, param, given)


def _show_help_without_verb(**_: Any) -> None:
    ctx = click.get_current_context()
    if ctx.invoked_subcommand is None:
        write_stdout(ctx.obj, f"{ctx.get_help()}\n")


attn = VerbGroup(
    name="attn",
    help="Look inside any transformer: how it splits text into tokens, what its attention heads attend to, how "
    "context changes a word, and what its parameters cost.",
    epilog="`attn VERB --help` shows a verb's options and examples.",
    callback=_show_help_without_verb,
    invoke_without_command=True,
    subcommand_metavar="VERB ...",
    add_help_option=False,
    params=[
        help_option(),
        eager_option(["-V", "--version"], "Show the version and exit.", lambda _: f"attncli {__version__}"),
        Option(
            ["--keep-warm"],
            metavar="TIME",
            is_eager=True,
            expose_value=False,
            callback=_keep_warm,
            group="Help",
            help="Keep a process with torch imported ready for this long after its last use (10m); off ends it, "
            "status shows it.",
        ),
    ],
)
