"""How heads differ between two models or texts (`--against`): a map and the most changed heads, or their patterns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from attncli.choices import DEFAULT_TOP
from attncli.metrics import METRICS
from attncli.render.common.cells import bar, glyphs, shorten
from attncli.render.common.console import Beside, Flow, Part, Rows, count_lines, first_to_fit, row, separate_blocks
from attncli.render.common.escape import ascii_safe, name_text, unit_text
from attncli.render.common.numbers import decimals_for, signed_number, weight_number
from attncli.render.common.terminal import Terminal
from attncli.render.heads.head_map import value_map
from attncli.render.heads.header import note_row, pooling_row, sentence_row, stack_row, tokens_row
from attncli.render.heads.heatmap import ROWS_LOOK_AT_COLUMNS, HeatScale, SignedHeatScale
from attncli.render.heads.one_head import number_table
from attncli.render.heads.pattern_grid import PatternGrid, fitted_grid, grid_rows, lower_grids
from attncli.render.heads.thumbnails import arrange_in_rows, pool_to_thumbnails, thumbnail
from attncli.render.views.difference import (
    both_tokens,
    change_map,
    changed_decimals,
    key_reasons,
    measured_change,
    more_note,
)
from attncli.render.views.header import is_cross, scope_note, unit_note
from attncli.render.views.metric_words import evidence_words, meaning
from attncli.render.views.patterns import full_scale
from attncli.render.views.sentences import quiet, strong
from attncli.results.heads import HeadChange, HeadsDifference, HeadsResult, Stack, StackDifference
from attncli.results.patterns import Pattern

_BAR_CELLS = 20
_ROOM_FOR_BARS, _ROOM_FOR_MEANINGS = 70, 90
# Heads that are ranked however little room there is.
_FEWEST = 3
# Cells of the text of a key that explains a change.
_LONGEST_KEY = 12


def difference_rows(result: HeadsResult, difference: HeadsDifference, terminal: Terminal) -> Rows:
    """All stacks under one another: a single pattern in full, several small ones, or maps."""
    count = sum(len(changed.patterns) for changed in difference.stacks)
    blocks: list[Rows] = []
    for here, changed in zip(result.stacks, difference.stacks, strict=True):
        header = _header(here, changed, difference, terminal)
        left = terminal.lines - (2 if difference.kind == "models" else 1)
        room = left // len(result.stacks) - count_lines(header, terminal) - (len(result.stacks) > 1)
        if not count:
            view = _change_map(here, changed, difference, terminal, top=result.top, room=room)
        elif not changed.patterns:
            continue
        elif count == 1:
            view = _one_head(here, changed, difference, terminal, room)
        else:
            view = _several_heads(here, changed, difference, terminal)
        blocks.append([*header, *view])
    against = row(("against ", "dim"), (name_text(difference.model, terminal), "bold"))
    return [*([against] if difference.kind == "models" else []), *separate_blocks(blocks)]


def _header(here: Stack, changed: StackDifference, difference: HeadsDifference, terminal: Terminal) -> Rows:
    """The stack's line, and the text, or both texts."""
    rows: Rows = [stack_row(here, terminal)]
    if is_cross(here) or not here.keys:
        return rows
    rows.append(tokens_row(here.keys, terminal))
    if difference.kind == "texts":
        rows.append(row(("against ", "dim"), tokens_row(changed.keys, terminal)))
    return rows


# --- a map of changes


def _change_map(
    here: Stack, changed: StackDifference, difference: HeadsDifference, terminal: Terminal, *, top: int, room: int
) -> Rows:
    """A map of how much each head changed, and the heads that changed most."""
    metric = difference.metric
    view = change_map(difference, changed, metric)
    known = [abs(value) for value in view.values.values() if value is not None]
    title = sentence_row((strong(f"{view.title}:"), quiet(f" {view.meaning}")), terminal)
    if not any(known):
        return [Text(), title, Text("no head changed" if known else "nothing in common can be compared")]
    heat = (SignedHeatScale if metric else HeatScale)(max(known), terminal)
    picture = value_map(here, view.values, heat, small=True)
    if metric and not here.has_evidence(metric):
        return [Text(), title, note_row(evidence_words(metric, here), terminal), *picture]
    tops = [*range(top, min(top, _FEWEST) - 1, -1)] if top == DEFAULT_TOP else [top]
    tables = (_change_rows(here, changed, view.ranked[:count], metric, heat) for count in tops)
    return first_to_fit(([Text(), title, Beside(picture, table)] for table in tables), terminal, room)


def _change_rows(
    here: Stack, changed: StackDifference, heads: Sequence[HeadChange], metric: str | None, heat: HeatScale
) -> list[RenderableType]:
    """A row per head: its change, a bar, and what explains it."""
    decimals, terminal = decimals_for(heat.full), heat.terminal
    number = weight_number if metric is None else signed_number
    cells = _BAR_CELLS if terminal.width >= _ROOM_FOR_BARS else 0
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    table.add_column(justify="right")
    for head in heads:
        value = measured_change(head, metric) or 0.0
        filled: list[Part] = [bar(heat.share(abs(value)), cells, terminal)] if cells else []
        reason = _explanation(here, changed, head, metric, terminal)
        parts: list[Part] = [head.name, (number(value, decimals), "bold"), *filled, (reason, "dim")]
        table.add_row(*(row(part) for part in parts))
    return [table]


def _explanation(
    here: Stack, changed: StackDifference, head: HeadChange, metric: str | None, terminal: Terminal
) -> str:
    """`previous 0.12 → 0.71` or, without a metric, `more on dog +0.21, less on it -0.18`.

    Where keys can't be compared, the metric that changed most explains the change.
    """
    arrow = ascii_safe("→", terminal)
    if metric is None and (head.gained or head.lost):
        parts = []
        for reason in key_reasons(here, changed, head):
            texts = (unit_text(key, here.unit, terminal) for key in (reason.here, reason.there))
            short = dict.fromkeys(shorten(each, _LONGEST_KEY, glyphs(terminal).cut) for each in texts)
            parts.append(f"{reason.word} on {arrow.join(short)} {reason.change}")
        return ", ".join(parts)
    shown = metric or head.largest
    if not shown:
        return ""
    before = next(one for one in here.metrics if one.name == head.name).values.get(shown)
    after = head.values.get(shown)
    decimals = changed_decimals(before, after)
    return f"{shown} {_fixed(before, decimals, terminal)} {arrow} {_fixed(after, decimals, terminal)}"


def _fixed(value: float | None, decimals: int, terminal: Terminal) -> str:
    return glyphs(terminal).dot if value is None else f"{value:z.{decimals}f}"


# --- patterns


def _one_head(
    here: Stack, changed: StackDifference, difference: HeadsDifference, terminal: Terminal, room: int
) -> Rows:
    """One head: the heatmap of differences, and its metrics on both sides."""
    (pattern,) = changed.patterns
    both = _both_texts(here, changed, terminal) if difference.kind == "texts" else here
    least = SignedHeatScale(1.0, terminal).min_width
    whole = fitted_grid(both, pattern, terminal, least=least)
    head = _change_of(changed, pattern)

    def rows(grid: PatternGrid, most: int) -> Rows:
        heat = SignedHeatScale(full_scale((grid.pattern,)), terminal)
        blank = [] if grid.numbered else [Text()]
        return [
            Flow([Text(f"head {head.name}", "bold"), _change_words(head, terminal)], "  "),
            note_row(unit_note(both), terminal),
            pooling_row(both, grid.pattern, terminal),
            *blank,
            *grid_rows(both, grid, heat),
            *blank,
            _legend(heat, grid.cell, difference),
            *blank,
            note_row(scope_note(here), terminal),
            *_head_changes(here, head, terminal, most),
        ]

    sizes = [(whole, most) for most in (len(METRICS), 5, 3)]
    sizes += [(grid, 2) for grid in lower_grids(both, whole, terminal, least=least)]
    return first_to_fit((rows(*size) for size in sizes), terminal, room)


def _both_texts(here: Stack, changed: StackDifference, terminal: Terminal) -> Stack:
    """The stack with tokens that show both texts where they differ: `cat→dog`."""
    arrow = "→" if terminal.unicode else ">"
    queries = both_tokens(here.queries, changed.queries, arrow, strip=False)
    return replace(here, queries=queries, keys=both_tokens(here.keys, changed.keys, arrow, strip=False))


def _several_heads(here: Stack, changed: StackDifference, difference: HeadsDifference, terminal: Terminal) -> Rows:
    """Several heads as small pictures."""
    least = SignedHeatScale(1.0, terminal).min_width
    small = pool_to_thumbnails(replace(here, patterns=changed.patterns), terminal, least=least)
    heat = SignedHeatScale(full_scale(small.patterns), terminal)
    blocks = []
    for pattern in small.patterns:
        head = _change_of(changed, pattern)
        blocks.append([*thumbnail(small, pattern, heat), Text(head.name, "bold"), _change_words(head, terminal)])
    notes = pooling_row(here, small.patterns[0], terminal), _legend(heat, 1, difference)
    return [Text(), *arrange_in_rows(blocks, terminal), *notes]


def _change_of(changed: StackDifference, pattern: Pattern) -> HeadChange:
    return next(one for one in changed.heads if (one.layer, one.head) == (pattern.layer, pattern.head))


def _change_words(head: HeadChange, terminal: Terminal) -> Text:
    """`change 0.531`."""
    change = glyphs(terminal).dot if head.change is None else weight_number(head.change, decimals_for(head.change))
    return row("change ", (change, "bold"))


def _legend(heat: SignedHeatScale, cell: int, difference: HeadsDifference) -> Flow:
    """Below a picture: what colours, signs and digits mean, and that rows look at columns."""
    digits = heat.has_digits(cell)
    notes = [more_note(difference), ROWS_LOOK_AT_COLUMNS]
    notes += [heat.digits_note()] if digits and not heat.has_numbers(cell) else []
    scale = [] if digits and not heat.colored else [heat.legend()]
    return Flow([*scale, *(Text(note, "dim") for note in notes)], "   ")


def _head_changes(here: Stack, head: HeadChange, terminal: Terminal, most: int) -> Rows:
    """A table of the metrics that changed most, at most so many, on both sides, and their changes."""
    before = next(one for one in here.metrics if one.name == head.name)
    rows: list[list[Part]] = []
    names = [name for name in METRICS if name in before.values]
    kept = sorted(names, key=lambda name: -abs(head.changes.get(name) or 0.0))[:most]
    for name in (name for name in names if name in kept):
        change = head.changes.get(name)
        changed = glyphs(terminal).dot if change is None else signed_number(change)
        sides = (_fixed(value, 3, terminal) for value in (before.values[name], head.values.get(name)))
        words = meaning(name, here.key_medium) if terminal.width >= _ROOM_FOR_MEANINGS else ""
        rows.append([name, *sides, (changed, "bold"), (words, "dim")])
    more = f"--full shows {len(names) - len(kept)} more metrics" if len(kept) < len(names) else ""
    return [number_table(("here", "against", "change"), rows), note_row(more, terminal)]
