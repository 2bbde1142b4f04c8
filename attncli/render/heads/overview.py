"""All heads of a stack at a glance: a letter a head, layers down and heads across, and the heads that stand out."""

from __future__ import annotations

from dataclasses import replace

from attncli.render.glyphs import glyphs
from attncli.render.heads.head_map import head_map
from attncli.render.heads.header import alone_lines, has_text, is_alone, stack_lines, tokens_line
from attncli.render.heads.metric_words import in_order, label_entry, label_of
from attncli.render.heads.picture_notes import scope_lines
from attncli.render.heads.sentences import sentence_lines
from attncli.render.heads.sketches import SKETCHED_LETTERS, sketch_lines
from attncli.render.heads.standouts import Standout
from attncli.render.layout import flow, side_by_side
from attncli.render.lines import DIM, Line, StyledSpan
from attncli.render.terminal import Terminal
from attncli.results.heads import Stack

# Cells a letter: three look best, one is the least.
_CELL_WIDTHS = (3, 2, 1)
# Layers that a map has below one another before their upper half goes beside the lower; a screen has 24 lines.
_HIGHEST = 20
_LETTERS_GAP, _MARGIN = 2, 6


def overview(stack: Stack, found: tuple[Standout, ...], terminal: Terminal) -> list[Line]:
    """The stack's map, what its letters mean, and a sentence for each head that was `found` to stand out."""
    lines = stack_lines(stack, terminal)
    if has_text(stack):
        lines.append(tokens_line(stack.keys, terminal, above_dots=any(not head.labels for head in stack.metrics)))
    if is_alone(stack):
        return [*lines, *alone_lines(stack, terminal)]
    sketches = sketch_lines(stack, terminal)
    legend = _letters_legend(stack, terminal, sketched=bool(sketches))
    lines += [Line(), *letter_map(stack, terminal), Line(), *legend, *scope_lines(stack, terminal)]
    if found:
        lines += [Line(), *sentence_lines(found, stack, terminal)]
    return [*lines, Line(), *sketches] if sketches else lines


def letter_map(stack: Stack, terminal: Terminal) -> list[Line]:
    """A row a layer and a letter a head."""
    labels = {(head.layer, head.head): head.labels for head in stack.metrics}

    def letter(head: tuple[int, int], width: int) -> StyledSpan:
        own = labels.get(head)
        if own is None:
            # It wasn't asked for.
            return StyledSpan(" " * width)
        return label_of(own[0]).tile(width, terminal) if own else StyledSpan(glyphs(terminal).dot.center(width), DIM)

    halves = _halves(stack, terminal)
    if halves is None:
        return head_map(stack, letter, _CELL_WIDTHS, terminal)
    half = terminal._replace(width=(terminal.width - _LETTERS_GAP) // 2)
    maps = [head_map(part, letter, _CELL_WIDTHS, half) for part in halves]
    return side_by_side(maps, width=max(line.width for lines in maps for line in lines), gap=_LETTERS_GAP)


def _halves(stack: Stack, terminal: Terminal) -> tuple[Stack, Stack] | None:
    """The lower layers and the upper ones of a stack that is higher than most screens; None where they have no room
    beside one another."""
    heads = max((layer.heads for layer in stack.layers), default=0)
    fits = 2 * (heads + _MARGIN) + _LETTERS_GAP <= terminal.width
    if len(stack.layers) <= _HIGHEST or not fits:
        return None
    middle = (len(stack.layers) + 1) // 2
    return replace(stack, layers=stack.layers[:middle]), replace(stack, layers=stack.layers[middle:])


def _letters_legend(stack: Stack, terminal: Terminal, *, sketched: bool) -> list[Line]:
    """Only the letters that the map shows, and the pictures beneath it."""
    letters = SKETCHED_LETTERS if sketched else 1
    shown = in_order(name for head in stack.metrics for name in head.labels[:letters])
    entries = [label_entry(label_of(name, stack.key_medium), terminal) for name in shown]
    if any(not head.labels for head in stack.metrics):
        entries.append(
            Line.of(StyledSpan(f" {glyphs(terminal).dot} ", DIM), " none of these" if entries else " no label")
        )
    if _halves(stack, terminal) is not None:
        # Side by side, maps have no room to say so.
        entries.append(Line.of(StyledSpan("layers down, heads across", DIM)))
    return flow(entries, separator="  ", width=terminal.width)
