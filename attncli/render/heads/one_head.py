"""One head in full: its labelled heatmap with its scale, and a table of its metrics. Also rollouts, and text pairs.

For a pair of texts A and B, `crossing_lines` lists the heads with the most attention between them, and
`quadrant_lines` shows one head's shares.
"""

from __future__ import annotations

from collections.abc import Iterator

from attncli.metrics import METRICS, WeightAt, WeightOnSpecial
from attncli.render.common.lines import BOLD, DIM, Line, Style, StyledSpan, flow, joined, padded, wrap
from attncli.render.common.numbers import metric_number, weight_number
from attncli.render.common.terminal import Terminal
from attncli.render.heads.header import (
    norm_lines,
    pooling_lines,
    position_words,
    scale_lines,
    scope_lines,
    unit_lines,
)
from attncli.render.heads.heatmap import HeatScale, full_scale
from attncli.render.heads.metric_words import label_of, label_sentence, meaning
from attncli.render.heads.pattern_grid import fitted_grid, grid_lines
from attncli.results.heads import HeadMetrics, Quadrants, Stack
from attncli.results.patterns import Pattern

_ROOM_FOR_MEANINGS = 60
# From more repeated tokens on, their number is left out.
_MANY_REPEATS = 9


def one_head_lines(stack: Stack, pattern: Pattern, terminal: Terminal, *, weighting: str = "attention") -> list[Line]:
    """The head's name and labels, its heatmap and scale, and its metrics with those of uniform attention."""
    head = next(one for one in stack.metrics if (one.layer, one.head) == (pattern.layer, pattern.head))
    title = [*title_lines(head, stack, terminal), *norm_lines(weighting, terminal)]
    lines = [*title, *_pattern_lines(stack, pattern, terminal, relative=weighting == "norm"), Line()]
    return [*lines, *scope_lines(stack, terminal, weighting=weighting), *metric_lines(head, stack, terminal)]


def rollout_lines(stack: Stack, pattern: Pattern, terminal: Terminal) -> list[Line]:
    """The attention rollout up to a layer: how much of each token reaches each position."""
    title = Line.of(StyledSpan(f"rollout up to layer {pattern.layer}", BOLD))
    if pattern.weights.shape == (1, 1) and pattern.bins is None:
        return [title, *_one_rollout_share(stack, float(pattern.weights[0, 0]), terminal)]
    sentence = "how much of each token (columns) reaches each position (rows), heads averaged"
    return [title, *wrap(sentence, DIM, width=terminal.width), *_pattern_lines(stack, pattern, terminal)]


def _one_rollout_share(stack: Stack, share: float, terminal: Terminal) -> list[Line]:
    """Where there is one weight: `0.026 of cat (token 2) reaches it (token 8) (heads averaged)`."""
    query, key = (Line.of(position_words(tokens[0], terminal)) for tokens in (stack.queries, stack.keys))
    shared = Line.of(StyledSpan(weight_number(share), BOLD))
    words = [shared, Line.of("of"), key, Line.of("reaches"), query, Line.of("(heads averaged)")]
    return flow(words, separator=" ", width=terminal.width)


def _pattern_lines(stack: Stack, pattern: Pattern, terminal: Terminal, *, relative: bool = False) -> list[Line]:
    """The labelled heatmap, the notes above it and the scale below it."""
    grid = fitted_grid(stack, pattern, terminal)
    heat = HeatScale(full_scale((grid.pattern,)), terminal, relative)
    heat = heat.without_signs() if heat.has_digits(grid.cell) else heat
    notes = [*unit_lines(stack, terminal), *pooling_lines(stack, grid.pattern, terminal)]
    lines = [*notes, Line(), *grid_lines(stack, grid, heat), Line()]
    return [*lines, *scale_lines(heat, grid.cell)]


def title_lines(head: HeadMetrics, stack: Stack, terminal: Terminal) -> list[Line]:
    """The head's name, and the letter and sentence of each of its labels."""
    sentences = [
        Line.of(
            label_of(name).tile(3, terminal),
            f" {label_sentence(head, name, stack, terminal)}{'' if _is_shown(name, stack) else ' (not shown)'}",
        )
        for name in head.labels
    ]
    return flow([Line.of(StyledSpan(f"head {head.name}", BOLD)), *sentences], separator="  ", width=terminal.width)


def _is_shown(label: str, stack: Stack) -> bool:
    """Whether the keys that the label is about are shown, where only some keys are."""
    formula = METRICS[label].formula if label in METRICS else None
    if not stack.keys:
        return True
    if formula == WeightAt(("first",)):
        return any(key.index == 0 for key in stack.keys)
    whole = stack.whole is None or stack.whole[1] == len(stack.keys)
    return formula != WeightOnSpecial() or whole or any(key.special for key in stack.keys)


def metric_lines(head: HeadMetrics, stack: Stack, terminal: Terminal) -> list[Line]:
    """The table of the head's metrics, with those of uniform attention and what they measure."""
    uniform = stack.baselines.get(head.layer, {})
    names = [*(name for name in METRICS if name in head.values), *(name for name in head.values if name not in METRICS)]
    column = max(map(len, names), default=0)
    lines = [Line.of(StyledSpan(f"{'':{column}}  {'here':>7}  {'uniform':>7}", DIM))]
    for name in names:
        value, even = metric_number(head.values[name], terminal), metric_number(uniform.get(name), terminal)
        words = f"  {_meaning_and_evidence(name, head, stack)}" if terminal.width >= _ROOM_FOR_MEANINGS else ""
        values = (StyledSpan(f"  {value:>7}", BOLD), StyledSpan(f"  {even:>7}{words}", DIM))
        lines.append(Line.of(f"{name:{column}}", *values))
    return lines


def _meaning_and_evidence(name: str, head: HeadMetrics, stack: Stack) -> str:
    """What a metric measures; of repeats, with the number of rows that it is a mean of, where these are few."""
    words = meaning(name, stack.key_medium)
    count = stack.repeats.get(head.layer, {}).get(name)
    if head.values[name] is None or count is None or count > _MANY_REPEATS:
        return words
    return f"{words} ({count} row{'' if count == 1 else 's'})"


# --- pairs of texts

_CROSSING_HEADS_SHOWN = 3
# A head crosses where its share is more than so many times uniform attention's.
_LEAST_CROSSING = 1.1


def crossing_lines(stack: Stack, terminal: Terminal) -> list[Line]:
    """The heads with the most attention between the two texts, with the values of uniform attention."""
    heads = [(head, head.quadrants, stack.even_quadrants.get(head.layer)) for head in stack.metrics]
    known = [(head, shares, even) for head, shares, even in heads if shares is not None and even is not None]
    if not known:
        return []
    # Under a causal mask A, which comes first, can't attend to B.
    sees_both = any(even.a_to_b > 0 for _, _, even in known)
    known = [entry for entry in known if entry[1].crossing > _LEAST_CROSSING * entry[2].crossing]
    known.sort(key=lambda entry: -entry[1].crossing)
    if not known:
        sentence = f"no head of the {stack.stack} looks across the text and its pair more than uniform attention does"
        return wrap(sentence, width=terminal.width)
    arrow = _arrow(terminal)
    name = max(len(head.name) for head, _, _ in known[:_CROSSING_HEADS_SHOWN])
    blind = "" if sees_both else " (A can't see B, which comes later)"
    sentence = f"between the text (A) and its pair (B), these heads of the {stack.stack} cross most{blind}:"
    lines = wrap(sentence, width=terminal.width)
    for head, shares, even in known[:_CROSSING_HEADS_SHOWN]:
        parts = [Line.of(StyledSpan(f"    {head.name:>{name}}", BOLD))]
        parts += _share_and_uniform(f"A{arrow}B", shares.a_to_b, even.a_to_b, terminal) if sees_both else ()
        parts += _share_and_uniform(f"B{arrow}A", shares.b_to_a, even.b_to_a, terminal)
        lines += flow(parts, separator="  ", width=terminal.width, indent=name + 6)
    return lines


def _share_and_uniform(name: str, value: float, even: float, terminal: Terminal) -> Iterator[Line]:
    yield joined(
        [
            Line.of(f"{name} ", StyledSpan(metric_number(value, terminal), BOLD)),
            Line.of(StyledSpan(f", uniform {metric_number(even, terminal)}", DIM)),
        ]
    )


def quadrant_lines(head: HeadMetrics, stack: Stack, terminal: Terminal) -> list[Line]:
    """The shares of one head between the texts as a table, each row with that of uniform attention below it."""
    shares, even = head.quadrants, stack.even_quadrants.get(head.layer)
    if shares is None or even is None:
        return []
    sentence = "A is the text, B its pair; shares of what queries of one give to keys of one:"
    lines = wrap(sentence, DIM, width=terminal.width)
    heading = "".join(f"{name:>9}" for name in ("to A", "to B", "special"))
    lines.append(Line.of(StyledSpan(f"{'':8}{heading}", DIM)))
    for name, row, even_row in zip(("from A", "from B"), _quadrant_rows(shares), _quadrant_rows(even), strict=True):
        lines.append(joined([padded(Line.of(f"{name}"), 8), _quadrant_numbers(row, terminal, BOLD)]))
        lines.append(
            joined([padded(Line.of(StyledSpan(" uniform", DIM)), 8), _quadrant_numbers(even_row, terminal, DIM)])
        )
    return lines


def _quadrant_rows(quadrants: Quadrants) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return quadrants[:3], quadrants[3:]


def _quadrant_numbers(values: tuple[float, ...], terminal: Terminal, style: Style) -> Line:
    return Line.of(StyledSpan("".join(f"{metric_number(value, terminal):>9}" for value in values), style))


def _arrow(terminal: Terminal) -> str:
    return "→" if terminal.unicode else "->"
