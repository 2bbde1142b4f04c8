"""`attn heads` writes what was recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden.commands import PLAIN
from tests.golden.ring import check


@pytest.mark.parametrize("name", [name for name in PLAIN if name.startswith("heads/")])
def test_a_command_writes_what_was_recorded(name: str, samples: Path) -> None:
    check(name, samples)
