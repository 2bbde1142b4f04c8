"""The process that is kept warm: it has imported torch and forks a child for each command.

It runs one thread and computes nothing itself, so that forking is safe. Once a command has used a model, it forks a
holder, which loads the model and then takes the commands in its place (`holder.py`); where that one is gone, the first
process takes them again. Started by `start`, detached from any terminal; both end when no command has come for the time
that was given.

    python -P -m attncli.cli.warm.worker SECONDS
"""

from __future__ import annotations

import gc
import mmap
import os
import selectors
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attncli.cli.warm.child import ENDING, run_child
from attncli.cli.warm.client import peer_user
from attncli.cli.warm.holder import Link, Wish, has_room, load_alone
from attncli.cli.warm.place import GO, Identity, Reader, lasting_variables, pack, socket_path

if TYPE_CHECKING:
    from attncli.models.loading.kept_model import KeptModel

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
#: Seconds between looking whether the time is up.
_TICK = 0.5
#: Seconds that a client may take to say that it waits for its command; others wait meanwhile, or run alone.
_PATIENCE = 10.0


class _Shared:
    """Numbers that both processes read and write: the time to stay idle, the time of the last use, and the commands."""

    def __init__(self, seconds: float) -> None:
        self._numbers = memoryview(mmap.mmap(-1, 24)).cast("d")
        self.seconds = seconds
        self.use()

    @property
    def seconds(self) -> float:
        return self._numbers[0]

    @seconds.setter
    def seconds(self, value: float) -> None:
        self._numbers[0] = value

    @property
    def idle(self) -> float:
        return time.monotonic() - self._numbers[1]

    def use(self, *, commands: int = 0) -> None:
        self._numbers[1] = time.monotonic()
        self._numbers[2] += commands

    @property
    def runs(self) -> int:
        return int(self._numbers[2])


class Worker:
    """The loop. lock: the file that says there is one.  seconds: how long it stays idle before it ends."""

    def __init__(self, listener: socket.socket, path: Path, lock: int, seconds: float) -> None:
        self._lock = lock
        self._listener = listener
        self._path = path
        self._identity = Identity.of_process()
        self._first = os.getpid()
        self._shared = _Shared(seconds)
        self._ends = False
        #: Modules that commands imported and this process hasn't yet.
        self._unknown: deque[str] = deque()
        #: In the first process: the holder, the model it is for, and whether it takes the commands.
        self._holder: Link | None = None
        self._wish = ""
        self._holder_serves = False
        #: Models that could not be kept, and holders that may still have commands.
        self._refused: set[str] = set()
        self._former: list[int] = []
        #: In a holder: the first process, the model, and torch's number of threads.
        self._parent: Link | None = None
        self._kept: KeptModel | None = None
        self._threads = 0
        self._is_retired = False
        self._open()

    def _open(self) -> None:
        """What every process has of its own."""
        self._selector = selectors.DefaultSelector()
        #: The connection of each running command, by the id of its process.
        self._running: dict[int, socket.socket] = {}
        #: The read end of the pipe on which each says what it imported.
        self._imports: dict[int, int] = {}
        wake, woken = socket.socketpair()
        wake.setblocking(False)
        woken.setblocking(False)
        self._waking = (wake, woken)
        signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._watch(wake, self._wake)
        self._watch(self._listener, self._accept)

    def _watch(self, source: socket.socket, act: Callable[[], None]) -> None:
        self._selector.register(source, selectors.EVENT_READ, act)

    def _forget(self, source: socket.socket) -> None:
        with suppress(KeyError, ValueError):
            self._selector.unregister(source)

    def _wake(self) -> None:
        with suppress(BlockingIOError):
            self._waking[0].recv(4096)

    def serve(self) -> None:
        while not self._is_over():
            ready = self._selector.select(0 if self._unknown else _TICK)
            if not ready and self._unknown:
                self._import_next()
            for key, _ in ready:
                key.data()
            self._reap()
        self._stop_loading()

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
        if self._ends:
            return True
        if self._running:
            return False
        is_idle = self._shared.idle > self._shared.seconds and not self._holder_serves
        return self._is_retired or is_idle or not self._path.exists()

    def _accept(self) -> None:
        with suppress(OSError):  # the other process may have been faster
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
                self._shared.seconds = float(message["seconds"])
                self._shared.use()
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
        holder = os.getpid() if self._holder is None else self._holder.process
        return {
            "process": self._first,
            "holder": None if holder == self._first else holder,
            "model": None if self._kept is None else self._kept.model.name,
            "weight": 0 if self._kept is None else self._kept.weight,
            "seconds": self._shared.seconds,
            "runs": self._shared.runs,
            "running": len(self._running),
            "idle": 0.0 if self._running else self._shared.idle,
        }

    def _run(self, message: dict[str, Any], connection: socket.socket, descriptors: list[int]) -> None:
        # A client that has waited too long runs the command itself, and has closed the connection.
        connection.sendall(pack({"ready": True}))
        connection.settimeout(_PATIENCE)
        if connection.recv(1) != GO:
            connection.close()
            return
        told, tells = os.pipe()
        # A signal to the new process waits until it can end in order.
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        process = os.fork()
        if process == 0:
            # The lock, the listener and other commands' connections are not this command's.
            self._let_go()
            self._listener.close()
            for link in (self._parent, self._holder):
                if link is not None:
                    link.end.close()
            if self._threads:
                import_module("torch").set_num_threads(self._threads)
            run_child(message, connection, descriptors, tells, self._kept)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        os.close(tells)
        self._shared.use(commands=1)
        self._running[process], self._imports[process] = connection, told
        # Nothing more comes from the client: a read means that it is gone.
        self._watch(connection, partial(self._hung_up, process))

    def _hung_up(self, process: int) -> None:
        """The client is gone without waiting for the end: the command ends as when a terminal closes."""
        self._forget(self._running[process])
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)
            os.kill(process, signal.SIGHUP)

    def _reap(self) -> None:
        for process in list(self._running):
            found, status = os.waitpid(process, os.WNOHANG)
            if not found:
                continue
            connection = self._running.pop(process)
            self._forget(connection)
            if os.WIFSIGNALED(status):
                with suppress(OSError):
                    connection.sendall(pack({"code": 128 + os.WTERMSIG(status)}))
            connection.close()
            self._shared.use()
            self._learn(self._imports.pop(process))
        self._former = [process for process in self._former if not os.waitpid(process, os.WNOHANG)[0]]

    def _learn(self, told: int) -> None:
        """Note what a command says at its end: the model that it loaded, and the modules that it imported."""
        with os.fdopen(told, "rb") as file:
            wish, _, names = file.read(_MOST_NAMES).decode("utf-8", "replace").partition("\n")
        self._note_imports(names)
        if wish:
            self._note_wish(wish)

    def _note_imports(self, names: str) -> None:
        """Import them here as well, and in the first process, so that the next command doesn't have to."""
        new = [name for name in names.split() if name.partition(".")[0] in _LEARNT and name not in sys.modules]
        self._unknown += new
        if new and self._parent is not None:
            self._parent.tell(imported=" ".join(new))

    # --- A holder

    def _note_wish(self, wish: str) -> None:
        if self._parent is not None:
            self._parent.tell(wish=wish)
        elif wish != self._wish and wish not in self._refused:
            self._retire()
            if has_room(Wish.read(wish)):
                self._hold(wish)

    def _hold(self, wish: str) -> None:
        """Fork a process that loads a model, and takes the commands once it has."""
        ours, theirs = Link.pair()
        process = os.fork()
        if process == 0:
            try:
                ours.close()
                self._become_holder(Wish.read(wish), Link(theirs, self._first))
            finally:
                os._exit(0)
        theirs.close()
        self._wish, self._holder = wish, Link(ours, process)
        self._watch(ours, self._hear_holder)

    def _become_holder(self, wish: Wish, parent: Link) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._let_go()
        self._parent, self._former = parent, []
        self._threads = import_module("torch").get_num_threads()
        self._kept = load_alone(wish)
        if self._kept is None or os.getppid() != self._first:
            return
        gc.collect()
        gc.freeze()
        self._open()
        self._watch(parent.end, self._hear_first)
        parent.tell(ready=True)
        self.serve()

    def _let_go(self) -> None:
        """In a forked process: of what belongs to the other. The lock is the first process's."""
        self._selector.close()
        if self._parent is None:
            os.close(self._lock)
        for each in (*self._waking, *self._running.values()):
            each.close()
        for told in self._imports.values():
            os.close(told)

    def _hear_first(self) -> None:
        """A holder retires when another is to take its place, and ends with the first process."""
        if self._parent is None:
            return
        if self._parent.read() is None:
            self._end()
        self._is_retired = True
        self._forget(self._listener)
        self._forget(self._parent.end)

    def _hear_holder(self) -> None:
        if self._holder is None:
            return
        message = self._holder.read()
        if message is None:
            # Killed, or it could not keep the model.
            self._refused.add(self._wish)
            self._let_holder_go()
        elif "ready" in message:
            self._holder_serves = True
            self._forget(self._listener)
        elif "imported" in message:
            self._note_imports(message["imported"])
        elif "wish" in message:
            self._note_wish(message["wish"])

    def _retire(self) -> None:
        """Let the holder end when its commands are done, and take those that come."""
        if self._holder is not None:
            self._stop_loading()
            self._holder.tell(retire=True)
            self._let_holder_go()

    def _stop_loading(self) -> None:
        if self._holder is not None and not self._holder_serves:
            with suppress(ProcessLookupError):
                os.kill(self._holder.process, signal.SIGTERM)

    def _let_holder_go(self) -> None:
        if self._holder is None:
            return
        self._forget(self._holder.end)
        self._holder.end.close()
        self._former.append(self._holder.process)
        if self._holder_serves:
            self._watch(self._listener, self._accept)
        self._holder, self._wish, self._holder_serves = None, "", False


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
    # Two processes may wait for the next connection.
    listener.setblocking(False)
    worker = Worker(listener, path, lock, float(sys.argv[1]))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        worker.serve()
    finally:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
