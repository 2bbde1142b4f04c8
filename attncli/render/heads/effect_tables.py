"""Effects of heads, predictions and circuits as tables and arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from attncli.render.data import Row, Table
from attncli.render.npz import Array
from attncli.render.views.circuits import MEANINGS
from attncli.results.circuits import Circuits
from attncli.results.effects import Effects, HeadEffect, PartChange, Prediction
from attncli.results.heads import HeadChange, HeadsResult, Stack

_HEAD_COLUMNS = ("change_log_probability", "reads_index", "reads_text", "reads_weight")


def effects_table(result: HeadsResult, effects: Effects) -> Table:
    """A row per head, then one per other part, which has no layer and no head.

    Where two models are compared, the other one's are `against_<kind>`, and the other one's less these `change_<kind>`.
    """
    intervals = [kind for kind in effects.kinds if any(kind in head.intervals for head in _heads(result))]
    ends = [f"{kind}_{end}" for kind in intervals for end in ("low", "high")]
    heads, parts = _changes(result)
    compared = [f"{side}_{kind}" for kind in effects.kinds for side in ("against", "change")] if heads else []
    header = ("stack", "layer", "head", "name", *effects.kinds, *ends, *_HEAD_COLUMNS, *compared)

    def changed(change: HeadChange | PartChange | None) -> Row:
        if change is None:
            return ()
        return [side.get(kind) for kind in effects.kinds for side in (change.values, change.changes)]

    def rows() -> Iterator[Row]:
        for stack in result.stacks:
            for head in stack.effects:
                values = (head.values.get(kind) for kind in effects.kinds)
                limits = (end for kind in intervals for end in head.intervals.get(kind, (None, None)))
                read = (None,) * 3 if head.reads is None else head.reads
                place = stack.stack, head.layer, head.head, head.name
                change = changed(heads.get(head.name))
                yield (*place, *values, *limits, head.change_log_probability, *read, *change)
        blank = (None,) * (len(ends) + len(_HEAD_COLUMNS))
        for part in effects.parts:
            values = (part.values.get(kind) for kind in effects.kinds)
            yield (effects.stack, None, None, part.name, *values, *blank, *changed(parts.get(part.name)))

    return header, rows()


def _changes(result: HeadsResult) -> tuple[dict[str, HeadChange], dict[str, PartChange]]:
    """How the effects of heads and of other parts changed, by name; nothing where nothing was compared."""
    difference = result.difference
    if difference is None or difference.effects is None:
        return {}, {}
    heads = {head.name: head for stack in difference.stacks for head in stack.heads}
    return heads, {part.name: part for part in difference.effects.parts}


def _heads(result: HeadsResult) -> Iterator[HeadEffect]:
    return (head for stack in result.stacks for head in stack.effects)


def prediction_table(prediction: Prediction) -> Table:
    """A row per state and token, the likeliest first."""
    header = ("state", "rank", "id", "text", "probability")
    rows = (
        (state.state, rank, token.id, token.text, token.probability)
        for state in prediction.lens
        for rank, token in enumerate(state.tokens, 1)
    )
    return header, rows


def effect_arrays(stack: Stack, effects: Sequence[HeadEffect]) -> Iterator[tuple[str, Array]]:
    """The effects of a stack's heads, (layers, heads) for each kind."""
    for kind in dict.fromkeys(kind for head in effects for kind in head.values):
        yield (
            f"{stack.stack}.effects.{kind}",
            layer_head_array(stack, effects, [head.values.get(kind) for head in effects]),
        )


# --- Weights alone


def circuit_table(circuits: Circuits) -> Table:
    """A row per head, then a row per composition of two heads, with `kind` and the earlier and the later head."""
    header = ("kind", "stack", "layer", "head", "name", "copying", "matching", "earlier", "later", "score", "chance")
    heads = (("head", each.stack, each.layer, each.head, each.name, each.copying, each.matching, None, None, None, None)
             for each in circuits.heads)  # fmt: skip
    pairs = (
        (each.kind, None, None, None, None, None, None, each.earlier, each.later, each.score, each.chance)
        for each in circuits.compositions
    )
    return header, (*heads, *pairs)


def circuit_arrays(stack: Stack, circuits: Circuits) -> Iterator[tuple[str, Array]]:
    """Copying and matching of a stack's heads, (layers, heads)."""
    heads = [head for head in circuits.heads if head.stack == stack.stack]
    for name in MEANINGS:
        yield f"{stack.stack}.qk_ov.{name}", layer_head_array(stack, heads, [getattr(head, name) for head in heads])


class _Placed(Protocol):
    """A head of a stack."""

    @property
    def layer(self) -> int: ...

    @property
    def head(self) -> int: ...


def layer_head_array(stack: Stack, heads: Sequence[_Placed], values: Sequence[float | None]) -> Array:
    """One number for each of these heads, float64 (layers, heads) of the whole stack; NaN where there is none."""
    array = np.full((len(stack.layers), max((layer.heads for layer in stack.layers), default=0)), np.nan)
    for head, value in zip(heads, values, strict=True):
        array[head.layer, head.head] = np.nan if value is None else value
    return array
