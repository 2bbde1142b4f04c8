"""One metric of all heads: a map of its values, and the heads in their order."""

from __future__ import annotations

from collections.abc import Callable

from attncli.render import colormap
from attncli.render.glyphs import glyphs
from attncli.render.heads.head_map import head_map
from attncli.render.heads.header import has_text, stack_lines, tokens_line
from attncli.render.heads.heatmap import Heat
from attncli.render.heads.metric_words import MEANINGS, number
from attncli.render.layout import flow
from attncli.render.lines import Line, Span, Style
from attncli.render.terminal import Terminal
from attncli.results.heads import HeadMetrics, Stack

_BOLD, _DIM = Style(bold=True), Style(dim=True)
_RANKED = 10
_BAR = 20


def metric_map(stack: Stack, metric: str, terminal: Terminal, *, top: int = _RANKED) -> list[Line]:
    """The stack's heads by a metric, and the `top` ones ranked beside what uniform attention would have."""
    values = {(head.layer, head.head): head.values.get(metric) for head in stack.metrics}
    known = [value for value in values.values() if value is not None]
    lines = stack_lines(stack, terminal)
    if has_text(stack):
        lines.append(tokens_line(stack.keys, terminal))
    lines += [Line(), *_title(metric, terminal)]
    if not known:
        return [*lines, Line.of(f"nothing shows {metric} in this text")]
    heat = Heat(max(known), terminal)
    widest = max(len(number(value, terminal)) for value in known)

    def cell(head: tuple[int, int], width: int) -> Span:
        value = values.get(head)
        if value is None:
            return Span(glyphs(terminal).dot.center(width), _DIM)
        return _valued(value, width, widest, heat)

    ranked = sorted((head for head in stack.metrics if head.values.get(metric) is not None), key=_by(metric))
    rows = [_ranking(head, metric, stack, heat) for head in ranked[:top]]
    return [*lines, *head_map(stack, cell, (widest + 2, 2, 1), terminal), Line(), heat.scale(), Line(), *rows]


def _title(metric: str, terminal: Terminal) -> list[Line]:
    meaning = [Line.of(Span(word, _DIM)) for word in MEANINGS.get(metric, "").split()]
    return flow([Line.of(Span(f"{metric}:", _BOLD)), *meaning], separator=" ", width=terminal.width)


def _valued(value: float, width: int, widest: int, heat: Heat) -> Span:
    """The value on its colour, or behind its ink; colour or ink alone where there is no room."""
    if width < widest + 2:
        return heat.cell(value, width)
    text = number(value, heat.terminal)
    if not heat.colored:
        return Span(f"{heat.ink(value)}{text:>{widest}} ")
    background = colormap.heat(heat.share(value), heat.terminal.color)
    return Span(f"{text:>{widest}}".center(width), Style(fg=colormap.ink_on(background), bg=background))


def _by(metric: str) -> Callable[[HeadMetrics], float]:
    """The largest first."""
    return lambda head: -(head.values[metric] or 0.0)


def _ranking(head: HeadMetrics, metric: str, stack: Stack, heat: Heat) -> Line:
    terminal = heat.terminal
    value = head.values[metric] or 0.0
    even = number(stack.baselines.get(head.layer, {}).get(metric), terminal)
    name = max(len(each.name) for each in stack.metrics)
    bar = ("█" if terminal.unicode else "#") * max(round(_BAR * heat.share(value)), 1)
    return Line.of(
        f"{head.name:>{name}}",
        Span(f"{number(value, terminal):>7}", _BOLD),
        f"  {bar:<{_BAR}}",
        Span(f"  uniform {even}", _DIM),
    )
