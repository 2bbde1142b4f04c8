"""Completion: what is offered, the committed scripts, and real shells at a terminal."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from attncli.choices import COMPLETION
from attncli.cli.command import attn
from attncli.cli.completion import Bash
from tests.golden.attn import complete

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "completions"


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """An environment where `attn` is this checkout's, and two models are cached."""
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "attn"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m attncli "$@"\n')
    command.chmod(0o755)
    for name in ("models--gpt2", "models--org--small-bert", "datasets--org--words"):
        (tmp_path / "hub" / name / "snapshots").mkdir(parents=True)
    for name in ("weights.safetensors", "saved.json", "saved.csv"):
        (tmp_path / name).touch()
    return {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "HOME": str(tmp_path),
        "TERM": "dumb",
        "LC_ALL": "C.UTF-8",
    }


def offered(line: str, variables: Mapping[str, str], piece: str | None = None) -> list[str]:
    """The words that bash is handed for a line; `piece` is what bash takes for its last word."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(variables["HOME"])
        patch.setenv("HF_HUB_CACHE", variables["HF_HUB_CACHE"])
        rows = complete(line, "bash", piece).out.decode().splitlines()
    return [value for kind, value in (row.split(",", 1) for row in rows) if kind == "plain"]


def test_the_committed_script_is_what_attn_prints() -> None:
    assert (SCRIPTS / "attn.bash").read_text(encoding="utf-8") == Bash(attn, {}, "attn", COMPLETION).source()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("attn ", ["compare", "heads", "params", "tokenize"]),
        ("attn to", ["tokenize"]),
        ("attn heads --met", ["--metric"]),
        ("attn heads --metric e", ["entropy"]),
        ("attn heads x --metric=dis", ["--metric=distance"]),
        ("attn heads --threshold ind", ["induction="]),
        ("attn heads --device c", ["cpu", "cuda"]),
        ("attn tokenize -m ", ["builtin:induction", "gpt2", "org/small-bert"]),
        ("attn tokenize -m org", ["org/small-bert"]),
        ("attn params preset:gpt2-", ["preset:gpt2-medium", "preset:gpt2-large", "preset:gpt2-xl"]),
        ("attn params --by ", ["component", "layer", "part", "module", "tensor", "cost"]),
        ("attn params --lora 8:mlp.g", ["8:mlp.gate"]),
        ("attn tokenize --format j", ["json", "jsonl"]),
        ("attn tokenize --result s", ["saved.json"]),
    ],
)
def test_what_is_offered(line: str, words: list[str], variables: dict[str, str]) -> None:
    # A value after an equal sign is offered alone: bash replaces no more than what stands behind it.
    assert offered(line, variables) == [word.rpartition("=")[2] if "--metric=" in word else word for word in words]


@pytest.mark.parametrize(
    ("line", "piece", "words"),
    [
        ("attn params preset:", ":", ["gpt2-xl"]),
        ("attn params preset:gpt2-x", "gpt2-x", ["gpt2-xl"]),
        ("attn params --lora 8:mlp.", "mlp.", ["mlp.gate"]),
        ('attn heads x --check "1.0 indu', '"1.0 indu', ["1.0 induction "]),
    ],
)
def test_bash_gets_what_stands_behind_a_colon(
    line: str, piece: str, words: list[str], variables: dict[str, str]
) -> None:
    assert set(words) <= set(offered(line, variables, piece))


class Terminal:
    """A shell at a terminal of its own, typed into and read."""

    def __init__(self, command: list[str], variables: Mapping[str, str], folder: Path) -> None:
        import pty

        self.end, theirs = pty.openpty()
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=dict(variables), cwd=folder, start_new_session=True
        )
        os.close(theirs)

    def type(self, text: str) -> None:
        os.write(self.end, text.encode())

    def until(self, text: str, seconds: float = 30) -> str:
        """What is printed until `text` was. Raises AssertionError where that takes too long."""
        read, end = "", time.monotonic() + seconds
        while text not in read:
            assert time.monotonic() < end, f"{text!r} was not printed, but {read!r}"
            if select.select([self.end], [], [], 0.1)[0]:
                read += os.read(self.end, 4096).decode(errors="replace")
        return read

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.end)


STARTS = {
    "bash": (["bash", "--noprofile", "--norc", "-i"], "source {script}; echo rea''dy\n"),
    "zsh": (["zsh", "-f", "-i"], "autoload -Uz compinit; compinit -u; source {script}; print rea''dy\n"),
}


@pytest.fixture(params=STARTS)
def terminal(request: pytest.FixtureRequest, variables: dict[str, str], tmp_path: Path) -> Iterator[Terminal]:
    command, start = STARTS[request.param]
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]} here")
    terminal = Terminal(command, variables, tmp_path)
    try:
        terminal.type(start.format(script=SCRIPTS / f"attn.{request.param}"))
        terminal.until("ready")
        yield terminal
    finally:
        terminal.close()


#: What is typed, and the only word that it can become.
TYPED = {
    "attn tok": "tokenize",
    "attn heads --metric entr": "entropy",
    "attn tokenize -m org/": "org/small-bert",
    "attn params preset:gpt2-x": "preset:gpt2-xl",
    "attn params weigh": "weights.safetensors",
}


def test_a_tab_at_a_terminal(terminal: Terminal) -> None:
    for typed, completed in TYPED.items():
        terminal.type(f"{typed}\t")
        # A terminal may draw what was typed anew in pieces; the last letters are the completion's alone.
        ending = completed[-4:]
        assert ending not in typed
        terminal.until(ending)
        # The line goes, and the next one begins when the shell has answered.
        terminal.type("\x15echo nex''t\n")
        terminal.until("next")


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish here")
def test_fish_completes(variables: dict[str, str], tmp_path: Path) -> None:
    asked = "; ".join(f"complete --do-complete {line!r}" for line in TYPED)
    program = f"source {SCRIPTS / 'attn.fish'}; {asked}"
    done = subprocess.run(
        ["fish", "--no-config", "-c", program], env=variables, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert [row.split("\t")[0] for row in done.stdout.splitlines()] == [*TYPED.values()]
