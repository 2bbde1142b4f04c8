"""The computation of one head for one query, step by step, and what its q, k and v are computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from attncli.results.base import struct
from attncli.results.marks import FLAT, INFINITE, Key
from attncli.results.struct import Struct
from attncli.results.tokens import Token

#: float64, computed from the queries, keys and values that the model made in its own precision.
Vector = npt.NDArray[np.float64]


class Projection(Struct, json="module columns bias factor"):
    """How a linear module computes a head's q, k or v: factor · (x W[:, start:stop] + b).

    module: its path.  start, stop: the head's columns of W, which is (d_model, …): rows of the weight of a `Linear`.
    bias: whether there is a b.  factor: 1, but for models that scale q here and not the scores later.
    """

    module: str
    start: int
    stop: int
    bias: bool
    factor: float

    @property
    def columns(self) -> tuple[int, int]:
        return self.start, self.stop

    @staticmethod
    def _unwritten(data: dict[str, Any]) -> dict[str, Any]:
        start, stop = data["columns"]
        return {"start": start, "stop": stop}


class Origin(Struct, json="cross reader states normalised query key value before_rotation", eq=False):
    """What q, k and v are computed from.

    states: the input of the attention layer at the query, (d_model,); None where unknown.
    normalised: whether that is a norm of the residual stream and not the stream itself; None where unknown.
    query, key, value: the projection of each; None where it is more than one linear module, or unknown.
    before_rotation: q before the rotary embedding, (d,); None without one.
    reader: of cross-attention, the stack that q is from, while k and v are from the output of another stack. None where
    all three are from the same states.
    """

    states: Annotated[Vector | None, Key("input")] = None
    normalised: Annotated[bool | None, Key("input_normalised")] = None
    query: Annotated[Projection | None, Key("projections.query")] = None
    key: Annotated[Projection | None, Key("projections.key")] = None
    value: Annotated[Projection | None, Key("projections.value")] = None
    before_rotation: Annotated[Vector | None, Key("query_before_rotation")] = None
    reader: Annotated[str | None, Key("query_stack")] = None

    @property
    def cross(self) -> bool:
        return self.reader is not None


class UnlistedKeys(Struct):
    """The sums over the keys that aren't listed.

    visible, hidden: how many of them the query may attend to, and how many not.  weight: the sum of their weights.
    weighted_sum: the weighted sum of their values, (d_value,).
    """

    visible: int
    hidden: int
    weight: float
    weighted_sum: Vector


class HeadOutput(Struct, json="passed_on output bias residual added all_added scale module"):
    """The output of the head through its rows of the output matrix, and the residual stream that it is added to.

    passed_on: the input of these rows, (d_value,), where a gate or a norm changes the weighted sum; else None.
    output: passed_on (or the weighted sum) times the rows, (d_model,).  bias: of the output projection, or None.
    module: ‖the sum of all heads and the bias‖.  residual: ‖the states that this is added to‖, or None.
    scale: the factor of the output before the sum; None where it isn't simply added.
    """

    passed_on: Vector | None
    output: Vector
    bias: Annotated[Vector | None, Key("output_bias")]
    module: Annotated[float, Key("residual.module")]
    residual: Annotated[float | None, Key("residual.before")]
    scale: Annotated[float | None, Key("residual.scale")]

    @property
    def norm(self) -> float:
        """‖output‖"""
        return float(np.linalg.norm(self.output))

    @property
    def added(self) -> Annotated[float, Key("residual.added_by_head")]:
        """‖what this head adds to the residual stream‖"""
        return self.norm * (1.0 if self.scale is None else self.scale)

    @property
    def all_added(self) -> Annotated[float, Key("residual.added_by_all_heads")]:
        """‖what all heads and the bias add to the residual stream‖"""
        return self.module * (1.0 if self.scale is None else self.scale)


@struct()
class PartShare(NamedTuple):
    """A part of the model, and what it gives to a score. name: `3.4` (a head), `mlp.3`, `embedding.token`, …"""

    name: str
    contribution: float


class ScoreSources(Struct):
    """What wrote one score: scale · q·k, split over what parts of the model wrote to the residual streams of q and k.

    key: the token of k.  score: scale · q·k, before a softcap, a bias and the mask.
    query_parts, key_parts: the parts that wrote q, and k, in the order in which they write; each side sums to the score
    but for `unexplained`.  terms: of each pair, (query parts, key parts); a row sums to a query part's contribution, a
    column to a key part's.  unexplained: the score less the sum of the terms.
    """

    key: Token
    score: float
    query_parts: tuple[PartShare, ...]
    key_parts: tuple[PartShare, ...]
    terms: Vector
    unexplained: float

    def __post_init__(self) -> None:
        if self.terms.shape != (len(self.query_parts), len(self.key_parts)):
            raise ValueError("the terms of a score are not one for each pair of its parts")


class Steps(
    Struct,
    json="name stack layer head key_head sharing query origin query_vector rotated scale softcap keys key_vectors "
    "products scaled capped bias causal visible scores sink sink_weight log_sum weights values others weighted_sum "
    "written query_norm key_norms value_norms sum_norm output_norm sources",
):
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
    sources: what wrote the score of one key; None where this can't be followed.
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
    bias: Annotated[Vector | None, INFINITE]
    visible: npt.NDArray[np.bool_]
    scores: Annotated[Vector, INFINITE]
    sink: float | None
    log_sum: float
    weights: Vector
    values: Vector
    others: UnlistedKeys
    weighted_sum: Vector
    written: Annotated[HeadOutput | None, FLAT]
    origin: Annotated[Origin, FLAT]
    causal: bool
    sources: ScoreSources | None = None

    @property
    def hidden(self) -> int:
        """How many keys are hidden from the query."""
        return self.others.hidden + int((~self.visible).sum())

    @property
    def sink_weight(self) -> float | None:
        """The weight of the sink."""
        return None if self.sink is None else float(np.exp(self.sink - self.log_sum))

    @cached_property
    def query_norm(self) -> Annotated[float, Key("norms.query")]:
        return float(np.linalg.norm(self.query_vector))

    @cached_property
    def key_norms(self) -> Annotated[Vector, Key("norms.keys")]:
        return _vector_norms(self.key_vectors)

    @cached_property
    def value_norms(self) -> Annotated[Vector, Key("norms.values")]:
        return _vector_norms(self.values)

    @cached_property
    def sum_norm(self) -> Annotated[float, Key("norms.weighted_sum")]:
        """‖weighted_sum‖"""
        return float(np.linalg.norm(self.weighted_sum))

    @property
    def output_norm(self) -> Annotated[float | None, Key("norms.output")]:
        return None if self.written is None else self.written.norm

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


def _vector_norms(vectors: Vector) -> Vector:
    norms: Vector = np.linalg.norm(vectors, axis=-1)
    return norms
