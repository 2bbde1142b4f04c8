"""A whole text as one row of cells, however long it is, and where in it the query stands."""

from __future__ import annotations

from collections.abc import Sequence

from attncli.render.glyphs import glyphs
from attncli.render.heads.column_heads import key_number, ruler
from attncli.render.heads.heatmap import Heat, pooled_evenly, spans_of
from attncli.render.heads.shaded_text import HERE
from attncli.render.layout import flow
from attncli.render.lines import DIM, Line, Style, StyledSpan
from attncli.render.terminal import Terminal
from attncli.results.heads import Stack
from attncli.results.patterns import Pattern, Reading

# Cells that a line takes where there are few; from four on there would be digits.
_WIDEST = 3


def strip_lines(stack: Stack, reading: Reading, heat: Heat, here: str = HERE) -> list[Line]:
    """What the cells are, a cell for so many tokens or lines, the numbers of some of them, and the scale."""
    terminal = heat.terminal
    pooled = pooled_evenly(Pattern(0, None, reading.weights[None]), 1, terminal.width)
    spans = spans_of(pooled).columns
    cell = min(terminal.width // max(len(spans), 1), _WIDEST)
    shown = Heat(float(pooled.weights.max(initial=0.0)), terminal)
    numbers = [key_number(stack, span) for span in spans]
    cells = [
        shown.cell(weight, cell) if reading.visible[start:end].any() else StyledSpan(" " * cell)
        for weight, (start, end) in zip(pooled.weights[0].tolist(), spans, strict=True)
    ]
    return [
        *_title(stack, len(spans), terminal.width),
        Line(tuple(cells)),
        Line.of(StyledSpan(ruler(numbers, cell)[: terminal.width], DIM)),
        *_query_mark(reading, spans, cell, here, terminal),
        shown.scale(),
    ]


def _title(stack: Stack, cells: int, width: int) -> list[Line]:
    unit, whole = (stack.unit, "text") if stack.key_medium.kind == "tokens" else ("frame", "sound")
    many = f"{len(stack.keys):,} {unit}s in {cells} cells, each the sum of its {unit}s"
    words = many if cells < len(stack.keys) else f"the whole {whole}, a cell for each {unit}"
    return flow([Line.of(StyledSpan(word, DIM)) for word in words.split()], separator=" ", width=width)


def _query_mark(
    reading: Reading, spans: Sequence[tuple[int, int]], cell: int, here: str, terminal: Terminal
) -> list[Line]:
    """Where the query stands; nothing where it is not among the keys."""
    if not reading.own:
        return []
    place = cell * next(place for place, (_, end) in enumerate(spans) if reading.own[0] < end)
    mark = glyphs(terminal).pointer
    fits = place + len(mark) + len(here) < terminal.width
    text = f"{mark} {here}" if fits else f"{here} {mark}"
    return [Line.of(" " * (place if fits else max(place - len(here) - 1, 0)), StyledSpan(text, Style(bold=True)))]
