"""The ring's commands as a user starts them, in a process that is kept warm. (Not on Windows.)"""

from __future__ import annotations

import os
import subprocess
import sys
import tty
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.golden.attn import Outcome
from tests.golden.commands import Command

#: Of this process, what a command needs. Others would change what it shows.
_PASSED = ("PATH", "HOME", "TMPDIR", "OMP_NUM_THREADS")


def runs_elsewhere(command: Command) -> str | None:
    """Why a command of the table isn't run in a process that is kept warm; None where it is."""
    if not command.line.startswith("attn "):
        return "no command"
    if command.hub or command.encoding != "utf-8":
        return "its variables are read when libraries are imported, so that it runs in a new process"
    return None


class WarmAttn:
    """Runs `attn` as `run_attn` does, but in processes of their own. folder: for sockets and caches."""

    def __init__(self, folder: Path) -> None:
        passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
        own = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf"), "ATTN_CACHE": str(folder / "cache")}
        root = str(Path(__file__).parents[2])
        self._variables = {**passed, **own, "XDG_RUNTIME_DIR": str(folder), "PYTHONPATH": root, "LANG": "C.UTF-8"}

    def __call__(
        self,
        arguments: Sequence[str],
        *,
        stdin: bytes | None = None,
        variables: Mapping[str, str] | None = None,
        terminal: bool = False,
        encoding: str = "utf-8",
    ) -> Outcome:
        assert encoding == "utf-8"
        keyboard, screen = os.openpty(), os.openpty()
        tty.setraw(screen[1])
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "attncli", *arguments],
            stdin=keyboard[1] if stdin is None else subprocess.PIPE,
            stdout=screen[1] if terminal else subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**self._variables, **(variables or {})},
        )
        os.close(screen[1])
        with process:
            out, err = process.communicate(stdin)
        shown = _read_all(screen[0]) if terminal else out
        for each in (*keyboard, screen[0]):
            os.close(each)
        return Outcome(process.returncode, shown, err.decode())

    @property
    def runs(self) -> int:
        """How many commands the process that is kept warm has run."""
        return int(self(["--keep-warm", "status"]).out.split(b";")[1].split()[0].replace(b",", b""))


def _read_all(terminal: int) -> bytes:
    content = b""
    try:
        while part := os.read(terminal, 1 << 16):
            content += part
    except OSError:  # how Linux says that nobody writes to it any more
        return content
    return content


@contextmanager
def kept_warm(folder: Path) -> Iterator[WarmAttn]:
    attn = WarmAttn(folder)
    assert attn(["--keep-warm", "20m"]).code == 0
    try:
        yield attn
    finally:
        attn(["--keep-warm", "off"])
