"""One head in full: its labelled heatmap with its scale, and a table of its metrics; also rollouts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from attncli.render.common.console import Flow, Part, Rows, count_lines, first_to_fit, row
from attncli.render.common.escape import ascii_safe
from attncli.render.common.numbers import metric_number, plus_minus, weight_number
from attncli.render.common.terminal import Terminal
from attncli.render.heads.header import label_row, note_row, pooling_row, sentence_row, stack_row
from attncli.render.heads.heatmap import ATTENTION_LEGEND, ROWS_LOOK_AT_COLUMNS, HeatScale
from attncli.render.heads.pattern_grid import PatternGrid, fitted_grid, grid_rows, lower_grids
from attncli.render.views.crossing import QUADRANTS_NOTE, quadrant_rows
from attncli.render.views.header import CORRECTED, CORRECTED_NOTE, NORM_NOTE, ROLLOUT_NOTE, scope_note, unit_note
from attncli.render.views.metric_map import MetricRow, metric_rows, telling_rows
from attncli.render.views.overview import label_sentence, shown_labels, shows_label
from attncli.render.views.patterns import full_scale, head_of, is_one_weight
from attncli.render.views.sentences import Position, Words, strong
from attncli.results.heads import HeadMetrics, Stack
from attncli.results.patterns import Pattern

# So many metrics of a head are shown however little room there is.
_FEWEST_METRICS = 1
# Widths from which on tables have the meanings of metrics, and those of means the counts of texts and the meanings.
_ROOM_FOR_MEANINGS = 60
_ROOM_FOR_COUNTS, _ROOM_FOR_MEANINGS_OF_MEANS = 50, 96


def one_head(stack: Stack, pattern: Pattern, terminal: Terminal, *, weighting: str) -> Rows:
    """The head's name and labels, its heatmap and scale, and its metrics with those of uniform attention."""
    head = head_of(stack, pattern)
    assert head is not None
    quadrants = _quadrant_rows(head, stack, terminal)
    above: Rows = [
        stack_row(stack, terminal),
        title_row(head, stack, terminal),
        note_row(NORM_NOTE if weighting == "norm" else "", terminal),
    ]
    below: Rows = [note_row(scope_note(stack, weighting=weighting), terminal)]
    if quadrants:
        below += [note_row(QUADRANTS_NOTE, terminal), *quadrants, Text()]

    def whole(picture: Rows) -> Rows:
        rows = [*above, *picture, *below]
        # The line of the model stands above, and the table has a heading.
        left = max(terminal.lines - count_lines(rows, terminal) - 2, _FEWEST_METRICS)
        return [*rows, *metrics_in(left, head, stack, terminal)]

    pictures = _pictures(stack, pattern, terminal, relative=weighting == "norm", legend=_legend(weighting))
    return first_to_fit(map(whole, pictures), terminal, terminal.lines - 1)


def metrics_in(lines: int, head: HeadMetrics, stack: Stack, terminal: Terminal) -> Rows:
    """The metrics that tell something of this head, in so many lines; all of them with `full`."""
    if terminal.full:
        return [metric_table(metric_rows(head, stack), terminal)]
    telling = telling_rows(head, stack)
    if not telling:
        return [note_row("no metric of this head is far from uniform attention (--full shows all)", terminal)]
    return [metric_table(telling[:lines], terminal)]


def rollout(stack: Stack, pattern: Pattern, terminal: Terminal, *, corrected: bool = False) -> Rows:
    """The attention rollout up to a layer: how much of each token reaches each position."""
    title = f"rollout up to layer {pattern.layer}{CORRECTED if corrected else ''}"
    rows: Rows = [stack_row(stack, terminal), Text(title, "bold")]
    rows += [note_row(CORRECTED_NOTE, terminal)] if corrected else []
    if not is_one_weight(pattern):
        above: Rows = [*rows, note_row(ROLLOUT_NOTE, terminal)]
        variants = ([*above, *picture] for picture in _pictures(stack, pattern, terminal))
        return first_to_fit(variants, terminal, terminal.lines - 1)
    # Where there is one weight: `0.026 of cat (token 2) reaches it (token 8) (heads averaged)`.
    share, key, query = float(pattern.weights[0, 0]), Position(stack.keys[0]), Position(stack.queries[0])
    reaches = (strong(weight_number(share)), Words(" of "), strong(key), Words(" reaches "), strong(query))
    return [*rows, sentence_row((*reaches, Words(" (heads averaged)")), terminal)]


def _legend(weighting: str) -> str:
    return ATTENTION_LEGEND if weighting == "attention" else ROWS_LOOK_AT_COLUMNS


def _pictures(
    stack: Stack,
    pattern: Pattern,
    terminal: Terminal,
    *,
    relative: bool = False,
    legend: str = ROWS_LOOK_AT_COLUMNS,
) -> Iterator[Rows]:
    """The labelled heatmap, with the notes above it and the scale below it, in fewer and fewer lines."""
    grid = fitted_grid(stack, pattern, terminal)
    for each in (grid, *lower_grids(stack, grid, terminal)):
        yield _picture(stack, each, HeatScale(full_scale((each.pattern,)), terminal, relative), legend)


def _picture(stack: Stack, grid: PatternGrid, heat: HeatScale, legend: str) -> Rows:
    terminal, digits = heat.terminal, heat.has_digits(grid.cell)
    notes = note_row(unit_note(stack), terminal), pooling_row(stack, grid.pattern, terminal)
    scale = heat.legend_row(legend, digits=digits)
    # A picture that has to be low needs its lines for rows.
    blank = [] if grid.numbered else [Text()]
    more = "--full shows more rows" if grid.numbered and len(grid.rows.spans) < len(stack.queries) else ""
    return [*notes, *blank, *grid_rows(stack, grid, heat), *blank, scale, note_row(more, terminal)]


def title_row(head: HeadMetrics, stack: Stack, terminal: Terminal) -> Flow:
    """The head's name, and the letter and sentence of each of its labels."""
    labels = []
    for name in shown_labels(head, stack):
        unseen = () if shows_label(name, stack) else (Words(" (not shown)"),)
        labels.append(label_row(name, (*label_sentence(head, name, stack), *unseen), terminal))
    return Flow([Text(f"head {head.name}", "bold"), *labels], "  ")


# --- tables


def number_table(heading: Sequence[str], rows: Sequence[Sequence[Part]]) -> Table:
    """A heading, and rows of a name, numbers of at least seven characters, and perhaps a note."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column()
    for _ in heading:
        table.add_column(justify="right", min_width=7)
    titles: list[Part] = ["", *((title, "dim") for title in heading)]
    for each in (titles, *rows):
        table.add_row(*(row(part) for part in each))
    return table


def metric_table(metrics: Sequence[MetricRow], terminal: Terminal) -> Table:
    """Metrics of a head, with those of uniform attention and what they measure."""
    wide = terminal.width >= _ROOM_FOR_MEANINGS
    rows: list[list[Part]] = []
    for each in metrics:
        value, uniform = metric_number(each.value, terminal), metric_number(each.uniform, terminal)
        rows.append([each.name, (value, "bold"), (uniform, "dim"), (each.meaning if wide else "", "dim")])
    return number_table(("here", "uniform"), rows)


def average_rows(stack: Stack, head: HeadMetrics, terminal: Terminal, *, noun: str) -> Rows:
    """One head: every metric with its interval, uniform attention's value, and how many texts (`noun`) show it."""
    counted, wide = terminal.width >= _ROOM_FOR_COUNTS, terminal.width >= _ROOM_FOR_MEANINGS_OF_MEANS
    rows = []
    for each in metric_rows(head, stack):
        around = plus_minus(each.interval, terminal).strip()
        cells = [metric_number(each.value, terminal), around, metric_number(each.uniform, terminal)]
        rows.append([each.name, *cells, *([f"{each.texts:,}"] if counted else []), each.meaning if wide else ""])
    heading = ("mean", ascii_safe("± 95 %", terminal), "uniform", *([noun] if counted else []))
    table = number_table(heading, rows)
    table.columns[2].justify = "left"
    return [stack_row(stack, terminal), title_row(head, stack, terminal), Text(), table]


def _quadrant_rows(head: HeadMetrics, stack: Stack, terminal: Terminal) -> Rows:
    """The shares of one head between the texts as a table, each row with that of uniform attention below it."""
    rows: list[list[Part]] = []
    for name, shares, even in quadrant_rows(head, stack):
        rows.append([name, *((metric_number(value, terminal), "bold") for value in shares)])
        rows.append([(" uniform", "dim"), *((metric_number(value, terminal), "dim") for value in even)])
    return [number_table(("to A", "to B", "special"), rows)] if rows else []
