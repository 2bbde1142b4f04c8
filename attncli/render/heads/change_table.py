"""Heads by how much they changed, and one head's metrics on both sides."""

from __future__ import annotations

from collections.abc import Sequence

from attncli.render.bars import bar
from attncli.render.heads.heatmap import Heat
from attncli.render.heads.metric_words import MEANINGS, number
from attncli.render.lines import Line, Span, Style
from attncli.render.terminal import Terminal
from attncli.results.difference import HeadChange
from attncli.results.heads import METRICS, HeadMetrics, Stack

_BOLD, _DIM = Style(bold=True), Style(dim=True)
_BAR = 20
_ROOM_FOR_BARS, _ROOM_FOR_MEANINGS = 70, 90


def change_rows(here: Stack, heads: Sequence[HeadChange], metric: str | None, heat: Heat) -> list[Line]:
    """A head a row: how much it changed, a bar of that, and the metric that changed most (or the one asked for)."""
    befores = {head.name: head for head in here.metrics}
    name = max((len(head.name) for head in heads), default=0)
    return [_row(befores[head.name], head, name, metric, heat) for head in heads]


def _row(before: HeadMetrics, head: HeadChange, name: int, metric: str | None, heat: Heat) -> Line:
    terminal = heat.terminal
    value = head.change if metric is None else head.changes.get(metric)
    text = number(value, terminal) if metric is None else signed(value, terminal)
    cells = _BAR if terminal.width >= _ROOM_FOR_BARS else 0
    filled = f"  {bar(heat.share(abs(value or 0.0)), cells, terminal)}" if cells else ""
    said = metric or head.largest
    moved = Span(f"  {said} {_moved(before, head, said, terminal)}" if said else "", _DIM)
    return Line.of(f"{head.name:>{name}}", Span(f"{text:>7}", _BOLD), filled, moved)


def _moved(before: HeadMetrics, head: HeadChange, metric: str, terminal: Terminal) -> str:
    """`0.12 → 0.71`."""
    arrow = "→" if terminal.unicode else "->"
    return f"{number(before.values.get(metric), terminal)} {arrow} {number(head.values.get(metric), terminal)}"


def signed(value: float | None, terminal: Terminal) -> str:
    """A change with its sign; nothing has none."""
    text = number(value, terminal)
    return f"+{text}" if value is not None and value > 0 and text.strip("0.") else text


def change_words(head: HeadChange, terminal: Terminal) -> Line:
    """`change 0.53`."""
    return Line.of("change ", Span(number(head.change, terminal), _BOLD))


def head_changes(here: Stack, head: HeadChange, terminal: Terminal) -> list[Line]:
    """Every metric on both sides, and its change."""
    before = next(one for one in here.metrics if one.name == head.name)
    names = [name for name in METRICS if name in before.values]
    column = max(map(len, names), default=0)
    lines = [Line.of(Span(f"{'':{column}}  {'here':>7}  {'against':>7}  {'change':>7}", _DIM))]
    for name in names:
        here_, there = number(before.values[name], terminal), number(head.values.get(name), terminal)
        changed = signed(head.changes.get(name), terminal)
        meaning = f"  {MEANINGS.get(name, '')}" if terminal.width >= _ROOM_FOR_MEANINGS else ""
        values = (f"  {here_:>7}  {there:>7}", Span(f"  {changed:>7}", _BOLD), Span(meaning, _DIM))
        lines.append(Line.of(f"{name:{column}}", *values))
    return lines
