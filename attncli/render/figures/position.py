"""What one position reads, as a figure: bars of its most read keys and a strip of the text, or one weight by head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attncli.render.common.numbers import decimals_for, weight_number
from attncli.render.figures.axis_labels import (
    AxisLabels,
    axis_labels,
    head_title,
    label_text,
    position_text,
    short_number,
    span_text,
)
from attncli.render.figures.metric_map import HeadMap, head_maps
from attncli.render.figures.panels import (
    COLOR_BAR_WIDTH,
    EDGE,
    Part,
    Scale,
    axes_at,
    axis_ticks,
    caption,
    draw_color_bar,
    draw_matrix,
)
from attncli.render.figures.patches import mean_map, text_picture_parts
from attncli.render.figures.text_layout import (
    DIM_COLOR,
    HEADING_SIZE,
    SMALL_SIZE,
    drawable,
    line_height,
    room_for,
    write_line,
)
from attncli.render.views.patterns import strip_view
from attncli.render.views.reading import LOOKS_FROM_HERE, query_of, rank_text, ranking_view
from attncli.results.heads import HeadsResult, Stack
from attncli.results.patterns import KeyRead, Ranking, RowReading

#: Inches: a bar with its gap, the longest bar, the axis beneath, and the column of weights with the gap before it.
_BAR_HEIGHT, _MAX_BAR_LENGTH, _AXIS_HEIGHT, _NUMBER_WIDTH, _NUMBER_GAP = 0.23, 3.2, 0.5, 0.6, 0.12
#: Inches: height and width of a strip, its widest cell, and the height of its colour bar.
_STRIP_HEIGHT, _STRIP_WIDTH, _MAX_STRIP_CELL, _COLOR_BAR_HEIGHT = 0.26, 6.6, 0.36, 0.55
_BAR_COLOR, _UNIFORM_COLOR = "#31688e", "black"
#: Cells of a strip, at most.
_MAX_STRIP_CELLS = 160
_NORM_LEGEND = "weight × norm of what is read (Kobayashi et al. 2020)"
_UNIFORM_NOTE = "black line across a bar: what attention spread evenly over all that it may see would give"


def position_parts(result: HeadsResult, stack: Stack, form: str) -> list[Part]:
    """What one position reads in one stack: all keys, or one key by every head."""
    if stack.ranking is not None:
        return [_ranking_map(result, stack, stack.ranking, form)]
    reading = stack.reading
    assert reading is not None
    if mean := mean_map(stack, reading, result.picture, form):
        return mean
    # Bars of the keys that the position reads most, and a strip of all keys in their order.
    many = f", mean of {reading.heads:,} heads" if reading.heads > 1 else ""
    legend = f"{_NORM_LEGEND if result.weighting == 'norm' else 'attention weight'}{many}"
    query, head = position_text(query_of(reading), form), stack.metrics[0]
    single = f"where {query} looks in {head_title(stack, head.layer, head.head)}"
    parts = [caption(f"where {query} looks: the{many[1:]}" if many else single)]
    parts += text_picture_parts(result, stack, reading)
    if reading.top:
        parts.append(_bar_chart([_bar(stack, reading, key, form) for key in reading.top], legend))
    return [*parts, _strip(stack, reading, form, legend)] if len(stack.keys) > 1 else parts


def _ranking_map(result: HeadsResult, stack: Stack, ranking: Ranking, form: str) -> Part:
    """A map of one weight by every head."""
    view = ranking_view(stack, ranking)
    query, key = (position_text(position._replace(line=None), form) for position in (view.query, view.key))
    norms = " × norm of what is read" if result.weighting == "norm" else ""
    title = f"how much {query} looks at {key}: weight{norms} of each head"
    first, uniform = ranking.heads[0], [head.uniform for head in ranking.heads if head.uniform is not None]
    place = "" if first.rank is None else f", place {rank_text(first)} in its row"
    notes = [f"largest: head {first.name} with {short_number(first.weight)}{place}"]
    notes += [f"uniform: {span_text(uniform)} with attention spread evenly"] if uniform else []
    if view.hidden:
        notes = [f"{key} {view.hidden} {query}"]
    return head_maps([HeadMap(title, {(head.layer, head.head): head.weight for head in ranking.heads}, notes)])


# --- The keys that are read most


class _Bar(NamedTuple):
    """A key: its name, weight, weight under uniform attention, and the head that reads it most."""

    name: str
    weight: float
    uniform: float | None
    head: str


def _bar(stack: Stack, reading: RowReading, key: KeyRead, form: str) -> _Bar:
    token = stack.keys[key.place]
    line = None if reading.lines is None else reading.lines[key.place]
    text = label_text(token, stack.unit, form, line)
    name = text if stack.unit == "line" or stack.key_medium.kind != "tokens" else f"{token.index:,}  {text}"
    return _Bar(name, key.weight, key.uniform, f"{key.head}  {weight_number(key.head_weight)}" * (reading.heads > 1))


def _bar_chart(bars: Sequence[_Bar], legend: str) -> Part:
    """Keys as bars, the most read first, with columns of weights and heads. legend: what the weights are."""
    heads = [bar.head for bar in bars if bar.head]
    above = line_height(SMALL_SIZE) + 0.04 if heads else 0.0
    left = EDGE + room_for([bar.name for bar in bars], HEADING_SIZE)
    numbers = left + _MAX_BAR_LENGTH + _NUMBER_GAP
    decimals = decimals_for(max(bar.weight for bar in bars))

    def draw(figure: Figure, top: float) -> None:
        _draw_bars(axes_at(figure, left, top + above, _MAX_BAR_LENGTH, len(bars) * _BAR_HEIGHT), bars, legend)
        for text, column in (("weight", numbers), ("most by head", numbers + _NUMBER_WIDTH)) if heads else ():
            write_line(figure, text, top=top, left=column, size=SMALL_SIZE, color=DIM_COLOR)
        for place, bar in enumerate(bars):
            row = top + above + (place + 0.5) * _BAR_HEIGHT - line_height(HEADING_SIZE) / 2 + 0.02
            write_line(figure, weight_number(bar.weight, decimals), top=row, left=numbers)
            write_line(figure, bar.head, top=row, left=numbers + _NUMBER_WIDTH, color=DIM_COLOR)

    room = room_for([*heads, "most by head"], HEADING_SIZE) if heads else 0.0
    height = above + len(bars) * _BAR_HEIGHT + _AXIS_HEIGHT
    return Part(numbers + _NUMBER_WIDTH + room, height, draw, [_UNIFORM_NOTE])


def _draw_bars(axes: Axes, bars: Sequence[_Bar], legend: str) -> None:
    places = range(len(bars))
    axes.barh(places, [bar.weight for bar in bars], height=0.66, color=_BAR_COLOR)
    for place, bar in enumerate(bars):
        if bar.uniform is not None:
            axes.plot([bar.uniform] * 2, [place - 0.42, place + 0.42], color=_UNIFORM_COLOR, linewidth=1.0)
    longest = max(max(bar.weight, bar.uniform or 0.0) for bar in bars) or 1.0
    axes.set(xlim=(0, 1.02 * longest), ylim=(len(bars) - 0.5, -0.5))
    axes.set_yticks(places, [bar.name for bar in bars], size=HEADING_SIZE)
    ticks = axis_ticks(0, longest, 1.02 * longest)
    axes.set_xticks([*ticks], [*ticks.values()], size=SMALL_SIZE)
    axes.set_xlabel(legend, size=SMALL_SIZE)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)


# --- All keys in their order


def _strip(stack: Stack, reading: RowReading, form: str, legend: str) -> Part:
    """The whole text as one row of cells, pooled if there are many keys; blank where the mask hides them."""
    view = strip_view(stack, reading, _MAX_STRIP_CELLS)
    title = f"the whole {view.whole}" + (f": {view.note}" if view.note else f", a cell for each {view.unit}")
    _, columns = axis_labels(stack, view.pooled, form)
    values, count = view.values[None], len(view.values)
    cell = min(_MAX_STRIP_CELL, _STRIP_WIDTH / count)
    above = line_height(HEADING_SIZE) + columns.height(cell)

    def draw(figure: Figure, top: float) -> None:
        write_line(figure, title, top=top, left=EDGE)
        sides, scale, corner = (AxisLabels([""]), columns), Scale.from_values(values), (EDGE, top + above)
        _, picture = draw_matrix(figure, values, sides, scale, corner=corner, cell=cell, tall=_STRIP_HEIGHT)
        below = top + above + _STRIP_HEIGHT
        if view.query is not None:
            _mark_query(figure, EDGE + (view.query + 0.5) * cell, below, drawable(LOOKS_FROM_HERE, form))
        draw_color_bar(figure, picture, legend, (EDGE, below + line_height(SMALL_SIZE) + 0.1))

    width = EDGE + max(count * cell, room_for([title], HEADING_SIZE), COLOR_BAR_WIDTH) + 0.2
    return Part(width, above + _STRIP_HEIGHT + line_height(SMALL_SIZE) + _COLOR_BAR_HEIGHT, draw)


def _mark_query(figure: Figure, place: float, below: float, text: str) -> None:
    """Draw a triangle beneath the position, with a text on the side where it fits."""
    width, height = figure.get_size_inches()
    options: dict[str, Any] = {"size": SMALL_SIZE, "va": "top"}
    y = 1 - (below + 0.03) / height
    figure.text(place / width, y, "▲", ha="center", **options)
    if place + room_for([text], SMALL_SIZE) + 0.1 > width:
        figure.text((place - 0.08) / width, y, text, ha="right", **options)
    else:
        figure.text((place + 0.08) / width, y, text, ha="left", **options)
