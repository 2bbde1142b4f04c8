"""Results as .npz: plain arrays, no pickled objects, and the same bytes for the same numbers everywhere."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np
import numpy.typing as npt

from attncli.results.heads import HeadsResult, Pattern, Stack
from attncli.results.tokenize import TokenizeResult

Array = npt.NDArray[Any]


def tokenize_npz(result: TokenizeResult) -> bytes:
    """`ids`: of all texts, one after another.  `lengths`: tokens of each text.  `offsets`: where each begins in `ids`.

    All int64; text k is `ids[offsets[k] : offsets[k] + lengths[k]]`.
    """
    lengths = np.array([len(text.tokens) for text in result.texts], dtype=np.int64)
    ids = np.array([number for text in result.texts for number in text.ids], dtype=np.int64)
    return _npz({"ids": ids, "lengths": lengths, "offsets": np.cumsum(lengths) - lengths})


def heads_npz(result: HeadsResult) -> bytes:
    """Per layer with patterns `<stack>.<layer>`, float32, (heads, queries, keys), and `<stack>.<layer>.heads`.

    `<stack>.queries` and `<stack>.keys` are token ids. Of pooled patterns `<stack>.rows` and `<stack>.columns`,
    (bins, 2), are the positions that a row or a column stands for.
    """
    return _npz(dict(array for stack in result.stacks for array in _stack_arrays(stack)))


def _stack_arrays(stack: Stack) -> Iterator[tuple[str, Array]]:
    yield f"{stack.stack}.queries", np.array([token.id for token in stack.queries], dtype=np.int64)
    yield f"{stack.stack}.keys", np.array([token.id for token in stack.keys], dtype=np.int64)
    layers: dict[int, list[Pattern]] = {}
    for pattern in stack.patterns:
        layers.setdefault(pattern.layer, []).append(pattern)
    for layer, patterns in layers.items():
        yield f"{stack.stack}.{layer}", np.stack([pattern.weights for pattern in patterns]).astype(np.float32)
        yield f"{stack.stack}.{layer}.heads", np.array([pattern.head for pattern in patterns], dtype=np.int64)
    bins = next((pattern.bins for pattern in stack.patterns), None)
    if bins is not None:
        yield f"{stack.stack}.rows", np.array(bins.rows, dtype=np.int64)
        yield f"{stack.stack}.columns", np.array(bins.columns, dtype=np.int64)


def _npz(arrays: dict[str, Array]) -> bytes:
    """What `numpy.savez` writes, less all that depends on the day or on the machine."""
    content = io.BytesIO()
    with ZipFile(content, "w", ZIP_STORED) as archive:
        for name, array in arrays.items():
            entry = ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            with archive.open(entry, "w", force_zip64=True) as file:
                # Little-endian C order: the header names both, so that any reader gets the same numbers.
                ordered = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
                np.lib.format.write_array(file, ordered, allow_pickle=False)
    return content.getvalue()
