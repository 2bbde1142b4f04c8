"""How sure a mean over a sample is: Student's interval, which needs nothing but the sample itself.

Metrics averaged over many texts: a batch at a time, so that memory doesn't grow with their number.

Every text weighs the same, however long it is: a head's value is the mean over texts of the mean over a text's
queries. Texts in which no query can show a metric (a repeat, where nothing repeats) take no part in that metric.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attncli.attention.claims import LABEL_THRESHOLDS, assign_labels
from attncli.attention.inputs import ModelInputs
from attncli.attention.selection import HeadsRequest
from attncli.attention.stacks import collect, name_stacks, unread_stacks
from attncli.choices import METRICS
from attncli.results.heads import HeadMetrics, Interval, Spread, Stack

if TYPE_CHECKING:
    from attncli.attention.collector import LayerSums, StackKey
    from attncli.models.loading.loaded_model import LoadedModel

#: The share of samples whose interval holds the true mean.
CONFIDENCE_LEVEL = 0.95

#: Degrees of freedom from which on an expansion around the normal distribution is exact to ten digits.
_EXPANSION_FROM = 300


def confidence_interval(mean: float, squares: float, count: int) -> Interval | None:
    """The 95 % interval of a mean: mean ± t · s / √n, with s² = squares / (n − 1) (Student 1908).

    squares: the sum of squared deviations from the mean.  count: how many values there are; None below two.
    It isn't cut to what the values can be: the end of an interval around a share may lie above 1.
    """
    if count < 2:
        return None
    half = student_quantile(count - 1) * math.sqrt(max(squares, 0.0) / (count - 1) / count)
    return mean - half, mean + half


@cache
def student_quantile(freedom: int) -> float:
    """The t with P(|T| ≤ t) = 0.95 for Student's distribution with so many degrees of freedom.

    >>> round(student_quantile(7), 4)
    2.3646
    """
    if freedom > _EXPANSION_FROM:
        return _expand_quantile(1.959963984540054, freedom)
    low, high = 1.0, 13.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _central_probability(middle, freedom) < CONFIDENCE_LEVEL else (low, middle)
    return (low + high) / 2


def _central_probability(t: float, freedom: int) -> float:
    """P(|T| ≤ t), as a finite sum (Abramowitz & Stegun 1964, 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine = math.cos(angle)
    odd = freedom % 2
    # cos θ + 2/3 cos³ θ + …, or 1 + 1/2 cos² θ + …, up to the power freedom − 2.
    term, total = cosine if odd else 1.0, 0.0
    for power in range(odd, freedom - 1, 2):
        total += term
        term *= cosine * cosine * (power + 1) / (power + 2)
    if odd:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total


def _expand_quantile(z: float, freedom: int) -> float:
    """The quantile from the normal one (Abramowitz & Stegun 1964, 26.7.5)."""
    parts = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + math.fsum(part / float(freedom) ** power for power, part in enumerate(parts, 1))


@dataclass(frozen=True)
class Moments:
    """What is known of values that came bit by bit: how many, their mean, and their squared deviations from it, summed.

    All float64, (metrics, heads).
    """

    count: Tensor
    mean: Tensor
    squares: Tensor

    @classmethod
    def of(cls, values: Tensor) -> Moments:
        """Those of (texts, metrics, heads); NaN is no value."""
        shown = ~values.isnan()
        count = shown.sum(0).double()
        mean = values.nan_to_num().sum(0) / count.clamp(min=1)
        squares = torch.where(shown, values - mean, 0).square().sum(0)
        return cls(count, mean, squares)

    def merged(self, other: Moments) -> Moments:
        """Those of both sets of values together (Chan, Golub & LeVeque 1979), exact where a difference of large sums
        would not be."""
        count = self.count + other.count
        share = other.count / count.clamp(min=1)
        step = other.mean - self.mean
        squares = self.squares + other.squares + step.square() * self.count * share
        return Moments(count, self.mean + step * share, squares)


@dataclass(frozen=True)
class LayerAverages:
    """One layer so far. baseline: the same of even attention, for one head.  queries: how many showed each metric."""

    metrics: Moments
    baseline: Moments
    queries: Tensor

    @classmethod
    def of(cls, measured: LayerSums) -> LayerAverages:
        even = measured.baseline.by_text()[:, :, :1]
        return cls(Moments.of(measured.metrics.by_text()), Moments.of(even), measured.metrics.all_queries())

    def merged(self, other: LayerAverages) -> LayerAverages:
        return LayerAverages(
            self.metrics.merged(other.metrics), self.baseline.merged(other.baseline), self.queries + other.queries
        )


@dataclass
class Averages:
    """The metrics of all texts that were added, of the heads that `wanted` chooses."""

    wanted: HeadsRequest
    texts: int = 0
    #: What is the same for all texts (layers, heads and their names), as the first of them had it.
    frames: dict[StackKey, Stack] = field(default_factory=dict)
    layers: dict[tuple[StackKey, int], LayerAverages] = field(default_factory=dict)
    #: Stacks that ran and of which nothing could be read, with what attends there.
    unread: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of_all(cls, wanted: HeadsRequest, parts: Iterable[Averages]) -> Averages:
        """What several have averaged, of texts of their own, together."""
        whole = cls(wanted)
        for part in parts:
            whole.frames, whole.unread = (part.frames, part.unread) if part.frames else (whole.frames, whole.unread)
            whole._merge(part.layers)
            whole.texts += part.texts
        return whole

    def add(self, model: LoadedModel, inputs: ModelInputs) -> None:
        """Run the model on a batch of texts and take in what its heads do. Raises as `attention.stacks.look` does."""
        collector = collect(model, inputs, self.wanted)
        seen = name_stacks(collector)
        if not self.frames:
            self.frames = dict(zip(seen.names, seen.of_text(0), strict=True))
            self.unread = tuple(unread_stacks(collector))
        self._merge({(key, number): LayerAverages.of(measured) for key, number, measured in seen.measured()})
        self.texts += inputs.batch

    def stacks(self) -> tuple[Stack, ...]:
        """The means with their 95 % intervals; rows and columns belong to no text, so there are none."""
        return tuple(self._stack(key, frame) for key, frame in self.frames.items())

    def _merge(self, layers: dict[tuple[StackKey, int], LayerAverages]) -> None:
        for place, new in layers.items():
            self.layers[place] = self.layers[place].merged(new) if place in self.layers else new

    def _stack(self, key: StackKey, frame: Stack) -> Stack:
        own = {
            number: layer for (other, number), layer in sorted(self.layers.items(), key=_layer_number) if other == key
        }
        even = {number: _mean_values(layer.baseline, 0) for number, layer in own.items()}
        thresholds = {**LABEL_THRESHOLDS, **self.wanted.thresholds}
        heads = tuple(_head_metrics(head, own[head.layer], even[head.layer], thresholds) for head in frame.metrics)
        return replace(frame, queries=(), keys=(), metrics=heads, baselines=even, patterns=())


def _layer_number(entry: tuple[tuple[StackKey, int], LayerAverages]) -> int:
    return entry[0][1]


def _head_metrics(
    frame: HeadMetrics, layer: LayerAverages, even: Mapping[str, float | None], thresholds: Mapping[str, float]
) -> HeadMetrics:
    values = _mean_values(layer.metrics, frame.head)
    queries = dict(zip(METRICS, layer.queries.tolist(), strict=True))
    earned = assign_labels(values, even, queries, thresholds)
    return replace(frame, labels=earned, values=values, spread=_spread(layer.metrics, frame.head))


def _mean_values(moments: Moments, head: int) -> dict[str, float | None]:
    pairs = zip(moments.mean[:, head].tolist(), moments.count[:, head].tolist(), strict=True)
    return {name: mean if count else None for name, (mean, count) in zip(METRICS, pairs, strict=True)}


def _spread(moments: Moments, head: int) -> Spread:
    means, squares, counts = (part[:, head].tolist() for part in (moments.mean, moments.squares, moments.count))
    ends = (
        confidence_interval(mean, square, int(count))
        for mean, square, count in zip(means, squares, counts, strict=True)
    )
    return Spread(dict(zip(METRICS, ends, strict=True)), {n: int(c) for n, c in zip(METRICS, counts, strict=True)})
