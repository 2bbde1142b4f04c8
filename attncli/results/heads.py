"""The result of `attn heads`: stacks, layers and heads with metrics and patterns, and their differences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

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

__all__ = [
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

#: `duplicate` and `induction` of so many repeated tokens or fewer are a coincidence.
FEW_REPEATS = 1

#: What differs between two results.
DifferenceKind = Literal["models", "texts"]
#: The ends of a 95 % confidence interval.
Interval = tuple[float, float]


@short_repr
class Spread(NamedTuple):
    """The confidence of a mean over texts.

    intervals: the 95 % interval of each metric; None with fewer than two texts that have it.
    counts: how many texts have each metric.
    """

    intervals: Mapping[str, Interval | None]
    counts: Mapping[str, int]

    def to_dict(self) -> dict[str, object]:
        intervals = {name: None if ends is None else list(ends) for name, ends in self.intervals.items()}
        return {"intervals": intervals, "counts": dict(self.counts)}


class Probe(NamedTuple):
    """Random tokens in the place of texts: sequences of `tokens` different ones, each repeated `repeats` times."""

    sequences: int
    tokens: int
    repeats: int
    seed: int

    def to_dict(self) -> dict[str, int]:
        return self._asdict()


@short_repr
class Generated(NamedTuple):
    """The tokens that the model generated greedily. text: None without a tokenizer."""

    ids: tuple[int, ...]
    text: str | None

    def to_dict(self) -> dict[str, object]:
        return {"ids": list(self.ids), "text": self.text}


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer by its true index. mixer: what mixes its tokens where it has no attention (then `heads` is 0)."""

    layer: int
    heads: int
    mixer: str | None = None

    def to_dict(self) -> dict[str, object]:
        return {"layer": self.layer, "heads": self.heads, "mixer": self.mixer}


class Quadrants(NamedTuple):
    """Attention within and between a text and its pair (A and B).

    Each is the mean over the queries of one text of their weight on the keys of one, with special tokens separate. The
    three of A sum to 1, and so do those of B, except for a sink outside of the text.
    """

    a_to_a: float
    a_to_b: float
    a_to_special: float
    b_to_a: float
    b_to_b: float
    b_to_special: float

    @property
    def crossing(self) -> float:
        """The mean weight from one text to the other."""
        return (self.a_to_b + self.b_to_a) / 2

    def to_dict(self) -> dict[str, float]:
        return self._asdict()


@short_repr
@dataclass(frozen=True, slots=True)
class HeadMetrics:
    """The metrics of one head; `name` is the head as printed (`5.1`, or `cross.1.2` where there are several stacks).

    layer, head: from 0.  labels: what the head does by its metrics (`previous`, `induction`); often empty.
    values: the metrics by name; None where the text doesn't determine one.
    spread: where the values are means over several texts.  quadrants: where the text has a pair.
    token_index: the position of the token that the metric `token` is about; None for means over several texts.
    """

    name: str
    layer: int
    head: int
    labels: tuple[str, ...]
    values: Mapping[str, float | None]
    spread: Spread | None = None
    quadrants: Quadrants | None = None
    token_index: int | None = None

    def interval(self, metric: str) -> Interval | None:
        """The confidence interval of a metric; None for a single text."""
        return None if self.spread is None else self.spread.intervals.get(metric)

    def to_dict(self) -> dict[str, object]:
        start = {"name": self.name, "layer": self.layer, "head": self.head, "labels": list(self.labels)}
        spread = {} if self.spread is None else self.spread.to_dict()
        quadrants = {} if self.quadrants is None else {"quadrants": self.quadrants.to_dict()}
        return {**start, **self.values, "token_index": self.token_index, **spread, **quadrants}


@dataclass(frozen=True, slots=True)
class Stack:
    """The layers of one kind: `encoder` (BERT too), `decoder` (GPT too), `cross`, or a tower.

    stack: which of these.  layers: all of the stack.  metrics: one entry per head.
    queries, keys: the tokens of the rows and of the columns; empty where the metrics are means over many texts.
    query_medium, key_medium: whether these are tokens of a text, patches of a picture or frames of a sound.
    causal: no query attends to a later key.  full: each attends to every key, as far as is known.
    baselines: per layer with attention, the metrics of uniform attention over the visible keys.
    repeats: per layer with attention, how many ordinary queries `duplicate` and `induction` are means of. Of fewer than
    two (`FEW_REPEATS`) nothing is concluded.
    patterns: of the chosen heads only.
    sketches: small patterns of all heads, for drawings only, where these are few and none was chosen.
    unit: what a query and a key are: a token, a word or a line.  query_lines, key_lines: the numbers of lines, from 1,
    where they are lines; None for one that is in no line.  whole: the total numbers of queries and keys, where those
    here are a part; None where unknown.
    reading: the row of one position, if requested.  ranking: the heads by its weight on one key, if requested.
    even_quadrants: per layer, those of uniform attention, where the text has a pair.
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
    full: bool = True
    query_lines: tuple[int | None, ...] | None = None
    key_lines: tuple[int | None, ...] | None = None
    repeats: Mapping[int, Mapping[str, int]] = field(default_factory=dict)

    def has_evidence(self, metric: str, layer: int | None = None) -> bool:
        """Whether a metric of a layer, or of any, rests on enough queries to rank heads or to explain a change."""
        layers = self.repeats if layer is None else (layer,)
        counts = [self.repeats.get(number, {}).get(metric) for number in layers]
        return all(count is None for count in counts) or any((count or 0) > FEW_REPEATS for count in counts)

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
            "repeats": [{"layer": layer, **counts} for layer, counts in self.repeats.items()],
            "patterns": [pattern.to_dict() for pattern in self.patterns],
            **read,
            **ranked,
        }

    def _baseline(self, layer: int) -> dict[str, object]:
        even = self.even_quadrants.get(layer)
        quadrants = {} if even is None else {"quadrants": even.to_dict()}
        return {"layer": layer, **self.baselines[layer], **quadrants}


class KeyChange(NamedTuple):
    """How much more of a head's weight a key gets on the other side, mean over the rows: a share, with its sign.

    key: its place among the stack's `keys`.
    """

    key: int
    change: float

    def to_dict(self) -> dict[str, object]:
        return self._asdict()


@short_repr
class HeadChange(NamedTuple):
    """How one head differs between this side and the other.

    total_variation: the mean over its queries of ½ Σ_j |a_ij − b_ij|, from 0 (equal) to 1 (no key in common): the share
    of its weight that moved. None without patterns of the same tokens.
    labels, values: of the other side.  changes: the other side's metrics minus those of this one, None where one is
    missing.  largest: the metric whose share of a row changed most, None where no share is known on both sides; one
    that rests on a single repeated token doesn't count.
    gained, lost: the keys whose weight grew and shrank most, at most three each; empty without patterns of the same
    tokens, and where these are pooled.
    """

    name: str
    layer: int
    head: int
    total_variation: float | None
    labels: tuple[str, ...]
    values: Mapping[str, float | None]
    changes: Mapping[str, float | None]
    largest: str | None
    gained: tuple[KeyChange, ...] = ()
    lost: tuple[KeyChange, ...] = ()

    @property
    def change(self) -> float | None:
        """The size of the change, from 0 to 1: the total variation, else the largest change of a share."""
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
            "gained": [key.to_dict() for key in self.gained],
            "lost": [key.to_dict() for key in self.lost],
        }


@short_repr
@dataclass(frozen=True, slots=True)
class StackDifference:
    """The heads of a stack, those with the largest change first.

    queries, keys: the other side's.  patterns: the other side's weights minus those of this one, of the chosen heads.
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


@showable
@short_repr
@dataclass(frozen=True, slots=True)
class HeadsResult:
    """The attention of a model's heads on one text, or its mean over many.

    model, device, dtype: what was run, where, and in which number format.  stacks: one in most models; encoder, decoder
    and cross in an encoder–decoder.  made_by: versions of the libraries.
    warnings: reasons to doubt the numbers.  notes: how the numbers were computed.
    chosen: the user selected layers, heads or positions, so views show those instead of the overview.
    metric: the requested one, which views map.  by: what rows and columns of patterns are.
    weighting: what the patterns contain: `attention`, `norm` (weights times the norm of the transformed value vectors,
    Kobayashi et al. 2020; rows don't sum to 1) or `rollout` (Abnar & Zuidema 2020).
    failures: a sentence for each check that failed; None where nothing was checked.
    texts: how many texts the values are means over; None for one text.
    probe: the random tokens that were used instead of a text.
    top: how many entries a ranking shows.
    difference: of another model, or of another text, from this one; None where nothing was compared.
    steps: the step-by-step computation of heads; None if not requested.
    generated: what the model generated, if requested.
    picture: the input of a vision model.
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
