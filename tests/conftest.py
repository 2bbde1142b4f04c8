"""What every test is kept from: the user's own cache folder, and the cores of the tests beside it."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# A busy machine is slow: no deadline. The same examples every time, so that a failure comes of a change;
# `pytest --hypothesis-profile=thorough` draws others, and many.
hypothesis.settings.register_profile("quick", deadline=None, max_examples=25, derandomize=True)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=300)
hypothesis.settings.load_profile("quick")

# A core has a worker of pytest: two threads of torch in each would wait for one another. Commands of tests see it too.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_finish() -> None:
    """Leave libraries and tests out of later garbage collections, which would walk them again each time."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write what was skipped into the file that ATTN_TEST_SKIPPED names, so that `pytest @file` runs it later."""
    if path := os.environ.get("ATTN_TEST_SKIPPED"):
        skipped = {report.nodeid for report in terminalreporter.stats.get("skipped", ())}
        Path(path).write_text("".join(f"{each}\n" for each in sorted(skipped)), encoding="utf-8")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Shapes are kept in a folder of the test run, which starts empty; subprocesses see it too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTN_CACHE", str(tmp_path_factory.mktemp("attncli-cache")))
        yield
