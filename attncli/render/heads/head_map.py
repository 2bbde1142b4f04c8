"""All heads of a stack in one picture: layers down, heads across, a cell a head.

A number for every head: written as it is, on its colour, where there is room for it; else its colour or its ink.

One metric of all heads: a map of its values, and the heads in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from attncli.render.common.cells import bar, glyphs
from attncli.render.common.escape import name_text
from attncli.render.common.lines import BOLD, DIM, Line, StyledSpan, apart, beside, flow
from attncli.render.common.terminal import Terminal
from attncli.render.heads.header import has_text, scope_lines, stack_lines, tokens_line, whole_noun
from attncli.render.heads.heatmap import Heat, SignedHeat
from attncli.render.heads.metric_words import even_number, give, meaning, place_number, signed_place
from attncli.results.heads import HeadMetrics, Layer, Stack

# Blocks of the map begin at a multiple of this many heads where they can.
_ROUND = 8
# From so many cells a head on, the number of each has room; one less is enough for those below a hundred.
_EVERY_NUMBER = 3

#: What stands for a head (layer, head) in so many cells.
Cell = Callable[[tuple[int, int], int], StyledSpan]


@dataclass(frozen=True, slots=True)
class _Map:
    """Where things stand on the map: cells a head, heads a block, cells before the first head."""

    cell: int
    block: int
    margin: int


def head_map(stack: Stack, cell: Cell, widths: Sequence[int], terminal: Terminal) -> list[Line]:
    """A row a layer and a cell a head, with the numbers of both.

    widths: how many cells a head may take, the widest first. Where even the least is too wide, the map goes on beneath
    itself.
    """
    heads = max((layer.heads for layer in stack.layers), default=0)
    place = _place(stack, heads, terminal.width, widths)
    blocks = [
        [
            _ruler(start, min(heads, start + place.block), place, terminal.width),
            *(_row(layer, start, cell, place, terminal) for layer in stack.layers),
        ]
        for start in range(0, max(heads, 1), place.block)
    ]
    return apart(blocks)


def has_room(stack: Stack, cell: int, terminal: Terminal) -> bool:
    """Whether all heads of a layer have room beside one another, with so many cells each."""
    heads = max((layer.heads for layer in stack.layers), default=0)
    return _place(stack, heads, terminal.width, (cell,)).block >= heads


def _place(stack: Stack, heads: int, width: int, widths: Sequence[int]) -> _Map:
    digits = max((len(str(layer.layer)) for layer in stack.layers), default=1)
    margin = max(digits, len("layer")) + 1 if width >= 40 else digits + 1
    room = max(width - margin, 1)
    for cell in widths:
        if heads * cell <= room:
            return _Map(cell, max(heads, 1), margin)
    most = max(room // widths[-1], 1)
    even = ceil(heads / ceil(heads / most))
    rounded = ceil(even / _ROUND) * _ROUND
    return _Map(widths[-1], rounded if rounded <= most else even, margin)


def _ruler(start: int, end: int, place: _Map, width: int) -> Line:
    """The numbers of the heads: of each where they fit, else of every fifth or tenth."""
    corner = "layer" if place.margin > len("layer") else ""
    if place.cell > _EVERY_NUMBER - (end <= 100):
        marks = "".join(f"{head:>{(place.cell + 1) // 2}}".ljust(place.cell) for head in range(start, end))
    else:
        step = 5 if place.cell > 1 else 10
        marks = _marks(start, end, step, place.cell)
    ruler = f"{corner:>{place.margin - 1}} {marks:{(end - start) * place.cell}}"
    return Line.of(StyledSpan(f"{ruler} head" if len(ruler) + len(" head") <= width else ruler, DIM))


def _marks(start: int, end: int, step: int, cell: int) -> str:
    """The number of the first head, then of every `step`th as long as it doesn't run into the one before."""
    text = str(start)
    for head in range(start + step - start % step, end, step):
        place = (head - start) * cell
        if place > len(text):
            text = text.ljust(place) + str(head)
    return text


def _row(layer: Layer, start: int, cell: Cell, place: _Map, terminal: Terminal) -> Line:
    number = StyledSpan(f"{layer.layer:>{place.margin - 1}} ", DIM)
    if not layer.heads:
        mixer = name_text(layer.mixer or "no attention", terminal)
        return Line.of(number, StyledSpan(" " * (place.cell // 2) + mixer, DIM))
    heads = range(start, min(layer.heads, start + place.block))
    return Line.of(number, *(cell((layer.layer, head), place.cell) for head in heads))


# Two digits behind the point tell most; three, where the largest number would not have two that count.
_TWO_TELL = 0.095

Head = tuple[int, int]


def value_map(stack: Stack, values: Mapping[Head, float | None], heat: Heat, *, small: bool = False) -> list[Line]:
    """The map, and its scale where colours or ink stand for numbers.

    values: by layer and head; None draws a dot, what isn't there draws nothing. At least one of them is known.
    small: whether a number that would be nothing but zeros is written by its power of ten.
    """
    texts = _texts(values, heat, small=small)
    widest = max(map(len, texts.values()))
    # Ink of its own stands before a number where there are no colours, unless the number has a sign that says as much.
    inked = not heat.colored and heat.least == 1 and has_room(stack, widest + 2, heat.terminal)
    heat = heat if heat.least > 1 else heat.beside_numbers()
    drawn: set[int] = set()

    def cell(head: Head, width: int) -> StyledSpan:
        value = values.get(head)
        if value is None:
            return StyledSpan((glyphs(heat.terminal).dot if head in values else "").center(width), DIM)
        drawn.add(width)
        if width <= widest:
            return heat.cell(value, width)
        text = f"{heat.ink(value) if inked else ''}{texts[head]:>{widest}}".center(width)
        return StyledSpan(text, heat.shade(value)) if heat.colored else StyledSpan(text)

    grid = head_map(stack, cell, (widest + 2, widest + 1, max(2, heat.least), heat.least), heat.terminal)
    says_all = not heat.colored and not inked and min(drawn) > widest
    return grid if says_all else [*grid, Line(), heat.scale()]


def decimals_of(heat: Heat) -> int:
    """How many digits stand behind the points of a map's numbers."""
    return 2 if heat.full >= _TWO_TELL else 3


def _texts(values: Mapping[Head, float | None], heat: Heat, *, small: bool) -> dict[Head, str]:
    """The known numbers; those with signs have a third digit in place of the zero before their point."""
    known = {head: value for head, value in values.items() if value is not None}
    if isinstance(heat, SignedHeat):
        return {head: signed_place(value) for head, value in known.items()}
    return {head: place_number(value, decimals_of(heat), small=small) for head, value in known.items()}


_RANKED = 10
# Cells of the bars, the longest that fits.
_BARS = (20, 10, 0)


def metric_map(stack: Stack, metric: str, terminal: Terminal, *, top: int = _RANKED) -> list[Line]:
    """The stack's heads by a metric, and the `top` ones ranked beside what uniform attention would have."""
    values = {(head.layer, head.head): head.values.get(metric) for head in stack.metrics}
    known = [value for value in values.values() if value is not None]
    lines = stack_lines(stack, terminal)
    if has_text(stack):
        lines.append(tokens_line(stack.keys, terminal, above_dots=len(known) < len(values)))
    lines += [Line(), *_title(metric, stack, terminal)]
    if not known:
        return [*lines, Line.of(f"nothing shows {metric} in this {whole_noun(stack)}")]
    heat = Heat(max(known), terminal)
    ranked = sorted((head for head in stack.metrics if head.values.get(metric) is not None), key=_by(metric))
    rows = _ranking(ranked[:top], metric, stack, heat)
    picture = value_map(stack, values, heat)
    scope = scope_lines(stack, terminal)
    return [*lines, *beside(picture, rows, width=terminal.width), *([Line(), *scope] if scope else [])]


def _title(metric: str, stack: Stack, terminal: Terminal) -> list[Line]:
    words = [Line.of(StyledSpan(word, DIM)) for word in meaning(metric, stack.key_medium).split()]
    return flow([Line.of(StyledSpan(f"{metric}:", BOLD)), *words], separator=" ", width=terminal.width)


def _by(metric: str) -> Callable[[HeadMetrics], float]:
    """The largest first."""
    return lambda head: -(head.values[metric] or 0.0)


def _ranking(heads: Sequence[HeadMetrics], metric: str, stack: Stack, heat: Heat) -> list[Line]:
    """A head a row: its value with the interval of a mean, a bar as long as there is room for, and even attention's."""
    rows = [_ranked_row(head, metric, stack, heat, _BARS[0]) for head in heads]
    over = max((row.width for row in rows), default=0) - heat.terminal.width
    cells = next((cells for cells in _BARS if _BARS[0] - cells >= over), _BARS[-1])
    return rows if over <= 0 else [_ranked_row(head, metric, stack, heat, cells) for head in heads]


def _ranked_row(head: HeadMetrics, metric: str, stack: Stack, heat: Heat, cells: int) -> Line:
    terminal, decimals = heat.terminal, decimals_of(heat)
    value = head.values[metric] or 0.0
    even = even_number(stack.baselines.get(head.layer, {}).get(metric), terminal, decimals)
    name = max(len(each.name) for each in stack.metrics)
    return Line.of(
        f"{head.name:>{name}}",
        StyledSpan(f"{place_number(value, decimals, small=False):>7}", BOLD),
        give(head.interval(metric), terminal, decimals),
        f"  {bar(heat.share(value), cells, terminal)}" if cells else "",
        StyledSpan(f"  uniform {even}", DIM),
    )
