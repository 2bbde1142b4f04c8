"""What `-o` says on stderr of the files that it wrote."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.cli.conftest import attn


@pytest.mark.parametrize(("quiet", "says"), [(False, True), (True, False)])
def test_what_was_written_and_how_large_it_is(tmp_path: Path, quiet: bool, says: bool) -> None:
    target = tmp_path / "x.json"
    outcome = attn("params", "preset:gpt2", "-o", str(target), *(["-q"] if quiet else []))
    assert outcome.code == 0 and outcome.text == ""
    assert (f"wrote {target}, {target.stat().st_size:,} bytes\n" in outcome.err) is says


def test_a_picture_is_told_by_its_pixels(tmp_path: Path) -> None:
    from attncli.cli.output import _size_text

    picture = tmp_path / "x.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 1950, 1437))
    assert _size_text(picture) == "1950 × 1437"
