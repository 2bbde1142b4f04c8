"""Weight files small enough to be written out in a test."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 437\n"


def safetensors_bytes(**sizes: int) -> bytes:
    """A safetensors file with one float32 vector of zeros for each name, of so many entries."""
    header, end = {}, 0
    for name, size in sizes.items():
        header[name] = {"dtype": "F32", "shape": [size], "data_offsets": [end, end + 4 * size]}
        end += 4 * size
    return with_header(header, bytes(end))


def with_header(header: object, data: bytes) -> bytes:
    """A file that is laid out as safetensors are, whatever its header says."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def index_bytes(weight_map: Mapping[str, object]) -> bytes:
    """The index of a model cut into shards: which tensor is in which file."""
    return json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}).encode()
