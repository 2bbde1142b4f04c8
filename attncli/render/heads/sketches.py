"""All heads of a small stack as pictures beneath its map: a glance says which diagonals and stripes there are."""

from __future__ import annotations

from attncli.render.heads.heatmap import Heat, full_scale, pooled_evenly
from attncli.render.heads.metric_words import label_of
from attncli.render.heads.picture_notes import pooling_lines, scale_lines
from attncli.render.heads.thumbnails import in_rows, picture
from attncli.render.lines import BOLD, Line, StyledSpan
from attncli.render.terminal import Terminal
from attncli.results.heads import HeadMetrics, Stack
from attncli.results.patterns import Pattern

# Cells a side: two rows of four of them and the map are a screen.
_SKETCH_SIDE = 12
_GAP = 2
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
