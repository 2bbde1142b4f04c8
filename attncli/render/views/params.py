"""What `attn params` says about models: headers, tables of components and layers, costs, and differences.

The texts are escaped; text and page draw them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from attncli.components import GROUPS
from attncli.render.common.cells import glyphs, shorten
from attncli.render.common.escape import SLASHES, name_text, printable
from attncli.render.common.numbers import bytes_text, range_text, share_text
from attncli.render.common.table import Column, Row, Table
from attncli.render.common.terminal import Terminal
from attncli.render.views.cost_facts import (
    NOTHING,
    Facts,
    answer_facts,
    compared_costs,
    further_facts,
    labelled,
    requested_facts,
)
from attncli.results.params import ModelParameters, Node, ParameterCount, ParamsResult
from attncli.results.reconciliation import Reconciliation, TensorDifference
from attncli.results.summaries import (
    ComponentGroup,
    LayerRun,
    component_groups,
    layer_kinds,
    layer_runs,
    outside_layers,
)

#: Groups of tied names, kinds of layers, and runs of a kind that are listed; others are counted.
_MAX_TIED, _MAX_KINDS, _MAX_RUNS = 4, 6, 3
#: Files of weights that are listed.
_MAX_FILES = 4
#: Differences of one reason that are listed.
_MAX_DIFFERENCES = 3
#: Cells of a model's name above its column.
_MAX_NAME_CELLS = 16
#: The matrices of a head; courses call two of them "value down" and "value up".
_HEAD_MATRICES = {"query": "", "key": "", "value": ' ("value down")', "output": ' ("value up")'}
_TREE_COLUMNS = (
    Column("module", right=False),
    Column("shape", right=False, spare=2),
    Column("parameters"),
    Column("share", spare=3),
    Column("component", right=False, spare=1, dim=True),
)


def header(model: ModelParameters) -> tuple[list[str], list[str]]:
    """The model, its class and the source of its shapes; and the total."""
    details = [text for text in (model.model_class, f"from {model.counted.source}", model.dtype) if text]
    totals = [f"{model.counted.total:,} parameters"]
    if model.stored_bytes is not None:
        totals.append(f"{model.stored_bytes:,} bytes stored")
    return [printable(text) for text in (model.name, *details)], totals


class ModelFacts(NamedTuple):
    """What is said of one model, each as lines of facts.

    answer: what is asked first, total, memory, cache and what fits.  details: what only a few want.
    checkpoint: whether the weights belong to the configuration, in a line; differences: each of them.  notes.
    """

    answer: list[Facts]
    details: list[Facts]
    checkpoint: list[Facts]
    differences: list[Facts]
    notes: list[Facts]


def model_facts(model: ModelParameters, by: str) -> ModelFacts:
    """by: what is listed; components show all facts, costs those about costs, other listings what was requested."""
    found, costs = model.reconciliation, model.costs
    if by in ("component", "cost"):
        answer = [*_active_facts(model.counted), *answer_facts(costs)]
        counts = _count_facts(model.counted) if by == "component" else ()
        details = [*counts, *further_facts(costs), *_file_facts(model)]
    else:
        answer, details = list(requested_facts(costs)), []
    is_told = found is not None and (by == "component" or not found.agrees)
    checkpoint, *differences = list(_checkpoint_facts(found)) if is_told and found is not None else [[]]
    # What doubts the numbers comes before where they are from.
    notes = (*costs.notes, *model.notes, *model.counted.notes)
    return ModelFacts(
        answer,
        details,
        checkpoint,
        [facts for each in differences for facts in each],
        [facts for note in notes for facts in labelled("note", [note])],
    )


def _active_facts(count: ParameterCount) -> Iterator[Facts]:
    if (found := count.active) is None:
        return
    active = [f"{'all' if found.total == count.total else f'{found.total:,}'} for each token"]
    if found.without_embedding_lookup != found.total:
        active.append(f"{found.without_embedding_lookup:,} without the embedding lookup")
    yield from labelled("active", active)


def compared_facts(models: Sequence[ModelParameters]) -> list[tuple[str, list[str]]]:
    """Active parameters and costs of several models: a label and a text for each, without what none of them has."""
    active = [NOTHING if model.counted.active is None else f"{model.counted.active.total:,}" for model in models]
    found = ("active a token", active), *compared_costs([model.costs for model in models])
    return [(label, texts) for label, texts in found if set(texts) != {NOTHING}]


def _file_facts(model: ModelParameters) -> Iterator[Facts]:
    files = model.files or ()
    told = [f"{file.name} {bytes_text(file.bytes)}" for file in files[:_MAX_FILES]]
    more = [f"{len(files) - _MAX_FILES} more"] if len(files) > _MAX_FILES else []
    together = f"together {bytes_text(sum(file.bytes for file in files))}"
    # Files of which nothing was read are those that the hub lists.
    whole = [together if model.stored_bytes is not None else f"{together} to download"] if len(files) > 1 else []
    if len(files) == 1 and model.stored_bytes is None:
        told = [f"{told[0]} to download"]
    yield from labelled("files", [*told, *more, *whole])


# --- Parameters


def _count_facts(count: ParameterCount) -> Iterator[Facts]:
    """Other ways to count, one block and one head, tied parameters."""
    for index, reading in enumerate(count.readings):
        name = reading.name.replace("_", "-")
        yield from labelled("" if index else "reading", [f"{reading.total:,} {name}: {reading.source}"])
    yield from labelled("one block", _block_facts(count))
    yield from labelled("one head", _head_facts(count))
    more = [f"{len(count.tied) - _MAX_TIED} more"] if len(count.tied) > _MAX_TIED else []
    yield from labelled("tied", [*map(" = ".join, count.tied[:_MAX_TIED]), *more])


def _block_facts(count: ParameterCount) -> Iterator[str]:
    kinds = layer_kinds(count.layers)
    stacks = {kind.stack: kind.part for kind in kinds}
    # A part of several stacks doesn't tell which of them it is.
    is_divided = len(stacks) > len(set(stacks.values()))
    for kind in kinds[:_MAX_KINDS]:
        where = f"{kind.stack if is_divided else kind.part} " if len(stacks) > 1 else ""
        places = ", ".join(range_text(run.first, run.last) for run in kind.runs[:_MAX_RUNS])
        if len(kind.runs) > _MAX_RUNS:
            places += f", … ({kind.layers} of them)"
        layers, each = ("layers", " each") if kind.layers > 1 else ("layer", "")
        yield f"{where}{layers} {places}: {kind.each:,}{each}"
    if len(kinds) > _MAX_KINDS:
        yield f"{len(kinds) - _MAX_KINDS} more kinds with --by layer"


def _head_facts(count: ParameterCount) -> Iterator[str]:
    one = count.per_head
    if one is None:
        return
    yield f"{one.parameters:,}"
    shapes = [f"{' × '.join(f'{side:,}' for side in shape)} = " for shape in one.shapes or ()]
    for (name, also), shape in zip(_HEAD_MATRICES.items(), shapes or [""] * len(_HEAD_MATRICES), strict=True):
        yield f"{name}{also} {shape}{getattr(one, name):,}"
    # All heads of a layer together, and what they share.
    heads, groups = one.heads, one.key_value_heads
    if groups < heads:
        each = f"each shared by {heads // groups:,} heads (grouped)" if groups > 1 else "shared by all heads"
        yield f"{groups:,} key/value head{'s' if groups > 1 else ''} a layer, {each}"
    yield f"all {heads:,} of a layer {one.layer:,}"
    if one.shared:
        yield f"of which all heads share {one.shared:,}"
    if one.layers > 1:
        where = f" of {one.stack}" if len({layer.stack for layer in count.layers}) > 1 else ""
        yield f"{heads:,} in each of {one.layers:,} layers{where}: {heads * one.layers:,} heads"


# --- Differences from the checkpoint


def _checkpoint_facts(found: Reconciliation) -> Iterator[list[Facts]]:
    """Whether the checkpoint agrees with the configuration, and each difference with its reason, faults first."""
    if not found.differences:
        yield labelled("checkpoint", [f"holds these {found.matched:,} parameters and nothing else"])
        return
    same = "holds the same model" if found.agrees else "holds the same model and more"
    model = same if found.is_same_model else "is of another model than the configuration"
    yield labelled("checkpoint", [model, f"{found.checkpoint_total:,} stored elements", f"{found.matched:,} in common"])
    ordered = sorted(found.differences, key=lambda difference: not difference.is_fault)
    for _, alike in groupby(ordered, key=lambda difference: difference.reason):
        yield list(_difference_facts(list(alike)))


def _difference_facts(differences: Sequence[TensorDifference]) -> Iterator[Facts]:
    """Differences of one reason."""
    yield from labelled("", [_reason_sentence(differences)])
    for difference in differences[:_MAX_DIFFERENCES]:
        names = dict.fromkeys(name for name in (difference.checkpoint, difference.module) if name)
        times = f" ({difference.tensors:,} tensors)" if difference.tensors > 1 else ""
        yield from labelled("", [f"– {' as '.join(names)}{times}"])
    if len(differences) > _MAX_DIFFERENCES:
        yield from labelled("", [f"– {len(differences) - _MAX_DIFFERENCES} more with --json"])


def _reason_sentence(differences: Sequence[TensorDifference]) -> str:
    stored = sum(difference.checkpoint_parameters for difference in differences)
    expected = sum(difference.module_parameters for difference in differences)
    differ = stored and expected and stored != expected
    return f"{f'{stored:,} for {expected:,}' if differ else f'{stored or expected:,}'} in {differences[0].why}:"


# --- Tables of one model


def components_by_part(count: ParameterCount) -> list[tuple[str, list[ComponentGroup]]]:
    by_part = groupby(component_groups(count.components), key=lambda group: group.part)
    return [(part, list(members)) for part, members in by_part]


def component_table(count: ParameterCount, *, groups_only: bool = False) -> Table:
    """Parts, groups and components; weights and biases in separate columns if there are biases.

    groups_only: without the components in the groups.
    """
    rows: list[Row] = []
    for part, groups in components_by_part(count):
        rows.append(_part_row(part, groups, count)._replace(bold=True, share=None))
        for group in groups:
            if len(group.components) == 1:
                rows.append(_component_row(f"  {group.components[0].component}", group.weights, group.biases, count))
                continue
            rows.append(_component_row(f"  {group.name}", group.weights, group.biases, count))
            for each in () if groups_only else group.components:
                kind = each.component.partition(".")[2]
                rows.append(_component_row(f"    {kind}", each.weights, each.biases, count))
    return _component_columns("component", rows, count)


def part_table(count: ParameterCount) -> Table:
    """A row for each part."""
    rows = [_part_row(part, groups, count) for part, groups in components_by_part(count)]
    return _component_columns("part", rows, count)


def _component_columns(title: str, rows: Sequence[Row], count: ParameterCount) -> Table:
    columns = [Column(title, right=False), Column("weights", spare=3), Column("biases", spare=2), Column("parameters"),
               Column("share", spare=4)]  # fmt: skip
    if any(component.biases for component in count.components):
        return Table(columns, rows)
    return Table([columns[0], *columns[3:]], [row._replace(texts=(row.texts[0], *row.texts[3:])) for row in rows])


def _part_row(part: str, groups: Sequence[ComponentGroup], count: ParameterCount) -> Row:
    return _component_row(part, sum(group.weights for group in groups), sum(group.biases for group in groups), count)


def _component_row(name: str, weights: int, biases: int, count: ParameterCount) -> Row:
    share = (weights + biases) / max(count.total, 1)
    numbers = (_number_or_dash(number) for number in (weights, biases, weights + biases))
    return Row((printable(name), *numbers, share_text(share)), share=share)


def _number_or_dash(number: int) -> str:
    return f"{number:,}" if number else NOTHING


def layer_tables(count: ParameterCount) -> tuple[Table, Table]:
    """Runs of equal layers with their parameters by group, and the parameters outside of all layers.

    A column for each group; and for narrow terminals, a row for each group beneath its run.
    """
    runs = layer_runs(count.layers)
    names = sorted({group.name for run in runs for group in component_groups(run.components)}, key=GROUPS.index)
    return _layer_table(count, runs, names), _layer_table(count, runs, ())


def _layer_table(count: ParameterCount, runs: Sequence[LayerRun], names: Sequence[str]) -> Table:
    """names: the groups that have a column; without any, each group has a row."""
    rows: list[Row] = []
    empty = ("",) * (len(names) + 2)
    for (part, stack), members in groupby(runs, key=lambda run: (run.part, run.stack)):
        rows.append(Row((printable(f"{part} ({stack})"), *empty), bold=True))
        for run in members:
            groups = component_groups(run.components)
            found = {group.name: group.parameters for group in groups}
            numbers = (_number_or_dash(found.get(name, 0)) for name in names)
            rows.append(Row((f"  {range_text(run.first, run.last)}", f"{run.each:,}", *numbers, f"{run.total:,}")))
            for group in () if names else groups:
                each, together = group.parameters, run.layers * group.parameters
                rows.append(Row((f"    {printable(group.name)}", f"{each:,}", f"{together:,}")))
    rows.append(Row(("outside of layers", f"{outside_layers(count):,}", *empty[1:])))
    columns = [Column("layers", right=False), Column("each"), *map(Column, names), Column("together", spare=1)]
    return Table(columns, rows)


def tree_table(nodes: Sequence[Node], total: int) -> Table:
    """A row for each module or tensor, with its parameters and its share of all."""
    return Table(_TREE_COLUMNS, list(_tree_rows(nodes, "", 1, max(total, 1))))


def node_name(node: Node) -> str:
    """A module's or a tensor's name; of equal neighbours, the first and the last."""
    return printable(range_text(node.name, node.last))


def _tree_rows(nodes: Sequence[Node], indent: str, copies: int, total: int) -> Iterator[Row]:
    """copies: the number of equal modules that contain the nodes."""
    for node in nodes:
        name = f"{indent}{node_name(node)}{', each' if node.copies > 1 else ''}"
        shape = "" if node.shape is None else " × ".join(map(str, node.shape)) or "1"
        share = share_text(copies * node.total / total)
        yield Row((name, shape, f"{node.parameters:,}", share, printable(node.component or "")))
        yield from _tree_rows(node.children, f"{indent}  ", copies * node.copies, total)


# --- Several models


def comparison_tables(result: ParamsResult, count: int, *, unicode: bool = True) -> list[Table]:
    """Tables of `count` models each."""
    names = short_names([model.counted.model for model in result.models], unicode=unicode)
    places = range(len(result.models))
    return [_comparison_table(result, places[start : start + count], names) for start in places[::count]]


def comparison_notes(result: ParamsResult, *, unicode: bool = True) -> list[Facts]:
    """Notes on the numbers, each with its model."""
    names = short_names([model.counted.model for model in result.models], unicode=unicode)
    named_models = zip(names, result.models, strict=True)
    notes = [f"{name}: {note}" for name, model in named_models for note in model.costs.notes]
    return [facts for note in notes for facts in labelled("note", [note])]


def _comparison_table(result: ParamsResult, places: Sequence[int], names: Sequence[str]) -> Table:
    models = [result.models[place] for place in places]
    differs = len(result.models) == 2 == len(places)
    columns = [Column("", right=False), *(Column(names[place]) for place in places)]
    rows = [Row(("total", *_compared_numbers([model.counted.total for model in models], differs=differs)), bold=True)]
    rows += [Row((label, *values, *[""] * differs)) for label, values in compared_facts(models)]
    if result.by == "cost":
        return Table([*columns, *[Column("difference", spare=1)] * differs], rows)
    rows.append(Row(("components", *[""] * (len(places) + differs)), bold=True))
    listed = [row for row in result.differences if any(row.parameters[place] for place in places)]
    by_part = [(part, list(rows)) for part, rows in groupby(listed, key=lambda row: row.part)]
    for part, differences in by_part:
        if len({part for part, _ in by_part}) > 1:
            rows.append(Row((printable(part), *[""] * (len(places) + differs)), bold=True))
        for row in differences:
            numbers = _compared_numbers([row.parameters[place] for place in places], differs=differs)
            rows.append(Row((f"  {printable(row.component)}", *numbers)))
    return Table([*columns, *[Column("difference", spare=1)] * differs], rows)


def _compared_numbers(numbers: Sequence[int], *, differs: bool) -> list[str]:
    more = numbers[1] - numbers[0] if differs else 0
    return [*map(_number_or_dash, numbers), *[f"{more:+,}" if more else "same"] * differs]


# --- Short names of models

#: A file that every model has; its folder's name is shown instead.
_CONFIG_FILE = "config.json"
#: The prefix of presets, treated as a folder.
_PRESET_PREFIX = "preset:"


def short_names(names: Sequence[str], *, unicode: bool = True) -> list[str]:
    """The shortest end of each name that is unique: `Llama-3.1-8B` of `meta-llama/Llama-3.1-8B`, short for a column.

    Names that are still equal get their place in the list: `(2)`.
    """
    terminal = Terminal(unicode=unicode)
    paths = [_name_parts(name) for name in names]
    labels = [name_text(_distinct_end(path, paths), terminal) for path in paths]
    cut = glyphs(terminal).cut
    shown = [shorten(label, _MAX_NAME_CELLS, cut) for label in labels]
    numbers = [f" ({place})" for place in range(1, len(names) + 1)]
    return [
        text if shown.count(text) == 1 else f"{shorten(label, _MAX_NAME_CELLS - len(number), cut)}{number}"
        for text, label, number in zip(shown, labels, numbers, strict=True)
    ]


def _name_parts(name: str) -> tuple[str, ...]:
    steps = [
        step
        for step in re.split(SLASHES, name.replace(_PRESET_PREFIX, f"{_PRESET_PREFIX}/", 1))
        if step not in ("", ".")
    ]
    if len(steps) > 1 and steps[-1] == _CONFIG_FILE:
        steps.pop()
    return tuple(steps) or (name,)


def _distinct_end(path: tuple[str, ...], others: Iterable[tuple[str, ...]]) -> str:
    """The shortest end of a path that no other path has, or else the whole path."""
    rest = [other for other in others if other != path]
    ends = (path[-length:] for length in range(1, len(path) + 1))
    end = next((end for end in ends if all(other[-len(end) :] != end for other in rest)), path)
    return "/".join(end).replace(f"{_PRESET_PREFIX}/", _PRESET_PREFIX, 1)
