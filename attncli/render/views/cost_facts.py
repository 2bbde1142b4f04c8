"""What `attn params` says about costs: memory, cache, compute, training and adapters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from attncli.render.common.escape import printable
from attncli.render.common.numbers import bytes_text, context_text, flops_text, share_text
from attncli.results.costs import CACHE_BITS, Cache, Costs, Fits, Flops, Lora, Training, in_bytes

#: Where there is no number.
NOTHING = "·"
#: The dtype of caches and of comparisons, which nearly every model runs in.
USUAL_DTYPE = "bfloat16"
#: Left out, as it takes the same memory as bfloat16.
_DUPLICATE_DTYPE = "float16"


class Facts(NamedTuple):
    """Facts under a label, which is empty where they belong to the label above."""

    label: str
    facts: tuple[str, ...]


def labelled(label: str, facts: Iterable[str]) -> list[Facts]:
    """The facts, escaped; nothing without any."""
    texts = tuple(map(printable, facts))
    return [Facts(label, texts)] if texts else []


def cost_facts(costs: Costs) -> Iterator[Facts]:
    """Memory, cache, compute and attention."""
    memory = (f"{dtype} {bytes_text(size)}" for dtype, size in costs.memory.items() if dtype != _DUPLICATE_DTYPE)
    yield from labelled("memory", memory)
    found = costs.published
    if found is not None and found.is_packed:
        published = f"{found.format} {bytes_text(found.bytes)}, {found.bits_per_weight:.3g} bits a weight"
        yield from labelled("published", [published])
    if costs.cache is not None:
        yield from labelled("cache", _cache_facts(costs.cache))
    yield from labelled("arithmetic", _arithmetic_facts(costs.flops, costs.attends))
    yield from labelled("attention", _growth_facts(costs.growth))
    if costs.attention_entries_per_head is not None:
        context = f"{costs.flops.context:,}"
        entries = f"{context} × {context} = {costs.attention_entries_per_head:,} weights a head"
        yield from labelled("pattern", [entries])


def optional_costs(costs: Costs) -> Iterator[Facts]:
    """Costs that are shown on request: the longest context that fits, training, adapters."""
    if costs.fits is not None:
        yield from labelled("fit", _fit_facts(costs.fits, caches=costs.cache is not None))
    for index, (dtype, need) in enumerate(costs.training.items()):
        training = _training_facts(dtype, need, adapters=costs.lora is not None)
        yield from labelled("" if index else "training", training)
    if costs.lora:
        yield from labelled("LoRA", _lora_facts(costs.lora))


def _cache_facts(cache: Cache) -> Iterator[str]:
    if cache.per_token:
        yield f"{_cache_bytes(cache.per_token)} a token in {USUAL_DTYPE}"
    if cache.windows and cache.beyond_windows != cache.per_token:
        for window, layers in cache.windows.items():
            yield f"the last {window:,} tokens alone in {_layer_count(layers, cache.attending)}"
        yield f"{_cache_bytes(cache.beyond_windows)} a token beyond"
    if cache.index_keys:
        yield f"of which index keys {_cache_bytes(cache.index_keys)} in {_layer_count(cache.indexed, cache.attending)}"
    for ratio, layers in cache.ratios.items():
        yield f"one entry for {ratio:,} tokens in {_layer_count(layers, cache.attending)}"
    if cache.cross and cache.cross_positions is None:
        yield f"{_cache_bytes(cache.cross)} a token of the other sequence"
    elif cache.cross:
        yield f"{_cache_bytes(cache.cross)} for each of the encoder's {cache.cross_positions:,} positions"
    if cache.state:
        yield f"states of {_cache_bytes(cache.state)} in {_layer_count(cache.with_state, cache.with_state)}"
    texts = "" if cache.batch == 1 else f" of each of {cache.batch:,} texts"
    yield f"{_cache_bytes(cache.numbers())} for {cache.context:,} tokens{texts}"


def _layer_count(layers: int, total: int) -> str:
    among = "" if layers == total else f" of {total:,}"
    return f"{layers:,}{among} layer{'' if total == 1 else 's'}"


def _cache_bytes(numbers: int) -> str:
    return bytes_text(in_bytes(numbers, CACHE_BITS[USUAL_DTYPE]))


def _arithmetic_facts(flops: Flops, attends: bool) -> Iterator[str]:
    if not attends:
        yield f"{flops_text(flops.total)} a token, however long the text"
        return
    yield f"{flops_text(flops.total)} a token at {flops.context:,} tokens"
    yield f"parameters {flops_text(flops.linear)}"
    yield f"attention {flops_text(flops.attention)}"


def _growth_facts(growth: Iterable[Flops]) -> Iterator[str]:
    for index, flops in enumerate(growth):
        share, context = share_text(flops.attention_share), context_text(flops.context)
        yield f"{share} at {context}" if index else f"{share} of the arithmetic at {context} tokens"


def _fit_facts(fits: Fits, *, caches: bool) -> Iterator[str]:
    # The budget as it was written, and in binary units.
    converted, written = bytes_text(fits.budget), fits.written or "iB"
    budget = converted if written.endswith("iB") and "×" not in written else f"{written} ({converted})"
    texts = "" if fits.batch == 1 else f" of {fits.batch:,} texts"
    yield f"in {budget}{f', the longest context{texts}' if caches else ''}"
    if caches and fits.made_for is not None:
        yield f"made for {fits.made_for:,} tokens"
    for choice in fits.choices:
        if choice.weights == _DUPLICATE_DTYPE:
            continue
        cache = "" if choice.cache == choice.weights or not caches else f" (cache {choice.cache})"
        limit = ", all that it is made for" if choice.by_positions else ""
        yield f"{choice.weights}{cache} {_longest_text(choice.context, caches=caches)}{limit}"


def _longest_text(context: int | None, *, caches: bool) -> str:
    """The longest context that fits; None is any length.  caches: whether memory depends on the length."""
    if context is None:
        return "any length" if caches else "fits"
    return f"{context:,} tokens" if context else "does not fit"


def _training_facts(dtype: str, need: Training, *, adapters: bool) -> Iterator[str]:
    yield f"{dtype} {bytes_text(need.total)}{', of the adapters alone' if adapters else ''}"
    yield f"weights {bytes_text(need.weights)}"
    yield f"gradients {bytes_text(need.gradients)}"
    yield f"AdamW {bytes_text(need.optimizer)}"
    if need.master:
        yield f"float32 copy {bytes_text(need.master)}"


def _lora_facts(lora: Lora) -> Iterator[str]:
    yield f"rank {lora.rank:,} adds {lora.parameters:,}"
    for component in lora.components:
        matrices = f"{component.matrices:,} {'matrix' if component.matrices == 1 else 'matrices'}"
        yield f"{component.component} {component.parameters:,} in {matrices}"


def compared_costs(costs: Sequence[Costs]) -> Iterator[tuple[str, list[str]]]:
    """The costs of several models, in the usual dtype: a label, and a text for each model."""
    yield f"memory, {USUAL_DTYPE}", [bytes_text(cost.memory[USUAL_DTYPE]) for cost in costs]
    if any(cost.published and cost.published.is_packed for cost in costs):
        yield "  as published", [bytes_text(cost.published.bytes) if cost.published else NOTHING for cost in costs]
    if any(cost.cache for cost in costs):
        per_token = [cost.cache.per_token if cost.cache else 0 for cost in costs]
        yield f"cache a token, {USUAL_DTYPE}", [_cache_bytes(numbers) for numbers in per_token]
    yield "arithmetic", [flops_text(cost.flops.total) for cost in costs]
    yield "  at tokens", [f"{cost.flops.context:,}" for cost in costs]
    if any(cost.fits for cost in costs):
        yield f"longest context, {USUAL_DTYPE}", [_longest_context(cost) for cost in costs]
    if any(cost.training for cost in costs):
        totals = [cost.training[USUAL_DTYPE].total if cost.training else None for cost in costs]
        yield f"training, {USUAL_DTYPE}", [NOTHING if total is None else bytes_text(total) for total in totals]
    if any(cost.lora for cost in costs):
        yield "LoRA", [f"{cost.lora.parameters:,}" if cost.lora else NOTHING for cost in costs]


def _longest_context(costs: Costs) -> str:
    choices = costs.fits.choices if costs.fits else ()
    contexts = (choice.context for choice in choices if choice.weights == USUAL_DTYPE)
    return next((_longest_text(context, caches=costs.cache is not None) for context in contexts), "")
