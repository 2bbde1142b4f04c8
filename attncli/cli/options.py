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
from attncli.choices import COLORS, DTYPES, ERRORS
from attncli.cli.command import Choice, Option, Text, WholeNumber, completer
from attncli.cli.environment import MAX_WIDTH
from attncli.render.formats import STDOUT_FORMATS, file_formats
from attncli.verbs import VERBS

Function = Callable[..., Any]
Decorator = Callable[[Function], Function]
#: Adds an option, given its heading in the help.
Adder = Callable[[str], Decorator]


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
    result: str | None = None
    full: bool = False


def option(
    names: str,
    help: str,  # noqa: A002
    *dest: str,
    type: Any = None,  # noqa: A002
    complete: str | None = None,
    **attributes: Any,
) -> Adder:
    """An option, to be given its heading. One without a metavar or a type is a flag.

    names: as the help shows them, with the metavar: `-f, --file FILE`.  dest: the parameter's name, if it isn't that of
    the option.  complete: the function in `cli.completion` for its values.
    """
    words = [word.removesuffix(",") for word in names.split()]
    flags = [word for word in words if word.startswith("-")]
    if len(words) > len(flags):
        attributes["metavar"] = words[-1]
    elif type is None:
        attributes["is_flag"] = True
    if complete is not None:
        attributes["shell_complete"] = completer(complete)
    return lambda heading: click.option(*flags, *dest, cls=Option, group=heading, type=type, help=help, **attributes)


def argument(name: str, **attributes: Any) -> Adder:
    return lambda _: click.argument(name, **attributes)


def bundle(name: str, kind: type[Any], *members: str | Adder) -> Decorator:
    """A decorator that adds options and passes their values to the callback as one `kind`, in the keyword `name`.

    members: options, and before them the heading under which the help lists them.
    """
    heading, adders = "", list[Decorator]()
    for member in members:
        if isinstance(member, str):
            heading = member
        else:
            adders.append(member(heading))

    def decorate(function: Function) -> Function:
        @wraps(function)
        def call(*args: Any, **values: Any) -> Any:
            values[name] = kind(**{field: values.pop(field) for field in kind._fields if field in values})
            return function(*args, **values)

        decorated: Function = call
        for add in reversed(adders):
            decorated = add(decorated)
        return decorated

    return decorate


model_option = option(
    "-m, --model MODEL",
    "The model: a name on the hub, or a local folder or file. [default: $ATTN_MODEL, else all-MiniLM-L6-v2]",
    multiple=True,
    complete="models",
)("Model")
loading_options = bundle(
    "loading",
    LoadingRequest,
    "Model",
    option("--revision NAME", "Branch, tag or commit of the model on the hub."),
    option("--refresh", "Check the hub for a newer version of a cached model."),
    option("--trust-remote-code", "Run Python code that comes with the model. It can do anything on this computer."),
    option("--allow-pickle", "Read weights stored as pickle. Such a file can run any code."),
)
running_options = bundle(
    "running",
    RunningRequest,
    "Model",
    option(
        "--device NAME", "Where to run the model: auto, cpu, cuda, cuda:N or mps.", default="auto", complete="devices"
    ),
    option(
        "--dtype",
        "Number format of the weights; auto is float32 on a CPU and the checkpoint's own on a GPU.",
        type=Choice(DTYPES),
        default="auto",
    ),
)
tokenizer_option = option(
    "--tokenizer MODEL", "The model whose tokenizer cuts the text, where your own code has none.", complete="models"
)("Model")
text_options = bundle(
    "source",
    TextOptions,
    argument("text", metavar="[TEXT]...", nargs=-1, type=Text()),
    "Input",
    option(
        "-f, --file FILE",
        "Read a text from a file, without its last newline (- is stdin).",
        multiple=True,
        complete="files",
    ),
    option("--input-ids IDS", 'Token ids instead of a text: "5 6 7", @FILE or -.'),
    option(
        "--errors",
        "What to do with bytes that aren't UTF-8: strict fails, replace turns them into U+FFFD.",
        type=Choice(ERRORS),
        default="strict",
    ),
)
encoding_options = bundle(
    "encoding",
    EncodingRequest,
    "Input",
    option("--pair TEXT", "A second text; the tokenizer joins the two as a pair.", type=Text()),
    option("--no-special", "Don't add special tokens such as [CLS] or <s>."),
    option("--truncate", "Truncate texts that are longer than the model accepts."),
)


def output_options(verb: str) -> Decorator:
    """Options about the format and place of the result of a verb."""
    endings = " ".join(file_formats(VERBS[verb]))
    return bundle(
        "output",
        OutputOptions,
        "Output",
        option(
            "--result FILE",
            "Show a saved result (a .json file; - is stdin) without running the model.",
            complete="saved",
        ),
        option("--format", "Format of the result on stdout. [default: text]", type=Choice(STDOUT_FORMATS)),
        option("--json", "Short for --format json."),
        option(
            "-o, --output FILE",
            f"Write to a file instead (repeatable); its ending sets the format: {endings}.",
            multiple=True,
        ),
        option("--full", "Show everything, even if it needs more than one screen."),
        option("--title TEXT", "Title of a page or a figure."),
        option("--color", "When to use colour.", type=Choice(COLORS), default="auto"),
        option("--no-color", "Short for --color never."),
        option("--width", "Width of the text in cells.", type=WholeNumber(MAX_WIDTH, example=80)),
        option("--ascii", "Use only ASCII characters."),
        option("-q, --quiet", "Write no notes, warnings or progress to stderr."),
        option("--debug", "Write tracebacks and the messages of libraries to stderr."),
    )
