"""Draws weights over the patches of a picture: tints of the picture in colour, else ASCII density characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan

import numpy as np
import numpy.typing as npt

from attncli.render.common.colormap import text_color_on
from attncli.render.common.colormap import weight_color as heat_color
from attncli.render.common.lines import DIM, Line, Rgb, Style, StyledSpan
from attncli.render.heads.heatmap import HeatScale
from attncli.results.patterns import Grid, Picture
from attncli.results.tokens import Token

# How much of a pixel is the colour of its weight, at weight 0 and at full scale. The rest is the picture in grey.
_LEAST_TINT, _MOST_TINT = 0.35, 0.9
# Grey is the luminance of the picture (ITU-R BT.601), darkened so that it can't be mistaken for a weight.
_LUMINANCE, _GREY = (0.299, 0.587, 0.114), 0.8
# Cells before the map, for the numbers of the rows.
_MARGIN = 3

Pixels = npt.NDArray[np.float32]


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


def greyscale(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """A picture in grey, as shown below weights: (height, width, 3) to (height, width), from 0 to 255."""
    grey: npt.NDArray[np.float64] = pixels @ np.array(_LUMINANCE) * _GREY
    return grey


def tint_shares(shares: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """The opacity of a weight's colour over the picture. shares: weights as parts of full scale, 0…1."""
    tints: npt.NDArray[np.floating] = _LEAST_TINT + (_MOST_TINT - _LEAST_TINT) * np.clip(shares, 0, 1)
    return tints


def map_width(grid: Grid, side: int) -> int:
    """Width in cells of a map whose patches have `side` cells a side."""
    return _MARGIN + grid.columns * side


def colored_map(patches: PatchWeights, heat: HeatScale, side: int, picture: Picture | None) -> list[Line]:
    """The weights as tints of the picture, in half-blocks of two pixels; a patch has `side` × `side` pixels."""
    rows, columns = patches.weights.shape
    shares = np.array([[heat.share(weight) for weight in row] for row in patches.weights.tolist()])
    shares = np.kron(np.where(np.isnan(shares), 0, shares), np.ones((side, side)))
    tint = np.array([[heat_color(share, heat.terminal.color) for share in row] for row in shares.tolist()])
    pixels = np.asarray(tint, dtype=np.float32)
    if picture is not None:
        grey = greyscale(picture.resized(rows * side, columns * side))
        amount = tint_shares(shares)[..., None]
        pixels = (pixels * amount + grey[..., None] * (1 - amount)).astype(np.float32)
    hidden = np.kron(np.isnan(patches.weights), np.ones((side, side))).astype(bool)
    return _with_rulers(_half_blocks(pixels, hidden), patches, side, heat)


def plain_picture(picture: Picture, patches: PatchWeights, side: int, heat: HeatScale) -> list[Line]:
    """The picture itself, at the same size as its map."""
    rows, columns = (length * side for length in patches.weights.shape)
    pixels = picture.resized(rows, columns).astype(np.float32)
    return _with_rulers(_half_blocks(pixels, np.zeros((rows, columns), dtype=bool)), patches, side, heat)


def ascii_map(patches: PatchWeights, heat: HeatScale, cell: int) -> list[Line]:
    """The weights as density characters, `cell` of them per patch."""
    lines = [
        [StyledSpan(" " * cell) if isnan(weight) else heat.cell(weight, cell) for weight in row]
        for row in patches.weights.tolist()
    ]
    if patches.query_cell is not None:
        row, column = patches.query_cell
        lines[row][column] = StyledSpan(query_mark(cell))
    rows = [Line.of(StyledSpan(f"{row:>{_MARGIN - 1}} ", DIM), *spans) for row, spans in enumerate(lines)]
    return [_ruler(patches.weights.shape[1], cell), *rows]


def query_mark(side: int) -> str:
    """The mark on the query's patch, where a patch is `side` cells wide."""
    return "o" if side == 1 else f"[{' ' * (side - 2)}]"


def _half_blocks(pixels: Pixels, hidden: npt.NDArray[np.bool_]) -> list[list[StyledSpan]]:
    """Two rows of pixels per line."""
    height = len(pixels)
    return [
        [
            _block(pixels, hidden, top, top + 1 if top + 1 < height else None, column)
            for column in range(pixels.shape[1])
        ]
        for top in range(0, height, 2)
    ]


def _block(pixels: Pixels, hidden: npt.NDArray[np.bool_], top: int, bottom: int | None, column: int) -> StyledSpan:
    above = None if hidden[top, column] else _rgb(pixels[top, column])
    below = None if bottom is None or hidden[bottom, column] else _rgb(pixels[bottom, column])
    if above is None:
        return StyledSpan(" ") if below is None else StyledSpan("▄", Style(fg=below))
    return StyledSpan("▀", Style(fg=above, bg=below))


def _rgb(values: npt.NDArray[np.float32]) -> Rgb:
    red, green, blue = (int(min(max(value, 0), 255)) for value in values.tolist())
    return red, green, blue


def _with_rulers(lines: list[list[StyledSpan]], patches: PatchWeights, side: int, heat: HeatScale) -> list[Line]:
    """Lines of half-blocks with the query's patch marked, and with the numbers of rows and columns."""
    if patches.query_cell is not None:
        _mark_query(lines, patches.query_cell, side)
    first_lines = {row * side // 2: row for row in reversed(range(patches.weights.shape[0]))}
    rows = [
        Line.of(StyledSpan(_row_number(first_lines.get(place), side), DIM), *spans) for place, spans in enumerate(lines)
    ]
    return [_ruler(patches.weights.shape[1], side), *rows]


def _mark_query(lines: list[list[StyledSpan]], cell: tuple[int, int], side: int) -> None:
    """Puts brackets on the left and right edge of a patch, in its middle line."""
    line = min((cell[0] * side + (side - 1) // 2) // 2, len(lines) - 1)
    for place, mark in enumerate(query_mark(side), cell[1] * side):
        if mark == " ":
            continue
        style = lines[line][place].style
        below = style.bg or style.fg or (0, 0, 0)
        lines[line][place] = StyledSpan(mark, Style(fg=text_color_on(below), bg=below, bold=True))


def _row_number(row: int | None, side: int) -> str:
    """The number of a row of patches: of every row, or of every fifth where a row is half a line high."""
    shown = row is not None and (side > 1 or row % 5 == 0)
    return f"{row if shown else '':>{_MARGIN - 1}} "


def _ruler(columns: int, cell: int) -> Line:
    """The numbers of the columns, as many as fit."""
    step = 1 if cell > len(str(columns - 1)) else 5
    text = ""
    for column in range(0, columns, step):
        place = column * cell + (cell - 1) // 2
        if place > len(text) or not text:
            text = f"{text:<{place}}{column}"
    return Line.of(StyledSpan(" " * _MARGIN + text, DIM))
