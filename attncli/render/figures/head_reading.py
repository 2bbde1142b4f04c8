"""What one position reads: a bar for each of the keys that it reads most, and the whole text as a strip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from attncli.render.figures.lettering import heading, line_height, room_for
from attncli.render.figures.panels import Array, Box, Scale, axes_at, cells, color_bar, tick_text
from attncli.render.figures.sheet import EDGE
from attncli.render.figures.sides import Side, labels
from attncli.render.heads.numbers import decimals_for, weight_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Inches: a bar with the gap beneath it, the longest bar, and the axis beneath them.
_BAR, _LONGEST, _AXIS = 0.23, 3.2, 0.5
#: Inches: a strip and its scale of colours, and the widest cells of one.
_STRIP, _STRIP_WIDTH, _SCALE, _SCALE_WIDTH, _WIDEST = 0.26, 6.6, 0.55, 2.6, 0.36
#: Inches of a weight as a number.
_NUMBER = 0.6
_TYPE, _SMALL = 8.5, 7.5
_COLOR, _DIM, _MARK = "#31688e", "0.32", "black"


class Bar(NamedTuple):
    """A key: its name, its weight, what even attention would give it, and the head that reads it most."""

    name: str
    weight: float
    uniform: float | None
    head: str


class Bars(NamedTuple):
    """Keys under one another, the most read first. legend: what the weights are."""

    bars: Sequence[Bar]
    legend: str

    @property
    def texts(self) -> Sequence[str]:
        return [self.legend, *(text for bar in self.bars for text in (bar.name, bar.head))]

    @property
    def _left(self) -> float:
        return EDGE + room_for([bar.name for bar in self.bars], _TYPE)

    @property
    def _heads(self) -> bool:
        return any(bar.head for bar in self.bars)

    def size(self) -> tuple[float, float]:
        heads = room_for([*(bar.head for bar in self.bars), "most by head"], _TYPE) if self._heads else 0.0
        return self._left + _LONGEST + 0.12 + _NUMBER + heads, self._above + len(self.bars) * _BAR + _AXIS

    @property
    def _above(self) -> float:
        return line_height(_SMALL) + 0.04 if self._heads else 0.0

    def draw(self, figure: Figure, top: float) -> None:
        box = Box(self._left, top + self._above, _LONGEST, len(self.bars) * _BAR)
        axes = axes_at(figure, box)
        places = range(len(self.bars))
        axes.barh(places, [bar.weight for bar in self.bars], height=0.66, color=_COLOR)
        for place, bar in zip(places, self.bars, strict=True):
            if bar.uniform is not None:
                axes.plot([bar.uniform] * 2, [place - 0.42, place + 0.42], color=_MARK, linewidth=1.0)
        self._axes(axes)
        self._columns(figure, box)

    def _axes(self, axes: Axes) -> None:
        longest = max(max(bar.weight, bar.uniform or 0.0) for bar in self.bars) or 1.0
        axes.set(xlim=(0, 1.02 * longest), ylim=(len(self.bars) - 0.5, -0.5))
        axes.set_yticks(range(len(self.bars)), [bar.name for bar in self.bars], size=_TYPE)
        ticks = [tick for tick in MaxNLocator(4).tick_values(0, longest) if tick <= 1.02 * longest]
        axes.set_xticks(ticks, [tick_text(tick, longest) for tick in ticks], size=_SMALL)
        axes.set_xlabel(self.legend, size=_SMALL)
        axes.tick_params(axis="y", length=0)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)

    def _columns(self, figure: Figure, box: Box) -> None:
        """Weights as numbers to the right of the bars, and the heads that read the most."""
        decimals = decimals_for(max(bar.weight for bar in self.bars))
        left = box.left + box.width + 0.12
        if self._heads:
            for text, column in (("weight", left), ("most by head", left + _NUMBER)):
                heading(figure, text, top=box.top - self._above, left=column, size=_SMALL, color=_DIM)
        for place, bar in enumerate(self.bars):
            row = box.top + (place + 0.5) * _BAR - line_height(_TYPE) / 2 + 0.02
            heading(figure, weight_number(bar.weight, decimals), top=row, left=left, size=_TYPE)
            heading(figure, bar.head, top=row, left=left + _NUMBER, size=_TYPE, color=_DIM)


class Strip(NamedTuple):
    """A whole text as one row of cells. own: the cell that the position itself is in; said: what stands beneath it."""

    title: str
    values: Array
    side: Side
    own: int | None
    said: str
    legend: str

    @property
    def texts(self) -> Sequence[str]:
        return [self.title, self.said, self.legend, *self.side.texts]

    @property
    def _cell(self) -> float:
        return min(_WIDEST, _STRIP_WIDTH / len(self.side.texts))

    @property
    def _above(self) -> float:
        return line_height(_TYPE) + self.side.height(self._cell)

    def size(self) -> tuple[float, float]:
        width = max(len(self.side.texts) * self._cell, room_for([self.title], _TYPE), _SCALE_WIDTH)
        return EDGE + width + 0.2, self._above + _STRIP + line_height(_SMALL) + _SCALE

    def draw(self, figure: Figure, top: float) -> None:
        heading(figure, self.title, top=top, left=EDGE, size=_TYPE)
        box = Box(EDGE, top + self._above, len(self.side.texts) * self._cell, _STRIP)
        axes = axes_at(figure, box)
        picture = cells(axes, self.values, Scale.of([self.values]))
        labels(axes, Side([""]), self.side, cell=self._cell, tall=_STRIP)
        below = box.top + _STRIP
        if self.own is not None:
            self._mark(figure, box.left + (self.own + 0.5) * self._cell, below)
        color_bar(figure, picture, Box(EDGE, below + line_height(_SMALL) + 0.1, _SCALE_WIDTH, 0.1), self.legend)

    def _mark(self, figure: Figure, place: float, below: float) -> None:
        """A triangle beneath the position, and words on the side where there is room for them."""
        width, height = figure.get_size_inches()
        given: dict[str, Any] = {"size": _SMALL, "va": "top"}
        y = 1 - (below + 0.03) / height
        figure.text(place / width, y, "▲", ha="center", **given)
        left = place + room_for([self.said], _SMALL) + 0.1 > width
        figure.text((place + (-0.08 if left else 0.08)) / width, y, self.said, ha="right" if left else "left", **given)
