"""`attn heads --browse`: what it is refused beside, its terminal, and the words that repeat the command."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from attncli.choices import STDIN
from attncli.cli.command import Option
from attncli.cli.environment import Environment, choose_terminal
from attncli.cli.options import OutputOptions, option
from attncli.errors import UsageError

if TYPE_CHECKING:
    from attncli.api.heads_input import HeadsInput
    from attncli.api.loading import ModelLoader
    from attncli.api.requests import HeadsOptions
    from attncli.browse.app import Start
    from attncli.browse.session import Session
    from attncli.results.heads import HeadsResult

browse_option = option("--browse", "Browse the heads in the terminal, with the model kept loaded. ? shows the keys.")(
    "Output"
)

#: What decides what is shown at first, which the same view may need otherwise, and what gives the text.
_LEFT_OUT = {
    "layer", "head", "metric", "query", "key", "effect", "answer", "contrast", "patch_from", "predict", "patterns",
    "text", "file", "input_ids",
}  # fmt: skip


def check_browsing(ctx: click.Context) -> None:
    """Raise UsageError for what can't be browsed, and where it can't be shown: before anything is read."""
    environment: Environment = ctx.obj
    wrong = next(_refused(ctx), None)
    if wrong is not None:
        raise UsageError(f"--browse can't be combined with {wrong}", hint=f"leave --browse or {wrong} out")
    from importlib.util import find_spec

    if find_spec("textual") is None:
        raise UsageError(
            "--browse needs the package textual, which is not installed", hint="pip install 'attncli[browse]'"
        )
    if not environment.can_show_progress or environment.stderr is None:
        raise UsageError(
            "--browse needs a terminal: it draws on stderr", hint="leave --browse out, or don't redirect stderr"
        )
    if environment.stdin is None:
        raise UsageError("--browse reads keys from the terminal, and stdin is closed", hint="leave stdin open")


#: Options that choose a view which isn't browsed, or another kind of input, by the names of their parameters.
_REFUSED = (
    "format", "json", "output", "check", "lines", "probe", "needle", "qk_ov", "against", "steps", "rollout",
    "receptive_field", "norm_weighted", "hide_special", "key", "bins",
)  # fmt: skip


def _refused(ctx: click.Context) -> Iterator[str]:
    """The options beside `--browse` that it is refused with, as typed in messages."""
    given = {name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    flags = {each.name: max(each.opts, key=len) for each in ctx.command.params if isinstance(each, Option)}
    yield from (flags[name] for name in _REFUSED if name in given)
    if "by" in given and ctx.params["by"] != "token":
        yield f"--by {ctx.params['by']}"
    if len(ctx.params["model"]) > 1:
        yield "two -m"
    if len(ctx.params["file"]) > 1:
        yield "several -f"


def browse_text(given: HeadsInput, options: HeadsOptions, loader: ModelLoader) -> None:
    """Browse a text under a model."""
    ctx = click.get_current_context()
    from attncli.browse.app import Start
    from attncli.browse.session import LiveSession

    session = LiveSession(given, options, loader, tuple(_repeated(ctx)), _text_words(ctx, given))
    layer = options.layer[0] if options.layer else ""
    head = options.head[0].split(",")[0] if options.head else None
    start = Start(
        stack=options.stack,
        head=head,
        layer=int(layer) if layer.removeprefix("-").isdecimal() else None,
        painted=options.metric or next(iter(options.effects.effect), "").split(",")[0] or None,
    )
    _run(session, start, ctx)


def browse_result(result: HeadsResult) -> None:
    """Browse a saved result."""
    ctx = click.get_current_context()
    from shlex import join

    from attncli.browse.app import Start
    from attncli.browse.session import SavedSession

    name = ctx.params["result"]
    session = SavedSession(result, join(["attn", "heads", "--result", name]))
    effects = None if result.effects is None else result.effects.kinds[0]
    _run(session, Start(painted=result.metric or effects), ctx)


def _run(session: Session, start: Start, ctx: click.Context) -> None:
    from attncli.browse.app import browse
    from attncli.browse.thread_work import Outside
    from attncli.cli.failures import as_attn_error
    from attncli.cli.signals import STOPPING

    environment: Environment = ctx.obj
    output = OutputOptions(**{field: ctx.params[field] for field in OutputOptions._fields})
    stderr = environment.stderr
    assert stderr is not None
    drawn = environment._replace(stdout=stderr.buffer, encoding=stderr.encoding)
    terminal = choose_terminal(
        drawn, color="never" if output.no_color else output.color, width=None, ascii_only=output.ascii
    )
    stopping = () if environment.windows else STOPPING
    before = {number: signal.getsignal(number) for number in STOPPING}
    outside = Outside(as_attn_error, partial(_write_page, output.title), stopping)
    try:
        ended = browse(session, terminal, outside, start, stream=stderr, keys=_keys(environment))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if ended is not None:
        signal.raise_signal(ended)


def _write_page(title: str | None, name: str, result: HeadsResult) -> str:
    from attncli.cli.output import write_file

    return write_file(name, result, title)


def _keys(environment: Environment) -> int | None:
    """Where keys come from: stdin, or the terminal where a text came from stdin. None on Windows, where Textual knows.

    Raises UsageError where there is no terminal.
    """
    if environment.windows:
        return None
    assert environment.stdin is not None
    if environment.stdin.isatty():
        return environment.stdin.fileno()
    try:
        return os.open("/dev/tty", os.O_RDWR)
    except OSError as error:
        raise UsageError("--browse finds no terminal to read keys from", hint="run it in a terminal") from error


# --- The words that repeat the command


def _repeated(ctx: click.Context) -> Iterator[str]:
    """The options of the command line but those of the view, the text and the output."""
    for parameter in ctx.command.params:
        name = parameter.name or ""
        typed = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if not typed or not isinstance(parameter, Option) or parameter.group == "Output" or name in _LEFT_OUT:
            continue
        flag, value = parameter.opts[-1] if len(parameter.opts) == 1 else parameter.opts[0], ctx.params[name]
        if parameter.is_flag:
            yield flag
        else:
            values: tuple[Any, ...] = value if isinstance(value, tuple) else (value,)
            yield from (word for each in values for word in (flag, str(each)))


def _text_words(ctx: click.Context, given: HeadsInput) -> tuple[str, ...]:
    """What gives the text again, also where it came from stdin."""
    text, files, ids = (ctx.params[name] for name in ("text", "file", "input_ids"))
    if text and STDIN not in text:
        return ("--", *text) if text[0].startswith("-") else tuple(text)
    if files and STDIN not in files:
        return ("-f", *files)
    if ids is not None and ids != STDIN:
        return ("--input-ids", ids)
    return (given.text,) if isinstance(given.text, str) else ()
