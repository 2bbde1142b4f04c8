"""The view of `attn params` in a terminal: one model's components and costs, or several models side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from attncli.render.common.cells import glyphs
from attncli.render.common.document import lines_to_text
from attncli.render.common.escape import ascii_safe
from attncli.render.common.lines import BOLD, DIM, PLAIN, Line, StyledSpan, flow, separate_blocks
from attncli.render.common.table import Column, Row, Table, fact_lines, has_room, table_lines
from attncli.render.common.terminal import Terminal
from attncli.render.views.cost_facts import Facts
from attncli.render.views.params import (
    ModelFacts,
    comparison_notes,
    comparison_tables,
    component_table,
    header,
    layer_tables,
    model_facts,
    part_table,
    tree_table,
)
from attncli.results.params import ListedPreset, ModelParameters, ParamsResult

#: The answer that gives way where there is no room for all.
_LEFT_OUT = "arithmetic"
#: What `--full` shows besides that is named.
_MAX_MORE = 4


def params_text(result: ParamsResult, terminal: Terminal) -> str:
    """The result for a terminal of this width, colour depth and character set; no line is wider than the terminal."""
    if result.presets:
        return lines_to_text(_preset_lines(result.presets, terminal), terminal)
    if len(result.models) > 1 and result.by in ("component", "cost"):
        blocks = _comparison_blocks(result, terminal)
    else:
        blocks = [block for model in result.models for block in _model_blocks(model, result.by, terminal)]
    return lines_to_text(separate_blocks(block for block in blocks if block), terminal)


def _model_blocks(model: ModelParameters, by: str, terminal: Terminal) -> list[list[Line]]:
    """The answer, the listing, and with `--full` what else is known; else as many notes as the screen has room for.

    by: of costs there is no listing, as the answer has them.
    """
    facts = model_facts(model, by)
    top = [*_header_lines(model, terminal), *_labelled_lines(facts.answer, terminal)]
    checkpoint = _labelled_lines(facts.checkpoint, terminal)
    notes = [_labelled_lines([note], terminal) for note in facts.notes]
    if terminal.full or by != "component":
        more = [_labelled_lines(facts.details, terminal), [*checkpoint, *_labelled_lines(facts.differences, terminal)]]
        return [
            top,
            [] if by == "cost" else _listing(model, by, terminal),
            *more,
            [line for note in notes for line in note],
        ]
    table = whole = table_lines(component_table(model.counted), terminal)

    def room() -> int:
        # Two blank lines, and the line that names --full.
        return terminal.lines - len(top) - len(checkpoint) - len(table) - 3

    if room() < 0:
        table = table_lines(component_table(model.counted, groups_only=True), terminal)
    kept = [each for each in facts.answer if each.label != _LEFT_OUT]
    is_left_out = room() < 0 and len(kept) < len(facts.answer)
    if is_left_out:
        top = [*_header_lines(model, terminal), *_labelled_lines(kept, terminal)]
    shown: list[Line] = []
    while notes and len(shown) + len(notes[0]) <= room():
        shown += notes.pop(0)
    hidden = _more(facts, [_LEFT_OUT] * is_left_out, len(notes), is_cut=len(table) < len(whole))
    return [top, table, [*checkpoint, *shown, *_labelled_lines(hidden, terminal)]]


def _more(facts: ModelFacts, left_out: Sequence[str], notes: int, *, is_cut: bool) -> list[Facts]:
    """What `--full` shows besides.

    left_out: an answer without room.  notes: how many weren't shown.  is_cut: whether components are grouped.
    """
    parts = ["all components"] if is_cut else []
    parts += [*left_out, *(label for label, _ in facts.details if label)]
    parts += ["differences"] if facts.differences else []
    parts = [*parts[:_MAX_MORE], f"{len(parts) - _MAX_MORE} more"] if len(parts) > _MAX_MORE else parts
    parts += [f"{notes:,} note{'' if notes == 1 else 's'}"] if notes else []
    return [Facts("--full", (", ".join(parts),))] if parts else []


def _listing(model: ModelParameters, by: str, terminal: Terminal) -> list[Line]:
    if by == "layer":
        tables = layer_tables(model.counted)
        table = tables[0] if has_room(tables[0], terminal) else tables[1]
    elif by in ("component", "part"):
        table = (component_table if by == "component" else part_table)(model.counted)
    else:
        table = tree_table(model.tree, model.counted.total)
    return table_lines(table, terminal)


def _header_lines(model: ModelParameters, terminal: Terminal) -> list[Line]:
    details, totals = ([ascii_safe(text, terminal) for text in row] for row in header(model))
    parts = [Line.of(StyledSpan(text, DIM if place else BOLD)) for place, text in enumerate(details)]
    total = [Line.of(StyledSpan(text, PLAIN if place else BOLD)) for place, text in enumerate(totals)]
    separator = glyphs(terminal).separator
    return [line for row in (parts, total) for line in flow(row, separator=separator, width=terminal.width)]


def _labelled_lines(block: Iterable[Facts], terminal: Terminal) -> list[Line]:
    return [line for label, facts in block for line in fact_lines(label, facts, terminal)]


def _comparison_blocks(result: ParamsResult, terminal: Terminal) -> list[list[Line]]:
    """The models' headers, then tables with as many models side by side as fit."""
    unicode, count = terminal.unicode, len(result.models)
    tables = comparison_tables(result, count, unicode=unicode)
    while count > 1 and not all(has_room(table, terminal) for table in tables):
        count -= 1
        tables = comparison_tables(result, count, unicode=unicode)
    return [
        *(_header_lines(model, terminal) for model in result.models),
        *(table_lines(table, terminal) for table in tables),
        _labelled_lines(comparison_notes(result, unicode=unicode), terminal),
    ]


def _preset_lines(presets: Sequence[ListedPreset], terminal: Terminal) -> list[Line]:
    """A row for each preset, with the source beneath each family."""
    rows = [Row((f"preset:{preset.name}", preset.published)) for preset in presets]
    columns = (Column("preset", right=False), Column("published", right=False, spare=1))
    heading, *drawn = table_lines(Table(columns, rows), terminal)
    lines = [heading]
    for source, family in groupby(zip(presets, drawn, strict=True), key=lambda pair: pair[0].source):
        lines += [*(row for _, row in family), *fact_lines("", [source], terminal), Line()]
    return [*lines, *fact_lines("try", ["attn params preset:gpt3", "attn params preset:gpt2 preset:gpt2-xl"], terminal)]
