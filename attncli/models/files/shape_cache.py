"""What a configuration's module looks like, kept under the user's cache folder: the second time needs no torch.

An entry is a file by itself, named by what it follows from: the configuration, and the versions of everything that has
a say. So nothing there goes stale, entries may be deleted at any time, and processes share them: each is written aside
and moved into place. What can't be read, or isn't what was written, counts as absent.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from attncli._version import __version__
from attncli.models.files.hub_cache import own_cache_folder

_LIBRARIES = ("transformers", "torch")
#: Our own modules that decide what is kept: an edit of one makes other entries, whatever the version says.
_OWN = ("parameters/inventory.py", "parameters/module_inventory.py", "parameters/inventory.py", "models/loading/meta_model.py",
        "models/builtin/preset_modules.py", "models/loading/meta_model.py", "models/loading/config_overrides.py")  # fmt: skip
#: Files of a model type in transformers: an installation from a checkout changes without its version.
_THEIRS = ("configuration_{0}.py", "modeling_{0}.py")

#: The most entries that are kept (under 200 kB each); the oldest go.
_MOST = 500


class ShapeCache(NamedTuple):
    """folder: where entries are; None where none are kept."""

    folder: Path | None

    @classmethod
    def of_user(cls) -> ShapeCache:
        above = own_cache_folder()
        return cls(None if above is None else above / "shapes")

    def read(self, key: str) -> dict[str, Any] | None:
        """The entry of a key; None where there is none, or none that can be trusted."""
        if self.folder is None:
            return None
        try:
            digest, _, content = self._path(self.folder, key).read_bytes().partition(b"\n")
            entry = json.loads(content) if digest == _digest(content) else None
        except (OSError, ValueError, RecursionError):
            return None
        return entry if isinstance(entry, dict) else None

    def write(self, key: str, entry: Mapping[str, Any]) -> None:
        """Keep an entry. A folder that can't be written is as good as none: the next run builds the module again."""
        if self.folder is None:
            return
        content = json.dumps(entry, separators=(",", ":")).encode()
        path = self._path(self.folder, key)
        beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(_digest(content) + b"\n" + content)
            beside.replace(path)
            _drop_oldest(self.folder)

    @staticmethod
    def _path(folder: Path, key: str) -> Path:
        return folder / f"{key}.json"


def cache_key(fields: Mapping[str, Any]) -> str:
    """The name of an entry: what it follows from, and the versions of what makes it. Imports none of them.

    fields: the configuration as its file has it, with whatever else decides which module is built.
    """
    kind = str(fields.get("model_type") or "").replace("-", "_")
    made_of = {
        "fields": fields,
        "versions": [__version__, *map(_version, _LIBRARIES)],
        "files": [_stamp(path) for path in _deciding_files(kind)],
    }
    return sha256(json.dumps(made_of, sort_keys=True, default=repr).encode()).hexdigest()[:40]


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _deciding_files(kind: str) -> Iterator[Path]:
    package = Path(__file__).parents[1]
    yield from (package / name for name in _OWN)
    spec = find_spec("transformers")
    if spec is not None and spec.origin is not None and kind.isidentifier():
        models = Path(spec.origin).parent / "models"
        yield from (models / kind / name.format(kind) for name in _THEIRS)


def _stamp(path: Path) -> tuple[str, int, int]:
    """A file by its size and the time of its last change; by its name alone where it isn't there."""
    try:
        found = path.stat()
    except OSError:
        return path.name, 0, 0
    return path.name, found.st_size, found.st_mtime_ns


def _digest(content: bytes) -> bytes:
    return sha256(content).hexdigest().encode()


def _drop_oldest(folder: Path) -> None:
    """Keep to the most entries that there may be, and clear away what an interrupted process left."""
    entries = sorted((entry.stat().st_mtime_ns, entry) for entry in folder.iterdir())
    for _, entry in entries[:-_MOST]:
        entry.unlink(missing_ok=True)
