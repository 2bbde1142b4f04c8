"""The labelled heatmap of one attention pattern: a row per query, a column per key, with tokens or positions as labels.

`fitted_grid` pools the pattern to the terminal's width, `grid_rows` draws it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from math import ceil, isnan

from rich.text import Text

from attncli.render.common.cells import cell_width, clusters, glyphs, pad, shorten
from attncli.render.common.console import Flow, Part, Rows, row, text
from attncli.render.common.escape import direction_end, fit_width, token_text, unit_text
from attncli.render.common.terminal import Terminal
from attncli.render.heads.heatmap import HeatScale, half_blocks
from attncli.render.views.patterns import Axis, axes_of, pooled_evenly, visible_weights
from attncli.results.heads import Stack
from attncli.results.patterns import Pattern, Span

# From so many cells per column on, headings are horizontal even where tokens have to be shortened.
_LEAST_HORIZONTAL = 5
# Rows of vertical headings.
_TALLEST = 10
# Cells per weight: two look square, and from four on there is room for digits.
_SQUARE_CELL, _CELL_WITH_DIGITS, _WIDEST_CELL = 2, 4, 7
_LONGEST_LABEL = 16


# --- labels of columns


def column_headings(texts: Sequence[str], cell: int, spare: int, terminal: Terminal) -> list[str]:
    """The tokens above columns of `cell` cells, horizontal or vertical. spare: free cells after the last column."""
    cut = glyphs(terminal).cut
    if cell >= _LEAST_HORIZONTAL or all(cell_width(text) < cell for text in texts):
        return [_horizontal_headings(texts, cell, spare, cut)]
    # From top to bottom, bottom-aligned above their columns.
    pieces = [clusters(text) for text in texts]
    columns = [each if len(each) <= _TALLEST else [*each[: _TALLEST - 1], cut] for each in pieces]
    height = max(map(len, columns), default=0)
    filled = [[""] * (height - len(column)) + column for column in columns]
    return ["".join(_centred(column[row], cell) for column in filled) for row in range(height)]


def _horizontal_headings(texts: Sequence[str], cell: int, spare: int, cut: str) -> str:
    """Each text centred in its cell, with at least a space between two; the last may extend into the spare cells."""
    heading, touching = "", False
    for index, token in enumerate(texts):
        room = cell - touching + (spare if index == len(texts) - 1 else 0)
        short = shorten(token, room, cut)
        width = cell_width(short)
        before = max((cell - width) // 2, int(touching))
        heading += " " * before + pad(short + direction_end(short), max(cell - before, width))
        touching = before + width >= cell
    return heading


def _centred(piece: str, cell: int) -> str:
    before = (cell - 1) // 2 if piece else 0
    return " " * before + pad(piece + direction_end(piece), cell - before)


def ruler(stack: Stack, spans: Sequence[Span], cell: int) -> str:
    """The numbers of every 1, 2, 5, 10 … columns, as many as fit, each above its column."""
    positions = [_key_number(stack, span) for span in spans]
    widest = max(map(len, positions), default=1) + 1
    steps = (step * 10**power for power in count() for step in (1, 2, 5))
    step = next(step for step in steps if step * cell >= widest)
    text = ""
    for column in range(0, len(positions), step):
        text = text.ljust(column * cell) + positions[column]
    return text.rstrip(" ")


def _key_number(stack: Stack, span: Span) -> str:
    """The ruler's number for a span of keys: the first one's position, line or time; empty where none is in a line."""
    if stack.key_lines is not None:
        return next((str(line) for line in stack.key_lines[slice(*span)] if line is not None), "")
    medium, first = stack.key_medium, stack.keys[span[0]].index
    return str(first) if medium.seconds is None else f"{medium.moment(first):.3g}s"


# --- the heatmap


@dataclass(frozen=True, slots=True)
class PatternGrid:
    """A pattern, pooled if it was too wide, and its layout: cells per weight and of the position and token labels.

    numbered: columns are headed by their numbers.  halves: two rows in one line of half-blocks, which show no digits.
    """

    pattern: Pattern
    rows: Axis
    columns: Axis
    cell: int
    positions: int
    tokens: int
    numbered: bool = False
    halves: bool = False

    @property
    def margin(self) -> int:
        return self.positions + 1 + self.tokens + 1

    @property
    def has_headings(self) -> bool:
        """Whether there is room for a heading for each column: its token or word, or the number of its line."""
        if self.numbered:
            return False
        least = _SQUARE_CELL if self.columns.lines is None else _CELL_WITH_DIGITS
        return self.cell >= least and all(end - start == 1 for start, end in self.columns.spans)


def fitted_grid(stack: Stack, pattern: Pattern, terminal: Terminal, *, least: int = 1) -> PatternGrid:
    """The pattern whole if it fits in the terminal's width, else pooled. least: cells that a weight needs."""
    whole = _grid(stack, pattern, terminal, least)
    rows, columns = pattern.weights.shape
    room = terminal.width - whole.margin
    if columns * least <= room and rows <= max(columns, room // _SQUARE_CELL):
        return whole
    # The labels of a pooled pattern are wider: ranges of positions, and several tokens.
    side = max(_pooled_room(stack, terminal) // max(_SQUARE_CELL, least), 1)
    return _grid(stack, pooled_evenly(pattern, side, side), terminal, least)


def _pooled_room(stack: Stack, terminal: Terminal) -> int:
    """Cells for the columns of a pooled pattern."""
    return terminal.width - (2 * len(str(stack.queries[-1].index + 1)) + 1 + _longest_label(terminal) + 2)


def lower_grids(stack: Stack, grid: PatternGrid, terminal: Terminal, *, least: int = 1) -> Iterator[PatternGrid]:
    """The same in fewer and fewer lines: columns by number, two rows in a line, rows pooled."""
    yield replace(grid, numbered=True)
    rows, columns = grid.pattern.weights.shape
    most = max(_pooled_room(stack, terminal) // least, 1)
    for together in range(2, rows + 1):
        pooled = _grid(stack, pooled_evenly(grid.pattern, ceil(rows / together), min(columns, most)), terminal, least)
        if together == 2 and columns <= most and HeatScale(1.0, terminal).half_blocks and least == 1:
            # The label of a line is that of both rows.
            yield replace(pooled, pattern=grid.pattern, cell=min(pooled.cell, _SQUARE_CELL), numbered=True, halves=True)
        yield replace(pooled, numbered=True)


def _grid(stack: Stack, pattern: Pattern, terminal: Terminal, least: int) -> PatternGrid:
    rows, columns = axes_of(stack, pattern)
    positions = max((len(_position_text(rows, span, terminal)) for span in rows.spans), default=1)
    widest = max((cell_width(_span_text(rows, span, terminal)) for span in rows.spans), default=0)
    tokens = min(widest, _longest_label(terminal))
    fits = (terminal.width - positions - tokens - 2) // max(pattern.weights.shape[1], 1)
    cell = min(fits, _WIDEST_CELL) if fits >= _CELL_WITH_DIGITS else min(max(fits, 1), max(_SQUARE_CELL, least))
    return PatternGrid(pattern, rows, columns, cell, positions, tokens)


def _longest_label(terminal: Terminal) -> int:
    return min(_LONGEST_LABEL, terminal.width // 4)


def grid_rows(stack: Stack, grid: PatternGrid, heat: HeatScale) -> Rows:
    """The heatmap: column headings, then a labelled row per query (or span of queries)."""
    terminal = heat.terminal
    rows: Rows = [*headings(stack, grid, terminal)]
    for span, cells in zip(grid.rows.spans, _cells(stack, grid, heat), strict=True):
        position = f"{_position_text(grid.rows, span, terminal):>{grid.positions}} ", "dim"
        token = fit_width(_span_text(grid.rows, span, terminal), grid.tokens, terminal) + " "
        rows.append(row(position, token, *cells))
    return [*rows, *_column_list(stack, grid, terminal)]


def _cells(stack: Stack, grid: PatternGrid, heat: HeatScale) -> Iterable[Sequence[Part]]:
    """The cells of each line."""
    values = visible_weights(stack, grid.pattern)
    if grid.halves:
        wide = values.repeat(grid.cell, axis=1).tolist()
        return half_blocks([[None if isnan(value) else heat.color(value) for value in each] for each in wide])
    return (
        [" " * grid.cell if isnan(value) else heat.cell(value, grid.cell) for value in each] for each in values.tolist()
    )


def _position_text(side: Axis, span: Span, terminal: Terminal) -> str:
    """The label of a row or column as numbers: positions or lines in the whole text, or times in a sound."""
    if side.lines is not None:
        numbers = [str(line) for line in side.lines[slice(*span)] if line is not None]
    else:
        ends = side.tokens[span[0]], side.tokens[span[1] - 1]
        numbers = [token.text if side.medium.kind == "frames" else str(token.index) for token in ends]
    return glyphs(terminal).dash.join(dict.fromkeys((numbers[0], numbers[-1]))) if numbers else ""


def _span_text(side: Axis, span: Span, terminal: Terminal) -> str:
    if side.medium.kind == "frames":
        return ""
    shown = side.tokens[span[0] : min(span[1], span[0] + _LONGEST_LABEL)]
    return " ".join(unit_text(token, side.unit, terminal) for token in shown)


def headings(stack: Stack, grid: PatternGrid, terminal: Terminal) -> list[Text]:
    """The tokens of the columns, the numbers of their lines, or a ruler of positions where there is no room."""
    if not grid.has_headings:
        return [row(" " * grid.margin, (ruler(stack, grid.columns.spans, grid.cell), "dim"))]
    if stack.key_lines is not None:
        # Tokens in no line, such as special tokens, have their text.
        cut = glyphs(terminal).cut
        texts = [
            shorten(token_text(key, terminal), grid.cell - 1, cut) if line is None else str(line)
            for key, line in zip(stack.keys, stack.key_lines, strict=True)
        ]
        centred = (" " * ((grid.cell - cell_width(each)) // 2) + each for each in texts)
        return [row(" " * grid.margin, *(fit_width(each, grid.cell, terminal) for each in centred))]
    texts = [unit_text(stack.keys[start], stack.unit, terminal) for start, _ in grid.columns.spans]
    spare = terminal.width - grid.margin - grid.cell * len(texts)
    return [row(" " * grid.margin, heading) for heading in column_headings(texts, grid.cell, spare, terminal)]


def _column_list(stack: Stack, grid: PatternGrid, terminal: Terminal) -> Rows:
    """Below the heatmap: the texts of the columns, where neither headings nor row labels show them."""
    if (grid.has_headings and stack.key_lines is None) or stack.keys == stack.queries:
        return []
    entries = [text("columns:", "dim")]
    for span in grid.columns.spans:
        shown = shorten(_span_text(grid.columns, span, terminal), _LONGEST_LABEL, glyphs(terminal).cut)
        position = f"{_position_text(grid.columns, span, terminal)} ", "dim"
        entries.append(row(position, shown + direction_end(shown)))
    return [Text(), Flow(entries, "  ", indent=2)]
