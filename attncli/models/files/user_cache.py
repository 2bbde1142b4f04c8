"""Caches in the user's cache folder: tensor shapes of configurations, and models' outputs for the reference sample.

Each entry is a file whose name is a hash of everything that the content depends on: the model or its configuration, the
versions of the libraries, and the source files of attncli that compute it. So entries never go stale, may be deleted
at any time, and are shared by processes: each is written to a temporary file and moved into place. Unreadable and
corrupt entries count as absent. Imports neither torch nor numpy, as `attn params` needs neither with a cached entry.
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
from attncli.models.files.hub_cache import attn_cache_folder

if TYPE_CHECKING:
    import numpy.typing as npt

    from attncli.models.files.model_files import ModelFiles

    Arrays = Mapping[str, npt.NDArray[Any]]

_PACKAGE_FOLDER = Path(__file__).parents[2]

_SHAPE_LIBRARIES = ("transformers", "torch")
#: The modules of attncli that compute an entry: editing one invalidates the entries.
_SHAPE_MODULES = (
    "parameters/inventory.py",
    "parameters/inventory.py",
    "models/loading/meta_model.py",
    "models/loading/config_overrides.py",
    "models/builtin/preset_modules.py",
)
#: The files of a model type in transformers: in a git checkout they change without a new version.
_MODEL_TYPE_FILES = ("configuration_{0}.py", "modeling_{0}.py")
#: The maximum number of entries (under 200 kB each); the oldest are deleted.
_MAX_SHAPE_ENTRIES = 500

_SAMPLE_LIBRARIES = ("transformers", "tokenizers", "torch")
_SAMPLE_MODULES = ("embeddings/batches.py", "embeddings/reference_sample.py", "models/capture/structure.py")
_MODEL_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json")
_DIGEST_BYTES = 32
#: The maximum total size of entries in bytes; the oldest are deleted.
_MAX_SAMPLE_BYTES = 256 << 20


# --- Shapes of configurations


class ShapeCache(NamedTuple):
    """Tensor shapes of configurations, as JSON. folder: None turns the cache off."""

    folder: Path | None

    @classmethod
    def default(cls) -> ShapeCache:
        above = attn_cache_folder()
        return cls(None if above is None else above / "shapes")

    def read(self, key: str) -> dict[str, Any] | None:
        """The entry of a key; None if there is none, or it is corrupt."""
        if self.folder is None:
            return None
        try:
            digest, _, content = self._path(self.folder, key).read_bytes().partition(b"\n")
            entry = json.loads(content) if digest == _digest(content) else None
        except (OSError, ValueError, RecursionError):
            return None
        return entry if isinstance(entry, dict) else None

    def write(self, key: str, entry: Mapping[str, Any]) -> None:
        """Write an entry. Write failures are ignored: the next run builds the module again."""
        if self.folder is None:
            return
        content = json.dumps(entry, separators=(",", ":")).encode()
        _write_entry(self._path(self.folder, key), _digest(content) + b"\n" + content, _drop_oldest_shapes)

    @staticmethod
    def _path(folder: Path, key: str) -> Path:
        return folder / f"{key}.json"


def shape_key(fields: Mapping[str, Any]) -> str:
    """The key of a shape entry: a hash of the configuration, and of the versions of the libraries and source files.

    Imports none of the libraries.
    fields: the content of config.json, and anything else that decides which module is built.
    """
    kind = str(fields.get("model_type") or "").replace("-", "_")
    content = {
        "fields": fields,
        "versions": [__version__, *map(_library_version, _SHAPE_LIBRARIES)],
        "files": [_shape_stamp(path) for path in _source_files(kind)],
    }
    return sha256(json.dumps(content, sort_keys=True, default=repr).encode()).hexdigest()[:40]


def _source_files(kind: str) -> Iterator[Path]:
    yield from (_PACKAGE_FOLDER / name for name in _SHAPE_MODULES)
    spec = find_spec("transformers")
    if spec is not None and spec.origin is not None and kind.isidentifier():
        models = Path(spec.origin).parent / "models"
        yield from (models / kind / name.format(kind) for name in _MODEL_TYPE_FILES)


def _shape_stamp(path: Path) -> tuple[str, int, int]:
    """Name, size and modification time of a file; zeros if it doesn't exist."""
    try:
        found = path.stat()
    except OSError:
        return path.name, 0, 0
    return path.name, found.st_size, found.st_mtime_ns


def _digest(content: bytes) -> bytes:
    return sha256(content).hexdigest().encode()


def _drop_oldest_shapes(folder: Path) -> None:
    """Delete the oldest entries beyond the maximum, and temporary files of interrupted processes with them."""
    entries = sorted((entry.stat().st_mtime_ns, entry) for entry in folder.iterdir())
    for _, entry in entries[:-_MAX_SHAPE_ENTRIES]:
        entry.unlink(missing_ok=True)


# --- Outputs for the reference sample


class SampleCache(NamedTuple):
    """Models' outputs for the reference sample, as NPZ. folder: None turns the cache off."""

    folder: Path | None

    @classmethod
    def default(cls) -> SampleCache:
        above = attn_cache_folder()
        return cls(None if above is None else above / "samples")

    def read(self, key: str) -> dict[str, npt.NDArray[Any]] | None:
        """The arrays of a key; None if there are none, or they are corrupt."""
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
        """Write an entry. Write failures are ignored: the next run computes the sample again."""
        if self.folder is None:
            return
        import numpy as np

        packed = io.BytesIO()
        np.savez(packed, **arrays)  # type: ignore[arg-type]
        content = packed.getvalue()
        _write_entry(self.folder / f"{key}.npz", sha256(content).digest() + content, _drop_oldest_samples)


def sample_key(files: ModelFiles, *, sentences: Sequence[str], allow_pickle: bool, **settings: object) -> str | None:
    """The first part of the keys of a model: a hash of its files, revision, sentences, versions and settings.

    Weights are identified by path, size and modification time: hashing them would take as long as running the sample.
    None if a file of the model can't be accessed.
    """
    try:
        paths = [*files.weights(allow_pickle=allow_pickle).paths, *filter(None, map(files.find, _MODEL_FILES))]
        adapter = sorted(files.adapter.iterdir()) if files.adapter is not None else []
        modules = [_PACKAGE_FOLDER / name for name in _SAMPLE_MODULES]
        stamps = [_sample_stamp(path) for path in (*paths, *adapter, *modules)]
    except OSError:
        return None
    content = {
        "model": [files.ref.name, files.revision, stamps],
        "sample": sha256("\n".join(sentences).encode("utf-8", "surrogatepass")).hexdigest(),
        "versions": [__version__, *map(_library_version, _SAMPLE_LIBRARIES)],
        "settings": settings,
    }
    return sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:40]


def _sample_stamp(path: Path) -> tuple[str, int, int]:
    real = path.resolve()
    found = real.stat()
    return str(real), found.st_size, found.st_mtime_ns


def _drop_oldest_samples(folder: Path) -> None:
    """Delete the oldest entries beyond the maximum size."""
    entries = sorted(((found := entry.stat()).st_mtime_ns, found.st_size, entry) for entry in folder.iterdir())
    room = _MAX_SAMPLE_BYTES
    for _, size, entry in reversed(entries):
        room -= size
        if room < 0:
            entry.unlink(missing_ok=True)


# --- Both


def _library_version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _write_entry(path: Path, content: bytes, drop_oldest: Callable[[Path], None]) -> None:
    """Write an entry to a temporary file, move it into place, and delete old entries. Write failures are ignored."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)  # after a full disk or a signal it would stay
        drop_oldest(path.parent)
