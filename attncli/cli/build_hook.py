"""The build hook of hatch: adds the manual pages and the command reference to a package."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManualHook(BuildHookInterface):  # type: ignore[misc]
    """Adds share/man/man1/*.1 and share/doc/attncli/reference.md, generated from the commands of this checkout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        sys.path.insert(0, self.root)
        from attncli.cli.manual import write_pages

        self._folder = tempfile.TemporaryDirectory()
        for path in write_pages(Path(self._folder.name)):
            place = "share/man/man1" if path.suffix == ".1" else "share/doc/attncli"
            build_data["shared_data"][str(path)] = f"{place}/{path.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        self._folder.cleanup()
