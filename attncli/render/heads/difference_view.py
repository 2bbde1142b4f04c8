"""How heads differ between two models or two texts (`--against`): a map and the most changed heads, or their patterns.

`difference_stacks` and `difference_result` make a result of the differences, for renderers that draw heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from attncli.metrics import METRICS
from attncli.render.common.cells import bar, glyphs, shorten
from attncli.render.common.escape import name_text, unit_text
from attncli.render.common.lines import (
    BOLD,
    DIM,
    Line,
    StyledSpan,
    beside_or_below,
    flow,
    joined,
    separate_blocks,
    split_words,
)
from attncli.render.common.numbers import decimals_for, signed_number, weight_number
from attncli.render.common.terminal import Terminal
from attncli.render.heads.head_map import evidence_lines, value_map
from attncli.render.heads.header import is_cross, pooling_lines, scope_lines, stack_lines, tokens_line, unit_lines
from attncli.render.heads.heatmap import HeatScale, SignedHeatScale
from attncli.render.heads.metric_words import meaning
from attncli.render.heads.overview import arrange_in_rows, pool_to_thumbnails, thumbnail
from attncli.render.heads.pattern_grid import fitted_grid, grid_lines
from attncli.results.heads import HeadChange, HeadMetrics, HeadsDifference, HeadsResult, Stack, StackDifference
from attncli.results.patterns import Pattern
from attncli.results.tokens import Token

# --- differences as stacks of heads

#: The `weighting` of a result whose patterns are differences.
DIFFERENCE = "difference"


def difference_stacks(result: HeadsResult) -> tuple[Stack, ...]:
    """The other side less this one, as stacks: differences of patterns, and changes of metrics as their values."""
    if result.difference is None:
        return ()
    stacks = {stack.stack: stack for stack in result.stacks}
    return tuple(_difference_stack(changed, stacks[changed.stack]) for changed in result.difference.stacks)


def difference_result(result: HeadsResult) -> HeadsResult:
    """A result whose heads are the differences; the result itself where nothing was compared."""
    stacks = difference_stacks(result)
    if not stacks or result.difference is None:
        return result
    return replace(result, stacks=stacks, model=comparison_title(result, result.difference), weighting=DIFFERENCE)


def comparison_title(result: HeadsResult, difference: HeadsDifference) -> str:
    """What is compared: `B less A`, or `A: the other text less this one`."""
    if difference.kind == "models":
        return f"{difference.model} less {result.model}"
    return f"{result.model}: the other text less this one"


def _difference_stack(changed: StackDifference, here: Stack) -> Stack:
    heads = sorted(changed.heads, key=lambda head: (head.layer, head.head))
    return replace(
        here,
        stack=f"{changed.stack}, {DIFFERENCE}",
        queries=changed.queries,
        keys=changed.keys,
        metrics=tuple(map(_change_metrics, heads)),
        baselines={},
        patterns=changed.patterns,
        whole=None,
        reading=None,
        ranking=None,
    )


def _change_metrics(head: HeadChange) -> HeadMetrics:
    values = {"total_variation": head.total_variation, **head.changes}
    return HeadMetrics(f"{DIFFERENCE} {head.name}", head.layer, head.head, (), values)


# --- changes of metrics

_BAR_CELLS = 20
# Digits after the point of two values: the fewest that show their difference, or the first where none do.
_DECIMALS = (3, 4, 5, 6)
_ROOM_FOR_BARS, _ROOM_FOR_MEANINGS = 70, 90
# Cells of the text of a key that explains a change.
_LONGEST_KEY = 12


def change_rows(
    here: Stack, changed: StackDifference, heads: Sequence[HeadChange], metric: str | None, heat: HeatScale
) -> list[Line]:
    """A row per head: its change, a bar, and what explains it.

    That is the value of `metric` on both sides; else the keys that gained and lost most weight; and where the keys
    can't be compared, the metric that changed most.
    """
    befores = {head.name: head for head in here.metrics}
    name = max((len(head.name) for head in heads), default=0)
    texts = [_change_text(head, metric, heat) for head in heads]
    width = max(map(len, texts), default=0)
    return [
        _change_row(
            head,
            (f"{head.name:>{name}}", f"  {text:>{width}}"),
            head.change if metric is None else head.changes.get(metric),
            _explanation(befores[head.name], head, (here, changed), metric, heat.terminal),
            heat,
        )
        for head, text in zip(heads, texts, strict=True)
    ]


def _change_text(head: HeadChange, metric: str | None, heat: HeatScale) -> str:
    decimals = decimals_for(heat.full)
    if metric is None:
        return weight_number(head.change or 0.0, decimals)
    return signed_number(head.changes.get(metric) or 0.0, decimals)


def _change_row(
    head: HeadChange, texts: tuple[str, str], value: float | None, explanation: str, heat: HeatScale
) -> Line:
    """texts: the head's name, and its change."""
    terminal, (name, text) = heat.terminal, texts
    cells = _BAR_CELLS if terminal.width >= _ROOM_FOR_BARS else 0
    filled = f"  {bar(heat.share(abs(value or 0.0)), cells, terminal)}" if cells else ""
    return Line.of(name, StyledSpan(text, BOLD), filled, StyledSpan(f"  {explanation}" if explanation else "", DIM))


def _explanation(
    before: HeadMetrics,
    head: HeadChange,
    sides: tuple[Stack, StackDifference],
    metric: str | None,
    terminal: Terminal,
) -> str:
    """`previous 0.12 → 0.71`, or `more on dog +0.21, less on it -0.18`: keys with their change, mean over the rows."""
    if metric is None and (head.gained or head.lost):
        parts = [("more", change) for change in head.gained[:1]] + [("less", change) for change in head.lost[:1]]
        return ", ".join(
            f"{word} on {_both_texts(change.key, *sides, terminal)} {signed_number(change.change)}"
            for word, change in parts
        )
    shown = metric or head.largest
    return f"{shown} {_before_and_after(before, head, shown, terminal)}" if shown else ""


def _both_texts(index: int, here: Stack, changed: StackDifference, terminal: Terminal) -> str:
    """A key's text, or both texts where they differ: `cat→dog`."""
    texts = [
        shorten(unit_text(keys[index], here.unit, terminal), _LONGEST_KEY, glyphs(terminal).cut)
        for keys in (here.keys, changed.keys)
    ]
    arrow = "→" if terminal.unicode else "->"
    return arrow.join(dict.fromkeys(texts))


def _before_and_after(before: HeadMetrics, head: HeadChange, metric: str, terminal: Terminal) -> str:
    """`0.12 → 0.71`, with enough digits to tell the two apart."""
    arrow = "→" if terminal.unicode else "->"
    here, there = before.values.get(metric), head.values.get(metric)
    change = 0.0 if here is None or there is None else abs(there - here)
    decimals = next((decimals for decimals in _DECIMALS if change >= 10.0**-decimals), _DECIMALS[0])
    return f"{_number_or_dash(here, decimals, terminal)} {arrow} {_number_or_dash(there, decimals, terminal)}"


def _number_or_dash(value: float | None, decimals: int, terminal: Terminal) -> str:
    return glyphs(terminal).dash if value is None else f"{value:z.{decimals}f}"


def change_words(head: HeadChange, terminal: Terminal) -> Line:
    """`change 0.531`."""
    text = glyphs(terminal).dash if head.change is None else weight_number(head.change, decimals_for(head.change))
    return Line.of("change ", StyledSpan(text, BOLD))


def head_changes(here: Stack, head: HeadChange, terminal: Terminal) -> list[Line]:
    """A table of all metrics on both sides, and their changes."""
    before = next(one for one in here.metrics if one.name == head.name)
    names = [name for name in METRICS if name in before.values]
    column = max(map(len, names), default=0)
    lines = [Line.of(StyledSpan(f"{'':{column}}  {'here':>7}  {'against':>7}  {'change':>7}", DIM))]
    for name in names:
        here_, there = (_number_or_dash(value, 3, terminal) for value in (before.values[name], head.values.get(name)))
        change = head.changes.get(name)
        changed = glyphs(terminal).dash if change is None else signed_number(change)
        meant = f"  {meaning(name)}" if terminal.width >= _ROOM_FOR_MEANINGS else ""
        values = (f"  {here_:>7}  {there:>7}", StyledSpan(f"  {changed:>7}", BOLD), StyledSpan(meant, DIM))
        lines.append(Line.of(f"{name:{column}}", *values))
    return lines


# --- the view

_VARIATION_MEANING = "share of its weight that a head puts elsewhere, mean of its rows"
_LARGEST_CHANGE_MEANING = "the largest change of a metric that is a share of the row"


def difference_lines(result: HeadsResult, difference: HeadsDifference, terminal: Terminal) -> list[Line]:
    """All stacks under one another: a single pattern in full, several small ones, or maps."""
    lines = _other_model(difference, terminal) if difference.kind == "models" else []
    pairs = list(zip(result.stacks, difference.stacks, strict=True))
    count = sum(len(changed.patterns) for _, changed in pairs)
    view = _change_map if not count else _one_head if count == 1 else _several_heads
    shown = [(here, changed) for here, changed in pairs if changed.patterns or not count]
    return [*lines, *separate_blocks(view(here, changed, result, difference, terminal) for here, changed in shown)]


def _other_model(difference: HeadsDifference, terminal: Terminal) -> list[Line]:
    return [Line.of(StyledSpan("against ", DIM), StyledSpan(name_text(difference.model, terminal), BOLD))]


def _header(here: Stack, changed: StackDifference, difference: HeadsDifference, terminal: Terminal) -> list[Line]:
    """The stack's line, and the text, or both texts."""
    lines = stack_lines(here, terminal)
    if is_cross(here) or not here.keys:
        return lines
    if difference.kind == "models":
        return [*lines, tokens_line(here.keys, terminal)]
    against = joined([Line.of(StyledSpan("against ", DIM)), tokens_line(changed.keys, terminal)])
    return [*lines, tokens_line(here.keys, terminal), against]


def _change_map(
    here: Stack, changed: StackDifference, result: HeadsResult, difference: HeadsDifference, terminal: Terminal
) -> list[Line]:
    """A map of how much each head changed, and the heads that changed most."""
    metric = difference.metric
    values = {(head.layer, head.head): _measure(head, metric) for head in changed.heads}
    known = [abs(value) for value in values.values() if value is not None]
    lines = [*_header(here, changed, difference, terminal), Line(), *_map_title(difference, terminal)]
    if not known:
        return [*lines, Line.of("nothing in common can be compared")]
    if not any(known):
        return [*lines, Line.of("no head changed")]
    heat = (SignedHeatScale if metric else HeatScale)(max(known), terminal)
    picture = value_map(here, values, heat, small=True)
    changed_heads = [head for head in changed.heads[: result.top] if _measure(head, metric)]
    if metric and not here.has_evidence(metric):
        return [*lines, *evidence_lines(metric, here, terminal), *picture]
    table = change_rows(here, changed, changed_heads, metric, heat)
    return [*lines, *beside_or_below(picture, table, width=terminal.width)]


def _measure(head: HeadChange, metric: str | None) -> float | None:
    return head.change if metric is None else head.changes.get(metric)


def _map_title(difference: HeadsDifference, terminal: Terminal) -> list[Line]:
    """Above the map: what its numbers are."""
    title, words = "change:", _VARIATION_MEANING if difference.by_total_variation else _LARGEST_CHANGE_MEANING
    if difference.metric is not None:
        title, words = f"{difference.metric}:", f"its change, + where the other {difference.kind[:-1]} has more"
    return flow([Line.of(StyledSpan(title, BOLD)), *split_words(words, DIM)], separator=" ", width=terminal.width)


def _one_head(
    here: Stack, changed: StackDifference, result: HeadsResult, difference: HeadsDifference, terminal: Terminal
) -> list[Line]:
    """One head: the heatmap of differences, and its metrics on both sides."""
    (pattern,) = changed.patterns
    head = next(one for one in changed.heads if (one.layer, one.head) == (pattern.layer, pattern.head))
    both = _merged_tokens(here, changed, terminal) if difference.kind == "texts" else here
    grid = fitted_grid(both, pattern, terminal, least=SignedHeatScale(1.0, terminal).min_width)
    heat = SignedHeatScale(_largest((grid.pattern,)), terminal)
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


def _several_heads(
    here: Stack, changed: StackDifference, result: HeadsResult, difference: HeadsDifference, terminal: Terminal
) -> list[Line]:
    """Several heads as small pictures."""
    least = SignedHeatScale(1.0, terminal).min_width
    small = pool_to_thumbnails(replace(here, patterns=changed.patterns), terminal, least=least)
    heat = SignedHeatScale(_largest(small.patterns), terminal)
    heads = {(head.layer, head.head): head for head in changed.heads}
    blocks = [
        [*thumbnail(small, pattern, heat), *_caption(heads[pattern.layer, pattern.head or 0], terminal)]
        for pattern in small.patterns
    ]
    width = min(max(line.width for block in blocks for line in block), terminal.width)
    rows = [line for row in arrange_in_rows(blocks, width, terminal) for line in row]
    notes = [*pooling_lines(here, small.patterns[0], terminal), *_legend(heat, 1, difference)]
    return [*_header(here, changed, difference, terminal), Line(), *rows, *notes]


def _caption(head: HeadChange, terminal: Terminal) -> list[Line]:
    return [Line.of(StyledSpan(head.name, BOLD)), change_words(head, terminal)]


def _legend(heat: SignedHeatScale, cell: int, difference: HeadsDifference) -> list[Line]:
    """Below a picture: what colours, signs and digits mean, and that rows look at columns."""
    notes = [f"+ where the other {difference.kind[:-1]} has more", "rows look at columns"]
    digits = heat.has_digits(cell)
    notes += [heat.digits_note()] if digits and not heat.has_numbers(cell) else []
    scale = [] if digits and not heat.colored else [heat.legend()]
    parts = [*scale, *(Line.of(StyledSpan(note, DIM)) for note in notes)]
    return flow(parts, separator="   ", width=heat.terminal.width)


def _largest(patterns: tuple[Pattern, ...]) -> float:
    return max((float(abs(pattern.weights).max(initial=0.0)) for pattern in patterns), default=0.0)


def _merged_tokens(here: Stack, changed: StackDifference, terminal: Terminal) -> Stack:
    """The stack with tokens that show both texts where they differ: `cat→dog`."""
    arrow = "→" if terminal.unicode else ">"

    def merge(a: Token, b: Token) -> Token:
        return a if a.text == b.text else a._replace(text=f"{a.text}{arrow}{b.text}")

    queries = tuple(merge(a, b) for a, b in zip(here.queries, changed.queries, strict=True))
    keys = tuple(merge(a, b) for a, b in zip(here.keys, changed.keys, strict=True))
    return replace(here, queries=queries, keys=keys)
