"""Metrics of heads: the table of one head with uniform attention's values, and the map of one metric over all heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from attncli.metrics import METRICS
from attncli.render.views.metric_words import evidence_words, meaning
from attncli.render.views.overview import ordered_metrics, ranked_heads
from attncli.results.heads import HeadMetrics, Interval, Stack

# From more repeated tokens on, their number is left out.
_MANY_REPEATS = 9

#: Layer and head.
Head = tuple[int, int]


class MetricRow(NamedTuple):
    """A metric of one head. interval, texts: of a mean over texts, and how many texts have the metric.

    meaning: what it measures; of repeats, with the number of rows that it is a mean of, where these are few.
    """

    name: str
    value: float | None
    uniform: float | None
    interval: Interval | None
    texts: int
    meaning: str


def metric_rows(head: HeadMetrics, stack: Stack) -> list[MetricRow]:
    """All metrics of a head."""
    uniform, repeats = stack.baselines.get(head.layer, {}), stack.repeats.get(head.layer, {})
    rows = []
    for name in ordered_metrics(head.values):
        value, repeated = head.values[name], repeats.get(name)
        few = value is not None and repeated is not None and repeated <= _MANY_REPEATS
        evidence = f" ({repeated} row{'' if repeated == 1 else 's'})" if few else ""
        texts = 0 if head.spread is None else head.spread.counts.get(name, 0)
        words = meaning(name, stack.key_medium) + evidence
        rows.append(MetricRow(name, value, uniform.get(name), head.interval(name), texts, words))
    return rows


# A share tells of a head if it is so far from uniform attention; other metrics, if they differ by such a part of it.
_TELLING_SHARE, _TELLING_PART = 0.15, 0.25


def telling_rows(head: HeadMetrics, stack: Stack) -> list[MetricRow]:
    """The metrics by which a head differs from uniform attention, the largest difference first."""
    rows = []
    for each in metric_rows(head, stack):
        if each.value is None or each.uniform is None or not stack.has_evidence(each.name, head.layer):
            continue
        is_share = each.name in METRICS and METRICS[each.name].is_share
        part = abs(each.value - each.uniform) / (1.0 if is_share else max(abs(each.uniform), 1e-9))
        if part >= (_TELLING_SHARE if is_share else _TELLING_PART):
            rows.append((part, each))
    rows.sort(key=lambda pair: (pair[1].name not in head.labels, -pair[0]))
    return [each for _, each in rows]


class MetricMap(NamedTuple):
    """One metric of all heads. values: None where a head has none.  evidence: what it rests on, or empty.

    ranked: the heads that have it, the largest value first; empty where it rests on too little to rank heads.
    uniform: uniform attention's values in the layers.  labelled: the heads that earn its label.
    """

    metric: str
    meaning: str
    evidence: str
    values: Mapping[Head, float | None]
    ranked: Sequence[HeadMetrics]
    uniform: Sequence[float]
    labelled: Sequence[Head]

    @property
    def known(self) -> list[float]:
        return [value for value in self.values.values() if value is not None]


def metric_map(stack: Stack, metric: str) -> MetricMap:
    """The map of a metric."""
    uniform = (layer.get(metric) for layer in stack.baselines.values())
    return MetricMap(
        metric,
        meaning(metric, stack.key_medium),
        evidence_words(metric, stack),
        {(head.layer, head.head): head.values.get(metric) for head in stack.metrics},
        ranked_heads(stack, metric) if stack.has_evidence(metric) else [],
        [value for value in uniform if value is not None],
        [(head.layer, head.head) for head in stack.metrics if metric in head.labels],
    )
