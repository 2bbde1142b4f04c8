"""What a model makes of a sample of sentences, kept under the user's cache folder: the second time needs no run.

An entry is a file by itself, named by everything that it follows from. So nothing there goes stale, entries may be
deleted at any time, and processes share them: each is written aside and moved into place. What can't be read, or isn't
what was written, counts as absent.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from attncli._version import __version__
from attncli.models.files.hub_cache import own_cache_folder

if TYPE_CHECKING:
    from attncli.models.files.model_files import ModelFiles

Arrays = Mapping[str, npt.NDArray[Any]]

_LIBRARIES = ("transformers", "tokenizers", "torch")
#: Our own modules that decide what is kept: an edit of one makes other entries, whatever the version says.
_OWN = (
    "embeddings/reference_sample.py",
    "embeddings/batches.py",
    "embeddings/reference_sample.py",
    "models/capture/structure.py",
)
_DECIDING = ("config.json", "tokenizer.json", "tokenizer_config.json")
_DIGEST_BYTES = 32

#: The most bytes of entries that are kept; the oldest go.
_MOST_BYTES = 256 << 20


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
        packed = io.BytesIO()
        np.savez(packed, **arrays)  # type: ignore[arg-type]
        content = packed.getvalue()
        path = self.folder / f"{key}.npz"
        beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(sha256(content).digest() + content)
            beside.replace(path)
            _drop_oldest(self.folder)


def sample_key(files: ModelFiles, *, sentences: Sequence[str], allow_pickle: bool, **how: object) -> str | None:
    """What the names of entries begin with: model, revision, sentences, versions, and how they were run.

    None where a file of the model can't be looked at.

    Weights are told by their place, size and time of change: to read them all would take as long as the sample does.
    """
    try:
        paths = [*files.weights(allow_pickle=allow_pickle).paths, *filter(None, map(files.find, _DECIDING))]
        adapter = sorted(files.adapter.iterdir()) if files.adapter is not None else []
        own = [Path(__file__).parents[1] / name for name in _OWN]
        stamps = [_stamp(path) for path in (*paths, *adapter, *own)]
    except OSError:
        return None
    made_of = {
        "model": [files.ref.name, files.revision, stamps],
        "sample": sha256("\n".join(sentences).encode("utf-8", "surrogatepass")).hexdigest(),
        "versions": [__version__, *map(_version, _LIBRARIES)],
        "how": how,
    }
    return sha256(json.dumps(made_of, sort_keys=True, default=str).encode()).hexdigest()[:40]


def _stamp(path: Path) -> tuple[str, int, int]:
    real = path.resolve()
    found = real.stat()
    return str(real), found.st_size, found.st_mtime_ns


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _drop_oldest(folder: Path) -> None:
    """Keep to the most bytes that there may be; the newest entries stay."""
    entries = sorted(((found := entry.stat()).st_mtime_ns, found.st_size, entry) for entry in folder.iterdir())
    room = _MOST_BYTES
    for _, size, entry in reversed(entries):
        room -= size
        if room < 0:
            entry.unlink(missing_ok=True)
