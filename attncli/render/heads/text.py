"""What `attn heads` shows in a terminal: `heads_text` chooses the view and puts it below the header.

The views are in the other modules: `overview` (all heads), `one_head`, `head_map` (one metric), `position` (one query,
or one weight), `difference_view`, `steps`, `patch_view`. Means over many texts are here.
"""

from __future__ import annotations

from collections.abc import Sequence

from attncli.metrics import PROBED
from attncli.render.common.cells import glyphs
from attncli.render.common.document import lines_to_text
from attncli.render.common.lines import DIM, Line, StyledSpan, separate_blocks, wrap
from attncli.render.common.numbers import metric_number, plus_minus
from attncli.render.common.terminal import Terminal
from attncli.render.heads.difference_view import difference_lines
from attncli.render.heads.head_map import metric_map
from attncli.render.heads.header import (
    has_single_key,
    has_text,
    model_lines,
    norm_lines,
    query_and_key_lines,
    scale_lines,
    single_key_lines,
    stack_lines,
    tokens_line,
)
from attncli.render.heads.heatmap import HeatScale, full_scale
from attncli.render.heads.metric_words import meaning
from attncli.render.heads.one_head import crossing_lines, one_head_lines, quadrant_lines, rollout_lines, title_lines
from attncli.render.heads.overview import is_one_weight, overview, pool_to_thumbnails, thumbnails
from attncli.render.heads.patch_view import patch_lines
from attncli.render.heads.position import position_lines
from attncli.render.heads.ranking import Standout, standouts
from attncli.results.heads import HeadMetrics, HeadsResult, Spread, Stack

# Widths from which on overviews have more sentences, and tables the counts of texts and the meanings of metrics.
_NARROW, _ROOM_FOR_COUNTS, _ROOM_FOR_MEANINGS = 60, 50, 96


def interval_lines(result: HeadsResult, terminal: Terminal) -> list[Line]:
    """Below a picture or ranking of means: what ± is. Nothing for a single text, which has no interval."""
    if (result.texts or 0) < 2:
        return []
    sign = glyphs(terminal).plus_minus
    sentence = f"{sign} 95 % interval of the mean over the {averaged_noun(result)} that show it"
    return [Line(), *wrap(sentence, DIM, width=terminal.width)]


def averaged_noun(result: HeadsResult) -> str:
    """The noun for what values are means over: texts or probes."""
    return "texts" if result.probe is None else "probes"


def average_lines(stack: Stack, head: HeadMetrics, terminal: Terminal, *, noun: str = "texts") -> list[Line]:
    """One head: every metric with its interval, uniform attention's value, and how many texts (`noun`) show it."""
    lines = [*stack_lines(stack, terminal), *title_lines(head, stack, terminal), Line()]
    spread = head.spread or Spread({}, {})
    uniform = stack.baselines.get(head.layer, {})
    column = max(map(len, head.values), default=0)
    around = f"{glyphs(terminal).plus_minus} 95 %"
    heading = ("mean", f"{around:<7}", "uniform", noun, "")
    rows = [Line.of(StyledSpan(_average_row("", column, heading, terminal), DIM))]
    for name, value in head.values.items():
        around = plus_minus(spread.intervals.get(name), terminal).strip()
        figures = (metric_number(value, terminal), f"{around:<7}", metric_number(uniform.get(name), terminal))
        count = f"{spread.counts.get(name, 0):,}"
        rows.append(Line.of(_average_row(name, column, (*figures, count, meaning(name)), terminal)))
    return [*lines, *rows]


def _average_row(name: str, column: int, cells: tuple[str, str, str, str, str], terminal: Terminal) -> str:
    mean, around, uniform, texts, meaning = cells
    counted = f"  {texts:>7}" if terminal.width >= _ROOM_FOR_COUNTS else ""
    meant = f"  {meaning}" if terminal.width >= _ROOM_FOR_MEANINGS else ""
    return f"{name:{column}}  {mean:>7}  {around}  {uniform:>7}{counted}{meant}".rstrip()


def heads_text(result: HeadsResult, terminal: Terminal) -> str:
    """The result as text for a terminal of this width, colour depth and character set; no line is wider than it."""
    stacks = [stack for stack in result.stacks if stack.patterns]
    if result.steps is not None:
        lines = _step_lines(result, terminal)
    elif result.difference is not None:
        lines = difference_lines(result, result.difference, terminal)
    elif result.metric is not None and not result.chosen:
        maps = (metric_map(stack, result.metric, terminal, top=result.top) for stack in result.stacks)
        lines = [*separate_blocks(maps), *interval_lines(result, terminal)]
    elif any(stack.reading or stack.ranking for stack in result.stacks):
        lines = separate_blocks(position_lines(result, stack, terminal) for stack in result.stacks)
    elif result.texts is not None:
        lines = _mean_lines(result, terminal)
    elif not result.chosen or not stacks:
        lines = _overview_lines(result, terminal)
    elif (patch_maps := patch_lines(result, stacks, terminal)) is not None:
        lines = patch_maps
    elif result.weighting == "rollout":
        lines = separate_blocks(
            [*stack_lines(stack, terminal), *rollout_lines(stack, each, terminal)]
            for stack in stacks
            for each in stack.patterns
        )
    elif sum(len(stack.patterns) for stack in stacks) == 1:
        lines = _one_head(stacks[0], terminal, result.weighting)
    else:
        lines = _several_heads(stacks, terminal, result.weighting)
    return lines_to_text([*model_lines(result, terminal), *lines], terminal)


def _step_lines(result: HeadsResult, terminal: Terminal) -> list[Line]:
    """`--steps`: each head's computation, below its stack."""
    from attncli.render.heads.steps_lines import steps_lines

    stacks = {stack.stack: stack for stack in result.stacks}
    return separate_blocks(
        [*stack_lines(stacks[steps.stack], terminal), *steps_lines(steps, terminal)] for steps in result.steps or ()
    )


def _mean_lines(result: HeadsResult, terminal: Terminal) -> list[Line]:
    """Means over many texts: the maps of all stacks, or the metrics of a single head. There are no patterns to draw."""
    only = [(stack, head) for stack in result.stacks for head in stack.metrics]
    if len(only) == 1:
        return average_lines(*only[0], terminal, noun=averaged_noun(result))
    return [*_overview_lines(result, terminal), *interval_lines(result, terminal)]


def _overview_lines(result: HeadsResult, terminal: Terminal) -> list[Line]:
    """The overviews of all stacks under one another, and a hint what to type next."""
    limit = _sentence_limit(terminal) // max(len(result.stacks), 1)
    always = PROBED if result.probe is not None else None
    found = [standouts(stack, max(limit, 2), terminal, always=always) for stack in result.stacks]
    parts = [overview(stack, some, terminal) for stack, some in zip(result.stacks, found, strict=True)]
    crossing = [lines for stack in result.stacks if (lines := crossing_lines(stack, terminal))]
    lines = separate_blocks([*parts, *crossing])
    if result.texts is not None:
        return lines
    hint = _hint([standout for some in found for standout in some], terminal)
    return [*lines, Line(), hint] if hint else lines


def _sentence_limit(terminal: Terminal) -> int:
    return 8 if terminal.width >= _NARROW else 5


def _hint(found: Sequence[Standout], terminal: Terminal) -> Line | None:
    """What to type to see the first of the heads that stand out, and its layer, if there is room."""
    if not found:
        return None
    head = found[0].head
    short = f"Try: attn heads {glyphs(terminal).ellipsis} -H {head.name}"
    hints = (f"{short} to see that head, -l {head.layer} to see all heads of its layer", short)
    return next((Line.of(StyledSpan(hint, DIM)) for hint in hints if len(hint) <= terminal.width), None)


def _one_head(stack: Stack, terminal: Terminal, weighting: str) -> list[Line]:
    pattern = stack.patterns[0]
    lines = [*stack_lines(stack, terminal), *one_head_lines(stack, pattern, terminal, weighting=weighting)]
    head = next(each for each in stack.metrics if (each.layer, each.head) == (pattern.layer, pattern.head))
    return list(separate_blocks(block for block in (lines, quadrant_lines(head, stack, terminal)) if block))


def _several_heads(stacks: Sequence[Stack], terminal: Terminal, weighting: str) -> list[Line]:
    """Small pictures of the selected heads of each stack, all on one scale."""
    small = [pool_to_thumbnails(stack, terminal) for stack in stacks]
    heat = HeatScale(full_scale(pattern for stack in small for pattern in stack.patterns), terminal)
    parts = []
    for stack in small:
        text = [tokens_line(stack.keys, terminal)] if has_text(stack) else query_and_key_lines(stack, terminal)
        start = [*stack_lines(stack, terminal), *text, *norm_lines(weighting, terminal)]
        drawn = [Line(), *thumbnails(stack, heat, terminal, weighting=weighting)]
        parts.append([*start, *(single_key_lines(stack, terminal) if has_single_key(stack) else drawn)])
    crossing = (lines for stack in stacks if (lines := crossing_lines(stack, terminal)))
    draws = any(not is_one_weight(pattern) for stack in small for pattern in stack.patterns)
    scale = [Line(), *scale_lines(heat)] if draws else []
    return list(separate_blocks([[*separate_blocks(parts), *scale], *crossing]))
