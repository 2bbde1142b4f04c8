"""All heads of a stack at a glance: a map with a letter per head, the heads that stand out, and sketches of heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from typing import NamedTuple

from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from attncli.render.common.cells import glyphs
from attncli.render.common.console import (
    Flow,
    Part,
    Rows,
    StyledText,
    column_table,
    count_lines,
    first_to_fit,
    row,
    separate_blocks,
    side_by_side,
    text,
)
from attncli.render.common.escape import ascii_safe, token_text
from attncli.render.common.numbers import metric_number, plus_minus, uniform_number
from attncli.render.common.terminal import Terminal
from attncli.render.heads.head_map import Cell, head_map
from attncli.render.heads.header import (
    label_row,
    label_tile,
    note_row,
    sentence_parts,
    sentence_text,
    stack_row,
    tokens_row,
)
from attncli.render.heads.thumbnails import GAP, sketch_rows
from attncli.render.views.crossing import crossing_view
from attncli.render.views.header import has_single_key, has_text, scope_note, single_key_note, written_tokens
from attncli.render.views.metric_words import label_of, ordered_labels
from attncli.render.views.overview import (
    HeadLink,
    Standout,
    head_link,
    label_sentence,
    label_target,
    layer_links,
    resting_sentence,
    shown_label,
    top_key,
)
from attncli.render.views.sentences import Words
from attncli.results.heads import Stack

# Cells per letter, the best width first.
CELL_WIDTHS = (3, 2, 1)
# Where it isn't known how many lines there are, more layers than this stand in parts side by side.
_MOST_LAYERS = 20
# Cells before the first head of a narrow part.
_NARROW_MARGIN = 3
# Lines of the map of a stack that has little room.
_SHORT_MAP = 3
# From this width on, the legend has a heading of whole words.
_WIDE = 60
_LINKS, _LINK_GAP = "strongest link", 4


def overview(stack: Stack, found: tuple[Standout, ...], terminal: Terminal, *, room: int) -> Rows:
    """The heads in `found` with a sentence each, then the map of all heads, in at most `room` lines if possible.

    Below them, the strongest link of each layer and pictures of the heads, as far as there is room; all with `full`.
    """
    rows: Rows = [stack_row(stack, terminal)]
    if has_text(stack):
        rows.append(tokens_row(written_tokens(stack), terminal))
    if has_single_key(stack):
        return [*rows, note_row(single_key_note(stack), terminal, "")]
    rows += [Text(), *standout_rows(found, terminal)] if found else []
    resting = note_row(resting_sentence(stack), terminal)
    rows += [*([] if found else [Text()]), resting, Text()]
    legend = legend_row(stack, terminal)
    below: Rows = [legend, note_row(scope_note(stack), terminal)]
    pictures = sketch_rows(stack, terminal, legend, room=room - count_lines(rows, terminal))
    if pictures and not terminal.full:
        # Their captions have the letters, too.
        return [*rows, *pictures]
    left = room - count_lines([*rows, *below], terminal)
    return [*rows, *_map_and_links(stack, terminal, left), *below, *([Text(), *pictures] if pictures else [])]


class _Short(NamedTuple):
    """What a short overview has: the most heads that stand out, and whether the rest."""

    heads: int
    tokens: bool = True
    map: bool = True
    blank: bool = True


_SHORT = (
    *(_Short(heads) for heads in (5, 3, 2, 1)),
    *(_Short(heads, tokens=False) for heads in (2, 1)),
    _Short(1, tokens=False, blank=False),
    *(_Short(heads, tokens=heads > 6, map=False) for heads in (10, 7, 5, 4, 3, 2)),
    *(_Short(heads, tokens=False, map=False, blank=False) for heads in (2, 1)),
)


def short_overviews(
    stacks: Sequence[Stack], found: Sequence[tuple[Standout, ...]], terminal: Terminal, *, room: int
) -> Rows:
    """Of stacks whose overviews don't fit, as much as fits in `room` lines. found: what stands out in each."""
    variants = (_short_overviews(stacks, found, terminal, size) for size in _SHORT)
    return first_to_fit(variants, terminal, room)


def _short_overviews(
    stacks: Sequence[Stack], found: Sequence[tuple[Standout, ...]], terminal: Terminal, size: _Short
) -> Rows:
    blocks = []
    for stack, some in zip(stacks, found, strict=True):
        tokens: Rows = [tokens_row(stack.keys, terminal)] if size.tokens and has_text(stack) else []
        sentences = standout_rows(some[: size.heads], terminal) if some else []
        letters = letter_map(stack, terminal, most=_SHORT_MAP) if size.map and not has_single_key(stack) else []
        blocks.append([stack_row(stack, terminal), *tokens, *sentences, *letters])
    rows = separate_blocks(blocks) if size.blank else [each for block in blocks for each in block]
    if not size.map:
        return [*rows, note_row("--full adds the maps of all heads", terminal)]
    labels = {name: stack for stack in stacks for head in stack.metrics if (name := shown_label(head, stack))}
    entries = [
        label_row(name, (Words(label_of(name, labels[name].key_medium).target),), terminal)
        for name in ordered_labels(labels)
    ]
    return [*rows, Flow([*entries, Text("--full shows more heads", "dim")], "  ")]


def _map_and_links(stack: Stack, terminal: Terminal, room: int) -> Rows:
    """The map of all heads, with the strongest link of each layer beside it if both fit, else below it."""
    links = layer_links(stack)
    grid = letter_map(stack, terminal, most=room)
    if not links:
        return [*grid]
    lines = {layer: link_row(link, terminal) for layer, link in links.items()}
    whole = len(grid) == len(stack.layers) + 1 and set(links) <= {layer.layer for layer in stack.layers}
    width = max(each.cell_len for each in grid)
    if whole and width + _LINK_GAP + max(each.cell_len for each in lines.values()) <= terminal.width:
        column = [Text(_LINKS, "dim"), *(lines.get(layer.layer, Text()) for layer in stack.layers)]
        return [*side_by_side([grid, column], width=width, gap=_LINK_GAP)]
    return [*grid, *_listed_links(list(links.values()), terminal, room - len(grid))]


def _listed_links(links: Sequence[HeadLink], terminal: Terminal, room: int) -> Rows:
    """The strongest links of all layers in as many lines as there is room for, or of every layer with `full`."""
    ordered = sorted(links, key=lambda link: link.uniform - link.weight)
    for count in range(len(ordered), 0, -1):
        chosen = ordered[:count]
        named = links if count == len(ordered) else chosen
        flow = Flow([Text(f"{_LINKS}:", "dim"), *(link_row(link, terminal) for link in named)], "   ", indent=2)
        if terminal.full or len(list(flow.rows(terminal.width))) <= room:
            return [flow]
    return []


def link_row(link: HeadLink, terminal: Terminal) -> Text:
    """`5.11 sat → cat 0.79`"""
    return row((link.head.name, "bold"), " ", _link_text(link, terminal))


def letter_map(stack: Stack, terminal: Terminal, *, most: int | None = None) -> list[Text]:
    """The map: a row per layer, and per head the letter of its first label, or a dot.

    most: lines that it may take; a deep model's layers then stand in several parts side by side.
    """
    letter = letter_cell(stack, terminal)
    parts = _part_count(stack, terminal, _MOST_LAYERS if most is None else most - 1)
    if parts == 1:
        return head_map(stack, letter, CELL_WIDTHS, terminal)
    part = terminal._replace(width=(terminal.width - GAP * (parts - 1)) // parts)
    size = ceil(len(stack.layers) / parts)
    pieces = [stack.layers[start : start + size] for start in range(0, len(stack.layers), size)]
    maps = [head_map(replace(stack, layers=layers), letter, CELL_WIDTHS, part) for layers in pieces]
    return side_by_side(maps, width=max(each.cell_len for rows in maps for each in rows), gap=GAP)


def letter_cell(stack: Stack, terminal: Terminal) -> Cell:
    """Draws the letter of a head's first label, or a dot."""
    labels = {(head.layer, head.head): shown_label(head, stack) for head in stack.metrics}

    def letter(head: tuple[int, int], width: int) -> StyledText:
        if head not in labels:  # not selected
            return " " * width, ""
        if labels[head]:
            return label_tile(labels[head], terminal, width)
        return glyphs(terminal).dot.center(width), "dim"

    return letter


def _part_count(stack: Stack, terminal: Terminal, most: int) -> int:
    """In how many parts the layers stand side by side, so that none has more than `most`, if they are wide enough."""
    heads = max((layer.heads for layer in stack.layers), default=0)
    widest = max((terminal.width + GAP) // (heads + _NARROW_MARGIN + GAP), 1)
    return min(max(ceil(len(stack.layers) / max(most, 1)), 1), widest)


def legend_row(stack: Stack, terminal: Terminal) -> Flow:
    """What the letters mean that the map shows; a dot is a head that stands out by none of them."""
    names = ordered_labels(name for head in stack.metrics if (name := shown_label(head, stack)))
    entries = [label_row(name, label_target(name, stack), terminal) for name in names]
    if any(not head.labels for head in stack.metrics):
        entries.append(row((f" {glyphs(terminal).dot} ", "dim"), " no label"))
    words = "each head's letter: what it looks at" if terminal.width >= _WIDE else "letters:"
    return Flow([Text(words, "dim"), *entries], "  ")


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


def head_lines(stack: Stack, terminal: Terminal, room: int) -> Rows:
    """A line for each head: its letter, what it does, the token that it reads most, and its strongest link."""
    shown = stack.metrics if len(stack.metrics) < room else stack.metrics[: max(room - 2, 1)]
    keys = [top_key(stack, head) for head in shown]
    links = [head_link(stack, head) for head in shown]
    dot = glyphs(terminal).dot, "dim"
    labels = [shown_label(head, stack) for head in shown]
    does = [
        sentence_text(label_sentence(head, name, stack), terminal) if name else ""
        for head, name in zip(shown, labels, strict=True)
    ]
    weights = [head.values.get("token") for head in shown]
    columns: list[tuple[str, JustifyMethod, Sequence[Part]]] = [
        (
            "head",
            "left",
            [
                row(label_tile(name, terminal), (f" {head.name}", "bold"))
                for head, name in zip(shown, labels, strict=True)
            ],
        ),
        (
            "reads most",
            "left",
            [
                dot if key is None else f"{token_text(key, terminal)} {metric_number(weight, terminal)}"
                for key, weight in zip(keys, weights, strict=True)
            ],
        ),
        (_LINKS, "left", [dot if link is None else _link_text(link, terminal) for link in links]),
        ("", "left", [(each, "dim") for each in does]),
    ]
    more = len(stack.metrics) - len(shown)
    return [column_table(columns), *([Text(f"and {more:,} more heads (--full)", "dim")] if more else [])]


def _link_text(link: HeadLink, terminal: Terminal) -> Text:
    return row(f"{sentence_text(link.sentence, terminal)} ", (metric_number(link.weight, terminal), "bold"))
