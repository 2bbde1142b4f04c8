"""What stands above the columns of a pattern: tokens across, tokens downwards, or positions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

from attncli.render.cells import cell_width, clusters, pad, shorten
from attncli.render.glyphs import glyphs
from attncli.render.terminal import Terminal
from attncli.render.token_text import direction_end
from attncli.results.heads import Stack
from attncli.results.patterns import Span

# From this many cells a column on, a token that is cut short still says more across than downwards.
_ACROSS = 5
_TALLEST = 10


def headings(texts: Sequence[str], cell: int, spare: int, terminal: Terminal) -> list[str]:
    """Tokens above columns of `cell` cells; `spare` cells are free after the last column."""
    if cell >= _ACROSS or all(cell_width(text) < cell for text in texts):
        return [_across(texts, cell, spare, terminal)]
    return _downwards(texts, cell, terminal)


def key_number(stack: Stack, span: Span) -> str:
    """What a ruler calls the first of some keys: its position, its line, or when it is heard; nothing where none of
    them stands in a line."""
    if stack.key_lines is not None:
        return next((str(line) for line in stack.key_lines[slice(*span)] if line is not None), "")
    seconds, first = stack.key_medium.seconds, stack.keys[span[0]].index
    return str(first) if seconds is None else f"{first * seconds:.3g}s"


def ruler(positions: Sequence[int | str], cell: int) -> str:
    """The position of every so many columns, each above its column."""
    widest = max((len(str(position)) for position in positions), default=1) + 1
    step = next(step for step in _steps() if step * cell >= widest)
    text = ""
    for column in range(0, len(positions), step):
        text = text.ljust(column * cell) + str(positions[column])
    return text.rstrip(" ")


def _steps() -> Iterator[int]:
    return (step * 10**power for power in count() for step in (1, 2, 5))


def _across(texts: Sequence[str], cell: int, spare: int, terminal: Terminal) -> str:
    """Each text in the middle of its cell, a space at least between two; the last may run on into the spare cells."""
    heading, touching = "", False
    for index, text in enumerate(texts):
        room = cell - touching + (spare if index == len(texts) - 1 else 0)
        short = shorten(text, room, glyphs(terminal).cut)
        before = max((cell - cell_width(short)) // 2, int(touching))
        heading += " " * before + pad(short + direction_end(short), max(cell - before, cell_width(short)))
        touching = before + cell_width(short) >= cell
    return heading


def _downwards(texts: Sequence[str], cell: int, terminal: Terminal) -> list[str]:
    """Texts written from top to bottom, ending right above their columns."""
    columns = [_cut_down(clusters(text), terminal) for text in texts]
    height = max(map(len, columns), default=0)
    filled = [[""] * (height - len(column)) + column for column in columns]
    return ["".join(_centred(column[row], cell) for column in filled) for row in range(height)]


def _cut_down(pieces: list[str], terminal: Terminal) -> list[str]:
    if len(pieces) <= _TALLEST:
        return pieces
    return [*pieces[: _TALLEST - 1], glyphs(terminal).cut]


def _centred(piece: str, cell: int) -> str:
    before = (cell - 1) // 2 if piece else 0
    return " " * before + pad(piece + direction_end(piece), cell - before)
