"""Metrics that are means over many texts: how sure they are, and all of them for one head."""

from __future__ import annotations

from attncli.render.glyphs import glyphs
from attncli.render.heads.header import stack_lines
from attncli.render.heads.metric_words import MEANINGS, give, number
from attncli.render.heads.one_head import title_lines
from attncli.render.layout import flow
from attncli.render.lines import DIM, Line, StyledSpan
from attncli.render.terminal import Terminal
from attncli.results.heads import HeadMetrics, HeadsResult, Spread, Stack

_ROOM_FOR_COUNTS, _ROOM_FOR_MEANINGS = 50, 96


def interval_lines(result: HeadsResult, terminal: Terminal) -> list[Line]:
    """What ± means beneath the sentences; one text alone has no interval."""
    if (result.texts or 0) < 2:
        return []
    words = f"{glyphs(terminal).give} 95 % interval of the mean over the {averaged_noun(result)} that show it".split(
        " "
    )
    return [Line(), *flow([Line.of(StyledSpan(word, DIM)) for word in words], separator=" ", width=terminal.width)]


def averaged_noun(result: HeadsResult) -> str:
    """What the values are means over."""
    return "texts" if result.probe is None else "probes"


def average_lines(stack: Stack, head: HeadMetrics, terminal: Terminal, *, noun: str = "texts") -> list[Line]:
    """One head: every metric with its interval, beside uniform attention, and how many texts (`noun`) show it."""
    lines = [*stack_lines(stack, terminal), *title_lines(head, stack, terminal), Line()]
    spread = head.spread or Spread({}, {})
    uniform = stack.baselines.get(head.layer, {})
    column = max(map(len, head.values), default=0)
    around = f"{glyphs(terminal).give} 95 %"
    heading = ("mean", f"{around:<7}", "uniform", noun, "")
    rows = [Line.of(StyledSpan(_row("", column, heading, terminal), DIM))]
    for name, value in head.values.items():
        around = give(spread.intervals.get(name), terminal).strip()
        figures = (number(value, terminal), f"{around:<7}", number(uniform.get(name), terminal))
        count = f"{spread.counts.get(name, 0):,}"
        rows.append(Line.of(_row(name, column, (*figures, count, MEANINGS.get(name, "")), terminal)))
    return [*lines, *rows]


def _row(name: str, column: int, cells: tuple[str, str, str, str, str], terminal: Terminal) -> str:
    mean, around, uniform, texts, meaning = cells
    counted = f"  {texts:>7}" if terminal.width >= _ROOM_FOR_COUNTS else ""
    meant = f"  {meaning}" if terminal.width >= _ROOM_FOR_MEANINGS else ""
    return f"{name:{column}}  {mean:>7}  {around}  {uniform:>7}{counted}{meant}".rstrip()
