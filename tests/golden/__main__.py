"""Record what the commands of the table write.

    python -m tests.golden                    run all, write what changed into recorded/, and print it as a diff
    python -m tests.golden --check            print alone, and exit with 1 if anything differs
    python -m tests.golden heads/one params   those whose names begin so
    python -m tests.golden --warm             as --check, in a process that is kept warm

A command is a line in `commands.py`; `recorded/<group>/<name>.txt` holds what it writes: exit code, stderr, stdout, and
every file. A recording says what changed, not whether that is right: read the diff before committing it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from tests.golden.attn import Outcome, run_attn
from tests.golden.commands import COMMANDS
from tests.golden.ring import MATPLOTLIB, RECORDED, absent, difference, outcome_of, path_of, written
from tests.golden.samples import write_samples


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description="Record the golden files, or check.")
    parser.add_argument("names", nargs="*", help="beginnings of names, as heads/one (default: all)")
    parser.add_argument("--check", action="store_true", help="only print what differs; exit with 1 if anything does")
    parser.add_argument("--warm", action="store_true", help="check what they write in a process that is kept warm")
    parser.add_argument("--times", action="store_true", help="print the seconds that each command takes")
    given = parser.parse_args()
    if given.warm:
        from tests.golden.warm import runs_elsewhere

        given.check = True
    chosen = {name: one for name, one in COMMANDS.items() if name.startswith(tuple(given.names) or "")}
    if not given.check and not given.names and find_spec("matplotlib"):
        RECORDED.mkdir(exist_ok=True)
        MATPLOTLIB.write_text(f"{version('matplotlib')}\n", encoding="utf-8")
    changed = 0
    with tempfile.TemporaryDirectory() as place, _attn(Path(place), warm=given.warm) as attn:
        folder = Path(place) / "samples"
        folder.mkdir()
        write_samples(folder)
        for name, command in chosen.items():
            if reason := absent(command) or (runs_elsewhere(command) if given.warm else None):
                print(f"skipped {name}: {reason}")
                continue
            begin = time.perf_counter()
            found = written(command, outcome_of(command, folder, attn))
            if given.times:
                print(f"{time.perf_counter() - begin:6.2f} s  {name}", file=sys.stderr)
            target = path_of(name)
            recorded = target.read_text("utf-8") if target.exists() else ""
            shown = difference(recorded, found, name) if recorded else f"new: {name}\n"
            if not shown:
                continue
            changed += 1
            print(shown, end="")
            if not given.check:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(found, encoding="utf-8", newline="\n")
    if not given.names and not given.warm:
        changed += _unused(delete=not given.check)
    print(f"{len(chosen)} commands, {changed} changed", file=sys.stderr)
    return 1 if given.check and changed else 0


@contextmanager
def _attn(place: Path, *, warm: bool) -> Iterator[Callable[..., Outcome]]:
    """What runs a command: this process, or one that is kept warm, of which it says how many it has run."""
    if not warm:
        yield run_attn
        return
    from tests.golden.warm import kept_warm

    with kept_warm(place) as attn:
        yield attn
        print(f"{attn.runs} commands were run by the process that was kept warm", file=sys.stderr)


def _unused(*, delete: bool) -> int:
    """Recordings of commands that are no longer in the table."""
    known = {path_of(name) for name in COMMANDS}
    unused = [path for path in RECORDED.rglob("*.txt") if path not in known and path != MATPLOTLIB]
    for path in unused:
        print(f"not in the table: {path.relative_to(RECORDED)}")
        if delete:
            path.unlink()
    return len(unused)


if __name__ == "__main__":
    sys.exit(main())
