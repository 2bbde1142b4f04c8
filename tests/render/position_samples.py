"""What one position reads, made up by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from attncli.results.heads import HeadsResult, Stack
from attncli.results.patterns import HeadWeight, KeyRead, Ranking, RowReading
from attncli.results.tokens import Token
from tests.render.heads_samples import HEADS, pattern, result, stack, tokens


def placed(*texts: str) -> tuple[Token, ...]:
    """Tokens of a text in which each follows the one before; those in [brackets] are special and stand nowhere."""
    found, place = [], 0
    for token in tokens(*texts):
        if token.special:
            found.append(token)
            continue
        found.append(token._replace(start=place, end=place + len(token.text)))
        place += len(token.text)
    return tuple(found)


#: As a byte-level tokenizer cuts: spaces belong to the token behind them.
WORDS = placed("[CLS]", "the", " cat", " sat", " embed", "ding", "s", "[SEP]")


def reading_of(
    keys: Sequence[Token],
    weights: Sequence[float],
    query: int,
    *,
    heads: int = 8,
    visible: Sequence[bool] | None = None,
    lines: tuple[int | None, ...] | None = None,
    top: int = 10,
) -> RowReading:
    """The reading of one of the keys, every key read most by a head of its own."""
    seen = [True] * len(keys) if visible is None else list(visible)
    even = np.array(seen, dtype=np.float32) / sum(seen)
    order = sorted((place for place in range(len(keys)) if seen[place]), key=lambda place: -weights[place])
    best = tuple(
        KeyRead(place, weights[place], float(even[place]), HEADS[rank % 8].name, min(2 * weights[place], 1.0))
        for rank, place in enumerate(order[:top])
    )
    row = np.array(weights, dtype=np.float32)
    line = None if lines is None else lines[query]
    return RowReading(keys[query], heads, row, even, np.array(seen), best, (query,), line, lines)


def position(reading: RowReading, keys: Sequence[Token], **changes: object) -> HeadsResult:
    """The result of one query of those keys."""
    whole = (len(keys), len(keys))
    lines = {} if reading.lines is None else {"key_lines": reading.lines, "query_lines": (reading.query_line,)}
    of: Stack = stack(queries=(reading.query,), keys=tuple(keys), reading=reading, whole=whole, **lines, **changes)
    return result(of, chosen=True)


def ranked(*weights: float, query: str = "sat", key: str = "cat") -> HeadsResult:
    """Heads of `HEADS` by their weights, each with a place in its row."""
    heads = tuple(
        HeadWeight(head.name, head.layer, head.head, weight, 0.125, rank + 1, 8)
        for rank, (head, weight) in enumerate(zip(HEADS, weights, strict=False))
    )
    ordered = tuple(sorted(heads, key=lambda head: -head.weight))
    (first, second) = tokens(query, key)
    of = stack(queries=(first,), keys=(second,), whole=(8, 8), ranking=Ranking(first, second, ordered))
    return replace(result(of, chosen=True), top=3)


#: What ` sat` gives the keys of `WORDS`.
_WEIGHTS = (0.4, 0.05, 0.25, 0.1, 0.05, 0.05, 0.05, 0.05)


def with_row(count: int = 8) -> HeadsResult:
    """What the fourth of so many tokens reads, with the row of one head; of eight it is ` sat` of `WORDS`."""
    keys = WORDS if count == 8 else tokens(*(f"w{place}" for place in range(count)))
    weights = _WEIGHTS if count == 8 else (1 / count,) * count
    made = position(reading_of(keys, weights, 3, top=4), keys)
    row = pattern("0.0", np.array([weights], dtype=np.float32))
    return replace(made, stacks=(replace(made.stacks[0], patterns=(row,)),))
