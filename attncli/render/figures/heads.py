"""The result of `attn heads` as a figure: one head, several, all, what one position reads, or a number by head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure

from attncli.render.common.escape import printable, visible
from attncli.render.figures.axis_labels import AxisLabels, axis_labels, head_title, position_text
from attncli.render.figures.circuits import circuit_parts, trace_parts
from attncli.render.figures.effects import effect_parts
from attncli.render.figures.head_patterns import Panel, head_tiles, panel_grid, single_panel
from attncli.render.figures.metric_map import head_maps, metric_maps
from attncli.render.figures.panels import Array, Part, Scale, caption, compose_figure, render_figure
from attncli.render.figures.patches import grid_weights, patch_maps, query_name
from attncli.render.figures.position import position_parts
from attncli.render.figures.steps_charts import steps_parts
from attncli.render.figures.text_layout import drawable
from attncli.render.views.difference import DIFFERENCE, both_tokens, compared_facts, difference_stacks
from attncli.render.views.header import (
    CORRECTED_NOTE,
    SEPARATOR,
    is_cross,
    model_facts,
    pooling_facts,
    stack_facts,
    written_tokens,
)
from attncli.render.views.metric_words import label_of, ordered_labels
from attncli.render.views.overview import shown_label
from attncli.render.views.patches import head_name
from attncli.render.views.patterns import visible_weights
from attncli.render.views.sentences import Position, text_excerpt
from attncli.render.views.writing import has_trace
from attncli.results.heads import HeadsDifference, HeadsResult, Stack

_DIFFERENCE_COLORS = "orange: B has more, purple: A has more, white: the same"
#: Heads up to which each is drawn with its tokens; more are drawn as tiles.
_MAX_WITH_TOKENS = 16
_ROWS_TO_COLUMNS = " (rows look at columns)"
_WEIGHT_LEGENDS = {
    "attention": f"attention weight{_ROWS_TO_COLUMNS}",
    "norm": "weight × norm of what is read",
    "rollout": "attention rollout (heads averaged)",
    DIFFERENCE: "weight in B minus weight in A",
}


def heads_figure(result: HeadsResult, form: str, *, title: str | None = None) -> bytes:
    """The chosen heads, else all heads of every stack, as `svg`, `pdf` or `png`.

    For one position: what it reads. For a comparison of models or texts: their difference. For many texts, or a metric
    without chosen heads: maps of layers × heads coloured by metrics.
    """
    return render_figure(lambda: _draw_figure(result, form, title), form)


def _draw_figure(result: HeadsResult, form: str, title: str | None) -> Figure:
    difference = result.difference
    patterns = difference is not None and result.effects is None
    parts = _parts(_difference_result(result, difference) if difference and patterns else result, form)
    if shown := tuple(stack for stack in result.stacks if stack.patterns):
        result = replace(result, stacks=shown)
    # Several stacks have their shapes and texts as captions.
    shape, *text = _stack_facts(result.stacks[0])
    shape_facts = [shape] if len(result.stacks) == 1 else []
    if difference is None:
        facts = [shape, *text] if shape_facts else []
        facts.append(SEPARATOR.join([*([] if title is None else [printable(result.model)]), *model_facts(result)]))
        title = title or result.model
    else:
        is_texts = difference.kind == "texts"
        compared = compared_facts(result, difference)
        facts = [*shape_facts, *(f"{name}: {fact if is_texts else printable(fact)}" for name, fact in compared)]
        facts += [] if is_texts else text
        title = title or (f"{result.model}: B minus A" if is_texts else "B minus A")
    # Special characters are visible, but not spaces.
    title = visible(title).replace("␣", " ")
    notes = [_DIFFERENCE_COLORS] if difference is not None else []
    notes += [CORRECTED_NOTE] if result.receptive_field else []
    return compose_figure(drawable(title, form), [drawable(fact, form) for fact in facts], parts, notes)


def _stack_facts(stack: Stack) -> list[str]:
    """The shape of a stack, and its text if all keys are shown."""
    whole = stack.whole is None or stack.whole[1] == len(stack.keys)
    text = (
        text_excerpt(written_tokens(stack))
        if whole and stack.key_medium.kind == "tokens" and not is_cross(stack)
        else ""
    )
    return [SEPARATOR.join(stack_facts(stack)), *([f"text: {text}"] if text else [])]


def _difference_result(result: HeadsResult, difference: HeadsDifference) -> HeadsResult:
    """The differences as a result; of two texts with the tokens of both: `cat→dog`."""
    originals = {stack.stack: stack for stack in result.stacks}
    stacks = []
    for stack, changed in zip(difference_stacks(result), difference.stacks, strict=True):
        here = originals[changed.stack]
        same = (len(stack.queries), len(stack.keys)) == (len(here.queries), len(here.keys))
        if difference.kind == "texts" and same:
            queries = both_tokens(here.queries, stack.queries, "→", strip=True)
            stack = replace(stack, queries=queries, keys=both_tokens(here.keys, stack.keys, "→", strip=True))
        stacks.append(stack)
    return replace(result, stacks=tuple(stacks), weighting=DIFFERENCE)


def _parts(result: HeadsResult, form: str) -> list[Part]:
    if result.qk_ov is not None:
        return circuit_parts(result, result.qk_ov)
    if result.effects is not None or result.prediction is not None:
        return effect_parts(result, form)
    if result.generated is not None and not result.chosen and result.metric is None and has_trace(result):
        return [*trace_parts(result.generated, form), *_shown_parts(result, form)]
    return _shown_parts(result, form)


def _shown_parts(result: HeadsResult, form: str) -> list[Part]:
    """Steps, maps of metrics, what a position reads, or patterns."""
    if result.steps is not None:
        return [part for steps in result.steps for part in steps_parts(steps, form)]
    stacks = [stack for stack in result.stacks if stack.patterns]
    if not stacks or (result.metric is not None and not result.chosen):
        return [head_maps(metric_maps(result))]
    if not any(stack.reading or stack.ranking for stack in stacks):
        return _pattern_parts(result, stacks, form)
    several = len(stacks) > 1
    parts: list[Part] = []
    for stack in stacks:
        parts += _captions(stack, form) if several else []
        parts += _position_parts(result, stack, form)
    return parts


def _captions(stack: Stack, form: str) -> list[Part]:
    """The facts about one of several stacks above its parts."""
    return [caption(drawable(fact, form)) for fact in _stack_facts(stack)]


def _position_parts(result: HeadsResult, stack: Stack, form: str) -> list[Part]:
    """What a position reads as a mean, and the patterns of the heads if these are few."""
    parts = position_parts(result, stack, form)
    if stack.reading is None or not len(stack.patterns) > 1:
        return parts
    if stack.key_medium.grid is not None:
        return [*parts, *_pattern_parts(result, [stack], form)]
    if len(stack.patterns) > _MAX_WITH_TOKENS:
        return parts
    return [*parts, *_head_row_parts(stack, _WEIGHT_LEGENDS.get(result.weighting, "weight"), form)]


def _pattern_parts(result: HeadsResult, stacks: Sequence[Stack], form: str) -> list[Part]:
    """Patterns on one scale: maps over a picture, patterns with their tokens, or tiles."""
    patterns = [(stack, pattern) for stack in stacks for pattern in stack.patterns]
    legend, small = _WEIGHT_LEGENDS.get(result.weighting, "weight"), len(patterns) > _MAX_WITH_TOKENS
    if not small and (maps := patch_maps(stacks, result.picture, legend.removesuffix(_ROWS_TO_COLUMNS), form)):
        return maps
    scale = Scale.from_values(*(visible_weights(stack, pattern) for stack, pattern in patterns))
    parts: list[Part] = []
    for stack in stacks:
        parts += _captions(stack, form) if len(stacks) > 1 else []
        first = stack.patterns[0]
        if small and 1 in first.weights.shape and grid_weights(stack, first) is None:
            parts += _head_row_parts(stack, legend, form)
        elif small:
            parts += _tile_parts(stack, scale, legend, form)
        else:
            panels = [
                Panel(
                    head_title(stack, each.layer, each.head, corrected=bool(result.receptive_field)),
                    visible_weights(stack, each),
                    *axis_labels(stack, each, form),
                )
                for each in stack.patterns
            ]
            part = single_panel(panels[0], legend) if len(panels) == 1 else panel_grid(panels, scale, legend)
            parts.append(_with_pooling(part, stack))
    return parts


def _with_pooling(part: Part, stack: Stack) -> Part:
    """The part of a stack's patterns with a note on how these are pooled, if they are."""
    pooled = " ".join(pooling_facts(stack, stack.patterns[0]))
    return part._replace(notes=[*part.notes, pooled]) if pooled else part


def _head_row_parts(stack: Stack, legend: str, form: str) -> list[Part]:
    """A row for each head, for patterns of a single query or key."""
    is_query = len(stack.patterns[0].weights) == 1
    rows = [visible_weights(stack, pattern) for pattern in stack.patterns]
    only = position_text(Position((stack.queries if is_query else stack.keys)[0]), form)
    sentence = f"what each head reads from {only}" if is_query else f"how much each token looks at {only}, by each head"
    heads = AxisLabels([head_name(stack, pattern) for pattern in stack.patterns])
    others = axis_labels(stack, stack.patterns[0], form)[is_query]
    panel = Panel("", np.concatenate(rows if is_query else [row.T for row in rows]), heads, others)
    part = single_panel(panel, legend.removesuffix(_ROWS_TO_COLUMNS))
    return [caption(f"{sentence} (rows: heads)"), _with_pooling(part, stack)]


def _tile_parts(stack: Stack, scale: Scale, legend: str, form: str) -> list[Part]:
    """A tile for every head; for a single query over patches, its map."""
    patterns = {(each.layer, each.head or 0): each for each in stack.patterns}
    maps = {head: values for head, each in patterns.items() if (values := grid_weights(stack, each)) is not None}
    if maps:
        tiles = head_tiles(maps, scale, legend.removesuffix(_ROWS_TO_COLUMNS), AxisLabels([]), AxisLabels([]))
        return [caption(f"where {query_name(stack, form)} looks"), *(_with_pooling(part, stack) for part in tiles)]
    shown: dict[tuple[int, int], Array] = {head: visible_weights(stack, each) for head, each in patterns.items()}
    named = {(head.layer, head.head): name for head in stack.metrics if (name := shown_label(head, stack))}
    letters = {head: label_of(name).letter for head, name in named.items()}
    tiles = head_tiles(shown, scale, legend, *axis_labels(stack, stack.patterns[0], form), letters)
    explained = [f"{label_of(name).letter}: {label_of(name).target}" for name in ordered_labels(named.values())]
    notes = [SEPARATOR.join(explained)] if explained else []
    return [_with_pooling(part._replace(notes=[*notes, *part.notes]), stack) for part in tiles]
