"""The result of `attn heads`: stacks, layers and heads with metrics and patterns, and their differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Annotated, Any, Literal, NamedTuple

from attncli.results.alignment import AlignedPair, WordLink
from attncli.results.base import MadeBy, from_dict, show_result, struct
from attncli.results.circuits import Circuits
from attncli.results.effects import Effects, EffectsDifference, HeadEffect, Interval, Prediction
from attncli.results.generated import Generated
from attncli.results.marks import FLAT, OPTIONAL, Beside, ByKey, Key
from attncli.results.patterns import (
    TOKENS,
    Bins,
    ColumnReading,
    HeadWeight,
    Medium,
    Pattern,
    Picture,
    Ranking,
    RowReading,
    Span,
    Weights,
    equal_spans,
)
from attncli.results.sound import Sound
from attncli.results.steps import Steps
from attncli.results.struct import Struct, field
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

SCHEMA: Literal["attncli.heads/1"] = "attncli.heads/1"

#: `duplicate` and `induction` of so many repeated tokens or fewer are a coincidence.
FEW_REPEATS = 1

#: What differs between two results.
DifferenceKind = Literal["models", "texts"]


@struct()
class Spread(NamedTuple):
    """The confidence of a mean over texts.

    intervals: the 95 % interval of each metric; None with fewer than two texts that have it.
    counts: how many texts have each metric.
    """

    intervals: Mapping[str, Interval | None]
    counts: Mapping[str, int]


@struct(short=False)
class Probe(NamedTuple):
    """Random tokens in the place of texts: sequences of `tokens` different ones, each repeated `repeats` times."""

    sequences: int
    tokens: int
    repeats: int
    seed: int


@struct(short=False)
class Needle(NamedTuple):
    """A needle in the place of a text: `texts` of `tokens` random tokens; `needle_tokens` of them stand in it twice."""

    texts: int
    tokens: int
    needle_tokens: int
    seed: int


class Layer(Struct):
    """A layer by its true index. mixer: what mixes its tokens where it has no attention (then `heads` is 0)."""

    layer: int
    heads: int
    mixer: str | None = None


@struct(short=False)
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


@struct(short=False)
class Link(NamedTuple):
    """The weight of one token on another that stands out most in a head, between ordinary tokens.

    query, key: their places among the queries and the keys of the stack.  uniform: the weight of uniform attention.
    """

    query: int
    key: int
    weight: float
    uniform: float

    @property
    def excess(self) -> float:
        """How far it is above uniform attention."""
        return self.weight - self.uniform


class HeadMetrics(Struct, json="name layer head labels values token_index link spread quadrants"):
    """The metrics of one head; `name` is the head as printed (`5.1`, or `cross.1.2` where there are several stacks).

    layer, head: from 0.  labels: what the head does by its metrics (`previous`, `induction`); often empty.
    values: the metrics by name; None where the text doesn't determine one.
    spread: where the values are means over several texts.  quadrants: where the text has a pair.
    token_index: the position of the token that the metric `token` is about; None for means over several texts.
    link: the strongest link between two ordinary tokens, of a whole text token by token; None where it isn't known.
    """

    name: str
    layer: int
    head: int
    labels: tuple[str, ...]
    values: Annotated[Mapping[str, float | None], FLAT]
    spread: Annotated[Spread | None, FLAT, OPTIONAL] = None
    quadrants: Annotated[Quadrants | None, OPTIONAL] = None
    token_index: int | None = None
    link: Annotated[Link | None, OPTIONAL] = None

    def interval(self, metric: str) -> Interval | None:
        """The confidence interval of a metric; None for a single text."""
        return None if self.spread is None else self.spread.intervals.get(metric)


def resting_places(keys: Sequence[Token], *, causal: bool) -> frozenset[int]:
    """The places of the keys on which heads rest where they have nothing to read (attention sinks).

    Special tokens (Clark et al. 2019), and the first token of a text in a causal stack (Xiao et al. 2023).
    """
    return frozenset(place for place, key in enumerate(keys) if key.special or (causal and key.index == 0))


class Baseline(Struct):
    """The metrics of uniform attention in one layer."""

    values: Annotated[Mapping[str, float | None], FLAT]
    quadrants: Annotated[Quadrants | None, OPTIONAL] = None


class Stack(
    Struct,
    json="stack causal full unit whole layers queries keys query_lines key_lines query_medium key_medium metrics "
    "baseline_entries repeats patterns reading ranking readers effects",
):
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
    readers: the column of one key: who reads it, if requested.
    effects: what each head does to the outcome, one entry per head, if requested.
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
    reading: Annotated[RowReading | None, OPTIONAL] = None
    ranking: Annotated[Ranking | None, OPTIONAL] = None
    readers: Annotated[ColumnReading | None, OPTIONAL] = None
    even_quadrants: Mapping[int, Quadrants] = field(default_factory=dict)
    query_medium: Annotated[Medium, Key("axes.queries")] = TOKENS
    key_medium: Annotated[Medium, Key("axes.keys")] = TOKENS
    full: bool = True
    query_lines: Annotated[tuple[int | None, ...] | None, OPTIONAL] = None
    key_lines: Annotated[tuple[int | None, ...] | None, OPTIONAL] = None
    repeats: Annotated[Mapping[int, Mapping[str, int]], ByKey("layer")] = field(default_factory=dict)
    effects: Annotated[tuple[HeadEffect, ...], OPTIONAL] = ()

    @property
    def resting(self) -> frozenset[int]:
        """The places of the keys on which heads rest: special tokens, and in a causal stack the first token."""
        return resting_places(self.keys, causal=self.causal)

    def has_evidence(self, metric: str, layer: int | None = None) -> bool:
        """Whether a metric of a layer, or of any, rests on enough queries to rank heads or to explain a change."""
        layers = self.repeats if layer is None else (layer,)
        counts = [self.repeats.get(number, {}).get(metric) for number in layers]
        return all(count is None for count in counts) or any((count or 0) > FEW_REPEATS for count in counts)

    def __repr__(self) -> str:
        """For instance `<Stack decoder: 12 layers of 12 heads, 7 tokens>`."""
        counts = [layer.heads for layer in self.layers]
        parts = [f"{len(counts)} layers of {counts[0]} heads" if len(set(counts)) == 1 else
                 f"{len(counts)} layers, {sum(counts)} heads in {len(counts) - counts.count(0)} of them"]  # fmt: skip
        sides = ((self.queries, self.query_medium), (self.keys, self.key_medium))
        if lengths := dict.fromkeys(self._length(len(side), medium) for side, medium in sides if side):
            parts.append(" on ".join(lengths))
        return f"<Stack {self.stack}: {', '.join(parts)}>"

    def _length(self, number: int, medium: Medium) -> str:
        unit = self.unit if medium.kind == "tokens" else medium.kind.removesuffix("s")
        return f"{number:,} {unit}{'' if number == 1 else 's'}"

    @property
    def baseline_entries(self) -> Annotated[Mapping[int, Baseline], Key("baselines"), ByKey("layer")]:
        return {layer: Baseline(values, self.even_quadrants.get(layer)) for layer, values in self.baselines.items()}

    @staticmethod
    def _unwritten(data: dict[str, Any]) -> dict[str, Any]:
        rows, columns = len(data["queries"]), len(data["keys"])
        for pattern in data["patterns"]:
            lengths = [len(row) for row in pattern["weights"]]
            if pattern["bins"] is None and lengths != [columns] * rows:
                raise ValueError(f"the pattern {pattern['layer']}.{pattern['head']} isn't {rows} by {columns}")
        entries: dict[int, Baseline] = from_dict(Annotated[dict[int, Baseline], ByKey("layer")], data["baselines"])
        even = {layer: entry.quadrants for layer, entry in entries.items() if entry.quadrants is not None}
        return {"baselines": {layer: entry.values for layer, entry in entries.items()}, "even_quadrants": even}


@struct(short=False)
class KeyChange(NamedTuple):
    """How much more of a head's weight a key gets on the other side, mean over the rows: a share, with its sign.

    key: its place among the stack's `keys`.
    """

    key: int
    change: float


@struct()
class HeadChange(NamedTuple):
    """How one head differs between this side and the other.

    total_variation: the mean over its queries of ½ Σ_j |a_ij − b_ij|, from 0 (equal) to 1 (no key in common): the share
    of its weight that moved. None without patterns of the same tokens.
    labels, values: of the other side; effects of heads are among the values.  changes: the other side's values minus
    those of this one, None where one is missing.
    largest: the metric whose share of a row changed most, None where no share is known on both sides; one that rests on
    a single repeated token doesn't count.
    gained, lost: the keys whose weight grew and shrank most, at most three each; empty without patterns of the same
    tokens, and where these are pooled.
    """

    name: str
    layer: int
    head: int
    total_variation: float | None
    labels: tuple[str, ...]
    values: Annotated[Mapping[str, float | None], Key("metrics")]
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


class StackDifference(Struct):
    """The heads of a stack, those with the largest change first.

    queries, keys: the other side's.  patterns: the other side's weights minus those of this one, of the chosen heads.
    """

    stack: str
    queries: tuple[Token, ...]
    keys: tuple[Token, ...]
    heads: tuple[HeadChange, ...]
    patterns: tuple[Pattern, ...] = ()


class HeadsDifference(Struct, json="kind model ranked_by effects stacks"):
    """How the heads of the other side (another model or text) differ from those of this one.

    model: the other side's.  metric: the one that heads are ranked by, or the effect; None for the overall change.
    by_total_variation: whether the overall change is the total variation, or the largest change of a share.
    effects: the other side's outcome and how other parts changed, where the effects of heads are compared.
    """

    kind: DifferenceKind
    model: str
    metric: str | None
    by_total_variation: bool
    stacks: tuple[StackDifference, ...]
    effects: Annotated[EffectsDifference | None, OPTIONAL] = None

    @property
    def ranked_by(self) -> str:
        return self.metric or ("total_variation" if self.by_total_variation else "largest")

    @staticmethod
    def _unwritten(data: dict[str, Any]) -> dict[str, Any]:
        metric = None if data["ranked_by"] in ("total_variation", "largest") else data["ranked_by"]
        known = any(head["total_variation"] is not None for stack in data["stacks"] for head in stack["heads"])
        return {"metric": metric, "by_total_variation": known}


class HeadLine(Struct):
    """One head as a line of JSON Lines: its metrics, and its pattern if the result has it.

    baseline: the metrics of uniform attention in its layer.
    """

    model: str
    stack: str
    head: Annotated[HeadMetrics, FLAT]
    baseline: Mapping[str, float | None]
    ranking: Annotated[HeadWeight | None, OPTIONAL] = None
    difference: Annotated[HeadChange | None, OPTIONAL] = None
    steps: Annotated[Steps | None, OPTIONAL] = None
    effect: Annotated[HeadEffect | None, OPTIONAL] = None
    weights: Annotated[Weights | None, OPTIONAL] = None
    bins: Annotated[Bins | None, Beside("weights")] = None


@show_result
class HeadsResult(
    Struct,
    json="schema warnings notes model device dtype text_count probe needle by weighting receptive_field chosen metric "
    "top failures generated prediction effects qk_ov alignment_heads alignment sound steps stacks difference picture "
    "pictures made_by",
):
    """The attention of a model's heads on one text, or its mean over many.

    model, device, dtype: what was run, where, and in which number format.  stacks: one in most models; encoder, decoder
    and cross in an encoder–decoder.  made_by: versions of the libraries.
    warnings: reasons to doubt the numbers.  notes: how the numbers were computed.
    chosen: the user selected layers, heads or positions, so views show those instead of the overview.
    metric: the requested one, which views map.  by: what rows and columns of patterns are.
    weighting: what the patterns contain: `attention`, `norm` (weights times the norm of the transformed value vectors,
    Kobayashi et al. 2020; rows don't sum to 1) or `rollout` (Abnar & Zuidema 2020).
    receptive_field: True for a rollout divided by that of uniform attention; None without this correction.
    failures: a sentence for each check that failed; None where nothing was checked.
    texts: how many texts the values are means over; None for one text.
    probe: the random tokens that were used instead of a text.  needle: the needle in random tokens.
    qk_ov: what heads do by their weights alone.
    top: how many entries a ranking shows.
    difference: of another model, or of another text, from this one; None where nothing was compared.
    steps: the step-by-step computation of heads; None if not requested.
    generated: what the model generated, if requested.
    prediction: what the model expects at a position, if requested.
    effects: the outcome that the effects of heads are about, and those of other parts, if requested.
    alignment: of pairs of texts, the source word that each target word reads most.  alignment_heads: the mean of which
    heads tells it.
    sound: the windows of a sound that is longer than the model's.
    picture: the input of a vision model.  pictures: all of them, where there are several.
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
    failures: Annotated[tuple[str, ...] | None, OPTIONAL] = None
    texts: int | None = None
    probe: Probe | None = None
    top: int = 10
    difference: Annotated[HeadsDifference | None, OPTIONAL] = None
    steps: Annotated[tuple[Steps, ...] | None, OPTIONAL] = None
    generated: Annotated[Generated | None, OPTIONAL] = None
    picture: Annotated[Picture | None, OPTIONAL] = None
    pictures: Annotated[tuple[Picture, ...], OPTIONAL] = ()
    prediction: Annotated[Prediction | None, OPTIONAL] = None
    effects: Annotated[Effects | None, OPTIONAL] = None
    needle: Annotated[Needle | None, OPTIONAL] = None
    qk_ov: Annotated[Circuits | None, OPTIONAL] = None
    receptive_field: Annotated[bool | None, OPTIONAL] = None
    alignment_heads: Annotated[tuple[str, ...], OPTIONAL] = ()
    alignment: Annotated[tuple[WordLink, ...] | None, OPTIONAL] = None
    sound: Annotated[Sound | None, OPTIONAL] = None

    def picture_at(self, number: int) -> Picture | None:
        """One of several pictures, or the only one."""
        return self.pictures[number] if number < len(self.pictures) else self.picture

    @property
    def schema(self) -> Literal["attncli.heads/1"]:
        return SCHEMA

    @property
    def text_count(self) -> Annotated[int, Key("texts")]:
        return 1 if self.texts is None else self.texts

    @staticmethod
    def _unwritten(data: dict[str, Any]) -> dict[str, Any]:
        # Means over texts have no tokens.
        one = data["texts"] == 1 and (any(stack["queries"] for stack in data["stacks"]) or "qk_ov" in data)
        return {"texts": None if one else int(data["texts"])}

    def aligned_pairs(self) -> Iterator[AlignedPair]:
        """The alignment of each pair of texts, as JSON Lines has them."""
        for record, links in groupby(self.alignment or (), lambda link: link.record):
            yield AlignedPair(self.model, record, self.alignment_heads, tuple(links))

    def lines(self) -> Iterator[HeadLine]:
        """The heads of all stacks, as JSON Lines has them."""
        changed = self.difference.stacks if self.difference is not None else ()
        changes = {head.name: head for stack in changed for head in stack.heads}
        steps = {each.name: each for each in reversed(self.steps or ())}
        for stack in self.stacks:
            patterns = {(pattern.layer, pattern.head): pattern for pattern in reversed(stack.patterns)}
            effects = {each.name: each for each in stack.effects}
            ranked = {} if stack.ranking is None else {one.name: one for one in stack.ranking.heads}
            for head in stack.metrics:
                name, pattern = head.name, patterns.get((head.layer, head.head))
                yield HeadLine(
                    self.model,
                    stack.stack,
                    head,
                    stack.baselines.get(head.layer, {}),
                    ranked.get(name),
                    changes.get(name),
                    steps.get(name),
                    effects.get(name),
                    *((None, None) if pattern is None else (pattern.weights, pattern.bins)),
                )
