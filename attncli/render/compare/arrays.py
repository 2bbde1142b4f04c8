"""The vectors and matrices as .npz."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from attncli.render.npz import Array, npz_bytes
from attncli.results.compare import CompareResult, State


def compare_npz(result: CompareResult) -> bytes:
    """Of each chosen state k `state.<k>`, float32, (occurrences, d), and its matrices where these are kept.

    `similarity.<k>`, `adjusted.<k>` and `percentile.<k>` are (occurrences, occurrences); `mean.<k>`, `deviation.<k>`
    and `components.<k>` what vectors were adjusted with. `sentence`, `start` and `end` say where each occurrence
    stands, `word` and `label` what it is (an empty label is none).
    """
    return npz_bytes(dict(_arrays(result)))


def _arrays(result: CompareResult) -> Iterator[tuple[str, Array]]:
    each = result.occurrences
    yield "sentence", np.array([one.sentence for one in each], dtype=np.int64)
    yield "start", np.array([one.start for one in each], dtype=np.int64)
    yield "end", np.array([one.end for one in each], dtype=np.int64)
    yield "word", np.array([one.word for one in each], dtype=np.str_)
    yield "label", np.array([one.label or "" for one in each], dtype=np.str_)
    for state in result.chosen:
        yield from _state(state)


def _state(state: State) -> Iterator[tuple[str, Array]]:
    reference = state.reference
    parts = {
        "state": state.vectors,
        "similarity": state.similarity,
        "adjusted": state.adjusted,
        "percentile": state.percentile,
        "mean": None if reference is None else reference.mean,
        "deviation": None if reference is None else reference.deviation,
        "components": None if reference is None else reference.components,
    }
    yield from ((f"{name}.{state.state}", values) for name, values in parts.items() if values is not None)
