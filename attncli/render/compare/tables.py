"""The result as CSV, a row a state and pair, and as JSON Lines, a line an occurrence."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from attncli.errors import UsageError
from attncli.render.data import csv_text, jsonl_text
from attncli.results.compare import CompareResult, Matrix

HEADER = (
    "state", "sentence_a", "start_a", "word_a", "label_a", "sentence_b", "start_b", "word_b", "label_b", "similarity",
    "adjusted", "percentile",
)  # fmt: skip


def compare_csv(result: CompareResult) -> str:
    """Every pair of occurrences at every state whose matrix there is. Raises UsageError where they are too many."""
    if not any(state.similarity is not None for state in result.states):
        count = len(result.occurrences)
        raise UsageError(
            f"{count:,} occurrences have {count * (count - 1) // 2:,} pairs, too many rows for csv",
            hint="-o FILE.npz holds the vectors, --format jsonl a line for each occurrence",
        )
    return csv_text(HEADER, _pairs(result))


def _pairs(result: CompareResult) -> Iterator[tuple[object, ...]]:
    for state in result.states:
        if state.similarity is None:
            continue
        matrices = (state.similarity, state.adjusted, state.percentile)
        for a, b in combinations(range(len(result.occurrences)), 2):
            ends = (part for each in (a, b) for part in _end(result, each))
            yield (state.state, *ends, *(_value(matrix, a, b) for matrix in matrices))


def _end(result: CompareResult, index: int) -> tuple[object, ...]:
    each = result.occurrences[index]
    return each.sentence, each.start, each.word, each.label


def _value(matrix: Matrix | None, a: int, b: int) -> float | None:
    return None if matrix is None else float(matrix[a, b])


def compare_jsonl(result: CompareResult, *, ascii_only: bool) -> str:
    """Every occurrence with its nearest neighbour at each chosen state (an index from 0, or null)."""
    return jsonl_text(_occurrences(result), ascii_only=ascii_only)


def _occurrences(result: CompareResult) -> Iterator[dict[str, object]]:
    for index, each in enumerate(result.occurrences):
        states = []
        for state in result.chosen:
            looked = state.nearest is not None and state.nearest_similarity is not None and state.nearest[index] >= 0
            nearest = int(state.nearest[index]) if looked and state.nearest is not None else None
            value = float(state.nearest_similarity[index]) if looked and state.nearest_similarity is not None else None
            states.append({"state": state.state, "nearest": nearest, "nearest_similarity": value})
        yield {"occurrence": index, **each.to_dict(), "states": states}
