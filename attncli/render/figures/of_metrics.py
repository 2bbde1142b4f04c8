"""Metrics out of a result, and how much heads changed, as maps of layers and heads."""

from __future__ import annotations

from collections.abc import Iterator

from attncli.choices import METRICS
from attncli.render.figures.head_maps import HeadMap
from attncli.render.figures.of_position import span_text
from attncli.render.heads.metric_words import meaning
from attncli.results.heads import HeadsDifference, HeadsResult, Stack, StackDifference

FRAMED = "red frame: a head that earns the label of this metric"
_VARIATION = "share of its weight that a head puts elsewhere, mean of its rows (total variation)"
_LARGEST_CHANGE = "the largest change of a metric that is a share of the row"


def metric_maps(result: HeadsResult) -> list[HeadMap]:
    """A map of layers × heads for the metric that was asked for; without one, for each that any head shows."""
    return [
        _metric_map(stack, name, f"{stack.stack}, " if len(result.stacks) > 1 else "")
        for stack in result.stacks
        for name in ([result.metric] if result.metric else _known(stack))
    ]


def _known(stack: Stack) -> Iterator[str]:
    return (name for name in METRICS if any(head.values.get(name) is not None for head in stack.metrics))


def _metric_map(stack: Stack, metric: str, where: str) -> HeadMap:
    values = {(head.layer, head.head): head.values.get(metric) for head in stack.metrics}
    even = [layer[metric] for layer in stack.baselines.values() if layer.get(metric) is not None]
    notes = [f"uniform: {span_text(value for value in even if value is not None)}"] if even else []
    labelled = [(head.layer, head.head) for head in stack.metrics if metric in head.labels]
    title = f"{where}{metric}: {meaning(metric, stack.key_medium)}"
    return HeadMap.of(title, values, notes).framing(labelled)


def change_maps(difference: HeadsDifference | None) -> list[HeadMap]:
    """How much each head changed altogether, of every stack; none where nothing was compared."""
    if difference is None:
        return []
    what = _VARIATION if difference.of_patterns else _LARGEST_CHANGE
    return [_change_map(stack, what, several=len(difference.stacks) > 1) for stack in difference.stacks]


def _change_map(stack: StackDifference, what: str, *, several: bool) -> HeadMap:
    where = f"{stack.stack}, " if several else ""
    return HeadMap.of(f"{where}change: {what}", {(head.layer, head.head): head.change for head in stack.heads})
