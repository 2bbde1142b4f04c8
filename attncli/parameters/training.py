"""Memory that training holds."""

from __future__ import annotations

from attncli.results.costs import Training

_FLOAT32, _HALF = 4, 2
#: AdamW keeps a mean and a variance of every gradient.
_MOMENTS = 2


def training_memory(parameters: int, trained: int | None = None) -> dict[str, Training]:
    """Weights, gradients and optimizer states in bytes, by the dtype of the weights; activations come on top.

    In bfloat16 (mixed precision) the optimizer updates a float32 copy of what it trains (Micikevicius 2018).
    trained: the parameters of adapters, beside which the model's own are frozen; None where all are trained.
    """
    frozen = 0 if trained is None else parameters
    moving = parameters if trained is None else trained
    moments = _MOMENTS * _FLOAT32 * moving
    return {
        "float32": Training(_FLOAT32 * (frozen + moving), _FLOAT32 * moving, moments, 0),
        "bfloat16": Training(_HALF * (frozen + moving), _HALF * moving, moments, _FLOAT32 * moving),
    }
