"""The result of `attn params` as data: a table with a row a component, tensor or cost, and a record a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from attncli.render.data import Row, Table
from attncli.results.base import to_dict
from attncli.results.cache import Cache
from attncli.results.costs import Costs, Fits
from attncli.results.params import ModelParameters, ParamsResult

_PRESET_COLUMNS = ("preset", "title", "published", "source")
_COUNT_COLUMNS = ("component", "weights", "biases", "parameters")
_COST_COLUMNS = ("model", "cost", "name", "dtype", "cache_dtype", "context", "batch", "unit", "value")


def params_records(result: ParamsResult) -> Iterator[dict[str, object]]:
    """A record per model, as in `models` of the JSON; or per preset."""
    return (to_dict(each) for each in result.presets or result.models)


def params_table(result: ParamsResult) -> Table:
    """The rows of the listing: components by part, components by layer, modules, tensors, costs, or presets."""
    if result.presets:
        return _PRESET_COLUMNS, ((p.name, p.title, p.published, p.source) for p in result.presets)
    header, rows = {
        "layer": (("model", "part", "stack", "layer", *_COUNT_COLUMNS), _layer_rows),
        "module": (("model", "module", "component", "parameters"), _module_rows),
        "tensor": (("model", "module", "tensor", "shape", "component", "parameters"), _tensor_rows),
        "cost": (_COST_COLUMNS, _cost_rows),
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


class _CostRow(NamedTuple):
    """A number that a model costs. name: which of several it is.  dtype: of the weights, or their format."""

    cost: str
    name: str
    unit: str
    value: int | None
    dtype: str | None = None
    cache_dtype: str | None = None
    context: int | None = None
    batch: int | None = None


def _cost_rows(model: ModelParameters) -> Iterator[Row]:
    for row in _costs(model):
        where = (row.dtype, row.cache_dtype, row.context, row.batch)
        yield model.name, row.cost, row.name, *where, row.unit, row.value


def _costs(model: ModelParameters) -> Iterator[_CostRow]:
    """Everything that one model costs, in the order of the JSON."""
    costs, active = model.costs, model.counted.active
    yield _CostRow("parameters", "total", "parameters", model.total)
    if active is not None:
        yield _CostRow("active", "total", "parameters", active.total)
        yield _CostRow("active", "without_embedding_lookup", "parameters", active.without_embedding_lookup)
    for dtype, size in (*costs.memory.items(), *costs.mixes.items()):
        yield _CostRow("memory", "weights", "bytes", size, dtype)
    if costs.published is not None:
        yield _CostRow("published", "weights", "bytes", costs.published.bytes, costs.published.format)
    for file in model.files or ():
        yield _CostRow("file", file.name, "bytes", file.bytes)
    if costs.cache is not None:
        yield from _cache_rows(costs.cache)
    if costs.flops is not None:
        context, linear, attention = costs.flops
        yield _CostRow("flops_per_token", "linear", "operations", linear, context=context)
        yield _CostRow("flops_per_token", "attention", "operations", attention, context=context)
    yield from _fit_rows(costs.fits) if costs.fits is not None else ()
    yield from _training_rows(costs)
    for each in costs.lora.components if costs.lora is not None else ():
        yield _CostRow("lora", each.component, "parameters", each.parameters)


def _cache_rows(cache: Cache) -> Iterator[_CostRow]:
    """A row for each part of the cache, and for what a token adds to it."""
    for part in cache.byte_parts:
        yield _CostRow("cache", part.kind, "bytes", part.bytes, None, part.dtype, cache.context, cache.batch)
        yield _CostRow("cache_per_token", part.kind, "bytes", part.bytes_per_token, cache_dtype=part.dtype)


def _fit_rows(fits: Fits) -> Iterator[_CostRow]:
    """The longest context, or the largest batch, beside the weights; and how much memory lacks."""
    yield _CostRow("fit", "budget", "bytes", fits.budget)
    for each in fits.choices:
        beside = (each.weights, each.cache, fits.context, fits.batch)
        if fits.context is None:
            yield _CostRow("fit", "context", "tokens", each.context, *beside)
        yield _CostRow("fit", "missing", "bytes", each.missing, *beside)
    for trained in fits.training:
        yield _CostRow("fit_training", "batch", "texts", trained.batch, trained.weights)
        yield _CostRow("fit_training", "missing", "bytes", trained.missing, trained.weights)


def _training_rows(costs: Costs) -> Iterator[_CostRow]:
    setup = costs.training_setup
    context, batch = (None, None) if setup is None else (setup.context, setup.batch)
    for dtype, need in costs.training.items():
        for name, size in need._asdict().items():
            yield _CostRow("training", name, "bytes", size, dtype, None, context, batch)
