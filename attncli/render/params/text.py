"""The view of `attn params` in a terminal: one model's components and costs, or several models side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from attncli.render.common.cells import glyphs
from attncli.render.common.document import lines_to_text
from attncli.render.common.escape import name_text
from attncli.render.common.lines import BOLD, DIM, Line, StyledSpan, flow, separate_blocks
from attncli.render.common.terminal import Terminal
from attncli.render.params.component_tables import component_table, layer_table, part_table
from attncli.render.params.cost_lines import (
    USUAL_DTYPE,
    bytes_text,
    cost_lines,
    flops_text,
    longest_text,
    optional_cost_lines,
    range_text,
    short_names,
)
from attncli.render.params.grid import Cells, Column, fact_lines, has_room, table
from attncli.results.costs import CACHE_BITS, Costs, in_bytes
from attncli.results.params import ListedPreset, ModelParameters, ParameterCount, ParamsResult, PerHead
from attncli.results.reconciliation import Reconciliation, TensorDifference
from attncli.results.summaries import LayerKind, layer_kinds

_TABLES = {"component": component_table, "layer": layer_table, "part": part_table}
#: Groups of tied names, kinds of layers, and runs of a kind that are listed; others are counted.
_MAX_TIED = 4
_MAX_KINDS = 6
_MAX_RUNS = 3
#: Differences of one reason that are listed.
_MAX_DIFFERENCES = 3
#: Cells of a model's name above its column.
_MAX_NAME_CELLS = 16
#: The matrices of a head; courses call two of them "value down" and "value up".
_HEAD_MATRICES = {"query": "", "key": "", "value": ' ("value down")', "output": ' ("value up")'}
_PRESET_COLUMNS = (Column("preset", right=False), Column("published", right=False, spare=1))
#: The columns and the rows of a table.
ComparisonTable = tuple[list[Column], list[Cells]]


def params_text(result: ParamsResult, terminal: Terminal) -> str:
    """The result for a terminal of this width, colour depth and character set; no line is wider than the terminal."""
    if result.presets:
        return lines_to_text(preset_lines(result.presets, terminal), terminal)
    if len(result.models) > 1 and result.by != "component":
        return lines_to_text(
            separate_blocks([_model_lines(model, result.by, terminal) for model in result.models]), terminal
        )
    if len(result.models) > 1:
        return lines_to_text(comparison_lines(result, terminal), terminal)
    return lines_to_text(_model_lines(result.models[0], result.by, terminal), terminal)


def _model_lines(model: ModelParameters, by: str, terminal: Terminal) -> list[Line]:
    blocks = [header(model, terminal), _table_lines(model, by, terminal), *details(model, by, terminal)]
    return separate_blocks(block for block in blocks if block)


def header(model: ModelParameters, terminal: Terminal) -> list[Line]:
    """The model, its class and the source of its shapes; beneath, the total."""
    details = (model.model_class, f"from {model.counted.source}", model.dtype)
    parts = [Line.of(StyledSpan(name_text(model.name, terminal), BOLD))]
    parts += [Line.of(StyledSpan(name_text(text, terminal), DIM)) for text in details if text]
    total = [Line.of(StyledSpan(f"{model.counted.total:,} parameters", BOLD))]
    if model.stored_bytes is not None:
        total.append(Line.of(f"{model.stored_bytes:,} bytes stored"))
    separator = glyphs(terminal).separator
    return [line for row in (parts, total) for line in flow(row, separator=separator, width=terminal.width)]


def _table_lines(model: ModelParameters, by: str, terminal: Terminal) -> list[Line]:
    if by in _TABLES:
        return _TABLES[by](model.counted, terminal)
    from attncli.render.params.component_tables import tree_lines

    return tree_lines(model.tree, model.counted.total, terminal)


def details(model: ModelParameters, by: str, terminal: Terminal) -> tuple[list[Line], list[Line], list[Line]]:
    """Facts under labels: costs, differences from the checkpoint, and notes."""
    costs = optional_cost_lines(model.costs, terminal)
    if by == "component":
        costs = [*_count_facts(model.counted, terminal), *cost_lines(model.costs, terminal), *costs]
    return costs, _checkpoint_block(model, by, terminal), _note_lines(model, terminal)


def _count_facts(count: ParameterCount, terminal: Terminal) -> list[Line]:
    """Other ways to count, one block and one head, active parameters, tied parameters."""
    lines = []
    for index, reading in enumerate(count.readings):
        name = reading.name.replace("_", "-")
        lines += fact_lines("" if index else "reading", [f"{reading.total:,} {name}: {reading.source}"], terminal)
    lines += fact_lines("one block", _block_facts(count, terminal), terminal)
    lines += fact_lines("one head", _head_facts(count, terminal), terminal)
    lines += fact_lines("active", _active_facts(count), terminal)
    return lines + fact_lines("tied", _tied_facts(count), terminal)


def _block_facts(count: ParameterCount, terminal: Terminal) -> Iterator[str]:
    kinds = layer_kinds(count.layers)
    several = len({kind.stack for kind in kinds}) > 1
    for kind in kinds[:_MAX_KINDS]:
        where = f"{kind.part} " if several else ""
        each = " each" if kind.layers > 1 else ""
        yield f"{where}layer{'s' if kind.layers > 1 else ''} {_layer_places(kind, terminal)}: {kind.each:,}{each}"
    if len(kinds) > _MAX_KINDS:
        yield f"{len(kinds) - _MAX_KINDS} more kinds with --by layer"


def _layer_places(kind: LayerKind, terminal: Terminal) -> str:
    """`0–2, 4–6, … (36 of them)`: the first runs of layers of a kind."""
    listed = ", ".join(range_text(run.first, run.last, terminal) for run in kind.runs[:_MAX_RUNS])
    if len(kind.runs) <= _MAX_RUNS:
        return listed
    return f"{listed}, {glyphs(terminal).ellipsis} ({kind.layers} of them)"


def _head_facts(count: ParameterCount, terminal: Terminal) -> Iterator[str]:
    if count.per_head is None:
        return
    one = count.per_head
    yield f"{one.parameters:,}"
    times = f" {glyphs(terminal).times} "
    shapes = [f"{times.join(f'{side:,}' for side in shape)} = " for shape in one.shapes or ()] or [""] * len(
        _HEAD_MATRICES
    )
    for (name, also), shape in zip(_HEAD_MATRICES.items(), shapes, strict=True):
        yield f"{name}{also} {shape}{getattr(one, name):,}"
    yield from _layer_head_facts(one)
    if one.layers > 1:
        where = f" of {one.stack}" if len({layer.stack for layer in count.layers}) > 1 else ""
        yield f"{one.heads:,} in each of {one.layers:,} layers{where}: {one.heads * one.layers:,} heads"


def _layer_head_facts(one: PerHead) -> Iterator[str]:
    """All heads of a layer together, and what they share."""
    heads, groups = one.heads, one.key_value_heads
    if groups < heads:
        each = f"each shared by {heads // groups:,} heads (grouped)" if groups > 1 else "shared by all heads"
        yield f"{groups:,} key/value head{'s' if groups > 1 else ''} a layer, {each}"
    yield f"all {heads:,} of a layer {one.layer:,}"
    if one.shared:
        yield f"of which all heads share {one.shared:,}"


def _active_facts(count: ParameterCount) -> Iterator[str]:
    yield f"{'all' if count.active.total == count.total else f'{count.active.total:,}'} for each token"
    if count.active.without_embedding_lookup != count.active.total:
        yield f"{count.active.without_embedding_lookup:,} without the embedding lookup"


def _tied_facts(count: ParameterCount) -> Iterator[str]:
    for names in count.tied[:_MAX_TIED]:
        yield " = ".join(names)
    if len(count.tied) > _MAX_TIED:
        yield f"{len(count.tied) - _MAX_TIED} more"


def _note_lines(model: ModelParameters, terminal: Terminal) -> list[Line]:
    notes = (*model.counted.notes, *model.notes, *model.costs.notes)
    return [line for note in notes for line in fact_lines("note", [note], terminal)]


# --- Differences from the checkpoint


def _checkpoint_block(model: ModelParameters, by: str, terminal: Terminal) -> list[Line]:
    found = model.reconciliation
    if found is None or (found.agrees and by != "component"):
        return []

    return checkpoint_lines(found, terminal)


def checkpoint_lines(found: Reconciliation, terminal: Terminal) -> list[Line]:
    """Whether the checkpoint agrees with the configuration, and each difference with its reason, faults first."""
    lines = fact_lines("checkpoint", _checkpoint_facts(found), terminal)
    ordered = sorted(found.differences, key=lambda difference: not difference.is_fault)
    for _, alike in groupby(ordered, key=lambda difference: difference.reason):
        differences = list(alike)
        lines += fact_lines("", [_reason_sentence(differences)], terminal)
        for difference in differences[:_MAX_DIFFERENCES]:
            lines += fact_lines("", [_difference_names(difference, terminal)], terminal)
        if len(differences) > _MAX_DIFFERENCES:
            lines += fact_lines(
                "", [f"{_bullet(terminal)}{len(differences) - _MAX_DIFFERENCES} more with --json"], terminal
            )
    return lines


def _checkpoint_facts(found: Reconciliation) -> Iterator[str]:
    if not found.differences:
        yield f"holds these {found.matched:,} parameters and nothing else"
        return
    if found.is_same_model:
        yield "holds the same model" if found.agrees else "holds the same model and more"
    else:
        yield "is of another model than the configuration"
    yield f"{found.checkpoint_total:,} stored elements"
    yield f"{found.matched:,} in common"


def _reason_sentence(differences: Sequence[TensorDifference]) -> str:
    stored = sum(difference.checkpoint_parameters for difference in differences)
    expected = sum(difference.module_parameters for difference in differences)
    differ = stored and expected and stored != expected
    return f"{f'{stored:,} for {expected:,}' if differ else f'{stored or expected:,}'} in {differences[0].why}:"


def _difference_names(difference: TensorDifference, terminal: Terminal) -> str:
    names = [name for name in (difference.checkpoint, difference.module) if name]
    times = f" ({difference.tensors:,} tensors)" if difference.tensors > 1 else ""
    return f"{_bullet(terminal)}{' as '.join(dict.fromkeys(names))}{times}"


def _bullet(terminal: Terminal) -> str:
    return f"{glyphs(terminal).dash} "


# --- Several models


def comparison_lines(result: ParamsResult, terminal: Terminal) -> list[Line]:
    """The models' headers, then tables with as many models side by side as fit."""
    heads = [header(model, terminal) for model in result.models]
    counts = range(len(result.models), 1, -1)
    most = next((count for count in counts if _all_have_room(_comparison_tables(result, count, terminal), terminal)), 1)
    tables = (table(*block, terminal) for block in _comparison_tables(result, most, terminal))
    notes = _comparison_notes(result, terminal)
    return separate_blocks([*heads, *tables, *([notes] if notes else [])])


def _comparison_notes(result: ParamsResult, terminal: Terminal) -> list[Line]:
    """Notes on the numbers, each with its model."""
    named_models = zip(_column_names(result, terminal), result.models, strict=True)
    notes = [f"{name}: {note}" for name, model in named_models for note in model.costs.notes]
    return [line for note in notes for line in fact_lines("note", [note], terminal)]


def _column_names(result: ParamsResult, terminal: Terminal) -> list[str]:
    return short_names([model.counted.model for model in result.models], _MAX_NAME_CELLS, terminal)


def _all_have_room(blocks: Iterable[ComparisonTable], terminal: Terminal) -> bool:
    return all(has_room(columns, rows, terminal) for columns, rows in blocks)


def _comparison_tables(result: ParamsResult, count: int, terminal: Terminal) -> list[ComparisonTable]:
    """Tables of `count` models each."""
    places = range(len(result.models))
    return [_comparison_table(result, places[start : start + count], terminal) for start in places[::count]]


def _comparison_table(result: ParamsResult, places: Sequence[int], terminal: Terminal) -> ComparisonTable:
    models = [result.models[place] for place in places]
    differs = len(result.models) == 2 == len(places)
    names = _column_names(result, terminal)
    columns = [Column("component", right=False), *(Column(names[place]) for place in places)]
    if differs:
        columns.append(Column("difference", spare=1))
    rows = [_total_row(models, terminal, differs=differs), *_component_rows(result, places, terminal, differs=differs)]
    costs = _cost_rows(models, glyphs(terminal).dash)
    rows += [Cells((label, *values, *([""] if differs else []))) for label, values in costs]
    return columns, rows


def _total_row(models: Sequence[ModelParameters], terminal: Terminal, *, differs: bool) -> Cells:
    return Cells(("total", *_number_texts([model.counted.total for model in models], terminal, differs=differs)), BOLD)


def _component_rows(
    result: ParamsResult, places: Sequence[int], terminal: Terminal, *, differs: bool
) -> Iterator[Cells]:
    shown = [row for row in result.differences if any(row.parameters[place] for place in places)]
    several = len({difference.part for difference in shown}) > 1
    before = None
    for difference in shown:
        if several and difference.part != before:
            yield Cells((difference.part, *[""] * (len(places) + differs)), BOLD)
            before = difference.part
        numbers = [difference.parameters[place] for place in places]
        yield Cells((f"  {difference.component}", *_number_texts(numbers, terminal, differs=differs)))


def _number_texts(numbers: Sequence[int], terminal: Terminal, *, differs: bool) -> list[str]:
    dash = glyphs(terminal).dash
    texts = [f"{number:,}" if number else dash for number in numbers]
    if differs:
        more = numbers[1] - numbers[0]
        texts.append(f"{more:+,}" if more else "same")
    return texts


def _cost_rows(models: Sequence[ModelParameters], dash: str) -> Iterator[tuple[str, list[str]]]:
    """The costs of the models, in the usual dtype."""
    yield "active a token", [f"{model.counted.active.total:,}" for model in models]
    yield f"memory, {USUAL_DTYPE}", [bytes_text(model.costs.memory[USUAL_DTYPE]) for model in models]
    published = [model.costs.published for model in models]
    if any(each and each.is_packed for each in published):
        yield "  as published", [bytes_text(each.bytes) if each else dash for each in published]
    caches = [model.costs.cache for model in models]
    if any(caches):
        cached = [in_bytes(cache.per_token, CACHE_BITS[USUAL_DTYPE]) if cache else 0 for cache in caches]
        yield f"cache a token, {USUAL_DTYPE}", [bytes_text(size) for size in cached]
    yield "arithmetic", [flops_text(model.costs.flops.total) for model in models]
    yield "  at tokens", [f"{model.costs.flops.context:,}" for model in models]
    yield from _optional_cost_rows([model.costs for model in models], dash)


def _optional_cost_rows(costs: Sequence[Costs], dash: str) -> Iterator[tuple[str, list[str]]]:
    """Costs that are shown on request."""
    if any(cost.fits for cost in costs):
        yield f"longest context, {USUAL_DTYPE}", [_longest_context(cost) for cost in costs]
    if any(cost.training for cost in costs):
        yield (
            f"training, {USUAL_DTYPE}",
            [bytes_text(cost.training[USUAL_DTYPE].total) if cost.training else dash for cost in costs],
        )
    if any(cost.lora for cost in costs):
        yield "LoRA", [f"{cost.lora.parameters:,}" if cost.lora else dash for cost in costs]


def _longest_context(costs: Costs) -> str:
    choices = costs.fits.choices if costs.fits else ()
    contexts = (choice.context for choice in choices if choice.weights == USUAL_DTYPE)
    return next((longest_text(context, caches=costs.cache is not None) for context in contexts), "")


# --- Presets


def preset_lines(presets: Sequence[ListedPreset], terminal: Terminal) -> list[Line]:
    """A row for each preset, with the source beneath each family."""
    cells = [Cells((f"preset:{preset.name}", preset.published)) for preset in presets]
    heading, *rows = table(_PRESET_COLUMNS, cells, terminal)
    lines = [heading]
    for source, family in groupby(zip(presets, rows, strict=True), key=lambda pair: pair[0].source):
        lines += [*(row for _, row in family), *fact_lines("", [source], terminal), Line()]
    return [*lines, *fact_lines("try", ["attn params preset:gpt3", "attn params preset:gpt2 preset:gpt2-xl"], terminal)]
