"""What one position reads: the text shaded by it, and the keys that it reads most.

One weight, that of a position on a key, by every head: a map, and the heads in their order.
"""

from __future__ import annotations

from itertools import islice

from attncli.render.common.cells import bar, bar_scale, glyphs, shorten
from attncli.render.common.escape import direction_end, token_text, unit_text
from attncli.render.common.lines import BOLD, DIM, Line, Style, StyledSpan, beside, flow
from attncli.render.common.terminal import Terminal
from attncli.render.heads.head_map import head_map
from attncli.render.heads.header import _LONGEST_PLACE, place_words, stack_lines, unit_noun
from attncli.render.heads.heatmap import Heat
from attncli.render.heads.key_table import key_table
from attncli.render.heads.metric_words import decimals_for, two_digits, weight_number
from attncli.render.heads.one_head import title_lines
from attncli.render.heads.patch_view import head_maps, reading_map
from attncli.render.heads.shaded_text import ARRIVES, HERE, Shaded, shaded_text, strip_lines
from attncli.results.heads import HeadsResult, Stack
from attncli.results.patterns import HeadWeight, Ranking, RowReading

# A text of more rows is told by its top keys in their places, and drawn as a strip.
_MOST_ROWS = 20
# So many heads have a map of a picture each.
_FEW_HEADS = 16


def position_lines(result: HeadsResult, stack: Stack, terminal: Terminal) -> list[Line]:
    """What one position reads in one stack: of all keys, or of one by every head."""
    if stack.ranking is not None:
        return ranking_lines(stack, stack.ranking, terminal, weighting=result.weighting, top=result.top)
    assert stack.reading is not None
    if stack.key_medium.grid is not None:
        return _on_picture(result, stack, stack.reading, terminal)
    return _reading_lines(stack, stack.reading, terminal, result.weighting)


def _on_picture(result: HeadsResult, stack: Stack, reading: RowReading, terminal: Terminal) -> list[Line]:
    """The position, the map of the patches that it reads, and one for each of a few heads, else the top patches."""
    query = reading.query if stack.query_medium.grid is not None else None
    lines = [*stack_lines(stack, terminal), *_title(stack, reading, terminal, result.weighting)]
    lines += reading_map(stack, reading.weights.tolist(), query, result.picture, terminal)
    if 1 < len(stack.patterns) <= _FEW_HEADS:
        return [*lines, Line(), *head_maps(stack, result.picture, terminal)]
    heat = Heat(max(reading.weights.tolist(), default=0.0), terminal, relative=result.weighting == "norm")
    return [*lines, Line(), *key_table(stack, reading, heat, in_context=False)]


def _reading_lines(stack: Stack, reading: RowReading, terminal: Terminal, weighting: str) -> list[Line]:
    """The position, the text or a strip of it, and the top keys with the heads that read them most."""
    heat = Heat(max(reading.weights.tolist(), default=0.0), terminal, relative=weighting == "norm")
    shades = reading.lines is None and stack.key_medium.kind == "tokens"
    here = ARRIVES if weighting == "rollout" else HERE
    text = _whole_text(stack, reading, heat, here) if shades else None
    lines = [*stack_lines(stack, terminal), *_title(stack, reading, terminal, weighting), Line()]
    table = key_table(stack, reading, heat, in_context=text is None and stack.key_medium.kind == "tokens")
    if text is None:
        return [*lines, *table, Line(), *strip_lines(stack, reading, heat, here)]
    return [*lines, *text, Line(), heat.scale(), Line(), *table]


def _whole_text(stack: Stack, reading: RowReading, heat: Heat, here: str) -> list[Line] | None:
    """The text shaded; None where it takes too many rows."""
    seen = zip(reading.weights.tolist(), reading.visible.tolist(), strict=True)
    cells = [
        Shaded(key, weight if visible else None, is_query=place in reading.own)
        for place, (key, (weight, visible)) in enumerate(zip(stack.keys, seen, strict=True))
    ]
    rows = list(islice(shaded_text(cells, heat, here), _MOST_ROWS + 1))
    return None if len(rows) > _MOST_ROWS else [line for row in rows for line in row]


def _title(stack: Stack, reading: RowReading, terminal: Terminal, weighting: str) -> list[Line]:
    """`where it (token 8) looks, mean of all 72 heads`; the name of an only head and its labels first."""
    if weighting == "rollout":
        return _rollout_title(stack, reading, terminal)
    looks = [Line.of(StyledSpan("where", DIM)), Line.of(_place(stack, reading, terminal))]
    words = [Line.of(StyledSpan(word, DIM)) for word in _of_heads(stack, reading, weighting).split()]
    title = flow([*looks, *words], separator=" ", width=terminal.width)
    return [*title_lines(stack.metrics[0], stack, terminal), *title] if reading.heads == 1 else title


def _rollout_title(stack: Stack, reading: RowReading, terminal: Terminal) -> list[Line]:
    """`rollout up to layer 5: how much of each token reaches it (token 8), heads averaged`."""
    name = Line.of(StyledSpan(f"rollout up to layer {stack.patterns[0].layer}:", BOLD))
    before, after = (
        [Line.of(StyledSpan(word, DIM)) for word in words.split()]
        for words in (f"how much of each {unit_noun(stack)} reaches", "heads averaged")
    )
    place = Line.of(_place(stack, reading, terminal), StyledSpan(",", DIM))
    return flow([name, *before, place, *after], separator=" ", width=terminal.width)


def _place(stack: Stack, reading: RowReading, terminal: Terminal) -> StyledSpan:
    if stack.query_medium.kind != "patches":
        return place_words(reading.query, terminal, reading.query_line, reading.query_tokens)
    name = token_text(reading.query, terminal)
    return StyledSpan(name if reading.query.special else f"patch {name}", Style(bold=True))


def _of_heads(stack: Stack, reading: RowReading, weighting: str) -> str:
    """What the weights are means of, and what they are, if not plain weights."""
    means = [f"its {len(reading.own)} tokens"] if len(reading.own) > 1 and stack.unit == "token" else []
    if reading.heads > 1:
        means.append(f"{'all ' * _are_all(stack, reading)}{reading.heads:,} heads")
    many = f", mean of {' and '.join(means)}" if means else ""
    norms = ", weights times the norm of what is read (Kobayashi et al. 2020)" if weighting == "norm" else ""
    return f"looks{many}{norms}"


def _are_all(stack: Stack, reading: RowReading) -> bool:
    return reading.heads == sum(layer.heads for layer in stack.layers)


_CELL_WIDTHS = (5, 2, 1)
_BAR = 20
_ROOM_FOR_BARS = 64


def ranking_lines(
    stack: Stack, ranking: Ranking, terminal: Terminal, *, weighting: str = "attention", top: int = 10
) -> list[Line]:
    """The two tokens, the map of the heads' weights, and the `top` heads with the key's place in their rows."""
    weights = {(head.layer, head.head): head.weight for head in ranking.heads}
    heat = Heat(max(weights.values(), default=0.0), terminal, weighting == "norm").beside_numbers()
    drawn: set[int] = set()

    def cell(head: tuple[int, int], width: int) -> StyledSpan:
        drawn.add(width)
        return heat.cell(weights[head], width) if head in weights else StyledSpan(" " * width)

    lines = [*stack_lines(stack, terminal), *_ranking_title(ranking, terminal, weighting), Line()]
    if all(head.rank is None for head in ranking.heads):
        return [*lines, *_unseen(stack, ranking, terminal)]
    table = [*_rows(ranking, heat, top), *_rest(ranking, top)]
    if len(ranking.heads) == 1:
        return [*lines, *table]
    grid = head_map(stack, cell, _CELL_WIDTHS, terminal)
    picture = [*grid, Line(), *_legend(heat, digits=any(map(heat.has_digits, drawn)))]
    together = beside(picture, table, width=terminal.width)
    if len(together) > max(len(picture), len(table)):
        # Beneath the map, the ranking may be a screen away from the title.
        together = [*picture, Line(), *_who(ranking, terminal), *table]
    return [*lines, *together]


def _legend(heat: Heat, *, digits: bool) -> list[Line]:
    """The scale, and what the digits are, if there are any."""
    said = heat.digits_note() if digits else ""
    note = [Line.of(StyledSpan(said, DIM))] if said else []
    return flow([heat.scale(), *note], separator="   ", width=heat.terminal.width)


def _places(ranking: Ranking, terminal: Terminal) -> tuple[StyledSpan, StyledSpan]:
    """The query and the key in words; a key that is a line is called by its number."""
    query = place_words(ranking.query, terminal, ranking.query_line, ranking.query_tokens)
    if ranking.key_line is None:
        return query, place_words(ranking.key, terminal, count=ranking.key_tokens)
    text = shorten(unit_text(ranking.key, "line", terminal), _LONGEST_PLACE, glyphs(terminal).cut)
    return query, StyledSpan(f"line {ranking.key_line:,} ({text}{direction_end(text)})", BOLD)


def _ranking_title(ranking: Ranking, terminal: Terminal, weighting: str) -> list[Line]:
    norms = weighting == "norm"
    by = "by each head's weight times the norm of what it reads there" if norms else "by the weight of each head"
    start, end = ([Line.of(StyledSpan(word, DIM)) for word in words.split()]
                  for words in ("how much", by))  # fmt: skip
    query, key = (Line.of(words) for words in _places(ranking, terminal))
    parts = [*start, query, Line.of(StyledSpan("looks at", DIM)), Line((*key.spans, StyledSpan(",", DIM))), *end]
    return flow(parts, separator=" ", width=terminal.width)


def _who(ranking: Ranking, terminal: Terminal) -> list[Line]:
    """`it (token 8) looks at cat (token 2)`"""
    query, key = (Line.of(StyledSpan(words.text)) for words in _places(ranking, terminal))
    return flow([query, Line.of(StyledSpan("looks at", DIM)), key], separator=" ", width=terminal.width)


def _rows(ranking: Ranking, heat: Heat, top: int) -> list[Line]:
    """A head a row, beneath what the columns are."""
    shown = ranking.heads[:top]
    name = max(len("head"), *(len(head.name) for head in ranking.heads))
    weight = max(len("weight"), *(len(_number(head.weight, heat)) for head in shown))
    cells = _BAR if heat.terminal.width >= _ROOM_FOR_BARS else 0
    scale = f"  {bar_scale(two_digits(heat.full), cells)}" if cells else ""
    uniform = "  uniform" if ranking.heads[0].uniform is not None else ""
    heading = Line.of(StyledSpan(f"{'head':>{name}}  {'weight':>{weight}}{scale}{uniform}  place in its row", DIM))
    return [heading, *(_row(head, (name, weight, cells), heat) for head in shown)]


def _number(weight: float | None, heat: Heat) -> str:
    return "" if weight is None else weight_number(weight, decimals_for(heat.full))


def _row(head: HeadWeight, widths: tuple[int, int, int], heat: Heat) -> Line:
    """widths: of the head's name, its weight and the bar."""
    name, weight, cells = widths
    filled = f"  {bar(heat.share(head.weight), cells, heat.terminal)}" if cells else ""
    uniform = "" if head.uniform is None else f"  {_number(head.uniform, heat):>7}"
    return Line.of(
        f"{head.name:>{name}}",
        StyledSpan(f"  {_number(head.weight, heat):>{weight}}", BOLD),
        filled,
        StyledSpan(uniform, DIM),
        f"  {'not seen' if head.rank is None else f'{head.rank:,} of {head.keys:,}'}",
    )


def _unseen(stack: Stack, ranking: Ranking, terminal: Terminal) -> list[Line]:
    """What there is to say where no head could give the key any weight."""
    query, key = _places(ranking, terminal)
    later = stack.causal and ranking.key.index > ranking.query.index
    why = "comes later, and each token sees earlier ones alone" if later else "is hidden from it by the model's mask"
    words = [Line.of(key), *(Line.of(word) for word in f"{why}: no head looks there from".split()), Line.of(query)]
    return flow(words, separator=" ", width=terminal.width)


def _rest(ranking: Ranking, top: int) -> list[Line]:
    """How many heads there are besides those shown."""
    more = len(ranking.heads) - top
    return [Line.of(StyledSpan(f"and {more:,} more (--top K)", DIM))] if more > 0 else []
