"""Whether counted models are what they are taken for: by the total that is expected, and by the weights beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attncli.quantities import Total
from attncli.results.params import ModelParameters


def doubts(models: Sequence[ModelParameters]) -> Iterator[str]:
    """A sentence for each model whose configuration and weights disagree."""
    for model in models:
        found = model.reconciliation
        if found is None or found.agrees:
            continue
        if found.is_same_model:
            yield f"the weights of {model.counted.model} hold {found.unexpected:,} elements that its model doesn't have"
        else:
            yield f"the weights beside the configuration of {model.counted.model} are not those of its model"


def failures(models: Sequence[ModelParameters], expected: Total) -> Iterator[str]:
    """A sentence for each model with another total, and for each whose weights are of another model.

    Of another total, whose way of counting gives the expected one is said too.
    """
    for model in models:
        total, held = model.counted.total, model.reconciliation
        if not expected.holds(total):
            more = total - expected.number
            than = f"{abs(more):,} {'more' if more > 0 else 'fewer'} than the {expected.written} expected"
            yield f"{model.name} has {total:,} parameters, {than}{_reading(model, expected)}"
        elif held is not None and not held.is_same_model:
            yield (
                f"the configuration of {model.name} has {total:,} parameters as expected, but its weights are of "
                f"another model: {held.matched:,} of these are among their {held.checkpoint_total:,} elements "
                "(--source header counts them)"
            )


def _reading(model: ModelParameters, expected: Total) -> str:
    found = (reading for reading in model.counted.readings if expected.holds(reading.total))
    return next((f"; so many has its reading {each.name}: {each.source}" for each in found), "")
