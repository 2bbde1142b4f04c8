"""The second process that is kept warm: forked from the first, it has loaded the model that was used last.

The first process never computes, so that it can fork whatever happens. The second loads a model on one thread, and
forks commands only if no other thread is left then: a thread, and the locks that it holds, would be missing in the
children.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli.errors import AttnError

if TYPE_CHECKING:
    from attncli.models.loading.kept_model import KeptModel, UsedModel

_MEMORY = Path("/proc/meminfo")
_THREADS = Path("/proc/self/task")
#: At most this share of the free memory is taken by a model that is kept.
_SHARE = 0.5
#: Bytes of one message between the two processes: names of modules.
_LONGEST = 1 << 17


class Link:
    """One end of the pair of sockets between the two processes, and the process at the other."""

    def __init__(self, end: socket.socket, process: int) -> None:
        self.end = end
        self.process = process

    @classmethod
    def pair(cls) -> tuple[socket.socket, socket.socket]:
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def tell(self, **message: Any) -> None:
        with suppress(OSError):  # the other end is gone, which `read` reports
            self.end.send(json.dumps(message).encode())

    def read(self) -> dict[str, Any] | None:
        """The next message; None where the other end is gone."""
        with suppress(OSError):
            if content := self.end.recv(_LONGEST):
                return dict(json.loads(content))
        return None


class Wish(NamedTuple):
    """A model to keep, and what a command that used it had around it.

    folder: the working folder.  path: where Python looks for packages, which may hold models.
    """

    model: UsedModel
    folder: str
    path: list[str]

    def written(self) -> str:
        """As JSON. Two wishes for the same are the same text."""
        return json.dumps(self)

    @classmethod
    def read(cls, text: str) -> Wish:
        from attncli.models.loading.kept_model import UsedModel

        model, folder, path = json.loads(text)
        return cls(UsedModel.from_list(model), folder, path)


def has_room(wish: Wish) -> bool:
    """Whether a model can be kept here: where the system tells of threads, and there is memory for it."""
    if not _THREADS.exists() or not _MEMORY.exists():
        return False
    lines = dict(line.split(":", 1) for line in _MEMORY.read_text("utf-8").splitlines())
    free = 1024 * int(lines.get("MemAvailable", "0 kB").split()[0])
    return wish.model.weight < _SHARE * free


def load_alone(wish: Wish) -> KeptModel | None:
    """The model, loaded by one thread; None where it may not be kept, or other threads were started."""
    try:
        with _around(wish), _one_thread():
            kept = _load(wish.model)
    except (AttnError, OSError):
        return None  # the next command that uses it says why
    return kept if _is_alone() else None


def _load(used: UsedModel) -> KeptModel | None:
    from attncli.api.loading import ModelLoader
    from attncli.api.requests import LoadingRequest, RunningRequest
    from attncli.models.loading.kept_model import KeptModel
    from attncli.models.loading.weights import full_depth

    options = used.options
    running = RunningRequest(options.device, options.dtype)
    loader = ModelLoader(used.model, None, LoadingRequest(used.revision), running)
    files = loader.files()
    if files is None:
        return None

    def load() -> Any:
        return loader.load(
            files,
            full_depth,
            eager=options.eager,
            writes=options.with_head,
            predicts=options.predicts,
            modality=options.modality,
        )

    return KeptModel.load(files, options, load)


@contextmanager
def _around(wish: Wish) -> Iterator[None]:
    """The working folder and the path of Python that the command had."""
    before = list(sys.path)
    os.chdir(wish.folder)
    sys.path[:] = wish.path
    try:
        yield
    finally:
        sys.path[:] = before
        os.chdir("/")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Without the threads of torch, of transformers' loader and of tqdm. torch's number stays 1: children reset it."""
    bar, variables = import_module("tqdm").tqdm, dict(os.environ)
    import_module("torch").set_num_threads(1)
    interval, bar.monitor_interval = bar.monitor_interval, 0
    os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = "1"
    try:
        yield
    finally:
        bar.monitor_interval = interval
        os.environ.clear()
        os.environ.update(variables)


def _is_alone() -> bool:
    """Whether this process has one thread when it forks: OpenBLAS ends its own then, to start them anew."""
    process = os.fork()
    if process == 0:
        os._exit(0)
    os.waitpid(process, 0)
    return len(list(_THREADS.iterdir())) == 1
