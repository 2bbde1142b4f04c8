"""Heads as small heatmaps without labels: the selected ones with two metrics each, and sketches of all of a stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, isnan

from attncli.render.common.lines import BOLD, DIM, Line, StyledSpan, flow, side_by_side
from attncli.render.common.numbers import metric_number, weight_number
from attncli.render.common.terminal import Terminal
from attncli.render.heads.header import label_line, label_tile, note_lines, pooling_lines
from attncli.render.heads.heatmap import ROWS_LOOK_AT_COLUMNS, HeatScale, half_blocks
from attncli.render.views.header import scope_note
from attncli.render.views.metric_words import label_of, ordered_labels
from attncli.render.views.overview import caption_metrics, ordered_metrics
from attncli.render.views.patterns import full_scale, head_of, is_one_weight, pooled_evenly, visible_weights
from attncli.render.views.sentences import Words
from attncli.results.heads import HeadMetrics, Stack
from attncli.results.patterns import Pattern

# Cells between blocks that stand side by side.
GAP = 2
# Cells that a thumbnail of few tokens is magnified to, or one of many is pooled to: four fit in 80 columns.
_THUMBNAIL_SIDE = 18
# Up to so many tokens, a thumbnail draws every weight: three of this size fit in 80 columns.
_MOST_TOKENS = 25
# Cells a side of a sketch: two rows of four and the map fill a screen.
_SKETCH_SIDE = 12
#: So many of a head's letters stand beside the name of its sketch.
SKETCH_LETTERS = 2


def pool_to_thumbnails(stack: Stack, terminal: Terminal, *, least: int = 1) -> Stack:
    """The stack with its patterns pooled to the size of thumbnails. least: cells that a weight needs."""
    room = terminal.width // least
    fits = max(len(stack.queries), len(stack.keys)) <= min(_MOST_TOKENS, room)
    side = _MOST_TOKENS if fits else max(min(_THUMBNAIL_SIDE, room), 1)
    return replace(stack, patterns=tuple(pooled_evenly(pattern, side, side) for pattern in stack.patterns))


def thumbnail_lines(stack: Stack, heat: HeatScale, terminal: Terminal, *, weighting: str = "attention") -> list[Line]:
    """The patterns of a stack from `pool_to_thumbnails`, in rows as wide as the terminal, with legends below them."""
    heads = [head for pattern in stack.patterns if (head := head_of(stack, pattern)) is not None]
    blocks = []
    for pattern, head in zip(stack.patterns, heads, strict=True):
        values = [
            Line.of(f"{name} ", StyledSpan(metric_number(head.values.get(name), terminal), BOLD))
            for name in caption_metrics(head)
        ]
        caption = _caption(head, head.labels, terminal)
        if is_one_weight(pattern):
            weight = weight_number(float(pattern.weights[0, 0]))
            blocks.append([Line.of("weight ", StyledSpan(weight, BOLD)), caption, *values])
        else:
            blocks.append([*thumbnail(stack, pattern, heat), caption, *values])
    names = ordered_labels(name for head in heads for name in head.labels)
    legend = [label_line(name, (Words(label_of(name, stack.key_medium).target),), terminal) for name in names]
    return [
        *arrange_in_rows(blocks, terminal),
        *flow(legend, separator="  ", width=terminal.width),
        *note_lines(scope_note(stack, weighting=weighting), terminal),
        *_uniform_lines(stack, heads, terminal),
        *pooling_lines(stack, stack.patterns[0], terminal),
    ]


def _caption(head: HeadMetrics, labels: Sequence[str], terminal: Terminal) -> Line:
    tiles = [part for label in labels for part in (StyledSpan(" "), label_tile(label, terminal))]
    return Line.of(StyledSpan(head.name, BOLD), *tiles)


def arrange_in_rows(blocks: Sequence[list[Line]], terminal: Terminal) -> list[Line]:
    """Blocks in rows of about the same number, each with a blank line after it."""
    width = min(max(line.width for block in blocks for line in block), terminal.width)
    most = max((terminal.width + GAP) // (width + GAP), 1)
    count = ceil(len(blocks) / ceil(len(blocks) / most))
    groups = [blocks[start : start + count] for start in range(0, len(blocks), count)]
    return [line for group in groups for line in [*side_by_side(group, width=width, gap=GAP), Line()]]


def thumbnail(stack: Stack, pattern: Pattern, heat: HeatScale, side: int = _THUMBNAIL_SIDE) -> list[Line]:
    """A small heatmap without labels. side: cells that one of few tokens is magnified to."""
    values = visible_weights(stack, pattern)
    if heat.half_blocks:
        zoom = max(side // max(values.shape), 1)
        zoomed = values.repeat(zoom, axis=0).repeat(zoom, axis=1).tolist()
        colors = [[None if isnan(value) else heat.color(value) for value in row] for row in zoomed]
        return [Line(tuple(spans)) for spans in half_blocks(colors)]
    two_fit = 2 * values.shape[1] <= min(side, heat.terminal.width)
    width = heat.min_width if heat.min_width > 1 else 1 + two_fit
    return [
        Line(tuple(StyledSpan(" " * width) if isnan(value) else heat.cell(value, width) for value in row))
        for row in values.tolist()
    ]


def _uniform_lines(stack: Stack, heads: Sequence[HeadMetrics], terminal: Terminal) -> list[Line]:
    """The metrics of uniform attention: one sentence for all layers with the same values."""
    shown = ordered_metrics([name for head in heads for name in caption_metrics(head)])
    layers: dict[tuple[str, ...], list[int]] = {}
    for layer in sorted({head.layer for head in heads}):
        uniform = stack.baselines.get(layer, {})
        values = tuple(f"{name} {metric_number(uniform.get(name), terminal)}" for name in shown)
        layers.setdefault(values, []).append(layer)
    lines = []
    for values, which in layers.items():
        where = f" in layer {', '.join(map(str, which))}" if len(layers) > 1 else ""
        start, *rest = (f"{value}," for value in values)
        *before, last = f"uniform attention{where}: {start}", *rest
        parts = [Line.of(StyledSpan(part, DIM)) for part in (*before, last.removesuffix(","))]
        lines += flow(parts, separator=" ", width=terminal.width, indent=2)
    return lines


def sketch_lines(stack: Stack, terminal: Terminal) -> list[Line]:
    """A sketch of each head with its name and letters, and their common scale; nothing if they need over two rows."""
    across = (terminal.width + GAP) // (_SKETCH_SIDE + GAP)
    if not stack.sketches or 2 * across < len(stack.sketches):
        return []
    # A character is twice as high as wide, and half-blocks are as high as wide.
    rows = _SKETCH_SIDE if HeatScale(1.0, terminal).half_blocks else _SKETCH_SIDE // 2
    small = [pooled_evenly(pattern, rows, _SKETCH_SIDE) for pattern in stack.sketches]
    heat = HeatScale(full_scale(small), terminal)
    blocks = [
        [*thumbnail(stack, pattern, heat, _SKETCH_SIDE), _caption(head, head.labels[:SKETCH_LETTERS], terminal)]
        for pattern in small
        if (head := head_of(stack, pattern)) is not None
    ]
    scale = heat.legend_lines(ROWS_LOOK_AT_COLUMNS, digits=heat.has_digits(1))
    return [*arrange_in_rows(blocks, terminal), *scale, *pooling_lines(stack, small[0], terminal)]
