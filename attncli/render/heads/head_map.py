"""Maps of all heads of a stack, layers down and heads across; and the view of one metric: such a map with a ranking.

`head_map` lays out any cells, `value_map` a number per head, `metric_lines` one metric (`attn heads --metric`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from attncli.render.common.cells import bar, glyphs
from attncli.render.common.escape import name_text
from attncli.render.common.lines import BOLD, DIM, Line, StyledSpan, beside_or_below, separate_blocks
from attncli.render.common.numbers import cell_number, plus_minus, signed_cell_number, uniform_number
from attncli.render.common.terminal import Terminal
from attncli.render.heads.header import note_lines, sentence_lines, stack_lines, tokens_line
from attncli.render.heads.heatmap import HeatScale, SignedHeatScale
from attncli.render.views.header import has_text, scope_note, whole_noun
from attncli.render.views.metric_map import Head, metric_map
from attncli.render.views.sentences import quiet, strong
from attncli.results.heads import HeadMetrics, Layer, Stack

# Blocks of a map that is too wide have a multiple of this many heads if possible.
_BLOCK_MULTIPLE = 8
# The ruler numbers every head where a head has more cells than this; one less is enough for up to a hundred heads.
_CELLS_FOR_EVERY_NUMBER = 3

#: Draws a head, (layer, head), in so many cells.
Cell = Callable[[Head, int], StyledSpan]


@dataclass(frozen=True, slots=True)
class _Layout:
    """The layout of a map: cells per head, heads per block, and cells before the first head."""

    cell: int
    block: int
    margin: int


def head_map(stack: Stack, cell: Cell, widths: Sequence[int], terminal: Terminal) -> list[Line]:
    """A row per layer and a cell per head, with the numbers of both.

    widths: the cells that a head may take, the widest first. Where even the last is too wide, the map is split into
    blocks of heads, one below the other.
    """
    heads = _most_heads(stack)
    layout = _layout(stack, terminal.width, widths)
    blocks = [
        [
            _ruler(start, min(heads, start + layout.block), layout, terminal.width),
            *(_layer_row(layer, start, cell, layout, terminal) for layer in stack.layers),
        ]
        for start in range(0, max(heads, 1), layout.block)
    ]
    return separate_blocks(blocks)


def _most_heads(stack: Stack) -> int:
    return max((layer.heads for layer in stack.layers), default=0)


def _layout(stack: Stack, width: int, widths: Sequence[int]) -> _Layout:
    heads = _most_heads(stack)
    digits = max((len(str(layer.layer)) for layer in stack.layers), default=1)
    margin = max(digits, len("layer")) + 1 if width >= 40 else digits + 1
    room = max(width - margin, 1)
    fitting = next((cell for cell in widths if heads * cell <= room), None)
    if fitting is not None:
        return _Layout(fitting, max(heads, 1), margin)
    most = max(room // widths[-1], 1)
    even = ceil(heads / ceil(heads / most))
    rounded = ceil(even / _BLOCK_MULTIPLE) * _BLOCK_MULTIPLE
    return _Layout(widths[-1], rounded if rounded <= most else even, margin)


def _ruler(start: int, end: int, layout: _Layout, width: int) -> Line:
    """The numbers of the heads: of all if they fit, else of the first and every fifth or tenth that doesn't touch the
    one before."""
    cell = layout.cell
    if cell > _CELLS_FOR_EVERY_NUMBER - (end <= 100):
        marks = "".join(f"{head:>{(cell + 1) // 2}}".ljust(cell) for head in range(start, end))
    else:
        step = 5 if cell > 1 else 10
        marks = str(start)
        for head in range(start + step - start % step, end, step):
            place = (head - start) * cell
            if place > len(marks):
                marks = marks.ljust(place) + str(head)
    corner = "layer" if layout.margin > len("layer") else ""
    ruler = f"{corner:>{layout.margin - 1}} {marks:{(end - start) * cell}}"
    return Line.of(StyledSpan(f"{ruler} head" if len(ruler) + len(" head") <= width else ruler, DIM))


def _layer_row(layer: Layer, start: int, cell: Cell, layout: _Layout, terminal: Terminal) -> Line:
    number = StyledSpan(f"{layer.layer:>{layout.margin - 1}} ", DIM)
    if not layer.heads:
        mixer = name_text(layer.mixer or "no attention", terminal)
        return Line.of(number, StyledSpan(" " * (layout.cell // 2) + mixer, DIM))
    heads = range(start, min(layer.heads, start + layout.block))
    return Line.of(number, *(cell((layer.layer, head), layout.cell) for head in heads))


# --- a number per head

# Maps show two digits after the point if their largest number is at least this, else three.
_TWO_DECIMALS_FROM = 0.095


def value_map(stack: Stack, values: Mapping[Head, float | None], heat: HeatScale, *, small: bool = False) -> list[Line]:
    """The map with a number per head, on its colour, where there is room; else colours or characters, with their scale.

    values: by layer and head; None draws a dot, a missing head is blank. At least one is not None.
    small: whether a number that would show only zeros is in scientific notation.
    """
    texts = _number_texts(values, heat, small=small)
    widest = max(map(len, texts.values()))
    # Without colours, a ramp character stands before each number, if there is room; signed numbers have their sign.
    fits = _layout(stack, heat.terminal.width, (widest + 2,)).block >= _most_heads(stack)
    has_ramp = not heat.colored and heat.min_width == 1 and fits
    heat = heat if heat.min_width > 1 else heat.without_signs()
    drawn: set[int] = set()

    def cell(head: Head, width: int) -> StyledSpan:
        value = values.get(head)
        if value is None:
            return StyledSpan((glyphs(heat.terminal).dot if head in values else "").center(width), DIM)
        drawn.add(width)
        if width <= widest:
            return heat.cell(value, width)
        text = f"{heat.ascii_text(value) if has_ramp else ''}{texts[head]:>{widest}}".center(width)
        return StyledSpan(text, heat.shade(value)) if heat.colored else StyledSpan(text)

    grid = head_map(stack, cell, (widest + 2, widest + 1, max(2, heat.min_width), heat.min_width), heat.terminal)
    numbers_alone = not heat.colored and not has_ramp and min(drawn) > widest
    return grid if numbers_alone else [*grid, Line(), heat.legend()]


def _decimals(heat: HeatScale) -> int:
    """How many digits after the point the numbers of a map have."""
    return 2 if heat.full >= _TWO_DECIMALS_FROM else 3


def _number_texts(values: Mapping[Head, float | None], heat: HeatScale, *, small: bool) -> dict[Head, str]:
    """The numbers as text; differences have a sign, and a third digit in place of the zero before the point."""
    known = {head: value for head, value in values.items() if value is not None}
    if isinstance(heat, SignedHeatScale):
        return {head: signed_cell_number(value) for head, value in known.items()}
    return {head: cell_number(value, _decimals(heat), small=small) for head, value in known.items()}


# --- one metric

# Cells of the bars; the longest that fits is used.
_BARS = (20, 10, 0)


def metric_lines(stack: Stack, metric: str, terminal: Terminal, *, top: int) -> list[Line]:
    """The map of a metric, and its `top` heads ranked, with the value of uniform attention."""
    view = metric_map(stack, metric)
    lines = stack_lines(stack, terminal)
    if has_text(stack):
        lines.append(tokens_line(stack.keys, terminal, above_dots=len(view.known) < len(view.values)))
    title = (strong(f"{metric}:"), quiet(f" {view.meaning}"))
    lines += [Line(), *sentence_lines(title, terminal), *note_lines(view.evidence, terminal)]
    if not view.known:
        return [*lines, Line.of(f"nothing shows {metric} in this {whole_noun(stack)}")]
    heat = HeatScale(max(view.known), terminal)
    rows = _ranking_rows(view.ranked[:top], metric, stack, heat)
    scope = note_lines(scope_note(stack), terminal)
    picture = beside_or_below(value_map(stack, view.values, heat), rows, width=terminal.width)
    return [*lines, *picture, *([Line(), *scope] if scope else [])]


def _ranking_rows(heads: Sequence[HeadMetrics], metric: str, stack: Stack, heat: HeatScale) -> list[Line]:
    """A row per head: its value (with the interval of a mean), a bar if there is room, and uniform attention's."""
    rows: list[Line] = []
    for cells in _BARS:
        rows = [_ranking_row(head, metric, stack, heat, cells) for head in heads]
        if all(row.width <= heat.terminal.width for row in rows):
            break
    return rows


def _ranking_row(head: HeadMetrics, metric: str, stack: Stack, heat: HeatScale, cells: int) -> Line:
    terminal, decimals = heat.terminal, _decimals(heat)
    value = head.values[metric] or 0.0
    even = uniform_number(stack.baselines.get(head.layer, {}).get(metric), terminal, decimals)
    name = max(len(each.name) for each in stack.metrics)
    return Line.of(
        f"{head.name:>{name}}",
        StyledSpan(f"{cell_number(value, decimals, small=False):>7}", BOLD),
        plus_minus(head.interval(metric), terminal, decimals),
        f"  {bar(heat.share(value), cells, terminal)}" if cells else "",
        StyledSpan(f"  uniform {even}", DIM),
    )
