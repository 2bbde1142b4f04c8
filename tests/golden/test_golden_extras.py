"""Figures, pictures, sounds, adapters and GGUF files: what needs extras writes what was recorded.

A command is skipped where one of its extras is absent, and a figure where matplotlib is of another version.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden.commands import EXTRAS
from tests.golden.ring import check


@pytest.mark.parametrize("name", EXTRAS)
def test_a_command_writes_what_was_recorded(name: str, samples: Path) -> None:
    check(name, samples)
