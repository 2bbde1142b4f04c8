"""Render chat templates, which are untrusted code, in a child process that is killed if it takes too long.

A thread can't be stopped, a signal doesn't interrupt one long operation (`10 ** 10 ** 10`), and neither limits memory;
killing a process does all of it, on every system. One child, started in less than a tenth of a second, renders all
conversations of a run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Timer
from typing import IO, NamedTuple

from attncli.errors import FailedError

#: Seconds that a template may take for all renderings of a request; known models' templates take a few milliseconds.
SECONDS = 5.0

#: Seconds for the child to start, on a slow machine under load.
_START_SECONDS = 60.0

#: Most bytes of one answer.
_MOST_BYTES = 1 << 28

_PACKAGES = ("attncli", "jinja2", "markupsafe")
_PROGRAM = "import sys; sys.path += {folders!r}; from attncli.models.chat.program import serve; serve()"


class Call(NamedTuple):
    """A rendering to make: the messages by their indices, and whether the generation prompt follows them."""

    pick: Sequence[int]
    generation: bool = False


class Rendering(NamedTuple):
    """The text of a rendering, or the reason why there is none.

    kind: "refused" (the template's own `raise_exception`), "failed", "syntax" or "memory"; "" where there is a text.
    message: from the template or from jinja2.
    line, column: from 1, of the statement that fails, which is `excerpt`; None where unknown.
    """

    text: str | None = None
    kind: str = ""
    message: str = ""
    line: int | None = None
    column: int | None = None
    excerpt: str = ""


class StoppedError(Exception):
    """The child took too long (`slow`), or ended by itself, for example when memory ran out."""

    def __init__(self, *, slow: bool) -> None:
        super().__init__()
        self.slow = slow


class Sandbox:
    """Renders chat templates in a child process; a context manager that ends the child.

    seconds: how long a template may take over one request.
    """

    def __init__(self, *, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._child: _Child | None = None

    def __enter__(self) -> Sandbox:
        """Start the child without waiting for it: it starts while a tokenizer is loaded."""
        self._child = _Child()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def render(
        self, source: str, messages: Sequence[object], variables: Mapping[str, object], calls: Sequence[Call]
    ) -> list[Rendering]:
        """Render a template's source with messages and variables, once for each call.

        Raises StoppedError where the child had to be killed or has ended, FailedError where it can't be started.
        """
        request = {
            "source": source,
            "messages": messages,
            "variables": variables,
            "calls": [{"pick": list(call.pick), "generation": call.generation} for call in calls],
            "seconds": self.seconds,
        }
        answer = [Rendering(**entry) for entry in json.loads(self._answer(json.dumps(request).encode() + b"\n"))]
        # If memory ran out, there is one answer for all calls.
        return answer if len(answer) == len(calls) else answer * len(calls)

    def _answer(self, request: bytes) -> bytes:
        if self._child is None:
            self._child = _Child()
        try:
            return self._child.answer(request, self.seconds)
        except BaseException:
            # After an interrupt, too: the next request must not get the answer to this one.
            self._end()
            raise

    def _end(self) -> None:
        if self._child is not None:
            self._child.end()
            self._child = None


class _Child:
    """The process: a line in, a line out."""

    def __init__(self) -> None:
        self._ready = False
        # -I and -S: no modules from the environment or the current folder are imported, and it starts sooner.
        command = [sys.executable, "-I", "-S", "-c", _PROGRAM.format(folders=_package_folders())]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except (OSError, ValueError) as error:
            raise _start_error(str(error)) from error

    def answer(self, request: bytes, seconds: float) -> bytes:
        """The answer to a request. Raises StoppedError."""
        if not self._ready:
            with self._killed_after(_START_SECONDS):
                self._ready = self._output.readline(_MOST_BYTES) == b"ready\n"
            if not self._ready:
                raise _start_error("it ended at once")
        with self._killed_after(seconds) as killed:
            try:
                self._input.write(request)
                self._input.flush()
            except OSError as error:
                raise StoppedError(slow=killed.is_set()) from error
            line = self._output.readline(_MOST_BYTES)
        if not line.endswith(b"\n"):
            raise StoppedError(slow=killed.is_set())
        return line

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._output.close()
        with suppress(OSError):  # closing flushes a request that was not sent yet
            self._input.close()

    @contextmanager
    def _killed_after(self, seconds: float) -> Iterator[Event]:
        """Kill the process unless the block ends in time; the event is set if it was killed."""
        killed = Event()

        def kill() -> None:
            killed.set()
            self._process.kill()

        timer = Timer(seconds, kill)
        timer.daemon = True
        timer.start()
        try:
            yield killed
        finally:
            timer.cancel()

    @property
    def _input(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _output(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout


def _package_folders() -> list[str]:
    """The folders of the packages that the child imports, found without importing them."""
    specs = [find_spec(name) for name in _PACKAGES]
    origins = [spec.origin for spec in specs if spec is not None and spec.origin is not None]
    return list(dict.fromkeys(str(Path(origin).parents[1].resolve()) for origin in origins))


def _start_error(reason: str) -> FailedError:
    return FailedError(
        f"chat templates run in a separate process, which could not be started: {reason}",
        hint="reinstall jinja2: pip install --force-reinstall jinja2",
    )
