"""Heads as small heatmaps without labels: the selected ones with two metrics each, and sketches of all of a stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, isnan

from rich.text import Text

from attncli.render.common.console import Flow, Part, Rows, row, side_by_side
from attncli.render.common.numbers import metric_number, weight_number
from attncli.render.common.terminal import Terminal
from attncli.render.heads.header import label_row, label_tile, note_row, pooling_row
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


def thumbnail_rows(stack: Stack, heat: HeatScale, terminal: Terminal, *, weighting: str = "attention") -> Rows:
    """The patterns of a stack from `pool_to_thumbnails`, in rows as wide as the terminal, with legends below them."""
    heads = [head for pattern in stack.patterns if (head := head_of(stack, pattern)) is not None]
    blocks = []
    for pattern, head in zip(stack.patterns, heads, strict=True):
        single = ("weight ", (weight_number(float(pattern.weights[0, 0])), "bold"))
        picture = [row(*single)] if is_one_weight(pattern) else thumbnail(stack, pattern, heat)
        metrics = ((f"{name} ", metric_number(head.values.get(name), terminal)) for name in caption_metrics(head))
        values = (row(name, (value, "bold")) for name, value in metrics)
        blocks.append([*picture, _caption(head, head.labels, terminal), *values])
    names = ordered_labels(name for head in heads for name in head.labels)
    legend = (label_row(name, (Words(label_of(name, stack.key_medium).target),), terminal) for name in names)
    return [
        *arrange_in_rows(blocks, terminal),
        Flow(legend, "  "),
        note_row(scope_note(stack, weighting=weighting), terminal),
        *_uniform_rows(stack, heads, terminal),
        pooling_row(stack, stack.patterns[0], terminal),
    ]


def _caption(head: HeadMetrics, labels: Sequence[str], terminal: Terminal) -> Text:
    tiles: list[Part] = [part for label in labels for part in (" ", label_tile(label, terminal))]
    return row((head.name, "bold"), *tiles)


def arrange_in_rows(blocks: Sequence[Sequence[Text]], terminal: Terminal) -> list[Text]:
    """Blocks in rows of about the same number, each with a blank line after it."""
    width = min(max(each.cell_len for block in blocks for each in block), terminal.width)
    most = max((terminal.width + GAP) // (width + GAP), 1)
    count = ceil(len(blocks) / ceil(len(blocks) / most))
    groups = [blocks[start : start + count] for start in range(0, len(blocks), count)]
    return [each for group in groups for each in [*side_by_side(group, width=width, gap=GAP), Text()]]


def thumbnail(stack: Stack, pattern: Pattern, heat: HeatScale, side: int = _THUMBNAIL_SIDE) -> list[Text]:
    """A small heatmap without labels. side: cells that one of few tokens is magnified to."""
    values = visible_weights(stack, pattern)
    if heat.half_blocks:
        zoom = max(side // max(values.shape), 1)
        zoomed = values.repeat(zoom, axis=0).repeat(zoom, axis=1).tolist()
        colors = [[None if isnan(value) else heat.color(value) for value in weights] for weights in zoomed]
        return [row(*cells) for cells in half_blocks(colors)]
    two_fit = 2 * values.shape[1] <= min(side, heat.terminal.width)
    width = heat.min_width if heat.min_width > 1 else 1 + two_fit
    return [
        row(*(" " * width if isnan(value) else heat.cell(value, width) for value in weights))
        for weights in values.tolist()
    ]


def _uniform_rows(stack: Stack, heads: Sequence[HeadMetrics], terminal: Terminal) -> list[Flow]:
    """The metrics of uniform attention: one sentence for all layers with the same values."""
    shown = ordered_metrics([name for head in heads for name in caption_metrics(head)])
    layers: dict[tuple[str, ...], list[int]] = {}
    for layer in sorted({head.layer for head in heads}):
        uniform = stack.baselines.get(layer, {})
        values = tuple(f"{name} {metric_number(uniform.get(name), terminal)}" for name in shown)
        layers.setdefault(values, []).append(layer)
    rows = []
    for values, which in layers.items():
        where = f" in layer {', '.join(map(str, which))}" if len(layers) > 1 else ""
        start, *rest = (f"{value}," for value in values)
        *before, last = f"uniform attention{where}: {start}", *rest
        rows.append(Flow((Text(part, "dim") for part in (*before, last.removesuffix(","))), " ", indent=2))
    return rows


def sketch_rows(stack: Stack, terminal: Terminal) -> Rows:
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
    scale = heat.legend_row(ROWS_LOOK_AT_COLUMNS, digits=heat.has_digits(1))
    return [*arrange_in_rows(blocks, terminal), scale, pooling_row(stack, small[0], terminal)]
