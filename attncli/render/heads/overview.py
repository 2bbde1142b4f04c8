"""All heads of a stack at a glance: a map with a letter per head, the heads that stand out, and sketches of heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rich.table import Table
from rich.text import Text

from attncli.render.common.cells import glyphs
from attncli.render.common.console import Flow, Rows, StyledText, row, side_by_side, text
from attncli.render.common.escape import ascii_safe
from attncli.render.common.numbers import metric_number, plus_minus, uniform_number
from attncli.render.common.terminal import Terminal
from attncli.render.heads.head_map import head_map
from attncli.render.heads.header import (
    label_row,
    label_tile,
    note_row,
    sentence_parts,
    sentence_text,
    stack_row,
    tokens_row,
)
from attncli.render.heads.thumbnails import GAP, SKETCH_LETTERS, sketch_rows
from attncli.render.views.crossing import crossing_view
from attncli.render.views.header import has_single_key, has_text, scope_note, single_key_note
from attncli.render.views.metric_words import ordered_labels
from attncli.render.views.overview import Standout, label_target
from attncli.results.heads import Stack

# Cells per letter, the best width first.
_CELL_WIDTHS = (3, 2, 1)
# With more layers than this, the upper half stands beside the lower half: a screen has 24 lines.
_MOST_LAYERS = 20
# Cells before the first head.
_LAYER_MARGIN = 6


def overview(stack: Stack, found: tuple[Standout, ...], terminal: Terminal) -> Rows:
    """The stack's map, its legend, a sentence for each head in `found`, and sketches if there is room."""
    rows: Rows = [stack_row(stack, terminal)]
    if has_text(stack):
        rows.append(tokens_row(stack.keys, terminal))
    if has_single_key(stack):
        return [*rows, note_row(single_key_note(stack), terminal, "")]
    sketches = sketch_rows(stack, terminal)
    rows += [Text(), *letter_map(stack, terminal), Text(), _legend(stack, terminal, sketched=bool(sketches))]
    rows.append(note_row(scope_note(stack), terminal))
    standouts = [Text(), *standout_rows(found, terminal)] if found else []
    return [*rows, *standouts, *([Text(), *sketches] if sketches else [])]


def letter_map(stack: Stack, terminal: Terminal) -> list[Text]:
    """The map: a row per layer, and per head the letter of its first label, or a dot."""
    labels = {(head.layer, head.head): head.labels for head in stack.metrics}

    def letter(head: tuple[int, int], width: int) -> StyledText:
        if head not in labels:  # not selected
            return " " * width, ""
        if labels[head]:
            return label_tile(labels[head][0], terminal, width)
        return glyphs(terminal).dot.center(width), "dim"

    if not _is_split(stack, terminal):
        return head_map(stack, letter, _CELL_WIDTHS, terminal)
    half, middle = terminal._replace(width=(terminal.width - GAP) // 2), (len(stack.layers) + 1) // 2
    parts = (replace(stack, layers=layers) for layers in (stack.layers[:middle], stack.layers[middle:]))
    maps = [head_map(part, letter, _CELL_WIDTHS, half) for part in parts]
    return side_by_side(maps, width=max(each.cell_len for rows in maps for each in rows), gap=GAP)


def _is_split(stack: Stack, terminal: Terminal) -> bool:
    """Whether the map is higher than most screens, and its lower layers fit beside the upper ones."""
    heads = max((layer.heads for layer in stack.layers), default=0)
    return len(stack.layers) > _MOST_LAYERS and 2 * (heads + _LAYER_MARGIN) + GAP <= terminal.width


def _legend(stack: Stack, terminal: Terminal, *, sketched: bool) -> Flow:
    """What the letters mean that the map, and the sketches below it, show."""
    letters = SKETCH_LETTERS if sketched else 1
    names = ordered_labels(name for head in stack.metrics for name in head.labels[:letters])
    entries = [label_row(name, label_target(name, stack), terminal) for name in names]
    if any(not head.labels for head in stack.metrics):
        dot = f" {glyphs(terminal).dot} ", "dim"
        entries.append(row(dot, " none of these" if entries else " no label"))
    if _is_split(stack, terminal):
        # The ruler of a map has no room for these words where two maps stand side by side.
        entries.append(Text("layers down, heads across", "dim"))
    return Flow(entries, "  ")


def standout_rows(found: Sequence[Standout], terminal: Terminal) -> Rows:
    """A line per head with sentence and numbers in columns; on narrow terminals the numbers are below the sentence."""
    width = max(len(one.head.name) for one in found)
    names = [row(label_tile(one.label, terminal), " ", (one.head.name.rjust(width), "bold")) for one in found]
    numbers = [_value_and_uniform(one, terminal) for one in found]
    sentences = [text(sentence_text(one.sentence, terminal)) for one in found]
    pairs = [Text(", ").join(pair) for pair in numbers]
    columns = (names, sentences, pairs)
    if sum(max(each.cell_len for each in column) for column in columns) + 4 <= terminal.width:
        table = Table.grid(padding=(0, 2, 0, 0))
        for cells in zip(*columns, strict=True):
            table.add_row(*cells)
        return [table]
    rows: Rows = []
    for name, one, values in zip(names, found, numbers, strict=True):
        indent = name.cell_len + 1
        rows.append(Flow([name, *sentence_parts(one.sentence, terminal)], " ", indent=indent))
        below = Flow(values, ", ").rows(terminal.width - indent)
        rows += (row(" " * indent, each) for each in below)
    return rows


def _value_and_uniform(one: Standout, terminal: Terminal) -> list[Text]:
    """`next 0.83 ± 0.02` and `uniform 0.07`: a value, with its interval if it is a mean, and uniform attention's."""
    value, around = (metric_number(one.value, terminal), "bold"), plus_minus(one.interval, terminal)
    return [row(f"{one.metric} ", value, around), Text(f"uniform {uniform_number(one.uniform, terminal)}", "dim")]


def crossing_rows(stack: Stack, terminal: Terminal) -> Rows:
    """The heads with the most attention between a text and its pair, with the values of uniform attention."""
    view = crossing_view(stack)
    if view is None:
        return []
    rows = [note_row(view.sentence, terminal, "")]
    width = max((len(head.name) for head in view.heads), default=0)
    for head in view.heads:
        parts = [Text(f"    {head.name:>{width}}", "bold")]
        for direction, share, even in head.shares:
            value = metric_number(share, terminal), "bold"
            uniform = f", uniform {metric_number(even, terminal)}", "dim"
            parts.append(row(f"{ascii_safe(direction, terminal)} ", value, uniform))
        rows.append(Flow(parts, "  ", indent=width + 6))
    return [*rows]
