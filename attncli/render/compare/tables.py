"""The result of `attn compare` as data: arrays, a table (a row a state and pair), and records (one an occurrence)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from attncli.errors import UsageError
from attncli.render.data import Row, Table
from attncli.render.npz import Array
from attncli.results.base import to_dict
from attncli.results.compare import CompareResult, Matrix, State

COLUMNS = (
    "state", "sentence_a", "start_a", "word_a", "label_a", "sentence_b", "start_b", "word_b", "label_b", "similarity",
    "adjusted", "percentile", "group_a", "group_b",
)  # fmt: skip


def compare_arrays(result: CompareResult) -> Iterator[tuple[str, Array]]:
    """For each chosen state k `state.<k>`, float32, (occurrences, d_model), and its matrices if the result has them.

    `similarity.<k>`, `adjusted.<k>` and `percentile.<k>` are (occurrences, occurrences); `mean.<k>`, `deviation.<k>`
    and `components.<k>` adjusted the vectors. `sentence`, `start`, `end`, `word` and `label` describe each occurrence
    (an empty label is none), and so does `group` where the sentences are of several files.
    """
    occurrences = result.occurrences
    yield "sentence", np.array([each.sentence for each in occurrences], dtype=np.int64)
    yield "start", np.array([each.start for each in occurrences], dtype=np.int64)
    yield "end", np.array([each.end for each in occurrences], dtype=np.int64)
    yield "word", np.array([each.word for each in occurrences], dtype=np.str_)
    yield "label", np.array([each.label or "" for each in occurrences], dtype=np.str_)
    if result.has_groups:
        yield "group", np.array([each.group or "" for each in occurrences], dtype=np.str_)
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


def compare_table(result: CompareResult) -> Table:
    """Every pair of occurrences at every state with a matrix. Raises UsageError if there is none: too many pairs."""
    if not any(state.similarity is not None for state in result.states):
        count = len(result.occurrences)
        raise UsageError(
            f"{count:,} occurrences have {count * (count - 1) // 2:,} pairs, which is too many for a table",
            hint="use -o FILE.npz for the vectors, or --format jsonl for one line per occurrence",
        )
    return COLUMNS, _pair_rows(result)


def _pair_rows(result: CompareResult) -> Iterator[Row]:
    for state in result.states:
        if state.similarity is None:
            continue
        matrices = (state.similarity, state.adjusted, state.percentile)
        for a, b in combinations(range(len(result.occurrences)), 2):
            ends = (part for each in (a, b) for part in _occurrence_columns(result, each))
            groups = result.occurrences[a].group, result.occurrences[b].group
            yield (state.state, *ends, *(_matrix_value(matrix, a, b) for matrix in matrices), *groups)


def _occurrence_columns(result: CompareResult, index: int) -> tuple[object, ...]:
    each = result.occurrences[index]
    return each.sentence, each.start, each.word, each.label


def _matrix_value(matrix: Matrix | None, a: int, b: int) -> float | None:
    return None if matrix is None else float(matrix[a, b])


def compare_records(result: CompareResult) -> Iterator[dict[str, object]]:
    """Every occurrence with its nearest neighbour at each chosen state (an index from 0, or null)."""
    return map(to_dict, result.lines())
