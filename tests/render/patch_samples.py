"""Results of heads that look at a picture, made up by hand: weights whose places can be told from their values."""

from __future__ import annotations

import numpy as np

from attncli.metrics import METRICS
from attncli.results.base import MadeBy
from attncli.results.heads import HeadMetrics, HeadsResult, Layer, Stack
from attncli.results.patterns import TOKENS, Grid, Medium, Pattern, Picture
from attncli.results.tokens import Token

GRID = Grid(2, 3, 1)
#: Blue on the left, orange on the right.
PICTURE = Picture(np.array([[[30, 60, 200], [240, 150, 20]]], np.uint8).repeat(4, axis=0).repeat(3, axis=1))
VALUES = dict.fromkeys(METRICS, 0.25)


def positions(grid: Grid = GRID) -> tuple[Token, ...]:
    """The class token and the patches."""
    names = ["[CLS]"] * grid.first + [f"{row},{column}" for row in range(grid.rows) for column in range(grid.columns)]
    return tuple(Token(place, place, name, name, special=place < grid.first) for place, name in enumerate(names))


def words(*texts: str) -> tuple[Token, ...]:
    return tuple(
        Token(place, place, text, text, special=text[0] == "[", word=place) for place, text in enumerate(texts)
    )


def weights(rows: int, head: int = 0, grid: Grid = GRID) -> np.ndarray:
    """Row q has its largest weight on patch (q + head) mod patches, and half of all on the class token."""
    patches = grid.rows * grid.columns
    made = np.zeros((rows, grid.first + patches), np.float32)
    for row in range(rows):
        made[row, grid.first :] = 0.5 * np.roll(np.arange(patches, 0, -1), row + head) / (patches * (patches + 1) / 2)
    made[:, : grid.first] = 0.5
    return made


def looking(
    heads: int = 1, *, query: int | None = None, caption: tuple[Token, ...] = (), picture: Picture | None = PICTURE
) -> HeadsResult:
    """So many heads of layer 1. query: the only row that is shown.  caption: what looks, instead of the positions."""
    queries = caption or positions()
    patterns = [Pattern(1, head, weights(len(queries), head)) for head in range(heads)]
    if query is not None:
        patterns = [Pattern(1, each.head, each.weights[query : query + 1]) for each in patterns]
        queries = queries[query : query + 1]
    medium = Medium("patches", grid=GRID)
    name = "cross" if caption else "vision"
    stack = Stack(
        stack=name,
        layers=(Layer(0, heads), Layer(1, heads)),
        queries=queries,
        keys=positions(),
        metrics=tuple(HeadMetrics(f"{'cross.' * bool(caption)}1.{head}", 1, head, (), VALUES) for head in range(heads)),
        baselines={1: VALUES},
        causal=False,
        patterns=tuple(patterns),
        query_medium=TOKENS if caption else medium,
        key_medium=medium,
    )
    return HeadsResult("some/vit", "cpu", "float32", (stack,), MadeBy("0.1.0"), chosen=True, picture=picture)
