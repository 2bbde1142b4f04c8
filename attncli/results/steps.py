"""The computation of one head for one query, step by step, and what its q, k and v are computed from."""

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
    """How a linear module computes a head's q, k or v: factor · (x W[:, start:stop] + b).

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
    """What q, k and v are computed from.

    states: the input of the attention layer at the query, (d_model,); None where unknown.
    normalised: whether that is a norm of the residual stream and not the stream itself; None where unknown.
    query, key, value: the projection of each; None where it is more than one linear module, or unknown.
    before_rotation: q before the rotary embedding, (d,); None without one.
    reader: of cross-attention, the stack that q is from, while k and v are from the output of another stack. None where
    all three are from the same states.
    """

    states: Vector | None = None
    normalised: bool | None = None
    query: Projection | None = None
    key: Projection | None = None
    value: Projection | None = None
    before_rotation: Vector | None = None
    reader: str | None = None

    def to_dict(self) -> dict[str, object]:
        projections = {"query": self.query, "key": self.key, "value": self.value}
        return {
            "cross": self.reader is not None,
            "input": None if self.states is None else self.states.tolist(),
            "input_normalised": self.normalised,
            "projections": {name: None if each is None else each.to_dict() for name, each in projections.items()},
            "query_before_rotation": None if self.before_rotation is None else self.before_rotation.tolist(),
        }


@short_repr
@dataclass(frozen=True, slots=True)
class UnlistedKeys:
    """The sums over the keys that aren't listed.

    visible, hidden: how many of them the query may attend to, and how many not.  weight: the sum of their weights.
    weighted_sum: the weighted sum of their values, (d_value,).
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
    """The output of the head through its rows of the output matrix, and the residual stream that it is added to.

    passed_on: the input of these rows, (d_value,), where a gate or a norm changes the weighted sum; else None.
    output: passed_on (or the weighted sum) times the rows, (d_model,).  bias: of the output projection, or None.
    module: ‖the sum of all heads and the bias‖.  residual: ‖the states that this is added to‖, or None.
    scale: the factor of the output before the sum; None where it isn't simply added.
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
        """‖what this head adds to the residual stream‖"""
        return self.norm * (1.0 if self.scale is None else self.scale)

    @property
    def all_added(self) -> float:
        """‖what all heads and the bias add to the residual stream‖"""
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
    """From the query vector of one token to the output of the head there, key by key.

        products_j = q · k_j        scaled = scale · products        capped = softcap · tanh(scaled / softcap)
        scores = scaled (or capped) + bias, −∞ where a key is hidden
        weights_j = e^(scores_j − log_sum)        weighted_sum = Σ_j weights_j v_j

    key_head: the key-value head, which `sharing` heads share.  rotated: q and k have rotary embeddings.
    keys: the listed tokens; every array has an entry or a row for each.  visible: whether the query may attend to them.
    sink: the score of an attention sink outside the text, which is part of the softmax.
    log_sum: ln Σ e^score over all keys, unlisted ones and the sink included.
    written: None where the model's heads have no plain output matrix.
    causal: every token attends to itself and earlier ones only.
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
        """How many keys are hidden from the query."""
        return self.others.hidden + int((~self.visible).sum())

    @property
    def sink_weight(self) -> float | None:
        """The weight of the sink."""
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
        """The same with only the visible keys listed."""
        return self.with_keys(np.flatnonzero(self.visible).tolist())

    def with_top_keys(self, count: int) -> Steps:
        """The same with at most `count` keys listed: those with the largest weights, in the order of the text."""
        if len(self.keys) <= count:
            return self
        # Of equal weights, visible keys before hidden ones, then earlier ones first.
        order = np.lexsort((np.arange(len(self.keys)), ~self.visible, -self.weights))
        return self.with_keys(sorted(order[:count].tolist()))

    def with_keys(self, places: Sequence[int]) -> Steps:
        """The same with only the keys at these indices of the list; the rest is added to `others`."""
        selected = np.asarray(places, dtype=np.intp)
        rest = np.setdiff1d(np.arange(len(self.keys)), selected)
        visible = int(self.visible[rest].sum())
        others = UnlistedKeys(
            self.others.visible + visible,
            self.others.hidden + len(rest) - visible,
            self.others.weight + float(self.weights[rest].sum()),
            self.others.weighted_sum + self.weights[rest] @ self.values[rest],
        )
        return replace(
            self,
            keys=tuple(self.keys[place] for place in places),
            key_vectors=self.key_vectors[selected],
            products=self.products[selected],
            scaled=self.scaled[selected],
            capped=None if self.capped is None else self.capped[selected],
            bias=None if self.bias is None else self.bias[selected],
            visible=self.visible[selected],
            scores=self.scores[selected],
            weights=self.weights[selected],
            values=self.values[selected],
            others=others,
        )

    def to_dict(self) -> dict[str, object]:
        """All numbers at full precision, so that each step can be recomputed."""
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
