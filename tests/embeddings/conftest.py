"""What the tests of comparisons share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.embeddings import models


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A tiny model as a folder, built when it is first asked for."""
    root = tmp_path_factory.mktemp("compared")

    def saved(name: str) -> Path:
        return root / name if (root / name).exists() else models.save(root / name, name)

    return saved


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the tests' own."""
    path = tmp_path_factory.getbasetemp() / "attn-cache"
    monkeypatch.setenv("ATTN_CACHE", str(path))
    return path
