"""Heads as small heatmaps without labels: the selected ones with two metrics each, and sketches of all of a stack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import ceil, isnan

from rich.text import Text

from attncli.render.common.cells import cell_width, glyphs, shorten
from attncli.render.common.console import Flow, Part, Rows, count_lines, row, side_by_side
from attncli.render.common.escape import token_text
from attncli.render.common.numbers import metric_number, weight_number
from attncli.render.common.terminal import Terminal
from attncli.render.heads.header import label_row, label_tile, note_row, pooling_row
from attncli.render.heads.heatmap import ATTENTION_LEGEND, HeatScale, half_blocks
from attncli.render.views.header import scope_note
from attncli.render.views.metric_words import label_of, ordered_labels
from attncli.render.views.overview import caption_metrics, ordered_metrics, shown_label, shown_labels, top_key
from attncli.render.views.patterns import full_scale, head_of, is_one_weight, pooled_evenly, visible_weights
from attncli.render.views.sentences import Words
from attncli.results.heads import HeadMetrics, Stack
from attncli.results.patterns import Pattern
from attncli.results.tokens import Token

# Cells between blocks that stand side by side.
GAP = 2
# Cells that a thumbnail of few tokens is magnified to, or one of many is pooled to: four fit in 80 columns.
_THUMBNAIL_SIDE = 18
# Up to so many tokens, a thumbnail draws every weight: three of this size fit in 80 columns.
_MOST_TOKENS = 25
# Cells a side of a sketch: two rows of four and the map fill a screen.
_SKETCH_SIDE = 12
# Cells of a sketch that shows every weight, at most; and of the name of a token below it.
_MOST_SKETCHED, _LONGEST_KEY = 48, 7


def pool_to_thumbnails(stack: Stack, terminal: Terminal, *, least: int = 1) -> Stack:
    """The stack with its patterns pooled to the size of thumbnails. least: cells that a weight needs."""
    room = terminal.width // least
    fits = max(len(stack.queries), len(stack.keys)) <= min(_MOST_TOKENS, room)
    side = _MOST_TOKENS if fits else max(min(_THUMBNAIL_SIDE, room), 1)
    return replace(stack, patterns=tuple(pooled_evenly(pattern, side, side) for pattern in stack.patterns))


def thumbnail_rows(stack: Stack, heat: HeatScale, terminal: Terminal, *, weighting: str = "attention") -> Rows:
    """The patterns of a stack from `pool_to_thumbnails`, in rows as wide as the terminal, with legends below them."""
    heads = [head for pattern in stack.patterns if (head := head_of(stack, pattern)) is not None]
    blocks = []
    for pattern, head in zip(stack.patterns, heads, strict=True):
        single = ("weight ", (weight_number(float(pattern.weights[0, 0])), "bold"))
        picture = [row(*single)] if is_one_weight(pattern) else thumbnail(stack, pattern, heat)
        metrics = ((f"{name} ", metric_number(head.values.get(name), terminal)) for name in caption_metrics(head))
        values = (row(name, (value, "bold")) for name, value in metrics)
        blocks.append([*picture, _caption(head, shown_labels(head, stack), terminal), *values])
    names = ordered_labels(name for head in heads for name in shown_labels(head, stack))
    legend = (label_row(name, (Words(label_of(name, stack.key_medium).target),), terminal) for name in names)
    return [
        *arrange_in_rows(blocks, terminal),
        Flow(legend, "  "),
        note_row(scope_note(stack, weighting=weighting), terminal),
        *_uniform_rows(stack, heads, terminal),
        pooling_row(stack, stack.patterns[0], terminal),
    ]


def _caption(head: HeadMetrics, labels: Sequence[str], terminal: Terminal) -> Text:
    tiles: list[Part] = [part for label in labels for part in (" ", label_tile(label, terminal))]
    return row((head.name, "bold"), *tiles)


def arrange_in_rows(blocks: Sequence[Sequence[Text]], terminal: Terminal, *, blank: bool = True) -> list[Text]:
    """Blocks in rows of about the same number, each with a blank line after it, if that is wanted."""
    width = min(max(each.cell_len for block in blocks for each in block), terminal.width)
    most = max((terminal.width + GAP) // (width + GAP), 1)
    count = ceil(len(blocks) / ceil(len(blocks) / most))
    groups = [blocks[start : start + count] for start in range(0, len(blocks), count)]
    after = [Text()] if blank else []
    return [each for group in groups for each in [*side_by_side(group, width=width, gap=GAP), *after]]


def thumbnail(stack: Stack, pattern: Pattern, heat: HeatScale, side: int = _THUMBNAIL_SIDE) -> list[Text]:
    """A small heatmap without labels. side: cells that one of few tokens is magnified to."""
    values = visible_weights(stack, pattern)
    if heat.half_blocks:
        zoom = max(side // max(values.shape), 1)
        zoomed = values.repeat(zoom, axis=0).repeat(zoom, axis=1).tolist()
        colors = [[None if isnan(value) else heat.color(value) for value in weights] for weights in zoomed]
        return [row(*cells) for cells in half_blocks(colors)]
    two_fit = 2 * values.shape[1] <= min(side, heat.terminal.width)
    width = heat.min_width if heat.min_width > 1 else 1 + two_fit
    return [
        row(*(" " * width if isnan(value) else heat.cell(value, width) for value in weights))
        for weights in values.tolist()
    ]


def _uniform_rows(stack: Stack, heads: Sequence[HeadMetrics], terminal: Terminal) -> list[Flow]:
    """The metrics of uniform attention: one sentence for all layers with the same values."""
    shown = ordered_metrics([name for head in heads for name in caption_metrics(head)])
    layers: dict[tuple[str, ...], list[int]] = {}
    for layer in sorted({head.layer for head in heads}):
        uniform = stack.baselines.get(layer, {})
        values = tuple(f"{name} {metric_number(uniform.get(name), terminal)}" for name in shown)
        layers.setdefault(values, []).append(layer)
    rows = []
    for values, which in layers.items():
        where = f" in layer {', '.join(map(str, which))}" if len(layers) > 1 else ""
        start, *rest = (f"{value}," for value in values)
        *before, last = f"uniform attention{where}: {start}", *rest
        rows.append(Flow((Text(part, "dim") for part in (*before, last.removesuffix(","))), " ", indent=2))
    return rows


def sketch_rows(stack: Stack, terminal: Terminal, legend: Flow, *, room: int) -> Rows:
    """A small picture of every head with the first letters of the tokens beside it, its name, its letter and the
    ordinary token that it reads most; and their common scale, with the legend of the letters beside it.

    Nothing where they take more than `room` lines, unless the terminal is `full`.
    """
    for patterns, zoom in _sketch_sizes(stack, terminal) if stack.sketches else ():
        heat = HeatScale(full_scale(patterns), terminal)
        if not terminal.full and _least_lines(patterns, heat, zoom) > room:
            continue  # before many cells are coloured for nothing
        blocks = [
            [*_with_initials(stack, pattern, heat, zoom), _sketch_caption(stack, head, terminal)]
            for pattern in patterns
            if (head := head_of(stack, pattern)) is not None
        ]
        shown = [ATTENTION_LEGEND, *([] if patterns[0].bins is not None else [_INITIALS])]
        scale = Flow([*heat.legend_row(*shown, digits=False).parts, *legend.parts[1:]], "  ")
        pooled = pooling_row(stack, patterns[0], terminal)
        rows: Rows = [*arrange_in_rows(blocks, terminal, blank=patterns[0].bins is not None), scale, pooled]
        if terminal.full or count_lines(rows, terminal) <= room:
            return rows
    return []


def _least_lines(patterns: Sequence[Pattern], heat: HeatScale, zoom: int) -> int:
    """How many lines the pictures with their captions take at least, without the scale below them."""
    rows, columns = map(int, patterns[0].weights.shape)
    pooled = patterns[0].bins is not None
    picture: int = ceil(rows * zoom / 2) if heat.half_blocks else rows
    width = columns * zoom + 2 * (not pooled)
    across = max((heat.terminal.width + GAP) // (width + GAP), 1)
    return ceil(len(patterns) / across) * (picture + 2)  # the caption; and the letters, or a blank line


_INITIALS = "letters: the tokens' first"


def _sketch_sizes(stack: Stack, terminal: Terminal) -> Iterator[tuple[list[Pattern], int]]:
    """The sketches larger and as they are, then pooled: patterns, and the cells that one weight takes."""
    side = max(stack.sketches[0].weights.shape)
    for zoom in (4, 2, 1):
        if side * zoom <= _MOST_SKETCHED and side * zoom + 2 <= terminal.width:
            yield list(stack.sketches), zoom
    small = _SKETCH_SIDE
    # A character is twice as high as wide, and half-blocks are as high as wide.
    high = small if HeatScale(1.0, terminal).half_blocks else small // 2
    if side > small:
        yield [pooled_evenly(pattern, high, small) for pattern in stack.sketches], 1


def _sketch_caption(stack: Stack, head: HeadMetrics, terminal: Terminal) -> Text:
    """`5.11 T cat`"""
    key = top_key(stack, head)
    label = shown_label(head, stack)
    tile: list[Part] = [" ", label_tile(label, terminal, 1)] if label else []
    name = "" if key is None else f" {shorten(token_text(key, terminal), _LONGEST_KEY, glyphs(terminal).cut)}"
    return row((head.name, "bold"), *tile, (name, "" if label == "token" else "dim"))


def _with_initials(stack: Stack, pattern: Pattern, heat: HeatScale, zoom: int) -> list[Text]:
    """A small heatmap with the first letters of its tokens above and to the left; without them where it is pooled."""
    picture = _zoomed(stack, pattern, heat, zoom)
    if pattern.bins is not None:
        return picture
    columns = "".join(_initial(token, heat.terminal).ljust(zoom) for token in stack.keys)
    letters = [_initial(token, heat.terminal) for token in stack.queries]
    # Half-blocks show two rows in a line.
    step = 2 if heat.half_blocks else 1
    lines = [letter for letter in letters for _ in range(zoom)] if heat.half_blocks else letters
    sides = ["".join(dict.fromkeys(lines[at : at + step])) for at in range(0, len(lines), step)]
    if heat.half_blocks and zoom == 1:
        sides = ["".join(lines[at : at + 2]) for at in range(0, len(lines), 2)]
    elif heat.half_blocks:
        sides = [side if at % (zoom // 2) == 0 else "" for at, side in enumerate(sides)]
    return [
        row(("  " + columns, "dim")),
        *(row((f"{side:>2}", "dim"), line) for side, line in zip(sides, picture, strict=True)),
    ]


def _initial(token: Token, terminal: Terminal) -> str:
    """The first letter of a token, one cell wide; a dot where it has none."""
    letters = (letter for letter in (token.text.strip() or token.token) if letter.isalnum())
    letter = next(letters, (token.text.strip() or token.token)[:1])
    fits = letter.isprintable() and cell_width(letter) == 1 and (terminal.unicode or letter.isascii())
    return letter if fits else glyphs(terminal).dot


def _zoomed(stack: Stack, pattern: Pattern, heat: HeatScale, zoom: int) -> list[Text]:
    values = visible_weights(stack, pattern)
    if heat.half_blocks:
        zoomed = values.repeat(zoom, axis=0).repeat(zoom, axis=1).tolist()
        return [
            row(*cells)
            for cells in half_blocks([[None if isnan(v) else heat.color(v) for v in each] for each in zoomed])
        ]
    return [
        row(*(" " * zoom if isnan(value) else heat.cell(value, min(zoom, 2)) for value in weights))
        for weights in values.tolist()
    ]
