"""What is written to stdout: at the end of a run, or bit by bit where there is more than fits in memory."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import BinaryIO

from attncli.cli.environment import Environment, abandon
from attncli.errors import FailedError

#: Bytes that are worth a write of their own.
_ENOUGH = 1 << 18


class NoReaderError(BrokenPipeError):
    """Whoever read our stdout has gone. (Not just any broken pipe: a library may meet one in the network.)"""


def encoded(content: str | bytes) -> bytes:
    """Text as UTF-8. A lone surrogate (a broken file name) becomes `\\udc80`, which JSON reads back as the same."""
    return content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace")


def write_stdout(environment: Environment, content: str | bytes) -> None:
    """Write a whole result and see it through.

    Raises NoReaderError where the reader has gone, FailedError where stdout is closed or full.
    """
    stream = environment.stdout
    if stream is None:
        raise FailedError("stdout is closed, the result has nowhere to go", hint="-o FILE writes it to a file")
    try:
        _write_all(stream, encoded(content))
    except OSError as error:
        abandon(stream)
        # Windows has no EPIPE: a pipe whose reader has gone is an invalid argument there.
        if isinstance(error, BrokenPipeError) or (environment.windows and error.errno == errno.EINVAL):
            raise NoReaderError from error
        raise FailedError(
            f"the result can't be written to stdout: {error.strerror}", hint="-o FILE writes it to a file"
        ) from error


class StdoutWriter:
    """Stdout for a result that comes bit by bit: a small one is still one write, so that an error leaves nothing of it.

    before: called before each write; whatever else is on the terminal makes room.
    """

    def __init__(self, environment: Environment, *, before: Callable[[], None]) -> None:
        self._environment = environment
        self._before = before
        self._waiting = bytearray()

    def write(self, content: bytes) -> None:
        self._waiting += content
        if len(self._waiting) >= _ENOUGH:
            self.flush()

    def flush(self) -> None:
        """Write what waits. Raises as `write_stdout` does."""
        self._before()
        write_stdout(self._environment, bytes(self._waiting))
        self._waiting.clear()


def _write_all(stream: BinaryIO, content: bytes) -> None:
    rest = memoryview(content)
    # An unbuffered stdout (PYTHONUNBUFFERED) may take a part only.
    while rest:
        written = stream.write(rest)
        if not written:
            raise BlockingIOError(errno.EAGAIN, "it takes nothing more at the moment")
        rest = rest[written:]
    stream.flush()
