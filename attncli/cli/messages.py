"""Everything that goes to stderr: notes, warnings and progress. (Errors too, through the same door.)"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from attncli.cli.environment import Environment
from attncli.progress import Progress

#: Seconds between two looks of the progress line; more often would only cost time.
INTERVAL = 0.1


def one_line(text: str) -> str:
    """`text` as it may stand in a message: no control character, no line break, whatever it was made of."""
    from attncli.render.escape import printable

    return printable(" ".join(line.rstrip() for line in text.splitlines()))


class Messages:
    """Says what a user should know besides the result. `quiet` leaves all of it unsaid, but not the errors."""

    def __init__(self, environment: Environment, *, quiet: bool = False) -> None:
        self._environment = environment
        self._quiet = quiet

    def notes(self, texts: Iterable[str]) -> None:
        """How the input was understood, where that may surprise."""
        self._say("note", texts)

    def warnings(self, texts: Iterable[str]) -> None:
        """What a reader of the result must bear in mind."""
        self._say("warning", texts)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """A listener for slow work: one line on stderr that is written over, and gone at the end."""
        if self._quiet or not self._environment.shows_messages:
            yield _unheard
            return
        line = ProgressLine(self._environment.say_part)
        try:
            yield line
        finally:
            line.clear()

    def _say(self, kind: str, texts: Iterable[str]) -> None:
        if not self._quiet:
            for text in texts:
                self._environment.say(f"{kind}: {one_line(text)}")


def _unheard(what: str, done: int, total: int | None) -> None:
    """Nobody looks."""


class ProgressLine:
    """The line itself. It uses no escape sequence, so that it works on any terminal."""

    def __init__(self, write: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._what: str | None = None
        self._shown_at = 0.0
        self._shown_length = 0

    def __call__(self, what: str, done: int, total: int | None) -> None:
        now = self._clock()
        if what == self._what and now - self._shown_at < INTERVAL:
            return
        self._what, self._shown_at = what, now
        share = f" {100 * done // total:3d} %" if total else ""
        # 79 cells are safe on nearly any terminal; a line that wraps could not be written over.
        text = f"{one_line(what).encode('ascii', 'replace').decode()[:70]}{share}"
        self._write(f"\r{text.ljust(self._shown_length)}")
        self._shown_length = len(text)

    def clear(self) -> None:
        """Leave the line as if nothing had been written."""
        if self._shown_length:
            self._write(f"\r{' ' * self._shown_length}\r")
            self._shown_length = 0
