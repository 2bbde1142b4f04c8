"""The page on how attncli is built names files that exist, and shows the rooms that there are."""

from __future__ import annotations

import re
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "attncli"
PAGE = (PACKAGE / "docs" / "architecture.md").read_text("utf-8")
#: What stands for any name.
PLACEHOLDER = re.compile(r"<\w+>")


def named_files() -> set[str]:
    code = re.findall(r"`([\w<>./-]+(?:\.py|/))`", PAGE)
    return {name for name in code if not PLACEHOLDER.search(name)}


def test_every_file_that_it_names_exists() -> None:
    roots = (PACKAGE, PACKAGE.parent)
    missing = [
        name
        for name in sorted(named_files())
        if not any((root / name.removeprefix("attncli/")).exists() for root in roots)
    ]
    assert len(named_files()) > 60
    assert missing == []


def test_every_room_is_in_its_tree() -> None:
    tree = PAGE[PAGE.index("## The tree") : PAGE.index("## Who may import whom")]
    rooms = {path.parent.name for path in PACKAGE.rglob("__init__.py")} - {"attncli", "lint"}
    assert [room for room in sorted(rooms) if f"{room}/" not in tree] == []
