"""Several heads beside one another: a small picture each, with its name, its label and two of its metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, isnan

import numpy as np

from attncli.choices import METRICS
from attncli.render.heads.heatmap import Heat, Mask, pooled_evenly, unseen
from attncli.render.heads.metric_words import in_order, label_entry, label_of, number
from attncli.render.heads.numbers import weight_number
from attncli.render.heads.picture_notes import pooling_lines, scope_lines
from attncli.render.layout import flow, side_by_side
from attncli.render.lines import BOLD, DIM, Line, StyledSpan
from attncli.render.terminal import Terminal
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
