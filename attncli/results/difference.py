"""How the heads of one result differ from those of another: two models on one text, or one model on two texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from attncli.results.brief import briefly
from attncli.results.patterns import Pattern
from attncli.results.tokens import Token

#: What is different.
Kind = Literal["models", "texts"]


@briefly
class HeadChange(NamedTuple):
    """One head here and there.

    total_variation: the mean over its queries of ½ Σ_j |a_ij − b_ij|, from 0 (the same) to 1 (no key in common): the
    share of its weight that it puts elsewhere. None where there are no patterns of the same tokens.
    labels, values: of the other side.  changes: the other side's metrics less those of this one, None where one of them
    is missing.  largest: the metric whose share of a row changed most, None where no share is known on both sides.
    """

    name: str
    layer: int
    head: int
    total_variation: float | None
    labels: tuple[str, ...]
    values: Mapping[str, float | None]
    changes: Mapping[str, float | None]
    largest: str | None

    @property
    def change(self) -> float | None:
        """How much changed, from 0 to 1: the total variation, else the largest change of a share."""
        if self.total_variation is not None or self.largest is None:
            return self.total_variation
        return abs(self.changes[self.largest] or 0.0)

    def to_dict(self) -> dict[str, object]:
        return {
            "name": self.name,
            "layer": self.layer,
            "head": self.head,
            "total_variation": self.total_variation,
            "labels": list(self.labels),
            "metrics": dict(self.values),
            "changes": dict(self.changes),
            "largest": self.largest,
        }


@briefly
@dataclass(frozen=True, slots=True)
class StackDifference:
    """The heads of a stack by how much they changed, the most first.

    queries, keys: the other side's.  patterns: the other side's weights less those of this one, of the chosen heads.
    """

    stack: str
    queries: tuple[Token, ...]
    keys: tuple[Token, ...]
    heads: tuple[HeadChange, ...]
    patterns: tuple[Pattern, ...] = ()

    def to_dict(self) -> dict[str, object]:
        return {
            "stack": self.stack,
            "queries": [token.to_dict() for token in self.queries],
            "keys": [token.to_dict() for token in self.keys],
            "heads": [head.to_dict() for head in self.heads],
            "patterns": [pattern.to_dict() for pattern in self.patterns],
        }


@briefly
@dataclass(frozen=True, slots=True)
class Difference:
    """The other side less this one. model: the other side's.  metric: the one that heads are ranked by; None for how
    much they changed altogether.  of_patterns: whether that is their total variation, or the largest change of a share.
    """

    kind: Kind
    model: str
    metric: str | None
    of_patterns: bool
    stacks: tuple[StackDifference, ...]

    def to_dict(self) -> dict[str, object]:
        return {
            "kind": self.kind,
            "model": self.model,
            "ranked_by": self.metric or ("total_variation" if self.of_patterns else "largest"),
            "stacks": [stack.to_dict() for stack in self.stacks],
        }
