"""`attn tokenize`, `params`, `compare` and `attn` itself write what was recorded.

`test_golden_heads.py` has `heads`, `test_golden_extras.py` what needs extras: files that workers of pytest share.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden.commands import COMMANDS, PLAIN
from tests.golden.ring import MATPLOTLIB, RECORDED, check, path_of


@pytest.mark.parametrize("name", [name for name in PLAIN if not name.startswith("heads/")])
def test_a_command_writes_what_was_recorded(name: str, samples: Path) -> None:
    check(name, samples)


def test_every_recording_is_of_a_command() -> None:
    assert {*RECORDED.rglob("*.txt")} == {MATPLOTLIB, *map(path_of, COMMANDS)}


def test_recordings_are_small() -> None:
    assert sum(path.stat().st_size for path in RECORDED.rglob("*.txt")) < 3_000_000
