"""Several models side by side: components aligned, what each costs, and how two of them differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from attncli.render.cells import cell_width, shorten
from attncli.render.glyphs import glyphs
from attncli.render.layout import apart
from attncli.render.lines import Line, Style
from attncli.render.params.grid import Cells, Column, has_room, table
from attncli.render.params.quantities import bytes_text, flops_text, longest_text
from attncli.render.terminal import Terminal
from attncli.render.token_text import last_part, name_text
from attncli.results.costs import CACHE_BITS, Costs, in_bytes
from attncli.results.params import ModelParameters, ParamsResult

_BOLD = Style(bold=True)
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
    return apart([*heads, *(table(*block, terminal) for block in _blocks(result, most, terminal))])


def _fit(blocks: Iterable[Block], terminal: Terminal) -> bool:
    return all(has_room(columns, rows, terminal) for columns, rows in blocks)


def _blocks(result: ParamsResult, count: int, terminal: Terminal) -> list[Block]:
    """Tables of so many models each."""
    places = range(len(result.models))
    return [_beside(result, places[start : start + count], terminal) for start in places[::count]]


def _beside(result: ParamsResult, places: Sequence[int], terminal: Terminal) -> Block:
    models = [result.models[place] for place in places]
    differs = len(result.models) == 2 == len(places)
    columns = [Column("component", right=False), *(Column(_short(model, terminal)) for model in models)]
    if differs:
        columns.append(Column("difference", spare=1))
    rows = [_total(models, terminal, differs=differs), *_components(result, places, terminal, differs=differs)]
    rows += [Cells((label, *values, *([""] if differs else []))) for label, values in _costs(models)]
    return columns, rows


def _total(models: Sequence[ModelParameters], terminal: Terminal, *, differs: bool) -> Cells:
    return Cells(("total", *_numbers([model.counted.total for model in models], terminal, differs=differs)), _BOLD)


def _components(result: ParamsResult, places: Sequence[int], terminal: Terminal, *, differs: bool) -> Iterator[Cells]:
    shown = [row for row in result.differences if any(row.parameters[place] for place in places)]
    several = len({difference.part for difference in shown}) > 1
    before = None
    for difference in shown:
        if several and difference.part != before:
            yield Cells((difference.part, *[""] * (len(places) + differs)), _BOLD)
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


def _costs(models: Sequence[ModelParameters]) -> Iterator[tuple[str, list[str]]]:
    """What the models cost, in the dtype that nearly all of them run in."""
    yield "active a token", [f"{model.counted.active.total:,}" for model in models]
    yield f"memory, {_USUAL}", [bytes_text(model.costs.memory[_USUAL]) for model in models]
    caches = [model.costs.cache for model in models]
    if any(caches):
        cached = [in_bytes(cache.per_token, CACHE_BITS[_USUAL]) if cache else 0 for cache in caches]
        yield f"cache a token, {_USUAL}", [bytes_text(size) for size in cached]
    yield "arithmetic", [flops_text(model.costs.flops.total) for model in models]
    if len({model.costs.flops.context for model in models}) > 1:
        yield "  at tokens", [f"{model.costs.flops.context:,}" for model in models]
    yield from _asked([model.costs for model in models])


def _asked(costs: Sequence[Costs]) -> Iterator[tuple[str, list[str]]]:
    """What is said only where it was asked for."""
    if any(cost.fits for cost in costs):
        yield f"longest context, {_USUAL}", [_longest(cost) for cost in costs]
    if any(cost.training for cost in costs):
        yield (
            f"training, {_USUAL}",
            [bytes_text(cost.training[_USUAL].total) if cost.training else "" for cost in costs],
        )
    if any(cost.lora for cost in costs):
        yield "LoRA", [f"{cost.lora.parameters:,}" if cost.lora else "" for cost in costs]


def _longest(costs: Costs) -> str:
    choices = costs.fits.choices if costs.fits else ()
    contexts = (choice.context for choice in choices if choice.weights == _USUAL)
    return next((longest_text(context, caches=costs.cache is not None) for context in contexts), "")


def _short(model: ModelParameters, terminal: Terminal) -> str:
    """The end of a name says most: `Llama-3.1-8B` of `meta-llama/Llama-3.1-8B`."""
    whole = model.counted.model
    name = name_text(last_part(whole).removeprefix("preset:") or whole, terminal)
    return name if cell_width(name) <= _NAME else shorten(name, _NAME, glyphs(terminal).cut)
