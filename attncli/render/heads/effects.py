"""What the model predicts (`--predict`) and what heads do to the outcome (`--effect`), in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from attncli.choices import DEFAULT_TOP
from attncli.render.common.cells import bar, glyphs, shorten
from attncli.render.common.console import Beside, Part, Rows, column_table, first_to_fit, row
from attncli.render.common.escape import ascii_safe, name_text, token_text
from attncli.render.common.terminal import Terminal
from attncli.render.heads.head_map import value_map
from attncli.render.heads.header import note_row, sentence_row, tokens_row
from attncli.render.heads.heatmap import SignedHeatScale
from attncli.render.views.effects import (
    EffectMap,
    EffectRow,
    LensRow,
    changed_effects,
    disagreement_sentence,
    effect_maps,
    effect_number,
    give_number,
    is_compared,
    left_out_note,
    left_out_states,
    outcome_sentences,
    part_sentences,
    prediction_view,
    ranked_rows,
    share_number,
    shown_layers,
    vocabulary_token,
)
from attncli.render.views.header import averaged_noun, written_tokens
from attncli.render.views.sentences import Sentence, quiet, strong
from attncli.results.effects import Effects, Prediction
from attncli.results.heads import HeadsResult, Stack
from attncli.results.tokens import Token


class _Size(NamedTuple):
    """The most layers of a map, heads of the ranking and states of the logit lens that a view shows."""

    layers: int
    heads: int
    states: int


#: From `full` on down: the first that fits the screen is shown.
_SIZES = (
    _Size(1000, 1000, 1000),
    *(_Size(12, 10, states) for states in (13, 5)),
    *(_Size(*each) for each in ((8, 10, 5), (6, 8, 3), (8, 10, 0), (5, 8, 0), (4, 5, 0))),
    *(_Size(0, heads, 0) for heads in (10, 6, 4)),
)
#: Tokens of the logit lens, and cells of a token there.
_TOKENS, _TOKEN_CELLS = 3, 11
#: Cells of a token that a head reads, and those beside a map that the ranking takes.
_READ_CELLS, _RANKING_CELLS = 12, 40
#: Cells of the bars of probabilities, and the width from which there are any.
_BAR, _ROOM_FOR_BARS = 10, 80


#: Each head's effects in A and in B, a pair a kind, where two models are compared.
_Sides = Mapping[str, Sequence[tuple[float | None, float | None]]]


def effects_rows(result: HeadsResult, terminal: Terminal) -> Rows:
    """The text, the prediction, and the effects, as the result has them."""
    sizes = _SIZES if terminal.full else _SIZES[1:]
    return first_to_fit((_rows(result, terminal, size) for size in sizes), terminal, terminal.lines - 1)


def _rows(result: HeadsResult, terminal: Terminal, size: _Size) -> Rows:
    main = next((stack for stack in result.stacks if stack.stack != "cross"), result.stacks[0])
    rows: Rows = [tokens_row(written_tokens(main), terminal)] if main.keys else []
    if result.difference is not None:
        against = name_text(result.difference.model, terminal)
        rows.insert(0, row(("against ", "dim"), (against, "bold"), (": B minus A", "dim")))
    if result.prediction is not None:
        rows += [Text(), *prediction_rows(result, result.prediction, terminal, states=size.states)]
    if result.effects is not None:
        rows += [Text(), *_effects(result, result.effects, terminal, size)]
    return rows


# --- The prediction


def prediction_rows(result: HeadsResult, prediction: Prediction, terminal: Terminal, *, states: int = 13) -> Rows:
    """The likeliest tokens in a sentence, and so many states of the logit lens."""
    tokens = _TOKENS if terminal.width >= _ROOM_FOR_BARS else 1
    view = prediction_view(result, prediction, rows=states, tokens=min(result.top, tokens))
    whole = prediction_view(result, prediction, rows=0, tokens=result.top).sentence
    rows: Rows = [sentence_row(whole, terminal)]
    if view.rows:
        rows += [Text(), _lens_table(view.rows, view.answer, terminal)]
    return [*rows, note_row(left_out_states(view), terminal)]


def _lens_table(rows: Sequence[LensRow], answer: Token, terminal: Terminal) -> Table:
    """A row a state: the likeliest tokens, and the answer's rank and probability."""
    tokens = max(len(row.tokens) for row in rows)
    columns: list[tuple[str, JustifyMethod, Sequence[Part]]] = [
        ("state", "right", [str(row.state) for row in rows]),
        ("after", "left", [(row.place, "dim") for row in rows]),
    ]
    for place in range(tokens):
        shown = [_short(vocabulary_token(row.tokens[place]), _TOKEN_CELLS, terminal) for row in rows]
        columns.append(("likeliest" if place == 0 else "", "left", [(each, "bold" if place == 0 else "")
                                                                   for each in shown]))  # fmt: skip
    name = _short(answer, _TOKEN_CELLS, terminal)
    ranks = [f"{row.rank:,}" for row in rows]
    columns += [
        (f"{name}: rank", "right", ranks),
        ("", "right", [share_number(row.probability) for row in rows]),
    ]
    if terminal.width >= _ROOM_FOR_BARS:
        columns.append(("", "left", [bar(row.probability, _BAR, terminal) for row in rows]))
    return column_table(columns)


def _short(token: Token, cells: int, terminal: Terminal) -> str:
    return shorten(token_text(token, terminal), cells, glyphs(terminal).cut)


# --- Effects


def _effects(result: HeadsResult, effects: Effects, terminal: Terminal, size: _Size) -> Rows:
    rows: Rows = [sentence_row(each, terminal) for each in outcome_sentences(result, effects)]
    compared, sides = is_compared(result), _sides(result, effects.kinds)
    result = changed_effects(result)
    effects = result.effects or effects
    ranked = ranked_rows(result.stacks, effects.kinds)
    found = [(stack, effect_maps(stack, effects.kinds, compared=compared)) for stack in result.stacks]
    drawn = [(stack, maps) for stack, maps in found if maps]
    if not ranked:
        return [*rows, Text("no effect of a head could be measured")]
    # As many as `--top` asks for, if that is not the default.
    heads = min(result.top, size.heads) if result.top == DEFAULT_TOP else result.top
    rows += [Text(), *_pictures(drawn, ranked[:heads], effects.kinds, terminal, size, sides)]
    rows.append(Text())
    largest = max(each.largest for _, maps in drawn for each in maps)
    rows += [sentence_row(sentence, terminal) for sentence in part_sentences(result, effects, largest)]
    if any(row.averaged for row in ranked):
        rows.append(note_row(f"± 95 % interval of the mean over the {averaged_noun(result)}", terminal))
    apart = () if compared else disagreement_sentence(ranked, effects.kinds)
    return [*rows, sentence_row(apart, terminal)] if apart else rows


def _sides(result: HeadsResult, kinds: Sequence[str]) -> _Sides:
    """Of two models that are compared, each head's effects in A and in B, a pair a kind."""
    changes = result.difference.stacks if result.difference is not None else ()
    there = {head.name: head.values for stack in changes for head in stack.heads}
    here = (head for stack in result.stacks for head in stack.effects)
    return {
        head.name: [(head.values.get(kind), there[head.name].get(kind)) for kind in kinds]
        for head in here
        if head.name in there
    }


def _pictures(
    drawn: Sequence[tuple[Stack, Sequence[EffectMap]]],
    ranked: Sequence[EffectRow],
    kinds: Sequence[str],
    terminal: Terminal,
    size: _Size,
    sides: _Sides,
) -> Rows:
    """The maps with the ranking beside; several kinds of one stack side by side, and the ranking beneath."""
    table = _ranking(ranked, kinds, terminal, sides)
    if not size.layers:
        return [table, note_row("--full adds the maps of all heads", terminal)]
    alone = len(drawn) == 1 and len(drawn[0][1]) == 1
    rows: Rows = []
    for place, (stack, maps) in enumerate(drawn):
        title = [Text(stack.stack, "bold")] if len(drawn) > 1 else []
        known = {layer for each in maps for layer, _ in each.values}
        # Layers without heads are named on the map; those of which no head was chosen are not.
        every = [layer.layer for layer in stack.layers if layer.layer in known or not layer.heads]
        layers = shown_layers(maps, every, size.layers)
        short = replace(stack, layers=tuple(layer for layer in stack.layers if layer.layer in layers))
        note = note_row(left_out_note(len(every) - len(layers)), terminal)
        pictures = [[*title, *_map(short, each, terminal, alone=alone)] for each in maps]
        rows += [Text()] if place else []
        if alone:
            return [sentence_row(_map_title(maps[0]), terminal), Beside([*pictures[0], note], [table])]
        for left, right in zip(pictures[::2], [*pictures[1::2], []], strict=False):
            rows.append(Beside(left, right) if right else Beside(left, []))
        # Beneath, as it may be wider than a map that has another beside it.
        rows.append(note)
    return [*rows, Text(), table]


def _map_title(each: EffectMap) -> Sentence:
    return (strong(f"{each.title}:"), quiet(f" {each.meaning}"))


def _map(stack: Stack, each: EffectMap, terminal: Terminal, *, alone: bool) -> Rows:
    """The map of one kind, narrow enough for what stands beside it."""
    beside = _RANKING_CELLS if alone else terminal.width // 2
    room = max(terminal.width - beside - 4, 30) if terminal.width >= 70 else terminal.width
    heat = SignedHeatScale(each.largest or 1.0, terminal._replace(width=room))
    title: Rows = [] if alone else [Text(each.title, "bold")]
    return [*title, *value_map(stack, each.values, heat, small=True)]


def _ranking(rows: Sequence[EffectRow], kinds: Sequence[str], terminal: Terminal, sides: _Sides) -> Table:
    """A row a head: its effects, and what it reads from the position; or how they changed, in A and in B."""
    names = max(len(row.name) for row in rows)
    columns: list[tuple[str, JustifyMethod, Sequence[Part]]] = [
        ("head", "right", [f"{row.name:>{names}}" for row in rows])
    ]
    for place, kind in enumerate(kinds):
        largest = max((abs(row.values[place] or 0.0) for row in rows), default=0.0)
        cells = [(effect_number(row.values[place], largest) or glyphs(terminal).dot, "bold") for row in rows]
        columns.append((kind, "right", cells))
        if any(row.averaged for row in rows):
            columns.append(("", "right", [(ascii_safe(give_number(row.give[place], largest), terminal), "dim")
                                          for row in rows]))  # fmt: skip
        if sides:
            pairs = [sides[row.name][place] for row in rows]
            most = max((abs(value or 0.0) for pair in pairs for value in pair), default=0.0)
            arrow = ascii_safe(" → ", terminal)
            columns.append((f"A{arrow}B", "right", [(arrow.join(effect_number(value, most) for value in pair), "dim")
                                                     for pair in pairs]))  # fmt: skip
    reads = ["" if row.reads is None else _short(row.reads, _READ_CELLS, terminal) for row in rows]
    weights = ["" if row.weight is None else f"{row.weight:.2f}" for row in rows]
    labels = [(ascii_safe(row.label or "", terminal), "dim") for row in rows]
    if any(reads):
        columns += [("reads", "left", reads), ("", "right", weights)]
    if any(row.label for row in rows):
        columns.append(("label", "left", labels))
    return column_table(columns)
