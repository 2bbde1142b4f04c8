"""Keeps what libraries print (their logs, warnings, progress bars, a model's own prints) off the user's streams.

Everything that goes to stderr: notes, warnings and progress. (Errors too, through the same door.)
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from attncli.cli.environment import Environment
from attncli.errors import CheckError
from attncli.progress import Bytes, Progress, Texts

#: Seconds between two looks of the progress line; more often would only cost time.
REFRESH_SECONDS = 0.1
#: Failures that are listed one by one.
_MAX_FAILURES = 20
#: Seconds after which a rate means something.
_RATE_AFTER_SECONDS = 1.0


def one_line(text: str) -> str:
    """`text` as it may stand in a message: no control character, no line break, whatever it was made of."""
    from attncli.render.common.escape import printable

    return printable(" ".join(line.rstrip() for line in text.splitlines()))


class Messages:
    """Says what a user should know besides the result. `quiet` leaves all of it unsaid, but not the errors."""

    def __init__(self, environment: Environment, *, quiet: bool = False) -> None:
        self._environment = environment
        self._quiet = quiet
        self._line: ProgressLine | None = None

    def notes(self, texts: Iterable[str]) -> None:
        """How the input was understood, where that may surprise."""
        self._say("note", texts)

    def warnings(self, texts: Iterable[str]) -> None:
        """What a reader of the result must bear in mind."""
        self._say("warning", texts)

    def fail(self, texts: Sequence[str], *, hint: str) -> None:
        """Say which checks do not hold, `quiet` or not, and raise CheckError if there are any."""
        if not texts:
            return
        for text in texts[:_MAX_FAILURES]:
            self.clear_progress()
            self._environment.write_line(f"failed: {one_line(text)}")
        more = f" ({_MAX_FAILURES} of them are above)" if len(texts) > _MAX_FAILURES else ""
        raise CheckError(f"{len(texts):,} check{'s do' if len(texts) > 1 else ' does'} not hold{more}", hint=hint)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """A listener for slow work: one line on stderr that is written over, and gone at the end."""
        if self._quiet or not self._environment.can_show_progress:
            yield _unheard
            return
        self._line = ProgressLine(self._environment.write_stderr)
        try:
            yield self._line
        finally:
            self.clear_progress()

    def clear_progress(self) -> None:
        """Take the progress line away before something else is written to the terminal."""
        if self._line is not None:
            self._line.clear()

    def _say(self, kind: str, texts: Iterable[str]) -> None:
        if not self._quiet:
            for text in texts:
                self.clear_progress()
                self._environment.write_line(f"{kind}: {one_line(text)}")


def _unheard(what: str, done: int, total: int | None) -> None:
    """Nobody looks."""


class ProgressLine:
    """The line itself. It uses no escape sequence, so that it works on any terminal."""

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
            # What was done before the first report (a download that is taken up again) says nothing of the rate.
            self._what, self._began_at, self._began_with = what, now, done
        elif now - self._shown_at < REFRESH_SECONDS:
            return
        self._shown_at = now
        share = f" {100 * done // total:3d} %" if total else ""
        figures = share + (self._pace(done, total, now - self._began_at) if isinstance(done, Bytes | Texts) else "")
        # 79 cells are safe on nearly any terminal; a line that wraps could not be written over.
        text = f"{one_line(what).encode('ascii', 'replace').decode()[: 79 - len(figures)]}{figures}"
        self._write(f"\r{text.ljust(self._shown_length)}")
        self._shown_length = len(text)

    def _pace(self, done: Bytes | Texts, total: int | None, seconds: float) -> str:
        """How much was done where a share can't be told, and after a while the rate and the time left."""
        amount = "" if total else f"  {_amount(done, done)}"
        rate = (done - self._began_with) / seconds if seconds >= _RATE_AFTER_SECONDS else 0
        if not rate:
            return amount
        left = f"  {_duration((total - done) / rate)} left" if total and done < total else ""
        return f"{amount}  {_amount(rate, done)}/s{left}"

    def clear(self) -> None:
        """Leave the line as if nothing had been written."""
        if self._shown_length:
            self._write(f"\r{' ' * self._shown_length}\r")
            self._shown_length = 0


def _amount(count: float, kind: Bytes | Texts) -> str:
    return _size(count) if isinstance(kind, Bytes) else f"{count:,.0f}" if count >= 9.5 else f"{count:,.2g}"


def _size(count: float) -> str:
    """Bytes in units of a thousand, as file systems and networks tell them.

    >>> _size(3_100_000)
    '3.1 MB'
    """
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _duration(seconds: float) -> str:
    """Minutes and seconds, and hours before them where there are some.

    >>> _duration(21), _duration(3672)
    ('0:21', '1:01:12')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@contextmanager
def suppress_output(*, unless: bool) -> Iterator[None]:
    """While this holds, whatever is written to `sys.stdout` and `sys.stderr` vanishes.

    Results, notes and errors don't pass through these two: they go to the streams of the `Environment`. One place
    for all libraries, and none of them is imported for it. `unless` (that is `--debug`) shows it all on stderr.
    """
    stdout, stderr = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (stderr, stderr) if unless else (_NullStream(), _NullStream())
    try:
        yield
    finally:
        sys.stdout, sys.stderr = stdout, stderr


class _NullStream(io.TextIOBase):
    """A stream without a file that takes everything and keeps nothing."""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return len(text)
