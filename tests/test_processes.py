"""Two processes of torchrun that share the lines of a file: the numbers of one, and one voice."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from attncli.cli.environment import ProcessRank
from attncli.metrics import METRICS
from tests import tiny
from tests.cli.conftest import Recorder, attn, heads, surroundings

__all__ = ["heads"]

#: As torchrun sets them for the second of two processes.
SECOND = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    given = [*command, "-m", "attncli", "heads", *arguments]
    return subprocess.run(given, capture_output=True, env=environment, encoding="utf-8", timeout=120, check=False)


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.save_with_tokenizer(tmp_path_factory.mktemp("gpt2"), "gpt2"))


def numbers(found: dict) -> list[float]:
    """Every metric and every end of an interval."""
    heads = [head for stack in found["stacks"] for head in stack["metrics"]]
    ends = [end for head in heads for name in METRICS for end in head["intervals"][name] or ()]
    return [*(head[name] for head in heads for name in METRICS if head[name] is not None), *ends]


@pytest.mark.processes
def test_two_processes_give_the_numbers_of_one(tmp_path: Path, gpt2: str) -> None:
    lines = [f"{'the mole dug ' * (place % 5)}one mole of the {place}" for place in range(70)]
    (tmp_path / "lines.txt").write_text("\n".join([*lines, "", "x " * 70]))
    given = ["-f", str(tmp_path / "lines.txt"), "--lines", "--truncate", "-m", gpt2]
    shared = torchrun(*given, "--json", "-o", str(tmp_path / "both.csv"))
    assert shared.returncode == 0, shared.stderr
    one = attn("heads", *given, "--json")
    found, expected = json.loads(shared.stdout), json.loads(one.text)
    assert numbers(found) == pytest.approx(numbers(expected), abs=1e-9)
    for key in ("texts", "warnings", "notes", "model"):
        assert found[key] == expected[key]
    assert found["texts"] == 71
    for said in ("note: 1 text was skipped, because it is empty", "warning: 1 text was truncated to the 64 tokens"):
        assert shared.stderr.count(said) == one.err.count(said) == 1
    assert len((tmp_path / "both.csv").read_text().splitlines()) == 13


@pytest.mark.processes
def test_a_failure_of_the_second_is_said_by_the_first(
    tmp_path: Path, gpt2: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is this process, with the variables that torchrun would set."""
    # The second group of lines, which is the second process's, holds fewer characters and too many tokens.
    long = "the mole dug a tunnel under the lawn, and the mole dug a tunnel under the lawn, and the mole dug"
    path = tmp_path / "lines.txt"
    path.write_text("\n".join([*[long] * 32, "x " * 40, *["the mole"] * 60]))
    given = ["heads", "-f", str(path), "--lines", "-m", gpt2, "-o", str(tmp_path / "x.json")]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        places = {**SECOND, "MASTER_PORT": str(free.getsockname()[1])}
    command = [sys.executable, "-m", "attncli", *given]
    second = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **places})
    first = {**places, "RANK": "0", "LOCAL_RANK": "0"}
    for name, value in first.items():
        monkeypatch.setenv(name, value)
    at_exit: list[Callable[[], None]] = []
    monkeypatch.setattr("attncli.cli.environment.atexit", SimpleNamespace(register=at_exit.append))
    failed = attn(*given, variables=first)
    for leave in at_exit:
        leave()
    assert (second.communicate(timeout=120), second.returncode) == ((b"", b""), 2)
    message = f"line 33 of {path}: the text has 81 tokens, and the model accepts at most 64"
    assert (failed.code, failed.text, failed.error) == (2, "", (message, "add --truncate to shorten it"))
    assert not (tmp_path / "x.json").exists()


def test_where_torchrun_started_nothing() -> None:
    assert surroundings(variables={"RANK": "1", "WORLD_SIZE": "2"}).process == ProcessRank(0, 1, 0)
    assert surroundings(variables={**SECOND, "LOCAL_RANK": "-1"}).process == ProcessRank(0, 1, 0)
    assert surroundings(variables=SECOND).process == ProcessRank(1, 2, 1)


def test_the_second_process_is_silent() -> None:
    second = surroundings(variables=SECOND, terminal=True)
    second.write_line("a mole")
    assert second.stderr.getvalue() == "" and not second.can_show_progress  # type: ignore[union-attr]
    assert attn("tokenize", "a mole", "--ids", variables=SECOND).out == b""


@pytest.mark.parametrize("arguments", [("--lines",), ("-f", "-", "--lines"), ("-",), ("--input-ids", "-")])
def test_stdin_belongs_to_one_process(
    arguments: tuple[str, ...], heads: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attncli.models.loading.distributed.TorchrunProcesses", Lonely)
    outcome = attn("heads", *arguments, stdin="a mole", variables={**SECOND, "RANK": "0"})
    assert outcome.code == 2 and outcome.error[0] == "several processes can't read stdin"
    assert heads.calls == []


class Lonely:
    """A communicator without other processes."""

    def __init__(self, rank: int, world: int, local_rank: int) -> None:
        """Does not wait for them."""

    def report_failure(self, failure: object) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""
