"""All heads of a stack at a glance, and several heads as small pictures.

`overview`: a map with a letter per head, the heads that stand out, and, for small stacks, a sketch (a tiny unlabelled
heatmap) of every head. `thumbnails`: the selected heads as small heatmaps with name, labels and two metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, isnan

import numpy as np

from attncli.metrics import METRICS
from attncli.render.common.cells import glyphs
from attncli.render.common.escape import token_text
from attncli.render.common.lines import BOLD, DIM, Line, StyledSpan, flow, side_by_side
from attncli.render.common.numbers import metric_number, weight_number
from attncli.render.common.terminal import Terminal
from attncli.render.heads.head_map import head_map
from attncli.render.heads.header import (
    has_single_key,
    has_text,
    pooling_lines,
    scale_lines,
    scope_lines,
    single_key_lines,
    stack_lines,
    tokens_line,
)
from attncli.render.heads.heatmap import HeatScale, Mask, full_scale, hidden_cells, pooled_evenly
from attncli.render.heads.metric_words import Label, label_entry, label_of, ordered_labels, read_token
from attncli.render.heads.ranking import Standout, sentence_lines
from attncli.results.heads import HeadMetrics, Stack
from attncli.results.patterns import Pattern, Weights

# Cells between blocks that stand side by side.
_GAP = 2
# Cells that a thumbnail of few tokens is magnified to, or one of many is pooled to: four fit in 80 columns.
_THUMBNAIL_SIDE = 18
# Up to so many tokens, a thumbnail draws every weight: three of this size fit in 80 columns.
_MOST_TOKENS = 25
_MOST_METRICS = 2
_DEFAULT_METRICS = tuple(name for name, metric in METRICS.items() if metric.in_captions)


def pool_to_thumbnails(stack: Stack, terminal: Terminal, *, least: int = 1) -> Stack:
    """The stack with its patterns pooled to the size of thumbnails. least: cells that a weight needs."""
    room = terminal.width // least
    fits = max(len(stack.queries), len(stack.keys)) <= min(_MOST_TOKENS, room)
    side = _MOST_TOKENS if fits else max(min(_THUMBNAIL_SIDE, room), 1)
    return replace(stack, patterns=tuple(pooled_evenly(pattern, side, side) for pattern in stack.patterns))


def thumbnails(stack: Stack, heat: HeatScale, terminal: Terminal, *, weighting: str = "attention") -> list[Line]:
    """The patterns of a stack from `pool_to_thumbnails`, in rows as wide as the terminal, with legends below them."""
    heads = {(head.layer, head.head): head for head in stack.metrics}
    shown = [heads[pattern.layer, pattern.head] for pattern in stack.patterns if pattern.head is not None]
    pairs = zip(stack.patterns, shown, strict=True)
    blocks = [
        [*_thumbnail_or_weight(stack, pattern, heat), *_thumbnail_caption(head, terminal)] for pattern, head in pairs
    ]
    width = min(max(line.width for block in blocks for line in block), terminal.width)
    lines = [line for row in arrange_in_rows(blocks, width, terminal) for line in row]
    return [
        *lines,
        *_thumbnail_legend(stack, shown, terminal),
        *scope_lines(stack, terminal, weighting=weighting),
        *_uniform_lines(stack, shown, terminal),
        *pooling_lines(stack, stack.patterns[0], terminal),
    ]


def arrange_in_rows(blocks: Sequence[list[Line]], width: int, terminal: Terminal) -> list[list[Line]]:
    """Blocks in rows of about the same number, each with a blank line after it."""
    most = max((terminal.width + _GAP) // (width + _GAP), 1)
    count = ceil(len(blocks) / ceil(len(blocks) / most))
    groups = [blocks[start : start + count] for start in range(0, len(blocks), count)]
    return [[*side_by_side(group, width=width, gap=_GAP), Line()] for group in groups]


def is_one_weight(pattern: Pattern) -> bool:
    """Whether there is only one weight, which is written as a number in place of a picture."""
    return pattern.weights.shape == (1, 1) and pattern.bins is None


def _thumbnail_or_weight(stack: Stack, pattern: Pattern, heat: HeatScale) -> list[Line]:
    """The thumbnail, or the weight where there is only one."""
    if not is_one_weight(pattern):
        return thumbnail(stack, pattern, heat)
    return [Line.of("weight ", StyledSpan(weight_number(float(pattern.weights[0, 0])), BOLD))]


def thumbnail(stack: Stack, pattern: Pattern, heat: HeatScale, side: int = _THUMBNAIL_SIDE) -> list[Line]:
    """A small heatmap without labels. side: cells that one of few tokens is magnified to."""
    hidden = hidden_cells(stack, pattern)
    if heat.colored and heat.terminal.unicode:
        return _half_blocks(pattern.weights, hidden, heat, side)
    two_fit = 2 * pattern.weights.shape[1] <= min(side, heat.terminal.width)
    width = heat.min_width if heat.min_width > 1 else 1 + two_fit
    return [
        Line(tuple(StyledSpan(" " * width) if masked else heat.cell(weight, width) for weight, masked in row))
        for row in map(zip, pattern.weights.tolist(), hidden.tolist())
    ]


def _half_blocks(weights: Weights, hidden: Mask, heat: HeatScale, side: int) -> list[Line]:
    """Two rows of weights per line, magnified where they are few."""
    zoom = max(side // max(weights.shape), 1)
    values = np.where(hidden, np.nan, weights).repeat(zoom, axis=0).repeat(zoom, axis=1)
    if len(values) % 2:
        values = np.vstack([values, np.full(values.shape[1], np.nan)])
    cells = [[None if isnan(value) else value for value in row] for row in values.tolist()]
    return [
        Line(tuple(heat.half_block(top, bottom) for top, bottom in zip(above, below, strict=True)))
        for above, below in zip(cells[::2], cells[1::2], strict=True)
    ]


def _thumbnail_legend(stack: Stack, heads: Sequence[HeadMetrics], terminal: Terminal) -> list[Line]:
    """What the letters beside the names of heads mean."""
    names = ordered_labels(name for head in heads for name in head.labels)
    entries = [label_entry(label_of(name, stack.key_medium), terminal) for name in names]
    return flow(entries, separator="  ", width=terminal.width)


def _thumbnail_caption(head: HeadMetrics, terminal: Terminal) -> list[Line]:
    tiles = [part for label in head.labels for part in (StyledSpan(" "), label_of(label).tile(3, terminal))]
    values = [
        Line.of(f"{name} ", StyledSpan(metric_number(head.values.get(name), terminal), BOLD))
        for name in _shown_metrics(head)
    ]
    return [Line.of(StyledSpan(head.name, BOLD), *tiles), *values]


def _shown_metrics(head: HeadMetrics) -> list[str]:
    """The metrics below a thumbnail: those behind the head's labels, then the default ones."""
    names = [name for name in head.labels if name in head.values]
    known = (name for name in _DEFAULT_METRICS if name not in names and head.values.get(name) is not None)
    return [*names, *known][:_MOST_METRICS]


def _uniform_lines(stack: Stack, heads: Sequence[HeadMetrics], terminal: Terminal) -> list[Line]:
    """The metrics of uniform attention: one sentence for all layers with the same values."""
    names = {name for head in heads for name in _shown_metrics(head)}
    shown = [name for name in METRICS if name in names]
    layers: dict[tuple[str, ...], list[int]] = {}
    for layer in sorted({head.layer for head in heads}):
        uniform = stack.baselines.get(layer, {})
        values = tuple(f"{name} {metric_number(uniform.get(name), terminal)}" for name in shown)
        layers.setdefault(values, []).append(layer)
    several = len(layers) > 1
    return [
        line
        for values, which in layers.items()
        for line in _uniform_sentence(values, which if several else [], terminal)
    ]


def _uniform_sentence(values: Sequence[str], layers: Sequence[int], terminal: Terminal) -> list[Line]:
    where = f" in layer {', '.join(map(str, layers))}" if layers else ""
    start, *rest = (f"{value}," for value in values)
    parts = [f"uniform attention{where}: {start}", *rest]
    parts[-1] = parts[-1].removesuffix(",")
    return flow([Line.of(StyledSpan(part, DIM)) for part in parts], separator=" ", width=terminal.width, indent=2)


# --- sketches: all heads of a small stack below its map

# Cells a side: two rows of four sketches and the map fill a screen.
_SKETCH_SIDE = 12
# So many of a head's letters stand beside its name.
_SKETCH_LETTERS = 2


def sketch_lines(stack: Stack, terminal: Terminal) -> list[Line]:
    """A sketch of each head with its name and letters, and their common scale; nothing if they need over two rows."""
    across = (terminal.width + _GAP) // (_SKETCH_SIDE + _GAP)
    if not stack.sketches or 2 * across < len(stack.sketches):
        return []
    small = [_pool_to_sketch(pattern, HeatScale(1.0, terminal)) for pattern in stack.sketches]
    heat = HeatScale(full_scale(small), terminal)
    heads = {(head.layer, head.head): head for head in stack.metrics}
    blocks = [
        [
            *thumbnail(stack, pattern, heat, side=_SKETCH_SIDE),
            _sketch_caption(heads[pattern.layer, pattern.head], terminal),
        ]
        for pattern in small
        if pattern.head is not None
    ]
    width = max(line.width for block in blocks for line in block)
    rows = [line for row in arrange_in_rows(blocks, width, terminal) for line in row]
    return [*rows, *scale_lines(heat), *pooling_lines(stack, small[0], terminal)]


def _pool_to_sketch(pattern: Pattern, heat: HeatScale) -> Pattern:
    """The pattern pooled to a square: a character is twice as high as wide, and half-blocks are as high as wide."""
    halves = heat.colored and heat.terminal.unicode
    return pooled_evenly(pattern, _SKETCH_SIDE if halves else _SKETCH_SIDE // 2, _SKETCH_SIDE)


def _sketch_caption(head: HeadMetrics, terminal: Terminal) -> Line:
    tiles = [
        part for label in head.labels[:_SKETCH_LETTERS] for part in (StyledSpan(" "), label_of(label).tile(3, terminal))
    ]
    return Line.of(StyledSpan(head.name, BOLD), *tiles)


# --- the map of labels

# Cells per letter, the best width first.
_CELL_WIDTHS = (3, 2, 1)
# With more layers than this, the upper half stands beside the lower half: a screen has 24 lines.
_MOST_LAYERS = 20
# Cells before the first head.
_LAYER_MARGIN = 6


def overview(stack: Stack, found: tuple[Standout, ...], terminal: Terminal) -> list[Line]:
    """The stack's map, its legend, a sentence for each head in `found`, and sketches if there is room."""
    lines = stack_lines(stack, terminal)
    if has_text(stack):
        lines.append(tokens_line(stack.keys, terminal, above_dots=any(not head.labels for head in stack.metrics)))
    if has_single_key(stack):
        return [*lines, *single_key_lines(stack, terminal)]
    sketches = sketch_lines(stack, terminal)
    legend = _map_legend(stack, terminal, sketched=bool(sketches))
    lines += [Line(), *letter_map(stack, terminal), Line(), *legend, *scope_lines(stack, terminal)]
    if found:
        lines += [Line(), *sentence_lines(found, stack, terminal)]
    return [*lines, Line(), *sketches] if sketches else lines


def letter_map(stack: Stack, terminal: Terminal) -> list[Line]:
    """The map: a row per layer, and per head the letter of its first label, or a dot."""
    labels = {(head.layer, head.head): head.labels for head in stack.metrics}

    def letter(head: tuple[int, int], width: int) -> StyledSpan:
        head_labels = labels.get(head)
        if head_labels is None:  # not selected
            return StyledSpan(" " * width)
        if head_labels:
            return label_of(head_labels[0]).tile(width, terminal)
        return StyledSpan(glyphs(terminal).dot.center(width), DIM)

    halves = _halves(stack, terminal)
    if halves is None:
        return head_map(stack, letter, _CELL_WIDTHS, terminal)
    half = terminal._replace(width=(terminal.width - _GAP) // 2)
    maps = [head_map(part, letter, _CELL_WIDTHS, half) for part in halves]
    return side_by_side(maps, width=max(line.width for lines in maps for line in lines), gap=_GAP)


def _halves(stack: Stack, terminal: Terminal) -> tuple[Stack, Stack] | None:
    """The lower and the upper layers of a stack that is higher than most screens; None where both don't fit side by
    side."""
    heads = max((layer.heads for layer in stack.layers), default=0)
    fits = 2 * (heads + _LAYER_MARGIN) + _GAP <= terminal.width
    if len(stack.layers) <= _MOST_LAYERS or not fits:
        return None
    middle = (len(stack.layers) + 1) // 2
    return replace(stack, layers=stack.layers[:middle]), replace(stack, layers=stack.layers[middle:])


def _named_label(name: str, stack: Stack, terminal: Terminal) -> Label:
    """The label for the legend; that of one key names it where all heads with the label read the same."""
    label = label_of(name, stack.key_medium)
    if name not in METRICS or not METRICS[name].of_one_key:
        return label
    tokens = {read_token(head, stack) for head in stack.metrics if name in head.labels}
    token = tokens.pop() if len(tokens) == 1 else None
    return label if token is None else replace(label, target=f"{token_text(token, terminal)} (token {token.index})")


def _map_legend(stack: Stack, terminal: Terminal, *, sketched: bool) -> list[Line]:
    """What the letters mean that the map, and the sketches below it, show."""
    letters = _SKETCH_LETTERS if sketched else 1
    shown = ordered_labels(name for head in stack.metrics for name in head.labels[:letters])
    entries = [label_entry(_named_label(name, stack, terminal), terminal) for name in shown]
    if any(not head.labels for head in stack.metrics):
        entries.append(
            Line.of(StyledSpan(f" {glyphs(terminal).dot} ", DIM), " none of these" if entries else " no label")
        )
    if _halves(stack, terminal) is not None:
        # The ruler of a map has no room for these words where two maps stand side by side.
        entries.append(Line.of(StyledSpan("layers down, heads across", DIM)))
    return flow(entries, separator="  ", width=terminal.width)
