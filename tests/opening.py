"""Opening and loading models in tests as a verb does, and the errors that it gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attncli.errors import ExitCode, ModelError
from attncli.models.files.model_files import ModelFiles, open_files
from attncli.models.files.reference import parse_reference
from attncli.models.loading.loaded_model import LoadedModel
from attncli.models.loading.weights import load_model
from tests.weight_files import safetensors_bytes

WEIGHTS = safetensors_bytes(a=1000)
FILES = {"config.json": b"{}", "tokenizer.json": b'{"version": "1.0"}', "model.safetensors": WEIGHTS}


def open_model(
    text: object, *, refresh: bool = False, revision: str | None = None, trusted: bool = False
) -> ModelFiles:
    return open_files(parse_reference(str(text), revision=revision), refresh=refresh, trusted=trusted)


def load(path: Path | str, *, trusted: bool = False, **options: Any) -> LoadedModel:
    """A model on the CPU; the options are those of `load_model`."""
    return load_model(open_model(path, trusted=trusted), device="cpu", **options)


def fetch_all(files: ModelFiles) -> None:
    """What a verb asks for: files that are there, and some that aren't."""
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        files.find(name)
    files.weights()


def refusal(text: object, name: str = "config.json", *, refresh: bool = False) -> ModelError:
    """The error that opening a model and asking for a file raises."""
    with pytest.raises(ModelError) as caught:
        open_model(text, refresh=refresh).require(name)
    assert caught.value.exit_code is ExitCode.MODEL
    return caught.value


def weights_refusal(text: object, *, allow_pickle: bool = False) -> ModelError:
    """The error that opening a model and asking for its weights raises."""
    with pytest.raises(ModelError) as caught:
        open_model(text).weights(allow_pickle=allow_pickle)
    assert caught.value.exit_code is ExitCode.MODEL
    return caught.value
