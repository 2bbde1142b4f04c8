"""Files that need no hub: folders and single files; and what has no files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from attncli.errors import ModelError
from attncli.models.files import model_files as files_module
from attncli.models.files.weight_files import WeightFiles
from tests.opening import open_model, weights_refusal
from tests.weight_files import LFS_POINTER, index_bytes, safetensors_bytes

# Folders and files


def test_a_folder(model_folder: Path) -> None:
    files = open_model(model_folder)
    assert files.find("config.json") == model_folder / "config.json"
    assert files.require("config.json") == model_folder / "config.json"
    assert files.find("tokenizer.json") is None
    assert (files.revision, files.adapter) == (None, None)
    assert files.weights() == WeightFiles("safetensors", (model_folder / "model.safetensors",))


def test_a_weight_file_is_the_weights_and_its_folder_the_rest(model_folder: Path) -> None:
    other = model_folder / "other.safetensors"
    other.write_bytes(safetensors_bytes(a=1))
    files = open_model(other)
    assert files.weights() == WeightFiles("safetensors", (other,))
    assert files.require("config.json") == model_folder / "config.json"


def test_a_gguf_file_is_used_only_by_name(model_folder: Path) -> None:
    gguf = model_folder / "x.gguf"
    gguf.write_bytes(b"GGUF\x03\0\0\0")
    assert open_model(gguf).weights() == WeightFiles("gguf", (gguf,))
    assert open_model(model_folder).weights().kind == "safetensors"


def test_shards_come_from_the_index(model_folder: Path) -> None:
    (model_folder / "model.safetensors").unlink()
    index = model_folder / "model.safetensors.index.json"
    index.write_bytes(index_bytes({"a": "model-2.safetensors", "b": "model-1.safetensors", "c": "model-2.safetensors"}))
    shards = tuple(model_folder / f"model-{number}.safetensors" for number in (1, 2))
    for shard in shards:
        shard.write_bytes(safetensors_bytes(a=1))
    expected = WeightFiles("safetensors", shards, index=index)
    assert open_model(model_folder).weights() == expected
    assert open_model(index).weights() == expected


def test_missing_shards_are_named(model_folder: Path) -> None:
    (model_folder / "model.safetensors").unlink()
    names = {str(number): f"model-{number}.safetensors" for number in range(6)}
    (model_folder / "model.safetensors.index.json").write_bytes(index_bytes(names))
    (model_folder / "model-3.safetensors").write_bytes(safetensors_bytes(a=1))
    assert weights_refusal(model_folder).message == (
        f"5 of {model_folder}'s 6 weight files are missing: "
        "model-0.safetensors, model-1.safetensors, model-2.safetensors, …"
    )


@pytest.mark.parametrize(
    "listed",
    [{}, {"a": "../secret.safetensors"}, {"a": "/etc/passwd"}, {"a": "C:\\x"}, {"a": ["x"]}, {"a": ""}, [1], None],
)
def test_an_index_reaches_no_file_outside_its_folder(model_folder: Path, listed: object) -> None:
    (model_folder / "model.safetensors").unlink()
    (model_folder.parent / "secret.safetensors").write_bytes(safetensors_bytes(a=1))
    (model_folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": listed}))
    assert "lists no files of this model" in weights_refusal(model_folder).message


def test_pickles_are_refused_unless_allowed(model_folder: Path) -> None:
    (model_folder / "model.safetensors").unlink()
    pickle = model_folder / "pytorch_model.bin"
    pickle.write_bytes(b"PK\x03\x04")
    for path in (model_folder, pickle):
        error = weights_refusal(path)
        assert error.message.startswith(f"the weights of {path} are stored as pickle (pytorch_model.bin)")
        assert error.hint == "add --allow-pickle if you trust its source"
        assert open_model(path).weights(allow_pickle=True) == WeightFiles("pickle", (pickle,))


def test_safetensors_go_before_an_allowed_pickle(model_folder: Path) -> None:
    (model_folder / "pytorch_model.bin").write_bytes(b"PK\x03\x04")
    assert open_model(model_folder).weights(allow_pickle=True).kind == "safetensors"


@pytest.mark.parametrize(
    ("others", "hint"),
    [
        ([], "weights have to be model.safetensors, or model.safetensors.index.json with its shards"),
        (["b.gguf", "a.gguf", "a.safetensors"], "give one of its files: ./bare/a.gguf"),
        (["half.safetensors"], "give one of its files: ./bare/half.safetensors"),
        (["tf_model.h5"], "tf_model.h5 is for another framework: convert it to safetensors"),
    ],
)
def test_a_folder_without_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: list[str], hint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bare").mkdir()
    for name in ["config.json", *others]:
        Path("bare", name).touch()
    error = weights_refusal("./bare")
    assert (error.message, error.hint) == ("./bare has no weights that can be read", hint)


def test_a_folder_without_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("gpt2").mkdir()
    Path("gpt2", "x.gguf").write_bytes(b"GGUF")
    for name, hint in {
        "gpt2": "give one of its files: gpt2/x.gguf",
        "./gpt2/": "give one of its files: ./gpt2/x.gguf",
    }.items():
        with pytest.raises(ModelError) as caught:
            open_model(name).require("config.json")
        assert (caught.value.message, caught.value.hint) == (f"{name} has no config.json", hint)


def test_an_unrelated_folder_in_the_way_of_a_hub_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("gpt2").mkdir()
    with pytest.raises(ModelError) as caught:
        open_model("gpt2").require("config.json")
    assert caught.value.hint == "gpt2 is a folder here; for the model of this name on the hub, write gpt2@main"


def test_weights_without_a_config_beside_them(model_folder: Path) -> None:
    (model_folder / "config.json").unlink()
    weights = model_folder / "model.safetensors"
    with pytest.raises(ModelError, match=r"there is no config\.json next to"):
        open_model(weights).require("config.json")


def test_a_git_lfs_pointer_is_told_apart(model_folder: Path) -> None:
    for name in ("tokenizer.json", "model.safetensors"):
        (model_folder / name).write_bytes(LFS_POINTER)
        with pytest.raises(ModelError, match="is a git-lfs pointer") as caught:
            open_model(model_folder).find(name)
        assert caught.value.hint == f"run `git lfs pull` in {model_folder}"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="no file is unreadable for the superuser")
def test_files_without_permission(model_folder: Path) -> None:
    (model_folder / "config.json").chmod(0)
    with pytest.raises(ModelError, match=r"config\.json can't be read: Permission denied"):
        open_model(model_folder).find("config.json")


def test_files_that_the_system_refuses_to_open(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, mode: str = "r") -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ModelError, match=r"config\.json can't be read: Permission denied") as caught:
        open_model(model_folder).find("config.json")
    assert caught.value.hint == "check its permissions and the disk"


# What has no files, and what ships with the package


def test_a_preset_has_no_files() -> None:
    message = "preset:gpt3 is an architecture without weights and without a tokenizer"
    assert weights_refusal("preset:gpt3").message == message


def test_a_function_has_no_files(tmp_path: Path) -> None:
    (tmp_path / "code.py").touch()
    assert (
        "is a Python function, which has no tokenizer and no files"
        in weights_refusal(f"{tmp_path / 'code.py'}:build").message
    )


def test_builtin_models_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "_BUILTIN_FOLDER", tmp_path)
    for name in ("induction", "other", "__pycache__"):
        (tmp_path / name).mkdir()
    for name in ("induction", "other"):
        (tmp_path / name / "config.json").touch()
    assert open_model("builtin:induction").find("config.json") == tmp_path / "induction" / "config.json"
    assert weights_refusal("builtin:inductoin").hint == "did you mean builtin:induction?"
    assert weights_refusal("builtin:x").hint == "built-in models: builtin:induction, builtin:other"
    for name in ("..", "__pycache__", "induction/", "induction/../other"):
        assert weights_refusal(f"builtin:{name}").message == f"there is no built-in model {name}"
