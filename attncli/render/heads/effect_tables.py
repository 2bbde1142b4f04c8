"""Effects of heads and predictions as tables and arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from attncli.render.data import Row, Table
from attncli.render.npz import Array
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
    """The effects of a stack's heads, float64 (layers, heads) for each kind; NaN where there is none."""
    shape = (len(stack.layers), max((layer.heads for layer in stack.layers), default=0))
    for kind in dict.fromkeys(kind for head in effects for kind in head.values):
        array = np.full(shape, np.nan)
        for head in effects:
            value = head.values.get(kind)
            array[head.layer, head.head] = np.nan if value is None else value
        yield f"{stack.stack}.effects.{kind}", array
