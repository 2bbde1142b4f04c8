"""Without an extra, what needs it is refused with a sentence that names it; with it there are other tests.

Packages are hidden, so that this holds where they are installed too.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import transformers
from transformers.utils import import_utils

from attncli.errors import ExitCode
from attncli.models.tokenizers import slow
from tests import senses, tiny
from tests.cli.conftest import attn

IDS = ("heads", "--input-ids", "5 6 7")


def llama(folder: Path) -> Path:
    torch.manual_seed(0)
    transformers.LlamaModel(tiny.llama()).save_pretrained(folder / "llama")
    return folder / "llama"


def adapter(folder: Path) -> Path:
    (folder / "adapter_config.json").write_text(f'{{"base_model_name_or_path": "{llama(folder).as_posix()}"}}')
    (folder / "adapter_model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return folder


def file_of(name: str, content: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


class Need(NamedTuple):
    """What needs an extra: the model, the rest of the command, the modules to hide, and how it exits."""

    model: Callable[[Path], Path | None]
    arguments: tuple[str, ...]
    hidden: tuple[str, ...]
    code: ExitCode


NEEDS = {
    "offline": Need(lambda _: None, ("tokenize", "moles"), (), ExitCode.MODEL),
    "gguf": Need(file_of("tiny.gguf", b"GGUF" + (3).to_bytes(4, "little") + bytes(16)), IDS, ("gguf",), ExitCode.MODEL),
    "slow-tokenizers": Need(
        file_of("spiece.model", b"\n\x0b\n\x05<unk>"),
        ("tokenize", "moles"),
        ("sentencepiece", "google.protobuf", "tiktoken"),
        ExitCode.MODEL,
    ),
    "adapters": Need(adapter, IDS, ("peft",), ExitCode.MODEL),
    "large": Need(llama, IDS, ("accelerate",), ExitCode.FAILED),
    "figures": Need(llama, (*IDS, "-o", "x.svg"), ("matplotlib",), ExitCode.FAILED),
    "browse": Need(llama, (*IDS, "--browse"), ("textual",), ExitCode.USAGE),
    "images": Need(
        lambda folder: senses.save("vit", folder), ("heads", "--image", "disc.png"), ("PIL",), ExitCode.FAILED
    ),
    "audio": Need(
        lambda folder: senses.save("wav2vec2", folder), ("heads", "--audio", "a.wav"), ("soundfile",), ExitCode.FAILED
    ),
}


def test_every_extra_for_users_is_among_them() -> None:
    settings = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))
    assert set(settings["project"]["optional-dependencies"]) == {*NEEDS, "benchmarks", "test"}


@pytest.fixture
def forget_packages() -> Iterator[None]:
    """What transformers found out about hidden packages is forgotten, as they are there for other tests."""
    yield
    for function in vars(import_utils).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()


@pytest.mark.usefixtures("forget_packages")
@pytest.mark.parametrize("extra", NEEDS)
def test_without_an_extra_a_sentence_names_it(extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need = NEEDS[extra]
    model = need.model(tmp_path)
    for name in ("disc.png", "a.wav"):
        (tmp_path / name).write_bytes(b"")
    for name in need.hidden:
        # What Python itself leaves behind where a module is not to be found.
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(slow, "_is_installed", lambda _: False)
    monkeypatch.setattr("attncli.models.files.model_files.installed_package", lambda: None)
    monkeypatch.setattr("attncli.models.loading.device.free_memory", lambda _: 1000 if extra == "large" else None)
    for name, value in {"HF_HOME": str(tmp_path), "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    outcome = attn(*need.arguments, *([] if model is None else ["-m", str(model)]))
    assert (outcome.code, outcome.out) == (need.code, b"")
    message, hint = outcome.error
    assert f"pip install 'attncli[{extra}]'" in hint
    assert "Traceback" not in message and not message.endswith(".")
