"""Weights over a picture: the picture beneath the colours, patches left out, and no line too wide."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attncli.metrics import METRICS
from attncli.render.common.cells import cell_width
from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.heads.heatmap import HeatScale
from attncli.render.heads.patch_map import colored_map
from attncli.render.heads.text import heads_text
from attncli.render.views.patches import patch_weights
from attncli.results.base import MadeBy
from attncli.results.heads import HeadMetrics, HeadsResult, Layer, Stack
from attncli.results.patterns import TOKENS, Grid, Medium, Pattern, Picture
from attncli.results.tokens import Token

GRID = Grid(3, 4, 1)
CLS = Token(0, 0, "[CLS]", "[CLS]", special=True)
VALUES = dict.fromkeys(METRICS, 0.25)


def patch(place: int, grid: Grid = GRID) -> Token:
    row, column = divmod(place - grid.first, grid.columns)
    return Token(place, place, f"{row},{column}", f"{row},{column}")


def keys_of(grid: Grid) -> tuple[Token, ...]:
    return (*[CLS] * grid.first, *(patch(place, grid) for place in grid.patches))


def looking(
    rows: list[list[list[float]]],
    queries: tuple[Token, ...] = (),
    grid: Grid = GRID,
    picture: Picture | None = None,
    window: int | None = None,
) -> HeadsResult:
    """A head for each of `rows`, which are its weights by query. queries: of a caption, else the class token."""
    medium = Medium("patches", grid=grid, window=window)
    heads = tuple(HeadMetrics(f"1.{head}", 1, head, (), VALUES) for head in range(len(rows)))
    stack = Stack(
        stack="cross" if queries and queries[0].word is not None else "vision",
        layers=(Layer(0, 4), Layer(1, 4)),
        queries=queries or (CLS,),
        keys=keys_of(grid),
        metrics=heads,
        baselines={1: VALUES},
        causal=False,
        patterns=tuple(Pattern(1, head, np.array(row, dtype=np.float32)) for head, row in enumerate(rows)),
        query_medium=TOKENS if queries and queries[0].word is not None else medium,
        key_medium=medium,
    )
    return HeadsResult("some/vit", "cpu", "float32", (stack,), MadeBy("0.1.0"), chosen=True, picture=picture)


#: [CLS] gets 0.12, the patch 1,2 most.
ROW = [0.12, 0, 0.04, 0.04, 0, 0.04, 0.08, 0.4, 0.08, 0, 0.08, 0.08, 0.04]


def test_where_a_patch_looks() -> None:
    assert heads_text(looking([[ROW]], (patch(6),)), Terminal(80)) == (
        "some/vit\n"
        "vision · bidirectional · 2 layers × 4 heads · 3 × 4 patches and [CLS]\n"
        "head 1.0: where patch 1,1 looks\n"
        "\n"
        "   0 1 2 3\n"
        " 0   ....\n"
        " 1 ..[]@@::\n"
        " 2   ::::..\n"
        "\n"
        "0 [ .:-=+*#%@] 0.40   [] the patch itself, 0.08   [CLS] 0.12\n"
    )


def test_where_the_class_token_of_several_heads_looks_in_ascii_and_narrow() -> None:
    other = [0.4, *[0.05] * 12]
    assert heads_text(looking([[ROW], [other]]), Terminal(30, unicode=False)) == (
        "some/vit\n"
        "vision | bidirectional\n"
        "2 layers x 4 heads\n"
        "heads 0 and 1 of layer 1\n"
        "3 x 4 patches and [CLS]\n"
        "where [CLS] looks\n"
        "\n"
        "   0 1 2 3         0 1 2 3\n"
        " 0   ....        0 @@@@@@@@\n"
        " 1 ..::@@::      1 @@@@@@@@\n"
        " 2   ::::..      2 @@@@@@@@\n"
        "   1.0             1.1\n"
        "   to 0.40         to 0.05\n"
        "   [CLS] 0.12      [CLS] 0.40\n"
        "\n"
        "each map has a scale of its\n"
        "own, from 0 to the number\n"
        "beneath it\n"
    )


def test_a_whole_head_shows_where_its_class_token_looks_and_its_metrics() -> None:
    result = looking([[ROW] * 13], keys_of(GRID))
    text = heads_text(result, Terminal(80, full=True))
    assert "head 1.0: where [CLS] looks\n" in text
    assert "--query 0,0 to --query 2,3 show where a patch looks\n" in text
    assert "distance         0.25     0.25  how far away it looks (patches)\n" in text
    assert "previous         0.25     0.25  weight on the patch to the left\n" in text


def test_patches_see_their_own_window() -> None:
    text = heads_text(looking([[ROW]], (patch(6),), window=2), Terminal(80))
    assert "vision · bidirectional in windows of 2 × 2 · 2 layers" in text


def picture(height: int, width: int) -> Picture:
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[:, width // 2 :] = 255
    return Picture(pixels)


def test_colours_are_those_of_the_weights_over_the_grey_of_the_picture() -> None:
    patches = patch_weights(keys_of(GRID), ROW, GRID, None)
    heat = HeatScale(patches.largest, Terminal(80, ColorDepth.TRUE))
    bare = colored_map(patches, heat, 2, None)
    seen = colored_map(patches, heat, 2, picture(6, 8))
    assert [line.plain for line in bare] == ["   0 1 2 3", *(f" {row} {'▀' * 8}" for row in range(3))]

    def tops(line):  # of the patches 1,0 to 1,3
        return [span.style.color.triplet for span in line.spans[1::2]]

    dark, light = tops(seen[2])[:2], tops(seen[2])[2:]
    assert sum(dark[0]) < sum(tops(bare[2])[0])  # on black, no weight is nearly black
    assert sum(light[1]) > sum(dark[0])
    brightest = tops(bare[2])[2]
    assert max(abs(a - b) for a, b in zip(light[0], brightest, strict=True)) < 26  # a tenth of grey


def test_the_patch_that_looks_is_marked_in_colours_too() -> None:
    terminal = Terminal(80, ColorDepth.TRUE)
    patches = patch_weights(keys_of(GRID), ROW, GRID, patch(6))
    lines = colored_map(patches, HeatScale(patches.largest, terminal), 2, None)
    assert [line.plain for line in lines[1:]] == [" 0 ▀▀▀▀▀▀▀▀", " 1 ▀▀[]▀▀▀▀", " 2 ▀▀▀▀▀▀▀▀"]
    assert lines[2].spans[3].style.bgcolor is not None


def test_patches_that_are_left_out_stay_blank() -> None:
    patches = patch_weights(keys_of(GRID)[5:9], ROW[5:9], GRID, None)
    lines = colored_map(patches, HeatScale(patches.largest, Terminal(80, ColorDepth.TRUE)), 2, None)
    assert [line.plain.rstrip() for line in lines[1:]] == [" 0", " 1 ▀▀▀▀▀▀▀▀", " 2"]
    assert len(lines[1].spans) == 1  # the number of the row


def test_a_picture_is_beside_its_map_where_there_is_room() -> None:
    result = looking([[ROW]], picture=picture(30, 40))
    wide = heads_text(result, Terminal(80, ColorDepth.TRUE))
    rulers = [line for line in re.sub(r"\x1b\[[0-9;]*m", "", wide).splitlines() if line.lstrip().startswith("0 ")]
    assert rulers[0].split() == ["0", "1", "2", "3"] * 2


@pytest.mark.parametrize("depth", [ColorDepth.NONE, ColorDepth.ANSI, ColorDepth.EIGHT_BIT, ColorDepth.TRUE])
@settings(deadline=None)
@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    width=st.integers(20, 130),
    heads=st.integers(1, 3),
    own=st.booleans(),
    unicode=st.booleans(),
)
def test_no_line_is_wider_than_the_terminal(
    depth: ColorDepth, rows: int, columns: int, width: int, heads: int, own: bool, unicode: bool
) -> None:
    grid = Grid(rows, columns, 1)
    weights = np.linspace(0, 1, 1 + rows * columns).tolist()
    query = (patch(grid.patches[-1], grid),) if own else ()
    result = looking([[weights]] * heads, query, grid, picture(9, 7))
    text = heads_text(result, Terminal(width, depth, unicode))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert max(map(cell_width, plain.splitlines())) <= width
    assert unicode or plain.isascii()
