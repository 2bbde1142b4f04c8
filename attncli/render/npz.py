"""Results as NumPy .npz archives: plain arrays without pickled objects, byte for byte reproducible on all machines."""

from __future__ import annotations

import io
from array import array
from collections.abc import Iterable, Iterator, Sequence
from tempfile import TemporaryFile
from typing import Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np
import numpy.typing as npt

from attncli.render.tokenize.forms import PartsForm
from attncli.results.heads import HeadsResult, Stack
from attncli.results.patterns import Pattern
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


def heads_npz(result: HeadsResult) -> bytes:
    """Patterns and metrics of `attn heads` as the bytes of an .npz archive.

    Per layer with patterns: `<stack>.<layer>`, float32, (heads, queries, keys), and `<stack>.<layer>.heads`. A rollout,
    which averages the heads, is one matrix, (1, queries, keys), without their numbers.
    Per metric: `<stack>.metrics.<name>`, float64, (layers, heads), NaN without such a head or value, and uniform
    attention's value `<stack>.baselines.<name>`, (layers,). For means over texts also the bounds of their 95 %
    intervals, `<stack>.low.<name>` and `<stack>.high.<name>`, and the number of texts, `<stack>.texts.<name>`.

    `<stack>.queries` and `<stack>.keys` are token ids, or positions where there are no tokens. For pooled patterns,
    `<stack>.rows` and `<stack>.columns`, (bins, 2), are the positions that a row or a column covers.
    `difference.<stack>.<layer>`, of the same shape as a pattern, is the other model or text less this one.
    For pictures, `<stack>.queries.grid` and `<stack>.keys.grid` are the rows and columns of patches and the position of
    the first; for sounds, `<stack>.queries.seconds` and `<stack>.keys.seconds` are the length of a frame.
    """
    arrays = dict(array for stack in result.stacks for array in (*_stack_arrays(stack), *_metric_arrays(stack)))
    for changed in result.difference.stacks if result.difference is not None else ():
        for layer, patterns in _patterns_by_layer(changed.patterns).items():
            arrays[f"difference.{changed.stack}.{layer}"] = _stack_patterns(patterns)
    return npz_bytes(arrays)


def _stack_arrays(stack: Stack) -> Iterator[tuple[str, Array]]:
    yield f"{stack.stack}.queries", np.array([token.id for token in stack.queries], dtype=np.int64)
    yield f"{stack.stack}.keys", np.array([token.id for token in stack.keys], dtype=np.int64)
    for side, medium in (("queries", stack.query_medium), ("keys", stack.key_medium)):
        if medium.grid is not None:
            yield f"{stack.stack}.{side}.grid", np.array(medium.grid, dtype=np.int64)
        if medium.seconds is not None:
            yield f"{stack.stack}.{side}.seconds", np.array(medium.seconds)
    for layer, patterns in _patterns_by_layer(stack.patterns).items():
        yield f"{stack.stack}.{layer}", _stack_patterns(patterns)
        heads = [pattern.head for pattern in patterns if pattern.head is not None]
        if heads:
            yield f"{stack.stack}.{layer}.heads", np.array(heads, dtype=np.int64)
    bins = next((pattern.bins for pattern in stack.patterns), None)
    if bins is not None:
        yield f"{stack.stack}.rows", np.array(bins.rows, dtype=np.int64)
        yield f"{stack.stack}.columns", np.array(bins.columns, dtype=np.int64)


def _metric_arrays(stack: Stack) -> Iterator[tuple[str, Array]]:
    """The metrics of all heads, and those of uniform attention."""
    names = list(dict.fromkeys(name for head in stack.metrics for name in head.values))
    for name in names:
        yield (
            f"{stack.stack}.metrics.{name}",
            _layer_head_array(stack, [head.values.get(name) for head in stack.metrics]),
        )
        even = [stack.baselines.get(layer.layer, {}).get(name) for layer in stack.layers]
        yield f"{stack.stack}.baselines.{name}", np.array(even, dtype=np.float64)
    if any(head.spread is not None for head in stack.metrics):
        for name in names:
            yield from _spread_arrays(stack, name)


def _spread_arrays(stack: Stack, name: str) -> Iterator[tuple[str, Array]]:
    """The interval of a metric's mean, and over how many texts it is."""
    ends = [head.interval(name) or (None, None) for head in stack.metrics]
    counts = [head.spread.counts.get(name, 0) if head.spread is not None else 0 for head in stack.metrics]
    yield f"{stack.stack}.low.{name}", _layer_head_array(stack, [low for low, _ in ends])
    yield f"{stack.stack}.high.{name}", _layer_head_array(stack, [high for _, high in ends])
    yield f"{stack.stack}.texts.{name}", np.nan_to_num(_layer_head_array(stack, counts)).astype(np.int64)


def _layer_head_array(stack: Stack, values: Sequence[float | None]) -> Array:
    """One number for each of the stack's heads, as (layers, heads); NaN where there is none."""
    shape = (len(stack.layers), max((layer.heads for layer in stack.layers), default=0))
    array = np.full(shape, np.nan)
    for head, value in zip(stack.metrics, values, strict=True):
        array[head.layer, head.head] = np.nan if value is None else value
    return array


def _patterns_by_layer(patterns: Iterable[Pattern]) -> dict[int, list[Pattern]]:
    layers: dict[int, list[Pattern]] = {}
    for pattern in patterns:
        layers.setdefault(pattern.layer, []).append(pattern)
    return layers


def _stack_patterns(patterns: list[Pattern]) -> Array:
    return np.stack([pattern.weights for pattern in patterns]).astype(np.float32)


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
