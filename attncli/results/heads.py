"""What `attn heads` found: stacks of layers of heads, their metrics, and the patterns that were asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from attncli.results.media import TOKENS, Medium, Picture
from attncli.results.provenance import MadeBy
from attncli.results.tokens import Token

SCHEMA = "attncli.heads/1"

#: The metrics in the order in which they are shown; the names are what `--metric` takes and what the JSON holds.
METRICS = (
    "entropy",
    "distance",
    "confidence",
    "previous",
    "current",
    "next",
    "first",
    "special",
    "virtual_sink",
    "duplicate",
    "induction",
)

Weights = npt.NDArray[np.float32]
Span = tuple[int, int]

#: From … to: of 95 samples in 100, the interval holds the mean of all texts.
Interval = tuple[float, float]


class Spread(NamedTuple):
    """How sure a mean over texts is. intervals: 95 % of each metric, None for fewer than two texts that show it.

    counts: how many texts show each metric.
    """

    intervals: Mapping[str, Interval | None]
    counts: Mapping[str, int]

    def to_dict(self) -> dict[str, object]:
        intervals = {name: None if ends is None else list(ends) for name, ends in self.intervals.items()}
        return {"intervals": intervals, "counts": dict(self.counts)}


class Probe(NamedTuple):
    """Random tokens that stood for texts: so many sequences of `tokens` different ones, each `repeats` times over."""

    sequences: int
    tokens: int
    repeats: int
    seed: int

    def to_dict(self) -> dict[str, int]:
        return self._asdict()


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer by its true index. `mixer` names what mixes its tokens where it has no attention (then `heads` is 0)."""

    layer: int
    heads: int
    mixer: str | None = None

    def to_dict(self) -> dict[str, object]:
        return {"layer": self.layer, "heads": self.heads, "mixer": self.mixer}


@dataclass(frozen=True, slots=True)
class HeadMetrics:
    """The metrics of one head; `name` is the head as printed (`5.1`, or `cross.1.2` where there are several stacks).

    spread: where the values are means over several texts.
    """

    name: str
    layer: int
    head: int
    labels: tuple[str, ...]
    values: Mapping[str, float | None]
    spread: Spread | None = None

    def interval(self, metric: str) -> Interval | None:
        """The interval of a mean, if it is one and has one."""
        return None if self.spread is None else self.spread.intervals.get(metric)

    def to_dict(self) -> dict[str, object]:
        start = {"name": self.name, "layer": self.layer, "head": self.head, "labels": list(self.labels)}
        spread = {} if self.spread is None else self.spread.to_dict()
        return {**start, **self.values, **spread}


@dataclass(frozen=True, slots=True)
class Bins:
    """Half-open spans of positions that the rows and the columns of a pooled pattern stand for."""

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    def to_dict(self) -> dict[str, object]:
        return {"rows": [list(span) for span in self.rows], "columns": [list(span) for span in self.columns]}


def equal_spans(length: int, bins: int) -> tuple[Span, ...]:
    """Cut 0…length into `bins` spans whose sizes differ by one at most (fewer spans where the length is smaller)."""
    bins = min(bins, length)
    edges = [length * index // bins for index in range(bins + 1)] if bins else [0]
    return tuple(pairwise(edges))


@dataclass(frozen=True, slots=True)
class Pattern:
    """One head's attention, (queries, keys), rows summing to 1; or pooled: rows averaged and columns summed per bin.

    head: None where it is of all heads together, a rollout up to this layer.
    """

    layer: int
    head: int | None
    weights: Weights
    bins: Bins | None = None

    def pooled(self, rows: int, columns: int) -> Pattern:
        """The same pattern in at most `rows` × `columns` cells; itself where it is that small already."""
        row_count, column_count = self.weights.shape
        if row_count <= rows and column_count <= columns:
            return self
        row_groups, column_groups = equal_spans(row_count, rows), equal_spans(column_count, columns)
        # A bin that stands for more queries weighs more in the mean of its group.
        sizes = [b - a for a, b in self._spans(0)]
        summed = np.add.reduceat(self.weights, [a for a, _ in column_groups], axis=1)
        weighed = summed * np.asarray(sizes, dtype=np.float32)[:, None]
        starts = [a for a, _ in row_groups]
        pooled = np.add.reduceat(weighed, starts, axis=0) / np.add.reduceat(sizes, starts)[:, None]
        bins = Bins(_merge(self._spans(0), row_groups), _merge(self._spans(1), column_groups))
        return Pattern(self.layer, self.head, pooled.astype(np.float32), bins)

    def _spans(self, axis: int) -> tuple[Span, ...]:
        if self.bins is not None:
            return self.bins.rows if axis == 0 else self.bins.columns
        return tuple((index, index + 1) for index in range(self.weights.shape[axis]))

    def to_dict(self) -> dict[str, object]:
        return {
            "layer": self.layer,
            "head": self.head,
            "weights": self.weights.tolist(),
            "bins": None if self.bins is None else self.bins.to_dict(),
        }


def _merge(spans: tuple[Span, ...], groups: tuple[Span, ...]) -> tuple[Span, ...]:
    return tuple((spans[a][0], spans[b - 1][1]) for a, b in groups)


@dataclass(frozen=True, slots=True)
class Stack:
    """The layers of one kind: `encoder` (BERT too), `decoder` (GPT too), `cross`, or a tower.

    queries, keys: the tokens of the rows and of the columns; none where the metrics are means over many texts.
    query_medium, key_medium: what these are: tokens of a text, patches of a picture, frames of a sound.
    causal: no query sees a key after it.
    baselines: per layer with attention, the metrics that attention spread evenly over the visible keys would have.
    patterns: of the chosen heads alone.
    """

    stack: str
    layers: tuple[Layer, ...]
    queries: tuple[Token, ...]
    keys: tuple[Token, ...]
    metrics: tuple[HeadMetrics, ...]
    baselines: Mapping[int, Mapping[str, float | None]]
    causal: bool
    patterns: tuple[Pattern, ...] = ()
    query_medium: Medium = TOKENS
    key_medium: Medium = TOKENS

    def to_dict(self) -> dict[str, object]:
        return {
            "stack": self.stack,
            "causal": self.causal,
            "layers": [layer.to_dict() for layer in self.layers],
            "queries": [token.to_dict() for token in self.queries],
            "keys": [token.to_dict() for token in self.keys],
            "axes": {"queries": self.query_medium.to_dict(), "keys": self.key_medium.to_dict()},
            "metrics": [head.to_dict() for head in self.metrics],
            "baselines": [{"layer": layer, **values} for layer, values in self.baselines.items()],
            "patterns": [pattern.to_dict() for pattern in self.patterns],
        }


@dataclass(frozen=True, slots=True)
class HeadsResult:
    """Where the heads of one model look on one text, or on the mean over many.

    warnings: what makes the numbers doubtful.  notes: what a reader should know of how they came about.
    chosen: the user named layers, heads or positions, so a picture shows those instead of the overview.
    metric: the one that was asked for, which a picture maps.  by: what rows and columns of patterns stand for.
    weighting: what the patterns hold: `attention`, `norm` (weights times the norm of what is read, Kobayashi et al.
    2020; rows don't sum to 1) or `rollout` (Abnar & Zuidema 2020).
    failures: a sentence for each check that does not hold; None where nothing was checked.
    texts: how many the values are means over; None where they are those of one text.
    probe: what stood for texts, if none were given.
    picture: what a model of pictures saw.
    """

    model: str
    device: str
    dtype: str
    stacks: tuple[Stack, ...]
    made_by: MadeBy
    warnings: tuple[str, ...] = ()
    chosen: bool = False
    notes: tuple[str, ...] = ()
    metric: str | None = None
    by: str = "token"
    weighting: str = "attention"
    failures: tuple[str, ...] | None = None
    texts: int | None = None
    probe: Probe | None = None
    picture: Picture | None = None

    def to_dict(self) -> dict[str, object]:
        """Exactly the JSON that `attn heads --json` prints."""
        return {
            "schema": SCHEMA,
            "warnings": list(self.warnings),
            "notes": list(self.notes),
            "model": self.model,
            "device": self.device,
            "dtype": self.dtype,
            "texts": 1 if self.texts is None else self.texts,
            "probe": None if self.probe is None else self.probe.to_dict(),
            "by": self.by,
            "weighting": self.weighting,
            **({} if self.failures is None else {"failures": list(self.failures)}),
            "stacks": [stack.to_dict() for stack in self.stacks],
            "made_by": self.made_by.to_dict(),
        }
