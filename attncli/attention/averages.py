"""Metrics averaged over many texts, with 95 % confidence intervals, one batch at a time (`Averages`, `BatchCheck`).

Every text weighs the same, however long it is: a head's value is the mean over texts of the mean over a text's
queries. Texts in which a metric is undefined for every query (no token repeats) don't count for that metric. Memory
doesn't grow with the number of texts.

Padding leaks into the states of some models: a convolution over tokens (ConvBERT) reads it, and texts of one batch may
compete for experts. No field of a configuration says so; a model's attention shows it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch
from torch import Tensor

from attncli.attention.inputs import ModelInputs, build_inputs
from attncli.attention.labels import LABEL_THRESHOLDS, assign_labels
from attncli.attention.selection import HeadsRequest
from attncli.attention.stacks import Watch, collect
from attncli.metrics import METRICS, REPEAT_METRICS
from attncli.results.heads import HeadMetrics, Interval, Spread, Stack

if TYPE_CHECKING:
    from attncli.attention.collector import CollectedLayer, StackKey
    from attncli.models.capture.attention_types import Attention
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.results.tokens import Token


@dataclass
class Averages:
    """The metrics of all added texts, of the heads that `request` chooses."""

    request: HeadsRequest
    texts: int = 0
    #: The stacks of the first text, for what is the same in all texts: layers, heads and their names.
    templates: dict[StackKey, Stack] = field(default_factory=dict)
    layers: dict[tuple[StackKey, int], LayerAverages] = field(default_factory=dict)
    #: Stacks that ran but could not be read, with the class of their attention module.
    unread: tuple[tuple[str, str], ...] = ()

    @classmethod
    def combine(cls, request: HeadsRequest, parts: Iterable[Averages]) -> Averages:
        """The averages over the texts of all parts, such as those of several processes."""
        total = cls(request)
        for part in parts:
            if part.templates:
                total.templates, total.unread = part.templates, part.unread
            total._merge(part.layers)
            total.texts += part.texts
        return total

    def add(self, model: LoadedModel, inputs: ModelInputs, watch: Watch | None = None) -> None:
        """Run the model on a batch of texts and add its metrics. watch: as `attention.stacks.collect` takes it.

        Raises as that does.
        """
        collected = collect(model, inputs, self.request, watch)
        if not self.templates:
            self.templates = {stack.key: stack.build() for stack in collected}
            self.unread = tuple(collected[0].collector.unread_stacks())
        layers = ((stack.key, layer) for stack in collected for layer in stack.layers.values() if layer.chosen)
        self._merge({(key, layer.number): LayerAverages.from_layer(layer) for key, layer in layers})
        self.texts += inputs.batch

    def stacks(self) -> tuple[Stack, ...]:
        """The means with their 95 % intervals, without patterns, rows and columns, which differ between texts."""
        return tuple(self._stack(key, template) for key, template in self.templates.items())

    def _merge(self, layers: dict[tuple[StackKey, int], LayerAverages]) -> None:
        for key, layer in layers.items():
            self.layers[key] = self.layers[key].merged(layer) if key in self.layers else layer

    def _stack(self, key: StackKey, template: Stack) -> Stack:
        numbers = sorted(number for other, number in self.layers if other == key)
        layers = {number: self.layers[key, number] for number in numbers}
        baselines = {number: _mean_values(layer.baseline, 0) for number, layer in layers.items()}
        thresholds = {**LABEL_THRESHOLDS, **self.request.thresholds}
        heads = tuple(
            _head_metrics(head, layers[head.layer], baselines[head.layer], thresholds) for head in template.metrics
        )
        repeats = {number: layer.repeats() for number, layer in layers.items()}
        return replace(template, queries=(), keys=(), metrics=heads, baselines=baselines, patterns=(), repeats=repeats)


def _head_metrics(
    template: HeadMetrics, layer: LayerAverages, baseline: Mapping[str, float | None], thresholds: Mapping[str, float]
) -> HeadMetrics:
    moments, values = layer.metrics, _mean_values(layer.metrics, template.head)
    queries = dict(zip(METRICS, layer.queries.tolist(), strict=True))
    means, squares = (part[:, template.head].tolist() for part in (moments.mean, moments.squares))
    counts = dict(zip(METRICS, moments.count[:, template.head].int().tolist(), strict=True))
    by_metric = zip(counts.items(), means, squares, strict=True)
    intervals = {name: confidence_interval(mean, square, count) for (name, count), mean, square in by_metric}
    labels = assign_labels(values, baseline, queries, thresholds)
    return replace(
        template, labels=labels, values=values, spread=Spread(intervals, counts), token_index=None, link=None
    )


def _mean_values(moments: Moments, head: int) -> dict[str, float | None]:
    pairs = zip(moments.mean[:, head].tolist(), moments.count[:, head].tolist(), strict=True)
    return {name: mean if count else None for name, (mean, count) in zip(METRICS, pairs, strict=True)}


@dataclass(frozen=True)
class LayerAverages:
    """The averages of one layer.

    baseline: those of uniform attention, as of one head.  queries: how many queries each metric is a mean of.
    """

    metrics: Moments
    baseline: Moments
    queries: Tensor

    @classmethod
    def from_layer(cls, layer: CollectedLayer) -> LayerAverages:
        baseline = Moments.from_values(layer.baseline.means_by_text()[:, :, :1])
        return cls(Moments.from_values(layer.metrics.means_by_text()), baseline, layer.metrics.total_queries())

    def repeats(self) -> dict[str, int]:
        """How many ordinary queries of all texts the metrics of repeats are means of."""
        measured = zip(METRICS, self.queries.tolist(), self.metrics.count.any(1).tolist(), strict=True)
        return {name: count for name, count, shown in measured if shown and name in REPEAT_METRICS}

    def merged(self, other: LayerAverages) -> LayerAverages:
        return LayerAverages(
            self.metrics.merged(other.metrics), self.baseline.merged(other.baseline), self.queries + other.queries
        )


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations from the mean, of values that come in batches.

    All float64, (metrics, heads).
    """

    count: Tensor
    mean: Tensor
    squares: Tensor

    @classmethod
    def from_values(cls, values: Tensor) -> Moments:
        """The moments of values (texts, metrics, heads), without NaN."""
        is_value = ~values.isnan()
        count = is_value.sum(0).double()
        mean = values.nan_to_num().sum(0) / count.clamp(min=1)
        squares = torch.where(is_value, values - mean, 0).square().sum(0)
        return cls(count, mean, squares)

    def merged(self, other: Moments) -> Moments:
        """The moments of both sets of values together (Chan, Golub & LeVeque 1979), without a difference of large sums,
        which would be inexact."""
        count = self.count + other.count
        share = other.count / count.clamp(min=1)
        step = other.mean - self.mean
        squares = self.squares + other.squares + step.square() * self.count * share
        return Moments(count, self.mean + step * share, squares)


# --- Student's confidence interval

#: The share of samples whose interval contains the true mean.
CONFIDENCE_LEVEL = 0.95

#: For more degrees of freedom an expansion around the normal distribution is exact to ten digits.
_EXPANSION_FROM = 300


def confidence_interval(mean: float, squares: float, count: int) -> Interval | None:
    """The 95 % confidence interval of a mean: mean ± t · s / √n, with s² = squares / (n − 1) (Student 1908).

    squares: the sum of squared deviations from the mean.  count: the number of values. None for fewer than two.
    It isn't clipped to the range of the values: the interval around a share may end above 1.
    """
    if count < 2:
        return None
    half = student_quantile(count - 1) * math.sqrt(max(squares, 0.0) / (count - 1) / count)
    return mean - half, mean + half


@cache
def student_quantile(freedom: int) -> float:
    """The t with P(|T| ≤ t) = 0.95 for Student's t distribution with `freedom` degrees of freedom.

    >>> round(student_quantile(7), 4)
    2.3646
    """
    if freedom > _EXPANSION_FROM:
        # From that of the normal distribution (Abramowitz & Stegun 1964, 26.7.5).
        z = 1.959963984540054
        parts = (
            (z**3 + z) / 4,
            (5 * z**5 + 16 * z**3 + 3 * z) / 96,
            (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        )
        return z + math.fsum(part / float(freedom) ** power for power, part in enumerate(parts, 1))
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
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total


# --- Batches that leave every text's attention as it is alone

#: By how much a weight may differ between two batches: by rounding alone.
_ROUNDING = {"float32": 1e-4, "float64": 1e-4}
_ROUNDING_OF_HALVES = 2e-2


class BatchText(Protocol):
    """A text of a batch: its tokens, and their segment ids (`token_type_ids`)."""

    @property
    def tokens(self) -> tuple[Token, ...]: ...
    @property
    def segments(self) -> tuple[int, ...]: ...


_Text = TypeVar("_Text", bound=BatchText)


@dataclass
class BatchCheck:
    """Splits batches as far as a model needs. It is found out by running two texts together and one of them alone, at
    the first batch and whenever texts are over twice as long as those before."""

    model: LoadedModel
    #: Whether texts of equal length, and of different lengths, may share a batch.
    _may_share: dict[bool, bool] = field(default_factory=lambda: {True: True, False: True})
    #: The longest text that was compared, of equal and of different lengths.
    _compared: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})

    def split(self, texts: Sequence[_Text]) -> Iterator[list[_Text]]:
        """The texts, the longest first, together; or those of equal length; or each alone."""
        longest, shortest = texts[0], texts[-1]
        length = len(longest.tokens)
        is_equal = length == len(shortest.tokens)
        if len(texts) > 1 and self._may_share[is_equal] and length > 2 * self._compared[is_equal]:
            self._compared[is_equal] = length
            self._may_share[is_equal] = self._reads_alike(longest, shortest)
        if len(texts) == 1 or self._may_share[is_equal]:
            yield list(texts)
        elif is_equal:
            yield from ([text] for text in texts)
        else:
            for _, group in groupby(texts, key=lambda text: len(text.tokens)):
                yield from self.split(list(group))

    def _reads_alike(self, longest: BatchText, shortest: BatchText) -> bool:
        """Whether the attention of the shorter text is the same beside a longer one as alone."""
        alone, beside = self._attention_of_last([shortest]), self._attention_of_last([longest, shortest])
        allowed = _ROUNDING.get(self.model.dtype, _ROUNDING_OF_HALVES)
        if alone.keys() != beside.keys():
            return False
        for call, weights in alone.items():
            _, queries, keys = weights.shape
            # Further queries and keys of the other batch are padding.
            other = beside[call][:, :queries, :keys]
            if other.shape != weights.shape or not bool(((other - weights).abs() <= allowed).all()):
                return False
        return True

    def _attention_of_last(self, texts: Sequence[BatchText]) -> dict[tuple[str, int], Tensor]:
        """The weights of the last text by the path of the module and the number of its call: (heads, queries, keys).

        As many queries as the text has tokens at most: further ones are padding.
        """
        found: dict[tuple[str, int], Tensor] = {}
        length = len(texts[-1].tokens)

        def observe(path: str, attention: Attention) -> None:
            rows = (0, min(length, attention.queries))
            weights = [block.weights[-1] for block in attention.blocks(rows=rows)]
            number = sum(1 for other, _ in found if other == path)
            found[path, number] = torch.cat(weights, dim=1).cpu()

        inputs = build_inputs(self.model, [text.tokens for text in texts], [text.segments for text in texts])
        self.model.run_attention(inputs.arguments, observe)
        return found
