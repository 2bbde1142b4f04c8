"""The result of `attn params` as an HTML page: nested bars of parts, groups and components, tables, and costs."""

from __future__ import annotations

from collections.abc import Sequence

from attncli.components import GROUPS
from attncli.render.common.escape import printable
from attncli.render.common.numbers import range_text
from attncli.render.html.page import page
from attncli.render.views.header import SEPARATOR
from attncli.render.views.params import components_by_part, header, model_facts, node_name
from attncli.results.params import ModelParameters, Node, ParameterCount, ParamsResult
from attncli.results.summaries import ComponentGroup, layer_runs


def params_html(result: ParamsResult, *, title: str | None = None) -> str:
    """The result as one HTML document that needs nothing else."""
    if title is None:
        title = "presets" if result.presets else " and ".join(model.name for model in result.models)
    return page("params", params_data(result), title=title, made_by=result.made_by)


def params_data(result: ParamsResult) -> dict[str, object]:
    """What the page's script reads: see `assets/params.js`."""
    return {
        "facts": [],
        "notes": [printable(text) for text in result.warnings],
        "groups": list(GROUPS),
        "models": [
            {**_model_data(model, result.by), "name": name}
            for name, model in zip(_model_names(result.models), result.models, strict=True)
        ],
        "differences": [[row.part, row.component, row.parameters] for row in result.differences],
        "presets": [[f"preset:{one.name}", one.title, one.published, one.source] for one in result.presets],
    }


def _model_names(models: Sequence[ModelParameters]) -> list[str]:
    """The models' names; equal ones with their place in the list."""
    names = [printable(model.name) for model in models]
    return [f"{name} ({place})" if names.count(name) > 1 else name for place, name in enumerate(names, start=1)]


def _model_data(model: ModelParameters, by: str) -> dict[str, object]:
    """The data of a model without its name."""
    count = model.counted
    (_, *details), totals = header(model)
    return {
        "facts": [SEPARATOR.join(details), SEPARATOR.join(totals)],
        "total": count.total,
        "parts": [_part_data(part, groups) for part, groups in components_by_part(count)],
        "layers": _layer_rows(count) if by == "layer" else [],
        "tree": [_node_data(node) for node in model.tree],
        "details": [
            [label, SEPARATOR.join(facts)] for block in model_facts(model, "component") for label, facts in block
        ],
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
        [printable(f"{run.part} ({run.stack})"), range_text(run.first, run.last), run.each, run.total]
        for run in layer_runs(count.layers)
    ]


def _node_data(node: Node) -> dict[str, object]:
    return {
        "name": node_name(node),
        "copies": node.copies,
        "parameters": node.parameters,
        "shape": node.shape,
        "component": node.component,
        "children": [_node_data(child) for child in node.children],
    }
