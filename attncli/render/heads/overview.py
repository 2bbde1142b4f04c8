"""All heads of a stack at a glance: a letter a head, layers down and heads across, and the heads that stand out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from attncli.render.glyphs import glyphs
from attncli.render.heads.header import is_cross, stack_lines, tokens_line
from attncli.render.heads.metric_words import Label, in_order, label_of
from attncli.render.heads.sentences import sentence_lines
from attncli.render.heads.standouts import Standout
from attncli.render.layout import apart, flow
from attncli.render.lines import Line, Span, Style
from attncli.render.terminal import Terminal
from attncli.render.token_text import name_text
from attncli.results.heads import Layer, Stack

_DIM = Style(dim=True)
# Cells a head: three look best, one is the least; where even that is too wide, the map goes on beneath itself.
_CELL_WIDTHS = (3, 2, 1)
# Blocks of the map begin at a multiple of this many heads where they can.
_ROUND = 8


_Labels = Mapping[tuple[int, int], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Map:
    """Where things stand on the map: cells a head, heads a block, cells before the first head."""

    cell: int
    block: int
    margin: int


def overview(stack: Stack, found: tuple[Standout, ...], terminal: Terminal) -> list[Line]:
    """The stack's map, what its letters mean, and a sentence for each head that was `found` to stand out."""
    lines = stack_lines(stack, terminal)
    if not is_cross(stack):
        lines.append(tokens_line(stack.keys, terminal))
    lines += [Line(), *letter_map(stack, terminal), Line(), *_legend(stack, terminal)]
    return [*lines, Line(), *sentence_lines(found, stack, terminal)] if found else lines


def letter_map(stack: Stack, terminal: Terminal) -> list[Line]:
    """A row a layer and a letter a head, with the numbers of both; in several blocks where heads are too many."""
    heads = max((layer.heads for layer in stack.layers), default=0)
    place = _place(stack, heads, terminal.width)
    labels = {(head.layer, head.head): head.labels for head in stack.metrics}
    blocks = [
        [
            _ruler(start, min(heads, start + place.block), place, terminal.width),
            *(_row(layer, start, labels, place, terminal) for layer in stack.layers),
        ]
        for start in range(0, max(heads, 1), place.block)
    ]
    return apart(blocks)


def _place(stack: Stack, heads: int, width: int) -> _Map:
    digits = max((len(str(layer.layer)) for layer in stack.layers), default=1)
    margin = max(digits, len("layer")) + 1 if width >= 40 else digits + 1
    room = max(width - margin, 1)
    for cell in _CELL_WIDTHS:
        if heads * cell <= room:
            return _Map(cell, max(heads, 1), margin)
    even = ceil(heads / ceil(heads / room))
    rounded = ceil(even / _ROUND) * _ROUND
    return _Map(1, rounded if rounded <= room else even, margin)


def _ruler(start: int, end: int, place: _Map, width: int) -> Line:
    """The numbers of the heads: of each where they fit, else of every fifth or tenth."""
    corner = "layer" if place.margin > len("layer") else ""
    if place.cell == _CELL_WIDTHS[0] and end <= 100:
        marks = "".join(f"{head:>2} " for head in range(start, end))
    else:
        step = 5 if place.cell > 1 else 10
        marks = _marks(start, end, step, place.cell)
    ruler = f"{corner:>{place.margin - 1}} {marks:{(end - start) * place.cell}}"
    return Line.of(Span(f"{ruler} head" if len(ruler) + len(" head") <= width else ruler, _DIM))


def _marks(start: int, end: int, step: int, cell: int) -> str:
    """The number of the first head, then of every `step`th as long as it doesn't run into the one before."""
    text = str(start)
    for head in range(start + step - start % step, end, step):
        place = (head - start) * cell
        if place > len(text):
            text = text.ljust(place) + str(head)
    return text


def _row(layer: Layer, start: int, labels: _Labels, place: _Map, terminal: Terminal) -> Line:
    number = Span(f"{layer.layer:>{place.margin - 1}} ", _DIM)
    if not layer.heads:
        mixer = name_text(layer.mixer or "no attention", terminal)
        return Line.of(number, Span(" " * (place.cell // 2) + mixer, _DIM))
    heads = range(start, min(layer.heads, start + place.block))
    return Line.of(number, *(_cell(labels.get((layer.layer, head), ()), place.cell, terminal) for head in heads))


def _cell(labels: tuple[str, ...], width: int, terminal: Terminal) -> Span:
    return label_of(labels[0]).tile(width, terminal) if labels else Span(glyphs(terminal).dot.center(width), _DIM)


def _legend(stack: Stack, terminal: Terminal) -> list[Line]:
    """Only the letters that the map shows."""
    shown = in_order(head.labels[0] for head in stack.metrics if head.labels)
    entries = [_entry(label_of(name), terminal) for name in shown]
    if any(not head.labels for head in stack.metrics):
        entries.append(Line.of(Span(f" {glyphs(terminal).dot} ", _DIM), " none of these" if entries else " no label"))
    return flow(entries, separator="  ", width=terminal.width)


def _entry(label: Label, terminal: Terminal) -> Line:
    return Line.of(label.tile(3, terminal), f" {label.target}")
