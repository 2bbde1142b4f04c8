"""`attn heads` as tidy data: CSV with a row per head, cell or key, and JSON Lines with a line per head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from attncli.render.data import csv_text, jsonl_text
from attncli.results.base import to_dict

if TYPE_CHECKING:
    # Not at run time: these import numpy, which `attn tokenize` would have to load, too.
    from attncli.results.heads import HeadChange, HeadMetrics, HeadsResult, Stack
    from attncli.results.patterns import Pattern
    from attncli.results.steps import Steps

Row = Sequence[object]

_CELL_COLUMNS = ("query_index", "query_token", "key_index", "key_token", "weight")
#: Added for pictures.
_PATCH_COLUMNS = ("query_row", "query_column", "key_row", "key_column")
_READING_COLUMNS = ("stack", "query_index", "query_token", "key_index", "key_token", "weight", "uniform")
_RANKING_COLUMNS = ("weight", "uniform", "rank", "keys")
_STEP_COLUMNS = (
    *("stack", "layer", "head", "name", "query_index", "query_token", "key_index", "key_token", "visible"),
    *("product", "scaled", "capped", "bias", "score", "weight", "value_norm"),
)
_BIN_COLUMNS = ("query_start", "query_end", "key_start", "key_end", "weight")


def heads_jsonl(result: HeadsResult, *, ascii_only: bool = False) -> str:
    """A head per line: its metrics, those of uniform attention as `baseline`, and its pattern if it has one.

    Where heads were ranked by one weight or compared, the head's entry is `ranking` or `difference`.
    """
    return jsonl_text(map(to_dict, result.lines()), ascii_only=ascii_only)


def _changes_by_head(result: HeadsResult) -> dict[str, HeadChange]:
    """How each head changed, by its name; empty where nothing was compared."""
    if result.difference is None:
        return {}
    return {head.name: head for stack in result.difference.stacks for head in stack.heads}


def heads_csv(result: HeadsResult, *, cells: bool = False) -> str:
    """A row per head; with `cells`, a row per cell of their patterns; or a row per key of one query or of `--steps`.

    Uniform attention's metrics are in columns `baseline_<metric>`; several labels share a field, separated by spaces.
    Ranked heads have their `weight`, uniform attention's `uniform`, and `rank`, the key's place among `keys`.
    Compared heads have `total_variation`, how far apart their patterns are, the other side's `against_<metric>`, and
    `change_<metric>`, the other side less this one; a cell has its `change`.
    Means over texts have the bounds of their 95 % intervals, `<metric>_low` and `<metric>_high`, and the number of
    texts, `<metric>_texts`. Cells of pictures have the rows and columns of their patches.
    """
    if result.steps is not None:
        return csv_text(_STEP_COLUMNS, (row for steps in result.steps for row in _step_rows(steps)))
    if cells:
        return _cells_csv(result)
    if any(stack.reading is not None for stack in result.stacks):
        return csv_text(_READING_COLUMNS, (row for stack in result.stacks for row in _reading_rows(stack)))
    names = list(dict.fromkeys(name for stack in result.stacks for head in stack.metrics for name in head.values))
    shares = next((head.quadrants for stack in result.stacks for head in stack.metrics if head.quadrants), None)
    quadrants = () if shares is None else shares._fields
    header = ["stack", "layer", "head", "name", "labels", *names, *(f"baseline_{name}" for name in names)]
    header += [*quadrants, *(f"baseline_{name}" for name in quadrants)]
    if result.texts is not None:
        header += [f"{name}_{part}" for name in names for part in ("low", "high", "texts")]
    if any(stack.ranking is not None for stack in result.stacks):
        header += _RANKING_COLUMNS
    if result.difference is not None:
        header += ["total_variation", *(f"{side}_{name}" for name in names for side in ("against", "change"))]
    changes = _changes_by_head(result)
    return csv_text(
        header,
        (
            tuple(_head_fields(stack, head, names, len(quadrants), changes.get(head.name)))
            for stack in result.stacks
            for head in stack.metrics
        ),
    )


def _head_fields(
    stack: Stack, head: HeadMetrics, names: Sequence[str], quadrants: int, change: HeadChange | None
) -> Iterator[object]:
    baseline = stack.baselines.get(head.layer, {})
    yield from (stack.stack, head.layer, head.head, head.name, " ".join(head.labels))
    yield from (values.get(name) for values in (head.values, baseline) for name in names)
    if head.quadrants is not None:
        yield from (*head.quadrants, *stack.even_quadrants[head.layer])
    else:
        yield from [None] * (2 * quadrants)
    if head.spread is not None:
        for name in names:
            yield from head.interval(name) or (None, None)
            yield head.spread.counts.get(name, 0)
    if stack.ranking is not None:
        ranked = next(one for one in stack.ranking.heads if one.name == head.name)
        yield from (ranked.weight, ranked.uniform, ranked.rank, ranked.keys)
    if change is not None:
        yield change.total_variation
        for name in names:
            yield from (change.values.get(name), change.changes.get(name))


def _step_rows(steps: Steps) -> Iterator[Row]:
    nothing = [None] * len(steps.keys)
    columns = zip(
        steps.keys,
        steps.visible.tolist(),
        steps.products.tolist(),
        steps.scaled.tolist(),
        nothing if steps.capped is None else steps.capped.tolist(),
        nothing if steps.bias is None else steps.bias.tolist(),
        steps.scores.tolist(),
        steps.weights.tolist(),
        steps.value_norms.tolist(),
        strict=True,
    )
    start = (steps.stack, steps.layer, steps.head, steps.name, steps.query.index, steps.query.token)
    for key, visible, *numbers, score, weight, norm in columns:
        yield (*start, key.index, key.token, visible, *numbers, score if visible else None, weight, norm)


def _reading_rows(stack: Stack) -> Iterator[Row]:
    """A row per key: the mean weight that one query gives it, and uniform attention's."""
    reading = stack.reading
    if reading is None:
        return
    evens = [None] * len(stack.keys) if reading.uniform is None else reading.uniform.tolist()
    for key, weight, even in zip(stack.keys, reading.weights.tolist(), evens, strict=True):
        yield (stack.stack, reading.query.index, reading.query.token, key.index, key.token, weight, even)


def _cells_csv(result: HeadsResult) -> str:
    patterns = [(stack, pattern) for stack in result.stacks for pattern in stack.patterns]
    pooled = any(pattern.bins is not None for _, pattern in patterns)
    places = any(stack.key_medium.grid is not None for stack, _ in patterns) and not pooled
    columns = (*(_BIN_COLUMNS if pooled else _CELL_COLUMNS), *(_PATCH_COLUMNS if places else ()))
    compared = result.difference.stacks if result.difference is not None else ()
    changes = {
        (stack.stack, pattern.layer, pattern.head): [(change,) for row in pattern.weights.tolist() for change in row]
        for stack in compared
        for pattern in stack.patterns
    }
    rows = (
        (stack.stack, pattern.layer, pattern.head, *cell, *change)
        for stack, pattern in patterns
        for cell, change in zip_longest(
            _pooled_cells(pattern) if pooled else _token_cells(stack, pattern, places=places),
            changes.get((stack.stack, pattern.layer, pattern.head), ()),
            fillvalue=(),
        )
    )
    return csv_text(("stack", "layer", "head", *columns, *(["change"] if result.difference else [])), rows)


def _token_cells(stack: Stack, pattern: Pattern, *, places: bool) -> Iterator[Row]:
    """places: with the rows and columns of their patches; None for tokens that are no patches."""
    for query, weights in zip(stack.queries, pattern.weights.tolist(), strict=True):
        for key, weight in zip(stack.keys, weights, strict=True):
            cell = query.index, query.token, key.index, key.token, weight
            if not places:
                yield cell
            else:
                sides = ((stack.query_medium.grid, query), (stack.key_medium.grid, key))
                cells = ((None if grid is None else grid.cell(token.index)) or (None, None) for grid, token in sides)
                yield *cell, *(place for both in cells for place in both)


def _pooled_cells(pattern: Pattern) -> Iterator[Row]:
    """A pattern that was too small to pool while others were pooled has bins of one position each."""
    sides = (pattern.bins.rows, pattern.bins.columns) if pattern.bins else ()
    rows, columns = sides or ([(index, index + 1) for index in range(count)] for count in pattern.weights.shape)
    for query, weights in zip(rows, pattern.weights.tolist(), strict=True):
        for key, weight in zip(columns, weights, strict=True):
            yield *query, *key, weight
