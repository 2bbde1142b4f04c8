"""Adapters: their own files, their base, and what they may not do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.opening import open_model, weights_refusal
from tests.weight_files import safetensors_bytes


@pytest.fixture
def adapter(tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An adapter of `model_folder`, with peft as good as installed."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(model_folder)}))
    (folder / "adapter_model.safetensors").write_bytes(safetensors_bytes(lora=1))
    monkeypatch.setattr("attncli.models.files.model_files.find_spec", lambda _: object())
    return folder


def test_an_adapter_brings_its_base(adapter: Path, model_folder: Path) -> None:
    for folder in (model_folder, adapter):
        (folder / "tokenizer.json").touch()
    (adapter / "config.json").touch()
    (model_folder / "vocab.txt").touch()
    files = open_model(adapter)
    assert files.adapter == adapter
    assert files.weights().paths == (model_folder / "model.safetensors",)
    assert files.require("config.json") == model_folder / "config.json"
    assert files.find("tokenizer.json") == adapter / "tokenizer.json"
    assert files.find("vocab.txt") == model_folder / "vocab.txt"


def test_an_adapter_needs_peft_for_its_weights_alone(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attncli.models.files.model_files.find_spec", lambda _: None)
    assert open_model(adapter).find("config.json") is not None
    assert weights_refusal(adapter).hint == "pip install 'attncli[adapters]'"


def test_an_adapters_own_weights_are_checked(adapter: Path) -> None:
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert "it is incomplete" in weights_refusal(adapter).message
    weights.unlink()
    missing = f"the adapter {adapter} has no weights: adapter_model.safetensors is missing"
    assert weights_refusal(adapter).message == missing
    (adapter / "adapter_model.bin").write_bytes(b"PK")
    assert "--allow-pickle" in weights_refusal(adapter).hint
    assert open_model(adapter).weights(allow_pickle=True).kind == "safetensors"


@pytest.mark.parametrize(
    ("base", "message"),
    [
        (None, "the adapter {} doesn't name its base model"),
        ("", "the adapter {} doesn't name its base model"),
        ("./gone", "the base model './gone' of the adapter {} is unavailable: there is no file or folder ./gone"),
        ("preset:gpt3", "the base model 'preset:gpt3' of the adapter {} is neither on the hub nor a folder"),
    ],
)
def test_an_adapter_whose_base_is_not_to_be_had(adapter: Path, base: str | None, message: str) -> None:
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    assert weights_refusal(adapter).message == message.format(adapter)


def test_an_adapter_cannot_name_code_to_run(adapter: Path) -> None:
    code = adapter / "model.py"
    code.write_text("def build(): raise SystemExit")
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": f"{code}:build"}))
    assert "is neither on the hub nor a folder" in weights_refusal(adapter).message


def test_an_adapter_of_an_adapter(adapter: Path) -> None:
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(adapter)}))
    assert "is itself an adapter" in weights_refusal(adapter).message
