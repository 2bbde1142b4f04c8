"""A prediction and effects as renderers get them, made up by hand."""

from __future__ import annotations

from dataclasses import replace

from attncli.results.effects import (
    AnswerRank,
    Effects,
    HeadEffect,
    KeyReading,
    LensState,
    Outcome,
    OutcomeToken,
    PartEffect,
    PredictedToken,
    Prediction,
)
from attncli.results.heads import HeadsResult
from tests.render.heads_samples import result, stack

MAT, IT = OutcomeToken(7, " mat"), OutcomeToken(9, " it")

PREDICTION = Prediction(
    11,
    (PredictedToken(7, " mat", 0.77), PredictedToken(9, " it", 0.0123)),
    tuple(
        LensState(state, (PredictedToken(9, " it", 0.5), PredictedToken(7, " mat", share)), AnswerRank(7, " mat", rank,
                                                                                                    share))
        for state, (rank, share) in enumerate([(1200, 0.00001), (3, 0.041), (1, 0.77)])
    ),
)  # fmt: skip

DIRECT = {"0.0": -0.25, "0.1": 0.0, "0.2": 0.5, "0.3": 0.13, "1.0": 0.0, "1.1": 2.1, "1.2": None, "1.3": -1.0}
ZERO = {"0.0": 0.0, "0.1": 0.1, "0.2": 0.4, "0.3": 0.1, "1.0": 0.0, "1.1": 0.3, "1.2": None, "1.3": -0.9}


def with_effects(*kinds: str, contrast: OutcomeToken | None = None, unexplained: float = 0.0) -> HeadsResult:
    """Eight heads with the effects of these kinds, and other parts."""
    values = {"direct": DIRECT, "zero": ZERO}
    heads = tuple(
        HeadEffect(name, int(name[0]), int(name[2]), {kind: values[kind][name] for kind in kinds},
                   reads=KeyReading(2, "cat", 0.62))
        for name in DIRECT
    )  # fmt: skip
    parts = {"embedding.token": 0.3, "mlp.0": 1.0, "mlp.1": -0.2, "attention.0.bias": 0.01}
    effects = Effects(
        "encoder", 11, kinds, Outcome(MAT, contrast, 2.59, 0.77), None,
        tuple(PartEffect(name, {kind: value if kind == "direct" else None for kind in kinds})
              for name, value in parts.items()),
        unexplained if "direct" in kinds else None,
    )  # fmt: skip
    return replace(result(stack(effects=heads)), effects=effects)


def with_prediction() -> HeadsResult:
    return replace(result(stack()), prediction=PREDICTION)
