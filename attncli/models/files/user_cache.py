"""What attn works out once and keeps under the user's cache folder: the shapes of configurations, and what models make
of the reference sample.

An entry is a file by itself, named by everything that it follows from: the model or its configuration, the versions of
the libraries and our own modules that decide. So nothing goes stale, entries may be deleted at any time, and processes
share them: each is written aside and moved into place. What can't be read, or isn't what was written, counts as absent.
Imports neither torch nor numpy at its top: with an entry at hand `attn params` needs neither.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import BadZipFile

from attncli._version import __version__
from attncli.models.files.hub_cache import own_cache_folder

if TYPE_CHECKING:
    import numpy.typing as npt

    from attncli.models.files.model_files import ModelFiles

    Arrays = Mapping[str, npt.NDArray[Any]]

_PACKAGE = Path(__file__).parents[2]

_SHAPE_LIBRARIES = ("transformers", "torch")
#: Our own modules that decide what is kept: an edit of one makes other entries, whatever the version says.
_SHAPE_MODULES = (
    "parameters/inventory.py",
    "parameters/module_inventory.py",
    "models/loading/meta_model.py",
    "models/loading/config_overrides.py",
    "models/builtin/preset_modules.py",
)
#: Files of a model type in transformers: an installation from a checkout changes without its version.
_MODEL_TYPE_FILES = ("configuration_{0}.py", "modeling_{0}.py")
#: The most entries that are kept (under 200 kB each); the oldest go.
_MOST_SHAPES = 500

_SAMPLE_LIBRARIES = ("transformers", "tokenizers", "torch")
_SAMPLE_MODULES = ("embeddings/batches.py", "embeddings/reference_sample.py", "models/capture/structure.py")
_MODEL_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json")
_DIGEST_BYTES = 32
#: The most bytes of entries that are kept; the oldest go.
_MOST_SAMPLE_BYTES = 256 << 20


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
        _write(self._path(self.folder, key), _digest(content) + b"\n" + content, _drop_oldest_shapes)

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
        "versions": [__version__, *map(_version, _SHAPE_LIBRARIES)],
        "files": [_shape_stamp(path) for path in _deciding_files(kind)],
    }
    return sha256(json.dumps(made_of, sort_keys=True, default=repr).encode()).hexdigest()[:40]


def _deciding_files(kind: str) -> Iterator[Path]:
    yield from (_PACKAGE / name for name in _SHAPE_MODULES)
    spec = find_spec("transformers")
    if spec is not None and spec.origin is not None and kind.isidentifier():
        models = Path(spec.origin).parent / "models"
        yield from (models / kind / name.format(kind) for name in _MODEL_TYPE_FILES)


def _shape_stamp(path: Path) -> tuple[str, int, int]:
    """A file by its size and the time of its last change; by its name alone where it isn't there."""
    try:
        found = path.stat()
    except OSError:
        return path.name, 0, 0
    return path.name, found.st_size, found.st_mtime_ns


def _digest(content: bytes) -> bytes:
    return sha256(content).hexdigest().encode()


def _drop_oldest_shapes(folder: Path) -> None:
    """Keep to the most entries that there may be, and clear away what an interrupted process left."""
    entries = sorted((entry.stat().st_mtime_ns, entry) for entry in folder.iterdir())
    for _, entry in entries[:-_MOST_SHAPES]:
        entry.unlink(missing_ok=True)


class SampleCache(NamedTuple):
    """folder: where entries are; None where none are kept."""

    folder: Path | None

    @classmethod
    def of_user(cls) -> SampleCache:
        above = own_cache_folder()
        return cls(None if above is None else above / "samples")

    def read(self, key: str) -> dict[str, npt.NDArray[Any]] | None:
        """The arrays of a key; None where there are none, or none that can be trusted."""
        if self.folder is None:
            return None
        import numpy as np

        try:
            content = (self.folder / f"{key}.npz").read_bytes()
            if sha256(content[_DIGEST_BYTES:]).digest() != content[:_DIGEST_BYTES]:
                return None
            with np.load(io.BytesIO(content[_DIGEST_BYTES:]), allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, KeyError, BadZipFile):
            return None

    def write(self, key: str, arrays: Arrays) -> None:
        """Keep some arrays. A folder that can't be written is as good as none: the next time runs the sample again."""
        if self.folder is None:
            return
        import numpy as np

        packed = io.BytesIO()
        np.savez(packed, **arrays)  # type: ignore[arg-type]
        content = packed.getvalue()
        _write(self.folder / f"{key}.npz", sha256(content).digest() + content, _drop_oldest_samples)


def sample_key(files: ModelFiles, *, sentences: Sequence[str], allow_pickle: bool, **how: object) -> str | None:
    """What the names of entries begin with: model, revision, sentences, versions, and how they were run.

    None where a file of the model can't be looked at.

    Weights are told by their place, size and time of change: to read them all would take as long as the sample does.
    """
    try:
        paths = [*files.weights(allow_pickle=allow_pickle).paths, *filter(None, map(files.find, _MODEL_FILES))]
        adapter = sorted(files.adapter.iterdir()) if files.adapter is not None else []
        own = [_PACKAGE / name for name in _SAMPLE_MODULES]
        stamps = [_sample_stamp(path) for path in (*paths, *adapter, *own)]
    except OSError:
        return None
    made_of = {
        "model": [files.ref.name, files.revision, stamps],
        "sample": sha256("\n".join(sentences).encode("utf-8", "surrogatepass")).hexdigest(),
        "versions": [__version__, *map(_version, _SAMPLE_LIBRARIES)],
        "how": how,
    }
    return sha256(json.dumps(made_of, sort_keys=True, default=str).encode()).hexdigest()[:40]


def _sample_stamp(path: Path) -> tuple[str, int, int]:
    real = path.resolve()
    found = real.stat()
    return str(real), found.st_size, found.st_mtime_ns


def _drop_oldest_samples(folder: Path) -> None:
    """Keep to the most bytes that there may be; the newest entries stay."""
    entries = sorted(((found := entry.stat()).st_mtime_ns, found.st_size, entry) for entry in folder.iterdir())
    room = _MOST_SAMPLE_BYTES
    for _, size, entry in reversed(entries):
        room -= size
        if room < 0:
            entry.unlink(missing_ok=True)


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _write(path: Path, content: bytes, drop_oldest: Callable[[Path], None]) -> None:
    """Write an entry aside and move it into place, then make room. Write failures are ignored: it is a cache."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content)
        beside.replace(path)
        drop_oldest(path.parent)
