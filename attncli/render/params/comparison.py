"""Several models side by side: components aligned, what each costs, and how two of them differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from attncli.render.glyphs import glyphs
from attncli.render.layout import apart
from attncli.render.lines import BOLD, Line
from attncli.render.params.grid import Cells, Column, has_room, table
from attncli.render.params.labelled import labelled
from attncli.render.params.names import short_names
from attncli.render.params.quantities import bytes_text, flops_text, longest_text
from attncli.render.terminal import Terminal
from attncli.results.costs import CACHE_BITS, Costs, in_bytes
from attncli.results.params import ModelParameters, ParamsResult

#: What is said in one dtype alone is said in the one that nearly every model runs in.
_USUAL = "bfloat16"
#: Cells that the name of a model takes above its column.
_NAME = 16

#: The columns and the rows of a table.
Block = tuple[list[Column], list[Cells]]


def comparison(result: ParamsResult, terminal: Terminal) -> list[Line]:
    """Who is who, then the table; as many models beside one another as there is room for, the others beneath."""
    from attncli.render.params.text import header

    heads = [header(model, terminal) for model in result.models]
    beside = range(len(result.models), 1, -1)
    most = next((count for count in beside if _fit(_blocks(result, count, terminal), terminal)), 1)
    tables = (table(*block, terminal) for block in _blocks(result, most, terminal))
    notes = _notes(result, terminal)
    return apart([*heads, *tables, *([notes] if notes else [])])


def _names(result: ParamsResult, terminal: Terminal) -> list[str]:
    return short_names([model.counted.model for model in result.models], _NAME, terminal)


def _notes(result: ParamsResult, terminal: Terminal) -> list[Line]:
    """What has to be known to read the numbers, by model."""
    named = zip(_names(result, terminal), result.models, strict=True)
    notes = [f"{name}: {note}" for name, model in named for note in model.costs.notes]
    return [line for note in notes for line in labelled("note", [note], terminal)]


def _fit(blocks: Iterable[Block], terminal: Terminal) -> bool:
    return all(has_room(columns, rows, terminal) for columns, rows in blocks)


def _blocks(result: ParamsResult, count: int, terminal: Terminal) -> list[Block]:
    """Tables of so many models each."""
    places = range(len(result.models))
    return [_beside(result, places[start : start + count], terminal) for start in places[::count]]


def _beside(result: ParamsResult, places: Sequence[int], terminal: Terminal) -> Block:
    models = [result.models[place] for place in places]
    differs = len(result.models) == 2 == len(places)
    names = _names(result, terminal)
    columns = [Column("component", right=False), *(Column(names[place]) for place in places)]
    if differs:
        columns.append(Column("difference", spare=1))
    rows = [_total(models, terminal, differs=differs), *_components(result, places, terminal, differs=differs)]
    at = len({model.costs.flops.context for model in result.models}) > 1
    costs = _costs(models, glyphs(terminal).dash, lengths_differ=at)
    rows += [Cells((label, *values, *([""] if differs else []))) for label, values in costs]
    return columns, rows


def _total(models: Sequence[ModelParameters], terminal: Terminal, *, differs: bool) -> Cells:
    return Cells(("total", *_numbers([model.counted.total for model in models], terminal, differs=differs)), BOLD)


def _components(result: ParamsResult, places: Sequence[int], terminal: Terminal, *, differs: bool) -> Iterator[Cells]:
    shown = [row for row in result.differences if any(row.parameters[place] for place in places)]
    several = len({difference.part for difference in shown}) > 1
    before = None
    for difference in shown:
        if several and difference.part != before:
            yield Cells((difference.part, *[""] * (len(places) + differs)), BOLD)
            before = difference.part
        numbers = [difference.parameters[place] for place in places]
        yield Cells((f"  {difference.component}", *_numbers(numbers, terminal, differs=differs)))


def _numbers(numbers: Sequence[int], terminal: Terminal, *, differs: bool) -> list[str]:
    dash = glyphs(terminal).dash
    texts = [f"{number:,}" if number else dash for number in numbers]
    if differs:
        more = numbers[1] - numbers[0]
        texts.append(f"{more:+,}" if more else "same")
    return texts


def _costs(models: Sequence[ModelParameters], dash: str, *, lengths_differ: bool) -> Iterator[tuple[str, list[str]]]:
    """What the models cost, in the dtype that nearly all of them run in.

    lengths_differ: whether any two of all models were reckoned for texts of another length.
    """
    yield "active a token", [f"{model.counted.active.total:,}" for model in models]
    yield f"memory, {_USUAL}", [bytes_text(model.costs.memory[_USUAL]) for model in models]
    caches = [model.costs.cache for model in models]
    if any(caches):
        cached = [in_bytes(cache.per_token, CACHE_BITS[_USUAL]) if cache else 0 for cache in caches]
        yield f"cache a token, {_USUAL}", [bytes_text(size) for size in cached]
    yield "arithmetic", [flops_text(model.costs.flops.total) for model in models]
    if lengths_differ:
        yield "  at tokens", [f"{model.costs.flops.context:,}" for model in models]
    yield from _asked([model.costs for model in models], dash)


def _asked(costs: Sequence[Costs], dash: str) -> Iterator[tuple[str, list[str]]]:
    """What is said only where it was asked for."""
    if any(cost.fits for cost in costs):
        yield f"longest context, {_USUAL}", [_longest(cost) for cost in costs]
    if any(cost.training for cost in costs):
        yield (
            f"training, {_USUAL}",
            [bytes_text(cost.training[_USUAL].total) if cost.training else dash for cost in costs],
        )
    if any(cost.lora for cost in costs):
        yield "LoRA", [f"{cost.lora.parameters:,}" if cost.lora else dash for cost in costs]


def _longest(costs: Costs) -> str:
    choices = costs.fits.choices if costs.fits else ()
    contexts = (choice.context for choice in choices if choice.weights == _USUAL)
    return next((longest_text(context, caches=costs.cache is not None) for context in contexts), "")
