"""Whole processes timed in turn: ours, the peer, ours, … so that a ratio holds while a machine's speed drifts."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

WARM_UPS = 2


@dataclass(frozen=True)
class Ratio:
    """Seconds of ours and of the peer (medians), and the median of the ratios pair by pair; aim: at most this.

    unit: what both are shown in: "ms" of so many seconds, "MB" of so many bytes, or "times" of a plain number.
    """

    name: str
    peer: str
    ours: float
    theirs: float
    ratio: float
    aim: float
    unit: Literal["ms", "MB", "times"] = "ms"

    def row(self) -> str:
        """A row of the table, in Markdown."""
        verdict = "met" if self.ratio <= self.aim else "missed"
        scale, unit, digits = {"ms": (1e3, "ms", 0), "MB": (1e-6, "MB", 0), "times": (1, "×", 1)}[self.unit]
        ours, theirs = (f"{value * scale:,.{digits}f} {unit}" for value in (self.ours, self.theirs))
        name, peer = f"{self.name:<{_NAME}}", f"{self.peer:<{_PEER}}"
        return f"| {name} | {peer} | {ours:>10} | {theirs:>10} | {self.ratio:5.2f} | {self.aim:5.2f} | {verdict:<6} |"


#: Columns of the widest names.
_NAME, _PEER = 49, 34

HEADER = f"""\
| {"figure":<{_NAME}} | {"against":<{_PEER}} | {"ours":>10} | {"theirs":>10} | ratio | aim ≤ |        |
| {"-" * _NAME} | {"-" * _PEER} | {"-" * 9}: | {"-" * 9}: | ----: | ----: | ------ |"""


def compare(
    name: str,
    ours: Sequence[str],
    peer_name: str,
    peer: Sequence[str],
    *,
    aim: float,
    runs: int,
    measure: Callable[[Sequence[str]], float] | None = None,
    warm_ups: int = WARM_UPS,
) -> Ratio:
    """Run both commands `runs` times in turn. Raises CalledProcessError where one of them fails.

    measure: runs a command and gives its seconds; without it `seconds` does.
    """
    timed = measure or seconds
    for _ in range(warm_ups):
        timed(ours), timed(peer)
    pairs = [(timed(ours), timed(peer)) for _ in range(runs)]
    ratio = statistics.median(a / b for a, b in pairs)
    ours_median, peer_median = (statistics.median(column) for column in zip(*pairs, strict=True))
    return Ratio(name, peer_name, ours_median, peer_median, ratio, aim)


def seconds(command: Sequence[str], *, variables: Mapping[str, str] | None = None) -> float:
    """Wall time of one process whose output goes to a pipe, as it would to another program.

    variables: of its environment, beside those of this process.
    """
    environment = {**os.environ, **(variables or {})}
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - start


def seconds_on_terminal(command: Sequence[str]) -> float:
    """The same with a terminal of 80 columns for its output. (Not on Windows.)"""
    import pty
    import termios

    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    start = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs)
    os.close(theirs)
    _read_all(ours)
    code = process.wait()
    taken = time.perf_counter() - start
    os.close(ours)
    if code:
        raise subprocess.CalledProcessError(code, command)
    return taken


def _read_all(terminal: int) -> None:
    try:
        while os.read(terminal, 1 << 16):
            pass
    except OSError:
        # How Linux says that nobody writes to the terminal any more.
        return


def seconds_to_file(command: Sequence[str]) -> float:
    """Wall time of one process that writes to a file: for more output than a reader at our end should slow down."""
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=output)
        return time.perf_counter() - start


#: A process of its own starts the command: until it has started, a child counts the memory of its parent as its own.
_WATCH = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def memory(command: Sequence[str]) -> int:
    """The most bytes of memory that a command held at once. (Not on Windows.)"""
    watched = subprocess.run([sys.executable, "-c", _WATCH, *command], check=True, capture_output=True)
    # Linux counts in kibibytes, macOS in bytes.
    return int(watched.stdout) * (1 if sys.platform == "darwin" else 1024)
