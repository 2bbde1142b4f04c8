"""`python -m tests.benchmarks [RUNS [MEGABYTES]]`: every benchmark, each against a named peer in the same run.

RUNS: pairs of processes that are timed in turn, 21 or fewer for a quick look.  MEGABYTES: the size of the file that is
cut into tokens, 100 or less. The figures of a decoder need the file that `tests/test_real_decoder.py` names. The whole
takes the better part of an hour on two cores, most of it for long texts; a module of this folder alone
(`python -m tests.benchmarks.reading 4096`) says one part. The table is Markdown, and stands in
attncli/docs/benchmarks.md; the peers are in the extra `benchmarks`.
"""

from __future__ import annotations

import datetime
import os
import platform
import sys
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

from tests.benchmarks import added_memory, comparing, counting, decoders, pages, reading, startup, tokenizing
from tests.benchmarks.processes import HEADER

#: The peers that the extra `benchmarks` brings.
PEERS = ("accelerate", "bertviz", "torchinfo")


def main() -> None:
    missing = [peer for peer in PEERS if find_spec(peer) is None]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)}\nhint: pip install -e '.[offline,benchmarks]'")
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 21
    megabytes = float(sys.argv[2]) if len(sys.argv) > 2 else 100
    print(machine(), HEADER, sep="\n\n", flush=True)
    every = (
        startup.run(runs),
        decoders.run(runs),
        tokenizing.run(runs, megabytes=megabytes),
        counting.run(runs),
        comparing.run(runs),
        pages.run(),
        reading.run(runs),
        added_memory.run(),
    )
    for ratio in chain(*every):
        print(ratio.row(), flush=True)


def machine() -> str:
    """When and on what: a sentence above the table."""
    today = datetime.date.today().isoformat()
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "tokenizers"))
    return f"{today}, {_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}"


def _processor() -> str:
    """Its name, where Linux gives it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
