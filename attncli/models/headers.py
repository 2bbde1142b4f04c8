"""The first bytes of weight files: enough to tell a whole file from a broken one without reading a tensor."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from attncli.errors import ModelError

FETCH_AGAIN = "fetch or copy the file again"

# The limit of the safetensors library: what claims a longer header is some other file.
_MAX_HEADER = 100_000_000
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


class TensorEntry(NamedTuple):
    """A tensor as a safetensors header lists it; `begin` and `end` are bytes after the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def check_readable(path: Path) -> None:
    """Raise ModelError where a file can't be opened, or is git-lfs's stand-in for one that wasn't fetched."""
    if _first_bytes(path, len(_LFS_POINTER)) == _LFS_POINTER:
        message = f"{path} is a git-lfs pointer: a stand-in for a file that was not fetched"
        raise ModelError(message, hint=f"run `git lfs pull` in {path.parent}")


def read_header(path: Path, *, mend: str = FETCH_AGAIN) -> dict[str, TensorEntry]:
    """The tensors of a safetensors file by name. `mend` is the hint of the error that a broken file raises.

    Raises ModelError for a file that can't be read, was cut short, or isn't a safetensors file.
    """
    with _usable(path, mend):
        size = path.stat().st_size
        start = int.from_bytes(_first_bytes(path, 8), "little") + 8
        if size < 8 or start > _MAX_HEADER:
            raise _FaultError("it is no safetensors file")
        if start > size:
            raise _FaultError(f"it was cut short: it ends after {size:,} bytes, within its header")
        tensors = _parse(_first_bytes(path, start)[8:])
        _check_extent(tensors, size - start)
    return tensors


def check_gguf(path: Path, *, mend: str = FETCH_AGAIN) -> None:
    """Raise ModelError unless the file can be read and starts as a GGUF file does."""
    with _usable(path, mend):
        if _first_bytes(path, 4) != b"GGUF":
            raise _FaultError("it is no GGUF file")


def check_pickle(path: Path, *, mend: str = FETCH_AGAIN) -> None:
    """Raise ModelError unless the file can be read and isn't empty: more can't be known without running it."""
    with _usable(path, mend):
        pass


def read_json(path: Path, *, mend: str = FETCH_AGAIN) -> dict[str, object]:
    """The object in a JSON file. Raises ModelError for a file that can't be read or holds anything else."""
    with _usable(path, mend):
        try:
            found = json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            raise _FaultError("it is no JSON") from error
        if not isinstance(found, dict):
            raise _FaultError("it holds no JSON object")
    return found


class _FaultError(Exception):
    """What is wrong with a file, as the end of a sentence."""


@contextmanager
def _usable(path: Path, mend: str) -> Iterator[None]:
    """Check what is asked of every file, and turn a fault that is found on the way into the user's error."""
    check_readable(path)
    try:
        _check_filled(path)
        yield
    except _FaultError as fault:
        raise ModelError(f"{path} can't be used: {fault}", hint=mend) from fault


def _check_filled(path: Path) -> None:
    if path.stat().st_size == 0:
        raise _FaultError("it is empty")


def _first_bytes(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ModelError(f"{path} can't be read: {reason}", hint="check its permissions and its disk") from error


def _parse(header: bytes) -> dict[str, TensorEntry]:
    try:
        entries = json.loads(header)
        return {name: _entry(fields) for name, fields in entries.items() if name != "__metadata__"}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _FaultError("its header is not one of a safetensors file") from error


def _entry(fields: Mapping[str, object]) -> TensorEntry:
    begin, end = map(int, fields["data_offsets"])  # type: ignore[call-overload]
    shape = tuple(map(int, fields["shape"]))  # type: ignore[call-overload]
    return TensorEntry(str(fields["dtype"]), shape, begin, end)


def _check_extent(tensors: Mapping[str, TensorEntry], available: int) -> None:
    """The tensors must fill the rest of the file: one after another, no byte left over and none missing."""
    spans = [(0, 0), *sorted((entry.begin, entry.end) for entry in tensors.values())]
    needed = max(end for _, end in spans)
    if needed > available:
        raise _FaultError(f"it was cut short: {needed - available:,} of its {needed:,} bytes of weights are missing")
    if needed < available:
        raise _FaultError(f"it is {available - needed:,} B longer than its tensors")
    if any(begin != before or end < begin for (_, before), (begin, end) in pairwise(spans)):
        raise _FaultError("its tensors overlap or leave gaps")
