"""What a model costs in a terminal: memory, cache, compute, training, adapters; with formats of numbers and names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from attncli.render.common.cells import cell_width, glyphs, shorten
from attncli.render.common.escape import SLASHES, name_text
from attncli.render.common.lines import Line
from attncli.render.common.terminal import Terminal
from attncli.render.params.grid import fact_lines
from attncli.results.costs import CACHE_BITS, Cache, Costs, Fits, Flops, Lora, Published, Training, in_bytes

#: The dtype of caches and of comparisons, which nearly every model runs in.
USUAL_DTYPE = "bfloat16"
#: Left out, as it takes the same memory as bfloat16.
_DUPLICATE_DTYPE = "float16"


def cost_lines(costs: Costs, terminal: Terminal) -> list[Line]:
    """Facts about memory, cache, compute and attention."""
    memory = (f"{dtype} {bytes_text(size)}" for dtype, size in costs.memory.items() if dtype != _DUPLICATE_DTYPE)
    lines = fact_lines("memory", memory, terminal)
    if costs.published is not None and costs.published.is_packed:
        lines += fact_lines("published", [published_text(costs.published)], terminal)
    if costs.cache is not None:
        lines += fact_lines("cache", _cache_facts(costs.cache), terminal)
    lines += fact_lines("arithmetic", _arithmetic_facts(costs.flops, costs.attends), terminal)
    if costs.growth:
        lines += fact_lines("attention", _growth_facts(costs.growth), terminal)
    if costs.attention_entries_per_head is not None:
        lines += fact_lines("pattern", [_pattern_fact(costs, terminal)], terminal)
    return lines


def optional_cost_lines(costs: Costs, terminal: Terminal) -> list[Line]:
    """Costs that are shown on request: the longest context that fits, training, adapters."""
    lines: list[Line] = []
    if costs.fits is not None:
        lines += fact_lines("fit", _fit_facts(costs.fits, terminal, caches=costs.cache is not None), terminal)
    for index, (dtype, need) in enumerate(costs.training.items()):
        lines += fact_lines(
            "" if index else "training", _training_facts(dtype, need, adapters=costs.lora is not None), terminal
        )
    return lines + (fact_lines("LoRA", _lora_facts(costs.lora), terminal) if costs.lora else [])


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


def _pattern_fact(costs: Costs, terminal: Terminal) -> str:
    times, context = glyphs(terminal).times, f"{costs.flops.context:,}"
    return f"{context} {times} {context} = {costs.attention_entries_per_head:,} weights a head"


def _fit_facts(fits: Fits, terminal: Terminal, *, caches: bool) -> Iterator[str]:
    texts = "" if fits.batch == 1 else f" of {fits.batch:,} texts"
    yield f"in {_budget_text(fits, terminal)}{f', the longest context{texts}' if caches else ''}"
    if caches and fits.made_for is not None:
        yield f"made for {fits.made_for:,} tokens"
    for choice in fits.choices:
        if choice.weights == _DUPLICATE_DTYPE:
            continue
        cache = "" if choice.cache == choice.weights or not caches else f" (cache {choice.cache})"
        limit = ", all that it is made for" if choice.by_positions else ""
        yield f"{choice.weights}{cache} {longest_text(choice.context, caches=caches)}{limit}"


def _budget_text(fits: Fits, terminal: Terminal) -> str:
    """The budget as it was written, and in binary units."""
    converted, written = bytes_text(fits.budget), fits.written or "iB"
    if written.endswith("iB") and "×" not in written:
        return converted
    return f"{written.replace('×', glyphs(terminal).times)} ({converted})"


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


def published_text(published: Published) -> str:
    """`MXFP4 12.8 GiB, 5.26 bits a weight`."""
    return f"{published.format} {bytes_text(published.bytes)}, {published.bits_per_weight:.3g} bits a weight"


# --- Numbers

_BYTE_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
_FLOP_UNITS = ("", "k", "M", "G", "T", "P", "E")


def bytes_text(count: int) -> str:
    """`327,680 bytes`, `15.0 GiB`: exact below 1 MiB, else to three digits."""
    if count < 1 << 20:
        return f"{count:,} byte{'' if count == 1 else 's'}"
    return _scaled(count, 1024, _BYTE_UNITS)


def flops_text(count: int) -> str:
    """`15.0 GFLOPs`."""
    return f"{_scaled(count, 1000, _FLOP_UNITS)}FLOPs"


def context_text(context: int) -> str:
    """`128k`, where k is 1,024 and M its square; other lengths in full."""
    for size, unit in ((1 << 20, "M"), (1 << 10, "k")):
        if context >= size and context % size == 0:
            return f"{context // size}{unit}"
    return f"{context:,}"


def longest_text(context: int | None, *, caches: bool) -> str:
    """The longest context that fits; None is any length.  caches: whether memory depends on the length."""
    if context is None:
        return "any length" if caches else "fits"
    return f"{context:,} tokens" if context else "does not fit"


def share_text(share: float) -> str:
    """`33.1%`; small shares above 0 are `<0.1%`."""
    return "<0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def range_text(first: object, last: object | None, terminal: Terminal) -> str:
    """`0–79`, or a single number."""
    return str(first) if last is None or last == first else f"{first}{glyphs(terminal).dash}{last}"


def _scaled(count: int, base: int, units: tuple[str, ...]) -> str:
    value, index = float(count), 0
    while value >= base and index < len(units) - 1:
        value, index = value / base, index + 1
    # 999.95 would round to 1000 of a unit that is too small.
    if f"{value:.3g}" == f"{base:.3g}" and base == 1000 and index < len(units) - 1:
        value, index = value / base, index + 1
    digits = f"{value:,.0f}" if value >= 100 or index == 0 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
    return f"{digits} {units[index]}"


# --- Short names of models

#: A file that every model has; its folder's name is shown instead.
_CONFIG_FILE = "config.json"
#: The prefix of presets, treated as a folder.
_PRESET_PREFIX = "preset:"


def short_names(names: Sequence[str], width: int, terminal: Terminal) -> list[str]:
    """The shortest end of each name that is unique: `Llama-3.1-8B` of `meta-llama/Llama-3.1-8B`, in `width` cells.

    Names that are still equal get their place in the list: `(2)`.
    """
    paths = [_name_parts(name) for name in names]
    labels = [name_text(_distinct_end(path, paths), terminal) for path in paths]
    cut = glyphs(terminal).cut
    shown = [shorten(label, width, cut) for label in labels]
    counts = Counter(shown)
    return [
        text if counts[text] == 1 else _numbered(label, place, width, cut)
        for place, (text, label) in enumerate(zip(shown, labels, strict=True), start=1)
    ]


def _name_parts(name: str) -> tuple[str, ...]:
    steps = [
        step
        for step in re.split(SLASHES, name.replace(_PRESET_PREFIX, f"{_PRESET_PREFIX}/", 1))
        if step not in ("", ".")
    ]
    if len(steps) > 1 and steps[-1] == _CONFIG_FILE:
        steps.pop()
    return tuple(steps) or (name,)


def _distinct_end(path: tuple[str, ...], others: Iterable[tuple[str, ...]]) -> str:
    """The shortest end of a path that no other path has, or else the whole path."""
    rest = [other for other in others if other != path]
    ends = (path[-length:] for length in range(1, len(path) + 1))
    end = next((end for end in ends if all(other[-len(end) :] != end for other in rest)), path)
    return "/".join(end).replace(f"{_PRESET_PREFIX}/", _PRESET_PREFIX, 1)


def _numbered(label: str, place: int, width: int, cut: str) -> str:
    number = f" ({place})"
    return f"{shorten(label, width - cell_width(number), cut)}{number}"
