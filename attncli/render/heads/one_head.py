"""One head in full: its labelled heatmap with its scale, and a table of its metrics; also rollouts."""

from __future__ import annotations

from collections.abc import Sequence

from attncli.render.common.lines import BOLD, DIM, Line, StyledSpan, flow, padded
from attncli.render.common.numbers import metric_number, plus_minus, weight_number
from attncli.render.common.terminal import Terminal
from attncli.render.heads.header import (
    label_line,
    note_lines,
    plain_words,
    pooling_lines,
    sentence_lines,
    stack_lines,
)
from attncli.render.heads.heatmap import ROWS_LOOK_AT_COLUMNS, HeatScale
from attncli.render.heads.pattern_grid import fitted_grid, grid_lines
from attncli.render.views.crossing import QUADRANTS_NOTE, quadrant_rows
from attncli.render.views.header import NORM_NOTE, ROLLOUT_NOTE, scope_note, unit_note
from attncli.render.views.metric_map import metric_rows
from attncli.render.views.overview import label_sentence, shows_label
from attncli.render.views.patterns import full_scale, head_of, is_one_weight
from attncli.render.views.sentences import Position, Words, strong
from attncli.results.heads import HeadMetrics, Stack
from attncli.results.patterns import Pattern

# Widths from which on tables have the meanings of metrics, and those of means the counts of texts and the meanings.
_ROOM_FOR_MEANINGS = 60
_ROOM_FOR_COUNTS, _ROOM_FOR_MEANINGS_OF_MEANS = 50, 96


def one_head_lines(stack: Stack, pattern: Pattern, terminal: Terminal, *, weighting: str) -> list[Line]:
    """The head's name and labels, its heatmap and scale, and its metrics with those of uniform attention."""
    head = head_of(stack, pattern)
    assert head is not None
    quadrants = quadrant_lines(head, stack, terminal)
    return [
        *stack_lines(stack, terminal),
        *title_lines(head, stack, terminal),
        *(note_lines(NORM_NOTE, terminal) if weighting == "norm" else []),
        *_pattern_lines(stack, pattern, terminal, relative=weighting == "norm"),
        Line(),
        *note_lines(scope_note(stack, weighting=weighting), terminal),
        *metric_table(head, stack, terminal),
        *([Line(), *quadrants] if quadrants else []),
    ]


def rollout_lines(stack: Stack, pattern: Pattern, terminal: Terminal) -> list[Line]:
    """The attention rollout up to a layer: how much of each token reaches each position."""
    lines = [*stack_lines(stack, terminal), Line.of(StyledSpan(f"rollout up to layer {pattern.layer}", BOLD))]
    if not is_one_weight(pattern):
        return [*lines, *note_lines(ROLLOUT_NOTE, terminal), *_pattern_lines(stack, pattern, terminal)]
    # Where there is one weight: `0.026 of cat (token 2) reaches it (token 8) (heads averaged)`.
    share, key, query = float(pattern.weights[0, 0]), Position(stack.keys[0]), Position(stack.queries[0])
    reaches = (strong(weight_number(share)), Words(" of "), strong(key), Words(" reaches "), strong(query))
    return [*lines, *sentence_lines((*reaches, Words(" (heads averaged)")), terminal)]


def _pattern_lines(stack: Stack, pattern: Pattern, terminal: Terminal, *, relative: bool = False) -> list[Line]:
    """The labelled heatmap, the notes above it and the scale below it."""
    grid = fitted_grid(stack, pattern, terminal)
    heat = HeatScale(full_scale((grid.pattern,)), terminal, relative)
    digits = heat.has_digits(grid.cell)
    heat = heat.without_signs() if digits else heat
    notes = [*note_lines(unit_note(stack), terminal), *pooling_lines(stack, grid.pattern, terminal)]
    scale = heat.legend_lines(ROWS_LOOK_AT_COLUMNS, digits=digits)
    return [*notes, Line(), *grid_lines(stack, grid, heat), Line(), *scale]


def title_lines(head: HeadMetrics, stack: Stack, terminal: Terminal) -> list[Line]:
    """The head's name, and the letter and sentence of each of its labels."""
    labels = []
    for name in head.labels:
        unseen = () if shows_label(name, stack) else (Words(" (not shown)"),)
        labels.append(label_line(name, (*label_sentence(head, name, stack), *unseen), terminal))
    return flow([Line.of(StyledSpan(f"head {head.name}", BOLD)), *labels], separator="  ", width=terminal.width)


# --- tables


#: A row of a table: a name, cells, and a note.
Row = tuple[str, Sequence[StyledSpan], StyledSpan]


def number_table(heading: Sequence[str], rows: Sequence[Row]) -> list[Line]:
    """A heading, and rows with cells of at least seven characters."""
    column = max((len(name) for name, *_ in rows), default=0)
    lines = [Line.of(StyledSpan(f"{'':{column}}" + "".join(f"  {text:>7}" for text in heading), DIM))]
    for name, cells, note in rows:
        spans = (StyledSpan(f"  {text:>7}", style) for text, style in cells)
        notes = [note._replace(text=f"  {note.text}")] if note.text else []
        lines.append(Line.of(f"{name:{column}}", *spans, *notes))
    return lines


def metric_table(head: HeadMetrics, stack: Stack, terminal: Terminal) -> list[Line]:
    """The head's metrics, with those of uniform attention and what they measure."""
    wide = terminal.width >= _ROOM_FOR_MEANINGS
    rows: list[Row] = []
    for row in metric_rows(head, stack):
        value, uniform = metric_number(row.value, terminal), metric_number(row.uniform, terminal)
        rows.append(
            (
                row.name,
                [StyledSpan(value, BOLD), StyledSpan(uniform, DIM)],
                StyledSpan(row.meaning if wide else "", DIM),
            )
        )
    return number_table(("here", "uniform"), rows)


def average_lines(stack: Stack, head: HeadMetrics, terminal: Terminal, *, noun: str) -> list[Line]:
    """One head: every metric with its interval, uniform attention's value, and how many texts (`noun`) show it."""
    counted, wide = terminal.width >= _ROOM_FOR_COUNTS, terminal.width >= _ROOM_FOR_MEANINGS_OF_MEANS
    rows: list[Row] = []
    for row in metric_rows(head, stack):
        around = plus_minus(row.interval, terminal).strip()
        cells = [metric_number(row.value, terminal), f"{around:<7}", metric_number(row.uniform, terminal)]
        cells += [f"{row.texts:,}"] if counted else []
        rows.append((row.name, list(map(StyledSpan, cells)), StyledSpan(row.meaning if wide else "")))
    heading = ("mean", f"{plain_words('± 95 %', terminal):<7}", "uniform", *([noun] if counted else []))
    table = number_table(heading, rows)
    return [*stack_lines(stack, terminal), *title_lines(head, stack, terminal), Line(), *table]


def quadrant_lines(head: HeadMetrics, stack: Stack, terminal: Terminal) -> list[Line]:
    """The shares of one head between the texts as a table, each row with that of uniform attention below it."""
    lines = []
    for name, shares, even in quadrant_rows(head, stack):
        for label, values, style in ((StyledSpan(name), shares, BOLD), (StyledSpan(" uniform", DIM), even, DIM)):
            numbers = "".join(f"{metric_number(value, terminal):>9}" for value in values)
            lines.append(Line.of(*padded(Line.of(label), 8).spans, StyledSpan(numbers, style)))
    if not lines:
        return []
    heading = "".join(f"{name:>9}" for name in ("to A", "to B", "special"))
    return [*note_lines(QUADRANTS_NOTE, terminal), Line.of(StyledSpan(f"{'':8}{heading}", DIM)), *lines]
