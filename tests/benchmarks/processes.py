"""Whole processes timed in turn: ours, the peer, ours, … so that a ratio holds while a machine's speed drifts."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

WARM_UPS = 2


@dataclass(frozen=True)
class Ratio:
    """Seconds of ours and of the peer (medians), and the median of the ratios pair by pair; aim: at most this."""

    name: str
    peer: str
    ours_seconds: float
    peer_seconds: float
    ratio: float
    aim: float

    def row(self) -> str:
        verdict = "met" if self.ratio <= self.aim else "missed"
        figures = f"{self.ours_seconds * 1e3:6.0f} ms  {self.peer_seconds * 1e3:6.0f} ms  {self.ratio:5.2f}"
        return f"{self.name:<38} {self.peer:<34} {figures}  ≤ {self.aim:<4} {verdict}"


HEADER = f"{'figure':<38} {'peer':<34} {'ours':>9}  {'peer':>9}  {'ratio':>5}  {'aim':<6}"


def compare(name: str, ours: Sequence[str], peer_name: str, peer: Sequence[str], *, aim: float, runs: int) -> Ratio:
    """Run both commands `runs` times in turn. Raises CalledProcessError where one of them fails."""
    for _ in range(WARM_UPS):
        seconds(ours), seconds(peer)
    pairs = [(seconds(ours), seconds(peer)) for _ in range(runs)]
    ratio = statistics.median(a / b for a, b in pairs)
    ours_median, peer_median = (statistics.median(column) for column in zip(*pairs, strict=True))
    return Ratio(name, peer_name, ours_median, peer_median, ratio, aim)


def seconds(command: Sequence[str]) -> float:
    """Wall time of one process whose output goes to a pipe, as it would to another program."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    return time.perf_counter() - start
