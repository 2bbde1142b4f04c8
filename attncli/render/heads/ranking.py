"""One weight, that of a position on a key, by every head: a map, and the heads in their order."""

from __future__ import annotations

from attncli.render.bars import bar, bar_scale
from attncli.render.cells import shorten
from attncli.render.glyphs import glyphs
from attncli.render.heads.head_map import head_map
from attncli.render.heads.header import stack_lines
from attncli.render.heads.heatmap import Heat
from attncli.render.heads.numbers import decimals_for, two_digits, weight_number
from attncli.render.heads.running import numbered
from attncli.render.layout import beside, flow
from attncli.render.lines import BOLD, DIM, Line, StyledSpan
from attncli.render.terminal import Terminal
from attncli.render.token_text import direction_end, token_text, unit_text
from attncli.results.heads import Stack
from attncli.results.patterns import HeadWeight, Ranking
from attncli.results.tokenize import Token

_CELL_WIDTHS = (5, 2, 1)
_BAR = 20
_ROOM_FOR_BARS = 64
# Cells of a word or a line in a sentence.
_LONGEST_PLACE = 32


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


def place_words(token: Token, terminal: Terminal, line: int | None = None, count: int = 1) -> StyledSpan:
    """A position as it is called in a sentence: its text and its number, or those of its `count` tokens."""
    whole = token_text(token._replace(text=token.text.strip() or token.text), terminal)
    text = shorten(whole, _LONGEST_PLACE, glyphs(terminal).cut)
    return StyledSpan(
        f"{text}{direction_end(text)} ({numbered(token.index, count, line, glyphs(terminal).dash)})", BOLD
    )


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
