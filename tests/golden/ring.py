"""Running the table's commands, and the files that hold what they wrote."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import shlex
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest

from tests.golden.attn import Outcome, complete, run_attn, run_python, write_manual
from tests.golden.commands import COMMANDS, Command
from tests.golden.comparing import agree
from tests.golden.forms import Section, mask, section, shown
from tests.golden.samples import variables
from tests.golden.schemas import validate
from tests.hub_server import HubServer

RECORDED = Path(__file__).parent / "recorded"
#: Figures depend on the version that draws them.
MATPLOTLIB = RECORDED / "matplotlib-version.txt"
_FORMS = ("json", "jsonl", "csv")


def absent(command: Command) -> str | None:
    """Why it can't be run here; None if it can."""
    if os.name == "nt":
        return "paths are written in another way on Windows"
    for name in command.needs:
        if find_spec(name) is None:
            return f"{name} isn't installed"
    if command.draws and find_spec("matplotlib") is None:
        return "matplotlib isn't installed"
    if command.draws and version("matplotlib") != MATPLOTLIB.read_text("utf-8").strip():
        return f"figures were recorded with matplotlib {MATPLOTLIB.read_text('utf-8').strip()}"
    return None


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """In the folder of the samples, without a network, with a cache of the ring's own."""
    own = {"ATTN_CACHE": str(folder.parent / "attn-cache"), "HF_HUB_OFFLINE": "1"}
    with contextlib.chdir(folder), variables(**own):
        yield


def outcome_of(command: Command, folder: Path, attn: Callable[..., Outcome] = run_attn) -> list[Section]:
    """Run a command in the folder of the samples: what it wrote, with its exit code first. attn: runs the command."""
    before = _files(folder)
    with inside(folder), tempfile.TemporaryDirectory() as home, variables(**{**os.environ, "HF_HOME": home}):
        with _hub(command):
            outcome = _run(command, folder, attn)
        sections = [Section("exit", "text", f"{outcome.code}\n")]
        if outcome.err:
            # How large a file is depends on how its numbers are rounded.
            said = re.sub(r"(wrote .+, )[\d,]+ bytes", r"\1… bytes", mask(outcome.err, folder))
            sections.append(Section("stderr", "text", shown(said)))
        if outcome.out:
            out = mask(outcome.out.decode("utf-8"), folder).encode()
            form = _form(command)
            _validate(command, form, out)
            sections.append(section("stdout", form, out))
        for name in sorted(_files(folder) - before):
            content = (folder / name).read_bytes()
            form = Path(name).suffix.removeprefix(".")
            if form != "npz":
                content = mask(content.decode("utf-8"), folder).encode()
                _validate(command, form, content)
            sections.append(section(name, form, content))
            (folder / name).unlink()
    return sections


def _files(folder: Path) -> set[str]:
    """Names of the files in a folder; a command that runs a user's code may leave `__pycache__` beside it."""
    return {path.name for path in folder.iterdir() if path.is_file()}


def _run(command: Command, folder: Path, attn: Callable[..., Outcome]) -> Outcome:
    if command.line.startswith("python "):
        return run_python(command.line.removeprefix("python "))
    words = shlex.split(command.line)
    if words[0] == "complete":
        return complete(command.line.removeprefix("complete "), command.variables.get("SHELL", "bash"))
    if words[0] == "manual":
        write_manual(folder)
        return Outcome(0, b"", "")
    stdin = command.stdin.encode() if isinstance(command.stdin, str) else command.stdin
    return attn(
        words[1:], stdin=stdin, variables=command.variables, terminal=command.terminal, encoding=command.encoding
    )


@contextlib.contextmanager
def _hub(command: Command) -> Iterator[None]:
    """A hub on this machine that has one model, for commands that ask one."""
    if not command.hub:
        yield
        return
    from huggingface_hub import close_session, constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = False
    close_session()
    try:
        with HubServer() as server:
            files = {path.name: path.read_bytes() for path in Path("gpt2").iterdir()}
            server.add("org/tiny", files)
            server.add("org/gated", files).gated = True
            with variables(**{**os.environ, "HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": "0"}):
                yield
    finally:
        constants.HF_HUB_OFFLINE = before
        close_session()


def _validate(command: Command, form: str, content: bytes) -> None:
    """Check JSON against the schema of the verb."""
    if form in ("json", "jsonl"):
        verb = "heads" if command.line.startswith("python ") else shlex.split(command.line)[1]
        validate(verb, form, content.decode())


def _form(command: Command) -> str:
    """What is on stdout: `--json`, `--format csv`, else text."""
    if command.line.startswith("python "):
        return "html" if "_repr_html_" in command.line else "json" if "json.dumps" in command.line else "text"
    words = shlex.split(command.line)
    if "--json" in words:
        return "json"
    after = dict(pairwise(words))
    form = after.get("--format", "text")
    return form if form in _FORMS and "--ids" not in words and "--count" not in words else "text"


# Files


_MARK = "════ "


def path_of(name: str) -> Path:
    return RECORDED / f"{name}.txt"


def written(command: Command, sections: list[Section]) -> str:
    """A file: the command, its surroundings where they aren't the usual ones, and each section."""
    lines = [f"$ {command.line}\n"]
    lines += [f"# {remark}\n" for remark in command.remarks]
    for each in sections:
        lines.append(f"{_MARK}{each.name} {each.kind}\n{each.text}")
    return "".join(lines)


def read(text: str) -> tuple[str, list[Section]]:
    """The head of such a file, and its sections."""
    head, *parts = f"\n{text}".removesuffix("\n").split(f"\n{_MARK}")
    sections = []
    for part in parts:
        title, _, body = part.partition("\n")
        name, kind = title.rsplit(" ", 1)
        sections.append(Section(name, kind, f"{body}\n"))
    return head.lstrip("\n"), sections


def difference(recorded: str, found: str, name: str) -> str:
    """A unified diff, empty where the two say the same."""
    if recorded == found:
        return ""
    old_head, old = read(recorded)
    new_head, new = read(found)
    same = old_head == new_head and [each[:2] for each in old] == [each[:2] for each in new]
    if same and all(agree(a.kind, a.text, b.text) for a, b in zip(old, new, strict=True)):
        return ""
    lines = difflib.unified_diff(
        recorded.splitlines(True), found.splitlines(True), f"{name} (recorded)", f"{name} (now)", n=2
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def check(name: str, folder: Path, attn: Callable[..., Outcome] = run_attn) -> None:
    """Fail with a diff unless a command writes what was recorded; skip it where what it needs is absent."""
    command = COMMANDS[name]
    if reason := absent(command):
        pytest.skip(reason)
    found = written(command, outcome_of(command, folder, attn))
    if changed := difference(path_of(name).read_text("utf-8"), found, name):
        pytest.fail(f"{changed}\nIf this is meant: python -m tests.golden {name}", pytrace=False)
