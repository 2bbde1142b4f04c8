"""Heads by how much they changed, and one head's metrics on both sides."""

from __future__ import annotations

from collections.abc import Sequence

from attncli.choices import METRICS
from attncli.render.bars import bar
from attncli.render.glyphs import glyphs
from attncli.render.heads.heatmap import Heat
from attncli.render.heads.metric_words import MEANINGS
from attncli.render.heads.numbers import decimals_for, signed_number, weight_number
from attncli.render.lines import BOLD, DIM, Line, StyledSpan
from attncli.render.terminal import Terminal
from attncli.results.heads import HeadChange, HeadMetrics, Stack

_BAR = 20
# Digits behind the point of two values that differ: as few as show it, or the fewest where even the most do not.
_DECIMALS = (3, 4, 5, 6)
_ROOM_FOR_BARS, _ROOM_FOR_MEANINGS = 70, 90


def change_rows(here: Stack, heads: Sequence[HeadChange], metric: str | None, heat: Heat) -> list[Line]:
    """A head a row: how much it changed, a bar of that, and the metric that changed most (or the one asked for)."""
    befores = {head.name: head for head in here.metrics}
    name = max((len(head.name) for head in heads), default=0)
    texts = [_changed(head, metric, heat) for head in heads]
    width = max(map(len, texts), default=0)
    return [
        _row(befores[head.name], head, (f"{head.name:>{name}}", f"  {text:>{width}}"), metric, heat)
        for head, text in zip(heads, texts, strict=True)
    ]


def _changed(head: HeadChange, metric: str | None, heat: Heat) -> str:
    decimals = decimals_for(heat.full)
    if metric is None:
        return weight_number(head.change or 0.0, decimals)
    return signed_number(head.changes.get(metric) or 0.0, decimals)


def _row(before: HeadMetrics, head: HeadChange, texts: tuple[str, str], metric: str | None, heat: Heat) -> Line:
    """texts: the head's name, and how much it changed."""
    terminal, (name, text) = heat.terminal, texts
    value = head.change if metric is None else head.changes.get(metric)
    cells = _BAR if terminal.width >= _ROOM_FOR_BARS else 0
    filled = f"  {bar(heat.share(abs(value or 0.0)), cells, terminal)}" if cells else ""
    said = metric or head.largest
    moved = StyledSpan(f"  {said} {_moved(before, head, said, terminal)}" if said else "", DIM)
    return Line.of(name, StyledSpan(text, BOLD), filled, moved)


def _moved(before: HeadMetrics, head: HeadChange, metric: str, terminal: Terminal) -> str:
    """`0.12 → 0.71`, with as many digits as tell the two apart."""
    arrow = "→" if terminal.unicode else "->"
    here, there = before.values.get(metric), head.values.get(metric)
    change = 0.0 if here is None or there is None else abs(there - here)
    decimals = next((decimals for decimals in _DECIMALS if change >= 10.0**-decimals), _DECIMALS[0])
    return f"{_digits(here, decimals, terminal)} {arrow} {_digits(there, decimals, terminal)}"


def _digits(value: float | None, decimals: int, terminal: Terminal) -> str:
    return glyphs(terminal).dash if value is None else f"{value:z.{decimals}f}"


def change_words(head: HeadChange, terminal: Terminal) -> Line:
    """`change 0.531`."""
    text = glyphs(terminal).dash if head.change is None else weight_number(head.change, decimals_for(head.change))
    return Line.of("change ", StyledSpan(text, BOLD))


def head_changes(here: Stack, head: HeadChange, terminal: Terminal) -> list[Line]:
    """Every metric on both sides, and its change."""
    before = next(one for one in here.metrics if one.name == head.name)
    names = [name for name in METRICS if name in before.values]
    column = max(map(len, names), default=0)
    lines = [Line.of(StyledSpan(f"{'':{column}}  {'here':>7}  {'against':>7}  {'change':>7}", DIM))]
    for name in names:
        here_, there = (_digits(value, 3, terminal) for value in (before.values[name], head.values.get(name)))
        change = head.changes.get(name)
        changed = glyphs(terminal).dash if change is None else signed_number(change)
        meaning = f"  {MEANINGS.get(name, '')}" if terminal.width >= _ROOM_FOR_MEANINGS else ""
        values = (f"  {here_:>7}  {there:>7}", StyledSpan(f"  {changed:>7}", BOLD), StyledSpan(meaning, DIM))
        lines.append(Line.of(f"{name:{column}}", *values))
    return lines
