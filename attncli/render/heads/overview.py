"""Several heads beside one another: a small picture each, with its name, its label and two of its metrics.

All heads of a small stack as pictures beneath its map: a glance says which diagonals and stripes there are.

All heads of a stack at a glance: a letter a head, layers down and heads across, and the heads that stand out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, isnan

import numpy as np

from attncli.choices import METRICS
from attncli.render.common.cells import glyphs
from attncli.render.common.lines import BOLD, DIM, Line, StyledSpan, flow, side_by_side
from attncli.render.common.terminal import Terminal
from attncli.render.heads.head_map import head_map
from attncli.render.heads.header import (
    alone_lines,
    has_text,
    is_alone,
    pooling_lines,
    scale_lines,
    scope_lines,
    stack_lines,
    tokens_line,
)
from attncli.render.heads.heatmap import Heat, Mask, full_scale, pooled_evenly, unseen
from attncli.render.heads.metric_words import in_order, label_entry, label_of, number, weight_number
from attncli.render.heads.standouts import Standout, sentence_lines
from attncli.results.heads import HeadMetrics, Stack
from attncli.results.patterns import Pattern, Weights

_GAP = 2
# What pictures of few tokens are magnified to and those of many pooled to: four of this size fit 80 columns.
_SIDE = 18
# The most tokens of which every weight is drawn: three pictures of this size fit 80 columns.
_LARGEST = 25
_METRICS_SHOWN = 2
_ALWAYS = ("entropy", "distance", "confidence")


def shrunk(stack: Stack, terminal: Terminal, *, least: int = 1) -> Stack:
    """The stack with its patterns pooled to the size of small pictures. least: cells that a weight needs."""
    room = terminal.width // least
    fits = max(len(stack.queries), len(stack.keys)) <= min(_LARGEST, room)
    side = _LARGEST if fits else max(min(_SIDE, room), 1)
    return replace(stack, patterns=tuple(pooled_evenly(pattern, side, side) for pattern in stack.patterns))


def thumbnails(stack: Stack, heat: Heat, terminal: Terminal, *, weighting: str = "attention") -> list[Line]:
    """The patterns of a stack that is `shrunk`, as many beside one another as the width takes, all drawn by `heat`."""
    heads = {(head.layer, head.head): head for head in stack.metrics}
    shown = [heads[pattern.layer, pattern.head] for pattern in stack.patterns if pattern.head is not None]
    pairs = zip(stack.patterns, shown, strict=True)
    blocks = [[*_drawn(stack, pattern, heat), *_caption(head, terminal)] for pattern, head in pairs]
    width = min(max(line.width for block in blocks for line in block), terminal.width)
    lines = [line for row in in_rows(blocks, width, terminal) for line in row]
    return [
        *lines,
        *_legend(stack, shown, terminal),
        *scope_lines(stack, terminal, weighting=weighting),
        *_uniform_lines(stack, shown, terminal),
        *pooling_lines(stack, stack.patterns[0], terminal),
    ]


def in_rows(blocks: Sequence[list[Line]], width: int, terminal: Terminal) -> list[list[Line]]:
    """Blocks in rows of about the same length, a blank line after each."""
    most = max((terminal.width + _GAP) // (width + _GAP), 1)
    count = ceil(len(blocks) / ceil(len(blocks) / most))
    groups = [blocks[start : start + count] for start in range(0, len(blocks), count)]
    return [[*side_by_side(group, width=width, gap=_GAP), Line()] for group in groups]


def is_one_weight(pattern: Pattern) -> bool:
    """Whether there is one weight alone, of which a picture would be a dot."""
    return pattern.weights.shape == (1, 1) and pattern.bins is None


def _drawn(stack: Stack, pattern: Pattern, heat: Heat) -> list[Line]:
    """The picture, or the weight where there is only one."""
    if not is_one_weight(pattern):
        return picture(stack, pattern, heat)
    return [Line.of("weight ", StyledSpan(weight_number(float(pattern.weights[0, 0])), BOLD))]


def picture(stack: Stack, pattern: Pattern, heat: Heat, side: int = _SIDE) -> list[Line]:
    """One small pattern, without a label. side: what one of few tokens is magnified to."""
    hidden = unseen(stack, pattern)
    if heat.colored and heat.terminal.unicode:
        return _half_blocks(pattern.weights, hidden, heat, side)
    width = heat.least if heat.least > 1 else 2 if 2 * pattern.weights.shape[1] <= min(side, heat.terminal.width) else 1
    return [
        Line(tuple(StyledSpan(" " * width) if masked else heat.cell(weight, width) for weight, masked in row))
        for row in map(zip, pattern.weights.tolist(), hidden.tolist())
    ]


def _half_blocks(weights: Weights, hidden: Mask, heat: Heat, side: int) -> list[Line]:
    """Two rows of weights a line, magnified where they are few."""
    zoom = max(side // max(weights.shape), 1)
    values = np.where(hidden, np.nan, weights).repeat(zoom, axis=0).repeat(zoom, axis=1)
    if len(values) % 2:
        values = np.vstack([values, np.full(values.shape[1], np.nan)])
    cells = [[None if isnan(value) else value for value in row] for row in values.tolist()]
    return [
        Line(tuple(heat.half_block(top, bottom) for top, bottom in zip(above, below, strict=True)))
        for above, below in zip(cells[::2], cells[1::2], strict=True)
    ]


def _legend(stack: Stack, heads: Sequence[HeadMetrics], terminal: Terminal) -> list[Line]:
    """What the letters beside the names mean."""
    names = in_order(name for head in heads for name in head.labels)
    entries = [label_entry(label_of(name, stack.key_medium), terminal) for name in names]
    return flow(entries, separator="  ", width=terminal.width)


def _caption(head: HeadMetrics, terminal: Terminal) -> list[Line]:
    tiles = [part for label in head.labels for part in (StyledSpan(" "), label_of(label).tile(3, terminal))]
    values = [
        Line.of(f"{name} ", StyledSpan(number(head.values.get(name), terminal), BOLD)) for name in _metrics_of(head)
    ]
    return [Line.of(StyledSpan(head.name, BOLD), *tiles), *values]


def _metrics_of(head: HeadMetrics) -> list[str]:
    """What earned the head its labels, then what every head has."""
    names = [name for name in head.labels if name in head.values]
    known = (name for name in _ALWAYS if name not in names and head.values.get(name) is not None)
    return [*names, *known][:_METRICS_SHOWN]


def _uniform_lines(stack: Stack, heads: Sequence[HeadMetrics], terminal: Terminal) -> list[Line]:
    """The metrics of attention spread evenly: once for all layers in which they are the same."""
    names = {name for head in heads for name in _metrics_of(head)}
    shown = [name for name in METRICS if name in names]
    layers: dict[tuple[str, ...], list[int]] = {}
    for layer in sorted({head.layer for head in heads}):
        uniform = stack.baselines.get(layer, {})
        values = tuple(f"{name} {number(uniform.get(name), terminal)}" for name in shown)
        layers.setdefault(values, []).append(layer)
    several = len(layers) > 1
    return [line for values, which in layers.items() for line in _uniform(values, which if several else [], terminal)]


def _uniform(values: Sequence[str], layers: Sequence[int], terminal: Terminal) -> list[Line]:
    where = f" in layer {', '.join(map(str, layers))}" if layers else ""
    start, *rest = (f"{value}," for value in values)
    parts = [f"uniform attention{where}: {start}", *rest]
    parts[-1] = parts[-1].removesuffix(",")
    return flow([Line.of(StyledSpan(part, DIM)) for part in parts], separator=" ", width=terminal.width, indent=2)


# Cells a side: two rows of four of them and the map are a screen.
_SKETCH_SIDE = 12
#: So many of a head's letters stand beside its name.
SKETCHED_LETTERS = 2


def sketch_lines(stack: Stack, terminal: Terminal) -> list[Line]:
    """A picture a head with its name and letters, and their common scale; nothing where they don't fit in two rows."""
    across = (terminal.width + _GAP) // (_SKETCH_SIDE + _GAP)
    if not stack.sketches or 2 * across < len(stack.sketches):
        return []
    small = [_small(pattern, Heat(1.0, terminal)) for pattern in stack.sketches]
    heat = Heat(full_scale(small), terminal)
    heads = {(head.layer, head.head): head for head in stack.metrics}
    blocks = [
        [
            *picture(stack, pattern, heat, side=_SKETCH_SIDE),
            _sketch_caption(heads[pattern.layer, pattern.head], terminal),
        ]
        for pattern in small
        if pattern.head is not None
    ]
    width = max(line.width for block in blocks for line in block)
    rows = [line for row in in_rows(blocks, width, terminal) for line in row]
    return [*rows, *scale_lines(heat), *pooling_lines(stack, small[0], terminal)]


def _small(pattern: Pattern, heat: Heat) -> Pattern:
    """As many cells as are as high as they are wide: characters are twice as high."""
    halves = heat.colored and heat.terminal.unicode
    return pooled_evenly(pattern, _SKETCH_SIDE if halves else _SKETCH_SIDE // 2, _SKETCH_SIDE)


def _sketch_caption(head: HeadMetrics, terminal: Terminal) -> Line:
    tiles = [
        part
        for label in head.labels[:SKETCHED_LETTERS]
        for part in (StyledSpan(" "), label_of(label).tile(3, terminal))
    ]
    return Line.of(StyledSpan(head.name, BOLD), *tiles)


# Cells a letter: three look best, one is the least.
_CELL_WIDTHS = (3, 2, 1)
# Layers that a map has below one another before their upper half goes beside the lower; a screen has 24 lines.
_HIGHEST = 20
_LETTERS_GAP, _MARGIN = 2, 6


def overview(stack: Stack, found: tuple[Standout, ...], terminal: Terminal) -> list[Line]:
    """The stack's map, what its letters mean, and a sentence for each head that was `found` to stand out."""
    lines = stack_lines(stack, terminal)
    if has_text(stack):
        lines.append(tokens_line(stack.keys, terminal, above_dots=any(not head.labels for head in stack.metrics)))
    if is_alone(stack):
        return [*lines, *alone_lines(stack, terminal)]
    sketches = sketch_lines(stack, terminal)
    legend = _letters_legend(stack, terminal, sketched=bool(sketches))
    lines += [Line(), *letter_map(stack, terminal), Line(), *legend, *scope_lines(stack, terminal)]
    if found:
        lines += [Line(), *sentence_lines(found, stack, terminal)]
    return [*lines, Line(), *sketches] if sketches else lines


def letter_map(stack: Stack, terminal: Terminal) -> list[Line]:
    """A row a layer and a letter a head."""
    labels = {(head.layer, head.head): head.labels for head in stack.metrics}

    def letter(head: tuple[int, int], width: int) -> StyledSpan:
        own = labels.get(head)
        if own is None:
            # It wasn't asked for.
            return StyledSpan(" " * width)
        return label_of(own[0]).tile(width, terminal) if own else StyledSpan(glyphs(terminal).dot.center(width), DIM)

    halves = _halves(stack, terminal)
    if halves is None:
        return head_map(stack, letter, _CELL_WIDTHS, terminal)
    half = terminal._replace(width=(terminal.width - _LETTERS_GAP) // 2)
    maps = [head_map(part, letter, _CELL_WIDTHS, half) for part in halves]
    return side_by_side(maps, width=max(line.width for lines in maps for line in lines), gap=_LETTERS_GAP)


def _halves(stack: Stack, terminal: Terminal) -> tuple[Stack, Stack] | None:
    """The lower layers and the upper ones of a stack that is higher than most screens; None where they have no room
    beside one another."""
    heads = max((layer.heads for layer in stack.layers), default=0)
    fits = 2 * (heads + _MARGIN) + _LETTERS_GAP <= terminal.width
    if len(stack.layers) <= _HIGHEST or not fits:
        return None
    middle = (len(stack.layers) + 1) // 2
    return replace(stack, layers=stack.layers[:middle]), replace(stack, layers=stack.layers[middle:])


def _letters_legend(stack: Stack, terminal: Terminal, *, sketched: bool) -> list[Line]:
    """Only the letters that the map shows, and the pictures beneath it."""
    letters = SKETCHED_LETTERS if sketched else 1
    shown = in_order(name for head in stack.metrics for name in head.labels[:letters])
    entries = [label_entry(label_of(name, stack.key_medium), terminal) for name in shown]
    if any(not head.labels for head in stack.metrics):
        entries.append(
            Line.of(StyledSpan(f" {glyphs(terminal).dot} ", DIM), " none of these" if entries else " no label")
        )
    if _halves(stack, terminal) is not None:
        # Side by side, maps have no room to say so.
        entries.append(Line.of(StyledSpan("layers down, heads across", DIM)))
    return flow(entries, separator="  ", width=terminal.width)
