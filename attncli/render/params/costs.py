"""What a model costs, in a few lines under labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attncli.render.glyphs import glyphs
from attncli.render.lines import Line
from attncli.render.params.labelled import labelled
from attncli.render.params.quantities import bytes_text, context_text, flops_text, longest_text, share_text
from attncli.render.terminal import Terminal
from attncli.results.costs import CACHE_BITS, Cache, Costs, Fits, Flops, Lora, Training, in_bytes

#: float16 takes what bfloat16 does, and would only be said twice.
_SAME = "float16"
#: The dtype that caches are told in: the one that nearly every model runs in.
_USUAL = "bfloat16"


def cost_lines(costs: Costs, terminal: Terminal) -> list[Line]:
    """Memory, cache and arithmetic."""
    memory = (f"{dtype} {bytes_text(size)}" for dtype, size in costs.memory.items() if dtype != _SAME)
    lines = labelled("memory", memory, terminal)
    if costs.cache is not None:
        lines += labelled("cache", _cache(costs.cache), terminal)
    lines += labelled("arithmetic", _arithmetic(costs.flops, costs.attends), terminal)
    if costs.growth:
        lines += labelled("attention", _growth(costs.growth), terminal)
    if costs.attention_entries_per_head is not None:
        lines += labelled("pattern", [_pattern(costs, terminal)], terminal)
    return lines


def asked_lines(costs: Costs, terminal: Terminal) -> list[Line]:
    """What is said only where it was asked for: what fits, training, adapters."""
    lines: list[Line] = []
    if costs.fits is not None:
        lines += labelled("fit", _fits(costs.fits, caches=costs.cache is not None), terminal)
    for index, (dtype, need) in enumerate(costs.training.items()):
        lines += labelled(
            "" if index else "training", _training(dtype, need, adapters=costs.lora is not None), terminal
        )
    return lines + (labelled("LoRA", _lora(costs.lora), terminal) if costs.lora else [])


def _cache(cache: Cache) -> Iterator[str]:
    if cache.per_token:
        yield f"{_cached(cache.per_token)} a token in {_USUAL}"
    if cache.windows and cache.beyond_windows != cache.per_token:
        for window, layers in cache.windows.items():
            yield f"the last {window:,} tokens alone in {_of(layers, cache.attending)}"
        yield f"{_cached(cache.beyond_windows)} a token beyond"
    if cache.cross:
        yield f"{_cached(cache.cross)} a token of the other sequence"
    if cache.state:
        yield f"states of {_cached(cache.state)} in {_of(cache.with_state, cache.with_state)}"
    texts = "" if cache.batch == 1 else f" of each of {cache.batch:,} texts"
    yield f"{_cached(cache.numbers())} for {cache.context:,} tokens{texts}"


def _of(layers: int, whole: int) -> str:
    among = "" if layers == whole else f" of {whole:,}"
    return f"{layers:,}{among} layer{'' if whole == 1 else 's'}"


def _cached(numbers: int) -> str:
    return bytes_text(in_bytes(numbers, CACHE_BITS[_USUAL]))


def _arithmetic(flops: Flops, attends: bool) -> Iterator[str]:
    if not attends:
        yield f"{flops_text(flops.total)} a token, however long the text"
        return
    yield f"{flops_text(flops.total)} a token at {flops.context:,} tokens"
    yield f"matrices {flops_text(flops.linear)}"
    yield f"attention {flops_text(flops.attention)}"


def _growth(growth: Iterable[Flops]) -> Iterator[str]:
    for index, flops in enumerate(growth):
        share, context = share_text(flops.attention_share), context_text(flops.context)
        yield f"{share} at {context}" if index else f"{share} of the arithmetic at {context} tokens"


def _pattern(costs: Costs, terminal: Terminal) -> str:
    times, context = glyphs(terminal).times, f"{costs.flops.context:,}"
    return f"{context} {times} {context} = {costs.attention_entries_per_head:,} weights a head"


def _fits(fits: Fits, *, caches: bool) -> Iterator[str]:
    texts = "" if fits.batch == 1 else f" of {fits.batch:,} texts"
    yield f"in {bytes_text(fits.budget)}{f', the longest context{texts}' if caches else ''}"
    if caches and fits.made_for is not None:
        yield f"made for {fits.made_for:,} tokens"
    for choice in fits.choices:
        if choice.weights == _SAME:
            continue
        beside = "" if choice.cache == choice.weights or not caches else f" (cache {choice.cache})"
        yield f"{choice.weights}{beside} {longest_text(choice.context, caches=caches)}"


def _training(dtype: str, need: Training, *, adapters: bool) -> Iterator[str]:
    yield f"{dtype} {bytes_text(need.total)}{', of the adapters alone' if adapters else ''}"
    yield f"weights {bytes_text(need.weights)}"
    yield f"gradients {bytes_text(need.gradients)}"
    yield f"AdamW {bytes_text(need.optimizer)}"
    if need.master:
        yield f"float32 copy {bytes_text(need.master)}"


def _lora(lora: Lora) -> Iterator[str]:
    yield f"rank {lora.rank:,} adds {lora.parameters:,}"
    for component in lora.components:
        matrices = f"{component.matrices:,} {'matrix' if component.matrices == 1 else 'matrices'}"
        yield f"{component.component} {component.parameters:,} in {matrices}"
