"""`python -m tests.benchmarks [RUNS]`: every benchmark, each against a named peer in the same run."""

from __future__ import annotations

import sys

from tests.benchmarks import startup
from tests.benchmarks.processes import HEADER


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 21
    print(HEADER)
    for ratio in startup.run(runs):
        print(ratio.row())


if __name__ == "__main__":
    main()
