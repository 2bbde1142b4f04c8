"""The steps of one head at one query (`--steps`) as a figure: a bar chart for each step, from q·k to what is read, and
charts of what wrote the score."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attncli.render.common.escape import visible
from attncli.render.common.numbers import cell_number
from attncli.render.figures.axis_labels import label_text
from attncli.render.figures.panels import EDGE, Part, axes_at, caption
from attncli.render.figures.text_layout import (
    DIM_COLOR,
    HEADING_SIZE,
    LABEL_SIZE,
    SMALL_SIZE,
    drawable,
    line_height,
    room_for,
    wrap_text,
    write_line,
    write_lines,
)
from attncli.render.views.score_sources import SOURCES_DRAWN, SourceTable, source_tables, sources_step
from attncli.render.views.sentences import raw_text
from attncli.render.views.steps_words import KeyNumbers, closing_steps, key_numbers, output_step, query_step
from attncli.results.steps import Steps

#: Inches: a bar with its gap, all bars of a chart, the room for a number beside the longest, and between two charts.
_BAR, _CHART, _NUMBER, _GAP = 0.27, 1.75, 0.5, 0.25
_COLOR, _NEGATIVE = "#31688e", "#b35806"


class _Chart(NamedTuple):
    """One step: its title, a formula, and a number for each key; None where the mask hides it."""

    title: str
    formula: str
    values: Sequence[float | None]


def steps_parts(steps: Steps, form: str) -> list[Part]:
    """A caption, the charts of all steps beside one another, and what comes of them."""
    rows = key_numbers(steps)
    query = drawable(visible(raw_text(steps.query)), form)
    title = f"head {steps.name} from {query} (token {steps.query.index}), step by step"
    parts = [caption(title), _charts_part(steps, rows, query, form)]
    if steps.sources is not None:
        key = drawable(visible(raw_text(steps.sources.key)), form)
        tables = source_tables(steps.sources, query, key, listed=SOURCES_DRAWN)
        name, words = sources_step(steps, steps.sources, query, key)
        parts += [caption(name), _sources_part(tables, drawable(words, form))]
    return parts


def _charts(steps: Steps, rows: Sequence[KeyNumbers]) -> list[_Chart]:
    size = len(steps.query_vector)
    scaled = f"q·k ÷ √{size}" if abs(steps.scale * sqrt(size) - 1) < 1e-6 else f"q·k × {steps.scale:.3g}"
    more = "".join([", capped" * (steps.capped is not None), ", plus a bias" * (steps.bias is not None)])
    masked = ", masked" if steps.hidden else ""
    return [
        _Chart("1 match", "q·k", [row.product for row in rows]),
        _Chart("2 score", f"{scaled}{more}{masked}", [row.score for row in rows]),
        _Chart("3 weight", "softmax of the scores: sums to 1", [row.weight for row in rows]),
        _Chart("4 what is read", "weight × norm of v", [row.contribution for row in rows]),
    ]


def _charts_part(steps: Steps, rows: Sequence[KeyNumbers], query: str, form: str) -> Part:
    names = [f"{row.token.index:,}  {label_text(row.token, 'token', form)}" for row in rows]
    charts = _charts(steps, rows)
    left = EDGE + room_for(names, LABEL_SIZE) + 0.05
    step = _CHART + _NUMBER + _GAP
    above = line_height(HEADING_SIZE) + line_height(SMALL_SIZE) + 0.06
    width = left + len(charts) * step
    output = [output_step(steps)] if steps.written else []
    sentences = [query_step(steps, query), *output, *closing_steps(steps, query)]
    texts = [f"{name}: {drawable(words, form)}" for name, words in sentences]
    said = [line for text in texts for line in wrap_text(text, width - 0.3, SMALL_SIZE)]
    tall = len(rows) * _BAR

    def draw(figure: Figure, top: float) -> None:
        for place, chart in enumerate(charts):
            start = left + place * step
            write_line(figure, chart.title, top=top, left=start)
            below = top + line_height(HEADING_SIZE)
            write_line(figure, chart.formula, top=below, left=start, size=SMALL_SIZE, color=DIM_COLOR)
            axes = axes_at(figure, start, top + above, _CHART, tall)
            _draw_chart(axes, chart, names if place == 0 else [])
        write_lines(figure, said, top=top + above + tall + 0.15, left=EDGE, size=SMALL_SIZE, color=DIM_COLOR)

    others = steps.with_top_keys(len(rows)).others.visible
    notes = [f"the keys with the largest weights; {others:,} others are left out"] if others else []
    return Part(width, above + tall + 0.15 + len(said) * line_height(SMALL_SIZE), draw, notes)


def _sources_part(tables: Sequence[SourceTable], words: str) -> Part:
    """The parts that wrote q and k, and pairs of them, each a bar chart that sums to the score."""
    rooms = [room_for([row.name for row in table.rows], LABEL_SIZE) + 0.1 for table in tables]
    starts = [EDGE + sum(rooms[: place + 1]) + place * (_CHART + _NUMBER + _GAP) for place in range(len(tables))]
    width = starts[-1] + _CHART + _NUMBER
    said = wrap_text(words, width - 0.3, SMALL_SIZE)
    above = len(said) * line_height(SMALL_SIZE) + line_height(HEADING_SIZE) + 0.12
    tall = max(len(table.rows) for table in tables) * _BAR

    def draw(figure: Figure, top: float) -> None:
        write_lines(figure, said, top=top, left=EDGE, size=SMALL_SIZE, color=DIM_COLOR)
        for table, start in zip(tables, starts, strict=True):
            write_line(figure, table.title, top=top + above - line_height(HEADING_SIZE) - 0.06, left=start)
            axes = axes_at(figure, start, top + above, _CHART, len(table.rows) * _BAR)
            bars = [0.0 if row.quiet else row.contribution for row in table.rows]
            numbers = [cell_number(row.contribution, 2) for row in table.rows]
            _draw_bars(axes, bars, numbers, [row.name for row in table.rows])

    return Part(width, above + tall, draw)


def _draw_chart(axes: Axes, chart: _Chart, names: Sequence[str]) -> None:
    known = [0.0 if value is None else value for value in chart.values]
    _draw_bars(axes, known, ["hidden" if value is None else cell_number(value, 2) for value in chart.values], names)


def _draw_bars(axes: Axes, values: Sequence[float], numbers: Sequence[str], names: Sequence[str]) -> None:
    """A bar a row, with its number at the right and its name, if it has one here, at the left."""
    places = range(len(values))
    axes.barh(places, values, height=0.7, color=[_NEGATIVE if value < 0 else _COLOR for value in values])
    low, high = min(0.0, *values), max(0.0, *values)
    span = (high - low) or 1.0
    axes.set(xlim=(low, low + span), ylim=(len(values) - 0.5, -0.5))
    for place, text in zip(places, numbers, strict=True):
        axes.text(
            low + span * 1.03, place, text, va="center", ha="left", size=SMALL_SIZE, color=DIM_COLOR, clip_on=False
        )
    axes.axvline(0, color="0.4", linewidth=0.6)
    axes.set_xticks([])
    axes.set_yticks(list(places) if names else [], list(names), size=LABEL_SIZE)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "bottom", "left"]].set_visible(False)
