"""A number for every head: written as it is, on its colour, where there is room for it; else its colour or its ink."""

from __future__ import annotations

from collections.abc import Mapping

from attncli.render.glyphs import glyphs
from attncli.render.heads.head_map import has_room, head_map
from attncli.render.heads.heatmap import Heat
from attncli.render.heads.numbers import place_number, signed_place
from attncli.render.heads.signed_heat import SignedHeat
from attncli.render.lines import DIM, Line, StyledSpan
from attncli.results.heads import Stack

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
