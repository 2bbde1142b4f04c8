"""The keys that a position reads most: weight, bar, even attention, and the head that reads each most."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from attncli.render.common.cells import bar, bar_scale, cell_width, clusters, glyphs, shorten
from attncli.render.common.escape import direction_end, in_place, running_text, token_text
from attncli.render.common.lines import BOLD, DIM, Line, Style, StyledSpan
from attncli.render.common.terminal import Terminal
from attncli.render.heads.heatmap import Heat
from attncli.render.heads.metric_words import decimals_for, two_digits, weight_number
from attncli.render.heads.shaded_text import marked
from attncli.results.heads import Stack
from attncli.results.patterns import KeyRead, RowReading

_LONGEST_TEXT = 16
# Cells that a line of context needs at the least to say something, and those of bars.
_LEAST_CONTEXT = 30
_BARS = (20, 10, 6)
# Tokens on each side of a key that its context is made of, before it is cropped.
_AROUND = 24


@dataclass(frozen=True, slots=True)
class _Columns:
    """Widths of the columns; 0 for those that have no room or nothing to say."""

    place: int
    text: int
    weight: int
    bar: int
    uniform: int
    head: int
    context: int


def key_table(stack: Stack, reading: RowReading, heat: Heat, *, in_context: bool) -> list[Line]:
    """A key a row. in_context: with what stands around it, or the whole line."""
    columns = _columns(stack, reading, heat, in_context=in_context)
    rows = [_row(stack, reading, key, columns, heat) for key in reading.top]
    return [_heading(reading, columns, heat), *rows]


def _weight(key: KeyRead, heat: Heat) -> str:
    return weight_number(key.weight, decimals_for(heat.full))


def _uniform(key: KeyRead, heat: Heat) -> str:
    return "" if key.uniform is None else weight_number(key.uniform, decimals_for(heat.full))


def _by_head(key: KeyRead) -> str:
    return f"{key.head} ({weight_number(key.head_weight)})"


def _columns(stack: Stack, reading: RowReading, heat: Heat, *, in_context: bool) -> _Columns:
    terminal = heat.terminal
    place = max((len(_place(stack, reading, key)) for key in reading.top), default=1)
    place = max(place, len(_place_name(reading)) if reading.lines is not None else 0)
    texts = [cell_width(token_text(stack.keys[key.place], terminal)) for key in reading.top]
    text = 0 if reading.lines is not None else min(max(texts, default=0), _LONGEST_TEXT, terminal.width // 4)
    head = _widest("top head", map(_by_head, reading.top)) if _names_heads(reading) else 0
    weight = _widest("weight", (_weight(key, heat) for key in reading.top))
    fixed = place + (1 + text if text else 0) + 2 + weight
    uniform = _widest("uniform", (_uniform(key, heat) for key in reading.top)) if reading.uniform is not None else 0
    even = uniform and uniform + 2
    least = _LEAST_CONTEXT + 2 if in_context else 0
    # What has the least to say goes first where there is little room.
    for cells in _BARS:
        room = terminal.width - fixed - 2 - cells - even - (head and head + 2)
        if room >= least:
            return _Columns(place, text, weight, cells, uniform, head, max(room - 2, 0) if in_context else 0)
    room = terminal.width - fixed - (head and head + 2)
    return _Columns(place, text, weight, 0, 0, head if room >= 0 else 0, max(room - 2, 0) if in_context else 0)


def _names_heads(reading: RowReading) -> bool:
    """Whether there are several heads, of which one reads a key most."""
    return reading.heads > 1 and all(key.head is not None for key in reading.top)


def _widest(heading: str, texts: Iterable[str]) -> int:
    return max(len(heading), *map(len, texts))


def _place_name(reading: RowReading) -> str:
    return "line" if reading.lines is not None else ""


def _place(stack: Stack, reading: RowReading, key: KeyRead) -> str:
    if reading.lines is None:
        return str(stack.keys[key.place].index)
    line = reading.lines[key.place]
    return "" if line is None else f"{line:,}"


def _heading(reading: RowReading, columns: _Columns, heat: Heat) -> Line:
    start = _place_name(reading).rjust(columns.place) + (f" {'':{columns.text}}" if columns.text else "")
    words = f"{start}  {'weight':>{columns.weight}}"
    words += f"  {bar_scale(two_digits(heat.full), columns.bar)}" if columns.bar else ""
    words += f"  {'uniform':>{columns.uniform}}" if columns.uniform else ""
    words += f"  {'top head':{columns.head}}" if columns.head else ""
    return Line.of(StyledSpan(words, DIM))


def _row(stack: Stack, reading: RowReading, key: KeyRead, columns: _Columns, heat: Heat) -> Line:
    terminal, token = heat.terminal, stack.keys[key.place]
    parts = [StyledSpan(_place(stack, reading, key).rjust(columns.place), DIM)]
    if columns.text:
        parts.append(StyledSpan(" " + in_place(token_text(token, terminal), columns.text, terminal)))
    parts.append(StyledSpan(f"  {_weight(key, heat):>{columns.weight}}", BOLD))
    if columns.bar:
        parts.append(StyledSpan(f"  {bar(heat.share(key.weight), columns.bar, terminal)}"))
    if columns.uniform:
        parts.append(StyledSpan(f"  {_uniform(key, heat):>{columns.uniform}}", DIM))
    if columns.head:
        parts.append(StyledSpan("  " + _by_head(key).ljust(columns.head)))
    if columns.context:
        parts.append(StyledSpan("  "))
        parts.extend(_context(stack, reading, key.place, columns.context, terminal))
    return Line(tuple(parts))


def _context(stack: Stack, reading: RowReading, place: int, width: int, terminal: Terminal) -> list[StyledSpan]:
    """The line itself; or a token between what stands before and after it."""
    cut = glyphs(terminal).cut
    own = running_text(stack.keys[place], terminal)
    if reading.lines is not None:
        return [_run(shorten(own, width, cut), Style())]
    own = shorten(own, width - 2, cut)
    own = own if terminal.color else marked(own)
    around = range(max(place - _AROUND, 0), min(place + 1 + _AROUND, len(stack.keys)))
    before = "".join(_spaced(stack, other, terminal) for other in around if other < place)
    after = _gap(stack, place) + "".join(_spaced(stack, other, terminal) for other in around if other > place)
    left = _end_of(before, (width - cell_width(own)) // 2)
    right = shorten(after, width - cell_width(own) - cell_width(left), cut)
    return [_run(left, DIM), _run(own, Style(bold=True, underline=True)), _run(right, DIM)]


def _run(text: str, style: Style) -> StyledSpan:
    return StyledSpan(text + direction_end(text), style)


def _spaced(stack: Stack, place: int, terminal: Terminal) -> str:
    """A token and the gap behind it."""
    return running_text(stack.keys[place], terminal) + _gap(stack, place)


def _gap(stack: Stack, place: int) -> str:
    """What stands between a token and the next: nothing where they touch in the text."""
    if place + 1 == len(stack.keys):
        return ""
    end, start = stack.keys[place].end, stack.keys[place + 1].start
    return "" if end is not None and end == start else " "


def _end_of(text: str, width: int) -> str:
    """The last `width` cells of a text, or fewer, as wide characters fall."""
    pieces = clusters(text)
    while pieces and cell_width("".join(pieces)) > width:
        pieces.pop(0)
    return "".join(pieces)
