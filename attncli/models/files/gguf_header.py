"""The types of tensors in a GGUF file: how many elements a block has, and how many bytes.

From ggml's `ggml_type` and the layout of its blocks; the numbers that are missing were types that ggml has given up.

What stands before the weights in a GGUF file: names and values, and a list of its tensors. Needs no package.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian).
Vocabularies make up nearly all of it, hundreds of thousands of strings; who doesn't ask for them has them skipped.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import NamedTuple

from attncli.models.files.weight_headers import FETCH_AGAIN, FaultError, check_gguf, shown, usable


class GgmlType(NamedTuple):
    """A type: `block` elements are stored together, in `size` bytes."""

    name: str
    block: int
    size: int


GGML_TYPES: Mapping[int, GgmlType] = {
    0: GgmlType("F32", 1, 4),
    1: GgmlType("F16", 1, 2),
    2: GgmlType("Q4_0", 32, 18),
    3: GgmlType("Q4_1", 32, 20),
    6: GgmlType("Q5_0", 32, 22),
    7: GgmlType("Q5_1", 32, 24),
    8: GgmlType("Q8_0", 32, 34),
    9: GgmlType("Q8_1", 32, 40),
    10: GgmlType("Q2_K", 256, 84),
    11: GgmlType("Q3_K", 256, 110),
    12: GgmlType("Q4_K", 256, 144),
    13: GgmlType("Q5_K", 256, 176),
    14: GgmlType("Q6_K", 256, 210),
    15: GgmlType("Q8_K", 256, 292),
    16: GgmlType("IQ2_XXS", 256, 66),
    17: GgmlType("IQ2_XS", 256, 74),
    18: GgmlType("IQ3_XXS", 256, 98),
    19: GgmlType("IQ1_S", 256, 50),
    20: GgmlType("IQ4_NL", 32, 18),
    21: GgmlType("IQ3_S", 256, 110),
    22: GgmlType("IQ2_S", 256, 82),
    23: GgmlType("IQ4_XS", 256, 136),
    24: GgmlType("I8", 1, 1),
    25: GgmlType("I16", 1, 2),
    26: GgmlType("I32", 1, 4),
    27: GgmlType("I64", 1, 8),
    28: GgmlType("F64", 1, 8),
    29: GgmlType("IQ1_M", 256, 56),
    30: GgmlType("BF16", 1, 2),
    34: GgmlType("TQ1_0", 256, 54),
    35: GgmlType("TQ2_0", 256, 66),
    39: GgmlType("MXFP4", 32, 17),
    40: GgmlType("NVFP4", 64, 36),
    41: GgmlType("Q1_0", 128, 18),
}


#: By their number in the file: the types of single values, as `struct` writes them.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9

_VERSIONS = (2, 3)
_MAGIC = b"GGUF"
_ALIGNMENT = 32

# What no file goes beyond. ggml's own limits: four axes, names of 64 bytes; vocabularies have under 10^6 strings.
_MAX_AXES = 8
_MAX_NAME = 65_535
_MAX_STRINGS = 4_000_000
_MAX_TENSORS = 200_000
_MAX_KEYS = 100_000
_MAX_NESTING = 4
_MAX_ELEMENTS = 1 << 62


class SkippedArray(NamedTuple):
    """An array that wasn't read: how many values it has."""

    length: int


class GgufTensor(NamedTuple):
    """A tensor as the file lists it.

    shape: in torch's order, the last axis is contiguous.  begin: its place in the file.  size: bytes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    size: int


class GgufHeader(NamedTuple):
    """metadata: values by name; an array is a list, or a `SkippedArray`."""

    metadata: dict[str, object]
    tensors: tuple[GgufTensor, ...]


class ShortError(Exception):
    """The header goes on beyond the bytes at hand."""


def read_gguf_header(path: Path, *, longest_array: int | None = 1024, repair_hint: str = FETCH_AGAIN) -> GgufHeader:
    """Metadata and tensors of a GGUF file. longest_array: longer ones are skipped; None reads all of them.

    Raises ModelError, with `repair_hint` as its hint, for a file that can't be read, was cut short, contradicts itself,
    or is of another version or byte order.
    """
    check_gguf(path, repair_hint=repair_hint)
    size = path.stat().st_size
    with usable(path, repair_hint), _mapped(path) as content:
        return _whole(content, size, longest_array)


def read_metadata(path: Path, *, repair_hint: str = FETCH_AGAIN) -> dict[str, object]:
    """All names and values of a GGUF file, without its tensors; an array is a list. Raises ModelError as above."""
    check_gguf(path, repair_hint=repair_hint)
    with usable(path, repair_hint), _mapped(path) as content:
        try:
            return _Reader(content, None).opened().metadata()
        except ShortError as error:
            raise _cut_short(path.stat().st_size) from error


def parse_gguf_header(content: bytes, size: int, *, longest_array: int | None = 1024) -> GgufHeader:
    """The header in the first bytes of a file of `size` bytes.

    Raises ShortError where more bytes are needed, FaultError for what is no header or contradicts itself.
    """
    reader = _Reader(content, longest_array).opened()
    metadata = reader.metadata()
    tensors = reader.tensors(_alignment(metadata), size)
    return GgufHeader(metadata, tensors)


def _whole(content: mmap.mmap, size: int, longest_array: int | None) -> GgufHeader:
    try:
        return parse_gguf_header(content, size, longest_array=longest_array)  # type: ignore[arg-type]  # read alike
    except ShortError as error:
        raise _cut_short(size) from error


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _cut_short(size: int) -> FaultError:
    return FaultError(f"it was cut short: it ends after {size:,} bytes, within its header")


def _alignment(metadata: dict[str, object]) -> int:
    found = metadata.get("general.alignment", _ALIGNMENT)
    if type(found) is not int or found <= 0:
        raise FaultError("its general.alignment is no positive number")
    return found


class _Reader:
    """Reads values one after another; a place beyond the content raises ShortError."""

    def __init__(self, content: bytes | mmap.mmap, longest_array: int | None) -> None:
        self._content = content
        self._longest = longest_array
        self._place = 0
        self._strings = 0
        self._counts = (0, 0)

    def opened(self) -> _Reader:
        """Read the first numbers: magic, version, and the counts of tensors and values."""
        magic, version = self._content[:4], self._skipped(4)._unpack("I")[0]
        if magic != _MAGIC:
            raise FaultError("it is no GGUF file")
        if version not in _VERSIONS:
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
            told = "is big-endian" if swapped in _VERSIONS else f"has version {version}"
            raise FaultError(f"it {told}, and only little-endian files of versions 2 and 3 can be read")
        tensors, keys = self._unpack("QQ")
        if tensors > _MAX_TENSORS or keys > _MAX_KEYS:
            raise FaultError(f"its header claims {tensors:,} tensors and {keys:,} values, more than any model has")
        self._counts = (tensors, keys)
        return self

    def metadata(self) -> dict[str, object]:
        found: dict[str, object] = {}
        for _ in range(self._counts[1]):
            name = self._name()
            if name in found:
                raise FaultError(f"its metadata has {shown(name)} twice")
            found[name] = self._value(self._unpack("I")[0], name, 0)
        return found

    def tensors(self, alignment: int, size: int) -> tuple[GgufTensor, ...]:
        """The list of tensors, which stand behind the header, each where it says and within the file."""
        listed = [self._tensor() for _ in range(self._counts[0])]
        data = -(-self._place // alignment) * alignment
        found = tuple(tensor._replace(begin=data + tensor.begin) for tensor in listed)
        _check_names(found)
        _check_places(found, size)
        return found

    def _tensor(self) -> GgufTensor:
        name = self._name()
        axes = self._unpack("I")[0]
        if axes > _MAX_AXES:
            raise FaultError(f"its tensor {shown(name)} claims {axes:,} axes")
        shape = self._unpack(f"{axes}Q")[::-1]
        number, begin = self._unpack("IQ")
        return GgufTensor(name, *_stored(name, shape, number), begin=begin, size=_size(name, shape, number))

    def _value(self, kind: int, name: str, depth: int) -> object:
        if kind == _STRING:
            return self._string(self._length())
        if kind == _ARRAY:
            return self._array(name, depth)
        if kind not in _SCALARS:
            raise FaultError(f"the type of its value {shown(name)} is unknown: {kind}")
        return self._unpack(_SCALARS[kind])[0]

    def _array(self, name: str, depth: int) -> object:
        kind, count = self._unpack("IQ")
        skips = self._longest is not None and count > self._longest
        if kind in _SCALARS:
            width = struct.calcsize(f"<{_SCALARS[kind]}")
            if self._place + count * width > len(self._content):
                raise ShortError
            if skips:
                self._place += count * width
                return SkippedArray(count)
            return list(self._unpack(f"{count}{_SCALARS[kind]}"))
        self._strings += count
        if self._strings > _MAX_STRINGS or depth >= _MAX_NESTING:
            raise FaultError(f"its value {shown(name)} has more strings than any vocabulary, or arrays within arrays")
        if kind == _STRING and skips:
            self._skip_strings(count)
            return SkippedArray(count)
        return [self._value(kind, name, depth + 1) for _ in range(count)]

    def _skip_strings(self, count: int) -> None:
        # A loop over half a million strings: everything that it needs is at hand.
        content, place, length = self._content, self._place, struct.Struct("<Q").unpack_from
        try:
            for _ in range(count):
                place += 8 + length(content, place)[0]
        except (struct.error, OverflowError) as error:
            raise ShortError from error
        if place > len(content):
            raise ShortError
        self._place = place

    def _name(self) -> str:
        length = self._length()
        if length > _MAX_NAME:
            raise FaultError(f"its header claims a name of {length:,} bytes")
        return self._string(length)

    def _string(self, length: int) -> str:
        start, end = self._place, self._place + length
        if end > len(self._content):
            raise ShortError
        self._place = end
        return self._content[start:end].decode("utf-8", "replace")

    def _length(self) -> int:
        return int(self._unpack("Q")[0])

    def _skipped(self, count: int) -> _Reader:
        self._place += count
        return self

    def _unpack(self, form: str) -> tuple[int, ...]:
        layout = _layout(form)
        try:
            values = layout.unpack_from(self._content, self._place)
        except struct.error as error:
            raise ShortError from error
        self._place += layout.size
        return values


@lru_cache(maxsize=64)
def _layout(form: str) -> struct.Struct:
    return struct.Struct(f"<{form}")


def _stored(name: str, shape: tuple[int, ...], number: int) -> tuple[str, tuple[int, ...]]:
    """The type's name, and the shape. Raises FaultError for an unknown type, and for what isn't whole blocks."""
    kind = GGML_TYPES.get(number)
    if kind is None:
        raise FaultError(f"the type of its tensor {shown(name)} is unknown: {number}")
    if prod(shape) > _MAX_ELEMENTS:
        raise FaultError(f"its tensor {shown(name)} claims {prod(shape):,} elements")
    if (shape[-1] if shape else 1) % kind.block:
        raise FaultError(f"a row of its tensor {shown(name)} is no whole number of {kind.name}'s blocks")
    return kind.name, shape


def _size(name: str, shape: tuple[int, ...], number: int) -> int:
    kind = GGML_TYPES[number]
    return prod(shape) // kind.block * kind.size


def _check_names(tensors: tuple[GgufTensor, ...]) -> None:
    seen: set[str] = set()
    for tensor in tensors:
        if tensor.name in seen:
            raise FaultError(f"its header lists {shown(tensor.name)} twice")
        seen.add(tensor.name)


def _check_places(tensors: tuple[GgufTensor, ...], size: int) -> None:
    end = 0
    for begin, after in sorted(_spans(tensors)):
        if begin < end:
            raise FaultError("its tensors overlap")
        end = after
    if end > size:
        raise FaultError(f"it was cut short: {end - size:,} of its {end:,} bytes are missing")


def _spans(tensors: tuple[GgufTensor, ...]) -> Iterator[tuple[int, int]]:
    return ((tensor.begin, tensor.begin + tensor.size) for tensor in tensors)
