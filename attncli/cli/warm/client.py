"""Runs a command in the process that is kept warm, if there is one, with the streams and signals of this process.

Imports the standard library alone, as the command may run here after all.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from attncli.cli.warm.place import GO, Identity, Reader, is_possible, must_run_alone, pack, socket_path

if TYPE_CHECKING:
    import socket

#: Seconds to wait until the process answers: it only forks.
_PATIENCE = 5.0
#: Signals that are passed on to the command.
_PASSED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGCONT", "SIGUSR1", "SIGUSR2")


def run_warm(arguments: list[str]) -> int | None:
    """Run a command in the process that is kept warm; returns its exit code, or None where it has to run here."""
    if not is_possible() or must_run_alone(os.environ) or not arguments or arguments[0].startswith("-"):
        return None
    if "--browse" in arguments:  # its keys and its size are those of this process's terminal
        return None
    connection = connect()
    if connection is None:
        return None
    with connection:
        return _run(connection, arguments)


def connect() -> socket.socket | None:
    """A connection to the process that is kept warm; None where there is none, or the socket is another user's."""
    import socket

    path = socket_path()
    if path is None or not path.exists():
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(_PATIENCE)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        return None
    if peer_user(connection) != os.getuid():
        connection.close()
        return None
    return connection


def peer_user(connection: socket.socket) -> int | None:
    """The user of the process at the other end; None where the system doesn't tell."""
    import socket
    import struct

    if hasattr(socket, "SO_PEERCRED"):
        size = struct.calcsize("3i")
        return int(struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))[1])
    # The layout of `struct xucred` of macOS and BSD: version, user, …
    with suppress(OSError):
        found = connection.getsockopt(0, 1, 76)
        return int(struct.unpack_from("=II", found)[1])
    return None


def ask(message: dict[str, Any]) -> dict[str, Any] | None:
    """The answer of the process that is kept warm to a question about itself; None where there is none."""
    connection = connect()
    if connection is None:
        return None
    with connection:
        connection.sendall(pack(message))
        return Reader(connection).read()


def start(seconds: float) -> None:
    """Start the process that is kept warm, for so long after its last use, without waiting for it."""
    import subprocess

    subprocess.Popen(
        [sys.executable, "-P", "-m", "attncli.cli.warm.worker", str(seconds)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )


def _run(connection: socket.socket, arguments: list[str]) -> int | None:
    import socket

    identity = Identity.of_process()
    request = {
        "do": "run",
        "files": identity.files,
        "variables": dict(os.environ),
        "arguments": arguments,
        "program": sys.argv[0],
        "path": sys.path,
        "umask": _umask(),
        "streams": [_text_form(stream) for stream in (sys.stdin, sys.stdout, sys.stderr)],
        "ignored": [name for name in _PASSED if hasattr(signal, name) and _is_ignored(name)],
    }
    passed = [_open_or_null(number) for number in (0, 1, 2)]
    try:
        folder = os.open(".", os.O_RDONLY)
    except OSError:  # a folder that is gone, or unreadable
        return None
    content = pack(request)
    command = _Command()
    # From here on a signal is the command's, also before it has begun.
    command.pass_signals()
    try:
        sent = socket.send_fds(connection, [content], [*passed, folder])
        connection.sendall(content[sent:])
        return command.wait(Reader(connection), connection)
    except OSError:
        return None if command.process is None else _broken()
    finally:
        os.close(folder)
        command.keep_signals()


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _is_ignored(name: str) -> bool:
    return signal.getsignal(getattr(signal, name)) is signal.SIG_IGN


def _text_form(stream: Any) -> dict[str, Any] | None:
    """How a stream writes text; None for a closed one."""
    return None if stream is None else {"encoding": stream.encoding, "errors": stream.errors}


def _open_or_null(number: int) -> int:
    """The descriptor itself, or the null device in its place where it is closed."""
    try:
        os.fstat(number)
    except OSError:
        return os.open(os.devnull, os.O_RDWR)
    return number


def _broken() -> int:
    sys.stderr.write(
        "error: the process that was kept warm ended before the command did\n"
        "hint: try again; attn --keep-warm off ends it for good\n"
    )
    return 1


class _Command:
    """The command that runs elsewhere.

    process: its id, once it is known.
    """

    def __init__(self) -> None:
        self.process: int | None = None
        self._waiting: list[int] = []
        self._handlers: dict[int, Any] = {}

    def pass_signals(self) -> None:
        for name in (*_PASSED, "SIGTSTP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._handlers[number] = signal.signal(number, self._stop_both if name == "SIGTSTP" else self._pass)

    def keep_signals(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self.process is None:  # the command runs here: what came meanwhile is its own
            for number in self._waiting:
                signal.raise_signal(number)

    def wait(self, reader: Reader, connection: socket.socket) -> int | None:
        """The exit code; None where the process refused to run the command, or ended before it began."""
        if (reader.read() or {}).get("ready") is not True:
            return None
        connection.sendall(GO)
        connection.settimeout(None)
        first = reader.read()
        if first is None:  # the process ended before the command began
            return None
        self.process = int(first["process"])
        for number in self._waiting:
            self._send(number)
        last = reader.read()
        return _broken() if last is None else int(last["code"])

    def _pass(self, number: int, _: object) -> None:
        if self.process is None:
            self._waiting.append(number)
        else:
            self._send(number)

    def _send(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.process or 0, number)

    def _stop_both(self, *_: object) -> None:
        """Ctrl-Z: the command isn't among the terminal's processes, so that SIGTSTP alone wouldn't stop it."""
        if self.process is not None:
            self._send(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        # Continued by `fg`.
        if self.process is not None:
            self._send(signal.SIGCONT)
