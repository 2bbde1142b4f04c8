"""The folder that every command of the ring runs in, made once by each worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden.samples import write_samples


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden") / "samples"
    folder.mkdir()
    write_samples(folder)
    return folder
