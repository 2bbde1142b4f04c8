"""`--qk-ov` in a terminal: rankings side by side, as many as fit, of what heads do by their weights alone."""

from __future__ import annotations

from rich.text import Text

from attncli.render.common.cells import cell_width, pad
from attncli.render.common.console import Rows, row
from attncli.render.common.escape import ascii_safe
from attncli.render.common.terminal import Terminal
from attncli.render.heads.header import note_row, sentence_row, stack_row
from attncli.render.views.circuits import CircuitList, circuits_view
from attncli.results.circuits import Circuits
from attncli.results.heads import HeadsResult

_GAP = 2


def circuits_rows(result: HeadsResult, circuits: Circuits, terminal: Terminal) -> Rows:
    """The stacks, what stands out, and the rankings."""
    view = circuits_view(result, circuits)
    longest = max((len(each.entries) for each in view.lists), default=0)
    blocks = [_ranking(each, longest, terminal) for each in view.lists]
    rows: Rows = [*(stack_row(stack, terminal) for stack in result.stacks), Text()]
    rows += [sentence_row(view.sentence, terminal)]
    for line in _lines_of_blocks(blocks, terminal.width):
        rows += [
            Text(),
            *(row(*(part for cell in cells for part in (cell, " " * _GAP))) for cells in zip(*line, strict=True)),
        ]
    return [*rows, Text(), *(note_row(note, terminal) for note in view.notes)]


def _lines_of_blocks(blocks: list[list[Text]], width: int) -> list[list[list[Text]]]:
    """The blocks in lines of as many as fit side by side."""
    lines: list[list[list[Text]]] = []
    room = 0
    for block in blocks:
        needed = block[0].cell_len + _GAP
        if not lines or needed > room:
            lines.append([])
            room = width + _GAP
        lines[-1].append(block)
        room -= needed
    return lines


def _ranking(ranking: CircuitList, length: int, terminal: Terminal) -> list[Text]:
    """A title, and a row for each entry, empty ones up to the longest ranking's; all of one width."""
    names = [ascii_safe(name, terminal) for name, _ in ranking.entries]
    numbers = [ascii_safe(number, terminal) for _, number in ranking.entries]
    name, number = max(map(cell_width, names)), max(map(cell_width, numbers))
    width = max(name + 2 + number, cell_width(ranking.title))
    rows = [
        row(pad(each, name), "  ", (pad(value, number, right=True), "bold"), " " * (width - name - 2 - number))
        for each, value in zip(names, numbers, strict=True)
    ]
    return [row((pad(ranking.title, width), "dim")), *rows, *[row(" " * width)] * (length - len(rows))]
