"""Maps of all heads of a stack, layers down and heads across; and the view of one metric: such a map with a ranking.

`head_map` lays out any cells, `value_map` a number per head, `metric_lines` one metric (`attn heads --metric`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

from rich.text import Text

from attncli.choices import DEFAULT_TOP
from attncli.render.common.cells import bar, glyphs
from attncli.render.common.console import Beside, Rows, StyledText, first_to_fit, row
from attncli.render.common.escape import name_text
from attncli.render.common.numbers import cell_number, plus_minus, signed_cell_number, uniform_number
from attncli.render.common.terminal import Terminal
from attncli.render.heads.header import note_row, sentence_row, stack_row, tokens_row
from attncli.render.heads.heatmap import HeatScale, SignedHeatScale
from attncli.render.views.header import has_text, scope_note, whole_noun, written_tokens
from attncli.render.views.metric_map import Head, MetricMap, metric_map
from attncli.render.views.sentences import quiet, strong
from attncli.results.heads import HeadMetrics, Layer, Stack

# Blocks of a map that is too wide have a multiple of this many heads if possible.
_BLOCK_MULTIPLE = 8
# The ruler numbers every head where a head has more cells than this; one less is enough for up to a hundred heads.
_CELLS_FOR_EVERY_NUMBER = 3

#: Draws a head, (layer, head), in so many cells.
Cell = Callable[[Head, int], StyledText]


@dataclass(frozen=True, slots=True)
class _Layout:
    """The layout of a map: cells per head, heads per block, and cells before the first head."""

    cell: int
    block: int
    margin: int


def head_map(stack: Stack, cell: Cell, widths: Sequence[int], terminal: Terminal) -> list[Text]:
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
    return [each for index, block in enumerate(blocks) for each in ([Text(), *block] if index else block)]


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


def _ruler(start: int, end: int, layout: _Layout, width: int) -> Text:
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
    return Text(f"{ruler} head" if len(ruler) + len(" head") <= width else ruler, "dim")


def _layer_row(layer: Layer, start: int, cell: Cell, layout: _Layout, terminal: Terminal) -> Text:
    number = (f"{layer.layer:>{layout.margin - 1}} ", "dim")
    if not layer.heads:
        mixer = name_text(layer.mixer or "no attention", terminal)
        return row(number, (" " * (layout.cell // 2) + mixer, "dim"))
    heads = range(start, min(layer.heads, start + layout.block))
    return row(number, *(cell((layer.layer, head), layout.cell) for head in heads))


# --- a number per head

# Maps show two digits after the point if their largest number is at least this, else three.
_TWO_DECIMALS_FROM = 0.095


def value_map(stack: Stack, values: Mapping[Head, float | None], heat: HeatScale, *, small: bool = False) -> list[Text]:
    """The map with a number per head, on its colour, where there is room; else colours or characters, with their scale.

    values: by layer and head; None draws a dot, a missing head is blank. At least one is not None.
    small: whether a number that would show only zeros is in scientific notation.
    """
    cell, widths = value_cell(values, heat, small=small)
    drawn: set[int] = set()

    def drawing(head: Head, width: int) -> StyledText:
        if values.get(head) is not None:
            drawn.add(width)
        return cell(head, width)

    grid = head_map(stack, drawing, widths, heat.terminal)
    numbers_alone = not heat.colored and min(drawn) >= widths[1]
    return grid if numbers_alone else [*grid, Text(), heat.legend()]


def value_cell(values: Mapping[Head, float | None], heat: HeatScale, *, small: bool = False) -> tuple[Cell, list[int]]:
    """Draws a head's number on its colour, or its colour alone; and the widths that a cell may have, the first two with
    numbers. As for `value_map`."""
    texts = _number_texts(values, heat, small=small)
    widest = max(map(len, texts.values()))

    def cell(head: Head, width: int) -> StyledText:
        value = values.get(head)
        if value is None:
            return (glyphs(heat.terminal).dot if head in values else "").center(width), "dim"
        if width <= widest:
            return heat.cell(value, width)
        return f"{texts[head]:>{widest}}".center(width), heat.shade(value) if heat.colored else ""

    return cell, [widest + 2, widest + 1, max(2, heat.min_width), heat.min_width]


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
# Layers that are drawn and heads that are ranked: the first that fit the screen.
_SIZES = (
    *((1000, heads) for heads in (DEFAULT_TOP, 8, 6, 5)),
    *((layers, 5) for layers in (16, 12, 10, 8, 6, 4)),
    *((0, heads) for heads in (DEFAULT_TOP, 6, 4, 3)),
)


def metric_rows(stack: Stack, metric: str, terminal: Terminal, *, top: int, room: int) -> Rows:
    """The map of a metric, and its `top` heads ranked, with the value of uniform attention; in `room` lines.

    Where there is too little room, fewer heads are ranked, unless the reader asked for so many, and only the layers
    with the largest values are drawn; then none.
    """
    view = metric_map(stack, metric)
    sizes = ((layers, min(top, heads) if top == DEFAULT_TOP else top) for layers, heads in _SIZES)
    return first_to_fit((_metric_view(stack, view, terminal, *size) for size in sizes), terminal, room)


def _metric_view(stack: Stack, view: MetricMap, terminal: Terminal, layers: int, top: int) -> Rows:
    tokens: Rows = [tokens_row(written_tokens(stack), terminal)] if has_text(stack) else []
    more = "" if layers or not view.known else " (--full adds the map)"
    rows: Rows = [
        stack_row(stack, terminal),
        *([*tokens, Text()] if layers else []),
        sentence_row((strong(f"{view.metric}:"), quiet(f" {view.meaning}{more}")), terminal),
        note_row(view.evidence, terminal),
    ]
    if not view.known:
        return [*rows, Text(f"nothing shows {view.metric} in this {whole_noun(stack)}")]
    heat = HeatScale(max(view.known), terminal)
    ranking = _ranking(view.ranked[:top], view.metric, stack, heat)
    if not layers:
        return [*rows, *ranking]
    drawn = _strongest_layers(stack, view, layers)
    picture: Rows = [*value_map(drawn, view.values, heat)]
    if left_out := len(stack.layers) - len(drawn.layers):
        picture.append(note_row(f"--full shows {left_out:,} more layers", terminal))
    rows.append(Beside(picture, ranking))
    scope = scope_note(stack)
    return [*rows, Text(), note_row(scope, terminal)] if scope else rows


def _strongest_layers(stack: Stack, view: MetricMap, most: int) -> Stack:
    """The stack with at most so many of its layers: those of the heads that have the largest values."""
    ordered = sorted(view.values, key=lambda head: -(view.values[head] or 0.0))
    kept = list(dict.fromkeys(layer for layer, _ in ordered))[:most]
    if len(stack.layers) <= most:
        return stack
    return replace(stack, layers=tuple(layer for layer in stack.layers if layer.layer in kept))


def _ranking(heads: Sequence[HeadMetrics], metric: str, stack: Stack, heat: HeatScale) -> list[Text]:
    """A row per head: its value (with the interval of a mean), a bar if there is room, and uniform attention's."""
    terminal, decimals = heat.terminal, _decimals(heat)
    name = max(len(each.name) for each in stack.metrics)

    def ranking_row(head: HeadMetrics, cells: int) -> Text:
        value = head.values[metric] or 0.0
        even = uniform_number(stack.baselines.get(head.layer, {}).get(metric), terminal, decimals)
        return row(
            f"{head.name:>{name}}",
            (f"{cell_number(value, decimals, small=False):>7}", "bold"),
            plus_minus(head.interval(metric), terminal, decimals),
            f"  {bar(heat.share(value), cells, terminal)}" if cells else "",
            (f"  uniform {even}", "dim"),
        )

    tables = [[ranking_row(head, cells) for head in heads] for cells in _BARS]
    fits = (table for table in tables if all(each.cell_len <= terminal.width for each in table))
    return next(fits, tables[-1])
