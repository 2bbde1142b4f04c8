"""Parser for the header of a GGUF file: the metadata (keys and values) and the list of tensors. Needs no package.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian).
Most of a header is the vocabulary, hundreds of thousands of strings; long arrays can be skipped. What the keys mean
in terms of config.json is in gguf_names.py, and which layers have a window in layer_windows.py.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import NamedTuple

from attncli.limits import (
    MAX_GGUF_AXES,
    MAX_GGUF_KEY_BYTES,
    MAX_GGUF_KEYS,
    MAX_GGUF_NESTING,
    MAX_GGUF_STRINGS,
    MAX_GGUF_TENSORS,
    MAX_TENSOR_ELEMENTS,
)
from attncli.models.files.weight_headers import (
    FETCH_AGAIN,
    BrokenFileError,
    check_file,
    check_gguf,
    check_name,
    quote_name,
)


class GgmlType(NamedTuple):
    """A type of tensors: `block` elements are stored together, in `size` bytes."""

    name: str
    block: int
    size: int


#: From ggml's `ggml_type` and the layout of its blocks; the missing numbers are types that ggml has removed.
GGML_TYPES: Mapping[int, GgmlType] = {
    number: GgmlType(name, block, size)
    for number, name, block, size in (
        (0, "F32", 1, 4), (1, "F16", 1, 2), (2, "Q4_0", 32, 18), (3, "Q4_1", 32, 20), (6, "Q5_0", 32, 22),
        (7, "Q5_1", 32, 24), (8, "Q8_0", 32, 34), (9, "Q8_1", 32, 40), (10, "Q2_K", 256, 84), (11, "Q3_K", 256, 110),
        (12, "Q4_K", 256, 144), (13, "Q5_K", 256, 176), (14, "Q6_K", 256, 210), (15, "Q8_K", 256, 292),
        (16, "IQ2_XXS", 256, 66), (17, "IQ2_XS", 256, 74), (18, "IQ3_XXS", 256, 98), (19, "IQ1_S", 256, 50),
        (20, "IQ4_NL", 32, 18), (21, "IQ3_S", 256, 110), (22, "IQ2_S", 256, 82), (23, "IQ4_XS", 256, 136),
        (24, "I8", 1, 1), (25, "I16", 1, 2), (26, "I32", 1, 4), (27, "I64", 1, 8), (28, "F64", 1, 8),
        (29, "IQ1_M", 256, 56), (30, "BF16", 1, 2), (34, "TQ1_0", 256, 54), (35, "TQ2_0", 256, 66),
        (39, "MXFP4", 32, 17), (40, "NVFP4", 64, 36), (41, "Q1_0", 128, 18),
    )
}  # fmt: skip


#: The types of scalar metadata values by their numbers in the file, as format characters of `struct`.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9

_VERSIONS = (2, 3)
_MAGIC = b"GGUF"
_ALIGNMENT = 32


class SkippedArray(NamedTuple):
    """An array that wasn't read. length: the number of its values."""

    length: int


class GgufTensor(NamedTuple):
    """A tensor in the header.

    shape: in torch's order, the last axis is contiguous.  begin: byte offset in the file.  size: in bytes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    size: int


class GgufHeader(NamedTuple):
    """metadata: values by key; an array is a list, or a `SkippedArray`."""

    metadata: dict[str, object]
    tensors: tuple[GgufTensor, ...]


class IncompleteHeaderError(Exception):
    """The header is longer than the given bytes."""


def read_gguf_header(path: Path, *, longest_array: int | None = 1024, repair_hint: str = FETCH_AGAIN) -> GgufHeader:
    """Metadata and tensors of a GGUF file. longest_array: longer arrays are skipped; None reads all.

    Raises ModelError, with `repair_hint` as its hint, for a file that can't be read, was cut short, contradicts itself,
    or is of another version or byte order.
    """
    with _open_header(path, longest_array, repair_hint) as reader:
        return reader.read_header(path.stat().st_size)


def read_metadata(path: Path, *, repair_hint: str = FETCH_AGAIN) -> dict[str, object]:
    """All metadata of a GGUF file; an array is a list. Raises ModelError as `read_gguf_header`."""
    with _open_header(path, None, repair_hint) as reader:
        return reader.read_metadata()


@contextmanager
def _open_header(path: Path, longest_array: int | None, repair_hint: str) -> Iterator[_HeaderReader]:
    check_gguf(path, repair_hint=repair_hint)
    with (
        check_file(path, repair_hint),
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        try:
            yield _HeaderReader(content, longest_array)
        except IncompleteHeaderError as error:
            reached = f"it ends after {len(content):,} bytes, within its header"
            raise BrokenFileError(f"it is incomplete: {reached}") from error


def parse_gguf_header(content: bytes, size: int, *, longest_array: int | None = 1024) -> GgufHeader:
    """The header in the first bytes of a file of `size` bytes.

    Raises IncompleteHeaderError if more bytes are needed, BrokenFileError if it is no header or contradicts itself.
    """
    return _HeaderReader(content, longest_array).read_header(size)


class _HeaderReader:
    """Reads values one after another; raises IncompleteHeaderError at the end of the content."""

    def __init__(self, content: bytes | mmap.mmap, longest_array: int | None) -> None:
        """Read the first numbers: magic, version, and the counts of tensors and metadata values."""
        self._content = content
        self._longest = longest_array
        self._offset = len(_MAGIC)
        self._strings = 0
        version = self._unpack("I")[0]
        if content[: len(_MAGIC)] != _MAGIC:
            raise BrokenFileError("it is not a GGUF file")
        if version not in _VERSIONS:
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
            problem = "is big-endian" if swapped in _VERSIONS else f"has version {version}"
            raise BrokenFileError(f"it {problem}, and only little-endian files of versions 2 and 3 can be read")
        self._tensors, self._keys = self._unpack("QQ")
        if self._tensors > MAX_GGUF_TENSORS or self._keys > MAX_GGUF_KEYS:
            claims = f"{self._tensors:,} tensors and {self._keys:,} values"
            raise BrokenFileError(f"its header declares {claims}, which is impossible")

    def read_header(self, size: int) -> GgufHeader:
        """The header of a file of `size` bytes."""
        metadata = self.read_metadata()
        alignment = metadata.get("general.alignment", _ALIGNMENT)
        if type(alignment) is not int or alignment <= 0:
            raise BrokenFileError("its general.alignment is not a positive number")
        return GgufHeader(metadata, self._read_tensors(alignment, size))

    def read_metadata(self) -> dict[str, object]:
        found: dict[str, object] = {}
        for _ in range(self._keys):
            name = self._read_name()
            if name in found:
                raise BrokenFileError(f"its metadata contains {quote_name(name)} twice")
            found[name] = self._read_value(self._unpack("I")[0], name, 0)
        return found

    def _read_tensors(self, alignment: int, size: int) -> tuple[GgufTensor, ...]:
        """The list of tensors, checked: their offsets are distinct and within the file."""
        listed = [self._read_tensor() for _ in range(self._tensors)]
        data = -(-self._offset // alignment) * alignment
        found = tuple(tensor._replace(begin=data + tensor.begin) for tensor in listed)
        seen: set[str] = set()
        for each in found:
            if each.name in seen:
                raise BrokenFileError(f"its header lists {quote_name(each.name)} twice")
            seen.add(each.name)
        end = 0
        for begin, after in sorted((tensor.begin, tensor.begin + tensor.size) for tensor in found):
            if begin < end:
                raise BrokenFileError("its tensors overlap")
            end = after
        if end > size:
            raise BrokenFileError(f"it is incomplete: {end - size:,} of its {end:,} bytes are missing")
        return found

    def _read_tensor(self) -> GgufTensor:
        name = self._read_name()
        check_name(name)
        axes = self._unpack("I")[0]
        if axes > MAX_GGUF_AXES:
            raise BrokenFileError(f"its tensor {quote_name(name)} has {axes:,} dimensions, which is impossible")
        shape = self._unpack(f"{axes}Q")[::-1]
        number, begin = self._unpack("IQ")
        kind = GGML_TYPES.get(number)
        if kind is None:
            raise BrokenFileError(f"the type of its tensor {quote_name(name)} is unknown: {number}")
        if prod(shape) > MAX_TENSOR_ELEMENTS:
            raise BrokenFileError(f"its tensor {quote_name(name)} has {prod(shape):,} elements, which is impossible")
        if (shape[-1] if shape else 1) % kind.block:
            raise BrokenFileError(
                f"a row of its tensor {quote_name(name)} is not a multiple of {kind.name}'s block size"
            )
        return GgufTensor(name, kind.name, shape, begin, size=prod(shape) // kind.block * kind.size)

    def _read_value(self, kind: int, name: str, depth: int) -> object:
        if kind == _STRING:
            return self._read_string(self._read_length())
        if kind == _ARRAY:
            return self._read_array(name, depth)
        if kind not in _SCALARS:
            raise BrokenFileError(f"the type of its value {quote_name(name)} is unknown: {kind}")
        return self._unpack(_SCALARS[kind])[0]

    def _read_array(self, name: str, depth: int) -> object:
        kind, count = self._unpack("IQ")
        skips = self._longest is not None and count > self._longest
        if kind in _SCALARS:
            width = struct.calcsize(f"<{_SCALARS[kind]}")
            if self._offset + count * width > len(self._content):
                raise IncompleteHeaderError
            if skips:
                self._offset += count * width
                return SkippedArray(count)
            return list(self._unpack(f"{count}{_SCALARS[kind]}"))
        self._strings += count
        if self._strings > MAX_GGUF_STRINGS or depth >= MAX_GGUF_NESTING:
            raise BrokenFileError(f"its value {quote_name(name)} has too many strings, or nested arrays")
        if kind == _STRING and skips:
            self._skip_strings(count)
            return SkippedArray(count)
        return [self._read_value(kind, name, depth + 1) for _ in range(count)]

    def _skip_strings(self, count: int) -> None:
        # Local variables, as the loop runs over up to half a million strings.
        content, place, length = self._content, self._offset, struct.Struct("<Q").unpack_from
        try:
            for _ in range(count):
                place += 8 + length(content, place)[0]
        except (struct.error, OverflowError) as error:
            raise IncompleteHeaderError from error
        if place > len(content):
            raise IncompleteHeaderError
        self._offset = place

    def _read_name(self) -> str:
        length = self._read_length()
        if length > MAX_GGUF_KEY_BYTES:
            raise BrokenFileError(f"its header contains a name of {length:,} bytes, which is impossible")
        return self._read_string(length)

    def _read_string(self, length: int) -> str:
        start, end = self._offset, self._offset + length
        if end > len(self._content):
            raise IncompleteHeaderError
        self._offset = end
        return self._content[start:end].decode("utf-8", "replace")

    def _read_length(self) -> int:
        return int(self._unpack("Q")[0])

    def _unpack(self, form: str) -> tuple[int, ...]:
        layout = _struct_layout(form)
        try:
            values = layout.unpack_from(self._content, self._offset)
        except struct.error as error:
            raise IncompleteHeaderError from error
        self._offset += layout.size
        return values


@lru_cache(maxsize=64)
def _struct_layout(form: str) -> struct.Struct:
    return struct.Struct(f"<{form}")
