"""The view of what one query reads (`--query`): the text or picture shaded by its weights, and a table of its top keys.

The table shows the weight of each key, a bar, uniform attention's weight, and the head with the largest weight.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from attncli.render.common.cells import bar, bar_scale, cell_width, clusters, glyphs, shorten
from attncli.render.common.escape import direction_end, fit_width, running_text, token_text
from attncli.render.common.lines import BOLD, DIM, Line, Style, StyledSpan, flow, split_words
from attncli.render.common.numbers import decimals_for, two_digits, weight_number
from attncli.render.common.terminal import Terminal
from attncli.render.heads.header import position_words, stack_lines, unit_noun
from attncli.render.heads.heatmap import HeatScale
from attncli.render.heads.one_head import title_lines
from attncli.render.heads.patch_view import head_maps, reading_map
from attncli.render.heads.ranking import ranking_lines
from attncli.render.heads.shaded_text import (
    ARRIVES_HERE,
    LOOKS_FROM_HERE,
    ShadedToken,
    mark_query,
    shaded_text,
    strip_lines,
)
from attncli.results.heads import HeadsResult, Stack
from attncli.results.patterns import KeyRead, RowReading

_LONGEST_TEXT = 16
# The fewest cells of a key's context, and the cells of bars; the longest that fits is used.
_LEAST_CONTEXT = 30
_BARS = (20, 10, 6)
# Tokens on each side of a key in its context, before it is cropped.
_CONTEXT_TOKENS = 24


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
    rows = [_row(stack, reading, key, columns, heat) for key in reading.top]
    return [_heading(reading, columns, heat), *rows]


def _weight_text(key: KeyRead, heat: HeatScale) -> str:
    return weight_number(key.weight, decimals_for(heat.full))


def _uniform_text(key: KeyRead, heat: HeatScale) -> str:
    return "" if key.uniform is None else weight_number(key.uniform, decimals_for(heat.full))


def _top_head_text(key: KeyRead) -> str:
    return f"{key.head} ({weight_number(key.head_weight)})"


def _columns(stack: Stack, reading: RowReading, heat: HeatScale, *, in_context: bool) -> _Columns:
    terminal = heat.terminal
    place = max((len(_position_text(stack, reading, key)) for key in reading.top), default=1)
    place = max(place, len(_position_heading(reading)) if reading.lines is not None else 0)
    texts = [cell_width(token_text(stack.keys[key.place], terminal)) for key in reading.top]
    text = 0 if reading.lines is not None else min(max(texts, default=0), _LONGEST_TEXT, terminal.width // 4)
    head = _widest("top head", map(_top_head_text, reading.top)) if _has_top_heads(reading) else 0
    weight = _widest("weight", (_weight_text(key, heat) for key in reading.top))
    fixed = place + (1 + text if text else 0) + 2 + weight
    uniform = (
        _widest("uniform", (_uniform_text(key, heat) for key in reading.top)) if reading.uniform is not None else 0
    )
    even = uniform and uniform + 2
    least = _LEAST_CONTEXT + 2 if in_context else 0
    # In little room, the bars get shorter, then the bars and the uniform column go, then the top heads.
    for cells in _BARS:
        room = terminal.width - fixed - 2 - cells - even - (head and head + 2)
        if room >= least:
            return _Columns(place, text, weight, cells, uniform, head, max(room - 2, 0) if in_context else 0)
    room = terminal.width - fixed - (head and head + 2)
    return _Columns(place, text, weight, 0, 0, head if room >= 0 else 0, max(room - 2, 0) if in_context else 0)


def _has_top_heads(reading: RowReading) -> bool:
    """Whether the weights are means over heads, with the top head of each key known."""
    return reading.heads > 1 and all(key.head is not None for key in reading.top)


def _widest(heading: str, texts: Iterable[str]) -> int:
    return max(len(heading), *map(len, texts))


def _position_heading(reading: RowReading) -> str:
    return "line" if reading.lines is not None else ""


def _position_text(stack: Stack, reading: RowReading, key: KeyRead) -> str:
    if reading.lines is None:
        return str(stack.keys[key.place].index)
    line = reading.lines[key.place]
    return "" if line is None else f"{line:,}"


def _heading(reading: RowReading, columns: _Columns, heat: HeatScale) -> Line:
    start = _position_heading(reading).rjust(columns.place) + (f" {'':{columns.text}}" if columns.text else "")
    words = f"{start}  {'weight':>{columns.weight}}"
    words += f"  {bar_scale(two_digits(heat.full), columns.bar)}" if columns.bar else ""
    words += f"  {'uniform':>{columns.uniform}}" if columns.uniform else ""
    words += f"  {'top head':{columns.head}}" if columns.head else ""
    return Line.of(StyledSpan(words, DIM))


def _row(stack: Stack, reading: RowReading, key: KeyRead, columns: _Columns, heat: HeatScale) -> Line:
    terminal, token = heat.terminal, stack.keys[key.place]
    parts = [StyledSpan(_position_text(stack, reading, key).rjust(columns.place), DIM)]
    if columns.text:
        parts.append(StyledSpan(" " + fit_width(token_text(token, terminal), columns.text, terminal)))
    parts.append(StyledSpan(f"  {_weight_text(key, heat):>{columns.weight}}", BOLD))
    if columns.bar:
        parts.append(StyledSpan(f"  {bar(heat.share(key.weight), columns.bar, terminal)}"))
    if columns.uniform:
        parts.append(StyledSpan(f"  {_uniform_text(key, heat):>{columns.uniform}}", DIM))
    if columns.head:
        parts.append(StyledSpan("  " + _top_head_text(key).ljust(columns.head)))
    if columns.context:
        parts.append(StyledSpan("  "))
        parts.extend(_context(stack, reading, key.place, columns.context, terminal))
    return Line(tuple(parts))


def _context(stack: Stack, reading: RowReading, place: int, width: int, terminal: Terminal) -> list[StyledSpan]:
    """The key's whole line, or the key between the text before and after it."""
    cut = glyphs(terminal).cut
    text = running_text(stack.keys[place], terminal)
    if reading.lines is not None:
        return [_text_span(shorten(text, width, cut), Style())]
    text = shorten(text, width - 2, cut)
    text = text if terminal.color else mark_query(text)
    around = range(max(place - _CONTEXT_TOKENS, 0), min(place + 1 + _CONTEXT_TOKENS, len(stack.keys)))
    before = "".join(_token_and_gap(stack, other, terminal) for other in around if other < place)
    after = _gap(stack, place) + "".join(_token_and_gap(stack, other, terminal) for other in around if other > place)
    left = _crop_start(before, (width - cell_width(text)) // 2)
    right = shorten(after, width - cell_width(text) - cell_width(left), cut)
    return [_text_span(left, DIM), _text_span(text, Style(bold=True, underline=True)), _text_span(right, DIM)]


def _text_span(text: str, style: Style) -> StyledSpan:
    return StyledSpan(text + direction_end(text), style)


def _token_and_gap(stack: Stack, place: int, terminal: Terminal) -> str:
    """A token and the gap after it."""
    return running_text(stack.keys[place], terminal) + _gap(stack, place)


def _gap(stack: Stack, place: int) -> str:
    """A space between a token and the next; nothing where they touch in the text, or after the last."""
    if place + 1 == len(stack.keys):
        return ""
    end, start = stack.keys[place].end, stack.keys[place + 1].start
    return "" if end is not None and end == start else " "


def _crop_start(text: str, width: int) -> str:
    """The longest end of a text that takes at most `width` cells."""
    pieces = clusters(text)
    while pieces and cell_width("".join(pieces)) > width:
        pieces.pop(0)
    return "".join(pieces)


# A text that takes more rows is drawn as a strip, with the top keys in their context.
_MOST_ROWS = 20
# Up to so many heads each have a small map of the picture.
_FEW_HEADS = 16


def position_lines(result: HeadsResult, stack: Stack, terminal: Terminal) -> list[Line]:
    """One query in one stack: its weights on all keys, or on one key in every head."""
    if stack.ranking is not None:
        return ranking_lines(stack, stack.ranking, terminal, weighting=result.weighting, top=result.top)
    assert stack.reading is not None
    if stack.key_medium.grid is not None:
        return _picture_reading_lines(result, stack, stack.reading, terminal)
    return _reading_lines(stack, stack.reading, terminal, result.weighting)


def _picture_reading_lines(result: HeadsResult, stack: Stack, reading: RowReading, terminal: Terminal) -> list[Line]:
    """A title, the map of the patches, and then a map for each head if they are few, else the top patches."""
    query = reading.query if stack.query_medium.grid is not None else None
    lines = [*stack_lines(stack, terminal), *_reading_title(stack, reading, terminal, result.weighting)]
    lines += reading_map(stack, reading.weights.tolist(), query, result.picture, terminal)
    if 1 < len(stack.patterns) <= _FEW_HEADS:
        return [*lines, Line(), *head_maps(stack, result.picture, terminal)]
    heat = HeatScale(max(reading.weights.tolist(), default=0.0), terminal, relative=result.weighting == "norm")
    return [*lines, Line(), *key_table(stack, reading, heat, in_context=False)]


def _reading_lines(stack: Stack, reading: RowReading, terminal: Terminal, weighting: str) -> list[Line]:
    """A title, the shaded text or a strip of it, and the table of the top keys."""
    heat = HeatScale(max(reading.weights.tolist(), default=0.0), terminal, relative=weighting == "norm")
    shades = reading.lines is None and stack.key_medium.kind == "tokens"
    here = ARRIVES_HERE if weighting == "rollout" else LOOKS_FROM_HERE
    text = _whole_text(stack, reading, heat, here) if shades else None
    lines = [*stack_lines(stack, terminal), *_reading_title(stack, reading, terminal, weighting), Line()]
    table = key_table(stack, reading, heat, in_context=text is None and stack.key_medium.kind == "tokens")
    if text is None:
        return [*lines, *table, Line(), *strip_lines(stack, reading, heat, here)]
    return [*lines, *text, Line(), heat.legend(), Line(), *table]


def _whole_text(stack: Stack, reading: RowReading, heat: HeatScale, here: str) -> list[Line] | None:
    """The shaded text; None where it takes too many rows."""
    seen = zip(reading.weights.tolist(), reading.visible.tolist(), strict=True)
    cells = [
        ShadedToken(key, weight if visible else None, is_query=place in reading.own)
        for place, (key, (weight, visible)) in enumerate(zip(stack.keys, seen, strict=True))
    ]
    rows = list(islice(shaded_text(cells, heat, here), _MOST_ROWS + 1))
    return None if len(rows) > _MOST_ROWS else [line for row in rows for line in row]


def _reading_title(stack: Stack, reading: RowReading, terminal: Terminal, weighting: str) -> list[Line]:
    """`where it (token 8) looks, mean of all 72 heads`; above it the name and labels of a single head."""
    if weighting == "rollout":
        return _rollout_title(stack, reading, terminal)
    looks = [Line.of(StyledSpan("where", DIM)), Line.of(_query_words(stack, reading, terminal))]
    words = split_words(_mean_words(stack, reading, weighting), DIM)
    title = flow([*looks, *words], separator=" ", width=terminal.width)
    return [*title_lines(stack.metrics[0], stack, terminal), *title] if reading.heads == 1 else title


def _rollout_title(stack: Stack, reading: RowReading, terminal: Terminal) -> list[Line]:
    """`rollout up to layer 5: how much of each token reaches it (token 8), heads averaged`."""
    name = Line.of(StyledSpan(f"rollout up to layer {stack.patterns[0].layer}:", BOLD))
    before = split_words(f"how much of each {unit_noun(stack)} reaches", DIM)
    place = Line.of(_query_words(stack, reading, terminal), StyledSpan(",", DIM))
    return flow([name, *before, place, *split_words("heads averaged", DIM)], separator=" ", width=terminal.width)


def _query_words(stack: Stack, reading: RowReading, terminal: Terminal) -> StyledSpan:
    if stack.query_medium.kind != "patches":
        return position_words(reading.query, terminal, reading.query_line, reading.query_tokens)
    name = token_text(reading.query, terminal)
    return StyledSpan(name if reading.query.special else f"patch {name}", Style(bold=True))


def _mean_words(stack: Stack, reading: RowReading, weighting: str) -> str:
    """Over what the weights are averaged, and what they are, if not plain weights."""
    means = [f"its {len(reading.own)} tokens"] if len(reading.own) > 1 and stack.unit == "token" else []
    if reading.heads > 1:
        means.append(f"{'all ' * _covers_all_heads(stack, reading)}{reading.heads:,} heads")
    many = f", mean of {' and '.join(means)}" if means else ""
    norms = ", weights times the norm of what is read (Kobayashi et al. 2020)" if weighting == "norm" else ""
    return f"looks{many}{norms}"


def _covers_all_heads(stack: Stack, reading: RowReading) -> bool:
    return reading.heads == sum(layer.heads for layer in stack.layers)


# --- one weight in every head
