"""Every command of the table writes what was recorded.

A command is skipped where one of its extras is absent, and a figure where matplotlib is of another version.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden.commands import COMMANDS
from tests.golden.ring import MATPLOTLIB, RECORDED, check, path_of


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_writes_what_was_recorded(name: str, samples: Path) -> None:
    check(name, samples)


def test_every_recording_is_of_a_command() -> None:
    assert {*RECORDED.rglob("*.txt")} == {MATPLOTLIB, *map(path_of, COMMANDS)}


def test_recordings_are_small() -> None:
    assert sum(path.stat().st_size for path in RECORDED.rglob("*.txt")) < 3_000_000
