"""All heads of a stack in one picture: layers down, heads across, a cell a head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

from attncli.render.layout import apart
from attncli.render.lines import DIM, Line, StyledSpan
from attncli.render.terminal import Terminal
from attncli.render.token_text import name_text
from attncli.results.heads import Layer, Stack

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
