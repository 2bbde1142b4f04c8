"""The result of `attn params` as an HTML page: nested bars of parts, groups and components, tables, and costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from attncli.choices import COMPONENTS
from attncli.render.common.escape import printable
from attncli.render.common.lines import Line
from attncli.render.html.page import PAGE, SEPARATOR, page
from attncli.render.params.cost_lines import range_text
from attncli.render.params.grid import LABEL_CELLS
from attncli.render.params.text import details, header
from attncli.results.params import ListedPreset, ModelParameters, Node, ParameterCount, ParamsResult
from attncli.results.summaries import ComponentGroup, component_groups, layer_runs


def params_html(result: ParamsResult, *, title: str | None = None) -> str:
    """The result as one HTML document that needs nothing else."""
    if title is None:
        title = "presets" if result.presets else " and ".join(model.name for model in result.models)
    return page("params", params_data(result), title=title, made_by=result.made_by)


def params_data(result: ParamsResult) -> dict[str, object]:
    """What the page's script reads: see `assets/params.js`."""
    names = dict.fromkeys(name.partition(".")[0] for name in COMPONENTS)
    return {
        "facts": [],
        "notes": [printable(text) for text in result.warnings],
        "groups": list(names),
        "models": [
            {**_model_data(model, result.by), "name": name}
            for name, model in zip(_model_names(result.models), result.models, strict=True)
        ],
        "differences": [[row.part, row.component, row.parameters] for row in result.differences],
        "presets": [_preset_row(preset) for preset in result.presets],
    }


def _model_names(models: Sequence[ModelParameters]) -> list[str]:
    """The models' names; equal ones with their place in the list."""
    names = [printable(model.name) for model in models]
    return [f"{name} ({place})" if names.count(name) > 1 else name for place, name in enumerate(names, start=1)]


def _model_data(model: ModelParameters, by: str) -> dict[str, object]:
    """The data of a model without its name."""
    count = model.counted
    names, totals = header(model, PAGE)[:2]
    return {
        "facts": [names.plain.removeprefix(f"{printable(model.name)}{SEPARATOR}"), totals.plain],
        "total": count.total,
        "parts": [
            _part_data(part, list(members))
            for part, members in groupby(component_groups(count.components), lambda one: one.part)
        ],
        "layers": _layer_rows(count) if by == "layer" else [],
        "tree": [_node_data(node) for node in model.tree],
        "details": _fact_rows([line for block in details(model, "component", PAGE) for line in block]),
    }


def _part_data(name: str, members: Sequence[ComponentGroup]) -> dict[str, object]:
    return {
        "name": printable(name),
        "groups": [
            [group.name, [[each.component, each.weights, each.biases] for each in group.components]]
            for group in members
        ],
    }


def _layer_rows(count: ParameterCount) -> list[list[object]]:
    """Runs of equal layers: stack, range, parameters of each, and of all together."""
    return [
        [printable(f"{run.part} ({run.stack})"), range_text(run.first, run.last, PAGE), run.each, run.total]
        for run in layer_runs(count.layers)
    ]


def _node_data(node: Node) -> dict[str, object]:
    return {
        "name": printable(range_text(node.name, node.last, PAGE)),
        "copies": node.copies,
        "parameters": node.parameters,
        "shape": node.shape,
        "component": node.component,
        "children": [_node_data(child) for child in node.children],
    }


def _fact_rows(lines: Iterable[Line]) -> list[list[str]]:
    """Labels and facts from lines for a terminal."""
    return [[line.plain[:LABEL_CELLS].strip(), line.plain[LABEL_CELLS:].strip()] for line in lines]


def _preset_row(preset: ListedPreset) -> list[str]:
    return [f"preset:{preset.name}", preset.title, preset.published, preset.source]
