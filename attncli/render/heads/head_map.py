"""Maps of all heads of a stack, layers down and heads across; and the view of one metric: such a map with a ranking.

`head_map` lays out any cells, `value_map` a number per head, `metric_map` one metric (`attn heads --metric`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from attncli.render.common.cells import bar, glyphs
from attncli.render.common.escape import name_text
from attncli.render.common.lines import (
    BOLD,
    DIM,
    Line,
    StyledSpan,
    beside_or_below,
    flow,
    separate_blocks,
    split_words,
    wrap,
)
from attncli.render.common.numbers import cell_number, plus_minus, signed_cell_number, uniform_number
from attncli.render.common.terminal import Terminal
from attncli.render.heads.header import has_text, scope_lines, stack_lines, tokens_line, whole_noun
from attncli.render.heads.heatmap import HeatScale, SignedHeatScale
from attncli.render.heads.metric_words import evidence_words, meaning
from attncli.results.heads import HeadMetrics, Layer, Stack

# Blocks of a map that is too wide have a multiple of this many heads if possible.
_BLOCK_MULTIPLE = 8
# The ruler numbers every head where a head has more cells than this; one less is enough for up to a hundred heads.
_CELLS_FOR_EVERY_NUMBER = 3

#: Draws a head, (layer, head), in so many cells.
Cell = Callable[[tuple[int, int], int], StyledSpan]


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
    heads = max((layer.heads for layer in stack.layers), default=0)
    layout = _layout(stack, heads, terminal.width, widths)
    blocks = [
        [
            _ruler(start, min(heads, start + layout.block), layout, terminal.width),
            *(_layer_row(layer, start, cell, layout, terminal) for layer in stack.layers),
        ]
        for start in range(0, max(heads, 1), layout.block)
    ]
    return separate_blocks(blocks)


def fits_side_by_side(stack: Stack, cell: int, terminal: Terminal) -> bool:
    """Whether all heads of a layer fit in one row, with so many cells each."""
    heads = max((layer.heads for layer in stack.layers), default=0)
    return _layout(stack, heads, terminal.width, (cell,)).block >= heads


def _layout(stack: Stack, heads: int, width: int, widths: Sequence[int]) -> _Layout:
    digits = max((len(str(layer.layer)) for layer in stack.layers), default=1)
    margin = max(digits, len("layer")) + 1 if width >= 40 else digits + 1
    room = max(width - margin, 1)
    for cell in widths:
        if heads * cell <= room:
            return _Layout(cell, max(heads, 1), margin)
    most = max(room // widths[-1], 1)
    even = ceil(heads / ceil(heads / most))
    rounded = ceil(even / _BLOCK_MULTIPLE) * _BLOCK_MULTIPLE
    return _Layout(widths[-1], rounded if rounded <= most else even, margin)


def _ruler(start: int, end: int, layout: _Layout, width: int) -> Line:
    """The numbers of the heads: of all if they fit, else of every fifth or tenth."""
    corner = "layer" if layout.margin > len("layer") else ""
    if layout.cell > _CELLS_FOR_EVERY_NUMBER - (end <= 100):
        marks = "".join(f"{head:>{(layout.cell + 1) // 2}}".ljust(layout.cell) for head in range(start, end))
    else:
        step = 5 if layout.cell > 1 else 10
        marks = _marks(start, end, step, layout.cell)
    ruler = f"{corner:>{layout.margin - 1}} {marks:{(end - start) * layout.cell}}"
    return Line.of(StyledSpan(f"{ruler} head" if len(ruler) + len(" head") <= width else ruler, DIM))


def _marks(start: int, end: int, step: int, cell: int) -> str:
    """The number of the first head, then of every `step`th one that doesn't touch the one before."""
    text = str(start)
    for head in range(start + step - start % step, end, step):
        place = (head - start) * cell
        if place > len(text):
            text = text.ljust(place) + str(head)
    return text


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

Head = tuple[int, int]


def value_map(stack: Stack, values: Mapping[Head, float | None], heat: HeatScale, *, small: bool = False) -> list[Line]:
    """The map with a number per head, on its colour, where there is room; else colours or characters, with their scale.

    values: by layer and head; None draws a dot, a missing head is blank. At least one is not None.
    small: whether a number that would show only zeros is in scientific notation.
    """
    texts = _number_texts(values, heat, small=small)
    widest = max(map(len, texts.values()))
    # Without colours, a ramp character stands before each number, if there is room; signed numbers have their sign.
    has_ramp = not heat.colored and heat.min_width == 1 and fits_side_by_side(stack, widest + 2, heat.terminal)
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


def map_decimals(heat: HeatScale) -> int:
    """How many digits after the point the numbers of a map have."""
    return 2 if heat.full >= _TWO_DECIMALS_FROM else 3


def _number_texts(values: Mapping[Head, float | None], heat: HeatScale, *, small: bool) -> dict[Head, str]:
    """The numbers as text; differences have a sign, and a third digit in place of the zero before the point."""
    known = {head: value for head, value in values.items() if value is not None}
    if isinstance(heat, SignedHeatScale):
        return {head: signed_cell_number(value) for head, value in known.items()}
    return {head: cell_number(value, map_decimals(heat), small=small) for head, value in known.items()}


# --- one metric

_RANKING_LENGTH = 10
# Cells of the bars; the longest that fits is used.
_BARS = (20, 10, 0)


def metric_map(stack: Stack, metric: str, terminal: Terminal, *, top: int = _RANKING_LENGTH) -> list[Line]:
    """The map of a metric, and its `top` heads ranked, with the value of uniform attention."""
    values = {(head.layer, head.head): head.values.get(metric) for head in stack.metrics}
    known = [value for value in values.values() if value is not None]
    lines = stack_lines(stack, terminal)
    if has_text(stack):
        lines.append(tokens_line(stack.keys, terminal, above_dots=len(known) < len(values)))
    lines += [Line(), *_metric_title(metric, stack, terminal), *evidence_lines(metric, stack, terminal)]
    if not known:
        return [*lines, Line.of(f"nothing shows {metric} in this {whole_noun(stack)}")]
    heat = HeatScale(max(known), terminal)
    ranked = [head for head in stack.metrics if head.values.get(metric) is not None]
    ranked.sort(key=lambda head: -(head.values[metric] or 0.0))
    rows = _ranking_rows(ranked[:top], metric, stack, heat) if stack.has_evidence(metric) else []
    picture = value_map(stack, values, heat)
    scope = scope_lines(stack, terminal)
    return [*lines, *beside_or_below(picture, rows, width=terminal.width), *([Line(), *scope] if scope else [])]


def evidence_lines(metric: str, stack: Stack, terminal: Terminal) -> list[Line]:
    """On how many repeated tokens a metric of repeats rests; nothing for other metrics."""
    words = evidence_words(metric, stack)
    return wrap(words, DIM, width=terminal.width) if words else []


def _metric_title(metric: str, stack: Stack, terminal: Terminal) -> list[Line]:
    words = split_words(meaning(metric, stack.key_medium), DIM)
    return flow([Line.of(StyledSpan(f"{metric}:", BOLD)), *words], separator=" ", width=terminal.width)


def _ranking_rows(heads: Sequence[HeadMetrics], metric: str, stack: Stack, heat: HeatScale) -> list[Line]:
    """A row per head: its value (with the interval of a mean), a bar if there is room, and uniform attention's."""
    rows = [_ranking_row(head, metric, stack, heat, _BARS[0]) for head in heads]
    over = max((row.width for row in rows), default=0) - heat.terminal.width
    cells = next((cells for cells in _BARS if _BARS[0] - cells >= over), _BARS[-1])
    return rows if over <= 0 else [_ranking_row(head, metric, stack, heat, cells) for head in heads]


def _ranking_row(head: HeadMetrics, metric: str, stack: Stack, heat: HeatScale, cells: int) -> Line:
    terminal, decimals = heat.terminal, map_decimals(heat)
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
