"""Models in installed packages: found through their metadata, and never by running their code."""

from __future__ import annotations

from pathlib import Path

import pytest

from attncli.errors import ModelError
from attncli.models.files.reference import Kind, parse_reference

FILES = ("mole_models/__init__.py", "mole_models/small/config.json", "mole_models/small/1_Pooling/config.json")


def install(site: Path, name: str, *files: str) -> None:
    """What pip leaves: the files, and a list of them."""
    metadata = site / f"{name}-1.0.dist-info"
    metadata.mkdir()
    for file in files:
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        (site / file).write_text("raise SystemExit('run')" if file.endswith(".py") else "{}", encoding="utf-8")
    (metadata / "RECORD").write_text("".join(f"{file},sha256=x,2\n" for file in files), encoding="utf-8")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def refused(text: str) -> tuple[str, str | None]:
    with pytest.raises(ModelError) as caught:
        parse_reference(text)
    return caught.value.message, caught.value.hint


def test_the_one_model_of_a_package(site: Path) -> None:
    install(site, "mole_models", *FILES)
    ref = parse_reference("package:mole-models")
    assert (ref.name, ref.kind, ref.path) == ("package:mole-models", Kind.FOLDER, site / "mole_models" / "small")
    assert parse_reference("package:Mole.Models/small").path == ref.path


def test_a_file_of_a_package(site: Path) -> None:
    install(site, "moles", "moles/a.gguf", "moles/more/b.gguf", "moles/config.py")
    ref = parse_reference("package:moles/a.gguf")
    assert (ref.kind, ref.path, ref.weights_file) == (Kind.FILE, site / "moles" / "a.gguf", "a.gguf")
    assert parse_reference("package:moles/b.gguf").path == parse_reference("package:moles/more/b.gguf").path
    assert refused("package:moles") == (
        "the package moles contains 2 models",
        "write one of package:moles/a.gguf, package:moles/more/b.gguf",
    )
    assert refused("package:moles/c.gguf")[0] == "the package moles has no model c.gguf"


def test_a_package_without_a_model(site: Path) -> None:
    install(site, "moles", "moles/__init__.py")
    assert refused("package:moles") == (
        "the package moles contains no model",
        "a model is a .gguf or .safetensors file or a folder with a config.json",
    )


def test_a_package_that_is_not_installed(site: Path) -> None:
    install(site, "mole_models", *FILES)
    assert refused("package:mole-model") == (
        "the package mole-model is not installed",
        "did you mean package:mole-models?",
    )
    assert refused("package:")[0] == "the name is missing after package:"
    (site / "mole_models-1.0.dist-info" / "RECORD").unlink()
    assert refused("package:mole-models")[0] == "the package mole-models contains no model"
