"""What the queries, keys and values of one head are made of.

One head and one query, walked through step by step with the model's own numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from attncli.results.base import short_repr
from attncli.results.tokens import Token

#: float64, computed from the queries, keys and values that the model made in its own precision.
Vector = npt.NDArray[np.float64]


@short_repr
@dataclass(frozen=True, slots=True)
class Projection:
    """How a linear module makes a head's q, k or v of what it is given: factor · (x W[:, start:stop] + b).

    module: its path.  start, stop: the head's columns of W, which is (d_model, …): rows of the weight of a `Linear`.
    bias: whether there is a b.  factor: 1, but for models that scale q here and not the scores later.
    """

    module: str
    start: int
    stop: int
    bias: bool
    factor: float

    def to_dict(self) -> dict[str, object]:
        return {
            "module": self.module,
            "columns": [self.start, self.stop],
            "bias": self.bias,
            "factor": self.factor,
        }


@short_repr
@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """What q, k and v are made of.

    states: what enters the attention layer at the query, (d_model,), or None where that isn't known.
    normalised: whether that is a norm of the residual stream and not the stream itself; None where it isn't known.
    query, key, value: what makes each; None where more than one linear module does, or it isn't known.
    before_rotation: q before its position turned it, (d,); None where nothing does.
    reader: of cross-attention the stack that q comes from; k and v are of what another stack gives out. None where all
    three are of the same states.
    """

    states: Vector | None = None
    normalised: bool | None = None
    query: Projection | None = None
    key: Projection | None = None
    value: Projection | None = None
    before_rotation: Vector | None = None
    reader: str | None = None

    def to_dict(self) -> dict[str, object]:
        made = {"query": self.query, "key": self.key, "value": self.value}
        return {
            "cross": self.reader is not None,
            "input": None if self.states is None else self.states.tolist(),
            "input_normalised": self.normalised,
            "projections": {name: None if each is None else each.to_dict() for name, each in made.items()},
            "query_before_rotation": None if self.before_rotation is None else self.before_rotation.tolist(),
        }


@short_repr
@dataclass(frozen=True, slots=True)
class UnlistedKeys:
    """The keys that aren't listed, together: how many the query sees of them, and how many it doesn't.

    weight: what they get.  weighted_sum: what is read of them, (d_value,).
    """

    visible: int
    hidden: int
    weight: float
    weighted_sum: Vector

    def to_dict(self) -> dict[str, object]:
        return {
            "visible": self.visible,
            "hidden": self.hidden,
            "weight": self.weight,
            "weighted_sum": self.weighted_sum.tolist(),
        }


@short_repr
@dataclass(frozen=True, slots=True)
class HeadOutput:
    """What the head writes, by its rows of the output matrix, and what that is added to.

    passed_on: what these rows were handed, (d_value,), where it isn't the weighted sum itself: a gate or a norm stands
    between; else None.  output: passed_on (or the weighted sum) times the rows, (d_model,).  bias: what the module
    adds once for all heads together, or None.
    module: ‖all heads and the bias together‖.  residual: ‖the states that this is added to‖, or None.
    scale: what the output is multiplied with before; None where it is no plain sum that it goes into.
    """

    passed_on: Vector | None
    output: Vector
    bias: Vector | None
    module: float
    residual: float | None
    scale: float | None

    @property
    def norm(self) -> float:
        """‖output‖"""
        return float(np.linalg.norm(self.output))

    @property
    def added(self) -> float:
        """‖what this head alone adds‖"""
        return self.norm * (1.0 if self.scale is None else self.scale)

    @property
    def all_added(self) -> float:
        """‖what all heads and the bias add together‖"""
        return self.module * (1.0 if self.scale is None else self.scale)

    def to_dict(self) -> dict[str, object]:
        return {
            "passed_on": None if self.passed_on is None else self.passed_on.tolist(),
            "output": self.output.tolist(),
            "output_bias": None if self.bias is None else self.bias.tolist(),
            "residual": {
                "before": self.residual,
                "added_by_head": self.added,
                "added_by_all_heads": self.all_added,
                "scale": self.scale,
            },
        }


@short_repr
@dataclass(frozen=True)
class Steps:
    """From the query q of one token to what the head adds there, key by key.

        products_j = q · k_j        scaled = scale · products        capped = softcap · tanh(scaled / softcap)
        scores = scaled (or capped) + bias, −∞ where a key is hidden
        weights_j = e^(scores_j − log_sum)        weighted_sum = Σ_j weights_j v_j

    key_head: whose keys and values these are; `sharing` heads use them in common.  rotated: q and k were turned
    by their positions before.  keys: the tokens that are listed; every array has an entry or a row for each.
    visible: whether the query sees them.  sink: the score of a place outside the text, which takes its part of the
    softmax.
    log_sum: ln Σ e^score, of all keys, those that aren't listed and the sink among them.
    written: None where the model's heads go through no plain output matrix.
    causal: every token sees itself and earlier ones alone.
    """

    name: str
    stack: str
    layer: int
    head: int
    key_head: int
    sharing: int
    query: Token
    query_vector: Vector
    rotated: bool
    scale: float
    softcap: float | None
    keys: tuple[Token, ...]
    key_vectors: Vector
    products: Vector
    scaled: Vector
    capped: Vector | None
    bias: Vector | None
    visible: npt.NDArray[np.bool_]
    scores: Vector
    sink: float | None
    log_sum: float
    weights: Vector
    values: Vector
    others: UnlistedKeys
    weighted_sum: Vector
    written: HeadOutput | None
    origin: Origin
    causal: bool

    @property
    def hidden(self) -> int:
        """How many keys the query doesn't see."""
        return self.others.hidden + int((~self.visible).sum())

    @property
    def sink_weight(self) -> float | None:
        """What goes to the sink."""
        return None if self.sink is None else float(np.exp(self.sink - self.log_sum))

    @cached_property
    def query_norm(self) -> float:
        return float(np.linalg.norm(self.query_vector))

    @cached_property
    def key_norms(self) -> Vector:
        return _vector_norms(self.key_vectors)

    @cached_property
    def value_norms(self) -> Vector:
        return _vector_norms(self.values)

    @cached_property
    def sum_norm(self) -> float:
        """‖weighted_sum‖"""
        return float(np.linalg.norm(self.weighted_sum))

    def visible_only(self) -> Steps:
        """The same with the keys alone that the query sees."""
        return self.with_keys(np.flatnonzero(self.visible).tolist())

    def with_top_keys(self, count: int) -> Steps:
        """The same with `count` keys listed at most: those with the largest weights, in the order of the text."""
        if len(self.keys) <= count:
            return self
        # Equal weights: the earlier key; a visible one before a hidden one.
        order = np.lexsort((np.arange(len(self.keys)), ~self.visible, -self.weights))
        return self.with_keys(sorted(order[:count].tolist()))

    def with_keys(self, places: Sequence[int]) -> Steps:
        """The same with the keys at these places of the list alone; the rest is moved to `others`."""
        kept = np.asarray(places, dtype=np.intp)
        rest = np.setdiff1d(np.arange(len(self.keys)), kept)
        seen = int(self.visible[rest].sum())
        others = UnlistedKeys(
            self.others.visible + seen,
            self.others.hidden + len(rest) - seen,
            self.others.weight + float(self.weights[rest].sum()),
            self.others.weighted_sum + self.weights[rest] @ self.values[rest],
        )
        return replace(
            self,
            keys=tuple(self.keys[place] for place in places),
            key_vectors=self.key_vectors[kept],
            products=self.products[kept],
            scaled=self.scaled[kept],
            capped=None if self.capped is None else self.capped[kept],
            bias=None if self.bias is None else self.bias[kept],
            visible=self.visible[kept],
            scores=self.scores[kept],
            weights=self.weights[kept],
            values=self.values[kept],
            others=others,
        )

    def to_dict(self) -> dict[str, object]:
        """Everything at full precision, so that each step can be computed again."""
        written: dict[str, object] = {"passed_on": None, "output": None, "output_bias": None, "residual": None}
        return {
            "name": self.name,
            "stack": self.stack,
            "layer": self.layer,
            "head": self.head,
            "key_head": self.key_head,
            "sharing": self.sharing,
            "query": self.query.to_dict(),
            **self.origin.to_dict(),
            "query_vector": self.query_vector.tolist(),
            "rotated": self.rotated,
            "scale": self.scale,
            "softcap": self.softcap,
            "keys": [token.to_dict() for token in self.keys],
            "key_vectors": self.key_vectors.tolist(),
            "products": self.products.tolist(),
            "scaled": self.scaled.tolist(),
            "capped": None if self.capped is None else self.capped.tolist(),
            "bias": None if self.bias is None else _finite_or_none(self.bias),
            "causal": self.causal,
            "visible": self.visible.tolist(),
            "scores": _finite_or_none(self.scores),
            "sink": self.sink,
            "sink_weight": self.sink_weight,
            "log_sum": self.log_sum,
            "weights": self.weights.tolist(),
            "values": self.values.tolist(),
            "others": self.others.to_dict(),
            "weighted_sum": self.weighted_sum.tolist(),
            **(written if self.written is None else self.written.to_dict()),
            "norms": self._norms(),
        }

    def _norms(self) -> dict[str, object]:
        return {
            "query": self.query_norm,
            "keys": self.key_norms.tolist(),
            "values": self.value_norms.tolist(),
            "weighted_sum": self.sum_norm,
            "output": None if self.written is None else self.written.norm,
        }


def _vector_norms(vectors: Vector) -> Vector:
    norms: Vector = np.linalg.norm(vectors, axis=-1)
    return norms


def _finite_or_none(values: Vector) -> list[float | None]:
    """Numbers for JSON, which has no infinity."""
    return [value if np.isfinite(value) else None for value in values.tolist()]
