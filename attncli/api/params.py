"""`attncli.params`: how many parameters a model has, in which components, and what memory and compute they take.

The shapes come from `shape_sources`; `--check` compares the total with an expected one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from attncli.api.configured_shapes import ModelShapes, list_models, shapes_from_module
from attncli.api.loading import provenance
from attncli.api.requests import LoadingRequest, ParamsRequest
from attncli.api.shape_sources import ShapeSource, Source
from attncli.choices import ALLOCATIONS, BY, KV_DTYPES, OPTIMIZERS, RECOMPUTE, SOURCES
from attncli.errors import UsageError
from attncli.models.files.reference import DEFAULT_MODEL
from attncli.progress import Progress, silent
from attncli.quantities import Size, Total, check_number, count_of, size_of, total_of
from attncli.results.params import ListedPreset, ModelParameters, ParamsResult

if TYPE_CHECKING:
    from attncli.parameters.costs import CostsRequest, Stored
    from attncli.parameters.count import Grouping, InventoryShares
    from attncli.parameters.lora import LoraRequest
    from attncli.parameters.training import TrainingRequest
    from attncli.results.base import MadeBy
    from attncli.results.costs import Published
    from attncli.results.params import Node

#: The values of `by` that list a tree.
_TREE_LISTINGS = ("module", "tensor")

#: The depth to which modules are listed by default.
_DEFAULT_DEPTH = 3


def params(
    model: Any = None,
    *,
    source: str | None = None,
    by: str = "component",
    depth: int | None = None,
    set: str | Sequence[str] | Mapping[str, object] = (),  # noqa: A002 (as the option is called)
    context: int | str | None = None,
    batch: int | str | None = None,
    fit: int | str | None = None,
    untie: bool = False,
    lora: int | str | None = None,
    training: bool = False,
    kv_dtype: str | Sequence[str] | None = None,
    kv_allocation: str | None = None,
    optimizer: str | None = None,
    recompute: str | None = None,
    check: int | str | None = None,
    list_presets: bool = False,
    revision: str | None = None,
    refresh: bool = False,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    progress: Progress = silent,
) -> ParamsResult:
    """Count the parameters of a model from the shapes of its tensors, and estimate the memory and arithmetic they cost.

    model: a hub name, a path, a `torch.nn.Module`, or a list of them to compare; None is all-MiniLM-L6-v2.
    source: where the shapes come from, `config` or `header` (of the weight files); None is the configuration if there
    is one.
    by: "module" and "tensor" add rows, down to `depth` steps of a module's path.
    set: override the configuration: `"num_hidden_layers=48"`, several of these, or `{"num_hidden_layers": 48}`; the
    result lists them in `changes`.
    untie: count tied tensors separately.
    context, batch: tokens in a text (`8192`, `"128k"`) and number of texts, for the size of the KV cache and the FLOPs.
    fit: the available memory in bytes or as `"24GiB"`, for several devices as `"2x80GB"`.
    kv_dtype: of cached keys and values, `"fp8"`, `"q8_0"`, …, or two of them, `"q8_0,q4_0"`; None is the cache's own.
    kv_allocation: `"window"`, or `"full"` for engines that give layers with a window room for all tokens.
    lora: a rank, or `"16:attention,mlp.up"`: the parameters that adapters would add.
    training: the memory of training, with an `optimizer` (`"adamw"`, `"adamw8bit"`, `"adafactor"`, `"muon"`, `"sgd"`),
    and `recompute` (`"none"`, `"selective"`, `"full"`) of activations.
    check: the expected total, exact or rounded as in publications (`"175B"`, `"7.24B"`); `failures` lists models with
    another total, and models whose weights don't belong to their configuration.
    list_presets: list the architectures that `preset:` knows instead of counting.

        >>> attncli.params("gpt2").models[0].counted.total
        124439808

    Raises ModelError for a model that can't be loaded or has an impossible configuration, UsageError for an invalid
    option.
    """
    request = ParamsRequest(
        source, by, depth, set, untie, check, list_presets, context, batch, fit, lora, training, model,
        LoadingRequest(revision, refresh, trust_remote_code, allow_pickle), kv_dtype, kv_allocation, optimizer,
        recompute,
    )  # fmt: skip
    return run_params(request, progress)


def run_params(request: ParamsRequest, progress: Progress = silent) -> ParamsResult:
    """As `params`, from a whole request."""
    if request.list_presets:
        return _list_presets()
    by, costs_request = _check_by(request), _costs_request(request)
    expected = total_of("--check", request.check)
    if request.source is not None and request.source not in SOURCES:
        raise UsageError(f"--source can't be {request.source!r}", hint=f"it has to be one of {', '.join(SOURCES)}")
    changes = _parse_changes(request.set)
    shape_source = ShapeSource(cast("Source | None", request.source), changes, request.loading, progress)
    names = list_models(DEFAULT_MODEL if request.model is None else request.model)
    all_shapes = [_read_shapes(each, shape_source) for each in names]

    costs_request = _at_one_context(all_shapes, costs_request)
    counted = [_count_model(shapes, by, request.depth, costs_request, untie=request.untie) for shapes in all_shapes]
    models = tuple(model._replace(changes=changes) for model in counted)
    _check_cache_options(request, models)
    if costs_request.lora is not None:
        _check_lora(all_shapes, costs_request.lora, adapts=any(model.costs.lora for model in models))
    from attncli.parameters.count import compare_counts

    rows = compare_counts([model.counted for model in models])
    failed = None if expected is None else tuple(check_failures(models, expected))
    return ParamsResult(
        models, _provenance(all_shapes), rows, by=by, warnings=tuple(mismatch_warnings(models)), failures=failed
    )


def _list_presets() -> ParamsResult:
    from attncli.models.builtin.presets import preset_names, read_preset

    found = map(read_preset, preset_names())
    listed = (ListedPreset(p.name, p.title, p.published, p.source, p.aliases, p.notes) for p in found)
    return ParamsResult((), provenance(), presets=tuple(listed))


def _provenance(all_shapes: Sequence[ModelShapes]) -> MadeBy:
    """The library versions; for shapes from the cache, the versions that they were built with."""
    single = all_shapes[0] if len(all_shapes) == 1 else None
    current = provenance(
        *("transformers", "torch"),
        model_class=single.model_class if single else None,
        revision=single.revision if single else None,
    )
    return current._replace(**{name: version for shapes in all_shapes for name, version in shapes.versions.items()})


def _parse_changes(given: str | Sequence[str] | Mapping[str, object]) -> tuple[str, ...]:
    """The overrides as `key=value` strings. Raises UsageError for anything else."""
    if isinstance(given, Mapping):
        written = ((key, value if isinstance(value, str) else _to_json(key, value)) for key, value in given.items())
        return tuple(f"{key}={value}" for key, value in written)
    changes = (given,) if isinstance(given, str) else given
    if not isinstance(changes, Sequence) or not all(isinstance(change, str) for change in changes):
        raise UsageError(
            "set= has to be KEY=VALUE strings or a dictionary",
            hint='for instance "num_hidden_layers=48", or {"num_hidden_layers": 48}',
        )
    return tuple("=".join(part.strip() for part in change.split("=", 1)) for change in changes)


def _to_json(key: str, value: object) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError) as error:
        raise UsageError(f"--set {key} can't be {value!r}", hint="give a value that JSON can express") from error


def _check_by(request: ParamsRequest) -> Grouping:
    """`by`, checked. Raises UsageError for an unknown value, and for a depth where nothing is listed as a tree."""
    by, depth = request.by, request.depth
    if by not in BY:
        raise UsageError(f"--by can't be {by!r}", hint=f"it has to be one of {', '.join(BY)}")
    if depth is not None:
        check_number("--depth", depth, instance=2)
        if by not in _TREE_LISTINGS:
            raise UsageError("--depth needs a list of modules or tensors", hint="add --by module or --by tensor")
    return cast("Grouping", by)


def _costs_request(request: ParamsRequest) -> CostsRequest:
    from attncli.parameters.costs import CostsRequest
    from attncli.parameters.lora import parse_lora

    tokens, texts = count_of("--context", request.context), count_of("--batch", request.batch, instance="32") or 1
    memory = size_of("--fit", request.fit) or Size(0)
    return CostsRequest(
        tokens, texts, memory.size or None, memory.written, _training_request(request), parse_lora(request.lora),
        _kv_dtypes(request.kv_dtype), _chosen("--kv-allocation", request.kv_allocation, ALLOCATIONS) or "window",
    )  # fmt: skip


def _training_request(request: ParamsRequest) -> TrainingRequest | None:
    """How to train, if at all. Raises UsageError for an option of training without `--training`."""
    from attncli.parameters.training import TrainingRequest

    optimizer = _chosen("--optimizer", request.optimizer, OPTIMIZERS)
    recompute = _chosen("--recompute", request.recompute, RECOMPUTE)
    if request.training:
        default = TrainingRequest()
        return TrainingRequest(optimizer or default.optimizer, recompute or default.recompute)
    for option, given in (("--optimizer", optimizer), ("--recompute", recompute)):
        if given is not None:
            raise UsageError(f"{option} is an option of training", hint=f"add --training, or leave {option} out")
    return None


def _chosen(option: str, given: object, known: Sequence[str]) -> str | None:
    """One of the known values, or None. Raises UsageError for anything else."""
    if given is None or (isinstance(given, str) and given in known):
        return given
    raise UsageError(f"{option} can't be {given!r}", hint=f"{option} takes {', '.join(known)}")


def _kv_dtypes(given: str | Sequence[str] | None) -> tuple[str, str] | None:
    """The dtypes of cached keys and values. Raises UsageError for unknown ones, and for more than two."""
    if given is None:
        return None
    names = [name.strip() for name in given.split(",")] if isinstance(given, str) else list(given)
    known = ", ".join(KV_DTYPES)
    for name in names:
        if name not in KV_DTYPES:
            raise UsageError(f"there is no --kv-dtype {str(name)!r}", hint=f"it takes {known}")
    if not 1 <= len(names) <= 2:
        raise UsageError(
            f"--kv-dtype takes one dtype, or those of keys and values, not {len(names)}", hint=f"it takes {known}"
        )
    return names[0], names[-1]


def _read_shapes(model: Any, shape_source: ShapeSource) -> ModelShapes:
    if isinstance(model, str | Path):
        return shape_source.shapes(model)
    if shape_source.changes:
        raise UsageError(
            "--set can't change a module that is passed as an object", hint="build it from a changed configuration"
        )
    # No weights are read here, so that a pickle has no effect.
    options = shape_source.loading._replace(allow_pickle=False).given
    for name in (*(["source"] if shape_source.source else []), *options):
        raise UsageError(f"{name}= needs the name of a model, and this one is an object", hint="leave it out")
    return shapes_from_module(model)


def _count_model(
    shapes: ModelShapes, by: Grouping, depth: int | None, costs_request: CostsRequest, *, untie: bool
) -> ModelParameters:
    from attncli.parameters.costs import estimate_costs
    from attncli.parameters.count import InventoryShares, count_parameters, module_tree

    shares = InventoryShares(shapes.inventory)
    named = {"model": shapes.name, "source": shapes.source}
    counted = count_parameters(
        shapes.inventory, **named, untie=untie, by=by, depth=depth or _DEFAULT_DEPTH, shares=shares
    )
    cost = estimate_costs(
        shapes.inventory,
        costs_request,
        total=counted.total,
        generates=shapes.generates,
        shares=shares,
        stored=_stored(shapes, shares),
    )
    tree: tuple[Node, ...] = ()
    if by in _TREE_LISTINGS:
        listed = [entry.share for entry in (shares.untied if untie else shares.unique)]
        tree = module_tree(listed, depth=depth or (_DEFAULT_DEPTH if by == "module" else None), tensors=by == "tensor")
    untied = ["tied tensors are counted once per name"] if untie and shapes.inventory.tied else []
    return ModelParameters(
        counted,
        cost,
        model_class=shapes.model_class,
        dtype=shapes.dtype,
        stored_bytes=shapes.stored_bytes,
        files=shapes.files,
        notes=(*shapes.notes, *_packing_notes(shapes), *untied),
        reconciliation=shapes.reconciliation,
        unknown_packing=shapes.unknown_packing,
        tree=tree,
    )


def _stored(shapes: ModelShapes, shares: InventoryShares) -> Stored:
    """What the files of a model say of its format, and of its cache."""
    from attncli.parameters.costs import Stored
    from attncli.parameters.published import cache_scheme, published_format
    from attncli.results.cache import UNPACKED_DTYPES, USUAL_CACHE_DTYPE, CacheDtypes

    # The dtype of a preset alone says nothing about its files: DeepSeek's are packed.
    is_known = shapes.source != "preset" or shapes.quantization is not None
    published = shapes.published or (
        published_format(shares.unique, shapes.quantization, shapes.dtype) if is_known else None
    )
    published = published or _published_in_listing(shapes)
    # A cache has the dtype of the weights, and half precision where these are packed.
    usual = shapes.dtype if shapes.dtype in UNPACKED_DTYPES else USUAL_CACHE_DTYPE
    dtypes = CacheDtypes(usual, usual, shapes.state_dtype or usual)
    dtype, prescribed = cache_scheme(shapes.quantization)
    if dtype is not None:
        note = f"its quantization prescribes a cache in {dtype}"
        return Stored(published, CacheDtypes(dtype, dtype, dtypes.states), True, (note,))
    unknown = f"its quantization prescribes a cache in a format that isn't known here: {usual} is counted"
    return Stored(published, dtypes, notes=(unknown,) if prescribed else ())


def _published_in_listing(shapes: ModelShapes) -> Published | None:
    """The weights in a packed format of which only the name is known, by the size of their files."""
    from attncli.results.costs import Published

    method, size = (shapes.quantization or {}).get("quant_method"), sum(file.bytes for file in shapes.files or ())
    if not isinstance(method, str) or not size or not shapes.inventory.total or shapes.unknown_packing is not None:
        return None
    return Published(method, size, 8 * size / shapes.inventory.total)


def _at_one_context(all_shapes: Sequence[ModelShapes], costs_request: CostsRequest) -> CostsRequest:
    """The request with a context for all of several models: the shortest that they are made for."""
    if len(all_shapes) == 1 or costs_request.context is not None:
        return costs_request
    from attncli.parameters.costs import longest_text
    from attncli.parameters.count import InventoryShares
    from attncli.parameters.inventory import Settings

    inventories = [shapes.inventory for shapes in all_shapes]
    longest = [longest_text(InventoryShares(each).untied, Settings(each.settings)) for each in inventories]
    return costs_request._replace(context=min((tokens for tokens in longest if tokens is not None), default=None))


def _check_cache_options(request: ParamsRequest, models: Sequence[ModelParameters]) -> None:
    """Raise UsageError for an option of caches where no model has one."""
    if any(model.costs.cache for model in models):
        return
    for option, given in (("--kv-dtype", request.kv_dtype), ("--kv-allocation", request.kv_allocation)):
        if given is not None:
            names = " and ".join(model.name for model in models)
            raise UsageError(
                f"{names} caches nothing, as it doesn't generate token by token", hint=f"leave {option} out"
            )


def _check_lora(all_shapes: Sequence[ModelShapes], lora_request: LoraRequest, *, adapts: bool) -> None:
    """Raise UsageError for a name that no model has, and where no model has anything to adapt."""
    if adapts and not lora_request.modules:
        return
    from attncli.parameters.count import InventoryShares
    from attncli.parameters.lora import no_matrix_error, unknown_name, unknown_name_error

    located, names = [InventoryShares(each.inventory).unique for each in all_shapes], [each.name for each in all_shapes]
    everything = [entry for model in located for entry in model]
    unknown = unknown_name(located, lora_request)
    if unknown is not None:
        raise unknown_name_error(unknown, names, everything)
    if not adapts:
        raise no_matrix_error(names, everything, lora_request)


def _counts_header(source: str) -> bool:
    """Whether any part of a model is counted by the header of its weights."""
    return "header" in source


def _packing_notes(shapes: ModelShapes) -> Iterator[str]:
    if shapes.unknown_packing is None:
        return
    if _counts_header(shapes.source):
        yield (
            f"the packed format of {shapes.unknown_packing} is unknown: its stored elements are counted, not its "
            "weights"
        )
    else:
        yield (
            f"its weights can't be compared with its configuration: the packed format of {shapes.unknown_packing} "
            "is unknown"
        )


# --- Warnings and `--check`


def mismatch_warnings(models: Sequence[ModelParameters]) -> Iterator[str]:
    """A sentence for each model whose configuration and weights disagree, or can't be compared."""
    for model in models:
        found, name = model.reconciliation, model.counted.model
        if model.unknown_packing is not None:
            what = f"parameters of {name} can't be counted"
            if not _counts_header(model.counted.source):
                what = f"weights of {name} can't be compared with its configuration"
            yield f"the {what}: the packed format of {model.unknown_packing} is unknown"
        if found is None or found.agrees:
            continue
        if found.is_same_model:
            yield f"the weights of {name} contain {found.unexpected:,} elements that the model doesn't have"
        else:
            yield f"the weights of {name} don't match its configuration"


def check_failures(models: Sequence[ModelParameters], expected: Total) -> Iterator[str]:
    """A sentence for each model with another total than expected, whose weights are of another model, or are unknown.

    Where a published way of counting gives the expected total, the sentence names it.
    """
    for model in models:
        total, held = model.counted.total, model.reconciliation
        if model.unknown_packing is not None and _counts_header(model.counted.source):
            yield (
                f"{model.name} can't be checked: the packed format of {model.unknown_packing} is unknown, so "
                "its parameters "
                "can't be counted by the header (--source config counts them by config.json)"
            )
        elif not expected.holds(total):
            more = total - expected.number
            than = f"{abs(more):,} {'more' if more > 0 else 'fewer'} than the {expected.written} expected"
            readings = (each for each in model.counted.readings if expected.holds(each.total))
            reading = next((f"; {each.name} gives this number: {each.source}" for each in readings), "")
            yield f"{model.name} has {total:,} parameters, {than}{reading}"
        elif held is not None and not held.is_same_model:
            yield (
                f"the configuration of {model.name} has {total:,} parameters, as expected, but its weights don't match "
                f"it: {held.matched:,} of these parameters are among their {held.checkpoint_total:,} elements "
                "(--source header counts the weights)"
            )
