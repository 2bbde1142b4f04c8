"""The overview of a stack: the heads that stand out with a sentence each, what heads do, and the legend of labels."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from attncli.metrics import LABELS, METRICS, WeightAt, WeightOnSpecial
from attncli.render.views.header import has_single_key
from attncli.render.views.metric_words import label_of, ordered_labels, read_token
from attncli.render.views.sentences import Sentence, Words, count_noun
from attncli.results.heads import HeadMetrics, Interval, Stack
from attncli.results.tokens import Token

# For heads without a label: the metric, whether its smallest or largest value counts, and the sentence.
_EXTREMES = tuple(
    (name, end, sentence)
    for name, metric in METRICS.items()
    for end, sentence in (("smallest", metric.smallest), ("largest", metric.largest))
    if sentence
)
_MOST_PER_LABEL = 2
_FIRST = next(name for name, metric in METRICS.items() if metric.formula == WeightAt(("first",)))
# A metric tells of a head from so many times uniform attention's value on.
_LEAST_LIFT = 1.5
# An extreme is told of a head where it differs from uniform attention by at least this share of its value.
_LEAST_DIFFERENCE = 0.3
# A weight between two tokens is told where it is at least so far above uniform attention.
_LEAST_EXCESS = 0.25
# The metrics below the small picture of a head.
_MOST_METRICS = 2
_DEFAULT_METRICS = tuple(name for name, metric in METRICS.items() if metric.in_captions)


@dataclass(frozen=True, slots=True)
class Standout:
    """A head, the metric by which it stands out, with uniform attention's value, the sentence about it, and its label
    if that is the reason."""

    head: HeadMetrics
    metric: str
    uniform: float | None
    sentence: Sentence
    label: str | None = None

    @property
    def value(self) -> float | None:
        return self.head.values.get(self.metric)

    @property
    def interval(self) -> Interval | None:
        return self.head.interval(self.metric)


def standouts(stack: Stack, limit: int, *, always: str | None = None, resting: bool = False) -> tuple[Standout, ...]:
    """At most `limit` heads: the strongest two of each label in turn, then the extremes if there is room.

    always: a label of which the strongest head is listed even if no head has enough of it.  resting: whether heads that
    rest on special tokens, or on the first token of a causal stack, are listed with the others.
    """
    if has_single_key(stack):
        return ()
    unlabelled = [] if always is None else _strongest_unlabelled(stack, always)
    labelled = [*_labelled(stack, limit - len(unlabelled), resting=resting), *unlabelled]
    taken = {standout.head.name for standout in labelled}
    taken |= {head.name for head in stack.metrics if not resting and rests(head, stack)}
    # With few heads, the extremes would only list all of them.
    room = min(limit - len(labelled), len(stack.metrics) // 2)
    return (*labelled, *_extremes(stack, taken)[: max(room, 0)])


def _standout(stack: Stack, head: HeadMetrics, metric: str, sentence: Sentence, label: str | None = None) -> Standout:
    return Standout(head, metric, _uniform(stack, head, metric), sentence, label)


def _uniform(stack: Stack, head: HeadMetrics, metric: str) -> float | None:
    return stack.baselines.get(head.layer, {}).get(metric)


def ranked_heads(stack: Stack, metric: str) -> list[HeadMetrics]:
    """The heads that have a metric, the largest value first."""
    heads = [head for head in stack.metrics if head.values.get(metric) is not None]
    return sorted(heads, key=lambda head: -(head.values[metric] or 0.0))


def shown_label(head: HeadMetrics, stack: Stack) -> str | None:
    """The label that stands for a head on maps: its first.

    A head of a causal stack that reads the first token rests on it, even if that isn't enough for the label `first`.
    """
    if not head.labels:
        return None
    name = head.labels[0]
    return _FIRST if stack.causal and _is_of_one_key(name) and head.token_index == 0 else name


def shown_labels(head: HeadMetrics, stack: Stack) -> tuple[str, ...]:
    """All labels of a head, the shown one first."""
    return () if not head.labels else tuple(dict.fromkeys((shown_label(head, stack) or "", *head.labels[1:])))


def rests(head: HeadMetrics, stack: Stack) -> bool:
    """Whether the head rests by its label: on special tokens, or on the first token."""
    rule = LABELS.get(shown_label(head, stack) or "")
    return rule is not None and rule.rests


def _labelled(stack: Stack, limit: int, *, resting: bool) -> list[Standout]:
    """The strongest of each label in turn; a head counts under its first label, which the map shows."""
    listed = [head for head in stack.metrics if head.labels and (resting or not rests(head, stack))]
    names = ordered_labels(head.labels[0] for head in listed)
    queues = []
    for name in names:
        heads = [head for head in ranked_heads(stack, name) if head in listed and head.labels[:1] == (name,)]
        queues.append(heads[:_MOST_PER_LABEL])
    chosen: dict[str, tuple[HeadMetrics, str]] = {}
    for rank in range(_MOST_PER_LABEL):
        for name, queue in zip(names, queues, strict=True):
            if rank < len(queue) and len(chosen) < limit:
                chosen.setdefault(queue[rank].name, (queue[rank], name))
    ordered = sorted(chosen.values(), key=lambda one: names.index(one[1]))
    return [_standout(stack, head, name, label_sentence(head, name, stack), name) for head, name in ordered]


def _strongest_unlabelled(stack: Stack, label: str) -> list[Standout]:
    """The head with the largest value of the label's metric, if that was measured and no head has the label."""
    heads = ranked_heads(stack, label)
    if not heads or any(label in head.labels for head in stack.metrics):
        return []
    strongest = heads[0]
    tells = (strongest.values[label] or 0.0) > _LEAST_LIFT * (_uniform(stack, strongest, label) or 0.0)
    sentence = f"strongest {label}, no label" if tells else f"no head does {label}: the largest"
    return [_standout(stack, strongest, label, (Words(sentence),))]


def _extremes(stack: Stack, taken: set[str]) -> list[Standout]:
    found: dict[str, Standout] = {}
    for metric, end, sentence in _EXTREMES:
        ranked = ranked_heads(stack, metric)
        if not ranked:
            continue
        # Of equal ones the first.
        extreme = ranked[0 if end == "largest" else -1].values[metric]
        head = next(one for one in ranked if one.values[metric] == extreme)
        value, uniform = head.values[metric], _uniform(stack, head, metric)
        near = uniform is not None and value is not None and abs(value - uniform) <= _LEAST_DIFFERENCE * abs(uniform)
        # If it is listed already, skip it: of the second best the sentence would not be true.
        if head.name not in taken and not near:
            found.setdefault(head.name, _standout(stack, head, metric, (Words(sentence),)))
    return list(found.values())


def resting_sentence(stack: Stack) -> str:
    """How many heads rest on special tokens or on the first token, and what that means; empty where none does."""
    heads = [head for head in stack.metrics if rests(head, stack)]
    if not heads:
        return ""
    names = ordered_labels(name for head in heads if (name := shown_label(head, stack)))
    places = " or ".join(f"{LABELS[name].target} ({LABELS[name].letter})" for name in names)
    attend = "attends" if len(heads) == 1 else "attend"
    why = "attention sinks, which take the weight that no other token needs"
    return f"{len(heads):,} of {count_noun(len(stack.metrics), 'head')} {attend} mostly to {places}: {why}"


# --- links between tokens


class HeadLink(NamedTuple):
    """A head and its strongest link between ordinary tokens, as a sentence: `the → cat`."""

    head: HeadMetrics
    sentence: Sentence
    weight: float
    uniform: float


def head_link(stack: Stack, head: HeadMetrics) -> HeadLink | None:
    """The strongest link of a head; None where it is not far from uniform attention, or not known."""
    link = head.link
    if link is None or link.excess < _LEAST_EXCESS or link.weight < _LEAST_LIFT * link.uniform:
        return None
    arrow = (Words(stack.queries[link.query]), Words(" → "), Words(stack.keys[link.key]))
    return HeadLink(head, arrow, link.weight, link.uniform)


def layer_links(stack: Stack) -> dict[int, HeadLink]:
    """The strongest link of each layer, in the head where it stands out most."""
    strongest: dict[int, HeadMetrics] = {}
    for head in stack.metrics:
        known = strongest.get(head.layer)
        if head.link is not None and (known is None or known.link is None or head.link.excess > known.link.excess):
            strongest[head.layer] = head
    found = ((layer, head_link(stack, head)) for layer, head in strongest.items())
    return {layer: link for layer, link in found if link is not None}


def top_key(stack: Stack, head: HeadMetrics) -> Token | None:
    """The ordinary token that most queries of a head read; None where its weight is near that of uniform attention."""
    name = next(name for name, metric in METRICS.items() if metric.of_one_key)
    value, even = head.values.get(name), _uniform(stack, head, name)
    if value is None or value < _LEAST_LIFT * (even or 0.0):
        return None
    return read_token(head, stack)


# --- labels


def label_sentence(head: HeadMetrics, name: str, stack: Stack) -> Sentence:
    """What a head with a label does; that of one key names the token that it reads."""
    token = read_token(head, stack) if _is_of_one_key(name) else None
    if token is None:
        return (Words(label_of(name, stack.key_medium).sentence),)
    before, after = LABELS[name].sentence.split("{}")
    return Words(before), Words(token), Words(f" (token {token.index}){after}")


def _is_of_one_key(name: str) -> bool:
    return name in METRICS and METRICS[name].of_one_key


def label_target(name: str, stack: Stack) -> Sentence:
    """What heads with a label look at, for legends; that of one key names it where all such heads read the same."""
    tokens = {read_token(head, stack) for head in stack.metrics if name in head.labels}
    token = tokens.pop() if _is_of_one_key(name) and len(tokens) == 1 else None
    if token is None:
        return (Words(label_of(name, stack.key_medium).target),)
    return Words(token), Words(f" (token {token.index})")


def shows_label(name: str, stack: Stack) -> bool:
    """Whether the keys that a label is about are among those shown."""
    formula = METRICS[name].formula if name in METRICS else None
    if not stack.keys:
        return True
    if formula == WeightAt(("first",)):
        return any(key.index == 0 for key in stack.keys)
    whole = stack.whole is None or stack.whole[1] == len(stack.keys)
    return formula != WeightOnSpecial() or whole or any(key.special for key in stack.keys)


def caption_metrics(head: HeadMetrics) -> list[str]:
    """The metrics below the picture of a head: those behind its labels, then the default ones."""
    names = [name for name in head.labels if name in head.values]
    known = (name for name in _DEFAULT_METRICS if name not in names and head.values.get(name) is not None)
    return [*names, *known][:_MOST_METRICS]


def ordered_metrics(names: Collection[str]) -> list[str]:
    """Names of metrics without repeats: known ones in the order of `METRICS`, then the others as they come."""
    others = (name for name in dict.fromkeys(names) if name not in METRICS)
    return [*(name for name in METRICS if name in names), *others]
