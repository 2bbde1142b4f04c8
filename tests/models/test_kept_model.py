"""Which requests a model that is kept may answer: only those that would load the same from the same files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from attncli.errors import UsageError
from attncli.models.capture.structure import BlockList
from attncli.models.files.model_files import ModelFiles, open_files
from attncli.models.files.reference import parse_reference
from attncli.models.loading.kept_model import KeptModel, LoadingOptions, ModelKeeper, UsedModel, is_repeatable
from attncli.models.loading.loaded_model import LoadedModel
from attncli.models.loading.weights import full_depth, load_model
from tests import tiny

OPTIONS = LoadingOptions("auto", "auto", eager=True, with_head=False, predicts=False, modality=None)
ARGUMENTS = {"input_ids": torch.tensor([[5, 6, 7, 5, 6, 7]])}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.save(tmp_path / "gpt2", tiny.FAMILIES["gpt2"]())


def files_of(folder: Path) -> ModelFiles:
    return open_files(parse_reference(str(folder)))


def kept(folder: Path) -> KeptModel:
    files = files_of(folder)
    found = KeptModel.load(files, OPTIONS, lambda: load_model(files))
    assert found is not None
    return found


def first_block(lists: Sequence[BlockList]) -> Mapping[str, int]:
    return {each.path: 1 for each in lists}


def test_it_answers_what_would_load_the_same_once(folder: Path) -> None:
    model = kept(folder)
    keeper = ModelKeeper(model)
    found = keeper.find(files_of(folder), OPTIONS, full_depth)
    assert found is not None and found.module is model.model.module
    # A command that loads it twice changes the first one as it runs.
    assert keeper.find(files_of(folder), OPTIONS, full_depth) is None


@pytest.mark.parametrize(
    "change", [{"dtype": "bfloat16"}, {"eager": False}, {"with_head": True}, {"device": "cpu"}, {"modality": "image"}]
)
def test_other_options_are_loaded(folder: Path, change: dict[str, Any]) -> None:
    assert ModelKeeper(kept(folder)).find(files_of(folder), OPTIONS._replace(**change), full_depth) is None


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_files_that_were_written_again_are_loaded(folder: Path, name: str) -> None:
    model, path = kept(folder), folder / name
    content, written = path.read_bytes(), path.stat().st_mtime_ns
    path.unlink()
    path.write_bytes(content)
    assert path.stat().st_mtime_ns != written
    assert not model.is_of(files_of(folder), OPTIONS)


def test_a_file_that_goes_before_others_is_found(folder: Path) -> None:
    model = kept(folder)
    (folder / "notes.txt").write_text("not a model's")
    assert model.is_of(files_of(folder), OPTIONS)
    (folder / "generation_config.json").write_text("{}")
    assert not model.is_of(files_of(folder), OPTIONS)


def test_the_same_files_elsewhere_are_another_model(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = kept(Path("gpt2"))
    assert model.is_of(files_of(Path("gpt2")), OPTIONS)
    other = tiny.save(tmp_path / "other" / "gpt2", tiny.FAMILIES["gpt2"]())
    monkeypatch.chdir(other.parent)
    assert not model.is_of(files_of(Path("gpt2")), OPTIONS)


def test_it_is_cut_as_loading_cuts(folder: Path) -> None:
    files = files_of(folder)
    found, expected = ModelKeeper(kept(folder)).find(files, OPTIONS, first_block), load_model(files, depth=first_block)
    assert found is not None and found.blocks == expected.blocks
    assert [each.length for each in found.lists] == [each.length for each in expected.lists]
    assert repr(found.module) == repr(expected.module)
    with torch.no_grad():
        ours, theirs = (each.module(**ARGUMENTS).last_hidden_state for each in (found, expected))
    assert torch.equal(ours, theirs)


def test_layers_that_are_refused_are_left_to_loading(folder: Path) -> None:
    def refuse(_: Sequence[BlockList]) -> Mapping[str, int]:
        raise UsageError("no layer 9", hint="")

    assert ModelKeeper(kept(folder)).find(files_of(folder), OPTIONS, refuse) is None


def test_what_is_random_or_changed_meanwhile_is_not_kept(folder: Path) -> None:
    files = files_of(folder)

    def draws() -> LoadedModel:
        torch.rand(1)
        return load_model(files)

    def touches() -> LoadedModel:
        (folder / "config.json").write_text((folder / "config.json").read_text())
        return load_model(files)

    assert KeptModel.load(files, OPTIONS, draws) is None
    assert KeptModel.load(files, OPTIONS, touches) is None
    loaded = load_model(files)
    assert is_repeatable(loaded)
    for change in ({"warnings": ("3 tensors were set at random",)}, {"is_first_choice": False}):
        assert not is_repeatable(replace(loaded, **change))


def test_what_a_command_used_survives_json(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    monkeypatch.setattr("attncli.models.loading.device.available_devices", lambda: ["cpu"])
    files, keeper = files_of(folder), ModelKeeper()
    assert keeper.used() is None
    loaded = load_model(files, depth=first_block)
    keeper.note(str(folder), None, files, OPTIONS, loaded)
    used = keeper.used()
    assert used is not None and UsedModel.from_list(json.loads(json.dumps(used))) == used
    whole = sum(tensor.nbytes for tensor in load_model(files).module.parameters())
    # Two layers were estimated from one, and all else counted double: too much, never too little.
    assert whole <= used.weight <= 2 * whole
