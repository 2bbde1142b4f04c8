"""A sample of the ring in a process that is kept warm; `python -m tests.golden --warm` runs all of it there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.golden.commands import COMMANDS
from tests.golden.ring import absent, check
from tests.golden.warm import WarmAttn, kept_warm, runs_elsewhere

pytestmark = pytest.mark.processes
POSSIBLE = [name for name in COMMANDS if runs_elsewhere(COMMANDS[name]) is None]
#: One of each group.
SAMPLE = list({name.rpartition("/")[0]: name for name in POSSIBLE}.values())


@pytest.fixture(scope="module")
def attn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmAttn]:
    with kept_warm(tmp_path_factory.mktemp("warm")) as attn:
        yield attn


@pytest.mark.parametrize("name", SAMPLE)
def test_a_command_writes_what_was_recorded(name: str, samples: Path, attn: WarmAttn) -> None:
    if reason := absent(COMMANDS[name]):
        pytest.skip(reason)
    before = attn.runs
    check(name, samples, attn)
    # `attn --help` and other commands that need no library run at once.
    assert attn.runs == before + (not COMMANDS[name].line.startswith("attn -"))
