"""What `attn heads` shows in a terminal: `heads_text` chooses the view and puts it below the header.

The views are in the other modules: `overview` (all heads), `one_head`, `thumbnails` (several), `head_map` (one metric),
`position` (one query, or one weight), `difference`, `steps`, `patch_view`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rich.text import Text

from attncli.metrics import PROBED
from attncli.render.common.cells import glyphs
from attncli.render.common.console import Rows, count_lines, render_blocks, separate_blocks
from attncli.render.common.terminal import Terminal
from attncli.render.heads.aligned_pairs import alignment_rows
from attncli.render.heads.circuits import circuits_rows
from attncli.render.heads.difference import difference_rows
from attncli.render.heads.effects import effects_rows
from attncli.render.heads.head_map import metric_rows
from attncli.render.heads.header import model_row, note_row, query_and_key_rows, stack_row, tokens_row
from attncli.render.heads.heatmap import ROWS_LOOK_AT_COLUMNS, HeatScale
from attncli.render.heads.one_head import average_rows, one_head, rollout
from attncli.render.heads.overview import crossing_rows, head_lines, legend_row, overview, short_overviews
from attncli.render.heads.patch_view import patch_rows
from attncli.render.heads.position import position_rows
from attncli.render.heads.steps_walk import steps_rows
from attncli.render.heads.thumbnails import pool_to_thumbnails, sketch_rows, thumbnail_rows
from attncli.render.heads.writing import generated_rows
from attncli.render.views.header import (
    NORM_NOTE,
    averaged_noun,
    has_single_key,
    has_text,
    single_key_note,
    written_tokens,
)
from attncli.render.views.overview import Standout, standouts
from attncli.render.views.patterns import full_scale, is_one_weight
from attncli.render.views.writing import has_trace
from attncli.results.heads import HeadsResult, Stack

# Sentences of overviews, on wide and on narrow terminals, of those without a map, and of full ones.
_NARROW, _SENTENCES, _FEW_SENTENCES, _MOST_SENTENCES, _ALL_SENTENCES = 60, 5, 4, 10, 40


def heads_text(result: HeadsResult, terminal: Terminal) -> str:
    """The result as text for a terminal of this width, colour depth and character set; no line is wider than it."""
    return render_blocks([[model_row(result, terminal), *_view(result, terminal)]], terminal)


def _view(result: HeadsResult, terminal: Terminal) -> Rows:
    stacks = [stack for stack in result.stacks if stack.patterns]
    metrics = [(stack, head) for stack in result.stacks for head in stack.metrics]
    if result.steps is not None:
        by_name = {stack.stack: stack for stack in result.stacks}
        room = (terminal.lines - len(result.steps)) // max(len(result.steps), 1) - 1
        return separate_blocks(
            [stack_row(by_name[steps.stack], terminal), *steps_rows(steps, terminal, room)] for steps in result.steps
        )
    if result.qk_ov is not None:
        return circuits_rows(result, result.qk_ov, terminal)
    if result.prediction is not None or result.effects is not None:
        return effects_rows(result, terminal)
    if result.difference is not None:
        return difference_rows(result, result.difference, terminal)
    if result.alignment is not None and result.metric is None:
        return alignment_rows(result, terminal)
    if (metric := result.metric) is not None and not result.chosen:
        note = _interval_note(result, terminal)
        room = (terminal.lines - 1 - count_lines(note, terminal)) // max(len(result.stacks), 1) - (
            len(result.stacks) > 1
        )
        maps = (metric_rows(stack, metric, terminal, top=result.top, room=room) for stack in result.stacks)
        return [*separate_blocks(maps), *note]
    if result.generated is not None and not result.chosen and has_trace(result):
        overviews = _overviews(result, terminal) if terminal.full else []
        return separate_blocks(
            [
                generated_rows(result.generated, terminal, pictures=result.picture is not None),
                *([overviews] if overviews else []),
            ]
        )
    if read := [stack for stack in result.stacks if stack.reading or stack.ranking or stack.readers]:
        return separate_blocks(position_rows(result, stack, terminal) for stack in read)
    if result.texts is not None and len(metrics) == 1:
        return average_rows(*metrics[0], terminal, noun=averaged_noun(result))
    if result.texts is not None or not result.chosen or not stacks:
        return [*_overviews(result, terminal), *_interval_note(result, terminal)]
    if (patch_maps := patch_rows(result, stacks, terminal)) is not None:
        return patch_maps
    patterns = [(stack, pattern) for stack in stacks for pattern in stack.patterns]
    if result.weighting == "rollout":
        return separate_blocks(
            rollout(stack, pattern, terminal, corrected=bool(result.receptive_field)) for stack, pattern in patterns
        )
    if len(patterns) == 1:
        return one_head(*patterns[0], terminal, weighting=result.weighting)
    return _several_heads(stacks, terminal, result.weighting)


def _listed_heads(stacks: Sequence[Stack], terminal: Terminal) -> Rows:
    """The pictures with their tokens, else a line for each head; nothing with `full`, or of a crop."""
    whole = all(head.link is not None for stack in stacks for head in stack.metrics)
    if terminal.full or not whole or any(has_single_key(stack) for stack in stacks):
        return []
    parts = []
    for stack in stacks:
        above: Rows = [stack_row(stack, terminal), tokens_row(written_tokens(stack), terminal), Text()]
        room = (terminal.lines - 1) // len(stacks) - count_lines(above, terminal)
        pictures = sketch_rows(
            replace(stack, sketches=stack.patterns), terminal, legend_row(stack, terminal), room=room
        )
        parts.append([*above, *(pictures or head_lines(stack, terminal, room))])
    return separate_blocks(parts)


def _interval_note(result: HeadsResult, terminal: Terminal) -> Rows:
    """Below a picture or ranking of means: what ± is. Nothing for a single text, which has no interval."""
    if (result.texts or 0) < 2:
        return []
    note = f"± 95 % interval of the mean over the {averaged_noun(result)} that show it"
    return [Text(), note_row(note, terminal)]


def _overviews(result: HeadsResult, terminal: Terminal) -> Rows:
    """The overviews of all stacks under one another, and a hint what to type next."""
    sentences = _ALL_SENTENCES if terminal.full else _SENTENCES if terminal.width >= _NARROW else _FEW_SENTENCES
    several = max(len(result.stacks), 1)
    limit = max(sentences // several, 2)
    always = PROBED if result.probe is not None else None
    found = [standouts(stack, limit, always=always, resting=terminal.full) for stack in result.stacks]
    crossing = [crossing_rows(stack, terminal) for stack in result.stacks]
    room = (terminal.lines - 1 - sum(count_lines(rows, terminal) + 1 for rows in crossing if rows)) // several
    parts = (overview(stack, some, terminal, room=room) for stack, some in zip(result.stacks, found, strict=True))
    rows = separate_blocks([*parts, *crossing])
    is_short = not terminal.full and count_lines(rows, terminal) >= terminal.lines
    if is_short:
        # With a map less, there is room for more sentences.
        found = [standouts(stack, _MOST_SENTENCES, always=always) for stack in result.stacks]
        rows = separate_blocks([short_overviews(result.stacks, found, terminal, room=room * several), *crossing])
    first = next((standout for some in found for standout in some), None)
    if result.texts is not None or first is None:
        return rows
    hint = _hint(first, terminal, more=is_short)
    return [*rows, *hint] if terminal.full or count_lines([*rows, *hint], terminal) < terminal.lines else rows


def _hint(first: Standout, terminal: Terminal, *, more: bool) -> Rows:
    """What to type to see the first of the heads that stand out, and its layer or more of them, if there is room."""
    short = f"Try: attn heads {glyphs(terminal).ellipsis} -H {first.head.name}"
    then = "--full for all that stand out" if more else f"-l {first.head.layer} to see all heads of its layer"
    hints = (f"{short} to see that head, {then}", short)
    return next(([Text(), Text(hint, "dim")] for hint in hints if len(hint) <= terminal.width), [])


def _several_heads(stacks: Sequence[Stack], terminal: Terminal, weighting: str) -> Rows:
    """Small pictures of the selected heads of each stack, all on one scale; a line for each where they don't fit."""
    if listed := _listed_heads(stacks, terminal):
        return listed
    small = [pool_to_thumbnails(stack, terminal) for stack in stacks]
    heat = HeatScale(full_scale(pattern for stack in small for pattern in stack.patterns), terminal)
    parts: list[Rows] = []
    for stack in small:
        tokens = (
            [tokens_row(written_tokens(stack), terminal)] if has_text(stack) else query_and_key_rows(stack, terminal)
        )
        norms = note_row(NORM_NOTE if weighting == "norm" else "", terminal)
        if has_single_key(stack):
            drawn: Rows = [note_row(single_key_note(stack), terminal, "")]
        else:
            drawn = [Text(), *thumbnail_rows(stack, heat, terminal, weighting=weighting)]
        parts.append([stack_row(stack, terminal), *tokens, norms, *drawn])
    draws = any(not is_one_weight(pattern) for stack in small for pattern in stack.patterns)
    scale: Rows = [Text(), heat.legend_row(ROWS_LOOK_AT_COLUMNS, digits=heat.has_digits(1))] if draws else []
    crossing = (crossing_rows(stack, terminal) for stack in stacks)
    return separate_blocks([[*separate_blocks(parts), *scale], *crossing])
