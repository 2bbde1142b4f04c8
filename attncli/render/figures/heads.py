"""The result of `attn heads` as a figure: one head, several, all, what one position reads, or a number by head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from attncli.render.common.escape import printable
from attncli.render.figures.axis_labels import (
    AxisLabels,
    axis_labels,
    figure_text,
    head_title,
    position_text,
    shown_facts,
    visible_title,
)
from attncli.render.figures.head_patterns import HeadTiles, OneHead, Panel, PanelGrid
from attncli.render.figures.metric_map import FRAMED, HeadMaps, change_maps, metric_maps
from attncli.render.figures.panels import (
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
from attncli.render.views.difference import DIFFERENCE, both_tokens, compared_facts, difference_stacks
from attncli.render.views.header import pooling_facts
from attncli.render.views.patches import head_name
from attncli.render.views.patterns import visible_weights
from attncli.render.views.sentences import Position
from attncli.results.heads import HeadsDifference, HeadsResult, Stack
from attncli.results.patterns import Pattern

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
    shown = result if result.difference is None else _difference_result(result, result.difference)
    parts = _parts(shown, form)
    if any(stack.patterns for stack in result.stacks):
        result = replace(result, stacks=tuple(stack for stack in result.stacks if stack.patterns))
    if result.difference is not None:
        text = difference_text(result, result.difference, form, title)
    else:
        text = figure_text(result, form, title)
    return text._replace(notes=[*text.notes, *_notes(shown, parts)]), parts


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
    stacks = [stack for stack in result.stacks if stack.patterns]
    if not stacks or (result.metric is not None and not result.chosen):
        return [HeadMaps([*([] if result.metric else change_maps(result.difference)), *metric_maps(result)])]
    if not any(stack.reading or stack.ranking for stack in stacks):
        return _pattern_parts(result, stacks, form)
    several = len(stacks) > 1
    parts: list[Part] = []
    for stack in stacks:
        parts += [*(_captions(stack, form) if several else []), *_position_parts(result, stack, form)]
    return parts


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
        pooled = dict.fromkeys(" ".join(pooling_facts(stack, stack.patterns[0])) for stack in shown)
        yield from filter(None, pooled)


def _captions(stack: Stack, form: str) -> list[Part]:
    """The facts about one of several stacks above its parts; those of a single one are above the figure."""
    return [Caption(drawable(fact, form)) for fact in shown_facts(stack)]


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
    patterns = [(stack, pattern) for stack in stacks for pattern in stack.patterns]
    legend = _WEIGHT_LEGENDS.get(result.weighting, "weight")
    small = len(patterns) > _MAX_WITH_TOKENS
    if not small and (looks := patch_panels(replace(result, stacks=tuple(stacks)), form)):
        maps = PatchMaps(looks, result.picture, legend.removesuffix(_ROWS_TO_COLUMNS))
        return [Caption(looks.about), maps]
    scale = Scale.from_values([visible_weights(stack, pattern) for stack, pattern in patterns])
    parts: list[Part] = []
    for stack in stacks:
        parts += _captions(stack, form) if len(stacks) > 1 else []
        first = stack.patterns[0]
        if small and 1 in first.weights.shape and grid_weights(stack, first) is None:
            parts += _head_row_parts(stack, legend, form)
        elif small:
            parts += _tile_parts(stack, scale, legend, form)
        else:
            panels = [_panel(stack, pattern, form) for pattern in stack.patterns]
            parts.append(OneHead(panels[0], legend) if len(panels) == 1 else PanelGrid(panels, scale, legend))
    return parts


def _head_row_parts(stack: Stack, legend: str, form: str) -> list[Part]:
    """A row for each head, for patterns of a single query or key."""
    is_query = len(stack.patterns[0].weights) == 1
    rows = [visible_weights(stack, pattern) for pattern in stack.patterns]
    only = position_text(Position((stack.queries if is_query else stack.keys)[0]), form)
    sentence = f"what each head reads from {only}" if is_query else f"how much each token looks at {only}, by each head"
    heads = AxisLabels([head_name(stack, pattern) for pattern in stack.patterns])
    others = axis_labels(stack, stack.patterns[0], form)[is_query]
    panel = Panel("", np.concatenate(rows if is_query else [row.T for row in rows]), heads, others)
    return [Caption(f"{sentence} (rows: heads)"), OneHead(panel, legend.removesuffix(_ROWS_TO_COLUMNS))]


def _tile_parts(stack: Stack, scale: Scale, legend: str, form: str) -> list[Part]:
    """A tile for every head; for a single query over patches, its map."""
    patterns = {(each.layer, each.head or 0): each for each in stack.patterns}
    maps = {head: values for head, each in patterns.items() if (values := grid_weights(stack, each)) is not None}
    if maps:
        legend = legend.removesuffix(_ROWS_TO_COLUMNS)
        looks = Caption(f"where {query_name(stack, form)} looks")
        return [looks, HeadTiles(maps, scale, legend, AxisLabels([]), AxisLabels([]))]
    shown = {head: visible_weights(stack, each) for head, each in patterns.items()}
    return [HeadTiles(shown, scale, legend, *axis_labels(stack, stack.patterns[0], form))]


def _panel(stack: Stack, pattern: Pattern, form: str) -> Panel:
    title = head_title(stack, pattern.layer, pattern.head)
    return Panel(title, visible_weights(stack, pattern), *axis_labels(stack, pattern, form))


# --- What was compared: A is the first text or model, B the other


def difference_text(result: HeadsResult, difference: HeadsDifference, form: str, title: str | None) -> FigureText:
    """Title, facts and note of a comparison: what A and B are."""
    texts = difference.kind == "texts"
    shown_title = title or (f"{result.model}: B minus A" if texts else "B minus A")
    facts = shown_facts(result.stacks[0])[:1] if len(result.stacks) == 1 else []
    for name, fact in compared_facts(result, difference):
        facts.append(f"{name}: {fact if texts else printable(fact)}")
    facts += [] if texts else shown_facts(result.stacks[0])[1:]
    return FigureText(
        drawable(visible_title(shown_title), form), [drawable(fact, form) for fact in facts], [DIFFERENCE_COLORS]
    )
