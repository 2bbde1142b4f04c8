"""A number for every head: written on its colour, or behind its ink, where there is room for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attncli.render.glyphs import glyphs
from attncli.render.heads.head_map import head_map
from attncli.render.heads.heatmap import Heat
from attncli.render.lines import Line, Span, Style
from attncli.results.heads import Stack

_DIM = Style(dim=True)


def value_map(
    stack: Stack, values: Mapping[tuple[int, int], float | None], text: Callable[[float], str], heat: Heat
) -> list[Line]:
    """The map and its scale. values: by layer and head; None draws a dot, what isn't there draws nothing.

    At least one of them is known.
    """
    texts = {head: text(value) for head, value in values.items() if value is not None}
    widest = max(map(len, texts.values()))
    drawn: set[int] = set()

    def cell(head: tuple[int, int], width: int) -> Span:
        value = values.get(head)
        if value is None:
            return Span((glyphs(heat.terminal).dot if head in values else "").center(width), _DIM)
        drawn.add(width)
        if width < widest + 2:
            return heat.cell(value, width)
        return heat.labelled(value, f"{texts[head]:>{widest}}", width)

    grid = head_map(stack, cell, (widest + 2, 2, heat.least), heat.terminal)
    # Numbers alone, without colour or ink, need no scale.
    speaks = heat.least > 1 and min(drawn) >= widest + 2
    return grid if speaks else [*grid, Line(), heat.scale()]
