"""Which heads of a stack stand out, by its metrics.

The heads that stand out, a sentence each, with the numbers that say so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from attncli.render.common.lines import BOLD, Line, StyledSpan, flow, joined, padded
from attncli.render.common.terminal import Terminal
from attncli.render.heads.header import is_alone
from attncli.render.heads.metric_words import beside_uniform, in_order, label_of
from attncli.results.heads import HeadMetrics, Stack

# What is said of heads without a label: the metric, whether its smallest or largest value counts, the sentence.
_EXTREMES: tuple[tuple[str, Callable[..., HeadMetrics], str], ...] = (
    ("entropy", min, "looks at the fewest tokens"),
    ("entropy", max, "spreads over the most tokens"),
    ("distance", max, "looks the farthest"),
)

_OF_EACH_LABEL = 2
# How much more than even attention a head gives where it does something.
_LEAST_LIFT = 1.5


@dataclass(frozen=True, slots=True)
class Standout:
    """A head, the metric by which it stands out, what that says, and its label if that is why."""

    head: HeadMetrics
    metric: str
    sentence: str
    label: str | None = None

    @property
    def value(self) -> float | None:
        return self.head.values.get(self.metric)


def standouts(stack: Stack, limit: int, *, sought: str | None = None) -> tuple[Standout, ...]:
    """At most `limit` heads: the strongest two of every label in turn, then the extremes where there is room.

    sought: a label that everybody asks for; where no head earns it, the strongest is told all the same.
    """
    if is_alone(stack):
        return ()
    short = [] if sought is None else _short_of(stack, sought)
    labelled = [*_labelled(stack, limit - len(short)), *short]
    taken = {standout.head.name for standout in labelled}
    # Extremes of a handful of heads would only list them all.
    room = min(limit - len(labelled), len(stack.metrics) // 2)
    return (*labelled, *_extremes(stack, taken)[: max(room, 0)])


def _labelled(stack: Stack, limit: int) -> list[Standout]:
    names = in_order(head.labels[0] for head in stack.metrics if head.labels)
    chosen: dict[str, Standout] = {}
    for standout in _in_turn([_strongest(stack, name) for name in names]):
        if len(chosen) == limit:
            break
        chosen.setdefault(standout.head.name, standout)
    return sorted(chosen.values(), key=lambda standout: names.index(standout.label or ""))


def _strongest(stack: Stack, label: str) -> list[Standout]:
    """The heads that the map shows with this label, the largest value first."""
    heads = [head for head in stack.metrics if head.labels[:1] == (label,) and head.values.get(label) is not None]
    heads.sort(key=lambda head: -(head.values[label] or 0.0))
    return [Standout(head, label, label_of(label, stack.key_medium).sentence, label) for head in heads[:_OF_EACH_LABEL]]


def _short_of(stack: Stack, label: str) -> list[Standout]:
    """The head with the most of a metric, if that was measured, and no head has enough for the label."""
    heads = [head for head in stack.metrics if head.values.get(label) is not None]
    if not heads or any(label in head.labels for head in stack.metrics):
        return []
    strongest = max(heads, key=lambda head: head.values[label] or 0.0)
    even = stack.baselines.get(strongest.layer, {}).get(label) or 0.0
    tells = (strongest.values[label] or 0.0) > _LEAST_LIFT * even
    said = f"strongest {label}, no label" if tells else f"no head does {label}: the largest"
    return [Standout(strongest, label, said)]


def _in_turn(queues: Sequence[Sequence[Standout]]) -> Iterator[Standout]:
    for rank in range(max(map(len, queues), default=0)):
        yield from (queue[rank] for queue in queues if rank < len(queue))


def _extremes(stack: Stack, taken: set[str]) -> list[Standout]:
    found: dict[str, Standout] = {}
    for metric, choose, sentence in _EXTREMES:
        heads = [head for head in stack.metrics if head.values.get(metric) is not None]
        if heads:
            head = choose(heads, key=lambda head: head.values[metric])
            # Never the second best in its place: the sentence would not be true of it.
            if head.name not in taken:
                found.setdefault(head.name, Standout(head, metric, sentence))
    return list(found.values())


def sentence_lines(found: tuple[Standout, ...], stack: Stack, terminal: Terminal) -> list[Line]:
    """A line a head, in columns; the numbers go beneath the sentences where a line would be too wide."""
    name_width = max(len(standout.head.name) for standout in found)
    says = [_said(standout, name_width, terminal) for standout in found]
    parts = [_numbers(standout, stack, terminal) for standout in found]
    numbers = [joined(pair, ", ") for pair in parts]
    column = max(line.width for line in says) + 2
    if column + max(line.width for line in numbers) <= terminal.width:
        return [joined([padded(says_, column), numbers_]) for says_, numbers_ in zip(says, numbers, strict=True)]
    rows = [_in_words(one, name_width, pair, terminal) for one, pair in zip(found, parts, strict=True)]
    return [line for row in rows for line in row]


def _said(standout: Standout, name_width: int, terminal: Terminal) -> Line:
    return joined([_named(standout, name_width, terminal), Line.of(standout.sentence)], "  ")


def _named(standout: Standout, name_width: int, terminal: Terminal) -> Line:
    tile = label_of(standout.label).tile(3, terminal) if standout.label else StyledSpan("   ")
    return Line.of(tile, " ", StyledSpan(standout.head.name.rjust(name_width), BOLD))


def _in_words(standout: Standout, name_width: int, numbers: Sequence[Line], terminal: Terminal) -> list[Line]:
    """The same over several lines, where the terminal is narrow."""
    name = _named(standout, name_width, terminal)
    words = [Line.of(word) for word in standout.sentence.split()]
    said = flow([name, *words], separator=" ", width=terminal.width, indent=name.width + 1)
    values = flow(numbers, separator=", ", width=terminal.width - name.width - 1)
    return [*said, *(joined([Line.of(" " * (name.width + 1)), line]) for line in values)]


def _numbers(standout: Standout, stack: Stack, terminal: Terminal) -> list[Line]:
    uniform = stack.baselines.get(standout.head.layer, {}).get(standout.metric)
    interval = standout.head.interval(standout.metric)
    return beside_uniform(standout.metric, standout.value, uniform, terminal, interval)
