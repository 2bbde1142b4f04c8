"""Keeps what libraries print (their logs, warnings, progress bars, a model's own prints) off the user's streams."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class _Nowhere(io.TextIOBase):
    """A stream without a file that takes everything and keeps nothing."""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return len(text)


@contextmanager
def hushed(*, unless: bool) -> Iterator[None]:
    """While this holds, whatever is written to `sys.stdout` and `sys.stderr` vanishes.

    Results, notes and errors don't pass through these two: they go to the streams of the `Environment`. One place
    for all libraries, and none of them is imported for it. `unless` (that is `--debug`) shows it all on stderr.
    """
    stdout, stderr = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (stderr, stderr) if unless else (_Nowhere(), _Nowhere())
    try:
        yield
    finally:
        sys.stdout, sys.stderr = stdout, stderr
