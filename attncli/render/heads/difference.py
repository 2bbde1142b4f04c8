"""How the heads of one model or text differ from those of another: a map, the most changed, or one head in full."""

from __future__ import annotations

from dataclasses import replace

from attncli.render.heads.change_table import change_rows, change_words, head_changes
from attncli.render.heads.header import is_cross, stack_lines, tokens_line
from attncli.render.heads.heatmap import Heat
from attncli.render.heads.pattern_grid import fitted_grid, grid_lines
from attncli.render.heads.picture_notes import pooling_lines, scope_lines, unit_lines
from attncli.render.heads.signed_heat import SignedHeat
from attncli.render.heads.thumbnails import in_rows, picture, shrunk
from attncli.render.heads.value_map import value_map
from attncli.render.layout import apart, beside, flow, joined
from attncli.render.lines import BOLD, DIM, Line, StyledSpan
from attncli.render.terminal import Terminal
from attncli.render.token_text import name_text
from attncli.results.heads import HeadChange, HeadsDifference, HeadsResult, Stack, StackDifference
from attncli.results.patterns import Pattern
from attncli.results.tokenize import Token

_VARIATION = "share of its weight that a head puts elsewhere, mean of its rows"
_LARGEST = "the largest change of a metric that is a share of the row"


def difference_lines(result: HeadsResult, difference: HeadsDifference, terminal: Terminal) -> list[Line]:
    """All stacks under one another: the only pattern in full, several small ones, or maps."""
    lines = _other_model(difference, terminal) if difference.kind == "models" else []
    pairs = list(zip(result.stacks, difference.stacks, strict=True))
    count = sum(len(changed.patterns) for _, changed in pairs)
    view = _map if not count else _one if count == 1 else _small
    shown = [(here, changed) for here, changed in pairs if changed.patterns or not count]
    return [*lines, *apart(view(here, changed, result, difference, terminal) for here, changed in shown)]


def _other_model(difference: HeadsDifference, terminal: Terminal) -> list[Line]:
    return [Line.of(StyledSpan("against ", DIM), StyledSpan(name_text(difference.model, terminal), BOLD))]


def _header(here: Stack, changed: StackDifference, difference: HeadsDifference, terminal: Terminal) -> list[Line]:
    """The stack, and the text or both texts."""
    lines = stack_lines(here, terminal)
    if is_cross(here) or not here.keys:
        return lines
    if difference.kind == "models":
        return [*lines, tokens_line(here.keys, terminal)]
    against = joined([Line.of(StyledSpan("against ", DIM)), tokens_line(changed.keys, terminal)])
    return [*lines, tokens_line(here.keys, terminal), against]


def _map(
    here: Stack, changed: StackDifference, result: HeadsResult, difference: HeadsDifference, terminal: Terminal
) -> list[Line]:
    """How much each head changed, and those that changed most."""
    metric = difference.metric
    values = {(head.layer, head.head): _measure(head, metric) for head in changed.heads}
    known = [abs(value) for value in values.values() if value is not None]
    lines = [*_header(here, changed, difference, terminal), Line(), *_said(difference, terminal)]
    if not known:
        return [*lines, Line.of("nothing in common can be compared")]
    if not any(known):
        return [*lines, Line.of("no head changed")]
    heat = (SignedHeat if metric else Heat)(max(known), terminal)
    picture = value_map(here, values, heat, small=True)
    moved = [head for head in changed.heads[: result.top] if _measure(head, metric)]
    table = change_rows(here, moved, metric, heat)
    return [*lines, *beside(picture, table, width=terminal.width)]


def _measure(head: HeadChange, metric: str | None) -> float | None:
    return head.change if metric is None else head.changes.get(metric)


def _said(difference: HeadsDifference, terminal: Terminal) -> list[Line]:
    """What the map shows."""
    title, words = "change:", _VARIATION if difference.of_patterns else _LARGEST
    if difference.metric is not None:
        title, words = f"{difference.metric}:", f"its change, + where the other {difference.kind[:-1]} has more"
    parts = [Line.of(StyledSpan(title, BOLD)), *(Line.of(StyledSpan(word, DIM)) for word in words.split())]
    return flow(parts, separator=" ", width=terminal.width)


def _one(
    here: Stack, changed: StackDifference, result: HeadsResult, difference: HeadsDifference, terminal: Terminal
) -> list[Line]:
    """One head: the pattern of differences, and its metrics on both sides."""
    (pattern,) = changed.patterns
    head = next(one for one in changed.heads if (one.layer, one.head) == (pattern.layer, pattern.head))
    both = _both(here, changed, terminal) if difference.kind == "texts" else here
    grid = fitted_grid(both, pattern, terminal, least=SignedHeat(1.0, terminal).least)
    heat = SignedHeat(_largest((grid.pattern,)), terminal)
    title = flow(
        [Line.of(StyledSpan(f"head {head.name}", BOLD)), change_words(head, terminal)],
        separator="  ",
        width=terminal.width,
    )
    lines = [
        *_header(here, changed, difference, terminal),
        *title,
        *unit_lines(both, terminal),
        *pooling_lines(both, grid.pattern, terminal),
        Line(),
    ]
    lines += [*grid_lines(both, grid, heat), Line(), *_legend(heat, grid.cell, difference), Line()]
    return [*lines, *scope_lines(here, terminal), *head_changes(here, head, terminal)]


def _small(
    here: Stack, changed: StackDifference, result: HeadsResult, difference: HeadsDifference, terminal: Terminal
) -> list[Line]:
    """Several heads beside one another."""
    least = SignedHeat(1.0, terminal).least
    small = shrunk(replace(here, patterns=changed.patterns), terminal, least=least)
    heat = SignedHeat(_largest(small.patterns), terminal)
    heads = {(head.layer, head.head): head for head in changed.heads}
    blocks = [
        [*picture(small, pattern, heat), *_caption(heads[pattern.layer, pattern.head or 0], terminal)]
        for pattern in small.patterns
    ]
    width = min(max(line.width for block in blocks for line in block), terminal.width)
    rows = [line for row in in_rows(blocks, width, terminal) for line in row]
    notes = [*pooling_lines(here, small.patterns[0], terminal), *_legend(heat, 1, difference)]
    return [*_header(here, changed, difference, terminal), Line(), *rows, *notes]


def _caption(head: HeadChange, terminal: Terminal) -> list[Line]:
    return [Line.of(StyledSpan(head.name, BOLD)), change_words(head, terminal)]


def _legend(heat: SignedHeat, cell: int, difference: HeadsDifference) -> list[Line]:
    """What colours, signs and digits mean, and which way to read the picture."""
    notes = [f"+ where the other {difference.kind[:-1]} has more", "rows look at columns"]
    digits = heat.has_digits(cell)
    notes += [heat.digits_note()] if digits and not heat.has_numbers(cell) else []
    scale = [] if digits and not heat.colored else [heat.scale()]
    parts = [*scale, *(Line.of(StyledSpan(note, DIM)) for note in notes)]
    return flow(parts, separator="   ", width=heat.terminal.width)


def _largest(patterns: tuple[Pattern, ...]) -> float:
    return max((float(abs(pattern.weights).max(initial=0.0)) for pattern in patterns), default=0.0)


def _both(here: Stack, changed: StackDifference, terminal: Terminal) -> Stack:
    """The stack with tokens that name both texts where they differ: `cat→dog`."""
    arrow = "→" if terminal.unicode else ">"

    def named(a: Token, b: Token) -> Token:
        return a if a.text == b.text else a._replace(text=f"{a.text}{arrow}{b.text}")

    queries = tuple(named(a, b) for a, b in zip(here.queries, changed.queries, strict=True))
    keys = tuple(named(a, b) for a, b in zip(here.keys, changed.keys, strict=True))
    return replace(here, queries=queries, keys=keys)
