"""The vectors and matrices as .npz.

The result as CSV, a row a state and pair, and as JSON Lines, a line an occurrence.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from attncli.errors import UsageError
from attncli.render.data import csv_text, jsonl_text
from attncli.render.npz import Array, npz_bytes
from attncli.results.compare import CompareResult, Matrix, State

COLUMNS = (
    "state", "sentence_a", "start_a", "word_a", "label_a", "sentence_b", "start_b", "word_b", "label_b", "similarity",
    "adjusted", "percentile",
)  # fmt: skip


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
        yield from _state_arrays(state)


def _state_arrays(state: State) -> Iterator[tuple[str, Array]]:
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


def compare_csv(result: CompareResult) -> str:
    """Every pair of occurrences at every state whose matrix there is. Raises UsageError where they are too many."""
    if not any(state.similarity is not None for state in result.states):
        count = len(result.occurrences)
        raise UsageError(
            f"{count:,} occurrences have {count * (count - 1) // 2:,} pairs, too many rows for csv",
            hint="-o FILE.npz holds the vectors, --format jsonl a line for each occurrence",
        )
    return csv_text(COLUMNS, _pair_rows(result))


def _pair_rows(result: CompareResult) -> Iterator[tuple[object, ...]]:
    for state in result.states:
        if state.similarity is None:
            continue
        matrices = (state.similarity, state.adjusted, state.percentile)
        for a, b in combinations(range(len(result.occurrences)), 2):
            ends = (part for each in (a, b) for part in _occurrence_columns(result, each))
            yield (state.state, *ends, *(_matrix_value(matrix, a, b) for matrix in matrices))


def _occurrence_columns(result: CompareResult, index: int) -> tuple[object, ...]:
    each = result.occurrences[index]
    return each.sentence, each.start, each.word, each.label


def _matrix_value(matrix: Matrix | None, a: int, b: int) -> float | None:
    return None if matrix is None else float(matrix[a, b])


def compare_jsonl(result: CompareResult, *, ascii_only: bool) -> str:
    """Every occurrence with its nearest neighbour at each chosen state (an index from 0, or null)."""
    return jsonl_text(_occurrence_rows(result), ascii_only=ascii_only)


def _occurrence_rows(result: CompareResult) -> Iterator[dict[str, object]]:
    for index, each in enumerate(result.occurrences):
        states = []
        for state in result.chosen:
            looked = state.nearest is not None and state.nearest_similarity is not None and state.nearest[index] >= 0
            nearest = int(state.nearest[index]) if looked and state.nearest is not None else None
            value = float(state.nearest_similarity[index]) if looked and state.nearest_similarity is not None else None
            states.append({"state": state.state, "nearest": nearest, "nearest_similarity": value})
        yield {"occurrence": index, **each.to_dict(), "states": states}
