"""Results as .npz: plain arrays, no pickled objects, and the same bytes for the same numbers everywhere."""

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

#: Numbers of an array that are written at a time.
_PART = 1 << 18


class IdsForm(PartsForm):
    """`ids`: of all texts, one after another.  `lengths`: tokens of each text.  `offsets`: where each begins in `ids`.

    All int64; text k is `ids[offsets[k] : offsets[k] + lengths[k]]`. The ids wait in a temporary file for the last
    text, as the head of the file says how many they are.
    """

    def __init__(self) -> None:
        # It lives as long as this form, and goes with it.
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
    """Per layer with patterns `<stack>.<layer>`, float32, (heads, queries, keys), and `<stack>.<layer>.heads`.

    Every metric is `<stack>.metrics.<name>`, float64, (layers, heads), NaN where there is no such head or value, and
    even attention's `<stack>.baselines.<name>`, (layers,). Of means over texts, `<stack>.low.<name>` and
    `<stack>.high.<name>` are the ends of their 95 % intervals, and `<stack>.texts.<name>` is how many texts show them.

    `<stack>.queries` and `<stack>.keys` are token ids, or positions where there are no tokens. Of pooled patterns
    `<stack>.rows` and `<stack>.columns`, (bins, 2), are the positions that a row or a column stands for.
    `difference.<stack>.<layer>`, of the same shape, is what another model or text has more, where two were compared.
    Of a picture, `<stack>.queries.grid` and `<stack>.keys.grid` are the rows and columns of patches and the position of
    the first; of a sound, `<stack>.queries.seconds` and `<stack>.keys.seconds` the length of a frame.
    """
    arrays = dict(array for stack in result.stacks for array in (*_stack_arrays(stack), *_metric_arrays(stack)))
    for changed in result.difference.stacks if result.difference is not None else ():
        for layer, patterns in _by_layer(changed.patterns).items():
            arrays[f"difference.{changed.stack}.{layer}"] = _stacked(patterns)
    return npz_bytes(arrays)


def _stack_arrays(stack: Stack) -> Iterator[tuple[str, Array]]:
    yield f"{stack.stack}.queries", np.array([token.id for token in stack.queries], dtype=np.int64)
    yield f"{stack.stack}.keys", np.array([token.id for token in stack.keys], dtype=np.int64)
    for side, medium in (("queries", stack.query_medium), ("keys", stack.key_medium)):
        if medium.grid is not None:
            yield f"{stack.stack}.{side}.grid", np.array(medium.grid, dtype=np.int64)
        if medium.seconds is not None:
            yield f"{stack.stack}.{side}.seconds", np.array(medium.seconds)
    for layer, patterns in _by_layer(stack.patterns).items():
        yield f"{stack.stack}.{layer}", _stacked(patterns)
        yield f"{stack.stack}.{layer}.heads", np.array([pattern.head for pattern in patterns], dtype=np.int64)
    bins = next((pattern.bins for pattern in stack.patterns), None)
    if bins is not None:
        yield f"{stack.stack}.rows", np.array(bins.rows, dtype=np.int64)
        yield f"{stack.stack}.columns", np.array(bins.columns, dtype=np.int64)


def _metric_arrays(stack: Stack) -> Iterator[tuple[str, Array]]:
    """What was measured of every head, by its layer and number."""
    names = list(dict.fromkeys(name for head in stack.metrics for name in head.values))
    for name in names:
        yield f"{stack.stack}.metrics.{name}", _of_heads(stack, [head.values.get(name) for head in stack.metrics])
        even = [stack.baselines.get(layer.layer, {}).get(name) for layer in stack.layers]
        yield f"{stack.stack}.baselines.{name}", np.array(even, dtype=np.float64)
    if any(head.spread is not None for head in stack.metrics):
        for name in names:
            yield from _spread_arrays(stack, name)


def _spread_arrays(stack: Stack, name: str) -> Iterator[tuple[str, Array]]:
    """How sure the mean of a metric is."""
    ends = [head.interval(name) or (None, None) for head in stack.metrics]
    counts = [head.spread.counts.get(name, 0) if head.spread is not None else 0 for head in stack.metrics]
    yield f"{stack.stack}.low.{name}", _of_heads(stack, [low for low, _ in ends])
    yield f"{stack.stack}.high.{name}", _of_heads(stack, [high for _, high in ends])
    yield f"{stack.stack}.texts.{name}", np.nan_to_num(_of_heads(stack, counts)).astype(np.int64)


def _of_heads(stack: Stack, values: Sequence[float | None]) -> Array:
    """A number for each of the stack's heads: (layers, heads), NaN where there is none."""
    shape = (len(stack.layers), max((layer.heads for layer in stack.layers), default=0))
    placed = np.full(shape, np.nan)
    for head, value in zip(stack.metrics, values, strict=True):
        placed[head.layer, head.head] = np.nan if value is None else value
    return placed


def _by_layer(patterns: Iterable[Pattern]) -> dict[int, list[Pattern]]:
    layers: dict[int, list[Pattern]] = {}
    for pattern in patterns:
        layers.setdefault(pattern.layer, []).append(pattern)
    return layers


def _stacked(patterns: list[Pattern]) -> Array:
    return np.stack([pattern.weights for pattern in patterns]).astype(np.float32)


def npz_bytes(arrays: dict[str, Array]) -> bytes:
    """Named arrays as one .npz."""
    return b"".join(_npz_parts(arrays))


def _npz_parts(arrays: dict[str, Array]) -> Iterator[bytes]:
    """What `numpy.savez` writes, less all that depends on the day or on the machine, in parts that fit in memory."""
    content = _Drained()
    with ZipFile(content, "w", ZIP_STORED) as archive:
        for name, values in arrays.items():
            entry = ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            # Little-endian C order: the header names both, so that any reader gets the same numbers.
            ordered = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(ordered))
                flat = ordered.reshape(-1)
                for start in range(0, flat.size, _PART):
                    file.write(flat[start : start + _PART].tobytes())
                    yield content.drain()
    yield content.drain()


class _Drained(io.RawIOBase):
    """A file that only grows, and whose content is taken away while it does."""

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
