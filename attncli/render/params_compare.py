"""Several models side by side: components aligned, what each costs, and how two of them differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attncli.render.cells import cell_width, shorten
from attncli.render.glyphs import glyphs
from attncli.render.grid import Cells, Column, table
from attncli.render.layout import apart
from attncli.render.lines import Line, Style
from attncli.render.quantities import bytes_text, flops_text
from attncli.render.terminal import Terminal
from attncli.render.token_text import name_text
from attncli.results.params import ModelParameters, ParamsResult

_BOLD = Style(bold=True)
_NUMBER = 16
_LEAST_NAME = 14


def comparison(result: ParamsResult, terminal: Terminal) -> list[Line]:
    """Who is who, then the table; as many models beside one another as there is room for, the others beneath."""
    from attncli.render.params_text import header

    heads = [header(model, terminal) for model in result.models]
    room = max((terminal.width - _LEAST_NAME) // (_NUMBER + 2), 1)
    if len(result.models) == 2 and room >= 3:
        return apart([*heads, _beside(result, [0, 1], terminal)])
    places = list(range(len(result.models)))
    blocks = [_beside(result, places[start : start + room], terminal) for start in range(0, len(places), room)]
    return apart([*heads, *blocks])


def _beside(result: ParamsResult, places: Sequence[int], terminal: Terminal) -> list[Line]:
    models = [result.models[place] for place in places]
    differs = len(result.models) == 2 == len(places)
    columns = [Column("component", right=False), *(Column(_short(model, terminal)) for model in models)]
    if differs:
        columns.append(Column("difference"))
    rows = [_total(models, terminal, differs=differs), *_components(result, places, terminal, differs=differs)]
    rows += [Cells((label, *values, *([""] if differs else []))) for label, values in _costs(models)]
    return table(columns, rows, terminal)


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
    yield "memory, bfloat16", [bytes_text(model.costs.memory["bfloat16"]) for model in models]
    cached = [2 * model.costs.cache.per_token if model.costs.cache else 0 for model in models]
    if any(cached):
        yield "cache a token", [bytes_text(size) for size in cached]
    yield "arithmetic", [flops_text(model.costs.flops.total) for model in models]
    if len({model.costs.flops.context for model in models}) > 1:
        yield "  at tokens", [f"{model.costs.flops.context:,}" for model in models]


def _short(model: ModelParameters, terminal: Terminal) -> str:
    """The end of a name says most: `Llama-3.1-8B` of `meta-llama/Llama-3.1-8B`."""
    name = name_text(model.counted.model.rstrip("/").rpartition("/")[2] or model.counted.model, terminal)
    return name if cell_width(name) <= _NUMBER else shorten(name, _NUMBER, glyphs(terminal).cut)
