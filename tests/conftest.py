"""What every test is kept from: the user's own cache folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Shapes are kept in a folder of the test run, which starts empty; subprocesses see it too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTN_CACHE", str(tmp_path_factory.mktemp("attncli-cache")))
        yield
