"""Messages on stderr: notes, warnings, failed checks and progress; and the suppression of what libraries print."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from attncli.cli.environment import Environment
from attncli.errors import CheckError
from attncli.progress import Bytes, Progress, Texts, silent

#: Seconds between two updates of the progress line.
REFRESH_SECONDS = 0.1
#: Failed checks that are listed.
_MAX_FAILURES = 20
#: Seconds after which the rate is shown.
_RATE_AFTER_SECONDS = 1.0


def one_line(text: str) -> str:
    """`text` on one line, with control characters escaped."""
    from attncli.render.common.escape import printable

    return printable(" ".join(line.rstrip() for line in text.splitlines()))


class Messages:
    """Writes messages to stderr. quiet: write no notes, warnings or progress; failed checks are still written."""

    def __init__(self, environment: Environment, *, quiet: bool = False) -> None:
        self._environment = environment
        self._quiet = quiet
        self._line: ProgressLine | None = None

    def notes(self, texts: Iterable[str]) -> None:
        """Write notes: how the input was understood, where that may surprise."""
        self._say("note", texts)

    def warnings(self, texts: Iterable[str]) -> None:
        """Write warnings: what limits the result."""
        self._say("warning", texts)

    def fail(self, texts: Sequence[str], *, hint: str) -> None:
        """Write the failed checks, even with `quiet`, and raise CheckError if there are any."""
        if not texts:
            return
        for text in texts[:_MAX_FAILURES]:
            self.clear_progress()
            self._environment.write_line(f"failed: {one_line(text)}")
        more = f" ({_MAX_FAILURES} of them are above)" if len(texts) > _MAX_FAILURES else ""
        raise CheckError(f"{len(texts):,} check{'s do' if len(texts) > 1 else ' does'} not hold{more}", hint=hint)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """A progress callback for slow work: one line on stderr that is overwritten, and removed at the end."""
        if self._quiet or not self._environment.can_show_progress:
            yield silent
            return
        self._line = ProgressLine(self._environment.write_stderr)
        try:
            yield self._line
        finally:
            self.clear_progress()

    def clear_progress(self) -> None:
        """Remove the progress line, before something else is written to the terminal."""
        if self._line is not None:
            self._line.clear()

    def _say(self, kind: str, texts: Iterable[str]) -> None:
        if not self._quiet:
            for text in texts:
                self.clear_progress()
                self._environment.write_line(f"{kind}: {one_line(text)}")


class ProgressLine:
    """The progress line, without escape sequences, so that it works on any terminal."""

    def __init__(self, write: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._what: str | None = None
        self._began_at, self._began_with = 0.0, 0
        self._shown_at = 0.0
        self._shown_length = 0

    def __call__(self, what: str, done: int, total: int | None) -> None:
        now = self._clock()
        if what != self._what:
            # Work done before the first report (as of a resumed download) is left out of the rate.
            self._what, self._began_at, self._began_with = what, now, done
        elif now - self._shown_at < REFRESH_SECONDS:
            return
        self._shown_at = now
        share = f" {100 * done // total:3d} %" if total else ""
        figures = share + (self._pace(done, total, now - self._began_at) if isinstance(done, Bytes | Texts) else "")
        # 79 cells fit on nearly any terminal; a line that wraps can't be overwritten.
        text = f"{one_line(what).encode('ascii', 'replace').decode()[: 79 - len(figures)]}{figures}"
        self._write(f"\r{text.ljust(self._shown_length)}")
        self._shown_length = len(text)

    def _pace(self, done: Bytes | Texts, total: int | None, seconds: float) -> str:
        """The amount done where the total is unknown; after a while the rate and the time left."""
        amount = "" if total else f"  {_amount(done, done)}"
        rate = (done - self._began_with) / seconds if seconds >= _RATE_AFTER_SECONDS else 0
        if not rate:
            return amount
        left = f"  {_duration((total - done) / rate)} left" if total and done < total else ""
        return f"{amount}  {_amount(rate, done)}/s{left}"

    def clear(self) -> None:
        """Erase the line."""
        if self._shown_length:
            self._write(f"\r{' ' * self._shown_length}\r")
            self._shown_length = 0


def _amount(count: float, kind: Bytes | Texts) -> str:
    return _size(count) if isinstance(kind, Bytes) else f"{count:,.0f}" if count >= 9.5 else f"{count:,.2g}"


def _size(count: float) -> str:
    """Bytes in decimal units.

    >>> _size(3_100_000)
    '3.1 MB'
    """
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _duration(seconds: float) -> str:
    """Minutes and seconds, with hours if there are any.

    >>> _duration(21), _duration(3672)
    ('0:21', '1:01:12')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@contextmanager
def suppress_output(*, unless: bool) -> Iterator[None]:
    """Discard what libraries write to `sys.stdout` and `sys.stderr`: logs, warnings, progress bars, prints of a model.

    Our own results and messages go to the streams of the `Environment`. unless: write it all to stderr (`--debug`).
    """
    stdout, stderr = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (stderr, stderr) if unless else (_NullStream(), _NullStream())
    try:
        yield
    finally:
        sys.stdout, sys.stderr = stdout, stderr


@contextmanager
def suppress_native_output(environment: Environment, *, unless: bool) -> Iterator[Environment]:
    """Discard what native code writes to the process's stderr (a Rust library that panics prints a backtrace there).

    Yields the environment with a stderr of its own, for our messages.
    """
    try:
        number = None if unless or environment.stderr is None else environment.stderr.fileno()
    except (OSError, ValueError):  # a stream without a file
        number = None
    if number is None or environment.stderr is None:
        yield environment
        return
    kept = os.dup(number)
    encoding, errors = environment.stderr.encoding, environment.stderr.errors
    with open(kept, "w", encoding=encoding, errors=errors) as stderr, open(os.devnull, "wb") as null:
        os.dup2(null.fileno(), number)
        try:
            yield environment._replace(stderr=stderr)
        finally:
            os.dup2(kept, number)


class _NullStream(io.TextIOBase):
    """A stream that discards what is written to it."""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return len(text)
