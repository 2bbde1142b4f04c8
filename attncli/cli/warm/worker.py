"""The process that is kept warm: it has imported torch and forks a child for each command.

It runs one thread and computes nothing itself, so that forking is safe. Started by `start`, detached from any terminal;
it ends by itself when it was idle for the time that it was given.

    python -P -m attncli.cli.warm.worker SECONDS
"""

from __future__ import annotations

import gc
import io
import os
import selectors
import signal
import socket
import sys
import time
from collections import deque
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from attncli.cli.warm.client import peer_user
from attncli.cli.warm.place import GO, Identity, Reader, lasting_variables, pack, socket_path

#: What every command that runs a model imports; what else commands import is learnt from them.
_MODULES = (
    "torch",
    "transformers",
    "attncli.cli.main",
    "attncli.cli.heads",
    "attncli.api.heads",
    "attncli.api.compare",
)
#: Packages whose modules are imported here once a command has imported them. Never the user's own.
_LEARNT = frozenset(
    (
        *("attncli", "torch", "transformers", "tokenizers", "numpy", "safetensors", "huggingface_hub", "rich", "click"),
        *("gguf", "peft", "accelerate", "jinja2"),
    )
)
#: The most bytes of names of modules that are learnt at once.
_MOST_NAMES = 1 << 20
#: Signals that end a command.
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Seconds between looking whether the time is up.
_TICK = 0.5


class Worker:
    """The loop. lock: the file that says there is one.  seconds: how long it stays idle before it ends."""

    def __init__(self, listener: socket.socket, path: Path, lock: int, seconds: float) -> None:
        self._lock = lock
        self._listener = listener
        self._path = path
        self._seconds = seconds
        self._identity = Identity.of_process()
        self._started = self._last = time.monotonic()
        self._runs = 0
        self._selector = selectors.DefaultSelector()
        #: The connection of each running command, by the id of its process.
        self._running: dict[int, socket.socket] = {}
        #: The read end of the pipe on which each says what it imported.
        self._imports: dict[int, int] = {}
        self._ends = False
        #: Modules that commands imported and this process hasn't yet.
        self._unknown: deque[str] = deque()

    def serve(self) -> None:
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        wake, woken = socket.socketpair()
        wake.setblocking(False)
        woken.setblocking(False)
        signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._selector.register(wake, selectors.EVENT_READ, wake)
        while not self._is_over():
            ready = self._selector.select(0 if self._unknown else _TICK)
            if not ready and self._unknown:
                self._import_next()
            for key, _ in ready:
                if key.data is None:
                    self._accept()
                elif key.data is wake:
                    with suppress(BlockingIOError):
                        wake.recv(4096)
                else:
                    self._hung_up(key.data)
            self._reap()

    def _import_next(self) -> None:
        """Import one of the modules that commands imported: one at a time, so that a command doesn't have to wait.

        Where one can't be imported here, this process isn't like a new one any more, and ends.
        """
        try:
            import_module(self._unknown.popleft())
        except Exception:  # a module may raise anything
            self._unknown.clear()
            self._end()

    def _end(self) -> None:
        self._ends = True
        self._path.unlink(missing_ok=True)

    def _is_over(self) -> bool:
        is_idle = not self._running and time.monotonic() - self._last > self._seconds
        is_ours = self._path.exists()
        return (self._ends or is_idle or not is_ours) and not (self._running and not self._ends)

    def _accept(self) -> None:
        with suppress(OSError):
            connection, _ = self._listener.accept()
            connection.settimeout(_TICK * 4)
            try:
                self._answer(connection)
            except (OSError, KeyError, ValueError, TypeError):
                connection.close()

    def _answer(self, connection: socket.socket) -> None:
        if peer_user(connection) != os.getuid():
            connection.close()
            return
        content, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, 4)
        message = Reader(connection, content).read()
        try:
            self._do(message or {}, connection, list(descriptors))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _do(self, message: dict[str, Any], connection: socket.socket, descriptors: list[int]) -> None:
        match message.get("do"):
            case "run" if len(descriptors) == 4 and self._is_same(message):
                self._run(message, connection, descriptors)
                return
            case "keep":
                self._seconds = float(message["seconds"])
                self._last = time.monotonic()
                connection.sendall(pack(self._state()))
            case "status":
                connection.sendall(pack(self._state()))
            case "end":
                self._end()
                connection.sendall(pack(self._state()))
        connection.close()

    def _is_same(self, message: dict[str, Any]) -> bool:
        """Whether a command would run here as in a new process. After an upgrade this process ends."""
        if message["files"] != self._identity.files:
            self._end()
            return False
        return lasting_variables(message["variables"]) == self._identity.variables

    def _state(self) -> dict[str, Any]:
        return {
            "process": os.getpid(),
            "seconds": self._seconds,
            "runs": self._runs,
            "running": len(self._running),
            "idle": 0.0 if self._running else time.monotonic() - self._last,
            "age": time.monotonic() - self._started,
        }

    def _run(self, message: dict[str, Any], connection: socket.socket, descriptors: list[int]) -> None:
        # A client that has waited too long runs the command itself, and has closed the connection.
        connection.sendall(pack({"ready": True}))
        if connection.recv(1) != GO:
            connection.close()
            return
        told, tells = os.pipe()
        # A signal to the new process waits until it can end in order.
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        process = os.fork()
        if process == 0:
            # The lock, the listener and other commands' connections are not this command's.
            for other in (self._listener, *self._running.values()):
                other.close()
            os.close(self._lock)
            _run_child(message, connection, descriptors, tells)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        os.close(tells)
        self._runs += 1
        self._running[process], self._imports[process] = connection, told
        # Nothing more comes from the client: a read means that it is gone.
        self._selector.register(connection, selectors.EVENT_READ, process)
        with suppress(OSError):
            connection.sendall(pack({"process": process}))

    def _hung_up(self, process: int) -> None:
        """The client is gone without waiting for the end: the command ends as when a terminal closes."""
        with suppress(KeyError, ValueError):
            self._selector.unregister(self._running[process])
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)
            os.kill(process, signal.SIGHUP)

    def _reap(self) -> None:
        for process in list(self._running):
            found, status = os.waitpid(process, os.WNOHANG)
            if not found:
                continue
            connection = self._running.pop(process)
            with suppress(KeyError, ValueError):
                self._selector.unregister(connection)
            if os.WIFSIGNALED(status):
                with suppress(OSError):
                    connection.sendall(pack({"code": 128 + os.WTERMSIG(status)}))
            connection.close()
            self._last = time.monotonic()
            self._learn(self._imports.pop(process))

    def _learn(self, told: int) -> None:
        """Note what a command imported, to import it here, so that the next one doesn't have to."""
        with os.fdopen(told, "rb") as file:
            names = file.read(_MOST_NAMES).decode("utf-8", "replace").split()
        self._unknown += [name for name in names if name.partition(".")[0] in _LEARNT and name not in sys.modules]


def _run_child(message: dict[str, Any], connection: socket.socket, descriptors: list[int], tells: int) -> NoReturn:
    """Become the process of a command, with its streams, folder, variables and signals; run it, tell its exit code."""
    code = 1
    try:
        known = frozenset(sys.modules)
        _take_over(message, descriptors)
        from attncli.cli.main import run_process

        code = run_process(message["arguments"], ready=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING))
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, OSError, ValueError):
                stream.flush()
        with suppress(OSError):
            connection.sendall(pack({"code": code}))
        names = " ".join(name for name in sys.modules if name not in known)
        with suppress(OSError):
            os.set_blocking(tells, False)
            os.write(tells, names.encode()[: 1 << 16])
    finally:
        os._exit(code)


def _take_over(message: dict[str, Any], descriptors: list[int]) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for ending in _ENDING:
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


def main() -> None:
    import fcntl

    path = socket_path()
    if path is None:
        sys.exit(1)
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit(0)  # another one is there, or is starting
    for name in _MODULES:
        import_module(name)
    gc.collect()
    gc.freeze()
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(16)
    worker = Worker(listener, path, lock, float(sys.argv[1]))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        worker.serve()
    finally:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
