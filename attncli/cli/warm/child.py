"""The process of a command, forked from one that is kept warm."""

from __future__ import annotations

import io
import os
import signal
import socket
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from attncli.cli.warm.holder import Wish
from attncli.cli.warm.place import pack

if TYPE_CHECKING:
    from attncli.models.loading.kept_model import KeptModel, ModelKeeper

#: Signals that end a command.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_child(
    message: dict[str, Any], connection: socket.socket, descriptors: list[int], tells: int, kept: KeptModel | None
) -> NoReturn:
    """Become the process of a command, with its streams, folder, variables and signals; run it, tell its exit code."""
    code = 1
    try:
        # Said here, before anything else: a client that hears nothing knows that its command has not begun, also where
        # the process that forked this one is killed at once.
        with suppress(OSError):
            connection.sendall(pack({"process": os.getpid()}))
        known = frozenset(sys.modules)
        _take_over(message, descriptors)
        from attncli.cli.main import run_process
        from attncli.models.loading.kept_model import ModelKeeper

        keeper = ModelKeeper(kept)
        folder = str(Path.cwd())
        code = run_process(
            message["arguments"], ready=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING), keeper=keeper
        )
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, OSError, ValueError):
                stream.flush()
        with suppress(OSError):
            connection.sendall(pack({"code": code}))
        _tell_back(tells, keeper, folder, (name for name in sys.modules if name not in known))
    finally:
        os._exit(code)


def _tell_back(tells: int, keeper: ModelKeeper, folder: str, imported: Iterable[str]) -> None:
    used = keeper.used()
    wish = "" if used is None else Wish(used, folder, sys.path).written()
    with suppress(OSError):
        os.set_blocking(tells, False)
        os.write(tells, f"{wish}\n{' '.join(imported)}".encode()[: 1 << 16])


def _take_over(message: dict[str, Any], descriptors: list[int]) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for ending in ENDING:
        usual = signal.default_int_handler if ending == signal.SIGINT else signal.SIG_DFL
        signal.signal(ending, signal.SIG_IGN if ending.name in message["ignored"] else usual)
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
    os.fchdir(descriptors[3])
    os.umask(message["umask"])
    os.environ.clear()
    os.environ.update(message["variables"])
    sys.argv[:] = [message["program"], *message["arguments"]]
    sys.path[:] = message["path"]
    forms = message["streams"]
    sys.stdin = _text_stream(0, forms[0])
    sys.stdout = _text_stream(1, forms[1])
    sys.stderr = _text_stream(2, forms[2])


def _text_stream(number: int, form: dict[str, str] | None) -> Any:
    if form is None:
        return None
    raw = io.FileIO(number, "r" if number == 0 else "w", closefd=False)
    buffer = io.BufferedReader(raw) if number == 0 else io.BufferedWriter(raw)
    is_line = number == 2 or raw.isatty()
    return io.TextIOWrapper(buffer, encoding=form["encoding"], errors=form["errors"], line_buffering=is_line)
