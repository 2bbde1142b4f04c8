"""Effects of heads and predictions as tables and arrays."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from attncli.render.data import Row, Table
from attncli.render.npz import Array
from attncli.results.effects import Effects, HeadEffect, Prediction
from attncli.results.heads import HeadsResult, Stack

_HEAD_COLUMNS = ("change_log_probability", "reads_index", "reads_text", "reads_weight")


def effects_table(result: HeadsResult, effects: Effects) -> Table:
    """A row per head, then one per other part, which has no layer and no head."""
    intervals = [kind for kind in effects.kinds if any(kind in head.intervals for head in _heads(result))]
    ends = [f"{kind}_{end}" for kind in intervals for end in ("low", "high")]
    header = ("stack", "layer", "head", "name", *effects.kinds, *ends, *_HEAD_COLUMNS)

    def rows() -> Iterator[Row]:
        for stack in result.stacks:
            for head in stack.effects:
                values = (head.values.get(kind) for kind in effects.kinds)
                limits = (end for kind in intervals for end in head.intervals.get(kind, (None, None)))
                read = (None,) * 3 if head.reads is None else head.reads
                place = stack.stack, head.layer, head.head, head.name
                yield (*place, *values, *limits, head.change_log_probability, *read)
        blank = (None,) * (len(ends) + len(_HEAD_COLUMNS))
        for part in effects.parts:
            yield (effects.stack, None, None, part.name, *(part.values.get(kind) for kind in effects.kinds), *blank)

    return header, rows()


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


def effect_arrays(stack: Stack) -> Iterator[tuple[str, Array]]:
    """The effects of a stack's heads, float64 (layers, heads) for each kind; NaN where there is none."""
    shape = (len(stack.layers), max((layer.heads for layer in stack.layers), default=0))
    for kind in dict.fromkeys(kind for head in stack.effects for kind in head.values):
        array = np.full(shape, np.nan)
        for head in stack.effects:
            value = head.values.get(kind)
            array[head.layer, head.head] = np.nan if value is None else value
        yield f"{stack.stack}.effects.{kind}", array
