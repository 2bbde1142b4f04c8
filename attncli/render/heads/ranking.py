"""All heads by one weight, from a query on a key (`--query`, `--key`): a map, and a table with the key's place."""

from __future__ import annotations

from attncli.render.common.cells import bar, bar_scale, glyphs, shorten
from attncli.render.common.escape import direction_end, unit_text
from attncli.render.common.lines import BOLD, DIM, Line, StyledSpan, beside_or_below
from attncli.render.common.numbers import decimals_for, two_digits, weight_number
from attncli.render.common.terminal import Terminal
from attncli.render.heads.head_map import head_map
from attncli.render.heads.header import LONGEST_POSITION, sentence_lines, stack_lines
from attncli.render.heads.heatmap import HeatScale
from attncli.render.views.reading import key_of, rank_text, ranking_view
from attncli.render.views.sentences import Words, quiet, strong
from attncli.results.heads import Stack
from attncli.results.patterns import Ranking

_CELL_WIDTHS = (5, 2, 1)
_BAR = 20
_ROOM_FOR_BARS = 64


def ranking_lines(stack: Stack, ranking: Ranking, terminal: Terminal, *, weighting: str, top: int) -> list[Line]:
    """The query and the key, the map of the heads' weights, and the `top` heads with the key's rank in their rows."""
    view, key = ranking_view(stack, ranking), _key_words(ranking, terminal)
    heat = HeatScale(view.largest, terminal, weighting == "norm").without_signs()
    norms = "each head's weight times the norm of what it reads there"
    by = norms if weighting == "norm" else "the weight of each head"
    title = (*view.sentence[:-1], key, quiet(f", by {by}"))
    lines = [*stack_lines(stack, terminal), *sentence_lines(title, terminal), Line()]
    if view.hidden:
        why = (key, Words(f" {view.hidden} "), strong(view.query))
        return [*lines, *sentence_lines(why, terminal)]
    table = _table(ranking, heat, top)
    if len(ranking.heads) == 1:
        return [*lines, *table]
    weights = {(head.layer, head.head): head.weight for head in ranking.heads}
    drawn: set[int] = set()

    def cell(head: tuple[int, int], width: int) -> StyledSpan:
        drawn.add(width)
        return heat.cell(weights[head], width) if head in weights else StyledSpan(" " * width)

    grid = head_map(stack, cell, _CELL_WIDTHS, terminal)
    picture = [*grid, Line(), *heat.legend_lines(digits=any(map(heat.has_digits, drawn)))]
    together = beside_or_below(picture, table, width=terminal.width)
    if len(together) > max(len(picture), len(table)):
        # The ranking is below the map, maybe a screen away from the title.
        subtitle = (Words(view.query), view.sentence[2], Words(key.content))
        together = [*picture, Line(), *sentence_lines(subtitle, terminal), *table]
    return [*lines, *together]


def _key_words(ranking: Ranking, terminal: Terminal) -> Words:
    """The key; one that is a line is named by its number."""
    if ranking.key_line is None:
        return strong(key_of(ranking))
    text = shorten(unit_text(ranking.key, "line", terminal), LONGEST_POSITION, glyphs(terminal).cut)
    return strong(f"line {ranking.key_line:,} ({text}{direction_end(text)})")


def _table(ranking: Ranking, heat: HeatScale, top: int) -> list[Line]:
    """A heading and a row per head."""
    shown, decimals, terminal = ranking.heads[:top], decimals_for(heat.full), heat.terminal
    name = max(len("head"), *(len(head.name) for head in ranking.heads))
    weights = [weight_number(head.weight, decimals) for head in shown]
    weight = max(len("weight"), *map(len, weights))
    cells = _BAR if terminal.width >= _ROOM_FOR_BARS else 0
    scale = f"  {bar_scale(two_digits(heat.full), cells)}" if cells else ""
    uniform = "  uniform" if ranking.heads[0].uniform is not None else ""
    heading = f"{'head':>{name}}  {'weight':>{weight}}{scale}{uniform}  place in its row"
    lines = [Line.of(StyledSpan(heading, DIM))]
    for head, text in zip(shown, weights, strict=True):
        even = "" if head.uniform is None else f"  {weight_number(head.uniform, decimals):>7}"
        filled = f"  {bar(heat.share(head.weight), cells, terminal)}" if cells else ""
        spans = (StyledSpan(f"  {text:>{weight}}", BOLD), filled, StyledSpan(even, DIM), f"  {rank_text(head)}")
        lines.append(Line.of(f"{head.name:>{name}}", *spans))
    more = len(ranking.heads) - top
    return [*lines, Line.of(StyledSpan(f"and {more:,} more (--top K)", DIM))] if more > 0 else lines
