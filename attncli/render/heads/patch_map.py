"""Weights over the patches of a picture: the picture beneath them where there are colours, else characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan

import numpy as np
import numpy.typing as npt

from attncli.render.common.colormap import heat as heat_color
from attncli.render.common.colormap import ink_on
from attncli.render.common.lines import DIM, Line, Rgb, Style, StyledSpan
from attncli.render.heads.heatmap import Heat
from attncli.results.patterns import Grid, Picture
from attncli.results.tokens import Token

# How much of a patch's colour is its weight's, at no weight and at the full scale. The rest is the grey of the picture.
_LEAST_TINT, _MOST_TINT = 0.35, 0.9
# Grey is the picture's luminance (ITU-R BT.601), less bright than colours so that it does not pass for a weight.
_LUMINANCE, _GREY = (0.299, 0.587, 0.114), 0.8
# Cells before the picture: the numbers of the rows.
_MARGIN = 3

Pixels = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Patches:
    """Weights by the places of their patches.

    weights: (rows, columns), NaN for a patch that isn't shown.  beside: what is no patch, and its weight.
    own: row and column of the patch that looks, if it is one.
    """

    weights: npt.NDArray[np.float64]
    beside: tuple[tuple[Token, float], ...]
    own: tuple[int, int] | None

    @property
    def largest(self) -> float:
        """The largest weight of a patch, from which the colours are measured."""
        return float(np.nanmax(self.weights, initial=0.0)) if not np.isnan(self.weights).all() else 0.0


def on_patches(keys: Sequence[Token], weights: Sequence[float], grid: Grid, query: Token | None) -> Patches:
    """Weights of keys, put at their places. query: what looks, where it is of the same picture."""
    placed = np.full((grid.rows, grid.columns), nan)
    beside = []
    for key, weight in zip(keys, weights, strict=True):
        cell = grid.cell(key.index)
        if cell is None:
            beside.append((key, weight))
        else:
            placed[cell] = weight
    return Patches(placed, tuple(beside), None if query is None else grid.cell(query.index))


def grey_of(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """What lies beneath weights: (height, width, 3) as (height, width), from 0 to 255."""
    grey: npt.NDArray[np.float64] = pixels @ np.array(_LUMINANCE) * _GREY
    return grey


def tint_of(shares: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """How much of a colour is the weight's, where it is `shares` (0…1) of full scale."""
    tints: npt.NDArray[np.floating] = _LEAST_TINT + (_MOST_TINT - _LEAST_TINT) * np.clip(shares, 0, 1)
    return tints


def map_width(grid: Grid, side: int) -> int:
    """Cells that a map takes whose patches have so many a side."""
    return _MARGIN + grid.columns * side


def colored_map(patches: Patches, heat: Heat, side: int, picture: Picture | None) -> list[Line]:
    """The weights as tints of the picture, two pixels a cell; a patch has `side` × `side` pixels."""
    rows, columns = patches.weights.shape
    shares = np.array([[heat.share(weight) for weight in row] for row in patches.weights.tolist()])
    shares = np.kron(np.where(np.isnan(shares), 0, shares), np.ones((side, side)))
    tint = np.array([[heat_color(share, heat.terminal.color) for share in row] for row in shares.tolist()])
    pixels = np.asarray(tint, dtype=np.float32)
    if picture is not None:
        grey = grey_of(picture.resized(rows * side, columns * side))
        amount = tint_of(shares)[..., None]
        pixels = (pixels * amount + grey[..., None] * (1 - amount)).astype(np.float32)
    hidden = np.kron(np.isnan(patches.weights), np.ones((side, side))).astype(bool)
    return _framed(_half_blocks(pixels, hidden), patches, side, heat)


def plain_picture(picture: Picture, patches: Patches, side: int, heat: Heat) -> list[Line]:
    """The picture itself, at the size of its map."""
    rows, columns = (length * side for length in patches.weights.shape)
    pixels = picture.resized(rows, columns).astype(np.float32)
    return _framed(_half_blocks(pixels, np.zeros((rows, columns), dtype=bool)), patches, side, heat)


def inked_map(patches: Patches, heat: Heat, cell: int) -> list[Line]:
    """The weights as characters, `cell` of them a patch."""
    lines = [
        [StyledSpan(" " * cell) if isnan(weight) else heat.cell(weight, cell) for weight in row]
        for row in patches.weights.tolist()
    ]
    if patches.own is not None:
        row, column = patches.own
        lines[row][column] = StyledSpan(own_mark(cell))
    numbered = [Line.of(StyledSpan(f"{row:>{_MARGIN - 1}} ", DIM), *spans) for row, spans in enumerate(lines)]
    return [_ruler(patches.weights.shape[1], cell), *numbered]


def own_mark(side: int) -> str:
    """What stands on the patch that looks, where a patch is so many cells wide."""
    return "o" if side == 1 else f"[{' ' * (side - 2)}]"


def _half_blocks(pixels: Pixels, hidden: npt.NDArray[np.bool_]) -> list[list[StyledSpan]]:
    """Two rows of pixels a line."""
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


def _framed(lines: list[list[StyledSpan]], patches: Patches, side: int, heat: Heat) -> list[Line]:
    """Lines of half-blocks with the numbers of rows and columns, and the patch that looks marked."""
    if patches.own is not None:
        _mark(lines, patches.own, side)
    first_lines = {row * side // 2: row for row in reversed(range(patches.weights.shape[0]))}
    numbered = [
        Line.of(StyledSpan(_row_number(first_lines.get(place), side), DIM), *spans) for place, spans in enumerate(lines)
    ]
    return [_ruler(patches.weights.shape[1], side), *numbered]


def _mark(lines: list[list[StyledSpan]], own: tuple[int, int], side: int) -> None:
    """Brackets on the left and right edge of a patch, in the line of its middle."""
    line = min((own[0] * side + (side - 1) // 2) // 2, len(lines) - 1)
    for place, mark in enumerate(own_mark(side), own[1] * side):
        if mark == " ":
            continue
        style = lines[line][place].style
        below = style.bg or style.fg or (0, 0, 0)
        lines[line][place] = StyledSpan(mark, Style(fg=ink_on(below), bg=below, bold=True))


def _row_number(row: int | None, side: int) -> str:
    """The number of a patch's row: of every row, or of every fifth where rows are half a line."""
    shown = row is not None and (side > 1 or row % 5 == 0)
    return f"{row if shown else '':>{_MARGIN - 1}} "


def _ruler(columns: int, cell: int) -> Line:
    """The numbers of the columns, as many as have room."""
    step = 1 if cell > len(str(columns - 1)) else 5
    text = ""
    for column in range(0, columns, step):
        place = column * cell + (cell - 1) // 2
        if place > len(text) or not text:
            text = f"{text:<{place}}{column}"
    return Line.of(StyledSpan(" " * _MARGIN + text, DIM))
