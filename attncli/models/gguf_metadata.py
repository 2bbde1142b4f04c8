"""The metadata at the start of a GGUF file: names and values, without its tensors, and without any package.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian).
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from attncli.errors import ModelError
from attncli.models.headers import FETCH_AGAIN, check_gguf

#: By their number in the file: the types of single values, as `struct` writes them.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9

_VERSIONS = (2, 3)


def read_metadata(path: Path, *, mend: str = FETCH_AGAIN) -> dict[str, object]:
    """All names and values; an array is a list.

    Raises ModelError, with `mend` as its hint, for a file that can't be read, is broken, or of another version.
    """
    check_gguf(path, mend=mend)
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _Reader(content).metadata()
    except (OSError, ValueError, struct.error, IndexError, RecursionError) as error:
        raise ModelError(f"{path} could not be read: its metadata is cut short or broken", hint=mend) from error


class _Reader:
    def __init__(self, content: mmap.mmap) -> None:
        self._content = content
        self._place = 4  # behind the magic

    def metadata(self) -> dict[str, object]:
        version, _, count = self._unpack("IQQ")
        if version not in _VERSIONS:
            raise ValueError(version)
        return {self._string(): self._value(self._number("I")) for _ in range(count)}

    def _value(self, kind: int) -> object:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            return self._array(*self._unpack("IQ"))
        if kind not in _SCALARS:
            raise ValueError(kind)
        return self._unpack(_SCALARS[kind])[0]

    def _array(self, kind: int, count: int) -> list[object]:
        if kind in _SCALARS:
            if count * struct.calcsize(f"<{_SCALARS[kind]}") > len(self._content):
                raise ValueError(count)
            return list(self._unpack(f"{count}{_SCALARS[kind]}"))
        return [self._value(kind) for _ in range(count)]

    def _string(self) -> str:
        length = self._number("Q")
        start, self._place = self._place, self._place + length
        if self._place > len(self._content):
            raise IndexError(self._place)
        return self._content[start : self._place].decode("utf-8", "replace")

    def _number(self, form: str) -> int:
        return int(self._unpack(form)[0])

    def _unpack(self, form: str) -> tuple[int, ...]:
        form = f"<{form}"
        values = struct.unpack_from(form, self._content, self._place)
        self._place += struct.calcsize(form)
        return values
