"""The first bytes of weight files: enough to tell a whole file from a broken one without reading a tensor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attncli.errors import ModelError
from attncli.models.tensor_headers import LENGTH_BYTES, FaultError, TensorEntry, header_end, parse_header

FETCH_AGAIN = "fetch or copy the file again"

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def check_readable(path: Path) -> None:
    """Raise ModelError where a file can't be opened, or is git-lfs's stand-in for one that wasn't fetched."""
    if _first_bytes(path, len(_LFS_POINTER)) == _LFS_POINTER:
        message = f"{path} is a git-lfs pointer: a stand-in for a file that was not fetched"
        raise ModelError(message, hint=f"run `git lfs pull` in {path.parent}")


def read_header(path: Path, *, mend: str = FETCH_AGAIN) -> dict[str, TensorEntry]:
    """The tensors of a safetensors file by name. `mend` is the hint of the error that a broken file raises.

    Raises ModelError for a file that can't be read, was cut short, or isn't a safetensors file.
    """
    with usable(path, mend):
        size = path.stat().st_size
        end = header_end(_first_bytes(path, LENGTH_BYTES), size)
        return parse_header(_first_bytes(path, end)[LENGTH_BYTES:], size - end)


def check_gguf(path: Path, *, mend: str = FETCH_AGAIN) -> None:
    """Raise ModelError unless the file can be read and starts as a GGUF file does."""
    with usable(path, mend):
        if _first_bytes(path, 4) != b"GGUF":
            raise FaultError("it is no GGUF file")


def check_pickle(path: Path, *, mend: str = FETCH_AGAIN) -> None:
    """Raise ModelError unless the file can be read and isn't empty: more can't be known without running it."""
    with usable(path, mend):
        pass


def read_json(path: Path, *, mend: str = FETCH_AGAIN) -> dict[str, object]:
    """The object in a JSON file. Raises ModelError for a file that can't be read or holds anything else."""
    with usable(path, mend):
        try:
            found = json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            raise FaultError("it is no JSON") from error
        if not isinstance(found, dict):
            raise FaultError("it holds no JSON object")
    return found


@contextmanager
def usable(path: Path, mend: str = FETCH_AGAIN) -> Iterator[None]:
    """Check what is asked of every file, and turn a fault that is found on the way into the user's error."""
    check_readable(path)
    try:
        _check_filled(path)
        yield
    except FaultError as fault:
        raise ModelError(f"{path} can't be used: {fault}", hint=mend) from fault


def _check_filled(path: Path) -> None:
    if path.stat().st_size == 0:
        raise FaultError("it is empty")


def _first_bytes(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ModelError(f"{path} can't be read: {reason}", hint="check its permissions and its disk") from error
