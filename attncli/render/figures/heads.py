"""The result of `attn heads` as a figure: one head, several, all, what one position reads, or a number by head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from attncli.render.common.escape import printable
from attncli.render.figures.axis_labels import (
    AxisLabels,
    figure_text,
    head_title,
    key_labels,
    position_text,
    query_labels,
    stack_facts,
    visible_title,
)
from attncli.render.figures.head_patterns import HeadTiles, OneHead, Panel, PanelGrid
from attncli.render.figures.metric_map import FRAMED, HeadMaps, change_maps, metric_maps
from attncli.render.figures.panels import (
    Array,
    Caption,
    FigureText,
    Part,
    Scale,
    all_texts,
    compose_figure,
    render_figure,
)
from attncli.render.figures.patches import PatchMaps, grid_weights, patch_panels, query_name
from attncli.render.figures.position import UNIFORM_NOTE, Bars, position_parts
from attncli.render.figures.text_layout import drawable
from attncli.render.heads.difference_view import DIFFERENCE, difference_result
from attncli.render.heads.header import pooling_lines
from attncli.render.heads.heatmap import hidden_cells
from attncli.render.heads.patch_view import head_name
from attncli.render.heads.shaded_text import text_excerpt
from attncli.render.html.page import PAGE, joined_text
from attncli.results.heads import HeadsDifference, HeadsResult, Stack
from attncli.results.patterns import Pattern
from attncli.results.tokens import Token

DIFFERENCE_LEGEND = "weight in B minus weight in A"
DIFFERENCE_COLORS = "orange: B has more, purple: A has more, white: the same"
#: Heads up to which each is drawn with its tokens; more are drawn as tiles.
_MAX_WITH_TOKENS = 16
_ROWS_TO_COLUMNS = " (rows look at columns)"
_WEIGHT_LEGENDS = {
    "attention": f"attention weight{_ROWS_TO_COLUMNS}",
    "norm": "weight × norm of what is read",
    "rollout": "attention rollout (heads averaged)",
    DIFFERENCE: DIFFERENCE_LEGEND,
}
_AXES_NOTE = "rows: queries, columns: keys; to the right and downwards: later tokens"


def heads_figure(result: HeadsResult, form: str, *, title: str | None = None) -> bytes:
    """The chosen heads, else all heads of every stack, as `svg`, `pdf` or `png`.

    For one position: what it reads. For a comparison of models or texts: their difference. For many texts, or a metric
    without chosen heads: maps of layers × heads coloured by metrics.
    """
    text, parts = _composition(result, form, title)
    return render_figure(lambda: compose_figure(text, parts), form, texts=all_texts(text, parts))


def _composition(result: HeadsResult, form: str, title: str | None) -> tuple[FigureText, Sequence[Part]]:
    """The texts and the parts of the figure."""
    shown = _merged_difference(result)
    parts = _parts(shown, form)
    if any(stack.patterns for stack in result.stacks):
        result = replace(result, stacks=tuple(stack for stack in result.stacks if stack.patterns))
    if result.difference is not None:
        text = difference_text(result, result.difference, form, title)
    else:
        text = figure_text(result, form, title)
    return text._replace(notes=[*text.notes, *_notes(shown, parts)]), parts


def _parts(result: HeadsResult, form: str) -> list[Part]:
    stacks = [stack for stack in result.stacks if stack.patterns]
    if not stacks or (result.metric is not None and not result.chosen):
        return [HeadMaps([*([] if result.metric else change_maps(result.difference)), *metric_maps(result)])]
    if not any(stack.reading or stack.ranking for stack in stacks):
        return _pattern_parts(result, stacks, form)
    several = len(stacks) > 1
    each = [[*_captions(stack, form, several), *_position_parts(result, stack, form)] for stack in stacks]
    return [part for found in each for part in found]


def _notes(result: HeadsResult, parts: Sequence[Part]) -> Iterator[str]:
    """Notes on how to read the parts."""
    if any(isinstance(part, HeadMaps) and any(each.framed for each in part.maps) for part in parts):
        yield FRAMED
    if any(isinstance(part, Bars) for part in parts):
        yield UNIFORM_NOTE
    if any(isinstance(part, HeadTiles) and part.columns.texts for part in parts):
        yield _AXES_NOTE
    if any(isinstance(part, OneHead | PanelGrid | HeadTiles) for part in parts):
        shown = (stack for stack in result.stacks if stack.patterns)
        pooled = dict.fromkeys(joined_text(pooling_lines(stack, stack.patterns[0], PAGE)) for stack in shown)
        yield from filter(None, pooled)


def _captions(stack: Stack, form: str, several: bool) -> list[Part]:
    """The facts about a stack above its parts, if there are several stacks; else they stand above the figure."""
    return [Caption(drawable(fact, form)) for fact in stack_facts(stack)] if several else []


def _position_parts(result: HeadsResult, stack: Stack, form: str) -> list[Part]:
    """What a position reads as a mean, and the patterns of the heads if these are few."""
    parts = position_parts(result, stack, form)
    if stack.reading is None or not len(stack.patterns) > 1:
        return parts
    if stack.key_medium.grid is not None:
        return [*parts, *_pattern_parts(result, [stack], form)]
    few = len(stack.patterns) <= _MAX_WITH_TOKENS
    return [*parts, *_head_row_parts(stack, _WEIGHT_LEGENDS.get(result.weighting, "weight"), form)] if few else parts


def _pattern_parts(result: HeadsResult, stacks: Sequence[Stack], form: str) -> list[Part]:
    """Patterns on one scale: maps over a picture, patterns with their tokens, or tiles."""
    count = sum(len(stack.patterns) for stack in stacks)
    legend = _WEIGHT_LEGENDS.get(result.weighting, "weight")
    if count <= _MAX_WITH_TOKENS and (looks := patch_panels(replace(result, stacks=tuple(stacks)), form)):
        maps = PatchMaps(looks, result.picture, legend.removesuffix(_ROWS_TO_COLUMNS))
        return [Caption(looks.about), maps]
    scale = Scale.from_values([_visible_weights(stack, pattern) for stack in stacks for pattern in stack.patterns])
    parts: list[Part] = []
    for stack in stacks:
        parts += _captions(stack, form, len(stacks) > 1)
        parts += _stack_parts(stack, scale, legend, form, small=count > _MAX_WITH_TOKENS)
    return parts


def _stack_parts(stack: Stack, scale: Scale, legend: str, form: str, *, small: bool) -> list[Part]:
    if small:
        is_line = 1 in stack.patterns[0].weights.shape and grid_weights(stack, stack.patterns[0]) is None
        return _head_row_parts(stack, legend, form) if is_line else _tile_parts(stack, scale, legend, form)
    panels = [_panel(stack, pattern, form) for pattern in stack.patterns]
    return [OneHead(panels[0], legend)] if len(panels) == 1 else [PanelGrid(panels, scale, legend)]


def _head_row_parts(stack: Stack, legend: str, form: str) -> list[Part]:
    """A row for each head, for patterns of a single query or key."""
    first, is_query = stack.patterns[0], len(stack.patterns[0].weights) == 1
    rows = [
        _visible_weights(stack, pattern) if is_query else _visible_weights(stack, pattern).T
        for pattern in stack.patterns
    ]
    only = position_text((stack.queries if is_query else stack.keys)[0], form)
    sentence = f"what each head reads from {only}" if is_query else f"how much each token looks at {only}, by each head"
    heads = AxisLabels([head_name(stack, pattern) for pattern in stack.patterns])
    others = key_labels(stack, first, form) if is_query else query_labels(stack, first, form)
    panel = Panel("", np.concatenate(rows), heads, others)
    return [Caption(f"{sentence} (rows: heads)"), OneHead(panel, legend.removesuffix(_ROWS_TO_COLUMNS))]


def _tile_parts(stack: Stack, scale: Scale, legend: str, form: str) -> list[Part]:
    """A tile for every head; for a single query over patches, its map."""
    first = stack.patterns[0]
    if grid_weights(stack, first) is not None:
        found = {(each.layer, each.head or 0): grid_weights(stack, each) for each in stack.patterns}
        maps = {head: values for head, values in found.items() if values is not None}
        legend = legend.removesuffix(_ROWS_TO_COLUMNS)
        looks = Caption(f"where {query_name(stack, form)} looks")
        return [looks, HeadTiles(maps, scale, legend, AxisLabels([]), AxisLabels([]))]
    patterns = {(each.layer, each.head or 0): _visible_weights(stack, each) for each in stack.patterns}
    return [HeadTiles(patterns, scale, legend, query_labels(stack, first, form), key_labels(stack, first, form))]


def _panel(stack: Stack, pattern: Pattern, form: str) -> Panel:
    sides = query_labels(stack, pattern, form), key_labels(stack, pattern, form)
    return Panel(head_title(stack, pattern), _visible_weights(stack, pattern), *sides)


def _visible_weights(stack: Stack, pattern: Pattern) -> Array:
    return np.where(hidden_cells(stack, pattern), np.nan, pattern.weights.astype(np.float64))


# --- What was compared: A is the first text or model, B the other


def _merged_difference(result: HeadsResult) -> HeadsResult:
    """The differences as a result, with tokens of both texts: `cat→dog`; without a comparison, the result itself."""
    if result.difference is None:
        return result
    originals = {stack.stack: stack for stack in result.stacks}
    changed = difference_result(result)
    stacks = [
        _with_both_texts(stack, originals[other.stack]) if result.difference.kind == "texts" else stack
        for stack, other in zip(changed.stacks, result.difference.stacks, strict=True)
    ]
    return replace(changed, stacks=tuple(stacks))


def _with_both_texts(stack: Stack, original: Stack) -> Stack:
    if (len(stack.queries), len(stack.keys)) != (len(original.queries), len(original.keys)):
        return stack
    queries, keys = (
        tuple(map(_both_texts_token, before, after))
        for before, after in ((original.queries, stack.queries), (original.keys, stack.keys))
    )
    return replace(stack, queries=queries, keys=keys)


def _both_texts_token(before: Token, after: Token) -> Token:
    return before if before.text == after.text else before._replace(text=f"{before.text.strip()}→{after.text.strip()}")


def difference_text(result: HeadsResult, difference: HeadsDifference, form: str, title: str | None) -> FigureText:
    """Title, facts and note of a comparison: what A and B are."""
    texts = difference.kind == "texts"
    shown_title = title or (f"{result.model}: B minus A" if texts else "B minus A")
    shape = stack_facts(result.stacks[0])[:1] if len(result.stacks) == 1 else []
    facts = [*shape, *(_text_facts(result, difference) if texts else _model_facts(result, difference))]
    return FigureText(
        drawable(visible_title(shown_title), form), [drawable(fact, form) for fact in facts], [DIFFERENCE_COLORS]
    )


def _model_facts(result: HeadsResult, difference: HeadsDifference) -> list[str]:
    models = [f"A: {printable(result.model)}", f"B: {printable(difference.model)}"]
    return [*models, *stack_facts(result.stacks[0])[1:]]


def _text_facts(result: HeadsResult, difference: HeadsDifference) -> list[str]:
    here, there = result.stacks[0].keys, difference.stacks[0].keys
    return [f"A: {text_excerpt(here)}", f"B: {text_excerpt(there)}"] if here and there else []
