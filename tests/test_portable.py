"""What other systems do differently, as far as it shows on this one."""

from __future__ import annotations

import ntpath
import os
from pathlib import Path

import pytest

from attncli.cli.main import prepare_torch
from attncli.cli.output import check_target
from attncli.cli.signals import Signals
from attncli.errors import FailedError
from attncli.models.files import reference
from attncli.models.files.reference import Kind, parse_reference
from attncli.render.common.escape import last_part
from tests.cli.conftest import attn


@pytest.fixture
def drive(monkeypatch: pytest.MonkeyPatch) -> None:
    r"""A disk of Windows with a model in C:\models, and the rules of its paths."""
    folders, files = {r"C:\models", "C:/models"}, {r"C:\models\x.safetensors", r"C:\code\net.py"}
    fake = type("os", (), {"path": type("path", (), dict(vars(ntpath)))})
    for name, known in {"isdir": folders, "isfile": files, "exists": folders | files}.items():
        setattr(fake.path, name, staticmethod(lambda path, known=known: path in known))
    for name in ("expanduser", "basename", "split", "join"):
        setattr(fake.path, name, staticmethod(getattr(ntpath, name)))
    monkeypatch.setattr(reference, "os", fake)


@pytest.mark.parametrize(
    ("text", "kind", "file"),
    [
        (r"C:\models", Kind.FOLDER, None),
        ("C:/models", Kind.FOLDER, None),
        (r"C:\models\x.safetensors", Kind.FILE, None),
        (r"C:\code\net.py:build", Kind.FUNCTION, "build"),
        ("org/name@v2", Kind.HUB, None),
    ],
)
def test_models_on_a_drive_of_windows(text: str, kind: Kind, file: str | None, drive: None) -> None:
    ref = parse_reference(text)
    assert (ref.kind, ref.file) == (kind, file)
    assert ref.location == text.removesuffix(f":{file}").removesuffix("@v2")


@pytest.mark.parametrize("name", [r"C:\models\gpt2", "C:\\models\\gpt2\\", "org/gpt2", "./gpt2/", "gpt2"])
def test_the_end_of_a_name(name: str) -> None:
    assert last_part(name) == "gpt2"


def test_the_command_that_makes_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = tmp_path / "two words" / "x.json"
    with pytest.raises(FailedError) as caught:
        check_target(str(missing))
    assert caught.value.hint == f"mkdir -p '{missing.parent}'"
    monkeypatch.setattr("attncli.cli.output.os", type("os", (), {"name": "nt", "access": os.access}))
    with pytest.raises(FailedError) as caught:
        check_target(str(missing))
    assert caught.value.hint == f'mkdir "{missing.parent}"'


def test_apples_gpus_may_leave_something_to_the_cpu() -> None:
    for platform, given, expected in (
        ("darwin", {}, {"PYTORCH_ENABLE_MPS_FALLBACK": "1"}),
        ("darwin", {"PYTORCH_ENABLE_MPS_FALLBACK": "0"}, {"PYTORCH_ENABLE_MPS_FALLBACK": "0"}),
        ("linux", {}, {}),
    ):
        prepare_torch(platform, given)
        assert given == expected


def test_ctrl_c_reaches_the_main_thread_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no pthread_kill there."""
    from attncli.cli import signals

    interrupted: list[int] = []
    monkeypatch.setattr(signals.sys, "platform", "win32")
    monkeypatch.setattr(signals._thread, "interrupt_main", interrupted.append)
    monkeypatch.delattr(signals.signal, "pthread_kill", raising=False)
    signals._signal_main_thread(0, signals.signal.SIGINT)
    assert interrupted == [signals.signal.SIGINT] and Signals().stopped is None


@pytest.mark.parametrize("form", ["text", "json", "csv", "jsonl"])
def test_a_pipe_in_windows_code_page_gets_ascii_and_plain_line_ends(form: str) -> None:
    outcome = attn(
        "tokenize", "naïve → café", "-m", "builtin:induction", "--format", form, encoding="cp1252", windows=True
    )
    assert outcome.code == 0, outcome.err
    assert b"\r" not in outcome.out
    assert form == "csv" or outcome.out.isascii()
