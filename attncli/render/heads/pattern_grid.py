"""What stands above the columns of a pattern: tokens across, tokens downwards, or positions.

A pattern as a table: a row a query, a column a key, with tokens (or positions) at both edges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

from attncli.render.common.cells import cell_width, clusters, glyphs, pad, shorten
from attncli.render.common.escape import direction_end, in_place, token_text, unit_text
from attncli.render.common.lines import DIM, Line, StyledSpan, flow
from attncli.render.common.terminal import Terminal
from attncli.render.heads.heatmap import Heat, pooled_evenly, spans_of, unseen
from attncli.results.heads import Stack
from attncli.results.patterns import Medium, Pattern, Span
from attncli.results.patterns import Span as Positions
from attncli.results.tokens import Token

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


# Cells a weight: two look square, and from four on there is room for digits.
_SQUARE, _WITH_DIGITS, _WIDEST = 2, 4, 7
_LONGEST_LABEL = 16


@dataclass(frozen=True, slots=True)
class Grid:
    """A pattern that fits: pooled if need be, with the cells of each weight and of the columns before the first."""

    pattern: Pattern
    cell: int
    positions: int
    tokens: int

    @property
    def margin(self) -> int:
        return self.positions + 1 + self.tokens + 1


def fitted_grid(stack: Stack, pattern: Pattern, terminal: Terminal, *, least: int = 1) -> Grid:
    """The pattern in the terminal's width: whole if it fits, else pooled. least: cells that a weight needs."""
    exact = _grid(stack, pattern, terminal, least)
    rows, columns = pattern.weights.shape
    room = terminal.width - exact.margin
    if columns * least <= room and rows <= max(columns, room // _SQUARE):
        return exact
    # The labels of a pooled pattern are spans of positions and several tokens: wider than those of the whole one.
    widest = 2 * len(str(stack.queries[-1].index + 1)) + 1 + _longest_label(terminal) + 2
    side = max((terminal.width - widest) // max(_SQUARE, least), 1)
    return _grid(stack, pooled_evenly(pattern, side, side), terminal, least)


def grid_lines(stack: Stack, grid: Grid, heat: Heat) -> list[Line]:
    """The headings of the columns, then a row a query (or a span of them)."""
    hidden = unseen(stack, grid.pattern).tolist()
    rows = zip(spans_of(grid.pattern).rows, grid.pattern.weights.tolist(), hidden, strict=True)
    lines = [
        Line.of(*_row_label(stack, span, grid, heat.terminal), *_cells(weights, masked, grid.cell, heat))
        for span, weights, masked in rows
    ]
    return [*_headings(stack, grid, heat.terminal), *lines, *_column_list(stack, grid, heat.terminal)]


def _grid(stack: Stack, pattern: Pattern, terminal: Terminal, least: int) -> Grid:
    spans = spans_of(pattern).rows
    positions = max((len(_position_text(_rows(stack), span, terminal)) for span in spans), default=1)
    widest = max((cell_width(_span_text(_rows(stack), span, terminal)) for span in spans), default=0)
    tokens = min(widest, _longest_label(terminal))
    room = terminal.width - positions - tokens - 2
    fits = room // max(pattern.weights.shape[1], 1)
    cell = min(fits, _WIDEST) if fits >= _WITH_DIGITS else min(max(fits, 1), max(_SQUARE, least))
    return Grid(pattern, cell, positions, tokens)


def _longest_label(terminal: Terminal) -> int:
    return min(_LONGEST_LABEL, terminal.width // 4)


def _row_label(stack: Stack, span: Positions, grid: Grid, terminal: Terminal) -> tuple[StyledSpan, StyledSpan]:
    positions = StyledSpan(f"{_position_text(_rows(stack), span, terminal):>{grid.positions}} ", DIM)
    return positions, StyledSpan(in_place(_span_text(_rows(stack), span, terminal), grid.tokens, terminal) + " ")


def _cells(weights: Sequence[float], hidden: Sequence[bool], width: int, heat: Heat) -> list[StyledSpan]:
    return [
        StyledSpan(" " * width) if masked else heat.cell(weight, width)
        for weight, masked in zip(weights, hidden, strict=True)
    ]


class _Side(NamedTuple):
    """What rows, or columns, are of. lines: their numbers, where they are lines of a text."""

    tokens: Sequence[Token]
    medium: Medium
    lines: Sequence[int | None] | None
    unit: str


def _rows(stack: Stack) -> _Side:
    return _Side(stack.queries, stack.query_medium, stack.query_lines, stack.unit)


def _columns(stack: Stack) -> _Side:
    return _Side(stack.keys, stack.key_medium, stack.key_lines, stack.unit)


def _position_text(side: _Side, span: Positions, terminal: Terminal) -> str:
    """Where a row or column stands in the text, of which the tokens may be a part; in a sound, when it is heard."""
    if side.lines is not None:
        known = [line for line in side.lines[slice(*span)] if line is not None]
        return "" if not known else _stretch(str(known[0]), str(known[-1]), terminal)
    ends = side.tokens[span[0]], side.tokens[span[1] - 1]
    first, last = (token.text if side.medium.kind == "frames" else token.index for token in ends)
    return _stretch(str(first), str(last), terminal)


def _stretch(first: str, last: str, terminal: Terminal) -> str:
    return first if first == last else f"{first}{glyphs(terminal).dash}{last}"


def _span_text(side: _Side, span: Positions, terminal: Terminal) -> str:
    if side.medium.kind == "frames":
        return ""
    shown = side.tokens[span[0] : min(span[1], span[0] + _LONGEST_LABEL)]
    return " ".join(unit_text(token, side.unit, terminal) for token in shown)


def _headings(stack: Stack, grid: Grid, terminal: Terminal) -> list[Line]:
    """The tokens of the columns, or a ruler of positions where tokens have no room."""
    spans = spans_of(grid.pattern).columns
    if not _names_columns(stack, grid):
        numbers = [key_number(stack, span) for span in spans]
        return [Line.of(" " * grid.margin, StyledSpan(ruler(numbers, grid.cell), DIM))]
    if stack.key_lines is not None:
        return [Line.of(" " * grid.margin, _line_numbers(stack, stack.key_lines, grid, terminal))]
    texts = [unit_text(stack.keys[start], stack.unit, terminal) for start, _ in spans]
    spare = terminal.width - grid.margin - grid.cell * len(texts)
    return [Line.of(" " * grid.margin, row) for row in headings(texts, grid.cell, spare, terminal)]


def _line_numbers(stack: Stack, lines: Sequence[int | None], grid: Grid, terminal: Terminal) -> str:
    """The numbers of lines; what stands in none, as a special token, is called by its text."""
    cut = glyphs(terminal).cut
    texts = (
        shorten(token_text(key, terminal), grid.cell - 1, cut) if line is None else str(line)
        for key, line in zip(stack.keys, lines, strict=True)
    )
    return "".join(
        in_place(f"{' ' * ((grid.cell - cell_width(text)) // 2)}{text}", grid.cell, terminal) for text in texts
    )


def _names_columns(stack: Stack, grid: Grid) -> bool:
    """Whether each column has a heading of its own: its token or word, or the number of its line."""
    least = _SQUARE if stack.key_lines is None else _WITH_DIGITS
    return grid.cell >= least and all(end - start == 1 for start, end in spans_of(grid.pattern).columns)


def _column_list(stack: Stack, grid: Grid, terminal: Terminal) -> list[Line]:
    """The columns by name, where neither a heading nor the rows' labels name them."""
    if (_names_columns(stack, grid) and stack.key_lines is None) or stack.keys == stack.queries:
        return []
    entries = [_column_entry(stack, span, terminal) for span in spans_of(grid.pattern).columns]
    return [
        Line(),
        *flow([Line.of(StyledSpan("columns:", DIM)), *entries], separator="  ", width=terminal.width, indent=2),
    ]


def _column_entry(stack: Stack, span: Positions, terminal: Terminal) -> Line:
    text = shorten(_span_text(_columns(stack), span, terminal), _LONGEST_LABEL, glyphs(terminal).cut)
    return Line.of(StyledSpan(f"{_position_text(_columns(stack), span, terminal)} ", DIM), text + direction_end(text))
