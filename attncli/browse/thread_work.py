"""Work that an app does in another thread, and what it says meanwhile and of errors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count
from time import monotonic
from typing import Any, NamedTuple

from rich.text import Text
from textual.app import App
from textual.message import Message
from textual.widgets import Static
from textual.worker import Worker, get_current_worker

from attncli.browse.keys import KEYS
from attncli.errors import AttnError
from attncli.progress import Progress
from attncli.render.common.cells import glyphs
from attncli.render.common.escape import ascii_safe, printable
from attncli.render.common.terminal import Terminal
from attncli.results.heads import HeadsResult

#: Seconds between two reports of progress.
_REPORTS = 0.1


class Outside(NamedTuple):
    """What the command line does for the app.

    describe: what any exception says to a user.  write_page: writes a page to a file, and says what it wrote.
    signals: those that end the app.
    """

    describe: Callable[[BaseException], AttnError]
    write_page: Callable[[str, HeadsResult], str]
    signals: tuple[int, ...] = ()


class _CancelledError(Exception):
    """Something else was asked for meanwhile."""


class ReadingApp(App[int]):
    """An app with a line at the bottom. The old picture stays until what was asked for is there."""

    def __init__(self, terminal: Terminal, outside: Outside, **options: Any) -> None:
        super().__init__(ansi_color=True, **options)
        self.terminal, self.outside = terminal, outside
        self.failure: AttnError | None = None
        self._numbers = count()
        self._waited: dict[str, int] = {}

    @property
    def is_open(self) -> bool:
        """Whether there is a picture."""
        raise NotImplementedError

    class Done(Message):
        """Something was read. then: what to do with it.  number: of the request."""

        def __init__(self, group: str, number: int, then: Callable[[Any], None], result: Any) -> None:
            super().__init__()
            self.group, self.number, self.then, self.result = group, number, then, result

    class Failed(Message):
        """Something can't be read."""

        def __init__(self, group: str, number: int, error: AttnError) -> None:
            super().__init__()
            self.group, self.number, self.error = group, number, error

    class Reported(Message):
        """How far something is."""

        def __init__(self, words: str) -> None:
            super().__init__()
            self.words = words

    def _read(
        self, what: str, work: Callable[[Progress], Any], then: Callable[[Any], None], group: str = "asked"
    ) -> None:
        """Do some work in a thread, then something with its result, unless more was asked of this group meanwhile."""
        number = self._waited[group] = next(self._numbers)
        self.say(f"{what} {glyphs(self.terminal).ellipsis}")
        self.run_worker(partial(self._work, group, number, work, then), thread=True, group=group, exclusive=True)

    def _work(self, group: str, number: int, work: Callable[[Progress], Any], then: Callable[[Any], None]) -> None:
        worker: Worker[Any] = get_current_worker()
        reported = 0.0

        def progress(what: str, done: float, total: float | None) -> None:
            nonlocal reported
            if worker.is_cancelled:
                raise _CancelledError
            if monotonic() - reported > _REPORTS:
                reported = monotonic()
                share = f" {done / total:.0%}" if total else ""
                self.post_message(self.Reported(f"{what}{share} {glyphs(self.terminal).ellipsis}"))

        try:
            result = work(progress)
        except _CancelledError:
            return
        except Exception as error:
            self.post_message(self.Failed(group, number, self.outside.describe(error)))
        else:
            self.post_message(self.Done(group, number, then, result))

    def on_reading_app_done(self, event: Done) -> None:
        """Show what was read."""
        if self._waited.get(event.group) == event.number:
            del self._waited[event.group]
            self.say("")
            event.then(event.result)

    def on_reading_app_failed(self, event: Failed) -> None:
        """Show the two lines of the error; where nothing is shown yet, end with it."""
        if self._waited.get(event.group) != event.number:
            return
        del self._waited[event.group]
        if not self.is_open:
            self.failure = event.error
            self.exit()
        else:
            self.fail(event.error)

    def on_reading_app_reported(self, event: Reported) -> None:
        """Say how far it is."""
        if self._waited:
            self.say(event.words)

    def say(self, words: str) -> None:
        """A line at the bottom; the keys where it is empty."""
        hints = "  ".join(key.shown for key in KEYS if key.shown)
        self._status(words or hints, dim=not words)

    def fail(self, error: AttnError) -> None:
        """The two lines of an error."""
        self._status(f"error: {printable(error.message)}\nhint: {printable(error.hint)}")

    def _status(self, words: str, *, dim: bool = False) -> None:
        lines = [ascii_safe(line, self.terminal) for line in words.split("\n")]
        text = Text("\n".join(lines), "dim" if dim else "", no_wrap=True)
        self.screen_stack[0].query_one("#status", Static).update(text)
