"""GGUF files small enough to be written out in a test, byte by byte, sound or not."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

U8, U32, I32, F32, BOOL, STRING, ARRAY, U64 = 0, 4, 5, 6, 7, 8, 9, 10


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


def gguf_tokenizer(path: Path, model: str, tokens: Sequence[str], *, architecture: str = "llama", **more: Any) -> Path:
    """A file with a vocabulary alone. more: values of `tokenizer.ggml`, as texts, numbers, and lists of them."""
    values = {f"tokenizer.ggml.{name}": _tokenizer_value(value) for name, value in more.items()}
    start = {"general.architecture": text(architecture), "tokenizer.ggml.model": text(model)}
    path.write_bytes(gguf_bytes({**start, "tokenizer.ggml.tokens": strings(tokens), **values}, (), b""))
    return path


def _tokenizer_value(value: Any) -> bytes:
    match value:
        case bool():
            return struct.pack("<I?", BOOL, value)
        case int():
            return u32(value)
        case str():
            return text(value)
        case bytes():
            return struct.pack("<IIQ", ARRAY, U8, len(value)) + value
        case [str(), *_]:
            return strings(value)
        case [float(), *_]:
            return numbers(value)
    return struct.pack(f"<IIQ{len(value)}i", ARRAY, I32, len(value), *value)


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


def _value(value: int | str | list[int] | list[bool]) -> bytes:
    if isinstance(value, list):
        kind, form = (BOOL, "?") if isinstance(value[0], bool) else (U32, "I")
        return struct.pack(f"<IIQ{len(value)}{form}", ARRAY, kind, len(value), *value)
    return text(value) if isinstance(value, str) else u32(value)


def gguf_model(
    path: Path, architecture: str, metadata: Mapping[str, Any], tensors: Mapping[str, tuple[int, ...]]
) -> str:
    """A file of zeros in float16. metadata: keys without the architecture.  tensors: shapes as in torch."""
    entries, end = [], 0
    for name, shape in tensors.items():
        entries.append(Entry(name, shape[::-1], 1, end))
        end += -(-2 * prod(shape) // 32) * 32
    values = {f"{architecture}.{key}": _value(value) for key, value in metadata.items()}
    path.write_bytes(gguf_bytes({"general.architecture": text(architecture), **values}, entries, bytes(end)))
    return str(path)


def decoder_tensors(
    layers: int, width: int, key_width: int, *, without_attention: Sequence[int] = ()
) -> dict[str, tuple[int, ...]]:
    """Token table, and in each block attention with keys of `key_width` and a gated feed-forward network."""
    found: dict[str, tuple[int, ...]] = {"token_embd.weight": (99, width), "output_norm.weight": (width,)}
    attention = {"q": (width, width), "k": (key_width, width), "v": (key_width, width), "output": (width, width)}
    for layer in range(layers):
        kinds = {} if layer in without_attention else attention
        found |= {f"blk.{layer}.attn_{kind}.weight": shape for kind, shape in kinds.items()}
        found |= {f"blk.{layer}.ffn_{kind}.weight": (64, width) for kind in ("gate", "up")}
        found[f"blk.{layer}.ffn_down.weight"] = (width, 64)
    return found
