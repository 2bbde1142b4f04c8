"""The difference between two results, head by head: how far their patterns and their metrics are apart.

Two rows of weights are two distributions over the keys, so their distance is the total variation ½ Σ_j |a_ij − b_ij|:
the share of weight that they put on different keys. In a model with a sink, the weight that a row gives to no key
counts as one more key. A head's distance is the mean over its queries; for pooled patterns it is at most
that of exact ones.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from attncli.attention.effects.effect_differences import effects_difference, value_changes
from attncli.errors import UsageError
from attncli.metrics import METRICS
from attncli.results.heads import (
    DifferenceKind,
    HeadChange,
    HeadsDifference,
    HeadsResult,
    KeyChange,
    Stack,
    StackDifference,
)
from attncli.results.patterns import Pattern

#: At most so many keys explain a change, and each changed by more than a rounding error.
_MOST_KEYS, _LEAST_CHANGE = 3, 1e-6

#: Metrics that are shares of a row's weight, so that their changes are comparable.
SHARE_METRICS = tuple(name for name, metric in METRICS.items() if metric.is_share)


def total_variation(here: Pattern, there: Pattern) -> float:
    """The mean over queries of ½ (Σ_j |a_ij − b_ij| + |Σ_j a_ij − Σ_j b_ij|), from 0 to 1.

    Both have the same shape and bins; a pooled row counts as often as it has queries.
    """
    a, b = here.weights.astype(np.float64), there.weights.astype(np.float64)
    rows = (np.abs(a - b).sum(axis=1) + np.abs(a.sum(axis=1) - b.sum(axis=1))) / 2
    sizes = None if here.bins is None else [stop - start for start, stop in here.bins.rows]
    return float(np.average(rows, weights=sizes))


def compute_difference(
    here: HeadsResult, there: HeadsResult, kind: DifferenceKind, *, metric: str | None, patterns: bool
) -> HeadsDifference:
    """`there` minus `here`, stack by stack; the heads that changed most come first.

    metric: the metric to rank heads by; None for the overall change. Effects are ranked by their first kind.
    patterns: whether to include the differences of patterns.
    Raises UsageError for models of different shapes, with `patterns` for texts of different lengths, and with effects
    for different tokens or outcomes.
    """
    _require_same_shapes(here, there, kind)
    pairs = list(zip(here.stacks, there.stacks, strict=True))
    if patterns:
        _require_same_lengths(pairs, kind)
    effects = effects_difference(here, there)
    if here.effects is not None:
        metric = here.effects.kinds[0]
    stacks = tuple(_stack_difference(a, b, metric, patterns=patterns) for a, b in pairs)
    comparable = all(here.patterns and _lengths(here) == _lengths(there) for here, there in pairs)
    return HeadsDifference(kind, there.model, metric, comparable, stacks, effects)


def _lengths(stack: Stack) -> tuple[int, int]:
    return len(stack.queries), len(stack.keys)


def _stack_difference(here: Stack, there: Stack, metric: str | None, *, patterns: bool) -> StackDifference:
    comparable = here.patterns and _lengths(here) == _lengths(there)
    pairs = list(zip(here.patterns, there.patterns, strict=True)) if comparable else []
    by_head = {(a.layer, a.head): (total_variation(a, b), *_key_changes(a, b)) for a, b in pairs}
    heads, before, after = [], _head_values(here), _head_values(there)
    for a, b in zip(here.metrics, there.metrics, strict=True):
        variation, gained, lost = by_head.get((a.layer, a.head), (None, (), ()))
        values, changes = after[b.name], value_changes(before[a.name], after[b.name])
        shares = {
            name: abs(change)
            for name in SHARE_METRICS
            if (change := changes.get(name)) is not None
            and all(side.has_evidence(name, a.layer) for side in (here, there))
        }
        largest = max(shares, key=lambda name: shares[name], default=None)
        heads.append(HeadChange(a.name, a.layer, a.head, variation, b.labels, values, changes, largest, gained, lost))
    heads.sort(key=lambda head: -_amount_changed(head, metric))
    differences = [Pattern(a.layer, a.head, b.weights - a.weights, a.bins) for a, b in pairs if patterns]
    return StackDifference(here.stack, there.queries, there.keys, tuple(heads), tuple(differences))


def _head_values(stack: Stack) -> dict[str, dict[str, float | None]]:
    """The metrics and the effects of every head, by its name."""
    effects = {head.name: head.values for head in stack.effects}
    return {head.name: {**head.values, **effects.get(head.name, {})} for head in stack.metrics}


def _amount_changed(head: HeadChange, metric: str | None) -> float:
    """How much a head changed; −1 if unknown, which sorts last."""
    value = head.change if metric is None else head.changes.get(metric)
    return -1.0 if value is None else abs(value)


def _key_changes(here: Pattern, there: Pattern) -> tuple[tuple[KeyChange, ...], tuple[KeyChange, ...]]:
    """The keys whose weight, mean over the rows, grew and shrank most."""
    if here.bins is not None:
        return (), ()
    changes = (there.weights.astype(np.float64) - here.weights).mean(axis=0)
    order = [KeyChange(int(key), float(changes[key])) for key in np.argsort(-changes, kind="stable")]
    gained = [key for key in order[:_MOST_KEYS] if key.change > _LEAST_CHANGE]
    lost = [key for key in order[::-1][:_MOST_KEYS] if key.change < -_LEAST_CHANGE]
    return tuple(gained), tuple(lost)


def _require_same_shapes(here: HeadsResult, there: HeadsResult, kind: DifferenceKind) -> None:
    shapes = [
        {stack.stack: tuple(layer.heads for layer in stack.layers) for stack in result.stacks}
        for result in (here, there)
    ]
    if shapes[0] != shapes[1]:
        ours, theirs = (_describe_shape(shape) for shape in shapes)
        raise UsageError(
            f"the heads can't be compared one by one: {ours} in {here.model}, {theirs} in {there.model}",
            hint="compare models of the same shape, such as a base model and its fine-tune"
            if kind == "models"
            else "compare texts that use the same layers",
        )


def _describe_shape(shape: Mapping[str, tuple[int, ...]]) -> str:
    return " and ".join(f"{name} {_describe_layers(heads)}" for name, heads in shape.items()) or "nothing"


def _describe_layers(heads: tuple[int, ...]) -> str:
    layers = f"{len(heads)} layer{'s' * (len(heads) != 1)}"
    return f"{layers} of {heads[0]} heads" if len(set(heads)) == 1 else f"{sum(heads)} heads in {layers}"


def _require_same_lengths(pairs: list[tuple[Stack, Stack]], kind: DifferenceKind) -> None:
    for here, there in pairs:
        if _lengths(here) != _lengths(there):
            (a, b), (c, d) = _lengths(here), _lengths(there)
            what = "texts" if kind == "texts" else "models' tokens"
            raise UsageError(
                f"the patterns of the {what} can't be compared: {a:,} by {b:,} tokens in the {here.stack}, and "
                f"{c:,} by {d:,}",
                hint="leave -l, -H, --query, --key and --patterns out to compare only the metrics",
            )
