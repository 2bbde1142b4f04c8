"""Where a model's files come from: what every place answers, and the simplest one, a local folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from attncli.errors import ModelError
from attncli.models.files import weight_headers

#: What tells an adapter from a model.
ADAPTER_CONFIG = "adapter_config.json"


class Source(Protocol):
    """A place that holds a model's files, by names with `/` between folders."""

    @property
    def revision(self) -> str | None:
        """The hub's commit that every file is of; None for what is local."""

    @property
    def repair_hint(self) -> str:
        """The hint for a file that turns out to be broken."""

    def local(self, name: str) -> Path | None:
        """The file if it is on this disk already."""

    def has(self, name: str) -> bool:
        """Whether there is such a file, on this disk or to be fetched."""

    def find(self, name: str) -> Path | None:
        """The file, fetched if need be; None where there is no such file, or no way to ask for one."""

    def names(self) -> frozenset[str]:
        """The files that are known to be there."""

    def here(self) -> frozenset[str]:
        """The files that are on this disk."""

    def why_missing(self) -> ModelError | None:
        """Why the place could not be asked for a file that isn't on this disk; None where it could be."""


class FolderSource:
    """The files of a folder."""

    revision = None
    repair_hint = weight_headers.FETCH_AGAIN

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, name: str) -> Path | None:
        """The file. Raises ModelError where it can't be read, or is a git-lfs pointer, which no reader would know."""
        path = self.folder / name
        if not os.path.isfile(path):  # noqa: PTH113 (Path.is_file raises where a folder may not be entered)
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

    here = names

    def why_missing(self) -> ModelError | None:
        return None


class OnDisk:
    """Another place, as far as its files are on this disk: nobody is asked, nothing is fetched."""

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
        return self._source.here()

    here = names

    def why_missing(self) -> ModelError | None:
        return None
