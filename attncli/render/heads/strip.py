"""A whole text as one row of cells, however long it is, and where in it the query stands."""

from __future__ import annotations

from attncli.render.heads.column_heads import key_number, ruler
from attncli.render.heads.heatmap import Heat, pooled_evenly, spans_of
from attncli.render.layout import flow
from attncli.render.lines import Line, Span, Style
from attncli.results.heads import Pattern, Stack
from attncli.results.reading import Reading

_DIM = Style(dim=True)
_HERE = "looks from here"


def strip_lines(stack: Stack, reading: Reading, heat: Heat) -> list[Line]:
    """What the cells are, a cell for so many tokens or lines, the numbers of some of them, and the scale."""
    terminal = heat.terminal
    pooled = pooled_evenly(Pattern(0, None, reading.weights[None]), 1, terminal.width)
    spans = spans_of(pooled).columns
    shown = Heat(float(pooled.weights.max(initial=0.0)), terminal)
    numbers = [_number(stack, reading, start) for start, _ in spans]
    return [
        *_title(stack, len(spans), terminal.width),
        Line(tuple(shown.cell(weight, 1) for weight in pooled.weights[0].tolist())),
        Line.of(Span(ruler(numbers, 1)[: terminal.width], _DIM)),
        *_query_mark(stack, reading, spans, heat),
        shown.scale(),
    ]


def _title(stack: Stack, cells: int, width: int) -> list[Line]:
    unit, whole = (stack.unit, "text") if stack.key_medium.kind == "tokens" else ("frame", "sound")
    many = f"{len(stack.keys):,} {unit}s in {cells} cells, each the sum of its {unit}s"
    words = many if cells < len(stack.keys) else f"the whole {whole}, a cell a {unit}"
    return flow([Line.of(Span(word, _DIM)) for word in words.split()], separator=" ", width=width)


def _number(stack: Stack, reading: Reading, place: int) -> int | str:
    """What a reader knows a key by: its line, else its position, or when it is heard."""
    if reading.lines is None:
        return key_number(stack, place)
    return next((line for line in reading.lines[place:] if line is not None), len(reading.lines))


def _query_mark(stack: Stack, reading: Reading, spans: tuple[tuple[int, int], ...], heat: Heat) -> list[Line]:
    """Where the query stands; nothing where it is not among the keys."""
    if not reading.own:
        return []
    cell = next(cell for cell, (_, end) in enumerate(spans) if reading.own[0] < end)
    mark = "▲" if heat.terminal.unicode else "^"
    fits = cell + len(mark) + len(_HERE) < heat.terminal.width
    text = f"{mark} {_HERE}" if fits else f"{_HERE} {mark}"
    return [Line.of(" " * (cell if fits else max(cell - len(_HERE) - 1, 0)), text)]
