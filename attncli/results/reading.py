"""What one position reads: each key's weight over the chosen heads, or each head's weight on one key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from attncli.results.brief import briefly
from attncli.results.tokens import Token

RowOfWeights = npt.NDArray[np.float32]


class KeyRead(NamedTuple):
    """One key that a position reads. place: among the keys of the stack.  head: the one that reads it most; None for a
    rollout, which is of all heads together.

    weight: the mean over the heads, or of a rollout what of the key reaches the position.  uniform: what attention
    spread evenly would give it; None where that is no measure, as for weights times norms.
    """

    place: int
    weight: float
    uniform: float | None
    head: str | None
    head_weight: float

    def to_dict(self) -> dict[str, object]:
        return self._asdict()


@briefly
@dataclass(frozen=True, slots=True)
class Reading:
    """What one position reads, as the mean over some heads.

    query: the position, a word of several tokens as one.  heads: how many the weights are means over.
    weights: float32 (keys,), in the order of the stack's keys.  uniform: likewise of even attention, or None.
    visible: bool (keys,), which of them the position sees at all.
    top: the keys that it reads most, the largest weight first.
    own: the places of the keys that are the position itself.
    query_tokens: how many tokens it has.
    query_line, lines: the line of the text, from 1, in which the query and each key begin; None but by line, and for
    what stands in none.
    """

    query: Token
    heads: int
    weights: RowOfWeights
    uniform: RowOfWeights | None
    visible: npt.NDArray[np.bool_]
    top: tuple[KeyRead, ...]
    own: tuple[int, ...] = ()
    query_line: int | None = None
    lines: tuple[int | None, ...] | None = None
    query_tokens: int = 1

    def to_dict(self) -> dict[str, object]:
        return {
            "query": self.query.to_dict(),
            "heads": self.heads,
            "weights": self.weights.tolist(),
            "uniform": None if self.uniform is None else self.uniform.tolist(),
            "top": [key.to_dict() for key in self.top],
            "own": list(self.own),
            **({} if self.lines is None else {"query_line": self.query_line, "lines": list(self.lines)}),
        }


class HeadWeight(NamedTuple):
    """What one head lets a position read of one key.

    rank: the key's place among the `keys` that the position sees, 1 for the one with the largest weight; None where it
    doesn't see this key.
    """

    name: str
    layer: int
    head: int
    weight: float
    uniform: float | None
    rank: int | None
    keys: int

    def to_dict(self) -> dict[str, object]:
        return self._asdict()


@briefly
@dataclass(frozen=True, slots=True)
class Ranking:
    """The chosen heads by one weight, that of a query on a key; the largest first.

    key: the whole word or line, where weights are of those.  query_tokens, key_tokens: how many tokens they have.
    query_line, key_line: the lines in which they begin, from
    1; None but by line.
    """

    query: Token
    key: Token
    heads: tuple[HeadWeight, ...]
    query_line: int | None = None
    key_line: int | None = None
    query_tokens: int = 1
    key_tokens: int = 1

    def to_dict(self) -> dict[str, object]:
        lines = {"query_line": self.query_line, "key_line": self.key_line}
        return {
            "query": self.query.to_dict(),
            "key": self.key.to_dict(),
            "heads": [head.to_dict() for head in self.heads],
            **({} if self.key_line is None else lines),
        }
