"""All heads by one weight, from a query on a key (`--query`, `--key`): a map, and a table with the key's place."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import JustifyMethod
from rich.text import Text

from attncli.choices import DEFAULT_TOP
from attncli.render.common.cells import bar, bar_scale, glyphs, shorten
from attncli.render.common.console import Beside, Part, Rows, StyledText, column_table, first_to_fit
from attncli.render.common.escape import direction_end, unit_text
from attncli.render.common.numbers import decimals_for, two_digits, weight_number
from attncli.render.common.terminal import Terminal
from attncli.render.heads.head_map import head_map
from attncli.render.heads.header import LONGEST_POSITION, sentence_row, stack_row
from attncli.render.heads.heatmap import HeatScale
from attncli.render.views.reading import key_of, rank_text, ranking_view
from attncli.render.views.sentences import Words, quiet, strong
from attncli.results.heads import Stack
from attncli.results.patterns import Ranking

_CELL_WIDTHS = (5, 2, 1)
_BAR = 20
_ROOM_FOR_BARS = 64
# Heads that are ranked however little room there is.
_FEWEST = 3


def ranking_rows(stack: Stack, ranking: Ranking, terminal: Terminal, *, weighting: str, top: int) -> Rows:
    """The query and the key, the map of the heads' weights, and the `top` heads with the key's rank in their rows."""
    view, key = ranking_view(stack, ranking), _key_words(ranking, terminal)
    heat = HeatScale(view.largest, terminal, weighting == "norm")
    norms = "each head's weight times the norm of what it reads there"
    by = norms if weighting == "norm" else "the weight of each head"
    title = (*view.sentence[:-1], key, quiet(f", by {by}"))
    rows: Rows = [stack_row(stack, terminal), sentence_row(title, terminal), Text()]
    if view.hidden:
        why = (key, Words(f" {view.hidden} "), strong(view.query))
        return [*rows, sentence_row(why, terminal)]
    table = _table(ranking, heat, top)
    if len(ranking.heads) == 1:
        return [*rows, *table]
    weights = {(head.layer, head.head): head.weight for head in ranking.heads}
    drawn: set[int] = set()

    def cell(head: tuple[int, int], width: int) -> StyledText:
        drawn.add(width)
        return heat.cell(weights[head], width) if head in weights else (" " * width, "")

    grid = head_map(stack, cell, _CELL_WIDTHS, terminal)
    picture: Rows = [*grid, Text(), heat.legend_row(digits=any(map(heat.has_digits, drawn)))]
    # A ranking below the map is maybe a screen away from the title.
    subtitle = sentence_row((Words(view.query), view.sentence[2], Words(key.content)), terminal)
    tops = [*range(top, min(top, _FEWEST) - 1, -1)] if top == DEFAULT_TOP else [top]
    tables = (_table(ranking, heat, count) for count in tops)
    variants = ([*rows, Beside(picture, table, [Text(), subtitle])] for table in tables)
    return first_to_fit(variants, terminal, terminal.lines - 1)


def _key_words(ranking: Ranking, terminal: Terminal) -> Words:
    """The key; one that is a line is named by its number."""
    if ranking.key_line is None:
        return strong(key_of(ranking))
    text = shorten(unit_text(ranking.key, "line", terminal), LONGEST_POSITION, glyphs(terminal).cut)
    return strong(f"line {ranking.key_line:,} ({text}{direction_end(text)})")


def _table(ranking: Ranking, heat: HeatScale, top: int) -> Rows:
    """A heading and a row per head, and how many more heads there are."""
    shown, decimals, terminal = ranking.heads[:top], decimals_for(heat.full), heat.terminal
    name = max(len(head.name) for head in ranking.heads)
    columns: list[tuple[str, JustifyMethod, Sequence[Part]]] = [
        ("head", "right", [f"{head.name:>{name}}" for head in shown]),
        ("weight", "right", [(weight_number(head.weight, decimals), "bold") for head in shown]),
    ]
    if terminal.width >= _ROOM_FOR_BARS:
        bars = [bar(heat.share(head.weight), _BAR, terminal) for head in shown]
        columns.append((bar_scale(two_digits(heat.full), _BAR), "left", bars))
    evens = [head.uniform for head in shown]
    if any(even is not None for even in evens):
        texts = ["" if even is None else weight_number(even, decimals) for even in evens]
        columns.append(("uniform", "right", [(text, "dim") for text in texts]))
    table = column_table([*columns, ("place in its row", "left", [rank_text(head) for head in shown])])
    more = len(ranking.heads) - top
    return [table, Text(f"and {more:,} more (--top K)", "dim")] if more > 0 else [table]
