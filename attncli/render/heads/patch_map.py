"""Draws weights over the patches of a picture: tints of the picture in colour, else ASCII density characters."""

from __future__ import annotations

from math import isnan

import numpy as np
import numpy.typing as npt
from rich.style import Style
from rich.text import Text

from attncli.render.common.colormap import text_color_on, weight_color
from attncli.render.common.console import StyledText, rgb_style, row
from attncli.render.common.terminal import Rgb
from attncli.render.heads.heatmap import HeatScale, half_blocks
from attncli.render.views.patches import PatchWeights, greyscale, tint_shares
from attncli.results.patterns import Grid, Picture

# Cells before the map, for the numbers of the rows.
_MARGIN = 3

Pixels = npt.NDArray[np.float32]


def map_width(grid: Grid, side: int) -> int:
    """Width in cells of a map whose patches have `side` cells a side."""
    return _MARGIN + grid.columns * side


def colored_map(patches: PatchWeights, heat: HeatScale, side: int, picture: Picture | None) -> list[Text]:
    """The weights as tints of the picture, in half-blocks of two pixels; a patch has `side` × `side` pixels."""
    rows, columns = patches.weights.shape
    shares = np.array([[heat.share(weight) for weight in row] for row in patches.weights.tolist()])
    shares = np.kron(np.where(np.isnan(shares), 0, shares), np.ones((side, side)))
    tint = np.array([[weight_color(share, heat.terminal.color) for share in row] for row in shares.tolist()])
    pixels = np.asarray(tint, dtype=np.float32)
    if picture is not None:
        grey = greyscale(picture.resized(rows * side, columns * side))
        amount = tint_shares(shares)[..., None]
        pixels = (pixels * amount + grey[..., None] * (1 - amount)).astype(np.float32)
    hidden = np.kron(np.isnan(patches.weights), np.ones((side, side))).astype(bool)
    return _with_rulers(pixels, hidden, patches, side)


def plain_picture(picture: Picture, patches: PatchWeights, side: int) -> list[Text]:
    """The picture itself, at the same size as its map."""
    rows, columns = (length * side for length in patches.weights.shape)
    pixels = picture.resized(rows, columns).astype(np.float32)
    return _with_rulers(pixels, np.zeros((rows, columns), dtype=bool), patches, side)


def ascii_map(patches: PatchWeights, heat: HeatScale, cell: int) -> list[Text]:
    """The weights as density characters, `cell` of them per patch."""
    lines = [
        [(" " * cell, "") if isnan(weight) else heat.cell(weight, cell) for weight in weights]
        for weights in patches.weights.tolist()
    ]
    if patches.query_cell is not None:
        place, column = patches.query_cell
        lines[place][column] = query_mark(cell), ""
    rows = [row((f"{place:>{_MARGIN - 1}} ", "dim"), *cells) for place, cells in enumerate(lines)]
    return [_ruler(patches.weights.shape[1], cell), *rows]


def query_mark(side: int) -> str:
    """The mark on the query's patch, where a patch is `side` cells wide."""
    return "o" if side == 1 else f"[{' ' * (side - 2)}]"


def _with_rulers(pixels: Pixels, hidden: npt.NDArray[np.bool_], patches: PatchWeights, side: int) -> list[Text]:
    """Pixels as half-blocks with the query's patch marked, and with the numbers of rows and columns."""
    colors = [
        [None if masked else _rgb(pixel) for pixel, masked in zip(pixels_of_row, masks, strict=True)]
        for pixels_of_row, masks in zip(pixels.tolist(), hidden.tolist(), strict=True)
    ]
    lines = half_blocks(colors)
    if patches.query_cell is not None:
        _mark_query(lines, patches.query_cell, side)
    first_lines = {patch * side // 2: patch for patch in reversed(range(patches.weights.shape[0]))}
    rows = []
    for place, cells in enumerate(lines):
        # The number of every row of patches, or of every fifth where a row is half a line high.
        patch = first_lines.get(place)
        number = patch if patch is not None and (side > 1 or patch % 5 == 0) else ""
        rows.append(row((f"{number:>{_MARGIN - 1}} ", "dim"), *cells))
    return [_ruler(patches.weights.shape[1], side), *rows]


def _rgb(values: list[float]) -> Rgb:
    red, green, blue = (int(min(max(value, 0), 255)) for value in values)
    return red, green, blue


def _mark_query(lines: list[list[StyledText]], cell: tuple[int, int], side: int) -> None:
    """Puts brackets on the left and right edge of a patch, in its middle line."""
    line = min((cell[0] * side + (side - 1) // 2) // 2, len(lines) - 1)
    for place, mark in enumerate(query_mark(side), cell[1] * side):
        if mark == " ":
            continue
        style = lines[line][place][1]
        below = (style.bgcolor or style.color) if isinstance(style, Style) else None
        color: Rgb = below.triplet if below and below.triplet else (0, 0, 0)
        lines[line][place] = mark, rgb_style(text_color_on(color), color) + Style(bold=True)


def _ruler(columns: int, cell: int) -> Text:
    """The numbers of the columns, as many as fit."""
    step = 1 if cell > len(str(columns - 1)) else 5
    numbers = ""
    for column in range(0, columns, step):
        place = column * cell + (cell - 1) // 2
        if place > len(numbers) or not numbers:
            numbers = f"{numbers:<{place}}{column}"
    return Text(" " * _MARGIN + numbers, "dim")
