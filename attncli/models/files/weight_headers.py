"""Reading and validating the headers of safetensors files, and quick checks of GGUF, pickle and JSON files.

The safetensors format: https://huggingface.co/docs/safetensors. Eight bytes hold the length of the header, which is
JSON. Files are untrusted: a header is checked against itself and the file's size, without reading a tensor.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import NamedTuple

from attncli.errors import ModelError
from attncli.limits import (
    MAX_HEADER_BYTES,
    MAX_HEADER_VALUES,
    MAX_JSON_BYTES,
    MAX_JSON_DEPTH,
    MAX_NAME_CHARACTERS,
    MAX_NAME_PARTS,
)

#: The bytes before the header, which hold its length.
LENGTH_BYTES = 8

#: Bits per element by the type names of the safetensors library.
DTYPE_BITS: Mapping[str, int] = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip


class BrokenFileError(Exception):
    """A broken file. The message is the second half of a sentence, such as 'it is empty'."""


class TensorEntry(NamedTuple):
    """A tensor in a safetensors header; `begin` and `end` are byte offsets from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def header_end(first: bytes, size: int) -> int:
    """The offset at which the header ends, from a file's first eight bytes and its size. Raises BrokenFileError."""
    end = int.from_bytes(first[:LENGTH_BYTES], "little") + LENGTH_BYTES
    if size < LENGTH_BYTES or end > MAX_HEADER_BYTES:
        raise BrokenFileError("it is not a safetensors file")
    if end > size:
        raise BrokenFileError(f"it is incomplete: it ends after {size:,} bytes, within its header")
    return end


def parse_header(header: bytes, available: int) -> dict[str, TensorEntry]:
    """The tensors that a header lists. available: the number of bytes after the header.

    Raises BrokenFileError for a header that isn't the JSON of a safetensors file, lists a name twice, too long a name
    or too many tensors, or whose offsets and shapes contradict the file's size or one another.
    """
    if header.count(b"{") + header.count(b",") > MAX_HEADER_VALUES:
        raise BrokenFileError("its header lists too many tensors")
    try:
        # As text: bytes might be taken for UTF-16, which the safetensors library refuses.
        fields = json.loads(header.decode("utf-8"), object_pairs_hook=_reject_duplicates)
        tensors = {name: _tensor_entry(**entry) for name, entry in fields.items() if name != "__metadata__"}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BrokenFileError("its header is not valid") from error
    for name in tensors:
        check_name(name)
    _check_extent(tensors, available)
    return tensors


def check_name(name: str) -> None:
    """Raise BrokenFileError for a tensor's name that is longer, or a path of more modules, than any model has."""
    if len(name) > MAX_NAME_CHARACTERS or name.count(".") >= MAX_NAME_PARTS:
        parts = name.count(".") + 1
        raise BrokenFileError(
            f"the name of its tensor {quote_name(name)} has {len(name):,} characters in {parts:,} parts"
        )


def quote_name(name: str) -> str:
    """A name from a file for an error message: printable, and cut to 100 characters."""
    return repr(name if len(name) <= 100 else f"{name[:99]}…")


def _reject_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise BrokenFileError(
            f"its header lists {quote_name(next(name for name in names if names.count(name) > 1))} twice"
        )
    return found


def _tensor_entry(dtype: str, shape: list[int], data_offsets: list[int]) -> TensorEntry:
    begin, end = data_offsets
    if type(dtype) is not str or any(type(number) is not int for number in (*shape, begin, end)):
        raise TypeError(dtype)
    return TensorEntry(dtype, tuple(shape), begin, end)


def _check_extent(tensors: Mapping[str, TensorEntry], available: int) -> None:
    """The tensors must fill the rest of the file without gaps or overlaps, each as its shape and type give."""
    spans = [(0, 0), *sorted((entry.begin, entry.end) for entry in tensors.values())]
    needed = max(end for _, end in spans)
    if needed > available:
        missing = f"{needed - available:,} of its {needed:,} bytes of weights are missing"
        raise BrokenFileError(f"it is incomplete: {missing}")
    if needed < available:
        raise BrokenFileError(f"it is {available - needed:,} B longer than its tensors")
    if any(begin != before or end < begin for (_, before), (begin, end) in pairwise(spans)):
        raise BrokenFileError("its tensors overlap or leave gaps")
    for name, (dtype, shape, begin, end) in tensors.items():
        bits = DTYPE_BITS.get(dtype)
        if bits is None:
            raise BrokenFileError(f"the type of its tensor {quote_name(name)} is unknown: {quote_name(dtype)}")
        if shape and min(shape) < 0:
            raise BrokenFileError(f"its tensor {quote_name(name)} has a negative size")
        if prod(shape) * bits != (end - begin) * 8:
            raise BrokenFileError(f"its tensor {quote_name(name)} has a size that doesn't match its shape and type")


FETCH_AGAIN = "download or copy the file again"

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def check_readable(path: Path) -> None:
    """Raise ModelError if a file can't be opened, or is a git-lfs pointer to a file that wasn't downloaded."""
    if _first_bytes(path, len(_LFS_POINTER)) == _LFS_POINTER:
        message = f"{path} is a git-lfs pointer: the file itself was not downloaded"
        raise ModelError(message, hint=f"run `git lfs pull` in {path.parent}")


def read_header(path: Path, *, repair_hint: str = FETCH_AGAIN) -> dict[str, TensorEntry]:
    """The tensors of a safetensors file by name.

    Raises ModelError, with `repair_hint`, for a file that can't be read, was cut short, or isn't a safetensors file.
    """
    with check_file(path, repair_hint):
        size = path.stat().st_size
        end = header_end(_first_bytes(path, LENGTH_BYTES), size)
        return parse_header(_first_bytes(path, end)[LENGTH_BYTES:], size - end)


def check_gguf(path: Path, *, repair_hint: str = FETCH_AGAIN) -> None:
    """Raise ModelError unless the file can be read and starts with GGUF's magic number."""
    with check_file(path, repair_hint):
        if _first_bytes(path, 4) != b"GGUF":
            raise BrokenFileError("it is not a GGUF file")


def check_pickle(path: Path, *, repair_hint: str = FETCH_AGAIN) -> None:
    """Raise ModelError unless the file can be read and isn't empty; checking more would run its code."""
    with check_file(path, repair_hint):
        pass


def read_json(path: Path, *, repair_hint: str = FETCH_AGAIN) -> dict[str, object]:
    """The object in a JSON file. Raises ModelError for a file that can't be read or isn't a JSON object."""
    with check_file(path, repair_hint):
        found = parse_json(read_bytes(path))
        if not isinstance(found, dict):
            raise BrokenFileError("it doesn't contain a JSON object")
        return found


def read_model_config(path: Path, *, repair_hint: str = FETCH_AGAIN) -> dict[str, object]:
    """The content of a config.json. Raises ModelError as `read_json`, and for fields of another type."""
    fields = read_json(path, repair_hint=repair_hint)
    with check_file(path, repair_hint):
        check_types(fields)
    return fields


def read_bytes(path: Path) -> bytes:
    """The content of a file that is read whole. Raises BrokenFileError for one larger than any model has."""
    content = _first_bytes(path, MAX_JSON_BYTES + 1)
    if len(content) > MAX_JSON_BYTES:
        raise BrokenFileError(f"it is larger than {MAX_JSON_BYTES:,} bytes")
    return content


def parse_json(content: bytes) -> object:
    """The value in a JSON file. Raises BrokenFileError for other encodings than UTF-8, and for deep nesting.

    A byte order mark is refused as transformers and tokenizers refuse it, so that all readers of a file agree.
    """
    if content.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise BrokenFileError("it begins with a byte order mark: save it as UTF-8 without one")
    try:
        found = json.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BrokenFileError("it is not valid JSON: its text is not UTF-8") from error
    except RecursionError as error:
        raise BrokenFileError(f"it is nested deeper than {MAX_JSON_DEPTH} levels") from error
    except ValueError as error:
        raise BrokenFileError("it is not valid JSON") from error
    check_depth(found)
    return found


def check_depth(value: object) -> None:
    """Raise BrokenFileError for a JSON value that is nested deeper than MAX_JSON_DEPTH."""
    level = [value]
    for _ in range(MAX_JSON_DEPTH):
        inner = (each.values() if isinstance(each, dict) else each for each in level if isinstance(each, (dict, list)))
        level = [each for values in inner for each in values if isinstance(each, (dict, list))]
        if not level:
            return
    raise BrokenFileError(f"it is nested deeper than {MAX_JSON_DEPTH} levels")


#: Fields of a config.json that are used before its class checks them, and what they hold.
_FIELD_TYPES: Mapping[str, str] = {
    **dict.fromkeys(("model_type", "dtype", "torch_dtype"), "a text"),
    "architectures": "a list of texts",
    **dict.fromkeys(("auto_map", "id2label", "quantization_config"), "an object"),
}


def check_types(fields: Mapping[str, object], path: str = "") -> None:
    """Raise BrokenFileError for a field of a config.json, or of its parts (`text_config`), of another type. None is
    allowed."""
    for name, value in fields.items():
        what = _FIELD_TYPES.get(name)
        fits = {
            "a text": isinstance(value, str),
            "a list of texts": isinstance(value, list) and all(isinstance(each, str) for each in value),
            "an object": isinstance(value, dict),
        }
        if what is not None and value is not None and not fits[what]:
            raise BrokenFileError(f"its {path}{name} is {quote_name(json.dumps(value))} instead of {what}")
        if isinstance(value, dict) and name.endswith("config"):
            check_types(value, f"{path}{name}.")


#: Kinds of files that are not ordinary: to read them may never end, or do something.
_SPECIAL_FILES = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}


def check_ordinary(path: Path) -> None:
    """Raise ModelError for a pipe, a device or a socket, or a link to one: opening it might never return."""
    try:
        kind = _SPECIAL_FILES.get(stat.S_IFMT(path.stat().st_mode))
    except OSError as error:
        raise _unreadable_error(path, error) from error
    if kind is not None:
        raise ModelError(f"{path} is {kind} instead of a regular file", hint="replace it by the file itself")


@contextmanager
def check_file(path: Path, repair_hint: str = FETCH_AGAIN) -> Iterator[None]:
    """Check that a file is readable and not empty; turn a BrokenFileError in the body into a ModelError."""
    check_readable(path)
    try:
        if path.stat().st_size == 0:
            raise BrokenFileError("it is empty")  # noqa: TRY301
        yield
    except BrokenFileError as fault:
        raise ModelError(f"{path} can't be used: {fault}", hint=repair_hint) from fault


def _first_bytes(path: Path, count: int) -> bytes:
    check_ordinary(path)
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise _unreadable_error(path, error) from error


def _unreadable_error(path: Path, error: OSError) -> ModelError:
    reason = error.strerror or type(error).__name__
    return ModelError(f"{path} can't be read: {reason}", hint="check its permissions and the disk")
