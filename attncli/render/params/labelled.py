"""Facts under a label: `memory   float32 29.9 GiB · bfloat16 15.0 GiB`, wrapped between the facts where it must be."""

from __future__ import annotations

from collections.abc import Iterable

from attncli.render.cells import cell_width, pad
from attncli.render.glyphs import glyphs
from attncli.render.layout import flow, joined
from attncli.render.lines import DIM, Line, StyledSpan
from attncli.render.terminal import Terminal
from attncli.render.token_text import name_text

#: Cells that labels take.
LABEL = 12
_NARROW = 50


def labelled(label: str, facts: Iterable[str], terminal: Terminal) -> list[Line]:
    """The facts after one another, lines after the first indented; a long one is wrapped between its words.

    They may hold names from outside, and are made safe for a terminal here.
    """
    indent = LABEL if terminal.width >= _NARROW else 2
    room = terminal.width - indent
    lines: list[Line] = []
    pending: list[Line] = []
    separator = glyphs(terminal).separator
    for fact in (name_text(fact, terminal) for fact in facts):
        if cell_width(fact) <= room:
            pending.append(Line.of(fact))
            continue
        lines += flow(pending, separator=separator, width=room)
        lines += flow([Line.of(word) for word in fact.split(" ")], separator=" ", width=room)
        pending = []
    lines += flow(pending, separator=separator, width=room)
    return _with_label(label, lines, indent)


def _with_label(label: str, lines: list[Line], indent: int) -> list[Line]:
    """The label before the first line; above it where it is too long, or the terminal too narrow."""
    if not lines:
        return []
    if cell_width(label) >= indent:
        return [Line.of(StyledSpan(label, DIM)), *(joined([Line.of(" " * indent), line]) for line in lines)]
    heads = [Line.of(StyledSpan(pad(label, indent), DIM)), *[Line.of(" " * indent)] * (len(lines) - 1)]
    return [joined([head, line]) for head, line in zip(heads, lines, strict=True)]
