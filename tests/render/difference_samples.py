"""Two models or texts compared, made up by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from attncli.results.heads import DifferenceKind, HeadChange, HeadsDifference, HeadsResult, Stack, StackDifference
from attncli.results.patterns import Pattern
from attncli.results.tokens import Token
from tests.render.heads_samples import HEADS, result, stack, tokens

#: Total variation of each head of `HEADS`, and how its `first` changed.
CHANGES: Mapping[str, tuple[float, float]] = {
    "1.2": (0.53, 0.41),
    "0.3": (0.25, -0.3),
    "1.1": (0.12, 0.1),
    "0.0": (0.04, 0.0),
    "0.1": (0.03, 0.02),
    "0.2": (0.02, 0.0),
    "1.0": (0.01, 0.01),
    "1.3": (0.0, 0.0),
}

OTHER = tokens("[CLS]", "the", "dog", "sat", "on", "the", "mat", "because", "it", "was", "tired", "[SEP]")


def changed(*, by_total_variation: bool = True) -> tuple[HeadChange, ...]:
    """All heads, the most changed first."""
    heads = {head.name: head for head in HEADS}
    return tuple(
        HeadChange(
            name,
            heads[name].layer,
            heads[name].head,
            variation if by_total_variation else None,
            (),
            {**heads[name].values, "first": (heads[name].values["first"] or 0.0) + moved},
            {**dict.fromkeys(heads[name].values, 0.0), "first": moved},
            "first",
        )
        for name, (variation, moved) in CHANGES.items()
    )


def compared(
    *patterns: Pattern,
    kind: DifferenceKind = "texts",
    metric: str | None = None,
    there: tuple[Token, ...] = OTHER,
    by_total_variation: bool = True,
    here: Stack | None = None,
    heads: tuple[HeadChange, ...] | None = None,
) -> HeadsResult:
    """A result with the difference of its only stack; `patterns` hold differences."""
    here = stack(*patterns) if here is None else here
    heads = changed(by_total_variation=by_total_variation) if heads is None else heads
    other = StackDifference(here.stack, there, there, heads, patterns)
    name = "all-MiniLM-L6-v2" if kind == "texts" else "org/its-fine-tune"
    found = HeadsDifference(kind, name, metric, by_total_variation, (other,))
    return replace(result(here, chosen=bool(patterns)), difference=found, top=3)


def moved_weights(size: int = 12) -> np.ndarray:
    """Half of every row moves from the third key to the first."""
    weights = np.zeros((size, size), dtype=np.float32)
    weights[:, 0], weights[:, 2] = 0.5, -0.5
    weights[1:, 1] = 0.02
    return weights
