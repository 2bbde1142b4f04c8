"""The view of what one query reads (`--query`): the text or picture shaded by its weights, and a table of its top keys.

The table shows the weight of each key, a bar, uniform attention's weight, and the head with the largest weight.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from attncli.render.common.cells import bar, bar_scale, cell_width, clusters, glyphs, shorten
from attncli.render.common.escape import direction_end, fit_width, running_text, token_text
from attncli.render.common.lines import BOLD, DIM, PLAIN, Line, Style, StyledSpan
from attncli.render.common.numbers import decimals_for, two_digits, weight_number
from attncli.render.common.terminal import Terminal
from attncli.render.heads.header import sentence_lines, stack_lines
from attncli.render.heads.heatmap import HeatScale
from attncli.render.heads.one_head import title_lines
from attncli.render.heads.patch_view import head_maps, one_map
from attncli.render.heads.ranking import ranking_lines
from attncli.render.heads.shaded_text import ShadedToken, mark_query, shaded_text, strip_lines
from attncli.render.views.patches import MapView, patch_weights
from attncli.render.views.reading import ARRIVES_HERE, LOOKS_FROM_HERE, has_top_heads, reading_sentence
from attncli.results.heads import HeadsResult, Stack
from attncli.results.patterns import KeyRead, RowReading

_LONGEST_TEXT = 16
# The fewest cells of a key's context, and the cells of bars; the longest that fits is used.
_LEAST_CONTEXT = 30
_BARS = (20, 10, 6)
# Tokens on each side of a key in its context, before it is cropped.
_CONTEXT_TOKENS = 24
# A text that takes more rows is drawn as a strip, with the top keys in their context.
_MOST_ROWS = 20
# Up to so many heads each have a small map of the picture.
_FEW_HEADS = 16


def position_lines(result: HeadsResult, stack: Stack, terminal: Terminal) -> list[Line]:
    """One query in one stack: its weights on all keys, or on one key in every head."""
    if stack.ranking is not None:
        return ranking_lines(stack, stack.ranking, terminal, weighting=result.weighting, top=result.top)
    reading = stack.reading
    assert reading is not None
    lines = stack_lines(stack, terminal)
    if reading.heads == 1 and result.weighting != "rollout":
        lines += title_lines(stack.metrics[0], stack, terminal)
    lines += sentence_lines(reading_sentence(stack, reading, result.weighting), terminal)
    heat = HeatScale(max(reading.weights.tolist(), default=0.0), terminal, relative=result.weighting == "norm")
    grid = stack.key_medium.grid
    if grid is not None:
        query = reading.query if stack.query_medium.grid is not None else None
        whole = MapView("", patch_weights(stack.keys, reading.weights.tolist(), grid, query))
        lines += [*one_map(whole, grid, result.picture, terminal), Line()]
        if 1 < len(stack.patterns) <= _FEW_HEADS:
            return [*lines, *head_maps(stack, result.picture, terminal)]
        return [*lines, *key_table(stack, reading, heat, in_context=False)]
    of_text = stack.key_medium.kind == "tokens"
    here = ARRIVES_HERE if result.weighting == "rollout" else LOOKS_FROM_HERE
    text = _whole_text(stack, reading, heat, here) if reading.lines is None and of_text else None
    table = key_table(stack, reading, heat, in_context=text is None and of_text)
    if text is None:
        return [*lines, Line(), *table, Line(), *strip_lines(stack, reading, heat, here)]
    return [*lines, Line(), *text, Line(), heat.legend(), Line(), *table]


def _whole_text(stack: Stack, reading: RowReading, heat: HeatScale, here: str) -> list[Line] | None:
    """The shaded text; None where it takes too many rows."""
    seen = zip(stack.keys, reading.weights.tolist(), reading.visible.tolist(), strict=True)
    cells = [
        ShadedToken(key, weight if visible else None, is_query=place in reading.own)
        for place, (key, weight, visible) in enumerate(seen)
    ]
    rows = list(islice(shaded_text(cells, heat, here), _MOST_ROWS + 1))
    return None if len(rows) > _MOST_ROWS else [line for row in rows for line in row]


# --- the table of keys


@dataclass(frozen=True, slots=True)
class _Columns:
    """Widths of the columns in cells; 0 for those that don't fit or have no content."""

    place: int
    text: int
    weight: int
    bar: int
    uniform: int
    head: int
    context: int


def key_table(stack: Stack, reading: RowReading, heat: HeatScale, *, in_context: bool) -> list[Line]:
    """A row per key. in_context: with the text around it, or its whole line."""
    columns = _columns(stack, reading, heat, in_context=in_context)
    heading = ("line" if reading.lines is not None else "").rjust(columns.place)
    heading += f" {'':{columns.text}}" if columns.text else ""
    heading += f"  {'weight':>{columns.weight}}"
    heading += f"  {bar_scale(two_digits(heat.full), columns.bar)}" if columns.bar else ""
    heading += f"  {'uniform':>{columns.uniform}}" if columns.uniform else ""
    heading += f"  {'top head':{columns.head}}" if columns.head else ""
    rows = [_row(stack, reading, key, columns, heat) for key in reading.top]
    return [Line.of(StyledSpan(heading, DIM)), *rows]


def _columns(stack: Stack, reading: RowReading, heat: HeatScale, *, in_context: bool) -> _Columns:
    terminal, lined = heat.terminal, reading.lines is not None
    place = max((len(_position_text(stack, reading, key)) for key in reading.top), default=1)
    place = max(place, len("line")) if lined else place
    texts = (cell_width(token_text(stack.keys[key.place], terminal)) for key in reading.top)
    text = 0 if lined else min(max(texts, default=0), _LONGEST_TEXT, terminal.width // 4)
    head = _widest("top head", map(_top_head_text, reading.top)) if has_top_heads(reading) else 0
    weight = _widest("weight", (_weight_text(key.weight, heat) for key in reading.top))
    evens = (_weight_text(key.uniform, heat) for key in reading.top)
    uniform = 0 if reading.uniform is None else _widest("uniform", evens)
    fixed = place + (1 + text if text else 0) + 2 + weight
    even = uniform and uniform + 2
    least = _LEAST_CONTEXT + 2 if in_context else 0
    # In little room, the bars get shorter, then the bars and the uniform column go, then the top heads.
    for cells in _BARS:
        room = terminal.width - fixed - 2 - cells - even - (head and head + 2)
        if room >= least:
            return _Columns(place, text, weight, cells, uniform, head, max(room - 2, 0) if in_context else 0)
    room = terminal.width - fixed - (head and head + 2)
    return _Columns(place, text, weight, 0, 0, head if room >= 0 else 0, max(room - 2, 0) if in_context else 0)


def _weight_text(weight: float | None, heat: HeatScale) -> str:
    return "" if weight is None else weight_number(weight, decimals_for(heat.full))


def _top_head_text(key: KeyRead) -> str:
    return f"{key.head} ({weight_number(key.head_weight)})"


def _widest(heading: str, texts: Iterable[str]) -> int:
    return max(len(heading), *map(len, texts))


def _position_text(stack: Stack, reading: RowReading, key: KeyRead) -> str:
    if reading.lines is None:
        return str(stack.keys[key.place].index)
    line = reading.lines[key.place]
    return "" if line is None else f"{line:,}"


def _row(stack: Stack, reading: RowReading, key: KeyRead, columns: _Columns, heat: HeatScale) -> Line:
    terminal, token = heat.terminal, stack.keys[key.place]
    parts = [StyledSpan(_position_text(stack, reading, key).rjust(columns.place), DIM)]
    if columns.text:
        parts.append(StyledSpan(" " + fit_width(token_text(token, terminal), columns.text, terminal)))
    parts.append(StyledSpan(f"  {_weight_text(key.weight, heat):>{columns.weight}}", BOLD))
    if columns.bar:
        parts.append(StyledSpan(f"  {bar(heat.share(key.weight), columns.bar, terminal)}"))
    if columns.uniform:
        parts.append(StyledSpan(f"  {_weight_text(key.uniform, heat):>{columns.uniform}}", DIM))
    if columns.head:
        parts.append(StyledSpan("  " + _top_head_text(key).ljust(columns.head)))
    if columns.context:
        parts += [StyledSpan("  "), *_context(stack, reading, key.place, columns.context, terminal)]
    return Line(tuple(parts))


def _context(stack: Stack, reading: RowReading, place: int, width: int, terminal: Terminal) -> list[StyledSpan]:
    """The key's whole line, or the key between the text before and after it."""
    cut = glyphs(terminal).cut
    text = running_text(stack.keys[place], terminal)
    if reading.lines is not None:
        return [_text_span(shorten(text, width, cut), PLAIN)]
    text = shorten(text, width - 2, cut)
    text = text if terminal.color else mark_query(text)
    first, last = max(place - _CONTEXT_TOKENS, 0), min(place + _CONTEXT_TOKENS, len(stack.keys) - 1)
    before = clusters("".join(_token_and_gap(stack, other, terminal) for other in range(first, place)))
    after = "".join(_token_and_gap(stack, other, terminal) for other in range(place + 1, last + 1))
    while before and cell_width("".join(before)) > (width - cell_width(text)) // 2:
        before.pop(0)
    left = "".join(before)
    right = shorten(_gap(stack, place) + after, width - cell_width(text) - cell_width(left), cut)
    return [_text_span(left, DIM), _text_span(text, Style(bold=True, underline=True)), _text_span(right, DIM)]


def _text_span(text: str, style: Style) -> StyledSpan:
    return StyledSpan(text + direction_end(text), style)


def _token_and_gap(stack: Stack, place: int, terminal: Terminal) -> str:
    return running_text(stack.keys[place], terminal) + _gap(stack, place)


def _gap(stack: Stack, place: int) -> str:
    """A space between a token and the next; nothing where they touch in the text, or after the last."""
    if place + 1 == len(stack.keys):
        return ""
    end, start = stack.keys[place].end, stack.keys[place + 1].start
    return "" if end is not None and end == start else " "
