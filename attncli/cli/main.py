"""The entry point of `attn`: runs a command in its environment and turns errors into exit codes.

Imports that take time wait until Ctrl-C is handled.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from attncli.choices import COMPLETION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping, Sequence

    from attncli.cli.environment import Environment
    from attncli.cli.signals import Signals
    from attncli.models.loading.kept_model import ModelKeeper


def main() -> NoReturn:
    """Run `attn` with this process's arguments and streams, and exit with its exit code.

    Where a process is kept warm (`attn --keep-warm`), it runs the command.
    """
    from attncli.cli.warm import has_sockets

    code = None
    if has_sockets():
        from attncli.cli.warm.client import run_warm

        try:
            code = run_warm(sys.argv[1:])
        except KeyboardInterrupt:
            code = 130
    if code is None and _is_own_process() and may_defer(sys.argv[1:], os.environ):
        from attncli.models.loading.deferred_imports import defer_imports

        defer_imports()
    _exit(run_process(sys.argv[1:], keeps_warm=True) if code is None else code)


def run_process(
    arguments: Sequence[str],
    *,
    keeps_warm: bool = False,
    ready: Callable[[], object] = lambda: None,
    keeper: ModelKeeper | None = None,
) -> int:
    """Run `attn` with this process's streams; returns the exit code. Signals are ignored from then on.

    keeps_warm: whether to start a process that is kept warm, if the user wants one.  ready: called once signals end the
    command in order.  keeper: in a process that was forked from one that is kept warm.
    """
    try:
        from attncli.cli.signals import Signals, Stopped
    except KeyboardInterrupt:
        return 130
    # A run creates hundreds of thousands of objects and few reference cycles: Python's default threshold would spend
    # a tenth of the time on garbage collection.
    gc.set_threshold(100_000)
    prepare_torch(sys.platform, os.environ)
    signals = Signals()
    try:
        signals.install()
        ready()
        from attncli.cli.environment import Environment
        from attncli.cli.messages import suppress_native_output

        # Options of Python (-X importtime, -X faulthandler) write to the same stderr.
        is_diagnosed = "--debug" in arguments or bool(sys._xoptions)
        own = Environment.from_process()._replace(keeper=keeper)
        with suppress_native_output(own, unless=is_diagnosed) as environment:
            code = run(arguments, environment, signals, keeps_warm=keeps_warm)
    except Stopped as stopped:
        code = stopped.code
    signals.ignore()
    return signals.stopped.code if signals.stopped else code


def prepare_torch(platform: str, variables: MutableMapping[str, str]) -> None:
    """Let torch fall back to the CPU for what Apple's GPUs lack, unless the user says otherwise.

    torch reads the variable when it is imported.
    """
    if platform == "darwin":
        variables.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")


#: Variables of torchrun and others that start several processes, which need what is for several devices.
_SEVERAL_PROCESSES = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
#: What lets code or objects of others into the process: they may expect the real modules.
_FOREIGN = ("--trust-remote-code", "--allow-pickle")


def may_defer(arguments: Sequence[str], variables: Mapping[str, str]) -> bool:
    """Whether a command in a process of its own may put off imports (`deferred_imports`)."""
    named = (*arguments, variables.get("ATTN_MODEL", ""))
    is_foreign = any(each in _FOREIGN or ".py:" in each for each in named)
    return not is_foreign and not any(name in variables for name in _SEVERAL_PROCESSES)


def _is_own_process() -> bool:
    return getattr(sys.modules["__main__"], "main", None) is main


def _exit(code: int) -> NoReturn:
    """Exit; where the process runs `attn` alone, without finalizing the interpreter.

    Finalizing takes a third of a second once torch is imported.
    """
    if _is_own_process():
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, OSError, ValueError):  # closed, or never open
                stream.flush()
        os._exit(code)
    sys.exit(code)


def run(
    arguments: Sequence[str], environment: Environment, signals: Signals | None = None, *, keeps_warm: bool = False
) -> int:
    """Run one `attn` command line in an environment; returns its exit code. Raises `Stopped` after a signal."""
    from attncli.cli.environment import NoReaderError
    from attncli.cli.messages import suppress_output
    from attncli.errors import ExitCode, is_panic

    debug = "--debug" in arguments
    try:
        if instruction := environment.variables.get(COMPLETION):
            return _complete(instruction, environment)
        with suppress_output(unless=debug):
            code = _invoke(list(arguments), environment)
            if keeps_warm and environment.variables.get("ATTN_KEEP_WARM"):
                from attncli.cli.warm.control import start_if_wanted

                start_if_wanted(environment)
            return code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except NoReaderError:
        return ExitCode.BROKEN_PIPE
    except BaseException as error:
        if not (isinstance(error, (Exception, SystemExit)) or is_panic(error)):
            raise
        if signals is not None and signals.stopped is not None:
            # A library caught `Stopped` and raised another error.
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
    from click.shell_completion import add_completion_class, shell_complete

    from attncli.cli.command import attn
    from attncli.cli.completion import Bash

    add_completion_class(Bash, "bash")
    return shell_complete(attn, {"obj": environment}, "attn", COMPLETION, instruction)


def _report_error(error: BaseException, environment: Environment, *, debug: bool) -> int:
    """Write the error and its hint to stderr, with `--debug` also the traceback; returns the exit code."""
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
