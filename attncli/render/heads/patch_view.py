"""Views of attention to a picture: a map of its patches per head, or, in cross attention, per word of a caption."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from attncli.render.common.cells import glyphs, shorten
from attncli.render.common.console import Flow, Rows, row, separate_blocks, side_by_side, text
from attncli.render.common.escape import token_text
from attncli.render.common.numbers import two_digits
from attncli.render.common.terminal import Terminal
from attncli.render.heads.header import content_text, note_row, sentence_text, stack_row
from attncli.render.heads.heatmap import HeatScale
from attncli.render.heads.one_head import metrics_in
from attncli.render.heads.patch_map import ascii_map, colored_map, map_width, plain_picture, query_mark
from attncli.render.views.patches import (
    MOST_MAPS,
    MapView,
    has_class_token,
    head_name,
    left_out_note,
    map_views,
    query_phrase,
    shows_caption_words,
)
from attncli.render.views.patterns import head_of
from attncli.results.heads import HeadsResult, Stack
from attncli.results.patterns import Grid, Picture

# Metrics of a head below its map.
_MOST_METRICS = 5
# Cells between maps.
_GAP = 3
# Lines that a single map may take, and one of several.
_TALL, _SHORT = 26, 13
_SEPARATE_SCALES = "each map has a scale of its own, from 0 to the number beneath it"


def patch_rows(result: HeadsResult, stacks: Sequence[Stack], terminal: Terminal) -> Rows | None:
    """The maps of all stacks; None if not every stack can be drawn as maps."""
    drawable = [(stack, views) for stack in stacks if (views := map_views(stack))]
    if len(drawable) < len(stacks):
        return None
    alone = len(stacks) == 1 and len(stacks[0].patterns) == 1
    return separate_blocks(
        _stack_maps(stack, views, result.picture, terminal, alone=alone) for stack, views in drawable
    )


def _stack_maps(
    stack: Stack, views: list[MapView], picture: Picture | None, terminal: Terminal, *, alone: bool
) -> Rows:
    """The maps of a stack; a single map of a class token, in place of a heatmap of all patches, has the head's metrics
    below it. alone: whether no other head is shown."""
    grid = stack.key_medium.grid
    assert grid is not None
    # The query of all maps, or the head of all words.
    name = text(f"head {head_name(stack, stack.patterns[0])}", "bold")
    looks = text(f"where {sentence_text(query_phrase(stack), terminal)} looks")
    parts = [name] * (len(stack.patterns) == 1) + [looks] * (not shows_caption_words(stack))
    rows: Rows = [stack_row(stack, terminal), Flow(parts, ": ")]
    last = f"{grid.rows - 1},{grid.columns - 1}"
    hint = [note_row(f"--query 0,0 to --query {last} show where a patch looks", terminal)]
    if len(views) > 1:
        maps = _arranged_maps(views[-MOST_MAPS:], grid, picture, terminal)
        hint = hint if has_class_token(stack) else []
        return [*rows, note_row(left_out_note(len(views)), terminal), Text(), *maps, *hint]
    rows += one_map(views[0], grid, picture, terminal)
    if not (alone and has_class_token(stack)):
        return rows
    head = head_of(stack, stack.patterns[0])
    rows += hint
    return rows if head is None else [*rows, Text(), *metrics_in(_MOST_METRICS, head, stack, terminal)]


def head_maps(stack: Stack, picture: Picture | None, terminal: Terminal) -> Rows:
    """A small map for each head of a stack with one query."""
    assert stack.key_medium.grid is not None
    return _arranged_maps(map_views(stack), stack.key_medium.grid, picture, terminal)


def one_map(view: MapView, grid: Grid, picture: Picture | None, terminal: Terminal, height: int = _TALL) -> Rows:
    """One map as large as fits, with the picture beside it if there is room, and a legend. height: lines of the map."""
    heat = HeatScale(view.patches.largest, terminal, relative=True)
    if not heat.half_blocks:
        side = _ascii_cell_width(grid, terminal.width)
        rows = ascii_map(view.patches, heat, side)
    else:
        beside = picture is not None and _pixels_per_patch(grid, terminal.width, height, maps=2) > 0
        side = max(_pixels_per_patch(grid, terminal.width, height, maps=2 if beside else 1), 1)
        rows = colored_map(view.patches, heat, side, picture)
        if beside and picture is not None:
            whole = plain_picture(picture, view.patches, side)
            rows = side_by_side([rows, whole], width=map_width(grid, side), gap=_GAP)
    # The scale, the weight of the query's patch on itself, and those of keys that are no patches.
    parts, cell = [heat.legend()], view.patches.query_cell
    if cell is not None:
        itself = f"the patch itself, {two_digits(float(view.patches.weights[cell]))}"
        parts.append(row(f"{query_mark(side)} ", (itself, "dim")))
    for token, weight in view.patches.other_keys:
        parts.append(row(f"{token_text(token, terminal)} ", (two_digits(weight), "bold")))
    return [Text(), *rows, Text(), Flow(parts, "   ")]


def _pixels_per_patch(grid: Grid, width: int, height: int, *, maps: int) -> int:
    """Pixels on each side of a patch, so that `maps` fit side by side; 0 if they don't. A line is two pixels high."""
    room = (width - (maps - 1) * _GAP) // maps
    fits = (room - map_width(grid, 0)) // grid.columns
    return min(fits, max(2 * height // grid.rows, 1))


def _ascii_cell_width(grid: Grid, width: int) -> int:
    """Characters per patch: two look square."""
    return min(max((width - map_width(grid, 0)) // grid.columns, 1), 2)


def _arranged_maps(views: Sequence[MapView], grid: Grid, picture: Picture | None, terminal: Terminal) -> Rows:
    """Small maps in rows."""
    maps = [_small_map(view, grid, picture, terminal) for view in views]
    width = min(max(each.cell_len for rows in maps for each in rows), terminal.width)
    most = max((terminal.width + _GAP) // (width + _GAP), 1)
    groups = [maps[start : start + most] for start in range(0, len(maps), most)]
    rows = [each for group in groups for each in [*side_by_side(group, width=width, gap=_GAP), Text()]]
    return [*rows, note_row(_SEPARATE_SCALES, terminal)]


def _small_map(view: MapView, grid: Grid, picture: Picture | None, terminal: Terminal) -> list[Text]:
    """One of several maps, each with its own scale, of which the largest weight is below it."""
    heat = HeatScale(view.patches.largest, terminal, relative=True)
    if heat.half_blocks:
        side = max(_pixels_per_patch(grid, terminal.width, _SHORT, maps=1), 1)
        rows = colored_map(view.patches, heat, side, picture)
    else:
        rows = ascii_map(view.patches, heat, _ascii_cell_width(grid, terminal.width))
    name = shorten(content_text(view.name, terminal), max(rows[-1].cell_len - 3, 8), glyphs(terminal).cut)
    others = [f"{token_text(token, terminal)} {two_digits(weight)}" for token, weight in view.patches.other_keys[:1]]
    below = (f"to {two_digits(view.patches.largest)}", *others)
    return [*rows, row("   ", (name, "bold")), *(row("   ", (each, "dim")) for each in below)]
