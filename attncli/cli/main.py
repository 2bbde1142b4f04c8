"""`attn` from its first line to its exit code. Whatever takes time to import waits until Ctrl-C can be answered."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from attncli.choices import COMPLETION

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

    from attncli.cli.environment import Environment
    from attncli.cli.signals import Signals


def main() -> NoReturn:
    """The entry point: run with this process's arguments and streams, and exit with the code of what happened."""
    try:
        from attncli.cli.signals import Signals, Stopped
    except KeyboardInterrupt:
        sys.exit(130)
    # A run makes objects by the hundred thousand and drops few of them in circles: looking for those as often as
    # Python does by itself would take a tenth of the time.
    gc.set_threshold(100_000)
    prepare_torch(sys.platform, os.environ)
    signals = Signals()
    try:
        signals.install()
        from attncli.cli.environment import Environment

        code = run(sys.argv[1:], Environment.from_process(), signals)
    except Stopped as stopped:
        code = stopped.code
    signals.ignore()
    _exit(signals.stopped.code if signals.stopped else code)


def prepare_torch(platform: str, variables: MutableMapping[str, str]) -> None:
    """Let the CPU do what torch can't do on Apple's GPUs, unless the user says otherwise; torch asks at its import."""
    if platform == "darwin":
        variables.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")


def _exit(code: int) -> NoReturn:
    """Exit, and where the process was started for `attn` alone, without taking the interpreter apart object by object.

    That would take as long as starting it: a third of a second once torch is imported.
    """
    if getattr(sys.modules["__main__"], "main", None) is main:
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, OSError, ValueError):  # closed, or never open
                stream.flush()
        os._exit(code)
    sys.exit(code)


def run(arguments: Sequence[str], environment: Environment, signals: Signals | None = None) -> int:
    """One call of `attn` in the given surroundings; returns its exit code. `signals` raises `Stopped` through it."""
    from attncli.cli.environment import NoReaderError
    from attncli.cli.messages import suppress_output
    from attncli.errors import ExitCode

    debug = "--debug" in arguments
    try:
        if instruction := environment.variables.get(COMPLETION):
            return _complete(instruction, environment)
        with suppress_output(unless=debug):
            return _invoke(list(arguments), environment)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except NoReaderError:
        return ExitCode.BROKEN_PIPE
    except (Exception, SystemExit) as error:
        if signals is not None and signals.stopped is not None:
            # A library turned the signal into an error of its own.
            raise signals.stopped from error
        return _report_error(error, environment, debug=debug)


def _invoke(arguments: list[str], environment: Environment) -> int:
    from click.exceptions import Exit

    from attncli.cli.command import attn
    from attncli.cli.environment import choose_width
    from attncli.errors import ExitCode

    help_width = min(choose_width(environment, None), 100)
    try:
        with attn.make_context("attn", arguments, obj=environment, terminal_width=help_width) as context:
            attn.invoke(context)
    except Exit as exit_:
        return exit_.exit_code
    return ExitCode.OK


def _complete(instruction: str, environment: Environment) -> int:
    from click.shell_completion import shell_complete

    from attncli.cli.command import attn
    from attncli.cli.shells import register

    register()
    return shell_complete(attn, {"obj": environment}, "attn", COMPLETION, instruction)


def _report_error(error: BaseException, environment: Environment, *, debug: bool) -> int:
    """Two lines on stderr, and with `--debug` the traceback after them."""
    from attncli.cli.failures import as_attn_error
    from attncli.cli.messages import one_line

    failure = as_attn_error(error)
    environment.write_line(f"error: {one_line(failure.message)}")
    environment.write_line(f"hint: {one_line(failure.hint)}")
    if debug:
        from traceback import format_exception

        for line in "".join(format_exception(error)).splitlines():
            environment.write_line(one_line(line))
    return failure.exit_code
