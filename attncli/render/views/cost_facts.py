"""What `attn params` says about costs: memory, cache, what fits, compute, training and adapters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from attncli.render.common.escape import printable
from attncli.render.common.numbers import bytes_text, context_text, flops_text, share_text
from attncli.results.cache import Amount, Cache, CachePartBytes
from attncli.results.costs import Costs, Fit, Fits, Flops, Lora, Published, Training, TrainingFit, TrainingSetup

#: Where there is no number.
NOTHING = "·"
#: The dtype of comparisons, which nearly every model runs in.
USUAL_DTYPE = "bfloat16"
#: Left out, as it takes the same memory as bfloat16.
_DUPLICATE_DTYPE = "float16"
#: Formats that are in the data alone: a dtype of another's size, and mixes between others.
_NOT_SHOWN = (_DUPLICATE_DTYPE, "Q8_0", "Q6_K", "Q5_K_M")
#: The dtypes and mixes whose sums with the cache are shown.
_SHOWN_SUMS = ("bfloat16", "int8", "Q4_K_M", "int4")
_MAX_SUMS = 3
#: Of a context that memory doesn't limit.
_ITS_MOST = ", all that it is made for"
#: What the parts of a cache are called.
_PART_NAMES = {
    "growing": "growing",
    "window": "in windows",
    "constant": "constant",
    "index": "index keys",
    "compressed": "in blocks",
}


class Facts(NamedTuple):
    """Facts under a label, which is empty where they belong to the label above."""

    label: str
    facts: tuple[str, ...]


def labelled(label: str, facts: Iterable[str]) -> list[Facts]:
    """The facts, escaped; nothing without any."""
    texts = tuple(map(printable, facts))
    return [Facts(label, texts)] if texts else []


def answer_facts(costs: Costs) -> Iterator[Facts]:
    """What is asked first: memory, cache, what fits, arithmetic."""
    yield from labelled("memory", _memory_facts(costs))
    if costs.cache is not None:
        yield from labelled("cache", _cache_facts(costs.cache))
    if costs.fits is None:
        yield from labelled("together", _sum_facts(costs))
    yield from requested_facts(costs)
    if costs.flops is not None:
        yield from labelled("arithmetic", _arithmetic_facts(costs.flops, costs.attends))


def requested_facts(costs: Costs) -> Iterator[Facts]:
    """What an option asked for: what fits, training, adapters."""
    if costs.fits is not None and not costs.fits.training:
        yield from _fit_facts(costs.fits, caches=costs.cache is not None)
    yield from _training_facts(costs)
    if costs.lora:
        yield from labelled("LoRA", _lora_facts(costs.lora))


def further_facts(costs: Costs) -> Iterator[Facts]:
    """What only a few want: the cache in detail, llama.cpp's mixes, bits by component, attention at other lengths."""
    if costs.mixes:
        yield from labelled("llama.cpp", (f"{name} {bytes_text(size)}" for name, size in costs.mixes.items()))
    if costs.published is not None:
        yield from labelled("stored", _component_bits(costs.published))
    if costs.cache is not None:
        yield from labelled("in layers", _layer_facts(costs.cache))
    yield from labelled("attention", _growth_facts(costs.growth))
    if costs.flops is not None and costs.attention_entries_per_head is not None:
        context = f"{costs.flops.context:,}"
        entries = f"{context} × {context} = {costs.attention_entries_per_head:,} weights a head"
        yield from labelled("pattern", [entries])


def _memory_facts(costs: Costs) -> Iterator[str]:
    found = costs.published
    if found is not None and found.is_packed:
        yield f"as published {bytes_text(found.bytes)}, {found.format}, {found.bits_per_weight:.3g} bits a weight"
    for dtype, size in costs.memory.items():
        if dtype != _DUPLICATE_DTYPE:
            yield f"{dtype} {bytes_text(size)}"
    if "Q4_K_M" in costs.mixes:
        yield f"Q4_K_M {bytes_text(costs.mixes['Q4_K_M'])}"


def _component_bits(found: Published) -> Iterator[str]:
    for each in found.components:
        yield f"{each.component} {each.bits_per_weight:.3g} bits, {bytes_text(each.bytes)}"


# --- The cache


def _cache_facts(cache: Cache) -> Iterator[str]:
    """All of it, then its parts, each with what a token adds and in how many layers."""
    texts = "" if cache.batch == 1 else f" of each of {cache.batch:,} texts"
    yield f"{bytes_text(cache.bytes)} for {cache.context:,} tokens{texts} in {cache.dtypes.name}"
    parts = cache.byte_parts
    for part in parts:
        yield _part_text(part, whole=len(parts) == 1)


def _part_text(part: CachePartBytes, *, whole: bool) -> str:
    layers = f"{part.layers:,} layer{'' if part.layers == 1 else 's'}"
    added = f"{bytes_text(part.bytes_per_token)} a token in {layers}" if part.bytes_per_token else f"in {layers}"
    if whole and part.kind == "growing":
        return added
    size = "" if whole else f" {bytes_text(part.bytes)}"
    return f"{_PART_NAMES[part.kind]}{size}{', ' if part.bytes_per_token else ' '}{added}"


def _layer_facts(cache: Cache) -> Iterator[str]:
    def sized(amount: Amount) -> str:
        return bytes_text(amount.bytes(cache.dtypes))

    if cache.per_token:
        yield f"{sized(cache.growth)} a token in all"
    if cache.windows and cache.beyond_windows != cache.per_token:
        for window, layers in cache.windows.items():
            yield f"the last {window:,} tokens alone in {_layer_count(layers, cache.attending)}"
        yield f"{sized(cache.growth_beyond)} a token beyond"
    if cache.index_keys:
        keys = sized(Amount(cache.index_keys))
        yield f"index keys {keys} a token in {_layer_count(cache.indexed, cache.attending)}"
    for ratio, layers in cache.ratios.items():
        yield f"one entry for {ratio:,} tokens in {_layer_count(layers, cache.attending)}"
    if cache.cross:
        values = sum(layer.cross_values for layer in cache.layers)
        cross = sized(Amount(cache.cross - values, values))
        other = "a token of the other sequence"
        if cache.cross_positions is not None:
            other = f"for each of the encoder's {cache.cross_positions:,} positions"
        yield f"{cross} {other}"
    if cache.state:
        states = sized(Amount(states=cache.state))
        yield f"states of {states} in {_layer_count(cache.with_state, cache.with_state)}"


def _layer_count(layers: int, total: int) -> str:
    among = "" if layers == total else f" of {total:,}"
    return f"{layers:,}{among} layer{'' if total == 1 else 's'}"


# --- What fits


def _sum_facts(costs: Costs) -> Iterator[str]:
    """Weights and cache together, by the format of the weights."""
    if costs.cache is None:
        return
    found, cache = costs.published, costs.cache.bytes
    if found is not None and found.is_packed:
        yield f"{found.format} {bytes_text(found.bytes + cache)}"
    sizes = {**costs.memory, **costs.mixes}
    names = [name for name in _SHOWN_SUMS if name in sizes][:_MAX_SUMS]
    told = [f"{name} {bytes_text(sizes[name] + cache)}" for name in names]
    yield from (*told[:-1], f"{told[-1]} with this cache")


def _fit_facts(fits: Fits, *, caches: bool) -> Iterator[Facts]:
    """What fits by the format of the weights, for each cache; then what doesn't, and by how much."""
    yield from labelled("fit", _fit_heading(fits, caches=caches))
    by_weights: dict[str, list[Fit]] = {}
    for choice in fits.choices:
        if choice.weights not in _NOT_SHOWN:
            by_weights.setdefault(choice.weights, []).append(choice)
    by_text: dict[tuple[str, ...], list[str]] = {}
    for weights, choices in by_weights.items():
        by_text.setdefault(tuple(_choice_texts(choices, fits, caches=caches)), []).append(weights)
    for (first, *others), names in ((told, names) for told, names in by_text.items() if told):
        yield from labelled("", [f"{', '.join(names)}: {first}", *others])
    smallest = {weights: min(choice.missing for choice in choices) for weights, choices in by_weights.items()}
    yield from labelled("", _missing_facts({weights: size for weights, size in smallest.items() if size}))


def _fit_heading(fits: Fits, *, caches: bool) -> Iterator[str]:
    texts = "" if fits.batch == 1 else f" of {fits.batch:,} texts"
    about = f", the longest context{texts}" if fits.context is None else f", {fits.context:,} tokens{texts}"
    yield f"in {_budget_text(fits)}{about if caches else ''}"
    caching = {choice.cache for choice in fits.choices}
    if caches and len(caching) == 1:
        yield f"cache in {caching.pop()}"
    if caches and fits.made_for is not None:
        yield f"made for {fits.made_for:,} tokens"


def _missing_facts(missing: Mapping[str, int]) -> Iterator[str]:
    """What doesn't fit whatever the cache. missing: bytes by the format of the weights."""
    for index, (weights, size) in enumerate(missing.items()):
        yield f"{'' if index else 'too little for '}{weights} by {bytes_text(size)}"


def _choice_texts(choices: Sequence[Fit], fits: Fits, *, caches: bool) -> Iterator[str]:
    """What fits of one format of the weights, by the dtype of the cache; nothing where nothing does."""
    if all(choice.missing for choice in choices):
        return
    if not caches or fits.context is not None:
        told = [_room_text(choice, fits) for choice in choices]
    else:
        told = [_longest_text(choice, caches=caches) for choice in choices]
    if not caches or len(choices) == 1:
        yield told[0]
    elif len(set(told)) == 1:
        yield f"{told[0]} in any cache"
    else:
        for text, choice in zip(told, choices, strict=True):
            yield f"{choice.cache} {text.replace(f' tokens{_ITS_MOST}', ', its most')}"


def _room_text(choice: Fit, fits: Fits) -> str:
    if choice.missing:
        return f"lacks {bytes_text(choice.missing)}"
    return f"leaves {bytes_text(fits.budget - choice.needed)}"


def _budget_text(fits: Fits) -> str:
    """The budget as it was written, and in binary units."""
    converted, written = bytes_text(fits.budget), fits.written or "iB"
    return converted if written.endswith("iB") and "×" not in written else f"{written} ({converted})"


def _longest_text(choice: Fit, *, caches: bool) -> str:
    """The longest context that fits. caches: whether memory depends on the length."""
    if choice.context is None:
        return "any length" if caches else "fits"
    limit = _ITS_MOST if choice.by_positions else ""
    return f"{choice.context:,} tokens{limit}" if choice.context else "does not fit"


# --- Training


def _training_facts(costs: Costs) -> Iterator[Facts]:
    setup, label = costs.training_setup, "training"
    for dtype, need in costs.training.items():
        adapters = costs.lora is not None
        yield from labelled(label, _need_facts(dtype, need, setup, adapters=adapters))
        label = ""
    if setup is None:
        return
    texts = f"{setup.batch:,} text{'' if setup.batch == 1 else 's'} of {setup.context:,} tokens"
    yield from labelled("", [f"{texts}, recompute {setup.recompute}", f"left out: {setup.leaves_out}"])
    if costs.fits is not None and costs.fits.training:
        yield from labelled("fit", _training_fit_facts(costs.fits, setup))


def _need_facts(dtype: str, need: Training, setup: TrainingSetup | None, *, adapters: bool) -> Iterator[str]:
    yield f"{dtype} {bytes_text(need.total)}{' to train adapters alone' if adapters else ''}"
    yield f"weights {bytes_text(need.weights)}"
    yield f"gradients {bytes_text(need.gradients)}"
    yield f"{setup.optimizer if setup else 'AdamW'} {bytes_text(need.optimizer)}"
    if need.master:
        yield f"float32 copy {bytes_text(need.master)}"
    if need.activations is not None:
        yield f"activations {bytes_text(need.activations)}"


def _training_fit_facts(fits: Fits, setup: TrainingSetup) -> Iterator[str]:
    yield f"in {_budget_text(fits)}, the largest batch of texts of {setup.context:,} tokens"
    for each in fits.training:
        yield f"{each.weights}: {_batch_text(each, setup)}"


def _batch_text(fit: TrainingFit, setup: TrainingSetup) -> str:
    if not fit.missing:
        return "any batch" if fit.batch is None else f"{fit.batch:,} text{'' if fit.batch == 1 else 's'}"
    asked = "" if setup.batch == 1 else f" with {setup.batch:,} texts"
    smaller = f"; {fit.batch:,} would fit" if fit.batch else ""
    return f"does not fit{asked}, {bytes_text(fit.missing)} too much{smaller}"


def _lora_facts(lora: Lora) -> Iterator[str]:
    yield f"rank {lora.rank:,} adds {lora.parameters:,}"
    for component in lora.components:
        matrices = f"{component.matrices:,} {'matrix' if component.matrices == 1 else 'matrices'}"
        yield f"{component.component} {component.parameters:,} in {matrices}"


# --- Arithmetic


def _arithmetic_facts(flops: Flops, attends: bool) -> Iterator[str]:
    if not attends:
        yield f"{flops_text(flops.total)} a token, however long the text"
        return
    yield f"{flops_text(flops.total)} a token at {flops.context:,} tokens"
    yield f"attention {flops_text(flops.attention)} of it"


def _growth_facts(growth: Iterable[Flops]) -> Iterator[str]:
    for index, flops in enumerate(growth):
        share, context = share_text(flops.attention_share), context_text(flops.context)
        yield f"{share} at {context}" if index else f"{share} of the arithmetic at {context} tokens"


# --- Several models


def compared_costs(costs: Sequence[Costs]) -> Iterator[tuple[str, list[str]]]:
    """The costs of several models, in the usual dtype and at one context: a label, and a text for each model."""
    yield f"memory, {USUAL_DTYPE}", [bytes_text(cost.memory[USUAL_DTYPE]) for cost in costs]
    if any(cost.published and cost.published.is_packed for cost in costs):
        yield "  as published", [bytes_text(cost.published.bytes) if cost.published else NOTHING for cost in costs]
    if any(cost.mixes for cost in costs):
        sizes = [cost.mixes.get("Q4_K_M") for cost in costs]
        yield "  Q4_K_M", [NOTHING if size is None else bytes_text(size) for size in sizes]
    if any(cost.cache for cost in costs):
        yield "cache a token", [_per_token(cost.cache) for cost in costs]
        yield "cache", [bytes_text(cost.cache.bytes) if cost.cache else NOTHING for cost in costs]
    yield "  at tokens", [f"{cost.flops.context:,}" if cost.flops else NOTHING for cost in costs]
    if any(cost.fits and not cost.fits.training for cost in costs):
        yield f"longest context, {USUAL_DTYPE}", [_longest_context(cost, USUAL_DTYPE) for cost in costs]
        if any(cost.mixes for cost in costs):
            yield "  Q4_K_M", [_longest_context(cost, "Q4_K_M") for cost in costs]
    yield "arithmetic a token", [flops_text(cost.flops.total) if cost.flops else NOTHING for cost in costs]
    if any(cost.training for cost in costs):
        totals = [cost.training[USUAL_DTYPE].total if cost.training else None for cost in costs]
        yield f"training, {USUAL_DTYPE}", [NOTHING if total is None else bytes_text(total) for total in totals]
        if any(cost.fits and cost.fits.training for cost in costs):
            yield "  largest batch", [_largest_batch(cost) for cost in costs]
    if any(cost.lora for cost in costs):
        yield "LoRA", [f"{cost.lora.parameters:,}" if cost.lora else NOTHING for cost in costs]


def _per_token(cache: Cache | None) -> str:
    return NOTHING if cache is None else bytes_text(cache.growth.bytes(cache.dtypes))


def _longest_context(costs: Costs, weights: str) -> str:
    choices = costs.fits.choices if costs.fits else ()
    found = (choice for choice in choices if choice.weights == weights)
    texts = (_longest_text(each._replace(by_positions=False), caches=costs.cache is not None) for each in found)
    return next(texts, NOTHING)


def _largest_batch(costs: Costs) -> str:
    found = costs.fits.training if costs.fits else ()
    batches = (each.batch for each in found if each.weights == USUAL_DTYPE)
    return next(("any" if batch is None else f"{batch:,}" for batch in batches), NOTHING)
