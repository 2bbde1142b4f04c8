"""Results as NumPy .npz archives: plain arrays without pickled objects, byte for byte reproducible on all machines."""

from __future__ import annotations

import io
from array import array
from collections.abc import Iterator
from tempfile import TemporaryFile
from typing import Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np
import numpy.typing as npt

from attncli.render.tokenize.forms import PartsForm
from attncli.results.tokenize import IdsPart, TokenizeResult

Array = npt.NDArray[Any]

#: Numbers of an array that are written at once.
_CHUNK = 1 << 18


class IdsForm(PartsForm):
    """Token ids of all texts as three int64 arrays, written part by part.

    `ids`: of all texts, concatenated.  `lengths`: tokens of each text.  `offsets`: where each text begins in `ids`.
    Text k is `ids[offsets[k] : offsets[k] + lengths[k]]`. The ids are kept in a temporary file until the last text,
    because the header of the array gives their number.
    """

    def __init__(self) -> None:
        # Closed, and so deleted, in `end`.
        self._ids = TemporaryFile()  # noqa: SIM115
        self._lengths = array("q")

    def part(self, part: IdsPart) -> str:
        self._ids.write(np.asarray(part.ids, dtype="<i8").tobytes())
        if part.first:
            self._lengths.append(0)
        self._lengths[-1] += len(part.ids)
        return ""

    def end(self, summary: TokenizeResult) -> Iterator[str | bytes]:
        lengths = np.array(self._lengths, dtype=np.int64)
        ids = np.memmap(self._ids, dtype="<i8", mode="r") if lengths.sum() else np.zeros(0, dtype=np.int64)
        yield from _npz_parts({"ids": ids, "lengths": lengths, "offsets": np.cumsum(lengths) - lengths})
        self._ids.close()


def npz_bytes(arrays: dict[str, Array]) -> bytes:
    """Arrays by name as the bytes of one .npz archive."""
    return b"".join(_npz_parts(arrays))


def _npz_parts(arrays: dict[str, Array]) -> Iterator[bytes]:
    """The bytes that `numpy.savez` would write, but without timestamps and platform, in parts that fit in memory."""
    content = _DrainedBuffer()
    with ZipFile(content, "w", ZIP_STORED) as archive:
        for name, values in arrays.items():
            entry = ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            # Always little-endian and in C order, so that the bytes are the same on all machines.
            ordered = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(ordered))
                flat = ordered.reshape(-1)
                for start in range(0, flat.size, _CHUNK):
                    file.write(flat[start : start + _CHUNK].tobytes())
                    yield content.drain()
    yield content.drain()


class _DrainedBuffer(io.RawIOBase):
    """A write-only buffer whose content is taken out, by `drain`, while a ZipFile writes to it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._place = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        self._place += len(data)
        return len(data)

    def tell(self) -> int:
        return self._place

    def drain(self) -> bytes:
        content = b"".join(self._parts)
        self._parts.clear()
        return content
