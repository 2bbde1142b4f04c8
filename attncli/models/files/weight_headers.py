"""The header of a safetensors file: its tensors by name, from its first bytes alone, and nothing taken on faith.

The format: https://huggingface.co/docs/safetensors. Eight bytes say how long the header is, then comes JSON.

The first bytes of weight files: enough to tell a whole file from a broken one without reading a tensor.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import NamedTuple

from attncli.errors import ModelError

#: The limit of the safetensors library: what claims a longer header is some other file.
MAX_HEADER = 100_000_000
#: The bytes before the header, which hold its length.
LENGTH_BYTES = 8

#: Objects and commas in a header: about 50,000 tensors. The models with most tensors have a tenth of it in a file.
_MAX_VALUES = 300_000
#: Bits of an element, by the names that the safetensors library gives to its types.
BITS: Mapping[str, int] = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip


class FaultError(Exception):
    """What is wrong with a file, as the end of a sentence."""


class TensorEntry(NamedTuple):
    """A tensor as a safetensors header lists it; `begin` and `end` are bytes after the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def header_end(first: bytes, size: int) -> int:
    """Where the header of a file of `size` bytes ends, by its first eight. Raises FaultError where it can't be one."""
    end = int.from_bytes(first[:LENGTH_BYTES], "little") + LENGTH_BYTES
    if size < LENGTH_BYTES or end > MAX_HEADER:
        raise FaultError("it is no safetensors file")
    if end > size:
        raise FaultError(f"it was cut short: it ends after {size:,} bytes, within its header")
    return end


def parse_header(header: bytes, available: int) -> dict[str, TensorEntry]:
    """The tensors that a header lists. available: the bytes of the file behind it.

    Raises FaultError for a header that is no JSON of a safetensors file, lists a name twice or tensors without end,
    or whose places and shapes contradict the file's size or one another.
    """
    if header.count(b"{") + header.count(b",") > _MAX_VALUES:
        raise FaultError("its header lists more tensors than any model has")
    try:
        fields = json.loads(header, object_pairs_hook=_no_name_twice)
        tensors = {name: _entry(**entry) for name, entry in fields.items() if name != "__metadata__"}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise FaultError("its header is not one of a safetensors file") from error
    _check_extent(tensors.values(), available)
    _check_sizes(tensors)
    return tensors


def shown(name: str) -> str:
    """A name from a file, as it stands in an error: printable, and cut to a length that can be read."""
    return repr(name if len(name) <= 100 else f"{name[:99]}…")


def _no_name_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise FaultError(f"its header lists {shown(next(name for name in names if names.count(name) > 1))} twice")
    return found


def _entry(dtype: str, shape: list[int], data_offsets: list[int]) -> TensorEntry:
    begin, end = data_offsets
    for number in (*shape, begin, end):
        if type(number) is not int:
            raise TypeError(number)
    return TensorEntry(dtype, tuple(shape), begin, end)


def _check_extent(tensors: Iterable[TensorEntry], available: int) -> None:
    """The tensors must fill the rest of the file: one after another, no byte left over and none missing."""
    spans = [(0, 0), *sorted((entry.begin, entry.end) for entry in tensors)]
    needed = max(end for _, end in spans)
    if needed > available:
        raise FaultError(f"it was cut short: {needed - available:,} of its {needed:,} bytes of weights are missing")
    if needed < available:
        raise FaultError(f"it is {available - needed:,} B longer than its tensors")
    if any(begin != before or end < begin for (_, before), (begin, end) in pairwise(spans)):
        raise FaultError("its tensors overlap or leave gaps")


def _check_sizes(tensors: Mapping[str, TensorEntry]) -> None:
    """The bytes of each tensor must be those of its shape and type."""
    for name, (dtype, shape, begin, end) in tensors.items():
        bits = BITS.get(dtype)
        if bits is None:
            raise FaultError(f"the type of its tensor {shown(name)} is unknown: {shown(str(dtype))}")
        if shape and min(shape) < 0:
            raise FaultError(f"its tensor {shown(name)} has a negative size")
        if prod(shape) * bits != (end - begin) * 8:
            raise FaultError(f"its tensor {shown(name)} has another size than its shape and type give")


FETCH_AGAIN = "fetch or copy the file again"

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def check_readable(path: Path) -> None:
    """Raise ModelError where a file can't be opened, or is git-lfs's stand-in for one that wasn't fetched."""
    if _first_bytes(path, len(_LFS_POINTER)) == _LFS_POINTER:
        message = f"{path} is a git-lfs pointer: a stand-in for a file that was not fetched"
        raise ModelError(message, hint=f"run `git lfs pull` in {path.parent}")


def read_header(path: Path, *, repair_hint: str = FETCH_AGAIN) -> dict[str, TensorEntry]:
    """The tensors of a safetensors file by name. `mend` is the hint of the error that a broken file raises.

    Raises ModelError for a file that can't be read, was cut short, or isn't a safetensors file.
    """
    with usable(path, repair_hint):
        size = path.stat().st_size
        end = header_end(_first_bytes(path, LENGTH_BYTES), size)
        return parse_header(_first_bytes(path, end)[LENGTH_BYTES:], size - end)


def check_gguf(path: Path, *, repair_hint: str = FETCH_AGAIN) -> None:
    """Raise ModelError unless the file can be read and starts as a GGUF file does."""
    with usable(path, repair_hint):
        if _first_bytes(path, 4) != b"GGUF":
            raise FaultError("it is no GGUF file")


def check_pickle(path: Path, *, repair_hint: str = FETCH_AGAIN) -> None:
    """Raise ModelError unless the file can be read and isn't empty: more can't be known without running it."""
    with usable(path, repair_hint):
        pass


def read_json(path: Path, *, repair_hint: str = FETCH_AGAIN) -> dict[str, object]:
    """The object in a JSON file. Raises ModelError for a file that can't be read or holds anything else."""
    with usable(path, repair_hint):
        try:
            found = json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            raise FaultError("it is no JSON") from error
        if not isinstance(found, dict):
            raise FaultError("it holds no JSON object")
    return found


@contextmanager
def usable(path: Path, repair_hint: str = FETCH_AGAIN) -> Iterator[None]:
    """Check what is asked of every file, and turn a fault that is found on the way into the user's error."""
    check_readable(path)
    try:
        _check_filled(path)
        yield
    except FaultError as fault:
        raise ModelError(f"{path} can't be used: {fault}", hint=repair_hint) from fault


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
