"""What one position reads, as a figure: bars of its most read keys and a strip of the text, or one weight by head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from attncli.render.common.numbers import decimals_for, weight_number
from attncli.render.figures.axis_labels import (
    AxisLabels,
    axis_labels,
    draw_labels,
    head_title,
    label_text,
    position_text,
    short_number,
    span_text,
)
from attncli.render.figures.metric_map import HeadMap, HeadMaps
from attncli.render.figures.panels import (
    DIM_COLOR,
    EDGE,
    Array,
    Box,
    Caption,
    Part,
    Scale,
    axes_at,
    draw_cells,
    draw_color_bar,
    tick_text,
)
from attncli.render.figures.patches import mean_map
from attncli.render.figures.text_layout import drawable, line_height, room_for, write_line
from attncli.render.views.patterns import strip_view
from attncli.render.views.reading import LOOKS_FROM_HERE, query_of, rank_text, ranking_view
from attncli.results.heads import HeadsResult, Stack
from attncli.results.patterns import KeyRead, Ranking, RowReading

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Inches: a bar with its gap, the longest bar, and the axis beneath.
_BAR_HEIGHT, _MAX_BAR_LENGTH, _AXIS_HEIGHT = 0.23, 3.2, 0.5
#: Inches: height and width of a strip and of its colour scale, and the widest cell.
_STRIP_HEIGHT, _STRIP_WIDTH, _COLOR_BAR_HEIGHT, _COLOR_BAR_WIDTH, _MAX_STRIP_CELL = 0.26, 6.6, 0.55, 2.6, 0.36
#: Inches of a weight as a number.
_NUMBER_WIDTH = 0.6
_TEXT_SIZE, _SMALL_SIZE = 8.5, 7.5
_BAR_COLOR, _UNIFORM_COLOR = "#31688e", "black"
#: Cells of a strip, at most.
_MAX_STRIP_CELLS = 160
_NORM_LEGEND = "weight × norm of what is read (Kobayashi et al. 2020)"
UNIFORM_NOTE = "black line across a bar: what attention spread evenly over all that it may see would give"


def position_parts(result: HeadsResult, stack: Stack, form: str) -> list[Part]:
    """What one position reads in one stack: all keys, or one key by every head."""
    if stack.ranking is not None:
        return [_ranking_maps(result, stack, stack.ranking, form)]
    reading = stack.reading
    assert reading is not None
    if (mean := mean_map(result, stack, reading, form)) is not None:
        return [Caption(mean.maps.about), mean]
    # Bars of the keys that the position reads most, and a strip of all keys in their order.
    many = f", mean of {reading.heads:,} heads" if reading.heads > 1 else ""
    legend = f"{_NORM_LEGEND if result.weighting == 'norm' else 'attention weight'}{many}"
    query, head = position_text(query_of(reading), form), stack.metrics[0]
    single = f"where {query} looks in {head_title(stack, head.layer, head.head)}"
    parts: list[Part] = [Caption(f"where {query} looks: the{many[1:]}" if many else single)]
    if reading.top:
        parts.append(Bars([_bar(stack, reading, key, form) for key in reading.top], legend))
    return [*parts, _strip(stack, reading, form, legend)] if len(stack.keys) > 1 else parts


def _bar(stack: Stack, reading: RowReading, key: KeyRead, form: str) -> Bar:
    token = stack.keys[key.place]
    line = None if reading.lines is None else reading.lines[key.place]
    text = label_text(token, stack.unit, form, line)
    name = text if stack.unit == "line" or stack.key_medium.kind != "tokens" else f"{token.index:,}  {text}"
    return Bar(name, key.weight, key.uniform, f"{key.head}  {weight_number(key.head_weight)}" * (reading.heads > 1))


def _strip(stack: Stack, reading: RowReading, form: str, legend: str) -> Strip:
    """All keys as cells, pooled if there are many; blank where the mask hides them."""
    view = strip_view(stack, reading, _MAX_STRIP_CELLS)
    title = f"the whole {view.whole}" + (f": {view.note}" if view.note else f", a cell for each {view.unit}")
    _, side = axis_labels(stack, view.pooled, form)
    return Strip(title, view.values[None], side, view.query, drawable(LOOKS_FROM_HERE, form), legend)


def _ranking_maps(result: HeadsResult, stack: Stack, ranking: Ranking, form: str) -> HeadMaps:
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
    values = {(head.layer, head.head): head.weight for head in ranking.heads}
    return HeadMaps([HeadMap.from_values(title, values, notes)])


# --- Parts of the figure


class Bar(NamedTuple):
    """A key: its name, weight, weight under uniform attention, and the head that reads it most."""

    name: str
    weight: float
    uniform: float | None
    head: str


class Bars(NamedTuple):
    """Keys as bars, the most read first. legend: what the weights are."""

    bars: Sequence[Bar]
    legend: str

    @property
    def texts(self) -> Sequence[str]:
        return [self.legend, *(text for bar in self.bars for text in (bar.name, bar.head))]

    @property
    def _left(self) -> float:
        return EDGE + room_for([bar.name for bar in self.bars], _TEXT_SIZE)

    @property
    def _shows_heads(self) -> bool:
        return any(bar.head for bar in self.bars)

    @property
    def _above(self) -> float:
        return line_height(_SMALL_SIZE) + 0.04 if self._shows_heads else 0.0

    def size(self) -> tuple[float, float]:
        heads = room_for([*(bar.head for bar in self.bars), "most by head"], _TEXT_SIZE) if self._shows_heads else 0.0
        height = self._above + len(self.bars) * _BAR_HEIGHT + _AXIS_HEIGHT
        return self._left + _MAX_BAR_LENGTH + 0.12 + _NUMBER_WIDTH + heads, height

    def draw(self, figure: Figure, top: float) -> None:
        box = Box(self._left, top + self._above, _MAX_BAR_LENGTH, len(self.bars) * _BAR_HEIGHT)
        axes = axes_at(figure, box)
        places = range(len(self.bars))
        axes.barh(places, [bar.weight for bar in self.bars], height=0.66, color=_BAR_COLOR)
        for place, bar in zip(places, self.bars, strict=True):
            if bar.uniform is not None:
                axes.plot([bar.uniform] * 2, [place - 0.42, place + 0.42], color=_UNIFORM_COLOR, linewidth=1.0)
        self._axes(axes)
        self._columns(figure, box)

    def _axes(self, axes: Axes) -> None:
        longest = max(max(bar.weight, bar.uniform or 0.0) for bar in self.bars) or 1.0
        axes.set(xlim=(0, 1.02 * longest), ylim=(len(self.bars) - 0.5, -0.5))
        axes.set_yticks(range(len(self.bars)), [bar.name for bar in self.bars], size=_TEXT_SIZE)
        ticks = [tick for tick in MaxNLocator(4).tick_values(0, longest) if tick <= 1.02 * longest]
        axes.set_xticks(ticks, [tick_text(tick, longest) for tick in ticks], size=_SMALL_SIZE)
        axes.set_xlabel(self.legend, size=_SMALL_SIZE)
        axes.tick_params(axis="y", length=0)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)

    def _columns(self, figure: Figure, box: Box) -> None:
        """The columns right of the bars: weights as numbers, and heads."""
        decimals = decimals_for(max(bar.weight for bar in self.bars))
        left = box.left + box.width + 0.12
        if self._shows_heads:
            for text, column in (("weight", left), ("most by head", left + _NUMBER_WIDTH)):
                write_line(figure, text, top=box.top - self._above, left=column, size=_SMALL_SIZE, color=DIM_COLOR)
        for place, bar in enumerate(self.bars):
            row = box.top + (place + 0.5) * _BAR_HEIGHT - line_height(_TEXT_SIZE) / 2 + 0.02
            write_line(figure, weight_number(bar.weight, decimals), top=row, left=left, size=_TEXT_SIZE)
            write_line(figure, bar.head, top=row, left=left + _NUMBER_WIDTH, size=_TEXT_SIZE, color=DIM_COLOR)


class Strip(NamedTuple):
    """A whole text as one row of cells. query_cell: the cell of the position; query_text: the text beneath it."""

    title: str
    values: Array
    side: AxisLabels
    query_cell: int | None
    query_text: str
    legend: str

    @property
    def texts(self) -> Sequence[str]:
        return [self.title, self.query_text, self.legend, *self.side.texts]

    @property
    def _cell(self) -> float:
        return min(_MAX_STRIP_CELL, _STRIP_WIDTH / len(self.side.texts))

    @property
    def _above(self) -> float:
        return line_height(_TEXT_SIZE) + self.side.height(self._cell)

    def size(self) -> tuple[float, float]:
        width = max(len(self.side.texts) * self._cell, room_for([self.title], _TEXT_SIZE), _COLOR_BAR_WIDTH)
        return EDGE + width + 0.2, self._above + _STRIP_HEIGHT + line_height(_SMALL_SIZE) + _COLOR_BAR_HEIGHT

    def draw(self, figure: Figure, top: float) -> None:
        write_line(figure, self.title, top=top, left=EDGE, size=_TEXT_SIZE)
        box = Box(EDGE, top + self._above, len(self.side.texts) * self._cell, _STRIP_HEIGHT)
        axes = axes_at(figure, box)
        picture = draw_cells(axes, self.values, Scale.from_values([self.values]))
        draw_labels(axes, AxisLabels([""]), self.side, cell=self._cell, tall=_STRIP_HEIGHT)
        below = box.top + _STRIP_HEIGHT
        if self.query_cell is not None:
            self._mark(figure, box.left + (self.query_cell + 0.5) * self._cell, below)
        draw_color_bar(
            figure, picture, Box(EDGE, below + line_height(_SMALL_SIZE) + 0.1, _COLOR_BAR_WIDTH, 0.1), self.legend
        )

    def _mark(self, figure: Figure, place: float, below: float) -> None:
        """Draw a triangle beneath the position, with the text on the side where it fits."""
        width, height = figure.get_size_inches()
        options: dict[str, Any] = {"size": _SMALL_SIZE, "va": "top"}
        y = 1 - (below + 0.03) / height
        figure.text(place / width, y, "▲", ha="center", **options)
        left = place + room_for([self.query_text], _SMALL_SIZE) + 0.1 > width
        figure.text(
            (place + (-0.08 if left else 0.08)) / width, y, self.query_text, ha="right" if left else "left", **options
        )
