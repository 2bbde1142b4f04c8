"""Putting lines together: after one another, beside one another, over as many rows as they need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest

from attncli.render.cells import cell_width
from attncli.render.lines import Line, StyledSpan


def joined(parts: Iterable[Line], separator: str = "") -> Line:
    """One line of several, with `separator` between them."""
    spans: list[StyledSpan] = []
    for index, part in enumerate(parts):
        if index and separator:
            spans.append(StyledSpan(separator))
        spans.extend(part.spans)
    return Line(tuple(spans))


def padded(line: Line, width: int) -> Line:
    """`line` filled with spaces to `width` cells; longer ones stay as they are."""
    fill = width - line.width
    return Line((*line.spans, StyledSpan(" " * fill))) if fill > 0 else line


def flow(parts: Iterable[Line], *, separator: str, width: int, indent: int = 0) -> list[Line]:
    """Parts after one another on as few lines as `width` cells allow; lines after the first are indented."""
    rows: list[list[Line]] = []
    taken = 0
    for part in parts:
        needed = cell_width(separator) + part.width
        if rows and taken + needed <= width:
            rows[-1].append(part)
            taken += needed
        else:
            taken = part.width + (indent if rows else 0)
            rows.append([part])
    return [joined([Line.of(" " * (indent if i else 0)), joined(row, separator)]) for i, row in enumerate(rows)]


def apart(blocks: Iterable[Sequence[Line]]) -> list[Line]:
    """Blocks of lines under one another, a blank line between two."""
    return [line for index, block in enumerate(blocks) for line in ([Line(), *block] if index else block)]


def side_by_side(blocks: Sequence[Sequence[Line]], *, width: int, gap: int) -> list[Line]:
    """Blocks of lines beside one another, each `width` cells wide, `gap` cells apart."""
    rows = zip_longest(*blocks, fillvalue=Line())
    return [joined([padded(line, width) for line in row], " " * gap) for row in rows]


def beside(left: Sequence[Line], right: Sequence[Line], *, width: int, gap: int = 4) -> list[Line]:
    """Two blocks of lines beside one another where `width` has room for both, else under one another."""
    column = max((line.width for line in left), default=0)
    if column + gap + max((line.width for line in right), default=0) > width:
        return [*left, Line(), *right]
    rows = zip_longest(left, right, fillvalue=Line())
    return [joined([padded(a, column + gap), b]) if b.spans else a for a, b in rows]
