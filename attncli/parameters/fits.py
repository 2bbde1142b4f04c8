"""What fits into a memory: the longest context beside the weights in each format, and the largest batch to train."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from attncli.results.cache import (
    UNPACKED_DTYPES,
    USUAL_CACHE_DTYPE,
    CachedLayer,
    CacheDtypes,
    cache_amount,
    layer_counts,
)
from attncli.results.costs import Fit, Fits, Training, TrainingFit

#: A cache or a batch that fits at this size counts as one that memory doesn't limit.
_UNLIMITED = 1 << 48
#: Cache formats that are tried beside that of the weights: what vLLM and llama.cpp offer most.
_OTHER_CACHES = ("fp8", "q4_0")


class Memory(NamedTuple):
    """What is to fit where.

    budget: bytes, and how the user `written` them.  batch: texts at once.  made_for: the longest text that the model
    takes, which no context exceeds; None where that is unknown.  context: the one asked about, if any.
    """

    budget: int
    batch: int = 1
    made_for: int | None = None
    context: int | None = None
    written: str | None = None


def longest_contexts(
    sizes: Mapping[str, int], layers: tuple[CachedLayer, ...], memory: Memory, dtypes: CacheDtypes | None = None
) -> Fits:
    """The longest context whose cache fits beside the weights, by their format and that of the cache.

    sizes: bytes of the weights by format.  layers: what is cached; empty where nothing is. Activations aren't counted.
    dtypes: of the cache where the user chose them. Else it has the dtype of the weights, or bfloat16 beside packed
    ones, and smaller formats are tried too.
    """
    counts = layer_counts(layers)
    choices = (
        _fit(weights, size, each, counts, memory)
        for weights, size in sizes.items()
        for each in _cache_choices(weights, dtypes, caches=bool(layers))
    )
    return Fits(
        memory.budget, memory.batch, tuple(choices), memory.made_for, written=memory.written, context=memory.context
    )


def _cache_choices(weights: str, chosen: CacheDtypes | None, *, caches: bool) -> Iterator[CacheDtypes]:
    if chosen is not None:
        yield chosen
        return
    usual = weights if weights in UNPACKED_DTYPES else USUAL_CACHE_DTYPE
    yield CacheDtypes.all(usual)
    for dtype in _OTHER_CACHES if caches else ():
        yield CacheDtypes(dtype, dtype, usual)


def _fit(weights: str, size: int, dtypes: CacheDtypes, layers: Mapping[CachedLayer, int], memory: Memory) -> Fit:
    """size: the bytes of the weights."""

    def needed(context: int) -> int:
        return size + cache_amount(layers, context).times(memory.batch).bytes(dtypes)

    def fits(context: int) -> bool:
        return needed(context) <= memory.budget

    wanted = needed(memory.context or 1)
    if layers and memory.made_for is not None and fits(memory.made_for):
        context: int | None = memory.made_for
        by_positions = True
    else:
        context = largest(fits)
        by_positions = False
    return Fit(weights, dtypes.name, context, by_positions, wanted, max(wanted - memory.budget, 0))


def largest(fits: Callable[[int], bool]) -> int | None:
    """The largest number that fits, by bisection; None where nothing limits it.

    fits: holds for every number below one for which it holds.
    """
    if fits(_UNLIMITED):
        return None
    low, high = 0, _UNLIMITED
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def largest_batches(train: Callable[[int], Mapping[str, Training]], budget: int, batch: int) -> tuple[TrainingFit, ...]:
    """The largest batch that can be trained, by the dtype of the weights.

    train: the memory of training for a batch.  batch: the one asked about.
    """
    found = []
    for dtype, need in train(batch).items():
        unknown = need.activations is None
        most = largest(lambda texts, dtype=dtype: train(texts)[dtype].total <= budget)  # type: ignore[misc]
        found.append(TrainingFit(dtype, None if unknown and most is None else most, need.total,
                                 max(need.total - budget, 0)))  # fmt: skip
    return tuple(found)
