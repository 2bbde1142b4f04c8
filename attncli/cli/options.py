"""Options that several verbs share, in bundles: a decorator adds a bundle, and the callback gets it as one value.

The bundles are named tuples because every start of `attn` creates their classes: a frozen dataclass takes five times
as long.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

import click

from attncli.api.requests import EncodingRequest, LoadingRequest, RunningRequest
from attncli.choices import COLORS, DTYPES, ERRORS, FORMATS
from attncli.cli.command import Choice, Option, Text, WholeNumber, completer
from attncli.cli.environment import MAX_WIDTH

Function = Callable[..., Any]
Decorator = Callable[[Function], Function]


class TextOptions(NamedTuple):
    """The input arguments, before any file is read."""

    text: tuple[str, ...]
    file: tuple[str, ...]
    input_ids: str | None
    errors: str


class OutputOptions(NamedTuple):
    """Formats and files of the result, and what is written to the terminal."""

    format: str | None
    json: bool
    output: tuple[str, ...]
    color: str
    no_color: bool
    width: int | None
    ascii: bool
    quiet: bool
    debug: bool
    title: str | None = None


def option(*names: str, group: str, **attributes: Any) -> Decorator:
    return click.option(*names, cls=Option, group=group, **attributes)


def flag(*names: str, group: str, help: str) -> Decorator:  # noqa: A002
    return option(*names, group=group, is_flag=True, help=help)


def bundle(name: str, kind: type[Any], *options: Decorator) -> Decorator:
    """A decorator that adds `options` and passes their values to the callback as one `kind`, in the keyword `name`."""
    members: tuple[str, ...] = kind._fields

    def decorate(function: Function) -> Function:
        @wraps(function)
        def call(*args: Any, **values: Any) -> Any:
            values[name] = kind(**{member: values.pop(member) for member in members if member in values})
            return function(*args, **values)

        decorated: Function = call
        for add in reversed(options):
            decorated = add(decorated)
        return decorated

    return decorate


_MODEL = "Model"
model_option = option(
    "-m",
    "--model",
    group=_MODEL,
    metavar="MODEL",
    multiple=True,
    shell_complete=completer("models"),
    help="A name on the hub, or a local folder or file. [default: $ATTN_MODEL, else all-MiniLM-L6-v2]",
)
loading_options = bundle(
    "loading",
    LoadingRequest,
    option("--revision", group=_MODEL, metavar="NAME", help="A branch, tag or commit of the model on the hub."),
    flag("--refresh", group=_MODEL, help="Ask the hub for a newer version of a model that is cached."),
    flag("--trust-remote-code", group=_MODEL, help="Let code that comes with the model run. It can do anything."),
    flag("--allow-pickle", group=_MODEL, help="Read weights stored as pickle. Such a file can run code."),
)
running_options = bundle(
    "running",
    RunningRequest,
    option(
        "--device",
        group=_MODEL,
        metavar="NAME",
        default="auto",
        shell_complete=completer("devices"),
        help="auto, cpu, cuda, cuda:N or mps.",
    ),
    option(
        "--dtype",
        group=_MODEL,
        type=Choice(DTYPES),
        default="auto",
        help="Precision: auto is float32 on a CPU, the checkpoint's own on a GPU.",
    ),
)

_INPUT = "Input"
text_options = bundle(
    "source",
    TextOptions,
    click.argument("text", metavar="[TEXT]...", nargs=-1, type=Text()),
    option(
        "-f",
        "--file",
        group=_INPUT,
        metavar="FILE",
        multiple=True,
        shell_complete=completer("files"),
        help="Read a text from a file, less its last newline (- is stdin).",
    ),
    option("--input-ids", group=_INPUT, metavar="IDS", help='Token ids instead of a text: "5 6 7", @FILE or -.'),
    option(
        "--errors",
        group=_INPUT,
        type=Choice(ERRORS),
        default="strict",
        help="Bytes that are no UTF-8: an error, or replaced by U+FFFD.",
    ),
)
encoding_options = bundle(
    "encoding",
    EncodingRequest,
    option(
        "--pair",
        group=_INPUT,
        type=Text(),
        metavar="TEXT",
        help="A second text, joined as the model's tokenizer joins pairs.",
    ),
    flag("--no-special", group=_INPUT, help="Add no special tokens such as [CLS] or <s>."),
    flag("--truncate", group=_INPUT, help="Cut what is longer than the model takes."),
)

_OUTPUT = "Output"


def output_options(endings: tuple[str, ...]) -> Decorator:
    """Options about the format and place of the result; `endings` are those of the files that the verb can write."""
    title_option = option("--title", group=_OUTPUT, metavar="TEXT", help="What stands above a page or a figure.")
    return bundle(
        "output",
        OutputOptions,
        option("--format", group=_OUTPUT, type=Choice(FORMATS), help="Form of the result on stdout. [default: text]"),
        flag("--json", group=_OUTPUT, help="Short for --format json."),
        option(
            "-o",
            "--output",
            group=_OUTPUT,
            metavar="FILE",
            multiple=True,
            help=f"Write a file instead (repeatable); its ending chooses the form: {' '.join(endings)}.",
        ),
        *([title_option] if ".html" in endings else []),
        option("--color", group=_OUTPUT, type=Choice(COLORS), default="auto", help="When to colour the text."),
        flag("--no-color", group=_OUTPUT, help="Short for --color never."),
        option("--width", group=_OUTPUT, type=WholeNumber(MAX_WIDTH, example=80), help="Width of the text in cells."),
        flag("--ascii", group=_OUTPUT, help="Use no characters beyond ASCII."),
        flag("-q", "--quiet", group=_OUTPUT, help="No notes, warnings or progress on stderr."),
        flag("--debug", group=_OUTPUT, help="Show tracebacks and what libraries print, on stderr."),
    )
