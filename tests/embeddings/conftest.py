"""What the tests of comparisons share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import tiny
from tests.embeddings import models


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tiny.Folders:
    """Tiny models with tokenizers, as folders."""
    return tiny.Folders(tmp_path_factory.mktemp("compared"), models.save)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the tests' own."""
    path = tmp_path_factory.getbasetemp() / "attn-cache"
    monkeypatch.setenv("ATTN_CACHE", str(path))
    return path
