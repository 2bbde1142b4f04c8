"""Python code that comes with a model: brought to the disk for those who allowed it to run. Nothing here runs it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

_RELATIVE_IMPORT = re.compile(r"^\s*from\s+\.(\w+)\s+import\b", re.MULTILINE)


class _Files(Protocol):
    def find(self, name: str) -> Path | None: ...


def fetch_code(files: _Files, class_paths: Iterable[str]) -> None:
    """Make the modules of `module.Class` paths local, and those that they import from their own folder.

    A class of another repository (`org/name--module.Class`) is left to transformers.
    """
    waiting = [path.rpartition(".")[0] for path in class_paths if "--" not in path]
    seen = set[str]()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        if (path := files.find(f"{module}.py")) is not None:
            waiting += _RELATIVE_IMPORT.findall(path.read_text(encoding="utf-8"))
