"""A process that is kept warm, in a runtime folder of the test's own, and what runs in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

INDUCTION = ("heads", "-m", "builtin:induction", "--input-ids", "5 6 7 5 6 7")


class Outcome(NamedTuple):
    code: int
    out: bytes
    err: bytes


class Place(NamedTuple):
    """A runtime folder of its own, and the variables of commands that use it."""

    folder: Path
    variables: dict[str, str]

    @classmethod
    def at(cls, folder: Path) -> Place:
        variables = {name: value for name, value in os.environ.items() if name != "ATTN_KEEP_WARM"}
        # Also where another checkout is installed.
        root = str(Path(__file__).parents[2])
        return cls(folder, {**variables, "XDG_RUNTIME_DIR": str(folder), "PYTHONPATH": root})

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [sys.executable, "-m", "attncli", *arguments]
        variables = {**self.variables, **options.pop("env", {})}
        return subprocess.Popen(command, **{**streams, "env": variables, **options})

    def run(self, *arguments: str, given: bytes | None = None, **options: Any) -> Outcome:
        streams = {} if given is None else {"stdin": subprocess.PIPE}
        with self.start(*arguments, **streams, **options) as process:
            out, err = process.communicate(given, timeout=120)
        return Outcome(process.returncode, out, err)

    def state(self) -> dict[str, Any] | None:
        """What the process says of itself; None where there is none."""
        code = "import json; from attncli.cli.warm.client import ask; print(json.dumps(ask({'do': 'status'})))"
        found = subprocess.run(
            [sys.executable, "-c", code], env=self.variables, capture_output=True, check=True, timeout=60
        )
        return json.loads(found.stdout)  # type: ignore[no-any-return]

    def keep(self, *arguments: str) -> dict[str, Any]:
        """Run a command, and wait until the model that it used is kept; what the process then says of itself."""
        assert self.run(*arguments).code == 0
        assert wait(lambda: (self.state() or {}).get("model") is not None, 60)
        state = self.state()
        assert state is not None
        return state

    def sockets(self) -> list[Path]:
        return list(self.folder.rglob("*.sock"))


@contextmanager
def kept_warm(folder: Path, time: str = "10m") -> Iterator[Place]:
    """A place with such a process. Nothing may be left of it."""
    place = Place.at(folder)
    assert place.run("--keep-warm", time).code == 0
    state = place.state()
    assert state is not None
    try:
        yield place
    finally:
        last = place.state() or state
        place.run("--keep-warm", "off")
        for process in (state["process"], last["holder"]):
            assert process is None or wait(lambda process=process: not is_alive(process))
        assert place.sockets() == []


def is_alive(process: int) -> bool:
    """Whether a process runs. One that has ended may wait for whoever adopted it to notice."""
    stat = Path(f"/proc/{process}/stat")
    if stat.exists():
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return not Path("/proc").exists()


def wait(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if holds():
            return True
        time.sleep(0.05)
    return False


def children(process: int) -> list[int]:
    path = Path(f"/proc/{process}/task/{process}/children")
    return [int(each) for each in path.read_text().split()] if path.exists() else []


def commands(state: dict[str, Any]) -> list[int]:
    """The processes of the commands that run now."""
    both = [process for process in (state["process"], state["holder"]) if process is not None]
    return [child for process in both for child in children(process) if child != state["holder"]]
