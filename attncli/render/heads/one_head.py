"""One head in full: its labelled pattern, the scale, and what its metrics say."""

from __future__ import annotations

from attncli.choices import METRICS
from attncli.render.heads.heatmap import Heat, full_scale
from attncli.render.heads.metric_words import label_of, meaning, number
from attncli.render.heads.numbers import weight_number
from attncli.render.heads.pattern_grid import fitted_grid, grid_lines
from attncli.render.heads.picture_notes import norm_lines, pooling_lines, scale_lines, scope_lines, unit_lines
from attncli.render.heads.ranking import place_words
from attncli.render.layout import flow
from attncli.render.lines import BOLD, DIM, Line, StyledSpan
from attncli.render.terminal import Terminal
from attncli.results.heads import HeadMetrics, Stack
from attncli.results.patterns import Pattern

_ROOM_FOR_MEANINGS = 60


def one_head(stack: Stack, pattern: Pattern, terminal: Terminal, *, weighting: str = "attention") -> list[Line]:
    """The pattern with its labels, its scale, and the head's metrics beside those of uniform attention."""
    head = next(one for one in stack.metrics if (one.layer, one.head) == (pattern.layer, pattern.head))
    title = [*title_lines(head, stack, terminal), *norm_lines(weighting, terminal)]
    lines = [*title, *_pattern_lines(stack, pattern, terminal, relative=weighting == "norm"), Line()]
    return [*lines, *scope_lines(stack, terminal, weighting=weighting), *metric_lines(head, stack, terminal)]


def rolled_out(stack: Stack, pattern: Pattern, terminal: Terminal) -> list[Line]:
    """The rollout up to a layer: what of each token reaches each position."""
    title = Line.of(StyledSpan(f"rollout up to layer {pattern.layer}", BOLD))
    if pattern.weights.shape == (1, 1) and pattern.bins is None:
        return [title, *_one_share(stack, float(pattern.weights[0, 0]), terminal)]
    said = _sentence("how much of each token (columns) reaches each position (rows), heads averaged", terminal)
    return [title, *said, *_pattern_lines(stack, pattern, terminal)]


def _one_share(stack: Stack, share: float, terminal: Terminal) -> list[Line]:
    """`0.026 of cat (token 2) reaches it (token 8), heads averaged`"""
    query, key = (Line.of(place_words(tokens[0], terminal)) for tokens in (stack.queries, stack.keys))
    shared = Line.of(StyledSpan(weight_number(share), BOLD))
    words = [shared, Line.of("of"), key, Line.of("reaches"), query, Line.of("(heads averaged)")]
    return flow(words, separator=" ", width=terminal.width)


def _pattern_lines(stack: Stack, pattern: Pattern, terminal: Terminal, *, relative: bool = False) -> list[Line]:
    grid = fitted_grid(stack, pattern, terminal)
    heat = Heat(full_scale((grid.pattern,)), terminal, relative)
    heat = heat.beside_numbers() if heat.has_digits(grid.cell) else heat
    notes = [*unit_lines(stack, terminal), *pooling_lines(stack, grid.pattern, terminal)]
    lines = [*notes, Line(), *grid_lines(stack, grid, heat), Line()]
    return [*lines, *scale_lines(heat, grid.cell)]


def _sentence(text: str, terminal: Terminal) -> list[Line]:
    return flow([Line.of(StyledSpan(word, DIM)) for word in text.split()], separator=" ", width=terminal.width)


def title_lines(head: HeadMetrics, stack: Stack, terminal: Terminal) -> list[Line]:
    """The head's name, and what its labels say."""
    labels = ((label_of(name, stack.key_medium), _shows(name, stack)) for name in head.labels)
    said = [
        Line.of(label.tile(3, terminal), f" {label.sentence}{'' if shown else ' (not shown)'}")
        for label, shown in labels
    ]
    return flow([Line.of(StyledSpan(f"head {head.name}", BOLD)), *said], separator="  ", width=terminal.width)


def _shows(label: str, stack: Stack) -> bool:
    """Whether what a label names is among the keys, of which a part may be shown."""
    if not stack.keys:
        return True
    if label == "first":
        return stack.keys[0].index == 0
    whole = stack.whole is None or stack.whole[1] == len(stack.keys)
    return label != "special" or whole or any(key.special for key in stack.keys)


def metric_lines(head: HeadMetrics, stack: Stack, terminal: Terminal) -> list[Line]:
    """The head's metrics beside those of uniform attention, and what they mean."""
    uniform = stack.baselines.get(head.layer, {})
    names = [*(name for name in METRICS if name in head.values), *(name for name in head.values if name not in METRICS)]
    column = max(map(len, names), default=0)
    lines = [Line.of(StyledSpan(f"{'':{column}}  {'here':>7}  {'uniform':>7}", DIM))]
    for name in names:
        here, even = number(head.values[name], terminal), number(uniform.get(name), terminal)
        said = f"  {meaning(name, stack.key_medium)}" if terminal.width >= _ROOM_FOR_MEANINGS else ""
        values = (StyledSpan(f"  {here:>7}", BOLD), StyledSpan(f"  {even:>7}{said}", DIM))
        lines.append(Line.of(f"{name:{column}}", *values))
    return lines
