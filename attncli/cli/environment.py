"""The environment of one run of `attn`: its streams and variables as a value that tests can replace.

Also what depends on it: the size and colours of text on stdout, writing to stdout, and runs in several processes that
torchrun started, where only the first process writes.
"""

from __future__ import annotations

import atexit
import codecs
import errno
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TextIO

from attncli.errors import FailedError
from attncli.render.common.terminal import ColorDepth, Terminal

if TYPE_CHECKING:
    from attncli.models.loading.distributed import Communicator
    from attncli.models.loading.kept_model import ModelKeeper

DEFAULT_WIDTH = 80
DEFAULT_HEIGHT = 24
MAX_WIDTH = 10_000
#: Colour depths that FORCE_COLOR's numbers stand for by convention. 1 only turns colours on; the depth is detected.
_FORCED_DEPTHS = {"2": ColorDepth.EIGHT_BIT, "3": ColorDepth.TRUE}
#: Variables set by the terminals of Windows that support escape sequences; its old console prints them as text.
_WINDOWS_TERMINALS = ("WT_SESSION", "ConEmuANSI", "ANSICON", "TERM_PROGRAM", "TERM")
#: Bytes that StdoutWriter collects before it writes them.
_FLUSH_BYTES = 1 << 18


class ProcessRank(NamedTuple):
    """The process's rank among the processes of torchrun, their number, and its rank on this machine."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0


class Environment(NamedTuple):
    """The streams (None: closed before the process began), the variables, and properties of the terminal.

    encoding: of stdout.  columns, lines: the terminal's size; None if stdout isn't a terminal.
    keeper: in a process that was forked from one that is kept warm: the model that is loaded there.
    """

    stdin: BinaryIO | None
    stdout: BinaryIO | None
    stderr: TextIO | None
    variables: Mapping[str, str]
    encoding: str = "utf-8"
    columns: int | None = None
    windows: bool = False
    lines: int | None = None
    keeper: ModelKeeper | None = None

    @classmethod
    def from_process(cls) -> Environment:
        """The environment of this process as it is now."""
        columns = lines = None
        with suppress(AttributeError, OSError, ValueError):  # stdout is closed, or no terminal
            columns, lines = (size or None for size in os.get_terminal_size(sys.stdout.fileno()))
        return cls(
            stdin=None if sys.stdin is None else sys.stdin.buffer,
            stdout=None if sys.stdout is None else sys.stdout.buffer,
            stderr=sys.stderr,
            variables=os.environ,
            encoding="utf-8" if sys.stdout is None else sys.stdout.encoding,
            columns=columns,
            windows=os.name == "nt",
            lines=lines,
        )

    @property
    def process(self) -> ProcessRank:
        """The rank among the processes that torchrun started; 0 of 1 without torchrun."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        if "MASTER_ADDR" not in self.variables or not all(self.variables.get(name, "").isdigit() for name in names):
            return ProcessRank()
        return ProcessRank(*(int(self.variables[name]) for name in names))

    @property
    def is_secondary(self) -> bool:
        """Whether another process writes the output of this one."""
        return self.process.rank > 0

    @property
    def stdin_is_interactive(self) -> bool:
        """Whether stdin is a terminal or closed, so that no input is piped in."""
        return self.stdin is None or self.stdin.isatty()

    @property
    def stdout_is_terminal(self) -> bool:
        """Whether stdout is a terminal."""
        return self.stdout is not None and self.stdout.isatty()

    @property
    def can_show_progress(self) -> bool:
        """Whether stderr is a terminal where a line can be overwritten."""
        is_terminal = self.stderr is not None and self.stderr.isatty() and not self.is_secondary
        return is_terminal and self.variables.get("TERM") != "dumb"

    @property
    def supports_unicode(self) -> bool:
        """Whether stdout takes characters beyond ASCII."""
        return codecs.lookup(self.encoding).name == "utf-8"

    def write_line(self, line: str) -> None:
        """Write one line to stderr. Write failures are ignored."""
        self.write_stderr(f"{line}\n")

    def write_stderr(self, text: str) -> None:
        """Write to stderr without a newline, and flush. Write failures are ignored."""
        if self.stderr is None or self.is_secondary:
            return
        try:
            self.stderr.write(text)
            self.stderr.flush()
        except (OSError, ValueError):
            redirect_to_devnull(self.stderr)


def redirect_to_devnull(stream: BinaryIO | TextIO) -> None:
    """Redirect a broken stream to the null device, so that closing it at exit raises no second error."""
    with suppress(OSError, ValueError):  # the stream has no file descriptor, or is closed already
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


# --- How text for stdout may look


def choose_terminal(
    environment: Environment, *, color: str, width: int | None, ascii_only: bool, full: bool = False
) -> Terminal:
    """The size, colours and characters of text on stdout. `color` is `auto`, `always` or `never`."""
    return Terminal(
        width=choose_width(environment, width),
        color=choose_color(environment, color),
        unicode=environment.supports_unicode and not ascii_only,
        height=_size(environment, "LINES") or environment.lines or DEFAULT_HEIGHT,
        full=full,
    )


def choose_width(environment: Environment, width: int | None) -> int:
    """`--width`, else COLUMNS, else the terminal's own, else 80."""
    return width or _size(environment, "COLUMNS") or environment.columns or DEFAULT_WIDTH


def _size(environment: Environment, variable: str) -> int | None:
    """The size that a variable gives; None where it gives none."""
    text = environment.variables.get(variable, "")
    given = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    return min(given, MAX_WIDTH) or None


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
    """The reader of stdout has closed the pipe. Other broken pipes, as in the network, are not this error."""


def to_bytes(content: str | bytes) -> bytes:
    """Text as UTF-8. A lone surrogate (a broken file name) becomes `\\udc80`, which JSON reads back as the same."""
    return content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace")


def write_stdout(environment: Environment, content: str | bytes) -> None:
    """Write a whole result and flush it.

    Raises NoReaderError if the reader has closed the pipe, FailedError if stdout is closed or full.
    """
    stream = environment.stdout
    if stream is None:
        raise FailedError(
            "stdout is closed, so the result can't be written", hint="write the result to a file with -o FILE"
        )
    try:
        rest = memoryview(to_bytes(content))
        # An unbuffered stdout (PYTHONUNBUFFERED) may write only a part.
        while rest:
            written = stream.write(rest)
            if not written:
                raise BlockingIOError(errno.EAGAIN, "it takes nothing more at the moment")
            rest = rest[written:]
        stream.flush()
    except OSError as error:
        redirect_to_devnull(stream)
        # Windows has no EPIPE: writing to a closed pipe is an invalid argument there.
        if isinstance(error, BrokenPipeError) or (environment.windows and error.errno == errno.EINVAL):
            raise NoReaderError from error
        raise FailedError(
            f"the result can't be written to stdout: {error.strerror}", hint="write the result to a file with -o FILE"
        ) from error


class StdoutWriter:
    """Buffered stdout for a result that comes in parts: a small one is one write, so that an error leaves none of it.

    before: called before each write, for instance to remove the progress line.
    """

    def __init__(self, environment: Environment, *, before: Callable[[], None]) -> None:
        self._environment = environment
        self._before = before
        self._buffer = bytearray()

    def write(self, content: bytes) -> None:
        self._buffer += content
        if len(self._buffer) >= _FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the buffer. Raises as `write_stdout` does."""
        self._before()
        write_stdout(self._environment, bytes(self._buffer))
        self._buffer.clear()


# --- Several processes


def distributed(callback: Callable[..., None]) -> Callable[..., None]:
    """A decorator for a verb's callback: passes the group of processes as `sharing`, and fails if one of them fails."""

    @wraps(callback)
    def call(environment: Environment, **values: Any) -> None:
        with _process_group(environment) as sharing:
            callback(environment, sharing=sharing, **values)

    return call


@contextmanager
def _process_group(environment: Environment) -> Iterator[Communicator]:
    if environment.process.world_size == 1:
        from attncli.models.loading.distributed import SINGLE_PROCESS

        yield SINGLE_PROCESS
        return
    from attncli.cli.failures import as_attn_error
    from attncli.models.loading.distributed import TorchrunProcesses

    processes = TorchrunProcesses(*environment.process)
    # Leaving the group must come after all output: see `TorchrunProcesses.close`.
    atexit.register(processes.close)
    try:
        yield processes
    except Exception as error:
        processes.report_failure(as_attn_error(error))
        raise
    processes.wait_for_all()
