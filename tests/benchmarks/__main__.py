"""`python -m tests.benchmarks [RUNS [MEGABYTES]]`: every benchmark, each against a named peer in the same run.

MEGABYTES is the size of the file that is cut into tokens: 100, or less for a quick look.
"""

from __future__ import annotations

import sys
from itertools import chain

from tests.benchmarks import comparing, counting, reading, startup, tokenizing
from tests.benchmarks.processes import HEADER


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 21
    megabytes = float(sys.argv[2]) if len(sys.argv) > 2 else 100
    print(HEADER)
    every = (
        startup.run(runs),
        comparing.run(runs),
        counting.run(runs),
        reading.run(runs),
        tokenizing.run(runs, megabytes=megabytes),
    )
    for ratio in chain(*every):
        print(ratio.row(), flush=True)


if __name__ == "__main__":
    main()
