"""What heads do by their weights alone: how much they copy and match, and which of them compose (`--qk-ov`)."""

from __future__ import annotations

from typing import Literal

from attncli.results.struct import Struct

#: What of the later head reads what the earlier one wrote.
CompositionKind = Literal["query", "key", "value"]


class HeadCircuit(Struct):
    """The circuits of one head (Elhage et al. 2021), from −1 to 1; `name` is the head as printed.

    copying: Σ Re λ / Σ |λ| over the eigenvalues of W_E W_OV W_U: 1 where reading a token makes this token likelier.
    matching: the same of W_E W_QK W_Eᵀ, at distance 0: 1 where a token looks for itself. None where the model has no
    such matrix.
    """

    stack: str
    name: str
    layer: int
    head: int
    copying: float | None
    matching: float | None


class Composition(Struct):
    """How much of what a later head reads is what an earlier one writes.

    kind: what of the later head reads it.  earlier, later: the heads as printed.
    score: ‖W_OV W_QK‖ (query), ‖W_OV W_QKᵀ‖ (key) or ‖W_OV W_OV'‖ (value), Frobenius, over the product of both norms.
    chance: the mean of that for random matrices of these shapes.
    """

    kind: CompositionKind
    earlier: str
    later: str
    score: float
    chance: float


class Circuits(Struct):
    """The circuits of all chosen heads. compositions: the strongest of each kind, by their distance from chance."""

    heads: tuple[HeadCircuit, ...]
    compositions: tuple[Composition, ...]
