"""A process that is kept warm: commands run in it as in a new process, and nothing stays behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from attncli.cli.warm import client, control
from attncli.cli.warm.place import GO, Identity, Reader, is_possible, pack, socket_path
from tests.cli.conftest import attn
from tests.cli.warm_place import INDUCTION, Place, commands, is_alive, kept_warm, wait

pytestmark = pytest.mark.skipif(not is_possible(), reason="no process can be kept warm here")


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with kept_warm(tmp_path_factory.mktemp("runtime")) as place:
        yield place


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
    state = warm.keep(*INDUCTION)
    for moment in range(10):
        process = warm.start("tokenize", "-", stdin=subprocess.PIPE)
        assert wait(lambda: bool(commands(state)))
        time.sleep(0.01 * moment)
        process.send_signal(number)
        # Its stdin stays open until it has ended: the end of the text would be another end.
        process.wait(timeout=60)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (code, b"")
        assert wait(lambda: not commands(state))


def test_a_client_that_is_killed_takes_its_command_along(warm: Place) -> None:
    state = warm.keep(*INDUCTION)
    process = warm.start("tokenize", "-", stdin=subprocess.PIPE)
    assert wait(lambda: bool(commands(state)))
    process.kill()
    process.communicate(timeout=60)
    assert wait(lambda: not commands(state))


@pytest.mark.parametrize("arguments", [("tokenize", "mole", "--count"), INDUCTION], ids=["before", "with a model"])
def test_a_command_goes_on_where_the_process_is_killed(arguments: tuple[str, ...], tmp_path: Path) -> None:
    with kept_warm(tmp_path) as place:
        place.run(*arguments)
        state = place.keep(*arguments) if arguments == INDUCTION else place.state()
        assert state is not None
        with place.start("tokenize", "-", "--count", stdin=subprocess.PIPE) as process:
            assert wait(lambda: bool(commands(state)))
            os.kill(state["process"], signal.SIGKILL)
            assert process.communicate(b"the mole", timeout=60) == (b"4\n", b"")
        assert process.returncode == 0
        assert state["holder"] is None or wait(lambda: not is_alive(state["holder"]))
        # Where there was no holder, its socket is left, and nobody listens there.
        assert place.run("tokenize", "mole", "--count").out == b"3\n"
        assert place.run("--keep-warm", "status").out == b"nothing is kept warm\n"
        for path in place.sockets():
            path.unlink()


def test_a_command_that_had_not_begun_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ended after it was told to go on: nothing is lost, no command and no signal."""
    came: list[int] = []
    monkeypatch.setattr(client, "_PASSED", ("SIGUSR1",))
    before = signal.signal(signal.SIGUSR1, lambda number, _: came.append(number))
    ours, theirs = socket.socketpair()
    try:
        command = client._Command()
        command.pass_signals()
        theirs.sendall(pack({"ready": True}))
        theirs.shutdown(socket.SHUT_WR)
        signal.raise_signal(signal.SIGUSR1)
        assert (command.wait(Reader(ours), ours), theirs.recv(1), came) == (None, GO, [])
        command.keep_signals()
        assert came == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)
        for end in (ours, theirs):
            end.close()


def test_it_ends_when_its_time_is_up(tmp_path: Path) -> None:
    with kept_warm(tmp_path, "1s") as place:
        assert wait(lambda: place.state() is None)
        assert place.sockets() == []


def test_it_ends_when_packages_change(tmp_path: Path) -> None:
    (tmp_path / "new" / "transformers").mkdir(parents=True)
    (tmp_path / "new" / "transformers" / "__init__.py").write_text("")
    with kept_warm(tmp_path) as place:
        path = f"{tmp_path / 'new'}{os.pathsep}{place.variables['PYTHONPATH']}"
        assert place.run("tokenize", "mole", "--count", env={"PYTHONPATH": path}).out == b"3\n"
        assert place.state() is None


#: A client that has waited too long: it closes the connection, once it has been answered or before.
_IMPATIENT = """
import sys
from attncli.cli.warm import client

class Impatient(client._Command):
    def wait(self, reader, connection):
        if sys.argv[1] == "answered":
            assert reader.read() == {"ready": True}

client._Command = Impatient
assert client.run_warm(["params", "preset:gpt2", "-o", sys.argv[2]]) is None
"""


@pytest.mark.parametrize("moment", ["at once", "answered"])
def test_a_command_never_runs_twice(moment: str, warm: Place, tmp_path: Path) -> None:
    """Once its client has given up, and runs it itself, the process that is kept warm doesn't run it."""
    before, written = warm.state(), tmp_path / "x.json"
    program = [sys.executable, "-c", _IMPATIENT, moment, str(written)]
    subprocess.run(program, env=warm.variables, check=True, timeout=60)
    time.sleep(0.5)
    after = warm.state()
    assert before is not None and after is not None
    assert (after["runs"], after["running"], written.exists()) == (before["runs"], 0, False)


def test_a_socket_of_another_user_is_not_used(warm: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(warm.folder))
    assert client.ask({"do": "status"}) is not None
    monkeypatch.setattr(client, "peer_user", lambda _: os.getuid() + 1)
    assert client.ask({"do": "status"}) is None


def test_the_variable_starts_it_with_the_first_command_that_needs_torch(tmp_path: Path) -> None:
    place = Place.at(tmp_path)
    assert place.run("tokenize", "mole", "--count", env={"ATTN_KEEP_WARM": "20s"}).code == 0
    assert place.state() is None
    assert place.run(*INDUCTION, env={"ATTN_KEEP_WARM": "20s"}).code == 0
    assert wait(lambda: place.state() is not None, 60)
    state = place.state()
    assert state is not None and (state["seconds"], state["runs"]) == (20, 0)
    assert place.run("--keep-warm", "off").out == b"ended\n"
    assert wait(lambda: not is_alive(state["process"]))


def test_a_system_without_fork_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "is_possible", lambda: False)
    outcome = attn("--keep-warm", "10m")
    assert (outcome.code, outcome.out) == (1, b"")
    assert outcome.err.startswith("error: no process can be kept warm here")


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
