"""The one write to stdout that a run ends with."""

from __future__ import annotations

import errno
from typing import BinaryIO

from attncli.cli.environment import Environment, abandon
from attncli.errors import FailedError


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


def _write_all(stream: BinaryIO, content: bytes) -> None:
    rest = memoryview(content)
    # An unbuffered stdout (PYTHONUNBUFFERED) may take a part only.
    while rest:
        written = stream.write(rest)
        if not written:
            raise BlockingIOError(errno.EAGAIN, "it takes nothing more at the moment")
        rest = rest[written:]
    stream.flush()
