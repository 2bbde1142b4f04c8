"""What surrounds one run of `attn`: its streams and variables, as a value that a test can swap.

Options and surroundings -> the `Terminal` that a renderer is told about.

What is written to stdout: at the end of a run, or bit by bit where there is more than fits in memory.

One process of several that torchrun started: they share the work, and the first alone speaks and writes.
"""

from __future__ import annotations

import atexit
import codecs
import errno
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TextIO

from attncli.errors import FailedError
from attncli.render.common.terminal import ColorDepth, Terminal

if TYPE_CHECKING:
    from attncli.models.loading.distributed import Sharing

DEFAULT_WIDTH = 80
MAX_WIDTH = 10_000
#: What FORCE_COLOR's numbers mean, by an old convention. 1 is also how people say «colours, please», and then the
#: environment says which.
_FORCED_DEPTHS = {"2": ColorDepth.EIGHT_BIT, "3": ColorDepth.TRUE}
#: Set by the terminals of Windows that understand escape sequences; its old console shows them as rubbish.
_WINDOWS_TERMINALS = ("WT_SESSION", "ConEmuANSI", "ANSICON", "TERM_PROGRAM", "TERM")
#: Bytes that are worth a write of their own.
_FLUSH_BYTES = 1 << 18


class ProcessRank(NamedTuple):
    """Which of several processes this is, from 0; how many there are; and which it is on its machine."""

    rank: int = 0
    world_size: int = 1
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
    def from_process(cls) -> Environment:
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
    def process(self) -> ProcessRank:
        """The place among the processes that torchrun started; alone where it started none."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        if "MASTER_ADDR" not in self.variables or not all(self.variables.get(name, "").isdigit() for name in names):
            return ProcessRank()
        return ProcessRank(*(int(self.variables[name]) for name in names))

    @property
    def is_secondary(self) -> bool:
        """Whether another process speaks and writes for this one."""
        return self.process.rank > 0

    @property
    def stdin_is_interactive(self) -> bool:
        """Whether somebody would have to type what is read from stdin (or nothing can be read from it at all)."""
        return self.stdin is None or self.stdin.isatty()

    @property
    def stdout_is_terminal(self) -> bool:
        """Whether stdout is a terminal."""
        return self.stdout is not None and self.stdout.isatty()

    @property
    def can_show_progress(self) -> bool:
        """Whether stderr is a terminal on which a line can be written over."""
        seen = self.stderr is not None and self.stderr.isatty() and not self.is_secondary
        return seen and self.variables.get("TERM") != "dumb"

    @property
    def supports_unicode(self) -> bool:
        """Whether the reader of stdout understands characters beyond ASCII."""
        return codecs.lookup(self.encoding).name == "utf-8"

    def write_line(self, line: str) -> None:
        """Write one line to stderr. Where that is impossible there is nobody to tell, and the result still counts."""
        self.write_stderr(f"{line}\n")

    def write_stderr(self, text: str) -> None:
        """Write to stderr at once, without ending the line."""
        if self.stderr is None or self.is_secondary:
            return
        try:
            self.stderr.write(text)
            self.stderr.flush()
        except (OSError, ValueError):
            redirect_to_devnull(self.stderr)


def redirect_to_devnull(stream: BinaryIO | TextIO) -> None:
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


# --- How text for stdout may look


def choose_terminal(environment: Environment, *, color: str, width: int | None, ascii_only: bool) -> Terminal:
    """How text for stdout may look. `color` is `auto`, `always` or `never`."""
    return Terminal(
        width=choose_width(environment, width),
        color=choose_color(environment, color),
        unicode=environment.supports_unicode and not ascii_only,
    )


def choose_width(environment: Environment, width: int | None) -> int:
    """`--width`, else COLUMNS, else the terminal's own, else 80."""
    if width is not None:
        return width
    columns = environment.variables.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and len(columns) < 6 and int(columns) > 0:
        return min(int(columns), MAX_WIDTH)
    return environment.columns or DEFAULT_WIDTH


def choose_color(environment: Environment, color: str) -> ColorDepth:
    """`--color`, else NO_COLOR, else FORCE_COLOR, else TERM=dumb, else whether stdout is a terminal."""
    variables = environment.variables
    if color == "always":
        return _color_depth(environment)
    if color == "never" or variables.get("NO_COLOR"):
        return ColorDepth.NONE
    if forced := variables.get("FORCE_COLOR"):
        return ColorDepth.NONE if forced in ("0", "false") else _color_depth(environment)
    if variables.get("TERM") == "dumb" or not environment.stdout_is_terminal:
        return ColorDepth.NONE
    if environment.windows and not any(variables.get(name) for name in _WINDOWS_TERMINALS):
        return ColorDepth.NONE
    return _color_depth(environment)


def _color_depth(environment: Environment) -> ColorDepth:
    variables = environment.variables
    if forced := _FORCED_DEPTHS.get(variables.get("FORCE_COLOR", "")):
        return forced
    if variables.get("COLORTERM", "").lower() in ("truecolor", "24bit") or variables.get("WT_SESSION"):
        return ColorDepth.TRUE
    term = variables.get("TERM", "")
    if term.endswith("-direct"):
        return ColorDepth.TRUE
    return ColorDepth.EIGHT_BIT if "256color" in term else ColorDepth.ANSI


# --- Writing to stdout


class NoReaderError(BrokenPipeError):
    """Whoever read our stdout has gone. (Not just any broken pipe: a library may meet one in the network.)"""


def to_bytes(content: str | bytes) -> bytes:
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
        _write_all(stream, to_bytes(content))
    except OSError as error:
        redirect_to_devnull(stream)
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
        if len(self._waiting) >= _FLUSH_BYTES:
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


# --- Several processes


def distributed(callback: Callable[..., None]) -> Callable[..., None]:
    """A verb's callback that gets the other processes as `sharing`, and fails where one of them fails."""

    @wraps(callback)
    def call(environment: Environment, **values: Any) -> None:
        with _process_group(environment) as sharing:
            callback(environment, sharing=sharing, **values)

    return call


@contextmanager
def _process_group(environment: Environment) -> Iterator[Sharing]:
    if environment.process.world_size == 1:
        from attncli.models.loading.distributed import ALONE

        yield ALONE
        return
    from attncli.cli.failures import as_attn_error
    from attncli.models.loading.distributed import Processes

    processes = Processes(*environment.process)
    # After everything is said and written: see there.
    atexit.register(processes.leave)
    try:
        yield processes
    except Exception as error:
        processes.tell(as_attn_error(error))
        raise
    processes.settle()
