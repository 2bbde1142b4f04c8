"""All heads of a stack at a glance: a map with a letter per head, the heads that stand out, and sketches of heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from attncli.render.common.cells import glyphs
from attncli.render.common.lines import BOLD, DIM, PLAIN, Line, StyledSpan, flow, joined, padded, side_by_side
from attncli.render.common.numbers import metric_number, plus_minus, uniform_number
from attncli.render.common.terminal import Terminal
from attncli.render.heads.head_map import head_map
from attncli.render.heads.header import (
    label_line,
    label_tile,
    note_lines,
    plain_words,
    sentence_parts,
    sentence_text,
    stack_lines,
    tokens_line,
)
from attncli.render.heads.thumbnails import GAP, SKETCH_LETTERS, sketch_lines
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


def overview(stack: Stack, found: tuple[Standout, ...], terminal: Terminal) -> list[Line]:
    """The stack's map, its legend, a sentence for each head in `found`, and sketches if there is room."""
    lines = stack_lines(stack, terminal)
    if has_text(stack):
        lines.append(tokens_line(stack.keys, terminal, above_dots=any(not head.labels for head in stack.metrics)))
    if has_single_key(stack):
        return [*lines, *note_lines(single_key_note(stack), terminal, PLAIN)]
    sketches = sketch_lines(stack, terminal)
    lines += [Line(), *letter_map(stack, terminal), Line(), *_legend(stack, terminal, sketched=bool(sketches))]
    lines += note_lines(scope_note(stack), terminal)
    if found:
        lines += [Line(), *standout_lines(found, terminal)]
    return [*lines, Line(), *sketches] if sketches else lines


def letter_map(stack: Stack, terminal: Terminal) -> list[Line]:
    """The map: a row per layer, and per head the letter of its first label, or a dot."""
    labels = {(head.layer, head.head): head.labels for head in stack.metrics}

    def letter(head: tuple[int, int], width: int) -> StyledSpan:
        if head not in labels:  # not selected
            return StyledSpan(" " * width)
        if labels[head]:
            return label_tile(labels[head][0], terminal, width)
        return StyledSpan(glyphs(terminal).dot.center(width), DIM)

    if not _is_split(stack, terminal):
        return head_map(stack, letter, _CELL_WIDTHS, terminal)
    half, middle = terminal._replace(width=(terminal.width - GAP) // 2), (len(stack.layers) + 1) // 2
    parts = (replace(stack, layers=layers) for layers in (stack.layers[:middle], stack.layers[middle:]))
    maps = [head_map(part, letter, _CELL_WIDTHS, half) for part in parts]
    return side_by_side(maps, width=max(line.width for lines in maps for line in lines), gap=GAP)


def _is_split(stack: Stack, terminal: Terminal) -> bool:
    """Whether the map is higher than most screens, and its lower layers fit beside the upper ones."""
    heads = max((layer.heads for layer in stack.layers), default=0)
    return len(stack.layers) > _MOST_LAYERS and 2 * (heads + _LAYER_MARGIN) + GAP <= terminal.width


def _legend(stack: Stack, terminal: Terminal, *, sketched: bool) -> list[Line]:
    """What the letters mean that the map, and the sketches below it, show."""
    letters = SKETCH_LETTERS if sketched else 1
    names = ordered_labels(name for head in stack.metrics for name in head.labels[:letters])
    entries = [label_line(name, label_target(name, stack), terminal) for name in names]
    if any(not head.labels for head in stack.metrics):
        dot = StyledSpan(f" {glyphs(terminal).dot} ", DIM)
        entries.append(Line.of(dot, " none of these" if entries else " no label"))
    if _is_split(stack, terminal):
        # The ruler of a map has no room for these words where two maps stand side by side.
        entries.append(Line.of(StyledSpan("layers down, heads across", DIM)))
    return flow(entries, separator="  ", width=terminal.width)


def standout_lines(found: Sequence[Standout], terminal: Terminal) -> list[Line]:
    """A line per head with sentence and numbers in columns; on narrow terminals the numbers are below the sentence."""
    width = max(len(one.head.name) for one in found)
    names = [
        Line.of(label_tile(one.label, terminal), " ", StyledSpan(one.head.name.rjust(width), BOLD)) for one in found
    ]
    numbers = [_value_and_uniform(one, terminal) for one in found]
    sentences = [
        joined([name, Line.of(sentence_text(one.sentence, terminal))], "  ")
        for name, one in zip(names, found, strict=True)
    ]
    column = max(line.width for line in sentences) + 2
    pairs = [joined(pair, ", ") for pair in numbers]
    if column + max(line.width for line in pairs) <= terminal.width:
        return [joined([padded(line, column), pair]) for line, pair in zip(sentences, pairs, strict=True)]
    lines = []
    for name, one, values in zip(names, found, numbers, strict=True):
        indent = name.width + 1
        words = [name, *sentence_parts(one.sentence, terminal)]
        lines += flow(words, separator=" ", width=terminal.width, indent=indent)
        below = flow(values, separator=", ", width=terminal.width - indent)
        lines += [joined([Line.of(" " * indent), line]) for line in below]
    return lines


def _value_and_uniform(one: Standout, terminal: Terminal) -> list[Line]:
    """`next 0.83 ± 0.02` and `uniform 0.07`: a value, with its interval if it is a mean, and uniform attention's."""
    value, around = StyledSpan(metric_number(one.value, terminal), BOLD), plus_minus(one.interval, terminal)
    uniform = StyledSpan(f"uniform {uniform_number(one.uniform, terminal)}", DIM)
    return [Line.of(f"{one.metric} ", value, around), Line.of(uniform)]


def crossing_lines(stack: Stack, terminal: Terminal) -> list[Line]:
    """The heads with the most attention between a text and its pair, with the values of uniform attention."""
    view = crossing_view(stack)
    if view is None:
        return []
    lines = note_lines(view.sentence, terminal, PLAIN)
    width = max((len(head.name) for head in view.heads), default=0)
    for head in view.heads:
        parts = [Line.of(StyledSpan(f"    {head.name:>{width}}", BOLD))]
        for direction, share, even in head.shares:
            name, uniform = plain_words(direction, terminal), metric_number(even, terminal)
            value = StyledSpan(metric_number(share, terminal), BOLD)
            parts.append(Line.of(f"{name} ", value, StyledSpan(f", uniform {uniform}", DIM)))
        lines += flow(parts, separator="  ", width=terminal.width, indent=width + 6)
    return lines
