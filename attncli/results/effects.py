"""What the model predicts at a position, and what heads and other parts do to the outcome there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from attncli.effects import EFFECTS
from attncli.results.base import struct
from attncli.results.marks import FLAT, OPTIONAL, Key
from attncli.results.struct import Struct, field

#: The ends of a 95 % confidence interval.
Interval = tuple[float, float]

#: What stands behind the name of a kind of effect in the key of its interval.
_INTERVAL = "_interval"


@struct()
class OutcomeToken(NamedTuple):
    """A token of the vocabulary. text: as it reads (` Paris`)."""

    id: int
    text: str


@struct()
class Outcome(NamedTuple):
    """What is measured at a position.

    answer, contrast: the tokens; None in a model without a language-model head, and without a contrast.
    value: logits, before any softcap: the answer's less the contrast's, else less the mean over the vocabulary; without
    a language-model head 1, the cosine of the vector with itself.
    probability: of the answer, by the model's own logits; None without a language-model head.
    """

    answer: OutcomeToken | None
    contrast: OutcomeToken | None
    value: float
    probability: float | None


@struct()
class KeyReading(NamedTuple):
    """What a head reads most at the position. index: the key's place among the stack's keys.  weight: its attention."""

    index: int  # type: ignore[assignment]  # shadows the method of tuples
    text: str
    weight: float


class HeadEffect(Struct, json="name layer head values interval_entries change_log_probability reads"):
    """What one head does to the outcome.

    values: by the kind of effect (`direct`, `zero`, `mean`, `patch`); None where there is none, as the direct effect of
    an encoder's head.  intervals: of means over texts, by kind.
    change_log_probability: by how much ln p of the answer falls with the head ablated, by the first of `zero` and
    `mean` that was asked for.  reads: its largest weight at the position, None where it has no query there.
    """

    name: str
    layer: int
    head: int
    values: Annotated[Mapping[str, float | None], FLAT]
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    change_log_probability: Annotated[float | None, OPTIONAL] = None
    reads: Annotated[KeyReading | None, OPTIONAL] = None

    @property
    def interval_entries(self) -> Annotated[Mapping[str, Interval], FLAT]:
        return {f"{kind}{_INTERVAL}": ends for kind, ends in self.intervals.items()}

    @staticmethod
    def _unwritten(data: dict[str, Any]) -> dict[str, Any]:
        ends = {kind: data[f"{kind}{_INTERVAL}"] for kind in EFFECTS if f"{kind}{_INTERVAL}" in data}
        values = {kind: data[kind] for kind in EFFECTS if kind in data}
        if not all(value is None or isinstance(value, float | int) for value in values.values()):
            raise TypeError("an effect is a number")
        return {"values": values, "intervals": {kind: (float(low), float(high)) for kind, (low, high) in ends.items()}}


class PartEffect(Struct):
    """What another part of the model does to the outcome.

    name: `embedding.token`, `mlp.3`, `attention.3.bias`, `norm.final.bias`, `unembedding.bias` …
    values: by the kind of effect; None where a kind has none.
    """

    name: str
    values: Annotated[Mapping[str, float | None], FLAT]


class Effects(Struct):
    """The outcome and what is known beside the heads, whose effects stand in the stacks.

    stack: the one with the position.  position: among its tokens.  kinds: of effects, in the order asked for.
    source: the outcome of the text that heads were patched from.
    parts: MLPs, embeddings and biases.
    unexplained: the outcome less the sum of all direct effects; None without direct effects.
    """

    stack: str
    position: int
    kinds: tuple[str, ...]
    outcome: Outcome
    source: Outcome | None = None
    parts: tuple[PartEffect, ...] = ()
    unexplained: float | None = None


class PartChange(Struct, json="name values changes"):
    """How the effects of a part differ between this side and the other.

    values: of the other side, by the kind of effect.  changes: the other side's less those of this one, None where
    one is missing.
    """

    name: str
    values: Annotated[Mapping[str, float | None], Key("effects")]
    changes: Mapping[str, float | None]


class EffectsDifference(Struct):
    """How effects differ between this side and the other, beside those of heads.

    outcome, source, unexplained: of the other side, as in `Effects`.  parts: of both sides.
    """

    outcome: Outcome
    source: Outcome | None
    parts: tuple[PartChange, ...]
    unexplained: float | None = None


@struct()
class PredictedToken(NamedTuple):
    """A token that the model expects. probability: the softmax of the model's own logits."""

    id: int
    text: str
    probability: float


@struct()
class AnswerRank(NamedTuple):
    """How the answer fares among all tokens. rank: 1 for the likeliest."""

    id: int
    text: str
    rank: int
    probability: float


class LensState(Struct):
    """What a state would predict, if the rest of the layers were left out (logit lens).

    state: as `attn compare` numbers them: 0 enters the first block, k leaves block k − 1.
    tokens: the likeliest.  answer: the answer's place.
    """

    state: int
    tokens: tuple[PredictedToken, ...]
    answer: AnswerRank


class Prediction(Struct):
    """What the model expects at a position: as the next token, or in the place of the mask.

    position: among the tokens of the stack that predicts.  tokens: the likeliest first.
    lens: the same after every state; the last one is the model's own prediction.
    """

    position: int
    tokens: tuple[PredictedToken, ...]
    lens: tuple[LensState, ...] = ()
