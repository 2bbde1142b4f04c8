"""The heads of a stack that stand out by a metric, and the sentences about them below the map.

`standouts` picks the heads and words the sentences without a label; sentences of labels are in `metric_words.LABELS`.
`sentence_lines` lays them out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from attncli.render.common.lines import BOLD, Line, StyledSpan, flow, joined, padded, split_words
from attncli.render.common.terminal import Terminal
from attncli.render.heads.header import has_single_key
from attncli.render.heads.metric_words import label_of, metric_and_uniform, ordered_labels
from attncli.results.heads import HeadMetrics, Stack

# For heads without a label: the metric, whether its smallest or largest value counts, and the sentence.
_EXTREMES: tuple[tuple[str, Callable[..., HeadMetrics], str], ...] = (
    ("entropy", min, "looks at the fewest tokens"),
    ("entropy", max, "spreads over the most tokens"),
    ("distance", max, "looks the farthest"),
)

_MOST_PER_LABEL = 2
# A metric tells of a head from so many times uniform attention's value on.
_LEAST_LIFT = 1.5


@dataclass(frozen=True, slots=True)
class Standout:
    """A head, the metric by which it stands out, the sentence about it, and its label if that is the reason."""

    head: HeadMetrics
    metric: str
    sentence: str
    label: str | None = None

    @property
    def value(self) -> float | None:
        return self.head.values.get(self.metric)


def standouts(stack: Stack, limit: int, *, always: str | None = None) -> tuple[Standout, ...]:
    """At most `limit` heads: the strongest two of each label in turn, then the extremes if there is room.

    always: a label of which the strongest head is listed even if no head has enough of it.
    """
    if has_single_key(stack):
        return ()
    unlabelled = [] if always is None else _strongest_unlabelled(stack, always)
    labelled = [*_labelled(stack, limit - len(unlabelled)), *unlabelled]
    taken = {standout.head.name for standout in labelled}
    # With few heads, the extremes would only list all of them.
    room = min(limit - len(labelled), len(stack.metrics) // 2)
    return (*labelled, *_extremes(stack, taken)[: max(room, 0)])


def _labelled(stack: Stack, limit: int) -> list[Standout]:
    names = ordered_labels(head.labels[0] for head in stack.metrics if head.labels)
    chosen: dict[str, Standout] = {}
    for standout in _round_robin([_strongest(stack, name) for name in names]):
        if len(chosen) == limit:
            break
        chosen.setdefault(standout.head.name, standout)
    return sorted(chosen.values(), key=lambda standout: names.index(standout.label or ""))


def _strongest(stack: Stack, label: str) -> list[Standout]:
    """The heads whose first label this is, the largest value first."""
    heads = [head for head in stack.metrics if head.labels[:1] == (label,) and head.values.get(label) is not None]
    heads.sort(key=lambda head: -(head.values[label] or 0.0))
    return [
        Standout(head, label, label_of(label, stack.key_medium).sentence, label) for head in heads[:_MOST_PER_LABEL]
    ]


def _strongest_unlabelled(stack: Stack, label: str) -> list[Standout]:
    """The head with the largest value of the label's metric, if that was measured and no head has the label."""
    heads = [head for head in stack.metrics if head.values.get(label) is not None]
    if not heads or any(label in head.labels for head in stack.metrics):
        return []
    strongest = max(heads, key=lambda head: head.values[label] or 0.0)
    even = stack.baselines.get(strongest.layer, {}).get(label) or 0.0
    tells = (strongest.values[label] or 0.0) > _LEAST_LIFT * even
    sentence = f"strongest {label}, no label" if tells else f"no head does {label}: the largest"
    return [Standout(strongest, label, sentence)]


def _round_robin(queues: Sequence[Sequence[Standout]]) -> Iterator[Standout]:
    for rank in range(max(map(len, queues), default=0)):
        yield from (queue[rank] for queue in queues if rank < len(queue))


def _extremes(stack: Stack, taken: set[str]) -> list[Standout]:
    found: dict[str, Standout] = {}
    for metric, choose, sentence in _EXTREMES:
        heads = [head for head in stack.metrics if head.values.get(metric) is not None]
        if heads:
            head = choose(heads, key=lambda head: head.values[metric])
            # If it is listed already, skip it: of the second best the sentence would not be true.
            if head.name not in taken:
                found.setdefault(head.name, Standout(head, metric, sentence))
    return list(found.values())


def sentence_lines(found: tuple[Standout, ...], stack: Stack, terminal: Terminal) -> list[Line]:
    """A line per head with sentence and numbers in columns; on narrow terminals the numbers are below the sentence."""
    name_width = max(len(standout.head.name) for standout in found)
    sentences = [_head_and_sentence(standout, name_width, terminal) for standout in found]
    parts = [_value_and_uniform(standout, stack, terminal) for standout in found]
    numbers = [joined(pair, ", ") for pair in parts]
    column = max(line.width for line in sentences) + 2
    if column + max(line.width for line in numbers) <= terminal.width:
        pairs = zip(sentences, numbers, strict=True)
        return [joined([padded(sentence, column), values]) for sentence, values in pairs]
    rows = [_wrapped_sentence(one, name_width, pair, terminal) for one, pair in zip(found, parts, strict=True)]
    return [line for row in rows for line in row]


def _head_and_sentence(standout: Standout, name_width: int, terminal: Terminal) -> Line:
    return joined([_head_name(standout, name_width, terminal), Line.of(standout.sentence)], "  ")


def _head_name(standout: Standout, name_width: int, terminal: Terminal) -> Line:
    tile = label_of(standout.label).tile(3, terminal) if standout.label else StyledSpan("   ")
    return Line.of(tile, " ", StyledSpan(standout.head.name.rjust(name_width), BOLD))


def _wrapped_sentence(standout: Standout, name_width: int, numbers: Sequence[Line], terminal: Terminal) -> list[Line]:
    """The sentence wrapped, with the numbers below it, for narrow terminals."""
    name = _head_name(standout, name_width, terminal)
    sentence = flow([name, *split_words(standout.sentence)], separator=" ", width=terminal.width, indent=name.width + 1)
    values = flow(numbers, separator=", ", width=terminal.width - name.width - 1)
    return [*sentence, *(joined([Line.of(" " * (name.width + 1)), line]) for line in values)]


def _value_and_uniform(standout: Standout, stack: Stack, terminal: Terminal) -> list[Line]:
    uniform = stack.baselines.get(standout.head.layer, {}).get(standout.metric)
    interval = standout.head.interval(standout.metric)
    return metric_and_uniform(standout.metric, standout.value, uniform, terminal, interval)
