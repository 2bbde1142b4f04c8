"""A process that is kept warm: commands run in it as in a new process, and nothing stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from attncli.cli.warm.place import Identity, is_possible, socket_path
from tests.cli.conftest import attn

pytestmark = pytest.mark.skipif(not is_possible(), reason="no process can be kept warm here")

INDUCTION = ("heads", "-m", "builtin:induction", "--input-ids", "5 6 7 5 6 7")


class Outcome(NamedTuple):
    code: int
    out: bytes
    err: bytes


class Place(NamedTuple):
    """A runtime folder of its own, and the variables of commands that use it."""

    folder: Path
    variables: dict[str, str]

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


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("runtime")
    variables = {name: value for name, value in os.environ.items() if name != "ATTN_KEEP_WARM"}
    place = Place(folder, {**variables, "XDG_RUNTIME_DIR": str(folder)})
    assert place.run("--keep-warm", "10m").code == 0
    yield place
    state = place.state()
    assert place.run("--keep-warm", "off").out == b"ended\n"
    assert state is not None and wait(lambda: not is_alive(state["process"]))
    assert not list(folder.rglob("*.sock"))


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


@pytest.mark.parametrize(
    "arguments",
    [
        INDUCTION,
        (*INDUCTION, "--json"),
        (*INDUCTION, "--color", "always", "-H", "1.0"),
        ("params", "preset:gpt2"),
        ("tokenize", "the mole", "--ids"),
        ("tokenize", "-", "--count"),
        ("heads", "-m", "builtin:induction", "--input-ids", "5 6", "-l", "9"),
        ("heads", "-m", "./nothing", "a"),
        (*INDUCTION, "--check", "1.0 induction > 2"),
        ("nonsense",),
    ],
    ids=" ".join,
)
def test_a_command_writes_the_same_as_in_this_process(arguments: tuple[str, ...], warm: Place, tmp_path: Path) -> None:
    given = b"the mole\n" if "-" in arguments else None
    before, expected = warm.state(), attn(*arguments, stdin=given or b"")
    outcome = warm.run(*arguments, given=given, cwd=tmp_path)
    assert (outcome.code, outcome.out, outcome.err.decode()) == (expected.code, expected.out, expected.err)
    after = warm.state()
    assert before is not None and after is not None and after["runs"] == before["runs"] + 1


def test_folder_variables_and_files_are_those_of_the_command(warm: Place, tmp_path: Path) -> None:
    outcome = warm.run(
        *INDUCTION[:1], *INDUCTION[3:], "-o", "x.json", cwd=tmp_path, env={"ATTN_MODEL": "builtin:induction"}
    )
    assert outcome.code == 0
    assert json.loads((tmp_path / "x.json").read_text())["model"] == "builtin:induction"


def test_variables_that_libraries_read_at_once_make_a_command_run_in_a_new_process(warm: Place) -> None:
    before = warm.state()
    assert warm.run("tokenize", "mole", "--ids", env={"HF_HUB_OFFLINE": "1"}).code == 0
    assert before is not None and warm.state() is not None
    assert (warm.state() or {})["runs"] == before["runs"]


def test_two_commands_at_once(warm: Place) -> None:
    first, second = warm.start(*INDUCTION), warm.start(*INDUCTION, "--json")
    outs = [process.communicate(timeout=120)[0] for process in (first, second)]
    assert outs == [warm.run(*INDUCTION).out, warm.run(*INDUCTION, "--json").out]


def test_a_closed_pipe_ends_a_command(warm: Place) -> None:
    with warm.start(*INDUCTION, "--json", "--patterns") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(timeout=120) == 141


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_reach_the_command_at_any_moment(number: signal.Signals, code: int, warm: Place) -> None:
    state = warm.state()
    assert state is not None
    for moment in range(10):
        process = warm.start("tokenize", "-", stdin=subprocess.PIPE)
        assert wait(lambda: bool(children(state["process"])))
        time.sleep(0.01 * moment)
        process.send_signal(number)
        # Its stdin stays open until it has ended: the end of the text would be another end.
        process.wait(timeout=60)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (code, b"")
        assert wait(lambda: not children(state["process"]))


def test_a_client_that_is_killed_takes_its_command_along(warm: Place) -> None:
    state = warm.state()
    assert state is not None
    process = warm.start("tokenize", "-", stdin=subprocess.PIPE)
    assert wait(lambda: bool(children(state["process"])))
    process.kill()
    process.communicate(timeout=60)
    assert wait(lambda: not children(state["process"]))


def test_a_command_goes_on_where_the_process_is_killed(warm: Place, tmp_path: Path) -> None:
    place = Place(tmp_path, {**warm.variables, "XDG_RUNTIME_DIR": str(tmp_path)})
    assert place.run("--keep-warm", "5m").code == 0
    state = place.state()
    assert state is not None
    with place.start("tokenize", "-", "--count", stdin=subprocess.PIPE) as process:
        assert wait(lambda: bool(children(state["process"])))
        os.kill(state["process"], signal.SIGKILL)
        assert process.communicate(b"the mole", timeout=60) == (b"4\n", b"")
    assert process.returncode == 0
    # Its socket is left, and nobody listens there.
    assert place.run("tokenize", "mole", "--count").out == b"3\n"
    assert place.run("--keep-warm", "status").out == b"nothing is kept warm\n"


def test_it_ends_when_its_time_is_up_or_its_packages_change(warm: Place, tmp_path: Path) -> None:
    place = Place(tmp_path, {**warm.variables, "XDG_RUNTIME_DIR": str(tmp_path)})
    assert place.run("--keep-warm", "1s").code == 0
    assert wait(lambda: place.state() is None)
    assert not list(tmp_path.rglob("*.sock"))


def test_a_folder_that_others_can_write_to_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "attncli").mkdir(mode=0o755)
    (tmp_path / "attncli").chmod(0o755)
    assert socket_path() is None
    (tmp_path / "attncli").chmod(0o700)
    assert socket_path() is not None


def test_a_changed_file_is_another_identity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = Identity.of_process()
    (tmp_path / "rich").mkdir()
    (tmp_path / "rich" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert Identity.of_process().files != before.files
    assert Identity.of_process().variables == before.variables


@pytest.mark.parametrize("given", ["", "10", "m", "-5m", "0s", "later"])
def test_what_is_no_time(given: str) -> None:
    outcome = attn("--keep-warm", given)
    assert outcome.code == 2
    assert "--keep-warm 10m" in outcome.err
