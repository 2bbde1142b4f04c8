"""What `attn params` shows in a terminal: a model's components and costs, or several models side by side."""

from __future__ import annotations

from collections.abc import Iterator

from attncli.render.document import lower
from attncli.render.glyphs import glyphs
from attncli.render.layout import apart, flow
from attncli.render.lines import BOLD, DIM, Line, StyledSpan
from attncli.render.params.costs import asked_lines, cost_lines
from attncli.render.params.labelled import labelled
from attncli.render.params.quantities import run_text
from attncli.render.params.tables import component_table, layer_table, part_table
from attncli.render.terminal import Terminal
from attncli.render.token_text import name_text
from attncli.results.params import ModelParameters, ParameterCount, ParamsResult, PerHead
from attncli.results.summaries import LayerKind, layer_kinds

_TABLES = {"component": component_table, "layer": layer_table, "part": part_table}
#: Tied names beyond this many are counted, not listed.
_MOST_TIED = 4
_MOST_KINDS = 6
#: The matrices of a head, and what courses call two of them, which together map values to what is added.
_MATRICES = {"query": "", "key": "", "value": ' ("value down")', "output": ' ("value up")'}
_MOST_RUNS = 3


def params_text(result: ParamsResult, terminal: Terminal) -> str:
    """The result for a terminal of this width, colour depth and character set; no line is wider than the terminal."""
    if result.presets:
        from attncli.render.params.presets import preset_lines

        return lower(preset_lines(result.presets, terminal), terminal)
    if len(result.models) > 1 and result.by != "component":
        return lower(apart([_model(model, result.by, terminal) for model in result.models]), terminal)
    if len(result.models) > 1:
        from attncli.render.params.comparison import comparison

        return lower(comparison(result, terminal), terminal)
    return lower(_model(result.models[0], result.by, terminal), terminal)


def _model(model: ModelParameters, by: str, terminal: Terminal) -> list[Line]:
    blocks = [header(model, terminal), _listing(model, by, terminal), *details(model, by, terminal)]
    return apart(block for block in blocks if block)


def details(model: ModelParameters, by: str, terminal: Terminal) -> tuple[list[Line], list[Line], list[Line]]:
    """Facts under labels: what the model costs, how its checkpoint agrees, and what else there is to say."""
    costs = asked_lines(model.costs, terminal)
    if by == "component":
        costs = [*_facts(model.counted, terminal), *cost_lines(model.costs, terminal), *costs]
    return costs, _checkpoint(model, by, terminal), _notes(model, terminal)


def _checkpoint(model: ModelParameters, by: str, terminal: Terminal) -> list[Line]:
    found = model.reconciliation
    if found is None or (found.agrees and by != "component"):
        return []
    from attncli.render.params.checkpoint import checkpoint_lines

    return checkpoint_lines(found, terminal)


def _notes(model: ModelParameters, terminal: Terminal) -> list[Line]:
    notes = (*model.counted.notes, *model.notes, *model.costs.notes)
    return [line for note in notes for line in labelled("note", [note], terminal)]


def header(model: ModelParameters, terminal: Terminal) -> list[Line]:
    """The model, its class, where its shapes came from; beneath, the total."""
    told = (model.model_class, f"from {model.counted.source}", model.dtype)
    parts = [Line.of(StyledSpan(name_text(model.name, terminal), BOLD))]
    parts += [Line.of(StyledSpan(name_text(text, terminal), DIM)) for text in told if text]
    total = [Line.of(StyledSpan(f"{model.counted.total:,} parameters", BOLD))]
    if model.stored_bytes is not None:
        total.append(Line.of(f"{model.stored_bytes:,} bytes stored"))
    separator = glyphs(terminal).separator
    return [line for row in (parts, total) for line in flow(row, separator=separator, width=terminal.width)]


def _listing(model: ModelParameters, by: str, terminal: Terminal) -> list[Line]:
    if by in _TABLES:
        return _TABLES[by](model.counted, terminal)
    from attncli.render.params.trees import tree_lines

    return tree_lines(model.tree, model.counted.total, terminal)


def _facts(count: ParameterCount, terminal: Terminal) -> list[Line]:
    """Other readings, a block and a head of it, what is active, what is tied."""
    lines = []
    for index, reading in enumerate(count.readings):
        name = reading.name.replace("_", "-")
        lines += labelled("" if index else "reading", [f"{reading.total:,} {name}: {reading.source}"], terminal)
    lines += labelled("one block", _blocks(count, terminal), terminal)
    lines += labelled("one head", _head(count, terminal), terminal)
    lines += labelled("active", _active(count), terminal)
    return lines + labelled("tied", _tied(count), terminal)


def _blocks(count: ParameterCount, terminal: Terminal) -> Iterator[str]:
    kinds = layer_kinds(count.layers)
    several = len({kind.stack for kind in kinds}) > 1
    for kind in kinds[:_MOST_KINDS]:
        where = f"{kind.part} " if several else ""
        each = " each" if kind.layers > 1 else ""
        yield f"{where}layer{'s' if kind.layers > 1 else ''} {_places(kind, terminal)}: {kind.each:,}{each}"
    if len(kinds) > _MOST_KINDS:
        yield f"{len(kinds) - _MOST_KINDS} more kinds with --by layer"


def _places(kind: LayerKind, terminal: Terminal) -> str:
    """`0–2, 4–6, … (36 of them)`: the layers of a kind, the first few named."""
    named = ", ".join(run_text(run.first, run.last, terminal) for run in kind.runs[:_MOST_RUNS])
    if len(kind.runs) <= _MOST_RUNS:
        return named
    return f"{named}, {glyphs(terminal).ellipsis} ({kind.layers} of them)"


def _head(count: ParameterCount, terminal: Terminal) -> Iterator[str]:
    if count.per_head is None:
        return
    one = count.per_head
    yield f"{one.parameters:,}"
    times = f" {glyphs(terminal).times} "
    shapes = [f"{times.join(f'{side:,}' for side in shape)} = " for shape in one.shapes or ()] or [""] * len(_MATRICES)
    for (name, also), shape in zip(_MATRICES.items(), shapes, strict=True):
        yield f"{name}{also} {shape}{getattr(one, name):,}"
    yield from _all_heads(one)
    if one.layers > 1:
        where = f" of {one.stack}" if len({layer.stack for layer in count.layers}) > 1 else ""
        yield f"{one.heads:,} in each of {one.layers:,} layers{where}: {one.heads * one.layers:,} heads"


def _all_heads(one: PerHead) -> Iterator[str]:
    """A layer's heads together, and why they aren't as many times one head."""
    heads, groups = one.heads, one.key_value_heads
    if groups < heads:
        each = f"each shared by {heads // groups:,} heads (grouped)" if groups > 1 else "shared by all heads"
        yield f"{groups:,} key/value head{'s' if groups > 1 else ''} a layer, {each}"
    yield f"all {heads:,} of a layer {one.layer:,}"
    if one.shared:
        yield f"of which all heads share {one.shared:,}"


def _active(count: ParameterCount) -> Iterator[str]:
    yield f"{'all' if count.active.total == count.total else f'{count.active.total:,}'} for each token"
    if count.active.without_embedding_lookup != count.active.total:
        yield f"{count.active.without_embedding_lookup:,} without the embedding lookup"


def _tied(count: ParameterCount) -> Iterator[str]:
    for names in count.tied[:_MOST_TIED]:
        yield " = ".join(names)
    if len(count.tied) > _MOST_TIED:
        yield f"{len(count.tied) - _MOST_TIED} more"
