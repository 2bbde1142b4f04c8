"""What `attn heads` shows in a terminal: `heads_text` chooses the view and puts it below the header.

The views are in the other modules: `overview` (all heads), `one_head`, `thumbnails` (several), `head_map` (one metric),
`position` (one query, or one weight), `difference`, `steps`, `patch_view`.
"""

from __future__ import annotations

from collections.abc import Sequence

from attncli.metrics import PROBED
from attncli.render.common.cells import glyphs
from attncli.render.common.document import lines_to_text
from attncli.render.common.lines import DIM, PLAIN, Line, StyledSpan, separate_blocks
from attncli.render.common.terminal import Terminal
from attncli.render.heads.difference import difference_lines
from attncli.render.heads.head_map import metric_lines
from attncli.render.heads.header import model_lines, note_lines, query_and_key_lines, stack_lines, tokens_line
from attncli.render.heads.heatmap import ROWS_LOOK_AT_COLUMNS, HeatScale
from attncli.render.heads.one_head import average_lines, one_head_lines, rollout_lines
from attncli.render.heads.overview import crossing_lines, overview
from attncli.render.heads.patch_view import patch_lines
from attncli.render.heads.position import position_lines
from attncli.render.heads.thumbnails import pool_to_thumbnails, thumbnail_lines
from attncli.render.views.header import NORM_NOTE, averaged_noun, has_single_key, has_text, single_key_note
from attncli.render.views.overview import Standout, standouts
from attncli.render.views.patterns import full_scale, is_one_weight
from attncli.results.heads import HeadsResult, Stack

# Sentences of overviews, on wide and on narrow terminals.
_NARROW, _SENTENCES, _FEW_SENTENCES = 60, 8, 5


def heads_text(result: HeadsResult, terminal: Terminal) -> str:
    """The result as text for a terminal of this width, colour depth and character set; no line is wider than it."""
    return lines_to_text([*model_lines(result, terminal), *_view(result, terminal)], terminal)


def _view(result: HeadsResult, terminal: Terminal) -> list[Line]:
    stacks = [stack for stack in result.stacks if stack.patterns]
    metrics = [(stack, head) for stack in result.stacks for head in stack.metrics]
    if result.steps is not None:
        return _step_lines(result, terminal)
    if result.difference is not None:
        return difference_lines(result, result.difference, terminal)
    if (metric := result.metric) is not None and not result.chosen:
        maps = (metric_lines(stack, metric, terminal, top=result.top) for stack in result.stacks)
        return [*separate_blocks(maps), *_interval_lines(result, terminal)]
    if any(stack.reading or stack.ranking for stack in result.stacks):
        return separate_blocks(position_lines(result, stack, terminal) for stack in result.stacks)
    if result.texts is not None and len(metrics) == 1:
        return average_lines(*metrics[0], terminal, noun=averaged_noun(result))
    if result.texts is not None or not result.chosen or not stacks:
        return [*_overview_lines(result, terminal), *_interval_lines(result, terminal)]
    if (patch_maps := patch_lines(result, stacks, terminal)) is not None:
        return patch_maps
    patterns = [(stack, pattern) for stack in stacks for pattern in stack.patterns]
    if result.weighting == "rollout":
        return separate_blocks(rollout_lines(stack, pattern, terminal) for stack, pattern in patterns)
    if len(patterns) == 1:
        return one_head_lines(*patterns[0], terminal, weighting=result.weighting)
    return _several_heads(stacks, terminal, result.weighting)


def _interval_lines(result: HeadsResult, terminal: Terminal) -> list[Line]:
    """Below a picture or ranking of means: what ± is. Nothing for a single text, which has no interval."""
    if (result.texts or 0) < 2:
        return []
    note = f"± 95 % interval of the mean over the {averaged_noun(result)} that show it"
    return [Line(), *note_lines(note, terminal)]


def _step_lines(result: HeadsResult, terminal: Terminal) -> list[Line]:
    """`--steps`: each head's computation, below its stack."""
    from attncli.render.heads.steps_lines import steps_lines

    stacks = {stack.stack: stack for stack in result.stacks}
    return separate_blocks(
        [*stack_lines(stacks[steps.stack], terminal), *steps_lines(steps, terminal)] for steps in result.steps or ()
    )


def _overview_lines(result: HeadsResult, terminal: Terminal) -> list[Line]:
    """The overviews of all stacks under one another, and a hint what to type next."""
    sentences = _SENTENCES if terminal.width >= _NARROW else _FEW_SENTENCES
    limit = max(sentences // max(len(result.stacks), 1), 2)
    always = PROBED if result.probe is not None else None
    found = [standouts(stack, limit, always=always) for stack in result.stacks]
    parts = [overview(stack, some, terminal) for stack, some in zip(result.stacks, found, strict=True)]
    crossing = [lines for stack in result.stacks if (lines := crossing_lines(stack, terminal))]
    lines = separate_blocks([*parts, *crossing])
    first = next((standout for some in found for standout in some), None)
    return lines if result.texts is not None or first is None else [*lines, *_hint_lines(first, terminal)]


def _hint_lines(first: Standout, terminal: Terminal) -> list[Line]:
    """What to type to see the first of the heads that stand out, and its layer, if there is room."""
    short = f"Try: attn heads {glyphs(terminal).ellipsis} -H {first.head.name}"
    hints = (f"{short} to see that head, -l {first.head.layer} to see all heads of its layer", short)
    return next(([Line(), Line.of(StyledSpan(hint, DIM))] for hint in hints if len(hint) <= terminal.width), [])


def _several_heads(stacks: Sequence[Stack], terminal: Terminal, weighting: str) -> list[Line]:
    """Small pictures of the selected heads of each stack, all on one scale."""
    small = [pool_to_thumbnails(stack, terminal) for stack in stacks]
    heat = HeatScale(full_scale(pattern for stack in small for pattern in stack.patterns), terminal)
    parts = []
    for stack in small:
        text = [tokens_line(stack.keys, terminal)] if has_text(stack) else query_and_key_lines(stack, terminal)
        norms = note_lines(NORM_NOTE, terminal) if weighting == "norm" else []
        if has_single_key(stack):
            drawn = note_lines(single_key_note(stack), terminal, PLAIN)
        else:
            drawn = [Line(), *thumbnail_lines(stack, heat, terminal, weighting=weighting)]
        parts.append([*stack_lines(stack, terminal), *text, *norms, *drawn])
    crossing = (lines for stack in stacks if (lines := crossing_lines(stack, terminal)))
    draws = any(not is_one_weight(pattern) for stack in small for pattern in stack.patterns)
    scale = [Line(), *heat.legend_lines(ROWS_LOOK_AT_COLUMNS, digits=heat.has_digits(1))] if draws else []
    return separate_blocks([[*separate_blocks(parts), *scale], *crossing])
