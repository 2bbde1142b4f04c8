"""One metric of all heads: a map of its values, and the heads in their order."""

from __future__ import annotations

from collections.abc import Callable

from attncli.render.bars import bar
from attncli.render.heads.header import has_text, stack_lines, tokens_line, whole_noun
from attncli.render.heads.heatmap import Heat
from attncli.render.heads.metric_words import meaning, number
from attncli.render.heads.value_map import value_map
from attncli.render.layout import beside, flow
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
    lines += [Line(), *_title(metric, stack, terminal)]
    if not known:
        return [*lines, Line.of(f"nothing shows {metric} in this {whole_noun(stack)}")]
    heat = Heat(max(known), terminal)
    ranked = sorted((head for head in stack.metrics if head.values.get(metric) is not None), key=_by(metric))
    rows = [_ranking(head, metric, stack, heat) for head in ranked[:top]]
    picture = value_map(stack, values, heat)
    return [*lines, *beside(picture, rows, width=terminal.width)]


def _title(metric: str, stack: Stack, terminal: Terminal) -> list[Line]:
    words = [Line.of(Span(word, _DIM)) for word in meaning(metric, stack.key_medium).split()]
    return flow([Line.of(Span(f"{metric}:", _BOLD)), *words], separator=" ", width=terminal.width)


def _by(metric: str) -> Callable[[HeadMetrics], float]:
    """The largest first."""
    return lambda head: -(head.values[metric] or 0.0)


def _ranking(head: HeadMetrics, metric: str, stack: Stack, heat: Heat) -> Line:
    terminal = heat.terminal
    value = head.values[metric] or 0.0
    even = number(stack.baselines.get(head.layer, {}).get(metric), terminal)
    name = max(len(each.name) for each in stack.metrics)
    return Line.of(
        f"{head.name:>{name}}",
        Span(f"{number(value, terminal):>7}", _BOLD),
        f"  {bar(heat.share(value), _BAR, terminal)}",
        Span(f"  uniform {even}", _DIM),
    )
