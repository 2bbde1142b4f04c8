"""The result of `attn params` as an HTML page: nested bars of parts, groups and components, tables, and costs."""

from __future__ import annotations

from collections.abc import Sequence

from attncli.components import GROUPS
from attncli.render.common.escape import printable
from attncli.render.common.numbers import range_text
from attncli.render.html.page import page
from attncli.render.views.cost_facts import Facts
from attncli.render.views.header import SEPARATOR
from attncli.render.views.params import compared_facts, components_by_part, header, model_facts, node_name
from attncli.results.params import ModelParameters, Node, ParamsResult
from attncli.results.summaries import ComponentGroup, layer_runs


def params_html(result: ParamsResult, *, title: str | None = None) -> str:
    """The result as one HTML document that needs nothing else."""
    if title is None:
        title = "presets" if result.presets else " and ".join(model.name for model in result.models)
    return page("params", params_data(result), title=title, made_by=result.made_by)


def params_data(result: ParamsResult) -> dict[str, object]:
    """What the page's script reads: see `assets/params.js`."""
    # Equal names are told apart by their place in the list.
    named = [printable(model.name) for model in result.models]
    shown = [f"{name} ({place})" if named.count(name) > 1 else name for place, name in enumerate(named, start=1)]
    return {
        "facts": [],
        "notes": [printable(text) for text in result.warnings],
        "groups": list(GROUPS),
        "models": [
            {**_model_data(model, result.by), "name": name} for name, model in zip(shown, result.models, strict=True)
        ],
        "differences": [[row.part, row.component, row.parameters] for row in result.differences],
        "costs": _compared_costs(result),
        "presets": [[f"preset:{one.name}", one.title, one.published, one.source] for one in result.presets],
    }


def _compared_costs(result: ParamsResult) -> list[list[object]]:
    """The costs of several models: a label, indented where it belongs to the one above, and a text for each."""
    if len(result.models) < 2:
        return []
    return [[label, texts] for label, texts in compared_facts(result.models)]


def _model_data(model: ModelParameters, by: str) -> dict[str, object]:
    """The data of a model without its name. layers: runs of equal ones, parameters of each and of all together."""
    (_, *details), totals = header(model)
    runs = layer_runs(model.counted.layers) if by == "layer" else []
    facts = model_facts(model, "component")
    return {
        "facts": [SEPARATOR.join(details), SEPARATOR.join(totals)],
        "total": model.counted.total,
        "parts": [_part_data(part, groups) for part, groups in components_by_part(model.counted)],
        "layers": [
            [printable(f"{run.part} ({run.stack})"), range_text(run.first, run.last), run.each, run.total]
            for run in runs
        ],
        "tree": [_node_data(node) for node in model.tree],
        "answer": _written(facts.answer),
        "details": _written([*facts.details, *facts.checkpoint, *facts.differences, *facts.notes]),
    }


def _written(facts: Sequence[Facts]) -> list[list[str]]:
    return [[label, SEPARATOR.join(texts)] for label, texts in facts]


def _part_data(name: str, members: Sequence[ComponentGroup]) -> dict[str, object]:
    groups = [
        [group.name, [[each.component, each.weights, each.biases] for each in group.components]] for group in members
    ]
    return {"name": printable(name), "groups": groups}


def _node_data(node: Node) -> dict[str, object]:
    return {
        "name": node_name(node),
        "copies": node.copies,
        "parameters": node.parameters,
        "shape": node.shape,
        "component": node.component,
        "children": [_node_data(child) for child in node.children],
    }
