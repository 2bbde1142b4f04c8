"""Sources of a model's files: the interface, and the sources that only read the disk.

`HubSource` (hub.py) and `PackageSource` (package.py) are the others.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from attncli.errors import ModelError
from attncli.models.files import weight_headers

#: The file that only adapters have.
ADAPTER_CONFIG = "adapter_config.json"


class Source(Protocol):
    """A source of a model's files, by names with `/` between folders."""

    @property
    def revision(self) -> str | None:
        """The hub commit that all files are from; None for local files."""

    @property
    def repair_hint(self) -> str:
        """The hint of errors about a broken file."""

    def local(self, name: str) -> Path | None:
        """The path of a file that is on this disk; None otherwise."""

    def has(self, name: str) -> bool:
        """Whether there is such a file, on this disk or on the hub."""

    def find(self, name: str) -> Path | None:
        """The path of a file, downloaded if necessary; None if there is no such file or the hub can't be reached."""

    def names(self) -> frozenset[str]:
        """All files, on this disk or on the hub."""

    def local_names(self) -> frozenset[str]:
        """The files on this disk."""

    def listing_error(self) -> ModelError | None:
        """The error that kept the hub from listing its files; None if there was none, or no need to ask."""


class FolderSource:
    """The files of a local folder."""

    revision = None
    repair_hint = weight_headers.FETCH_AGAIN

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, name: str) -> Path | None:
        """The path of a file. Raises ModelError if it can't be read, or is a git-lfs pointer."""
        path = self.folder / name
        if not os.path.isfile(path):  # noqa: PTH113 (Path.is_file raises for a folder without permission)
            return None
        weight_headers.check_readable(path)
        return path

    local = find

    def has(self, name: str) -> bool:
        return self.find(name) is not None

    def names(self) -> frozenset[str]:
        try:
            return frozenset(path.name for path in self.folder.iterdir())
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ModelError(f"{self.folder} can't be read: {reason}", hint="check its permissions") from error

    local_names = names

    def listing_error(self) -> ModelError | None:
        return None


class LocalSource:
    """Another source, restricted to its files on this disk: makes no request."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.revision = source.revision
        self.repair_hint = source.repair_hint

    def local(self, name: str) -> Path | None:
        return self._source.local(name)

    find = local

    def has(self, name: str) -> bool:
        return self.local(name) is not None

    def names(self) -> frozenset[str]:
        return self._source.local_names()

    local_names = names

    def listing_error(self) -> ModelError | None:
        return None
