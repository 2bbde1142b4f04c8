"""How the heads of one result differ from those of another: two models on one text, or one model on two texts.

What `attn heads` found: stacks of layers of heads, their metrics, and the patterns that were asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from attncli.choices import METRICS
from attncli.results.base import MadeBy, short_repr, showable
from attncli.results.patterns import (
    TOKENS,
    Bins,
    Medium,
    Pattern,
    Picture,
    Ranking,
    RowReading,
    Span,
    Weights,
    equal_spans,
)
from attncli.results.steps import Steps
from attncli.results.tokens import Token

#: What is different.
DifferenceKind = Literal["models", "texts"]


@short_repr
class HeadChange(NamedTuple):
    """One head here and there.

    total_variation: the mean over its queries of ½ Σ_j |a_ij − b_ij|, from 0 (the same) to 1 (no key in common): the
    share of its weight that it puts elsewhere. None where there are no patterns of the same tokens.
    labels, values: of the other side.  changes: the other side's metrics less those of this one, None where one of them
    is missing.  largest: the metric whose share of a row changed most, None where no share is known on both sides.
    """

    name: str
    layer: int
    head: int
    total_variation: float | None
    labels: tuple[str, ...]
    values: Mapping[str, float | None]
    changes: Mapping[str, float | None]
    largest: str | None

    @property
    def change(self) -> float | None:
        """How much changed, from 0 to 1: the total variation, else the largest change of a share."""
        if self.total_variation is not None or self.largest is None:
            return self.total_variation
        return abs(self.changes[self.largest] or 0.0)

    def to_dict(self) -> dict[str, object]:
        return {
            "name": self.name,
            "layer": self.layer,
            "head": self.head,
            "total_variation": self.total_variation,
            "labels": list(self.labels),
            "metrics": dict(self.values),
            "changes": dict(self.changes),
            "largest": self.largest,
        }


@short_repr
@dataclass(frozen=True, slots=True)
class StackDifference:
    """The heads of a stack by how much they changed, the most first.

    queries, keys: the other side's.  patterns: the other side's weights less those of this one, of the chosen heads.
    """

    stack: str
    queries: tuple[Token, ...]
    keys: tuple[Token, ...]
    heads: tuple[HeadChange, ...]
    patterns: tuple[Pattern, ...] = ()

    def to_dict(self) -> dict[str, object]:
        return {
            "stack": self.stack,
            "queries": [token.to_dict() for token in self.queries],
            "keys": [token.to_dict() for token in self.keys],
            "heads": [head.to_dict() for head in self.heads],
            "patterns": [pattern.to_dict() for pattern in self.patterns],
        }


@short_repr
@dataclass(frozen=True, slots=True)
class HeadsDifference:
    """How the heads of the other side (another model or text) differ from those of this one.

    model: the other side's.  metric: the one that heads are ranked by; None for the overall change.
    by_total_variation: whether the overall change is the total variation, or the largest change of a share.
    """

    kind: DifferenceKind
    model: str
    metric: str | None
    by_total_variation: bool
    stacks: tuple[StackDifference, ...]

    def to_dict(self) -> dict[str, object]:
        return {
            "kind": self.kind,
            "model": self.model,
            "ranked_by": self.metric or ("total_variation" if self.by_total_variation else "largest"),
            "stacks": [stack.to_dict() for stack in self.stacks],
        }


__all__ = [
    "METRICS",
    "SCHEMA",
    "Bins",
    "HeadMetrics",
    "HeadsResult",
    "Interval",
    "Layer",
    "Pattern",
    "Probe",
    "Span",
    "Spread",
    "Stack",
    "Weights",
    "equal_spans",
]

SCHEMA = "attncli.heads/1"

#: From … to: of 95 samples in 100, the interval holds the mean of all texts.
Interval = tuple[float, float]


@short_repr
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


@short_repr
class Generated(NamedTuple):
    """What the model wrote itself, token by token the likeliest. text: None where there was no tokenizer."""

    ids: tuple[int, ...]
    text: str | None

    def to_dict(self) -> dict[str, object]:
        return {"ids": list(self.ids), "text": self.text}


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer by its true index. `mixer` names what mixes its tokens where it has no attention (then `heads` is 0)."""

    layer: int
    heads: int
    mixer: str | None = None

    def to_dict(self) -> dict[str, object]:
        return {"layer": self.layer, "heads": self.heads, "mixer": self.mixer}


class Quadrants(NamedTuple):
    """Of a text and its pair (A and B): the mean over the queries of one of their weight on the keys of one, special
    tokens apart. The three of A sum to 1, and so do those of B, but for a sink outside of the text."""

    a_to_a: float
    a_to_b: float
    a_to_special: float
    b_to_a: float
    b_to_b: float
    b_to_special: float

    @property
    def crossing(self) -> float:
        """What goes from either text to the other, at the mean."""
        return (self.a_to_b + self.b_to_a) / 2

    def to_dict(self) -> dict[str, float]:
        return self._asdict()


@short_repr
@dataclass(frozen=True, slots=True)
class HeadMetrics:
    """The metrics of one head; `name` is the head as printed (`5.1`, or `cross.1.2` where there are several stacks).

    layer, head: from 0.  labels: what the head does, as its metrics show it (`previous`, `induction`); often nothing.
    values: the metrics by name; None where the text can't show one.
    spread: where the values are means over several texts.  quadrants: where there are two texts in one.
    """

    name: str
    layer: int
    head: int
    labels: tuple[str, ...]
    values: Mapping[str, float | None]
    spread: Spread | None = None
    quadrants: Quadrants | None = None

    def interval(self, metric: str) -> Interval | None:
        """The interval of a mean, if it is one and has one."""
        return None if self.spread is None else self.spread.intervals.get(metric)

    def to_dict(self) -> dict[str, object]:
        start = {"name": self.name, "layer": self.layer, "head": self.head, "labels": list(self.labels)}
        spread = {} if self.spread is None else self.spread.to_dict()
        quadrants = {} if self.quadrants is None else {"quadrants": self.quadrants.to_dict()}
        return {**start, **self.values, **spread, **quadrants}


@dataclass(frozen=True, slots=True)
class Stack:
    """The layers of one kind: `encoder` (BERT too), `decoder` (GPT too), `cross`, or a tower.

    stack: which of these.  layers: all of the stack.  metrics: a head each.
    queries, keys: the tokens of the rows and of the columns; none where the metrics are means over many texts.
    query_medium, key_medium: what these are: tokens of a text, patches of a picture, frames of a sound.
    causal: no query sees a key after it.
    baselines: per layer with attention, the metrics that attention spread evenly over the visible keys would have.
    patterns: of the chosen heads alone.
    sketches: small ones of all heads, where these are few and none was chosen; for pictures, and not in the data.
    unit: what a query and a key are: a token, a word or a line.  query_lines, key_lines: the numbers of lines, from 1,
    where they are lines; None for one that stands in no line.  whole: how many queries and keys there are in all,
    where those here are a part; None where nobody counted.
    reading: what one position reads, if one was asked for.  ranking: the heads by its weight on one key, if one was.
    even_quadrants: per layer, those that even attention would have, where there are two texts in one.
    """

    stack: str
    layers: tuple[Layer, ...]
    queries: tuple[Token, ...]
    keys: tuple[Token, ...]
    metrics: tuple[HeadMetrics, ...]
    baselines: Mapping[int, Mapping[str, float | None]]
    causal: bool
    patterns: tuple[Pattern, ...] = ()
    sketches: tuple[Pattern, ...] = ()
    unit: str = "token"
    whole: tuple[int, int] | None = None
    reading: RowReading | None = None
    ranking: Ranking | None = None
    even_quadrants: Mapping[int, Quadrants] = field(default_factory=dict)
    query_medium: Medium = TOKENS
    key_medium: Medium = TOKENS
    query_lines: tuple[int | None, ...] | None = None
    key_lines: tuple[int | None, ...] | None = None

    def __repr__(self) -> str:
        """For instance `<Stack decoder: 12 layers of 12 heads, 7 tokens>`."""
        return f"<Stack {self.stack}: {', '.join((self._height(), *self._extent()))}>"

    def _height(self) -> str:
        counts = [layer.heads for layer in self.layers]
        if len(set(counts)) == 1:
            return f"{len(counts)} layers of {counts[0]} heads"
        return f"{len(counts)} layers, {sum(counts)} heads in {len(counts) - counts.count(0)} of them"

    def _extent(self) -> tuple[str, ...]:
        sides = ((self.queries, self.query_medium), (self.keys, self.key_medium))
        texts = dict.fromkeys(self._counted(len(side), medium) for side, medium in sides if side)
        return (" on ".join(texts),) if texts else ()

    def _counted(self, number: int, medium: Medium) -> str:
        unit = self.unit if medium.kind == "tokens" else medium.kind.removesuffix("s")
        return f"{number:,} {unit}{'' if number == 1 else 's'}"

    def to_dict(self) -> dict[str, object]:
        read = {} if self.reading is None else {"reading": self.reading.to_dict()}
        ranked = {} if self.ranking is None else {"ranking": self.ranking.to_dict()}
        numbers = {"query_lines": self.query_lines, "key_lines": self.key_lines}
        return {
            "stack": self.stack,
            "causal": self.causal,
            "layers": [layer.to_dict() for layer in self.layers],
            "queries": [token.to_dict() for token in self.queries],
            "keys": [token.to_dict() for token in self.keys],
            **{name: list(lines) for name, lines in numbers.items() if lines is not None},
            "axes": {"queries": self.query_medium.to_dict(), "keys": self.key_medium.to_dict()},
            "metrics": [head.to_dict() for head in self.metrics],
            "baselines": [self._baseline(layer) for layer in self.baselines],
            "patterns": [pattern.to_dict() for pattern in self.patterns],
            **read,
            **ranked,
        }

    def _baseline(self, layer: int) -> dict[str, object]:
        even = self.even_quadrants.get(layer)
        quadrants = {} if even is None else {"quadrants": even.to_dict()}
        return {"layer": layer, **self.baselines[layer], **quadrants}


@showable
@short_repr
@dataclass(frozen=True, slots=True)
class HeadsResult:
    """Where the heads of one model look on one text, or on the mean over many.

    model, device, dtype: what was run, where, and in which number format.  stacks: what was found, a stack each: one
    in most models, encoder, decoder and cross where there are both.  made_by: versions that took part.
    warnings: what makes the numbers doubtful.  notes: what a reader should know of how they came about.
    chosen: the user named layers, heads or positions, so a picture shows those instead of the overview.
    metric: the one that was asked for, which a picture maps.  by: what rows and columns of patterns stand for.
    weighting: what the patterns hold: `attention`, `norm` (weights times the norm of what is read, Kobayashi et al.
    2020; rows don't sum to 1) or `rollout` (Abnar & Zuidema 2020).
    failures: a sentence for each check that does not hold; None where nothing was checked.
    texts: how many the values are means over; None where they are those of one text.
    probe: what stood for texts, if none were given.
    top: how many of what is ranked a picture shows.
    difference: how another model, or the same on another text, differs from this one; None where nothing was compared.
    steps: heads that were walked through; None where nobody asked.
    generated: what the model wrote itself, where it was asked to.
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
    top: int = 10
    difference: HeadsDifference | None = None
    steps: tuple[Steps, ...] | None = None
    generated: Generated | None = None
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
            **({} if self.generated is None else {"generated": self.generated.to_dict()}),
            **({} if self.steps is None else {"steps": [steps.to_dict() for steps in self.steps]}),
            "stacks": [stack.to_dict() for stack in self.stacks],
            **({} if self.difference is None else {"difference": self.difference.to_dict()}),
            "made_by": self.made_by.to_dict(),
        }
