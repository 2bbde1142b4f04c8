"""The result of `attn params` as data: a table with a row a component or tensor, and a record a model."""

from __future__ import annotations

from collections.abc import Iterator

from attncli.render.data import Row, Table
from attncli.results.base import to_dict
from attncli.results.params import ModelParameters, ParamsResult

_PRESET_COLUMNS = ("preset", "title", "published", "source")
_COUNT_COLUMNS = ("component", "weights", "biases", "parameters")


def params_records(result: ParamsResult) -> Iterator[dict[str, object]]:
    """A record per model, as in `models` of the JSON; or per preset."""
    return (to_dict(each) for each in result.presets or result.models)


def params_table(result: ParamsResult) -> Table:
    """The rows of the listing: components by part, components by layer, modules, tensors, or presets."""
    if result.presets:
        return _PRESET_COLUMNS, ((p.name, p.title, p.published, p.source) for p in result.presets)
    header, rows = {
        "layer": (("model", "part", "stack", "layer", *_COUNT_COLUMNS), _layer_rows),
        "module": (("model", "module", "component", "parameters"), _module_rows),
        "tensor": (("model", "module", "tensor", "shape", "component", "parameters"), _tensor_rows),
    }.get(result.by, (("model", "part", *_COUNT_COLUMNS, "share"), _component_rows))
    return header, (row for model in result.models for row in rows(model))


def _component_rows(model: ModelParameters) -> Iterator[Row]:
    name, total = model.name, model.counted.total or 1
    for part, component, weights, biases in model.counted.components:
        yield name, part, component, weights, biases, weights + biases, (weights + biases) / total


def _layer_rows(model: ModelParameters) -> Iterator[Row]:
    for layer in model.counted.layers:
        for _, component, weights, biases in layer.components:
            start = (model.name, layer.part, layer.stack, layer.layer)
            yield *start, component, weights, biases, weights + biases


def _module_rows(model: ModelParameters) -> Iterator[Row]:
    for row in model.counted.rows:
        yield model.name, row.module, row.component, row.parameters


def _tensor_rows(model: ModelParameters) -> Iterator[Row]:
    for row in model.counted.rows:
        shape = "" if row.shape is None else "x".join(map(str, row.shape))
        yield model.name, row.module, row.tensor, shape, row.component, row.parameters
