"""`attn heads` as data: a table with a row per head, cell or key, a record per head, and arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

import numpy as np

from attncli.render.data import Row, Table
from attncli.render.heads.aligned_pairs import alignment_table
from attncli.render.heads.effect_tables import (
    circuit_arrays,
    circuit_table,
    effect_arrays,
    effects_table,
    layer_head_array,
    prediction_table,
)
from attncli.render.npz import Array
from attncli.render.views.effects import changed_effects, is_compared
from attncli.results.base import to_dict
from attncli.results.heads import HeadChange, HeadMetrics, HeadsResult, Spread, Stack
from attncli.results.patterns import Medium, Pattern
from attncli.results.steps import Steps

_CELL_COLUMNS = ("query_index", "query_token", "key_index", "key_token", "weight")
#: Added for pictures.
_PATCH_COLUMNS = ("query_row", "query_column", "key_row", "key_column")
_RANKING_COLUMNS = ("weight", "uniform", "rank", "keys")
_STEP_COLUMNS = (
    *("stack", "layer", "head", "name", "query_index", "query_token", "key_index", "key_token", "visible"),
    *("product", "scaled", "capped", "bias", "score", "weight", "value_norm"),
)
_WORD_COLUMNS = ("window", "start", "end", "word")
_BIN_COLUMNS = ("query_start", "query_end", "key_start", "key_end", "weight")


def heads_records(result: HeadsResult) -> Iterator[dict[str, object]]:
    """A record per head: its metrics, those of uniform attention as `baseline`, and its pattern if it has one.

    Of aligned words, a record per pair of texts.
    Where heads were ranked by one weight or compared, the head's entry is `ranking` or `difference`.
    """
    return map(to_dict, result.lines() if result.alignment is None else result.aligned_pairs())


def _changes_by_head(result: HeadsResult) -> dict[str, HeadChange]:
    """How each head changed, by its name; empty where nothing was compared."""
    if result.difference is None:
        return {}
    return {head.name: head for stack in result.difference.stacks for head in stack.heads}


def heads_table(result: HeadsResult, *, cells: bool = False) -> Table:
    """A row per head; with `cells`, a row per cell of their patterns; or a row per key of one query or of `--steps`.

    Uniform attention's metrics are in columns `baseline_<metric>`; several labels share a field, separated by spaces.
    Ranked heads have their `weight`, uniform attention's `uniform`, and `rank`, the key's place among `keys`.
    Compared heads have `total_variation`, how far apart their patterns are, the other side's `against_<metric>`, and
    `change_<metric>`, the other side less this one; a cell has its `change`.
    Means over texts have the bounds of their 95 % intervals, `<metric>_low` and `<metric>_high`, and the number of
    texts, `<metric>_texts`. Cells of pictures have the rows and columns of their patches.
    With effects, a row per head or other part; with a prediction alone, a row per state and token; of aligned words, a
    row per link; of a sound that words were heard in, a row per word.
    """
    if result.qk_ov is not None:
        return circuit_table(result.qk_ov)
    if result.alignment is not None and result.metric is None:
        return alignment_table(result)
    if result.steps is not None:
        return _STEP_COLUMNS, (row for steps in result.steps for row in _step_rows(steps))
    if cells:
        return _cell_table(result)
    if result.generated is not None and result.generated.words and not result.chosen and result.metric is None:
        return _WORD_COLUMNS, ((each.window, each.start, each.end, each.text) for each in result.generated.words)
    if result.effects is not None:
        return effects_table(result, result.effects)
    if result.prediction is not None:
        return prediction_table(result.prediction)
    if any(stack.reading is not None for stack in result.stacks):
        return _reading_table(result)
    names = list(dict.fromkeys(name for stack in result.stacks for head in stack.metrics for name in head.values))
    header = ["stack", "layer", "head", "name", "labels", *names, *(f"baseline_{name}" for name in names)]
    quadrants = _quadrant_names(result)
    header += [*quadrants, *(f"baseline_{name}" for name in quadrants)]
    if result.texts is not None:
        header += [f"{name}_{part}" for name in names for part in ("low", "high", "texts")]
    if any(stack.ranking is not None for stack in result.stacks):
        header += _RANKING_COLUMNS
    if result.difference is not None:
        header += ["total_variation", *(f"{side}_{name}" for name in names for side in ("against", "change"))]
    changes = _changes_by_head(result)
    rows = (
        (
            *_head_row(stack, head, names, quadrants),
            *_ranking_fields(stack, head),
            *_change_fields(changes.get(head.name), names),
        )
        for stack in result.stacks
        for head in stack.metrics
    )
    return header, rows


def _ranking_fields(stack: Stack, head: HeadMetrics) -> Row:
    if stack.ranking is None:
        return ()
    return next((one.weight, one.uniform, one.rank, one.keys) for one in stack.ranking.heads if one.name == head.name)


def _change_fields(change: HeadChange | None, names: Sequence[str]) -> Iterator[object]:
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
        seen = score if visible else None
        yield (*start, key.index, key.token, visible, *numbers, seen, weight, norm)


def _head_row(stack: Stack, head: HeadMetrics, names: Sequence[str], quadrants: Sequence[str]) -> Row:
    baseline = stack.baselines.get(head.layer, {})
    metrics = (head.values.get(name) for name in names)
    even = (baseline.get(name) for name in names)
    spread = () if head.spread is None else _spread_fields(head.spread, names)
    shares: Row = [None] * (2 * len(quadrants))
    if head.quadrants is not None:
        shares = (*head.quadrants, *stack.even_quadrants[head.layer])
    return (stack.stack, head.layer, head.head, head.name, " ".join(head.labels), *metrics, *even, *shares, *spread)


def _quadrant_names(result: HeadsResult) -> Sequence[str]:
    """The names of the shares between two texts; empty where there is one text."""
    known = (head.quadrants for stack in result.stacks for head in stack.metrics if head.quadrants is not None)
    return next((quadrants._fields for quadrants in known), ())


def _spread_fields(spread: Spread, names: Sequence[str]) -> Iterator[object]:
    for name in names:
        yield from spread.intervals.get(name) or (None, None)
        yield spread.counts.get(name, 0)


def _reading_table(result: HeadsResult) -> Table:
    """A row per key: the mean weight that one query gives it, and uniform attention's."""
    header = ("stack", "query_index", "query_token", "key_index", "key_token", "weight", "uniform")
    return header, (row for stack in result.stacks for row in _reading_rows(stack))


def _reading_rows(stack: Stack) -> Iterator[Row]:
    reading = stack.reading
    if reading is None:
        return
    evens = [None] * len(stack.keys) if reading.uniform is None else reading.uniform.tolist()
    for key, weight, even in zip(stack.keys, reading.weights.tolist(), evens, strict=True):
        yield (stack.stack, reading.query.index, reading.query.token, key.index, key.token, weight, even)


def _cell_table(result: HeadsResult) -> Table:
    patterns = [(stack, pattern) for stack in result.stacks for pattern in stack.patterns]
    pooled = any(pattern.bins is not None for _, pattern in patterns)
    places = any(stack.key_medium.grid is not None for stack, _ in patterns) and not pooled
    cells = _pooled_cells if pooled else _patch_cells if places else _token_cells
    columns = (*(_BIN_COLUMNS if pooled else _CELL_COLUMNS), *(_PATCH_COLUMNS if places else ()))
    changes = _pattern_changes(result)
    rows = (
        (stack.stack, pattern.layer, pattern.head, *cell, *change)
        for stack, pattern in patterns
        for cell, change in zip_longest(
            cells(stack, pattern), changes.get((stack.stack, pattern.layer, pattern.head), ()), fillvalue=()
        )
    )
    changed = ["change"] if result.difference else []
    return ("stack", "layer", "head", *columns, *changed), rows


def _pattern_changes(result: HeadsResult) -> dict[tuple[str, int, int | None], list[tuple[float]]]:
    """The change of every cell of each pattern, in the order of the cells."""
    stacks = result.difference.stacks if result.difference is not None else ()
    return {
        (stack.stack, pattern.layer, pattern.head): [(change,) for row in pattern.weights.tolist() for change in row]
        for stack in stacks
        for pattern in stack.patterns
    }


def _token_cells(stack: Stack, pattern: Pattern) -> Iterator[Row]:
    for query, weights in zip(stack.queries, pattern.weights.tolist(), strict=True):
        for key, weight in zip(stack.keys, weights, strict=True):
            yield query.index, query.token, key.index, key.token, weight


def _patch_cells(stack: Stack, pattern: Pattern) -> Iterator[Row]:
    """Cells with the rows and columns of their patches; None for tokens that are no patches."""
    for cell in _token_cells(stack, pattern):
        query, _, key, *_ = cell
        yield *cell, *_patch_position(stack.query_medium, query), *_patch_position(stack.key_medium, key)


def _patch_position(medium: Medium, position: object) -> tuple[int | None, int | None]:
    cell = medium.grid.cell(position) if medium.grid is not None and isinstance(position, int) else None
    return cell or (None, None)


def _pooled_cells(stack: Stack, pattern: Pattern) -> Iterator[Row]:
    row_count, column_count = pattern.weights.shape
    rows = pattern.bins.rows if pattern.bins else _single_bins(row_count)
    columns = pattern.bins.columns if pattern.bins else _single_bins(column_count)
    for query, weights in zip(rows, pattern.weights.tolist(), strict=True):
        for key, weight in zip(columns, weights, strict=True):
            yield *query, *key, weight


def _single_bins(count: int) -> Sequence[tuple[int, int]]:
    """Bins of one position each, for a pattern that was too small to pool while others were pooled."""
    return [(index, index + 1) for index in range(count)]


# --- Arrays


def heads_arrays(result: HeadsResult) -> Iterator[tuple[str, Array]]:
    """Patterns and metrics by the names of their arrays.

    Per layer with patterns: `<stack>.<layer>`, float32, (heads, queries, keys), and `<stack>.<layer>.heads`. A rollout,
    which averages the heads, is one matrix, (1, queries, keys), without their numbers.
    Per metric: `<stack>.metrics.<name>`, float64, (layers, heads), NaN without such a head or value, and uniform
    attention's value `<stack>.baselines.<name>`, (layers,). For means over texts also the bounds of their 95 %
    intervals, `<stack>.low.<name>` and `<stack>.high.<name>`, and the number of texts, `<stack>.texts.<name>`.

    `<stack>.queries` and `<stack>.keys` are token ids, or positions where there are no tokens. For pooled patterns,
    `<stack>.rows` and `<stack>.columns`, (bins, 2), are the positions that a row or a column covers.
    Effects are `<stack>.effects.<kind>`, (layers, heads).
    Of weights alone there are `<stack>.qk_ov.copying` and `<stack>.qk_ov.matching`, (layers, heads), and nothing else.
    `difference.<stack>.<layer>`, of the same shape as a pattern, is the other model or text less this one, and
    `difference.<stack>.effects.<kind>` the same of effects.
    For pictures, `<stack>.queries.grid` and `<stack>.keys.grid` are the rows and columns of patches and the position of
    the first; for sounds, `<stack>.queries.seconds` and `<stack>.keys.seconds` are the length of a frame.
    """
    if result.qk_ov is not None:
        for stack in result.stacks:
            yield from circuit_arrays(stack, result.qk_ov)
        return
    for stack in result.stacks:
        yield from (*_stack_arrays(stack), *_metric_arrays(stack), *effect_arrays(stack, stack.effects))
    for changed in result.difference.stacks if result.difference is not None else ():
        for layer, patterns in _patterns_by_layer(changed.patterns).items():
            yield f"difference.{changed.stack}.{layer}", _stack_patterns(patterns)
    for stack in changed_effects(result).stacks if is_compared(result) else ():
        yield from ((f"difference.{name}", array) for name, array in effect_arrays(stack, stack.effects))


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
            layer_head_array(stack, stack.metrics, [head.values.get(name) for head in stack.metrics]),
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
    yield f"{stack.stack}.low.{name}", layer_head_array(stack, stack.metrics, [low for low, _ in ends])
    yield f"{stack.stack}.high.{name}", layer_head_array(stack, stack.metrics, [high for _, high in ends])
    yield f"{stack.stack}.texts.{name}", np.nan_to_num(layer_head_array(stack, stack.metrics, counts)).astype(np.int64)


def _patterns_by_layer(patterns: Iterable[Pattern]) -> dict[int, list[Pattern]]:
    layers: dict[int, list[Pattern]] = {}
    for pattern in patterns:
        layers.setdefault(pattern.layer, []).append(pattern)
    return layers


def _stack_patterns(patterns: list[Pattern]) -> Array:
    return np.stack([pattern.weights for pattern in patterns]).astype(np.float32)
