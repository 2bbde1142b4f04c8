"""Steps of one head at one query (`--steps`): from the query vector to the output, in numbered sentences with tables.

`steps_rows` words the steps; `score_table` and `read_table` show the numbers of the keys.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain
from itertools import count as counter
from typing import NamedTuple

import numpy as np
from rich.console import JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from attncli.render.common.cells import cell_width, glyphs
from attncli.render.common.console import Beside, Flow, Rows, column_table, first_to_fit, row, sentence
from attncli.render.common.escape import ascii_safe, direction_end, fit_width, token_text
from attncli.render.common.numbers import cell_number
from attncli.render.common.terminal import Terminal
from attncli.render.views.score_sources import (
    SOURCES_DRAWN,
    SOURCES_LISTED,
    SourceTable,
    source_tables,
    sources_step,
    sources_summary,
)
from attncli.render.views.steps_words import (
    KEYS_LISTED,
    Step,
    closing_steps,
    output_step,
    query_step,
    score_steps,
    values_step,
)
from attncli.results.steps import ScoreSources, Steps, Vector

_LONGEST_TOKEN = 12
_MOST_NUMBERS = 6
_BAR = 16
# From this width on there is room to say what z is.
_ROOM_FOR_SUM = 30
#: ASCII for the symbols of formulas, besides those of `ascii_safe`.
_ASCII = str.maketrans({"÷": "/", "√": "sqrt ", "Σ": "sum of", "∞": "inf"})


def formula(text: str, terminal: Terminal) -> str:
    """A formula or a sentence with the symbols that this terminal can show."""
    return text if terminal.unicode else ascii_safe(text.translate(_ASCII), terminal)


class Column(NamedTuple):
    """A column of numbers, one per listed key, then one for the other keys together.

    priority: columns of lower priority are dropped first where there is no room for all.
    """

    heading: str
    cells: tuple[str, ...]
    style: str = ""
    priority: int = 9
    justify: JustifyMethod = "right"

    @property
    def width(self) -> int:
        """With the gap before it."""
        return max(map(cell_width, (self.heading, *self.cells))) + 2


def _vector_row(name: str, vector: Vector, norm: float, terminal: Terminal) -> Text:
    """`  q = [0.41 -0.22 … 30 more]  norm 5.21`, with as many numbers as fit."""
    more = glyphs(terminal).ellipsis
    end = f"  norm {_number(norm)}"
    for count in range(min(len(vector), _MOST_NUMBERS + 2), 0, -1):
        rest = len(vector) - count
        numbers = " ".join(_number(each) for each in vector[:count])
        shown = f"  {name} = [{numbers}{f' {more} {rest:,} more' if rest else ''}]"
        if cell_width(shown + end) <= terminal.width:
            return row(shown, (end, "dim"))
    return Text(f"  {end.strip()}")


def _score_columns(steps: Steps, terminal: Terminal, hidden: Collection[int]) -> list[Column]:
    """q·k of each key, the scores made from it, and the weight. hidden: masked keys."""
    columns = [Column(formula("q·k", terminal), _cells(steps.products, steps), priority=1)]
    scale = f"÷{1 / steps.scale:.2f}" if steps.scale < 1 else f"×{steps.scale:.3g}"
    made = (
        (formula(scale, terminal), steps.scaled if steps.scale != 1 else None),
        ("capped", steps.capped),
        ("+bias", steps.bias),
    )
    columns += [Column(name, _cells(values, steps), priority=2) for name, values in made if values is not None]
    if steps.bias is not None or hidden:
        scores = enumerate(_cells(steps.scores, steps))
        shown = tuple(formula("−∞", terminal) if place in hidden else cell for place, cell in scores)
        columns.append(Column("score", shown, priority=3))
    shown = tuple("0" if place in hidden else cell_number(each, 2) for place, each in enumerate(_weights(steps)))
    return [*columns, Column("weight", shown, "bold")]


def _weights(steps: Steps) -> list[float]:
    return [*steps.weights.tolist(), *([steps.others.weight] if steps.others.visible else [])]


def _hidden(steps: Steps) -> frozenset[int]:
    return frozenset(np.flatnonzero(~steps.visible).tolist())


def score_table(steps: Steps, terminal: Terminal) -> Table:
    """A row per key: k, q·k, the scores made from it, and the weight."""
    labels, weights, hidden = _labels(steps, terminal), _weights(steps), _hidden(steps)
    room = terminal.width - max(label.cell_len for label in labels)
    columns = _drop_to_fit(_score_columns(steps, terminal, hidden), room)
    room -= sum(column.width for column in columns) + 2
    bars = _bars(weights, min(_BAR, room), terminal)
    room -= max(map(len, bars))
    norms = Column("norm", _cells(steps.key_norms, steps))
    if room >= norms.width:
        columns.insert(0, norms)
        room -= norms.width
    vectors = _vector_column("k", steps.key_vectors, steps, room - 2, terminal)
    return _table(labels, [*vectors, *columns, Column("", bars, justify="left")], hidden)


def _short_table(steps: Steps, terminal: Terminal) -> Table:
    """A row per key: its scores, its weight and v; and the weighted sum, z."""
    labels = [*_labels(steps, terminal), Text(" z, their sum" if terminal.width >= _ROOM_FOR_SUM else " z")]
    room, hidden = terminal.width - max(label.cell_len for label in labels), _hidden(steps)
    columns = _drop_to_fit(_score_columns(steps, terminal, hidden), room)
    room -= sum(column.width for column in columns)
    vectors = _vector_column("v", steps.values, steps, room, terminal, total=steps.weighted_sum)
    return _table(labels, [*(each._replace(cells=(*each.cells, "")) for each in columns), *vectors], hidden)


def read_table(steps: Steps, terminal: Terminal) -> Table:
    """A row per key: its weight and v; and their weighted sum, z."""
    labels = [*_labels(steps, terminal), Text(" z, their sum" if terminal.width >= _ROOM_FOR_SUM else " z")]
    room = terminal.width - max(label.cell_len for label in labels)
    others = [steps.others.weight] if steps.others.visible else []
    weights = (formula(f"{cell_number(weight, 2)} ×", terminal) for weight in (*steps.weights.tolist(), *others))
    times = Column("weight", (*weights, ""), "bold")
    norms = Column("norm", (*_cells(steps.value_norms, steps), _number(steps.sum_norm)), priority=1)
    columns = _drop_to_fit([times, norms], room)
    room -= sum(column.width for column in columns)
    vectors = _vector_column("v", steps.values, steps, room, terminal, total=steps.weighted_sum)
    return _table(labels, [times, *vectors, *columns[1:]])


def _drop_to_fit(columns: Sequence[Column], room: int) -> list[Column]:
    """The columns that fit, after those of lowest priority are dropped; at least one column stays."""
    selected = list(columns)
    while len(selected) > 1 and sum(column.width for column in selected) > room:
        selected.remove(min(selected, key=lambda column: column.priority))
    return selected


def _labels(steps: Steps, terminal: Terminal) -> list[Text]:
    """The row labels: a heading, the position and token of each listed key, and the number of other keys."""
    places = max((len(str(token.index)) for token in steps.keys), default=1)
    texts = [token_text(token, terminal) for token in steps.keys]
    widest = min(max(map(cell_width, texts), default=3), _LONGEST_TOKEN, terminal.width // 4)
    rows = [
        row((f" {token.index:>{places}} ", "dim"), (fit_width(each, widest, terminal), "" if seen else "dim"))
        for token, each, seen in zip(steps.keys, texts, steps.visible.tolist(), strict=True)
    ]
    if steps.others.visible:
        rows.append(Text(f" {glyphs(terminal).ellipsis} {steps.others.visible:,} others", "dim"))
    return [Text(f" {'key':>{places}}", "dim"), *rows]


def _cells(values: Vector, steps: Steps) -> tuple[str, ...]:
    return (*map(_number, values.tolist()), *([""] if steps.others.visible else []))


def _number(value: float) -> str:
    return f"{value:z.2f}" if abs(value) < 1000 else f"{value:.3g}"


def _vector_column(
    name: str, vectors: Vector, steps: Steps, room: int, terminal: Terminal, *, total: Vector | None = None
) -> list[Column]:
    """A column with the first numbers of each row's vector, in `room` cells; none where not even one number fits."""
    for count in range(min(vectors.shape[1], _MOST_NUMBERS), 0, -1):
        rows = [*vectors[:, :count].tolist(), *([] if total is None else [total[:count].tolist()])]
        widest = max((len(_number(each)) for numbers in rows for each in numbers), default=0)
        more = f" {glyphs(terminal).ellipsis}" if count < vectors.shape[1] else ""
        cells = [f"[{' '.join(_number(each).rjust(widest) for each in numbers)}{more}]" for numbers in rows]
        others = [""] if steps.others.visible else []
        listed = len(steps.keys)
        column = Column(f" {name}", (*cells[:listed], *others, *cells[listed:]), justify="left")
        if column.width <= room:
            return [column]
    return []


def _bars(weights: Sequence[float], width: int, terminal: Terminal) -> tuple[str, ...]:
    """A bar per weight, the longest for the largest; blank where there is no room."""
    largest = max(weights, default=0.0) or 1.0
    ink = "█" if terminal.unicode else "#"
    return tuple(ink * round(width * weight / largest) if width >= 4 else "" for weight in weights)


def _table(labels: Sequence[Text], columns: Sequence[Column], hidden: Collection[int] = ()) -> Table:
    """Rows of a label and cells below a heading; those of hidden (masked) keys are dim."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column()
    for column in columns:
        table.add_column(justify=column.justify)
    heading, *others = labels
    table.add_row(heading, *(Text(column.heading, "dim") for column in columns))
    for place, label in enumerate(others):
        shown = (Text(each.cells[place], "dim" if place in hidden else each.style) for each in columns)
        table.add_row(label, *shown)
    return table


# --- the sentences

_INDENT = 2


# Keys of a walk that has to fit the screen, the most first.
_FEWER_KEYS = (8, 6, 5, 4, 3, 2)
_FIGURED = ("scale", "softcap", "bias", "softmax")
_READ = 3


def steps_rows(steps: Steps, terminal: Terminal, room: int) -> Rows:
    """The steps of one head at one query: all of them if they fit in `room` lines, else the numbers of fewer keys."""
    short = (_short_walk(steps, terminal, keys) for keys in _FEWER_KEYS)
    return first_to_fit(chain([_whole_walk(steps, terminal)], short), terminal, room)


def _short_walk(steps: Steps, terminal: Terminal, keys: int) -> Rows:
    """What the head reads, then its vectors, formulas and numbers. keys: how many are listed."""
    listed, shown = steps.with_top_keys(keys), token_text(steps.query, terminal)
    query = shown + direction_end(shown)
    order = np.argsort(-steps.weights, kind="stable")[:_READ].tolist()
    reads = ", ".join(f"{token_text(steps.keys[at], terminal)} {steps.weights[at]:.2f}" for at in order)
    begin = sentence(f"from {query} (token {steps.query.index}) reads {reads}").parts
    rows: Rows = [Flow((Text(f"head {steps.name}", "bold"), *begin), " "), Text()]
    rows.append(_vector_row("q", steps.query_vector, steps.query_norm, terminal))
    for name, words in score_steps(steps, listed, query):
        if name in _FIGURED:
            rows.append(Flow((Text(f"  {name}:", "bold"), *sentence(formula(words, terminal)).parts), " ", indent=4))
    rows += [Text(), _short_table(listed, terminal), Text()]
    if steps.written is not None:
        rows.append(_vector_row("out", steps.written.output, steps.written.norm, terminal))
    for name, words in closing_steps(steps, query):
        rows.append(Flow((Text(f"  {name}:", "bold"), *sentence(formula(words, terminal)).parts), " ", indent=4))
    if steps.sources is not None:
        name, words = sources_summary(steps.sources, query, _shown_key(steps.sources, terminal))
        rows.append(Flow((Text(f"  {name}:", "bold"), *sentence(formula(words, terminal)).parts), " ", indent=4))
    return [*rows, Text("--full shows every step and more tokens", "dim")]


def _whole_walk(steps: Steps, terminal: Terminal) -> Rows:
    """All steps of one head at one query."""
    listed, shown = steps.with_top_keys(KEYS_LISTED), token_text(steps.query, terminal)
    query = shown + direction_end(shown)
    begin = sentence(f"from {query} (token {steps.query.index}), step by step").parts
    rows: Rows = [Flow((Text(f"head {steps.name}", "bold"), *begin), " ")]
    number = counter(1)

    def add(step: Step, *below: RenderableType) -> None:
        name, words = step
        title = Text(f"{next(number)} {name}:", "bold")
        rows.extend([Text(), Flow((title, *sentence(formula(words, terminal)).parts), " ", indent=_INDENT), *below])

    add(query_step(steps, query), _vector_row("q", steps.query_vector, steps.query_norm, terminal))
    for step in score_steps(steps, listed, query):
        add(step)
    rows.append(score_table(listed, terminal))
    add(values_step(steps), read_table(listed.visible_only(), terminal))
    if steps.written is not None:
        written = steps.written
        add(output_step(steps), _vector_row("out", written.output, written.norm, terminal))
    for step in closing_steps(steps, query):
        add(step)
    if steps.sources is not None:
        key = _shown_key(steps.sources, terminal)
        add(sources_step(steps, steps.sources, query, key), *_source_rows(steps.sources, query, key, terminal))
    return rows


def _shown_key(sources: ScoreSources, terminal: Terminal) -> str:
    shown = token_text(sources.key, terminal)
    return shown + direction_end(shown)


def _source_rows(sources: ScoreSources, query: str, key: str, terminal: Terminal) -> Rows:
    """The parts that wrote q and k beside one another, and the pairs."""
    listed = SOURCES_DRAWN if terminal.full else SOURCES_LISTED
    tables = source_tables(sources, query, key, listed=listed)
    query_parts, key_parts, pairs = (_source_table(table, terminal) for table in tables)
    return [Beside([query_parts], [key_parts]), Text(), pairs]


def _source_table(table: SourceTable, terminal: Terminal) -> Table:
    numbers = [(f" {_number(each.contribution)}", "" if each.quiet else "bold") for each in table.rows]
    names = [(formula(each.name, terminal), "dim" if each.quiet else "") for each in table.rows]
    return column_table([(" score", "right", numbers), (formula(table.title, terminal), "left", names)])
