"""What surrounds one run of `attn`: its streams and variables, as a value that a test can swap."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Mapping
from typing import BinaryIO, NamedTuple, TextIO


class ProcessPlace(NamedTuple):
    """Which of several processes this is, from 0; how many there are; and which it is on its machine."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0


class Environment(NamedTuple):
    """The streams (None: closed before the process began) and what can be known of the terminal behind them.

    encoding: what the reader of stdout expects.  columns: width of the terminal that stdout is, None if it is none.
    """

    stdin: BinaryIO | None
    stdout: BinaryIO | None
    stderr: TextIO | None
    variables: Mapping[str, str]
    encoding: str = "utf-8"
    columns: int | None = None
    windows: bool = False

    @classmethod
    def of_process(cls) -> Environment:
        """The surroundings of this very process, looked at now."""
        return cls(
            stdin=None if sys.stdin is None else sys.stdin.buffer,
            stdout=None if sys.stdout is None else sys.stdout.buffer,
            stderr=sys.stderr,
            variables=os.environ,
            encoding="utf-8" if sys.stdout is None else sys.stdout.encoding,
            columns=_terminal_columns(),
            windows=os.name == "nt",
        )

    @property
    def processes(self) -> ProcessPlace:
        """The place among the processes that torchrun started; alone where it started none."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        if "MASTER_ADDR" not in self.variables or not all(self.variables.get(name, "").isdigit() for name in names):
            return ProcessPlace()
        return ProcessPlace(*(int(self.variables[name]) for name in names))

    @property
    def follows(self) -> bool:
        """Whether another process speaks and writes for this one."""
        return self.processes.rank > 0

    @property
    def types_input(self) -> bool:
        """Whether somebody would have to type what is read from stdin (or nothing can be read from it at all)."""
        return self.stdin is None or self.stdin.isatty()

    @property
    def shows_output(self) -> bool:
        """Whether stdout is a terminal."""
        return self.stdout is not None and self.stdout.isatty()

    @property
    def shows_messages(self) -> bool:
        """Whether stderr is a terminal on which a line can be written over."""
        seen = self.stderr is not None and self.stderr.isatty() and not self.follows
        return seen and self.variables.get("TERM") != "dumb"

    @property
    def takes_unicode(self) -> bool:
        """Whether the reader of stdout understands characters beyond ASCII."""
        return codecs.lookup(self.encoding).name == "utf-8"

    def say(self, line: str) -> None:
        """Write one line to stderr. Where that is impossible there is nobody to tell, and the result still counts."""
        self.say_part(f"{line}\n")

    def say_part(self, text: str) -> None:
        """Write to stderr at once, without ending the line."""
        if self.stderr is None or self.follows:
            return
        try:
            self.stderr.write(text)
            self.stderr.flush()
        except (OSError, ValueError):
            abandon(self.stderr)


def abandon(stream: BinaryIO | TextIO) -> None:
    """Point a stream that can't be written to at nothing, so that closing it at exit doesn't complain a second time."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        # A stream without a file beneath it, or closed already: nothing is left to complain.
        return


def _terminal_columns() -> int | None:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (AttributeError, OSError, ValueError):
        return None
