"""Steps of one head at one query (`--steps`): from the query vector to the output, in numbered sentences with tables.

`steps_rows` words the steps; `score_table` and `read_table` show the numbers of the keys.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import count as counter
from math import isclose, sqrt
from typing import NamedTuple

import numpy as np
from rich.console import JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from attncli.render.common.cells import cell_width, glyphs
from attncli.render.common.console import Flow, Rows, row, sentence
from attncli.render.common.escape import ascii_safe, direction_end, fit_width, token_text
from attncli.render.common.numbers import cell_number
from attncli.render.common.terminal import Terminal
from attncli.results.steps import HeadOutput, Origin, Projection, Steps, Vector

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


def score_table(steps: Steps, terminal: Terminal) -> Table:
    """A row per key: k, q·k, the scores made from it, and the weight."""
    columns = [Column(formula("q·k", terminal), _cells(steps.products, steps), priority=1)]
    scale = f"÷{1 / steps.scale:.2f}" if steps.scale < 1 else f"×{steps.scale:.3g}"
    made = (
        (formula(scale, terminal), steps.scaled if steps.scale != 1 else None),
        ("capped", steps.capped),
        ("+bias", steps.bias),
    )
    columns += [Column(name, _cells(values, steps), priority=2) for name, values in made if values is not None]
    hidden = frozenset(np.flatnonzero(~steps.visible).tolist())
    if steps.bias is not None or hidden:
        scores = enumerate(_cells(steps.scores, steps))
        shown = tuple(formula("−∞", terminal) if place in hidden else cell for place, cell in scores)
        columns.append(Column("score", shown, priority=3))
    weights = [*steps.weights.tolist(), *([steps.others.weight] if steps.others.visible else [])]
    shown = tuple("0" if place in hidden else cell_number(weight, 2) for place, weight in enumerate(weights))
    columns.append(Column("weight", shown, "bold"))
    labels = _labels(steps, terminal)
    room = terminal.width - max(label.cell_len for label in labels)
    columns = _drop_to_fit(columns, room)
    room -= sum(column.width for column in columns) + 2
    bars = _bars(weights, min(_BAR, room), terminal)
    room -= max(map(len, bars))
    norms = Column("norm", _cells(steps.key_norms, steps))
    if room >= norms.width:
        columns.insert(0, norms)
        room -= norms.width
    vectors = _vector_column("k", steps.key_vectors, steps, room - 2, terminal)
    return _table(labels, [*vectors, *columns, Column("", bars, justify="left")], hidden)


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
#: Keys that are listed at most.
_KEYS_LISTED = 16
# Up to so many ranges of hidden tokens are given as positions.
_MOST_STRETCHES = 3

#: The name of a step, and its sentence.
Step = tuple[str, str]


def steps_rows(steps: Steps, terminal: Terminal) -> Rows:
    """All steps of one head at one query."""
    listed, shown = steps.with_top_keys(_KEYS_LISTED), token_text(steps.query, terminal)
    query = shown + direction_end(shown)
    begin = sentence(f"from {query} (token {steps.query.index}), step by step").parts
    rows: Rows = [Flow((Text(f"head {steps.name}", "bold"), *begin), " ")]
    number = counter(1)

    def add(step: Step, *below: RenderableType) -> None:
        name, words = step
        title = Text(f"{next(number)} {name}:", "bold")
        rows.extend([Text(), Flow((title, *sentence(formula(words, terminal)).parts), " ", indent=_INDENT), *below])

    add(_query_step(steps, query), _vector_row("q", steps.query_vector, steps.query_norm, terminal))
    for step in _score_steps(steps, listed, query):
        add(step)
    rows.append(score_table(listed, terminal))
    add(_values_step(steps), read_table(listed.visible_only(), terminal))
    if steps.written is None:
        add(("output", "z goes through no plain matrix in this model, and the walk ends here"))
        return rows
    add(_output_step(steps, steps.written), _vector_row("out", steps.written.output, steps.written.norm, terminal))
    add(_residual_step(steps.written, query))
    return rows


def _query_step(steps: Steps, query: str) -> Step:
    reader = f", from the {steps.origin.reader}" if steps.origin.reader is not None else ""
    columns = f"this head's {len(steps.query_vector):,} columns of W_Q"
    source = _projection_words(steps.origin.query, _state_words(steps.origin), columns, "plus their bias")
    turned = ", then turned by its position (rotary)" if steps.rotated else ""
    return "query", f"q, what {query} looks for{reader}: {source}{turned}"


def _projection_words(projection: Projection | None, state: str, matrix: str, bias: str = "plus its bias") -> str:
    """How a vector is computed; with the matrix only where the projection is a plain linear layer."""
    if projection is None:
        return f"made of {state} by this layer's weights"
    factor = f", and times {projection.factor:.4g}" if projection.factor != 1 else ""
    return f"{state} times {matrix}{f', {bias}' if projection.bias else ''}{factor}"


def _state_words(origin: Origin) -> str:
    if origin.normalised is None:
        return "its state, as it enters the layer,"
    return "its state, normalised," if origin.normalised else "its state"


def _key_source(origin: Origin) -> tuple[str, str]:
    """Which tokens the keys and values are of, and which state they are computed from."""
    if origin.reader is None:
        return "each token", _state_words(origin)
    return "each token of the encoder", "the encoder's output"


def _score_steps(steps: Steps, listed: Steps, query: str) -> Iterator[Step]:
    """The steps from keys to weights that this model has."""
    each, state = _key_source(steps.origin)
    turned = ", turned likewise" if steps.rotated else ""
    shared = f" ({steps.sharing} heads share them)" if steps.sharing > 1 else ""
    source = _projection_words(steps.origin.key, state, "W_K")
    yield "keys", f"k, what {each} offers: {source}{turned}{shared}; a large q·k is a match"
    yield "scale", f"score = q·k {_scale_words(steps)}"
    if steps.softcap is not None:
        cap = f"{steps.softcap:g}"
        yield "softcap", f"{cap} × tanh(score ÷ {cap}), so that no score passes {cap}"
    if steps.bias is not None:
        yield "bias", "what the model adds for the places of the two tokens"
    if steps.causal or steps.hidden:
        yield "mask", _mask_words(steps, listed, query)
    # Subtracting a negative number: `score + 2.89`.
    less = f"{'+' if steps.log_sum < 0 else '−'} {abs(steps.log_sum):.2f}"
    sink = ""
    if steps.sink_weight is not None:
        sink = f"with a sink outside of the text (score {steps.sink:.2f}, weight {steps.sink_weight:.2f}) "
    yield "softmax", f"weight = e^score ÷ Σ e^score = e^(score {less}); {sink}they sum to 1"


def _scale_words(steps: Steps) -> str:
    size = len(steps.query_vector)
    if isclose(steps.scale, 1 / sqrt(size), rel_tol=1e-6):
        return f"÷ √{size} ({sqrt(size):.2f}), or it would grow with the size of q and k"
    if steps.scale == 1 and steps.origin.query is not None and steps.origin.query.factor != 1:
        return "as it is: q was scaled when it was made"
    if steps.scale == 1:
        return "as it is: this model divides it by nothing"
    return f"× {steps.scale:.4g}, this model's own scale"


def _mask_words(steps: Steps, listed: Steps, query: str) -> str:
    """Which tokens are hidden; for causal models also when none is."""
    comes_to = "score −∞, weight 0"
    if not steps.hidden:
        return f"each token sees itself and earlier ones; later ones would be hidden ({comes_to})"
    tokens, are = ("1 token", "is") if steps.hidden == 1 else (f"{steps.hidden:,} tokens", "are")
    after = f" after {query}" if steps.causal else ""
    return f"{tokens}{after}{_hidden_positions(steps, listed)} {are} hidden: {comes_to}"


def _hidden_positions(steps: Steps, listed: Steps) -> str:
    """The position ranges of hidden tokens that the table doesn't list; empty if these are many."""
    if not listed.others.hidden or steps.others.hidden:
        return ""
    places = [key.index for key, seen in zip(steps.keys, steps.visible.tolist(), strict=True) if not seen]
    starts = [place for place in places if place - 1 not in set(places)]
    stops = [place for place in places if place + 1 not in set(places)]
    if len(starts) > _MOST_STRETCHES:
        return ""
    ends = zip(starts, stops, strict=True)
    return f" ({', '.join(f'{start}' if start == stop else f'{start} to {stop}' for start, stop in ends)})"


def _values_step(steps: Steps) -> Step:
    each, state = _key_source(steps.origin)
    source = _projection_words(steps.origin.value, state, "W_V")
    return "values", f"v, what {each} hands on: {source}; z = Σ weight × v"


def _output_step(steps: Steps, written: HeadOutput) -> Step:
    between = "a gate or a norm changes z; then " if written.passed_on is not None else ""
    rows = f"this head's {len(steps.weighted_sum):,} rows of W_O"
    return "output", f"{between}z times {rows}: {len(written.output):,} numbers, as wide as the model"


def _residual_step(written: HeadOutput, query: str) -> Step:
    """The norm of what the head adds, and of the state that it is added to."""
    every = "all heads" if written.bias is None else "all heads and the bias"
    scaled = "" if written.scale in (None, 1) else f" (after the model's own factor {written.scale:.4g})"
    adds = f"this head adds {written.added:.2f}{scaled}, {every} together {written.all_added:.2f}"
    if written.residual is not None:
        adds = f"the state of {query} had norm {written.residual:.2f}; {adds}"
    if written.scale is None:
        adds += ", which a norm or a gate changes before it is added"
    return "residual stream", adds
