"""What every test is kept from: the user's own cache folder, and the cores of the tests beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import pytest

# A machine may be busy with something else: an example that is slow once is no failure.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

# A core has a worker of pytest: two threads of torch in each would wait for one another. Commands of tests see it too.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Shapes are kept in a folder of the test run, which starts empty; subprocesses see it too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTN_CACHE", str(tmp_path_factory.mktemp("attncli-cache")))
        yield
