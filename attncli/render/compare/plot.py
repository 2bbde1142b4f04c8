"""The occurrences on a plane, by their first two principal components: a number where each one stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from attncli.render.cells import cell_width
from attncli.render.compare.names import Tags, ascii_safe, paragraph, percent
from attncli.render.lines import DIM, Line, Style, StyledSpan
from attncli.render.terminal import Terminal
from attncli.results.compare import Matrix, State

#: Cells are about twice as high as wide, so that a plane of this shape looks right.
_MOST_COLUMNS, _ROWS = 72, 13
#: More numbers than this can't be told apart: then groups get a letter, and a cell shows its most frequent one.
_MOST_NUMBERS = 60
#: With this many, labels stand beside the numbers.
_MOST_LABELS = 12
_WIDE = 50
#: Cells that a number may be moved aside without a word.
_UNSEEN_SHIFT = 3
#: From a few in a cell to many.
_DENSITY = ".:oO@"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class _Mark(NamedTuple):
    text: str
    style: Style
    width: int = 1


def map_lines(state: State, names: Sequence[str], tags: Tags, terminal: Terminal) -> list[Line]:
    """The plane in a frame of dots, and the share of the differences that it shows."""
    if state.positions is None or state.explained is None:
        return []
    width = min(terminal.width - 2, _MOST_COLUMNS)
    rows = _ROWS if len(names) > 6 else _ROWS - 4
    if len(names) <= _MOST_NUMBERS:
        marks, moved = _numbers(state.positions, names, tags, width, rows)
        key = " (some moved to be read)" if moved else ""
    else:
        marks, key = _crowd(state.positions, tags, width, rows), _key(tags)
    across, up = (percent(share) for share in state.explained)
    title = f"a map in two principal components, {across} and {up} of the variance{key}:"
    side = StyledSpan("|" if not terminal.unicode else "│", DIM)
    drawn = [Line.of(side, *_drawn(row, marks, width), side) for row in range(rows)]
    return [*paragraph(ascii_safe(title, terminal), terminal), *drawn]


def _numbers(
    positions: Matrix, names: Sequence[str], tags: Tags, width: int, rows: int
) -> tuple[dict[tuple[int, int], _Mark], bool]:
    """Every number (with its label, where these are few) at its place, or as near to it as nothing else stands."""
    both = [f"{name} {tag}".rstrip() for name, tag in zip(names, tags.texts, strict=True)]
    texts = both if len(names) <= _MOST_LABELS and width >= _WIDE else names
    widths = [cell_width(text) for text in texts]
    marks: dict[tuple[int, int], _Mark] = {}
    taken: set[tuple[int, int]] = set()
    moved = False
    for index, (row, column) in enumerate(_cells(positions, width - max(widths), rows)):
        free = (place for place in _around(row, column, width, rows) if _is_free(place, widths[index], width, taken))
        place = next(free, None)
        if place is None:
            continue
        moved = moved or abs(place[0] - row) > 1 or abs(place[1] - column) > _UNSEEN_SHIFT
        marks[place] = _Mark(texts[index], tags.style(index), widths[index])
        # One cell of air on both sides: two numbers side by side would be one.
        taken |= {(place[0], cell) for cell in range(place[1] - 1, place[1] + widths[index] + 1)}
    return marks, moved


def _crowd(positions: Matrix, tags: Tags, width: int, rows: int) -> dict[tuple[int, int], _Mark]:
    """A cell shows the most frequent group in it, or without groups how many stand there."""
    cells: dict[tuple[int, int], Counter[str]] = {}
    for index, cell in enumerate(_cells(positions, width, rows)):
        cells.setdefault(cell, Counter())[tags.texts[index]] += 1
    most = max(counted.total() for counted in cells.values())
    return {cell: _crowd_mark(counted, most, tags) for cell, counted in cells.items()}


def _crowd_mark(counted: Counter[str], most: int, tags: Tags) -> _Mark:
    if not tags.told_apart:
        return _Mark(_DENSITY[min(len(_DENSITY) * (counted.total() - 1) // most, len(_DENSITY) - 1)], Style())
    group = counted.most_common(1)[0][0]
    letter = _LETTERS[tags.groups.index(group) % len(_LETTERS)]
    return _Mark(letter, tags.style(tags.texts.index(group)))


def _key(tags: Tags) -> str:
    if not tags.told_apart:
        return " (. few, @ many)"
    named = (f"{_LETTERS[number % len(_LETTERS)]} {group or 'no label'}" for number, group in enumerate(tags.groups))
    return f" ({', '.join(named)})"


def _cells(positions: Matrix, width: int, rows: int) -> Iterator[tuple[int, int]]:
    """The row and column of each point: both axes to one scale, a cell being twice as high as wide."""
    low, high = positions.min(axis=0), positions.max(axis=0)
    span = high - low
    unit = max(span[0] / max(width - 1, 1), span[1] / max(2 * (rows - 1), 1), 1e-12)
    middle = (low + high) / 2
    for across, up in positions:
        column = (across - middle[0]) / unit + (width - 1) / 2
        row = (rows - 1) / 2 - (up - middle[1]) / (2 * unit)
        yield round(min(max(row, 0), rows - 1)), round(min(max(column, 0), width - 1))


def _around(row: int, column: int, width: int, rows: int) -> Iterator[tuple[int, int]]:
    """Places from the nearest to the farthest."""
    places = ((r, c) for r in range(rows) for c in range(width))
    yield from sorted(places, key=lambda place: (4 * (place[0] - row) ** 2 + (place[1] - column) ** 2, place))


def _is_free(place: tuple[int, int], length: int, width: int, taken: set[tuple[int, int]]) -> bool:
    row, column = place
    return column + length <= width and not any((row, column + step) in taken for step in range(length))


def _drawn(row: int, marks: dict[tuple[int, int], _Mark], width: int) -> Iterator[StyledSpan]:
    column = 0
    while column < width:
        mark = marks.get((row, column))
        yield StyledSpan(mark.text, mark.style) if mark else StyledSpan(" ")
        column += mark.width if mark else 1
