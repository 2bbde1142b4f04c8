"""A pattern as a table: a row a query, a column a key, with tokens (or positions) at both edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from attncli.render.cells import cell_width, shorten
from attncli.render.glyphs import glyphs
from attncli.render.heads.column_heads import headings, key_number, ruler
from attncli.render.heads.heatmap import Heat, pooled_evenly, spans_of, unseen
from attncli.render.layout import flow
from attncli.render.lines import DIM, Line, StyledSpan
from attncli.render.terminal import Terminal
from attncli.render.token_text import direction_end, in_place, token_text, unit_text
from attncli.results.heads import Stack
from attncli.results.patterns import Medium, Pattern
from attncli.results.patterns import Span as Positions
from attncli.results.tokenize import Token

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
