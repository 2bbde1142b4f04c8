"""What the queries, keys and values of one head are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from attncli.results.brief import briefly

#: float64, computed from the queries, keys and values that the model made in its own precision.
Vector = npt.NDArray[np.float64]


@briefly
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


@briefly
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
