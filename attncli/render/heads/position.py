"""The view of what one query reads (`--query`): the text or picture shaded by its weights, and a table of its top keys.

The table shows the weight of each key, a bar, uniform attention's weight, and the head with the largest weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from attncli.render.common.cells import bar, bar_scale, cell_width, clusters, glyphs, shorten
from attncli.render.common.console import BESIDE_GAP, Beside, Flow, Part, Rows, column_table, count_lines, row
from attncli.render.common.escape import direction_end, fit_width, running_text, token_text
from attncli.render.common.numbers import decimals_for, two_digits, weight_number
from attncli.render.common.terminal import Terminal
from attncli.render.heads.header import note_row, sentence_row, stack_row
from attncli.render.heads.heatmap import HeatScale
from attncli.render.heads.one_head import title_row
from attncli.render.heads.patch_view import head_maps, one_map
from attncli.render.heads.ranking import ranking_rows
from attncli.render.heads.shaded_text import ShadedToken, mark_query, shaded_text, strip_rows
from attncli.render.views.patches import MapView, PictureMap, patch_weights, picture_maps
from attncli.render.views.reading import (
    ARRIVES_HERE,
    LOOKS_FROM_HERE,
    has_top_heads,
    ordinary_and_resting,
    readers_sentence,
    reading_sentence,
    resting_note,
    stands_out,
)
from attncli.results.heads import HeadsResult, Stack
from attncli.results.patterns import ColumnReading, KeyRead, RowReading

_LONGEST_TEXT = 16
# From this width on, heads and keys stand side by side; of either at least so many are shown.
_ROOM_FOR_BOTH, _FEWEST_KEYS = 72, 3
# The fewest cells of a key's context, and the cells of bars; the longest that fits is used.
_LEAST_CONTEXT = 30
_BARS = (20, 10, 6)
# Tokens on each side of a key in its context, before it is cropped.
_CONTEXT_TOKENS = 24
# A text that takes more rows is drawn as a strip, with the top keys in their context.
_MOST_ROWS = 20
# Lines around a map over a picture, and of the smallest map.
_AROUND_MAP, _LEAST_MAP = 5, 4
# Up to so many heads each have a small map of the picture.
_FEW_HEADS = 16


def position_rows(result: HeadsResult, stack: Stack, terminal: Terminal) -> Rows:
    """One query in one stack: its weights on all keys, or on one key in every head."""
    if stack.readers is not None:
        return readers_rows(result, stack, stack.readers, terminal)
    if stack.ranking is not None:
        return ranking_rows(stack, stack.ranking, terminal, weighting=result.weighting, top=result.top)
    reading = stack.reading
    assert reading is not None
    rows: Rows = [stack_row(stack, terminal)]
    if reading.heads == 1 and result.weighting != "rollout":
        rows.append(title_row(stack.metrics[0], stack, terminal))
    rows.append(sentence_row(reading_sentence(stack, reading, result.weighting), terminal))
    heat = HeatScale(max(reading.weights.tolist(), default=0.0), terminal, relative=result.weighting == "norm")
    grid = stack.key_medium.grid
    if grid is not None:
        query = reading.query if stack.query_medium.grid is not None else None
        whole = MapView("", patch_weights(stack.keys, reading.weights.tolist(), grid, query))
        rows += [*one_map(whole, grid, result.picture, terminal), Text()]
        if 1 < len(stack.patterns) <= _FEW_HEADS:
            return [*rows, *head_maps(stack, result.picture, terminal)]
        return [*rows, key_table(stack, reading, heat, reading.top, terminal.width, in_context=False)]
    of_text = stack.key_medium.kind == "tokens"
    here = ARRIVES_HERE if result.weighting == "rollout" else LOOKS_FROM_HERE
    shaded = _whole_text(stack, reading, heat, here) if reading.lines is None and of_text else None
    picture = [*shaded, heat.legend()] if shaded is not None else strip_rows(stack, reading, heat, here)
    maps = picture_maps(stack, reading.weights.tolist())
    if maps:
        # The patches of a picture are no words: their weights are drawn over it.
        room = terminal.lines - count_lines(rows, terminal) - _FEWEST_KEYS - 4
        picture = _over_pictures(result, maps, terminal, room)
    strongest = _strongest_rows(stack, reading, terminal)
    used = count_lines([*rows, *picture], terminal) + 3 + len(strongest[:1])
    left = terminal.lines - 1 - used
    tables = _reading_tables(stack, reading, heat, strongest, left, in_context=shaded is None and of_text)
    return [*rows, *picture, Text(), *tables] if maps else [*rows, Text(), *tables, Text(), *picture]


def _over_pictures(result: HeadsResult, maps: Sequence[PictureMap], terminal: Terminal, room: int) -> Rows:
    """A map of each picture below its name, in so many lines; the small views only where there is room for them."""
    shown = list(maps)
    if not terminal.full and room // len(maps) < _AROUND_MAP + _LEAST_MAP:
        shown = [each for each in maps if not each.view] or shown
    rows: Rows = []
    for each in shown:
        title = row((each.title, "bold"), f": {two_digits(each.share)} of the weight")
        height = max(room // len(shown) - _AROUND_MAP, _LEAST_MAP)
        drawn = one_map(MapView("", each.patches), each.grid, result.picture_at(each.picture), terminal, height)
        rows += [title, *drawn[1:]]
    left = ", ".join(f"{each.title} {two_digits(each.share)}" for each in maps if each not in shown)
    return [*rows, note_row(f"not drawn: {left} (--full)" if left else "", terminal)]


def _reading_tables(
    stack: Stack, reading: RowReading, heat: HeatScale, strongest: Sequence[Text], room: int, *, in_context: bool
) -> Rows:
    """The heads that read most, then the means over heads: ordinary tokens, and below them those where heads rest."""
    terminal = heat.terminal
    ordinary, resting = ordinary_and_resting(stack, reading)
    rest: Rows = [_resting_row(stack, resting, terminal)] if resting and ordinary else []
    keys = ordinary or list(reading.top)
    beside = bool(strongest) and terminal.width >= _ROOM_FOR_BOTH and not in_context
    most = max(room - len(rest), _FEWEST_KEYS) if beside or not strongest else max(room // 2, _FEWEST_KEYS)
    most = len(keys) if terminal.full else most
    heads = strongest[: len(strongest) if terminal.full else most + 1]
    if not beside:
        means = [key_table(stack, reading, heat, keys[:most], terminal.width, in_context=in_context), *rest]
        return [*heads, Text(), *means] if heads else means
    width = max(each.cell_len for each in heads)
    table = key_table(stack, reading, heat, keys[:most], terminal.width - width - BESIDE_GAP, in_context=False)
    return [Beside(heads, [table]), *rest]


def _resting_row(stack: Stack, resting: Sequence[KeyRead], terminal: Terminal) -> Flow:
    """`[CLS] 0.354, [SEP] 0.053: special tokens, which take the weight that no other token needs`"""
    parts = [f"{token_text(stack.keys[key.place], terminal)} {weight_number(key.weight)}" for key in resting]
    return note_row(f"{', '.join(parts)}: {resting_note(stack)}", terminal)


def _strongest_rows(stack: Stack, reading: RowReading, terminal: Terminal) -> list[Text]:
    """A heading, and a row for each of the heads that read an ordinary token most; none for a single head."""
    strongest = [head for head in reading.strongest if stands_out(head)]
    if reading.heads < 2 or not strongest:
        return []
    name = max(len(head.name) for head in strongest)
    keys = [token_text(stack.keys[head.place or 0], terminal) for head in strongest]
    width = min(max(map(cell_width, keys)), _LONGEST_TEXT)
    rows = [
        row(
            (f"{head.name:>{name}}", "bold"),
            f"  {fit_width(key, width, terminal)}  ",
            (weight_number(head.weight), "bold"),
        )
        for head, key in zip(strongest, keys, strict=True)
    ]
    return [Text("strongest heads", "dim"), *rows]


def readers_rows(result: HeadsResult, stack: Stack, readers: ColumnReading, terminal: Terminal) -> Rows:
    """Who reads one key: the heads by their mean weight on it, and the positions by the mean over heads."""
    rows: Rows = [
        stack_row(stack, terminal),
        sentence_row(readers_sentence(stack, readers, result.weighting), terminal),
    ]
    largest = max((key.weight for key in readers.top), default=0.0)
    heat = HeatScale(max(largest, 1e-12), terminal, relative=result.weighting == "norm")
    left = len(readers.top) if terminal.full else max(terminal.lines - count_lines(rows, terminal) - 5, _FEWEST_KEYS)
    if not readers.top:
        return [*rows, Text(), note_row("no other token may attend to it: the mask hides it", terminal, "")]
    reading = RowReading(
        readers.key, readers.heads, readers.weights, readers.uniform, readers.visible, readers.top[:left], readers.own
    )
    side = replace(stack, keys=stack.queries, key_lines=stack.query_lines)
    heads = _reader_heads(readers, left, terminal)
    width = max((each.cell_len for each in heads), default=0)
    beside = bool(heads) and terminal.width >= _ROOM_FOR_BOTH
    room = terminal.width - (width + BESIDE_GAP if beside else 0)
    table = key_table(side, reading, heat, reading.top, room, in_context=False)
    itself = "without the token itself; heads: means over the tokens that may attend to it"
    note = note_row(itself, terminal)
    if beside:
        return [*rows, Text(), Beside(heads, [table]), Text(), note]
    return [*rows, Text(), *heads, *([Text()] if heads else []), table, Text(), note]


def _reader_heads(readers: ColumnReading, most: int, terminal: Terminal) -> list[Text]:
    if readers.heads < 2:
        return []
    shown = [head for head in readers.ranked if stands_out(head)][:most]
    name = max((len(head.name) for head in shown), default=0)
    rows = [
        row(
            (f"{head.name:>{name}}", "bold"),
            ("  " + weight_number(head.weight), "bold"),
            ("" if head.uniform is None else f"  uniform {weight_number(head.uniform)}", "dim"),
        )
        for head in shown
    ]
    return [Text("heads that read it", "dim"), *rows]


def _whole_text(stack: Stack, reading: RowReading, heat: HeatScale, here: str) -> Rows | None:
    """The shaded text; None where it takes too many rows."""
    seen = zip(stack.keys, reading.weights.tolist(), reading.visible.tolist(), strict=True)
    cells = [
        ShadedToken(key, weight if visible else None, is_query=place in reading.own)
        for place, (key, weight, visible) in enumerate(seen)
    ]
    rows = list(islice(shaded_text(cells, heat, here), _MOST_ROWS + 1))
    return None if len(rows) > _MOST_ROWS else [each for block in rows for each in block]


# --- the table of keys


def key_table(
    stack: Stack, reading: RowReading, heat: HeatScale, top: Sequence[KeyRead], width: int, *, in_context: bool
) -> Table:
    """A row per key of `top`, in `width` cells. in_context: with the text around it, or its whole line."""
    terminal, decimals = heat.terminal, decimals_for(heat.full)
    reading = replace(reading, top=tuple(top))
    title, labels = "" if reading.lines is None else "line", _labels(stack, reading, terminal)
    weights = [weight_number(key.weight, decimals) for key in top]
    evens = ["" if key.uniform is None else weight_number(key.uniform, decimals) for key in top]
    heads = [f"{key.head} ({weight_number(key.head_weight)})" for key in top]
    has_heads, even = has_top_heads(reading), 0 if reading.uniform is None else _taken("uniform", evens)
    room = width - max(len(title), *(label.cell_len for label in labels), 1) - _taken("weight", weights)
    room -= _taken("top head", heads) if has_heads else 0
    least = _LEAST_CONTEXT + 2 if in_context else 0
    # In little room, the bars get shorter, then the bars and the uniform column go, then the top heads.
    cells = next((cells for cells in _BARS if room - 2 - cells - even >= least), 0)
    columns: list[tuple[str, JustifyMethod, Sequence[Part]]] = [
        (title, "right" if title else "left", labels),
        ("weight", "right", [(weight, "bold") for weight in weights]),
    ]
    if cells:
        bars = [bar(heat.share(key.weight), cells, terminal) for key in top]
        columns.append((bar_scale(two_digits(heat.full), cells), "left", bars))
        room -= 2 + cells + even
    if cells and even:
        columns.append(("uniform", "right", [(each, "dim") for each in evens]))
    if has_heads and room >= 0:
        columns.append(("top head", "left", heads))
    if in_context and room > 2:
        contexts = [_context(stack, reading, key.place, room - 2, terminal) for key in top]
        columns.append(("", "left", contexts))
    return column_table(columns)


def _taken(heading: str, texts: Sequence[str]) -> int:
    """The cells of a column and the gap before it."""
    return max(map(len, (heading, *texts))) + 2


def _labels(stack: Stack, reading: RowReading, terminal: Terminal) -> list[Text]:
    """The key's line, or its position and text."""
    if reading.lines is not None:
        lines = (reading.lines[key.place] for key in reading.top)
        return [Text("" if line is None else f"{line:,}", "dim") for line in lines]
    tokens = [stack.keys[key.place] for key in reading.top]
    place = max((len(str(token.index)) for token in tokens), default=0)
    texts = [token_text(token, terminal) for token in tokens]
    width = min(max(map(cell_width, texts), default=0), _LONGEST_TEXT, terminal.width // 4)
    return [
        row((f"{token.index:>{place}}", "dim"), f" {fit_width(each, width, terminal)}" if width else "")
        for token, each in zip(tokens, texts, strict=True)
    ]


def _context(stack: Stack, reading: RowReading, place: int, width: int, terminal: Terminal) -> Text:
    """The key's whole line, or the key between the text before and after it."""
    cut = glyphs(terminal).cut
    key = running_text(stack.keys[place], terminal)
    if reading.lines is not None:
        line = shorten(key, width, cut)
        return row(line + direction_end(line))
    key = shorten(key, width - 2, cut)
    key = key if terminal.color else mark_query(key)
    first, last = max(place - _CONTEXT_TOKENS, 0), min(place + _CONTEXT_TOKENS, len(stack.keys) - 1)
    before = clusters("".join(_token_and_gap(stack, other, terminal) for other in range(first, place)))
    after = "".join(_token_and_gap(stack, other, terminal) for other in range(place + 1, last + 1))
    while before and cell_width("".join(before)) > (width - cell_width(key)) // 2:
        before.pop(0)
    left = "".join(before)
    right = shorten(_gap(stack, place) + after, width - cell_width(key) - cell_width(left), cut)
    parts = (left, "dim"), (key, "bold underline"), (right, "dim")
    return row(*((content + direction_end(content), style) for content, style in parts))


def _token_and_gap(stack: Stack, place: int, terminal: Terminal) -> str:
    return running_text(stack.keys[place], terminal) + _gap(stack, place)


def _gap(stack: Stack, place: int) -> str:
    """A space between a token and the next; nothing where they touch in the text, or after the last."""
    if place + 1 == len(stack.keys):
        return ""
    end, start = stack.keys[place].end, stack.keys[place + 1].start
    return "" if end is not None and end == start else " "
