"""One metric of all heads: a map of its values, and the heads in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attncli.render.bars import bar
from attncli.render.heads.header import has_text, stack_lines, tokens_line, whole_noun
from attncli.render.heads.heatmap import Heat
from attncli.render.heads.metric_words import even_number, give, meaning
from attncli.render.heads.numbers import place_number
from attncli.render.heads.picture_notes import scope_lines
from attncli.render.heads.value_map import decimals_of, value_map
from attncli.render.layout import beside, flow
from attncli.render.lines import BOLD, DIM, Line, StyledSpan
from attncli.render.terminal import Terminal
from attncli.results.heads import HeadMetrics, Stack

_RANKED = 10
# Cells of the bars, the longest that fits.
_BARS = (20, 10, 0)


def metric_map(stack: Stack, metric: str, terminal: Terminal, *, top: int = _RANKED) -> list[Line]:
    """The stack's heads by a metric, and the `top` ones ranked beside what uniform attention would have."""
    values = {(head.layer, head.head): head.values.get(metric) for head in stack.metrics}
    known = [value for value in values.values() if value is not None]
    lines = stack_lines(stack, terminal)
    if has_text(stack):
        lines.append(tokens_line(stack.keys, terminal, above_dots=len(known) < len(values)))
    lines += [Line(), *_title(metric, stack, terminal)]
    if not known:
        return [*lines, Line.of(f"nothing shows {metric} in this {whole_noun(stack)}")]
    heat = Heat(max(known), terminal)
    ranked = sorted((head for head in stack.metrics if head.values.get(metric) is not None), key=_by(metric))
    rows = _ranking(ranked[:top], metric, stack, heat)
    picture = value_map(stack, values, heat)
    scope = scope_lines(stack, terminal)
    return [*lines, *beside(picture, rows, width=terminal.width), *([Line(), *scope] if scope else [])]


def _title(metric: str, stack: Stack, terminal: Terminal) -> list[Line]:
    words = [Line.of(StyledSpan(word, DIM)) for word in meaning(metric, stack.key_medium).split()]
    return flow([Line.of(StyledSpan(f"{metric}:", BOLD)), *words], separator=" ", width=terminal.width)


def _by(metric: str) -> Callable[[HeadMetrics], float]:
    """The largest first."""
    return lambda head: -(head.values[metric] or 0.0)


def _ranking(heads: Sequence[HeadMetrics], metric: str, stack: Stack, heat: Heat) -> list[Line]:
    """A head a row: its value with the interval of a mean, a bar as long as there is room for, and even attention's."""
    rows = [_ranked_row(head, metric, stack, heat, _BARS[0]) for head in heads]
    over = max((row.width for row in rows), default=0) - heat.terminal.width
    cells = next((cells for cells in _BARS if _BARS[0] - cells >= over), _BARS[-1])
    return rows if over <= 0 else [_ranked_row(head, metric, stack, heat, cells) for head in heads]


def _ranked_row(head: HeadMetrics, metric: str, stack: Stack, heat: Heat, cells: int) -> Line:
    terminal, decimals = heat.terminal, decimals_of(heat)
    value = head.values[metric] or 0.0
    even = even_number(stack.baselines.get(head.layer, {}).get(metric), terminal, decimals)
    name = max(len(each.name) for each in stack.metrics)
    return Line.of(
        f"{head.name:>{name}}",
        StyledSpan(f"{place_number(value, decimals, small=False):>7}", BOLD),
        give(head.interval(metric), terminal, decimals),
        f"  {bar(heat.share(value), cells, terminal)}" if cells else "",
        StyledSpan(f"  uniform {even}", DIM),
    )
