"""Messages on stderr: notes, warnings, failed checks and progress; and the suppression of what libraries print."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, cast

from attncli.cli.environment import Environment
from attncli.errors import CheckError
from attncli.progress import Bytes, Progress, Texts, silent

#: Seconds of work before its progress shows.
SHOW_AFTER_SECONDS = 0.5
#: Failed checks that are listed.
_MAX_FAILURES = 20


def one_line(text: str) -> str:
    """`text` on one line, with control characters escaped."""
    from attncli.render.common.escape import printable

    return printable(" ".join(line.rstrip() for line in text.splitlines()))


class Messages:
    """Writes messages to stderr. quiet: write no notes, warnings or progress; failed checks are still written."""

    def __init__(self, environment: Environment, *, quiet: bool = False) -> None:
        self._environment = environment
        self._quiet = quiet
        self._bar: ProgressBar | None = None

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
        more = f" (the first {_MAX_FAILURES} are above)" if len(texts) > _MAX_FAILURES else ""
        raise CheckError(f"{len(texts):,} check{'s' if len(texts) > 1 else ''} failed{more}", hint=hint)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """A progress callback for slow work, which shows on stderr and is removed at the end."""
        if self._quiet or not self._environment.can_show_progress:
            yield silent
            return
        self._bar = ProgressBar(self._environment)
        try:
            yield self._bar
        finally:
            self.clear_progress()

    def clear_progress(self) -> None:
        """Remove the progress, before something else is written to the terminal."""
        if self._bar is not None:
            self._bar.clear()

    def _say(self, kind: str, texts: Iterable[str]) -> None:
        if not self._quiet:
            for text in texts:
                self.clear_progress()
                self._environment.write_line(f"{kind}: {one_line(text)}")


class ProgressBar:
    """Shows slow work with rich on stderr: its share, its rate and the time left. It leaves nothing on the terminal.

    It shows, and imports rich, only where work takes longer than `SHOW_AFTER_SECONDS`.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._lock = threading.RLock()
        self._timer: threading.Timer | None = None
        self._bar: Any = None
        self._work: tuple[str, int, int | None] | None = None

    def __call__(self, what: str, done: int, total: int | None) -> None:
        with self._lock:
            is_new = self._work is None or self._work[0] != what
            self._work = (what, done, total)
            if self._bar is None:
                if self._timer is None:
                    self._timer = threading.Timer(SHOW_AFTER_SECONDS, self._show)
                    self._timer.daemon = True
                    self._timer.start()
            elif is_new:
                self._bar.stop()
                self._open()
            else:
                self._bar.update(self._bar.task_ids[0], completed=done, total=total)

    def _show(self) -> None:
        """Called by the timer, in a thread of its own, as the work may report nothing for long."""
        import rich.progress  # noqa: F401  (not within the lock, which reports of the work would wait for)

        with self._lock:
            if self._timer is threading.current_thread():
                self._open()

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            ProgressColumn,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        assert self._work is not None
        what, done, total = self._work
        columns: list[ProgressColumn] = [TextColumn("{task.description}", markup=False)]
        if total:
            columns += [BarColumn(20), TaskProgressColumn()]
        if isinstance(done, Bytes):
            columns += [DownloadColumn(), TransferSpeedColumn()]
        elif isinstance(done, Texts):
            columns += [TextColumn("{task.completed:,.0f}"), TaskProgressColumn("", show_speed=True)]
        if total:
            columns += [TimeRemainingColumn()]
        stream = _TerminalStream(self._environment)
        # rich's own size, as $COLUMNS and --width are about stdout.
        console = Console(file=cast("IO[str]", stream), force_terminal=True, _environ=dict(self._environment.variables))
        bar = Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)
        bar.add_task(one_line(what), completed=done, total=total)
        self._bar = bar
        bar.start()

    def clear(self) -> None:
        """Remove it, before something else is written; it shows again if the work goes on."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            bar, self._timer, self._bar = self._bar, None, None
            if bar is not None:
                try:
                    bar.stop()
                except BaseException:  # a signal, in between: a clean line, and the cursor
                    self._environment.write_stderr("\r\x1b[2K\x1b[?25h")
                    raise


class _TerminalStream(io.TextIOBase):
    """The stderr of the environment, for rich: a failure to write is ignored."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._environment.stderr, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._environment.write_stderr(text)
        return len(text)


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
