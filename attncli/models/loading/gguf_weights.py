"""transformers' loader of GGUF files, with the header read fast and only what a model needs unpacked.

transformers (5.24) reads the metadata value by value with numpy, once for the configuration and once for the weights;
it builds the table of tensor names again for each module, and unpacks every tensor of the file before it looks whether
the model has it. What it makes of names, metadata and tensors (permuted rows, norms less one, stacked experts) stays
its own: it is only given another reader, the same table each time, and the tensors that the model has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from attncli.models.capture.structure import block_lists
from attncli.models.files.gguf_header import GgufTensor, SkippedArray, read_gguf_header

#: The numbers of GGUF's types for values, as transformers expects them.
_INTEGER, _FLOAT, _BOOL, _STRING, _ARRAY = 11, 12, 7, 8, 9
#: The types that numpy has itself, by their names in the header. Others are blocks of bytes.
_NUMPY_TYPES = {
    "F16": np.float16, "F32": np.float32, "F64": np.float64,
    "I8": np.int8, "I16": np.int16, "I32": np.int32, "I64": np.int64,
}  # fmt: skip


#: Packed bytes that are unpacked at a time.
_UNPACKED_BYTES = 1 << 22

_TOKENS = "tokenizer.ggml.tokens"
_BLOCK = re.compile(r"(?:\w+\.)?blk\.(\d+)\.")


class _Field(NamedTuple):
    """A value of the metadata, in the form of `gguf.ReaderField`: the values are `parts[place]` for each in `data`."""

    parts: Sequence[Any]
    data: Sequence[int]
    types: list[int]


class _Tensor(NamedTuple):
    """A tensor, in the form of `gguf.ReaderTensor`. Read when it is asked for: a mapped file's pages would stay."""

    path: str | Path
    header: GgufTensor

    @property
    def name(self) -> str:
        return self.header.name

    @property
    def tensor_type(self) -> Any:
        return import_module("gguf").GGMLQuantizationType[self.header.dtype]

    @property
    def data(self) -> np.ndarray[Any, Any]:
        tensor = self.header
        packed = np.fromfile(self.path, np.uint8, count=tensor.size, offset=tensor.begin)
        data = packed.view(_NUMPY_TYPES.get(tensor.dtype, np.uint8))
        *outer, row = tensor.shape or (1,)
        width = row if tensor.dtype in _NUMPY_TYPES else data.size // max(int(np.prod(outer)), 1)
        return data.reshape(*outer, width)


class _Reader:
    """What transformers uses of `gguf.GGUFReader`. Of the vocabulary it needs the size alone, so its tokens are zeros.

    needed: whether a tensor of this name is to be listed; None for all.
    """

    def __init__(self, path: str | Path, needed: Callable[[str], bool] | None = None) -> None:
        header = read_gguf_header(Path(path))
        self.fields = {
            name: _field(value)
            for name, value in header.metadata.items()
            if not isinstance(value, SkippedArray) or name == _TOKENS
        }
        self.tensors = [_Tensor(path, each) for each in header.tensors if needed is None or needed(each.name)]


def _field(value: object) -> _Field:
    listed = [0] * value.length if isinstance(value, SkippedArray) else value if isinstance(value, list) else [value]
    kind = next((kind for cls, kind in _KINDS if listed and isinstance(listed[0], cls)), _INTEGER)
    parts = [each.encode() if isinstance(each, str) else [each] for each in listed]
    return _Field(parts, range(len(parts)), [kind] if listed == [value] else [_ARRAY, kind])


_KINDS: tuple[tuple[type, int], ...] = ((bool, _BOOL), (int, _INTEGER), (float, _FLOAT), (str, _STRING))


@contextmanager
def lean_gguf_loading() -> Iterator[None]:
    """Let transformers load GGUF files as described above. Only one thread may be in here at a time."""
    gguf = import_module("gguf")
    loader = import_module("transformers.modeling_gguf_pytorch_utils")
    load: Callable[..., dict[str, Any]] = loader.load_gguf_checkpoint

    def load_needed(path: str, *args: Any, model_to_load: nn.Module | None = None, **options: Any) -> dict[str, Any]:
        """The original function, on a file that has no other tensors than those of the model."""

        def reader(path: str) -> _Reader:
            return _Reader(path, None if model_to_load is None else _is_needed(model_to_load))

        with _replaced(gguf, GGUFReader=reader):
            return load(path, *args, model_to_load=model_to_load, **options)

    changes = {"get_tensor_name_map": cache(gguf.get_tensor_name_map), "dequantize": _unpacker(gguf.dequantize)}
    with _replaced(gguf, **changes), _replaced(loader, load_gguf_checkpoint=load_needed):
        yield


def _unpacker(unpack: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The function of the gguf package, but that of transformers for the types that it knows: the same numbers, two to
    three times as fast. Some rows at a time, as unpacking takes several times the memory of what comes of it."""
    try:
        library = import_module("transformers.integrations.gguf.dequant")
    except ModuleNotFoundError:  # before transformers 5.24
        return unpack

    def fast(data: np.ndarray[Any, Any], kind: Any) -> Any:
        if kind not in library.GGML_BLOCK:
            return unpack(data, kind)
        rows = data.reshape(-1, data.shape[-1])
        step = max(1, _UNPACKED_BYTES // data.shape[-1])
        values = None
        for start in range(0, len(rows), step):
            packed = torch.from_numpy(rows[start : start + step])
            part = library.dequantize(packed.flatten(), int(kind)).reshape(len(packed), -1)
            values = part.new_empty(len(rows), part.shape[1]) if values is None else values
            values[start : start + step] = part
        return unpack(data, kind) if values is None else values.reshape(*data.shape[:-1], -1).numpy()

    return fast


def _is_needed(model: nn.Module) -> Callable[[str], bool]:
    """Whether a tensor may be one of the model's, which has only as many layers as are needed."""
    has_output = model.get_output_embeddings() is not None  # type: ignore[operator]
    layers = max((blocks.length for blocks in block_lists(model)), default=0)

    def is_needed(name: str) -> bool:
        block = _BLOCK.match(name)
        return (has_output or not name.startswith("output.")) and (block is None or int(block[1]) < layers)

    return is_needed


@contextmanager
def _replaced(module: Any, **values: Any) -> Iterator[None]:
    before = {name: getattr(module, name) for name in values}
    vars(module).update(values)
    try:
        yield
    finally:
        vars(module).update(before)
