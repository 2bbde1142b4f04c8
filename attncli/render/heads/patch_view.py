"""What there is to draw over a picture: where one query of several heads looks, or the words of a caption of one.

Where heads look in a picture: a map of its patches a head, or a word of its caption.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from attncli.render.common.cells import glyphs, shorten
from attncli.render.common.escape import token_text
from attncli.render.common.lines import BOLD, DIM, Line, StyledSpan, apart, flow, side_by_side
from attncli.render.common.terminal import Terminal
from attncli.render.heads.header import stack_lines
from attncli.render.heads.heatmap import Heat
from attncli.render.heads.one_head import metric_lines
from attncli.render.heads.patch_map import (
    Patches,
    colored_map,
    inked_map,
    map_width,
    on_patches,
    own_mark,
    plain_picture,
)
from attncli.results.heads import HeadsResult, Stack
from attncli.results.patterns import Grid, Pattern, Picture
from attncli.results.tokens import Token

#: More maps than these are told to be asked for.
MOST_MAPS = 24


class Look(NamedTuple):
    """One row of weights over the keys of a stack. name: of the head or the word that looks; query: what looks."""

    name: str
    weights: Sequence[float]
    query: Token | None = None


def looks_of(stack: Stack, named: Callable[[Token], str]) -> list[Look]:
    """The maps of a stack; none where its keys are no patches, or where there are more rows than one of each head.

    named: how a word of a caption is written.
    """
    if stack.key_medium.grid is None or any(pattern.bins is not None for pattern in stack.patterns):
        return []
    same = stack.query_medium.grid is not None
    if len(stack.queries) == 1 or has_class_token(stack):
        query = stack.queries[0] if same else None
        return [Look(head_name(stack, pattern), pattern.weights[0].tolist(), query) for pattern in stack.patterns]
    if len(stack.patterns) == 1 and not same:
        rows = stack.patterns[0].weights.tolist()
        return [Look(named(token), row) for token, row in zip(stack.queries, rows, strict=True)]
    return []


def has_class_token(stack: Stack) -> bool:
    """Whether all queries were asked for, and the first of them stands for the whole picture."""
    grid = stack.query_medium.grid
    return grid is not None and len(stack.queries) > grid.rows * grid.columns and stack.queries[0].special


def are_words(stack: Stack) -> bool:
    """Whether the maps of a stack are of the words of a caption."""
    return len(stack.queries) > 1 and stack.query_medium.grid is None


def head_name(stack: Stack, pattern: Pattern) -> str:
    names = {(head.layer, head.head): head.name for head in stack.metrics}
    return names.get((pattern.layer, pattern.head or 0), f"up to layer {pattern.layer}")


def who_looks(stack: Stack, named: Callable[[Token], str]) -> str:
    """The query of all maps: `patch 2,1`, `[CLS]`, or a word."""
    query = stack.queries[0]
    if stack.query_medium.grid is None:
        return named(query).strip() or "the token"
    return named(query) if query.special else f"patch {named(query)}"


def shown_maps(looks: Sequence[Look]) -> tuple[Sequence[Look], str]:
    """As many as can be drawn, the last of them, and what there is to say of the others."""
    shown = looks[-MOST_MAPS:]
    if len(shown) == len(looks):
        return shown, ""
    return shown, f"the last {len(shown)} of {len(looks)} maps; -l or -H chooses others"


def share_text(weight: float) -> str:
    """Two digits that count: `0.43`, `0.0061`."""
    return f"{weight:.2f}" if weight >= 0.1 or not weight else f"{weight:.2g}"


_GAP = 3
# Rows of a terminal that one map may take, and one of several.
_TALL, _SHORT = 26, 13

_OWN_SCALES = "each map has a scale of its own, from 0 to the number beneath it"


def patch_lines(result: HeadsResult, stacks: Sequence[Stack], terminal: Terminal) -> list[Line] | None:
    """The maps of all stacks that look at a picture; None where there is a table to show instead."""
    if len(stacks) == 1 and len(stacks[0].patterns) == 1 and has_class_token(stacks[0]) and _looks(stacks[0], terminal):
        return _class_token(stacks[0], result.picture, terminal)
    looking = [(stack, looks) for stack in stacks if (looks := _looks(stack, terminal))]
    if len(looking) < len(stacks):
        return None
    return apart([_stack_maps(stack, looks, result.picture, terminal) for stack, looks in looking])


def _hint(grid: Grid) -> str:
    return f"--query 0,0 to --query {grid.rows - 1},{grid.columns - 1} show where a patch looks"


def _class_token(stack: Stack, picture: Picture | None, terminal: Terminal) -> list[Line]:
    """Where the class token of one head looks, and the head's metrics: a table of all patches would say little."""
    grid, pattern = stack.key_medium.grid, stack.patterns[0]
    head = next((head for head in stack.metrics if (head.layer, head.head) == (pattern.layer, pattern.head)), None)
    assert grid is not None
    query = stack.queries[0]
    look = Look("", pattern.weights[0].tolist(), query)
    name = Line.of(StyledSpan(f"head {head_name(stack, pattern)}", BOLD))
    title = flow([name, Line.of(f"where {_who(stack, terminal)} looks")], separator=": ", width=terminal.width)
    lines = [*stack_lines(stack, terminal), *title, *one_map(stack.keys, look, grid, picture, terminal)]
    metrics = [] if head is None else [Line(), *metric_lines(head, stack, terminal)]
    return [*lines, *_in_words(_hint(grid), terminal), *metrics]


def reading_map(
    stack: Stack, weights: Sequence[float], query: Token | None, picture: Picture | None, terminal: Terminal
) -> list[Line]:
    """One row of weights over the keys of a stack that looks at a picture."""
    assert stack.key_medium.grid is not None
    return one_map(stack.keys, Look("", weights, query), stack.key_medium.grid, picture, terminal)


def head_maps(stack: Stack, picture: Picture | None, terminal: Terminal) -> list[Line]:
    """A small map for each head of a stack of which one query is shown."""
    assert stack.key_medium.grid is not None
    grid = stack.key_medium.grid
    maps = [_small_map(stack.keys, look, grid, picture, terminal) for look in _looks(stack, terminal)]
    return [*_in_rows(maps, terminal), *_in_words(_OWN_SCALES, terminal)]


def _looks(stack: Stack, terminal: Terminal) -> list[Look]:
    return looks_of(stack, lambda token: token_text(token, terminal))


def _who(stack: Stack, terminal: Terminal) -> str:
    return who_looks(stack, lambda token: token_text(token, terminal))


def _stack_maps(stack: Stack, looks: list[Look], picture: Picture | None, terminal: Terminal) -> list[Line]:
    grid = stack.key_medium.grid
    assert grid is not None
    title = _title(stack, terminal)
    shown, said = shown_maps(looks)
    notes = _in_words(said, terminal) if said else []
    if len(shown) == 1:
        return [*stack_lines(stack, terminal), *title, *one_map(stack.keys, shown[0], grid, picture, terminal)]
    maps = [_small_map(stack.keys, look, grid, picture, terminal) for look in shown]
    start = [*stack_lines(stack, terminal), *title, *notes, Line(), *_in_rows(maps, terminal)]
    hint = _in_words(_hint(grid), terminal) if has_class_token(stack) else []
    return [*start, *_in_words(_OWN_SCALES, terminal), *hint]


def _title(stack: Stack, terminal: Terminal) -> list[Line]:
    """Who looks: the query of all maps, or the head of all words."""
    name = StyledSpan(f"head {head_name(stack, stack.patterns[0])}", BOLD)
    if are_words(stack):
        return [Line.of(name)]
    who = _who(stack, terminal)
    parts = [Line.of(name)] if len(stack.patterns) == 1 else []
    return flow([*parts, Line.of(f"where {who} looks")], separator=": ", width=terminal.width)


def one_map(keys: Sequence[Token], look: Look, grid: Grid, picture: Picture | None, terminal: Terminal) -> list[Line]:
    """One map as large as it may be, the picture beside it where there is room, and what lies beside the patches."""
    patches = on_patches(keys, look.weights, grid, look.query)
    heat = Heat(patches.largest, terminal, relative=True)
    if not heat.colored or not terminal.unicode:
        cell = _ink_cell(grid, terminal.width)
        return [Line(), *inked_map(patches, heat, cell), Line(), *_legend(patches, heat, cell)]
    beside = picture is not None and _side(grid, terminal.width, _TALL, maps=2) > 0
    side = max(_side(grid, terminal.width, _TALL, maps=2 if beside else 1), 1)
    lines = colored_map(patches, heat, side, picture)
    if beside and picture is not None:
        whole = plain_picture(picture, patches, side, heat)
        lines = side_by_side([lines, whole], width=map_width(grid, side), gap=_GAP)
    return [Line(), *lines, Line(), *_legend(patches, heat, side)]


def _side(grid: Grid, width: int, height: int, *, maps: int) -> int:
    """Pixels a patch has a side, so that maps beside one another fit; 0 where they don't. Two pixels make a line."""
    room = (width - (maps - 1) * _GAP) // maps
    fits = (room - map_width(grid, 0)) // grid.columns
    return min(fits, max(2 * height // grid.rows, 1))


def _ink_cell(grid: Grid, width: int) -> int:
    """Characters a patch: two look square."""
    fits = (width - map_width(grid, 0)) // grid.columns
    return min(max(fits, 1), 2)


def _small_map(
    keys: Sequence[Token], look: Look, grid: Grid, picture: Picture | None, terminal: Terminal
) -> list[Line]:
    """One of several maps: each is drawn on a scale of its own, whose end stands beneath it."""
    patches = on_patches(keys, look.weights, grid, look.query)
    heat = Heat(patches.largest, terminal, relative=True)
    if heat.colored and terminal.unicode:
        lines = colored_map(patches, heat, max(_side(grid, terminal.width, _SHORT, maps=1), 1), picture)
    else:
        lines = inked_map(patches, heat, _ink_cell(grid, terminal.width))
    name = shorten(look.name, max(lines[-1].width - 3, 8), glyphs(terminal).cut)
    return [*lines, Line.of("   ", StyledSpan(name, BOLD)), *_numbers(patches, terminal)]


def _numbers(patches: Patches, terminal: Terminal) -> list[Line]:
    largest = Line.of("   ", StyledSpan(f"to {share_text(patches.largest)}", DIM))
    beside = [
        Line.of("   ", StyledSpan(f"{token_text(token, terminal)} {share_text(weight)}", DIM))
        for token, weight in patches.beside[:1]
    ]
    return [largest, *beside]


def _in_rows(maps: list[list[Line]], terminal: Terminal) -> list[Line]:
    width = min(max(line.width for each in maps for line in each), terminal.width)
    most = max((terminal.width + _GAP) // (width + _GAP), 1)
    groups = [maps[start : start + most] for start in range(0, len(maps), most)]
    return [line for group in groups for line in [*side_by_side(group, width=width, gap=_GAP), Line()]]


def _in_words(text: str, terminal: Terminal) -> list[Line]:
    return flow([Line.of(StyledSpan(word, DIM)) for word in text.split()], separator=" ", width=terminal.width)


def _legend(patches: Patches, heat: Heat, side: int) -> list[Line]:
    """The scale, what the patch that looks gives itself, and what goes beside the patches."""
    notes = []
    if patches.own is not None:
        own = float(patches.weights[patches.own])
        notes.append(Line.of(f"{own_mark(side)} ", StyledSpan(f"the patch itself, {share_text(own)}", DIM)))
    notes += [
        Line.of(f"{token_text(token, heat.terminal)} ", StyledSpan(share_text(weight), BOLD))
        for token, weight in patches.beside
    ]
    return flow([heat.scale(), *notes], separator="   ", width=heat.terminal.width)
