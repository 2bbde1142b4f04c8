"""The labelled heatmap of one attention pattern: a row per query, a column per key, with tokens or positions as labels.

`fitted_grid` pools the pattern to the terminal's width, `grid_lines` draws it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

from attncli.render.common.cells import cell_width, clusters, glyphs, pad, shorten
from attncli.render.common.escape import direction_end, fit_width, token_text, unit_text
from attncli.render.common.lines import DIM, Line, StyledSpan, flow
from attncli.render.common.terminal import Terminal
from attncli.render.heads.heatmap import HeatScale, hidden_cells, pooled_evenly, spans_of
from attncli.results.heads import Stack
from attncli.results.patterns import Medium, Pattern, Span
from attncli.results.tokens import Token

# From so many cells per column on, headings are horizontal even where tokens have to be shortened.
_LEAST_HORIZONTAL = 5
# Rows of vertical headings.
_TALLEST = 10


def column_headings(texts: Sequence[str], cell: int, spare: int, terminal: Terminal) -> list[str]:
    """The tokens above columns of `cell` cells, horizontal or vertical. spare: free cells after the last column."""
    if cell >= _LEAST_HORIZONTAL or all(cell_width(text) < cell for text in texts):
        return [_horizontal_headings(texts, cell, spare, terminal)]
    return _vertical_headings(texts, cell, terminal)


def key_number(stack: Stack, span: Span) -> str:
    """The ruler's number for a span of keys: the first one's position, line or time; empty where none is in a line."""
    if stack.key_lines is not None:
        return next((str(line) for line in stack.key_lines[slice(*span)] if line is not None), "")
    seconds, first = stack.key_medium.seconds, stack.keys[span[0]].index
    return str(first) if seconds is None else f"{first * seconds:.3g}s"


def ruler(positions: Sequence[int | str], cell: int) -> str:
    """The positions of every 1, 2, 5, 10 … columns, as many as fit, each above its column."""
    widest = max((len(str(position)) for position in positions), default=1) + 1
    step = next(step for step in _ruler_steps() if step * cell >= widest)
    text = ""
    for column in range(0, len(positions), step):
        text = text.ljust(column * cell) + str(positions[column])
    return text.rstrip(" ")


def _ruler_steps() -> Iterator[int]:
    return (step * 10**power for power in count() for step in (1, 2, 5))


def _horizontal_headings(texts: Sequence[str], cell: int, spare: int, terminal: Terminal) -> str:
    """Each text centred in its cell, with at least a space between two; the last may extend into the spare cells."""
    heading, touching = "", False
    for index, text in enumerate(texts):
        room = cell - touching + (spare if index == len(texts) - 1 else 0)
        short = shorten(text, room, glyphs(terminal).cut)
        before = max((cell - cell_width(short)) // 2, int(touching))
        heading += " " * before + pad(short + direction_end(short), max(cell - before, cell_width(short)))
        touching = before + cell_width(short) >= cell
    return heading


def _vertical_headings(texts: Sequence[str], cell: int, terminal: Terminal) -> list[str]:
    """Texts written from top to bottom, bottom-aligned above their columns."""
    columns = [_shorten_vertical(clusters(text), terminal) for text in texts]
    height = max(map(len, columns), default=0)
    filled = [[""] * (height - len(column)) + column for column in columns]
    return ["".join(_centred(column[row], cell) for column in filled) for row in range(height)]


def _shorten_vertical(pieces: list[str], terminal: Terminal) -> list[str]:
    if len(pieces) <= _TALLEST:
        return pieces
    return [*pieces[: _TALLEST - 1], glyphs(terminal).cut]


def _centred(piece: str, cell: int) -> str:
    before = (cell - 1) // 2 if piece else 0
    return " " * before + pad(piece + direction_end(piece), cell - before)


# Cells per weight: two look square, and from four on there is room for digits.
_SQUARE_CELL, _CELL_WITH_DIGITS, _WIDEST_CELL = 2, 4, 7
_LONGEST_LABEL = 16


@dataclass(frozen=True, slots=True)
class PatternGrid:
    """A pattern, pooled if it was too wide, and its layout: cells per weight and of the position and token labels."""

    pattern: Pattern
    cell: int
    positions: int
    tokens: int

    @property
    def margin(self) -> int:
        return self.positions + 1 + self.tokens + 1


def fitted_grid(stack: Stack, pattern: Pattern, terminal: Terminal, *, least: int = 1) -> PatternGrid:
    """The pattern whole if it fits in the terminal's width, else pooled. least: cells that a weight needs."""
    whole = _grid(stack, pattern, terminal, least)
    rows, columns = pattern.weights.shape
    room = terminal.width - whole.margin
    if columns * least <= room and rows <= max(columns, room // _SQUARE_CELL):
        return whole
    # The labels of a pooled pattern are wider: ranges of positions, and several tokens.
    widest = 2 * len(str(stack.queries[-1].index + 1)) + 1 + _longest_label(terminal) + 2
    side = max((terminal.width - widest) // max(_SQUARE_CELL, least), 1)
    return _grid(stack, pooled_evenly(pattern, side, side), terminal, least)


def grid_lines(stack: Stack, grid: PatternGrid, heat: HeatScale) -> list[Line]:
    """The heatmap: column headings, then a labelled row per query (or span of queries)."""
    hidden = hidden_cells(stack, grid.pattern).tolist()
    rows = zip(spans_of(grid.pattern).rows, grid.pattern.weights.tolist(), hidden, strict=True)
    lines = [
        Line.of(*_row_label(stack, span, grid, heat.terminal), *_cells(weights, masked, grid.cell, heat))
        for span, weights, masked in rows
    ]
    return [*_heading_lines(stack, grid, heat.terminal), *lines, *_column_list(stack, grid, heat.terminal)]


def _grid(stack: Stack, pattern: Pattern, terminal: Terminal, least: int) -> PatternGrid:
    spans = spans_of(pattern).rows
    positions = max((len(_position_text(_query_axis(stack), span, terminal)) for span in spans), default=1)
    widest = max((cell_width(_span_text(_query_axis(stack), span, terminal)) for span in spans), default=0)
    tokens = min(widest, _longest_label(terminal))
    room = terminal.width - positions - tokens - 2
    fits = room // max(pattern.weights.shape[1], 1)
    cell = min(fits, _WIDEST_CELL) if fits >= _CELL_WITH_DIGITS else min(max(fits, 1), max(_SQUARE_CELL, least))
    return PatternGrid(pattern, cell, positions, tokens)


def _longest_label(terminal: Terminal) -> int:
    return min(_LONGEST_LABEL, terminal.width // 4)


def _row_label(stack: Stack, span: Span, grid: PatternGrid, terminal: Terminal) -> tuple[StyledSpan, StyledSpan]:
    positions = StyledSpan(f"{_position_text(_query_axis(stack), span, terminal):>{grid.positions}} ", DIM)
    return positions, StyledSpan(fit_width(_span_text(_query_axis(stack), span, terminal), grid.tokens, terminal) + " ")


def _cells(weights: Sequence[float], hidden: Sequence[bool], width: int, heat: HeatScale) -> list[StyledSpan]:
    return [
        StyledSpan(" " * width) if masked else heat.cell(weight, width)
        for weight, masked in zip(weights, hidden, strict=True)
    ]


class _Axis(NamedTuple):
    """The rows or the columns of a pattern. lines: the number of each, where they are lines of a text."""

    tokens: Sequence[Token]
    medium: Medium
    lines: Sequence[int | None] | None
    unit: str


def _query_axis(stack: Stack) -> _Axis:
    return _Axis(stack.queries, stack.query_medium, stack.query_lines, stack.unit)


def _key_axis(stack: Stack) -> _Axis:
    return _Axis(stack.keys, stack.key_medium, stack.key_lines, stack.unit)


def _position_text(side: _Axis, span: Span, terminal: Terminal) -> str:
    """The label of a row or column as numbers: positions or lines in the whole text, or times in a sound."""
    if side.lines is not None:
        known = [line for line in side.lines[slice(*span)] if line is not None]
        return "" if not known else _range_text(str(known[0]), str(known[-1]), terminal)
    ends = side.tokens[span[0]], side.tokens[span[1] - 1]
    first, last = (token.text if side.medium.kind == "frames" else token.index for token in ends)
    return _range_text(str(first), str(last), terminal)


def _range_text(first: str, last: str, terminal: Terminal) -> str:
    return first if first == last else f"{first}{glyphs(terminal).dash}{last}"


def _span_text(side: _Axis, span: Span, terminal: Terminal) -> str:
    if side.medium.kind == "frames":
        return ""
    shown = side.tokens[span[0] : min(span[1], span[0] + _LONGEST_LABEL)]
    return " ".join(unit_text(token, side.unit, terminal) for token in shown)


def _heading_lines(stack: Stack, grid: PatternGrid, terminal: Terminal) -> list[Line]:
    """The tokens of the columns, or a ruler of positions where there is no room for tokens."""
    spans = spans_of(grid.pattern).columns
    if not _has_column_headings(stack, grid):
        numbers = [key_number(stack, span) for span in spans]
        return [Line.of(" " * grid.margin, StyledSpan(ruler(numbers, grid.cell), DIM))]
    if stack.key_lines is not None:
        return [Line.of(" " * grid.margin, _line_numbers(stack, stack.key_lines, grid, terminal))]
    texts = [unit_text(stack.keys[start], stack.unit, terminal) for start, _ in spans]
    spare = terminal.width - grid.margin - grid.cell * len(texts)
    return [Line.of(" " * grid.margin, row) for row in column_headings(texts, grid.cell, spare, terminal)]


def _line_numbers(stack: Stack, lines: Sequence[int | None], grid: PatternGrid, terminal: Terminal) -> str:
    """The numbers of the columns' lines; tokens in no line, such as special tokens, by their text."""
    cut = glyphs(terminal).cut
    texts = (
        shorten(token_text(key, terminal), grid.cell - 1, cut) if line is None else str(line)
        for key, line in zip(stack.keys, lines, strict=True)
    )
    return "".join(
        fit_width(f"{' ' * ((grid.cell - cell_width(text)) // 2)}{text}", grid.cell, terminal) for text in texts
    )


def _has_column_headings(stack: Stack, grid: PatternGrid) -> bool:
    """Whether there is room for a heading for each column: its token or word, or the number of its line."""
    least = _SQUARE_CELL if stack.key_lines is None else _CELL_WITH_DIGITS
    return grid.cell >= least and all(end - start == 1 for start, end in spans_of(grid.pattern).columns)


def _column_list(stack: Stack, grid: PatternGrid, terminal: Terminal) -> list[Line]:
    """Below the heatmap: the texts of the columns, where neither headings nor row labels show them."""
    if (_has_column_headings(stack, grid) and stack.key_lines is None) or stack.keys == stack.queries:
        return []
    entries = [_column_entry(stack, span, terminal) for span in spans_of(grid.pattern).columns]
    return [
        Line(),
        *flow([Line.of(StyledSpan("columns:", DIM)), *entries], separator="  ", width=terminal.width, indent=2),
    ]


def _column_entry(stack: Stack, span: Span, terminal: Terminal) -> Line:
    text = shorten(_span_text(_key_axis(stack), span, terminal), _LONGEST_LABEL, glyphs(terminal).cut)
    return Line.of(StyledSpan(f"{_position_text(_key_axis(stack), span, terminal)} ", DIM), text + direction_end(text))
