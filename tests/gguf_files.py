"""GGUF files small enough to be written out in a test, byte by byte, sound or not."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

U32, F32, BOOL, STRING, ARRAY, U64 = 4, 6, 7, 8, 9, 10


class Entry(NamedTuple):
    """A tensor of the list. shape: as GGUF writes it, the contiguous axis first."""

    name: str
    shape: tuple[int, ...]
    kind: int = 0
    offset: int = 0


def string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def u32(number: int) -> bytes:
    return struct.pack("<II", U32, number)


def text(value: str) -> bytes:
    return struct.pack("<I", STRING) + string(value)


def strings(values: Sequence[str]) -> bytes:
    return struct.pack("<IIQ", ARRAY, STRING, len(values)) + b"".join(map(string, values))


def numbers(values: Sequence[float]) -> bytes:
    return struct.pack(f"<IIQ{len(values)}f", ARRAY, F32, len(values), *values)


def gguf_bytes(
    metadata: Mapping[str, bytes], tensors: Sequence[Entry], data: bytes, *, version: int = 3, order: str = "<"
) -> bytes:
    """A file with these values and tensors, and `data` behind them, aligned to 32 bytes."""
    head = b"GGUF" + struct.pack(f"{order}IQQ", version, len(tensors), len(metadata))
    head += b"".join(string(name) + value for name, value in metadata.items())
    for tensor in tensors:
        head += string(tensor.name) + struct.pack("<I", len(tensor.shape))
        head += struct.pack(f"<{len(tensor.shape)}QIQ", *tensor.shape, tensor.kind, tensor.offset)
    return head + bytes(-len(head) % 32) + data
