"""Attention to a picture: a map of its patches per head, or, in cross attention, per word of a caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from attncli.render.views.sentences import Sentence, Words
from attncli.results.heads import Stack
from attncli.results.patterns import Grid, Pattern
from attncli.results.tokens import Token

#: At most so many maps are drawn at once.
MOST_MAPS = 24
# How much of a pixel is the colour of its weight, at weight 0 and at full scale. The rest is the picture in grey.
_LEAST_TINT, _MOST_TINT = 0.35, 0.9
# Grey is the luminance of the picture (ITU-R BT.601), darkened so that it can't be mistaken for a weight.
_LUMINANCE, _GREY = (0.299, 0.587, 0.114), 0.8


@dataclass(frozen=True, slots=True)
class PatchWeights:
    """One query's weights on the patches of a picture.

    weights: (rows, columns), NaN for a patch that isn't shown.  other_keys: keys that are no patches, such as [CLS],
    with their weights.  query_cell: row and column of the query, if it is a patch of this picture.
    """

    weights: npt.NDArray[np.float64]
    other_keys: tuple[tuple[Token, float], ...]
    query_cell: tuple[int, int] | None

    @property
    def largest(self) -> float:
        """The largest weight of a patch: the full scale of the colours."""
        return float(np.nanmax(self.weights, initial=0.0)) if not np.isnan(self.weights).all() else 0.0


def patch_weights(keys: Sequence[Token], weights: Sequence[float], grid: Grid, query: Token | None) -> PatchWeights:
    """Arranges weights by patch. query: given if it is of the same picture as the keys."""
    by_cell = np.full((grid.rows, grid.columns), nan)
    other_keys = []
    for key, weight in zip(keys, weights, strict=True):
        cell = grid.cell(key.index)
        if cell is None:
            other_keys.append((key, weight))
        else:
            by_cell[cell] = weight
    return PatchWeights(by_cell, tuple(other_keys), None if query is None else grid.cell(query.index))


class PictureMap(NamedTuple):
    """What a position of a text reads of a picture that stands in it.

    picture: its number.  view: whether it is a small view beside its tiles.  title: `picture 2, its small view`.
    share: the sum of the weights.  grid: of its tokens.
    """

    picture: int
    view: bool
    title: str
    share: float
    grid: Grid
    patches: PatchWeights


def picture_maps(stack: Stack, weights: Sequence[float]) -> list[PictureMap]:
    """The weights of a position on each picture among the keys; none where these aren't tokens one by one."""
    if stack.unit != "token":
        return []
    by_position = {key.index: weight for key, weight in zip(stack.keys, weights, strict=True)}
    grids = stack.key_medium.pictures
    several, maps = any(grid.picture for grid in grids), []
    for grid in grids:
        cells = [nan if place is None else by_position.get(place, nan) for place in grid.places]
        values = np.reshape(np.asarray(cells, dtype=np.float64), (grid.rows, grid.columns))
        if not np.nansum(values):
            continue  # not shown, or of another crop than the query, which sees its own alone
        name = f"picture {grid.picture + 1}" if several else "the picture"
        title, shape = f"{name}{', its small view' * grid.view}", Grid(grid.rows, grid.columns, 0)
        maps.append(
            PictureMap(grid.picture, grid.view, title, float(np.nansum(values)), shape, PatchWeights(values, (), None))
        )
    return maps


class MapView(NamedTuple):
    """One map. name: of the head (None for the mean of several), or the caption's word."""

    name: str | Token
    patches: PatchWeights


def map_views(stack: Stack) -> list[MapView]:
    """The maps of a stack: one per head, or one head's, one per word of a caption; none where other views fit."""
    grid = stack.key_medium.grid
    if grid is None or any(pattern.bins is not None for pattern in stack.patterns):
        return []
    names: Sequence[str | Token] = [head_name(stack, pattern) for pattern in stack.patterns]
    rows, query = [pattern.weights[0] for pattern in stack.patterns], None
    if len(stack.queries) == 1 or has_class_token(stack):
        query = stack.queries[0] if stack.query_medium.grid is not None else None
    elif len(stack.patterns) == 1 and stack.query_medium.grid is None:
        names, rows = stack.queries, list(stack.patterns[0].weights)
    else:
        return []
    return [
        MapView(name, patch_weights(stack.keys, row.tolist(), grid, query))
        for name, row in zip(names, rows, strict=True)
    ]


def has_class_token(stack: Stack) -> bool:
    """Whether all queries are shown and the first is a class token, whose row stands for the whole picture."""
    grid = stack.query_medium.grid
    return grid is not None and len(stack.queries) > grid.rows * grid.columns and stack.queries[0].special


def shows_caption_words(stack: Stack) -> bool:
    """Whether each map is of a word of a caption."""
    return len(stack.queries) > 1 and stack.query_medium.grid is None


def head_name(stack: Stack, pattern: Pattern) -> str:
    """`1.8`, or `up to layer 5` for a rollout."""
    names = {(head.layer, head.head): head.name for head in stack.metrics}
    return names.get((pattern.layer, pattern.head or 0), f"up to layer {pattern.layer}")


def query_phrase(stack: Stack) -> Sentence:
    """The query of all maps in a sentence: `patch 2,1`, `[CLS]`, or a word."""
    query = stack.queries[0]
    is_patch = stack.query_medium.grid is not None and not query.special
    return (Words("patch "), Words(query)) if is_patch else (Words(query),)


def left_out_note(count: int) -> str:
    """About the maps that aren't drawn, where there are too many; else empty."""
    return f"the last {MOST_MAPS} of {count} maps; -l or -H chooses others" if count > MOST_MAPS else ""


# --- the picture under its weights


def greyscale(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """A picture in grey, as shown below weights: (height, width, 3) to (height, width), from 0 to 255."""
    grey: npt.NDArray[np.float64] = pixels @ np.array(_LUMINANCE) * _GREY
    return grey


def tint_shares(shares: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """The opacity of a weight's colour over the picture. shares: weights as parts of full scale, 0…1."""
    tints: npt.NDArray[np.floating] = _LEAST_TINT + (_MOST_TINT - _LEAST_TINT) * np.clip(shares, 0, 1)
    return tints
