"""Metrics that are means over many texts: how sure they are, and all of them for one head.

What `attn heads` shows in a terminal: the map of all heads, the pictures of several, or one head in full.
"""

from __future__ import annotations

from collections.abc import Sequence

from attncli.render.common.cells import glyphs
from attncli.render.common.document import lower
from attncli.render.common.lines import DIM, Line, StyledSpan, apart, flow
from attncli.render.common.terminal import Terminal
from attncli.render.heads.difference_view import difference_lines
from attncli.render.heads.head_map import metric_map
from attncli.render.heads.header import (
    alone_lines,
    both_texts,
    has_text,
    is_alone,
    model_lines,
    norm_lines,
    scale_lines,
    stack_lines,
    tokens_line,
)
from attncli.render.heads.heatmap import Heat, full_scale
from attncli.render.heads.metric_words import MEANINGS, give, number
from attncli.render.heads.one_head import crossing_lines, one_head, quadrant_lines, rolled_out, title_lines
from attncli.render.heads.overview import is_one_weight, overview, shrunk, thumbnails
from attncli.render.heads.patch_view import patch_lines
from attncli.render.heads.position import position_lines
from attncli.render.heads.standouts import Standout, standouts
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


_NARROW = 60


def heads_text(result: HeadsResult, terminal: Terminal) -> str:
    """The result for a terminal of this width, colour depth and character set; no line is wider than the terminal."""
    stacks = [stack for stack in result.stacks if stack.patterns]
    if result.steps is not None:
        lines = _walks(result, terminal)
    elif result.difference is not None:
        lines = difference_lines(result, result.difference, terminal)
    elif result.metric is not None and not result.chosen:
        of_stacks = apart(metric_map(stack, result.metric, terminal, top=result.top) for stack in result.stacks)
        lines = [*of_stacks, *interval_lines(result, terminal)]
    elif any(stack.reading or stack.ranking for stack in result.stacks):
        lines = apart(position_lines(result, stack, terminal) for stack in result.stacks)
    elif result.texts is not None:
        lines = _averages(result, terminal)
    elif not result.chosen or not stacks:
        lines = _overviews(result, terminal)
    elif (maps := patch_lines(result, stacks, terminal)) is not None:
        lines = maps
    elif result.weighting == "rollout":
        lines = apart(
            [*stack_lines(stack, terminal), *rolled_out(stack, each, terminal)]
            for stack in stacks
            for each in stack.patterns
        )
    elif sum(len(stack.patterns) for stack in stacks) == 1:
        lines = _one_head(stacks[0], terminal, result.weighting)
    else:
        lines = _pictures(stacks, terminal, result.weighting)
    return lower([*model_lines(result, terminal), *lines], terminal)


def _walks(result: HeadsResult, terminal: Terminal) -> list[Line]:
    """Each head that was walked through, below its stack."""
    from attncli.render.heads.steps import steps_lines

    stacks = {stack.stack: stack for stack in result.stacks}
    return apart(
        [*stack_lines(stacks[steps.stack], terminal), *steps_lines(steps, terminal)] for steps in result.steps or ()
    )


def _averages(result: HeadsResult, terminal: Terminal) -> list[Line]:
    """The maps of all stacks, or the figures of the only head; no picture belongs to many texts."""
    only = [(stack, head) for stack in result.stacks for head in stack.metrics]
    if len(only) == 1:
        return average_lines(*only[0], terminal, noun=averaged_noun(result))
    return [*_overviews(result, terminal), *interval_lines(result, terminal)]


def _overviews(result: HeadsResult, terminal: Terminal) -> list[Line]:
    """The maps of all stacks under one another, and what to type next."""
    limit = _sentences(terminal) // max(len(result.stacks), 1)
    sought = "induction" if result.probe is not None else None
    found = [standouts(stack, max(limit, 2), sought=sought) for stack in result.stacks]
    parts = [overview(stack, some, terminal) for stack, some in zip(result.stacks, found, strict=True)]
    crossing = [lines for stack in result.stacks if (lines := crossing_lines(stack, terminal))]
    lines = apart([*parts, *crossing])
    if result.texts is not None:
        return lines
    hint = _hint([standout for some in found for standout in some], terminal)
    return [*lines, Line(), hint] if hint else lines


def _sentences(terminal: Terminal) -> int:
    return 8 if terminal.width >= _NARROW else 5


def _hint(found: Sequence[Standout], terminal: Terminal) -> Line | None:
    """What to type to see the first of the heads that stand out, and its layer, if there is room to say it."""
    if not found:
        return None
    head = found[0].head
    short = f"Try: attn heads {glyphs(terminal).ellipsis} -H {head.name}"
    hints = (f"{short} to see that head, -l {head.layer} to see all heads of its layer", short)
    return next((Line.of(StyledSpan(hint, DIM)) for hint in hints if len(hint) <= terminal.width), None)


def _one_head(stack: Stack, terminal: Terminal, weighting: str) -> list[Line]:
    pattern = stack.patterns[0]
    lines = [*stack_lines(stack, terminal), *one_head(stack, pattern, terminal, weighting=weighting)]
    head = next(each for each in stack.metrics if (each.layer, each.head) == (pattern.layer, pattern.head))
    return list(apart(block for block in (lines, quadrant_lines(head, stack, terminal)) if block))


def _pictures(stacks: Sequence[Stack], terminal: Terminal, weighting: str) -> list[Line]:
    """The chosen heads of each stack, all on one scale."""
    small = [shrunk(stack, terminal) for stack in stacks]
    heat = Heat(full_scale(pattern for stack in small for pattern in stack.patterns), terminal)
    parts = []
    for stack in small:
        text = [tokens_line(stack.keys, terminal)] if has_text(stack) else both_texts(stack, terminal)
        start = [*stack_lines(stack, terminal), *text, *norm_lines(weighting, terminal)]
        drawn = [Line(), *thumbnails(stack, heat, terminal, weighting=weighting)]
        parts.append([*start, *(alone_lines(stack, terminal) if is_alone(stack) else drawn)])
    crossing = (lines for stack in stacks if (lines := crossing_lines(stack, terminal)))
    draws = any(not is_one_weight(pattern) for stack in small for pattern in stack.patterns)
    scale = [Line(), *scale_lines(heat)] if draws else []
    return list(apart([[*apart(parts), *scale], *crossing]))
