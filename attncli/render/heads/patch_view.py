"""Views of attention to a picture: a map of its patches per head, or, in cross attention, per word of a caption.

`map_rows` picks the rows of weights to draw (figures use it, too); `patch_map` draws one map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from attncli.render.common.cells import glyphs, shorten
from attncli.render.common.escape import token_text
from attncli.render.common.lines import BOLD, DIM, Line, StyledSpan, flow, separate_blocks, side_by_side, wrap
from attncli.render.common.terminal import Terminal
from attncli.render.heads.header import stack_lines
from attncli.render.heads.heatmap import HeatScale
from attncli.render.heads.one_head import metric_lines
from attncli.render.heads.patch_map import (
    PatchWeights,
    ascii_map,
    colored_map,
    map_width,
    patch_weights,
    plain_picture,
    query_mark,
)
from attncli.results.heads import HeadsResult, Stack
from attncli.results.patterns import Grid, Pattern, Picture
from attncli.results.tokens import Token

#: At most so many maps are drawn at once.
MOST_MAPS = 24


class MapRow(NamedTuple):
    """A row of weights to draw as a map. name: of the head, or the caption's word.  query: if it is of the picture."""

    name: str
    weights: Sequence[float]
    query: Token | None = None


def map_rows(stack: Stack, token_name: Callable[[Token], str]) -> list[MapRow]:
    """The rows to draw as maps: one per head, or one head's rows, one per word of a caption; else none.

    token_name: writes a word of a caption.
    """
    if stack.key_medium.grid is None or any(pattern.bins is not None for pattern in stack.patterns):
        return []
    same = stack.query_medium.grid is not None
    if len(stack.queries) == 1 or has_class_token(stack):
        query = stack.queries[0] if same else None
        return [MapRow(head_name(stack, pattern), pattern.weights[0].tolist(), query) for pattern in stack.patterns]
    if len(stack.patterns) == 1 and not same:
        rows = stack.patterns[0].weights.tolist()
        return [MapRow(token_name(token), row) for token, row in zip(stack.queries, rows, strict=True)]
    return []


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


def query_phrase(stack: Stack, token_name: Callable[[Token], str]) -> str:
    """The query of all maps in a sentence: `patch 2,1`, `[CLS]`, or a word."""
    query = stack.queries[0]
    if stack.query_medium.grid is None:
        return token_name(query).strip() or "the token"
    return token_name(query) if query.special else f"patch {token_name(query)}"


def shown_maps(rows: Sequence[MapRow]) -> tuple[Sequence[MapRow], str]:
    """The last maps, as many as are drawn at once, and a sentence about the others, if any."""
    shown = rows[-MOST_MAPS:]
    if len(shown) == len(rows):
        return shown, ""
    return shown, f"the last {len(shown)} of {len(rows)} maps; -l or -H chooses others"


def share_text(weight: float) -> str:
    """Two significant digits: `0.43`, `0.0061`."""
    return f"{weight:.2f}" if weight >= 0.1 or not weight else f"{weight:.2g}"


# --- in a terminal

# Cells between maps.
_GAP = 3
# Lines that a single map may take, and one of several.
_TALL, _SHORT = 26, 13

_SEPARATE_SCALES = "each map has a scale of its own, from 0 to the number beneath it"


def patch_lines(result: HeadsResult, stacks: Sequence[Stack], terminal: Terminal) -> list[Line] | None:
    """The maps of all stacks; None if not every stack can be drawn as maps."""
    is_one_head = len(stacks) == 1 and len(stacks[0].patterns) == 1
    if is_one_head and has_class_token(stacks[0]) and _map_rows(stacks[0], terminal):
        return _class_token(stacks[0], result.picture, terminal)
    drawable = [(stack, rows) for stack in stacks if (rows := _map_rows(stack, terminal))]
    if len(drawable) < len(stacks):
        return None
    return separate_blocks([_stack_maps(stack, rows, result.picture, terminal) for stack, rows in drawable])


def _query_hint(grid: Grid) -> str:
    return f"--query 0,0 to --query {grid.rows - 1},{grid.columns - 1} show where a patch looks"


def _class_token(stack: Stack, picture: Picture | None, terminal: Terminal) -> list[Line]:
    """The map of one head's class token, and the head's metrics, in place of a heatmap of all patches."""
    grid, pattern = stack.key_medium.grid, stack.patterns[0]
    head = next((head for head in stack.metrics if (head.layer, head.head) == (pattern.layer, pattern.head)), None)
    assert grid is not None
    query = stack.queries[0]
    row = MapRow("", pattern.weights[0].tolist(), query)
    name = Line.of(StyledSpan(f"head {head_name(stack, pattern)}", BOLD))
    title = flow([name, Line.of(f"where {_query_name(stack, terminal)} looks")], separator=": ", width=terminal.width)
    lines = [*stack_lines(stack, terminal), *title, *one_map(stack.keys, row, grid, picture, terminal)]
    metrics = [] if head is None else [Line(), *metric_lines(head, stack, terminal)]
    return [*lines, *wrap(_query_hint(grid), DIM, width=terminal.width), *metrics]


def reading_map(
    stack: Stack, weights: Sequence[float], query: Token | None, picture: Picture | None, terminal: Terminal
) -> list[Line]:
    """The map of one query's weights on the patches."""
    assert stack.key_medium.grid is not None
    return one_map(stack.keys, MapRow("", weights, query), stack.key_medium.grid, picture, terminal)


def head_maps(stack: Stack, picture: Picture | None, terminal: Terminal) -> list[Line]:
    """A small map for each head of a stack with one query."""
    assert stack.key_medium.grid is not None
    grid = stack.key_medium.grid
    maps = [_small_map(stack.keys, row, grid, picture, terminal) for row in _map_rows(stack, terminal)]
    return [*_arrange_maps(maps, terminal), *wrap(_SEPARATE_SCALES, DIM, width=terminal.width)]


def _map_rows(stack: Stack, terminal: Terminal) -> list[MapRow]:
    return map_rows(stack, lambda token: token_text(token, terminal))


def _query_name(stack: Stack, terminal: Terminal) -> str:
    return query_phrase(stack, lambda token: token_text(token, terminal))


def _stack_maps(stack: Stack, rows: list[MapRow], picture: Picture | None, terminal: Terminal) -> list[Line]:
    grid = stack.key_medium.grid
    assert grid is not None
    title = _maps_title(stack, terminal)
    shown, sentence = shown_maps(rows)
    note = wrap(sentence, DIM, width=terminal.width)
    if len(shown) == 1:
        return [*stack_lines(stack, terminal), *title, *one_map(stack.keys, shown[0], grid, picture, terminal)]
    maps = [_small_map(stack.keys, row, grid, picture, terminal) for row in shown]
    start = [*stack_lines(stack, terminal), *title, *note, Line(), *_arrange_maps(maps, terminal)]
    hint = wrap(_query_hint(grid), DIM, width=terminal.width) if has_class_token(stack) else []
    return [*start, *wrap(_SEPARATE_SCALES, DIM, width=terminal.width), *hint]


def _maps_title(stack: Stack, terminal: Terminal) -> list[Line]:
    """The query of all maps, or the head of all words."""
    name = StyledSpan(f"head {head_name(stack, stack.patterns[0])}", BOLD)
    if shows_caption_words(stack):
        return [Line.of(name)]
    who = _query_name(stack, terminal)
    parts = [Line.of(name)] if len(stack.patterns) == 1 else []
    return flow([*parts, Line.of(f"where {who} looks")], separator=": ", width=terminal.width)


def one_map(keys: Sequence[Token], row: MapRow, grid: Grid, picture: Picture | None, terminal: Terminal) -> list[Line]:
    """One map as large as fits, with the picture beside it if there is room, and a legend."""
    patches = patch_weights(keys, row.weights, grid, row.query)
    heat = HeatScale(patches.largest, terminal, relative=True)
    if not heat.colored or not terminal.unicode:
        cell = _ascii_cell_width(grid, terminal.width)
        return [Line(), *ascii_map(patches, heat, cell), Line(), *_map_legend(patches, heat, cell)]
    beside = picture is not None and _pixels_per_patch(grid, terminal.width, _TALL, maps=2) > 0
    side = max(_pixels_per_patch(grid, terminal.width, _TALL, maps=2 if beside else 1), 1)
    lines = colored_map(patches, heat, side, picture)
    if beside and picture is not None:
        whole = plain_picture(picture, patches, side, heat)
        lines = side_by_side([lines, whole], width=map_width(grid, side), gap=_GAP)
    return [Line(), *lines, Line(), *_map_legend(patches, heat, side)]


def _pixels_per_patch(grid: Grid, width: int, height: int, *, maps: int) -> int:
    """Pixels on each side of a patch, so that `maps` fit side by side; 0 if they don't. A line is two pixels high."""
    room = (width - (maps - 1) * _GAP) // maps
    fits = (room - map_width(grid, 0)) // grid.columns
    return min(fits, max(2 * height // grid.rows, 1))


def _ascii_cell_width(grid: Grid, width: int) -> int:
    """Characters per patch: two look square."""
    fits = (width - map_width(grid, 0)) // grid.columns
    return min(max(fits, 1), 2)


def _small_map(
    keys: Sequence[Token], row: MapRow, grid: Grid, picture: Picture | None, terminal: Terminal
) -> list[Line]:
    """One of several maps, each with its own scale, of which the largest weight is below it."""
    patches = patch_weights(keys, row.weights, grid, row.query)
    heat = HeatScale(patches.largest, terminal, relative=True)
    if heat.colored and terminal.unicode:
        lines = colored_map(patches, heat, max(_pixels_per_patch(grid, terminal.width, _SHORT, maps=1), 1), picture)
    else:
        lines = ascii_map(patches, heat, _ascii_cell_width(grid, terminal.width))
    name = shorten(row.name, max(lines[-1].width - 3, 8), glyphs(terminal).cut)
    return [*lines, Line.of("   ", StyledSpan(name, BOLD)), *_small_map_numbers(patches, terminal)]


def _small_map_numbers(patches: PatchWeights, terminal: Terminal) -> list[Line]:
    largest = Line.of("   ", StyledSpan(f"to {share_text(patches.largest)}", DIM))
    beside = [
        Line.of("   ", StyledSpan(f"{token_text(token, terminal)} {share_text(weight)}", DIM))
        for token, weight in patches.other_keys[:1]
    ]
    return [largest, *beside]


def _arrange_maps(maps: list[list[Line]], terminal: Terminal) -> list[Line]:
    width = min(max(line.width for each in maps for line in each), terminal.width)
    most = max((terminal.width + _GAP) // (width + _GAP), 1)
    groups = [maps[start : start + most] for start in range(0, len(maps), most)]
    return [line for group in groups for line in [*side_by_side(group, width=width, gap=_GAP), Line()]]


def _map_legend(patches: PatchWeights, heat: HeatScale, side: int) -> list[Line]:
    """Below a map: the scale, the weight of the query's patch on itself, and those of keys that are no patches."""
    notes = []
    if patches.query_cell is not None:
        weight = float(patches.weights[patches.query_cell])
        notes.append(Line.of(f"{query_mark(side)} ", StyledSpan(f"the patch itself, {share_text(weight)}", DIM)))
    notes += [
        Line.of(f"{token_text(token, heat.terminal)} ", StyledSpan(share_text(weight), BOLD))
        for token, weight in patches.other_keys
    ]
    return flow([heat.legend(), *notes], separator="   ", width=heat.terminal.width)
