"""What the model predicts (`--predict`) and what heads do to the outcome (`--effect`), in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from attncli.render.common.cells import bar, glyphs, shorten
from attncli.render.common.console import Beside, Part, Rows, column_table
from attncli.render.common.escape import ascii_safe, token_text
from attncli.render.common.terminal import Terminal
from attncli.render.heads.head_map import value_map
from attncli.render.heads.header import note_row, sentence_row, tokens_row
from attncli.render.heads.heatmap import SignedHeatScale
from attncli.render.views.effects import (
    EffectMap,
    EffectRow,
    LensRow,
    disagreement_sentence,
    effect_maps,
    effect_number,
    left_out_note,
    outcome_sentence,
    part_sentences,
    prediction_view,
    ranked_rows,
    share_number,
    shown_layers,
    vocabulary_token,
)
from attncli.render.views.sentences import Sentence, quiet, strong
from attncli.results.effects import Effects, Prediction
from attncli.results.heads import HeadsResult, Stack
from attncli.results.tokens import Token

#: States and tokens of the logit lens, and cells of a token there.
_STATES, _FEW_STATES, _TOKENS, _TOKEN_CELLS = 13, 5, 3, 11
#: Layers of a map; with other stacks or kinds beside it fewer.
_LAYERS, _FEWER_LAYERS = 12, 6
#: Cells of a token that a head reads, and those beside a map that the ranking takes.
_READ_CELLS, _RANKING_CELLS = 12, 40
#: Cells of the bars of probabilities, and the width from which there are any.
_BAR, _ROOM_FOR_BARS = 10, 80


def effects_rows(result: HeadsResult, terminal: Terminal) -> Rows:
    """The text, the prediction, and the effects, as the result has them."""
    main = next((stack for stack in result.stacks if stack.stack != "cross"), result.stacks[0])
    rows: Rows = [tokens_row(main.keys, terminal)]
    if result.prediction is not None:
        states = _STATES if result.effects is None else _FEW_STATES
        rows += [Text(), *prediction_rows(result, result.prediction, terminal, states=states)]
    if result.effects is not None:
        rows += [Text(), *_effects(result, result.effects, terminal)]
    return rows


# --- The prediction


def prediction_rows(result: HeadsResult, prediction: Prediction, terminal: Terminal, *, states: int = _STATES) -> Rows:
    """The likeliest tokens in a sentence, and so many states of the logit lens."""
    tokens = _TOKENS if terminal.width >= _ROOM_FOR_BARS else 1
    view = prediction_view(result, prediction, rows=states, tokens=min(result.top, tokens))
    whole = prediction_view(result, prediction, rows=0, tokens=result.top).sentence
    rows: Rows = [sentence_row(whole, terminal)]
    if view.rows:
        hidden = f"{view.left_out:,} states in between left out" if view.left_out else ""
        rows += [Text(), _lens_table(view.rows, view.answer, terminal), note_row(hidden, terminal)]
    return rows


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


def _effects(result: HeadsResult, effects: Effects, terminal: Terminal) -> Rows:
    rows: Rows = [sentence_row(outcome_sentence(result, effects), terminal)]
    ranked = ranked_rows(result.stacks, effects.kinds)
    found = [(stack, effect_maps(stack, effects.kinds)) for stack in result.stacks]
    drawn = [(stack, maps) for stack, maps in found if maps]
    if not ranked:
        return [*rows, Text("no head has such an effect")]
    rows += [Text(), *_pictures(drawn, ranked[: result.top], effects.kinds, terminal)]
    rows.append(Text())
    largest = max(each.largest for _, maps in drawn for each in maps)
    rows += [sentence_row(sentence, terminal) for sentence in part_sentences(result, effects, largest)]
    apart = disagreement_sentence(ranked, effects.kinds)
    return [*rows, sentence_row(apart, terminal)] if apart else rows


def _pictures(
    drawn: Sequence[tuple[Stack, Sequence[EffectMap]]],
    ranked: Sequence[EffectRow],
    kinds: Sequence[str],
    terminal: Terminal,
) -> Rows:
    """The maps with the ranking beside; several kinds of one stack side by side, and the ranking beneath."""
    table = _ranking(ranked, kinds, terminal)
    alone = len(drawn) == 1 and len(drawn[0][1]) == 1
    rows: Rows = []
    for place, (stack, maps) in enumerate(drawn):
        title = [Text(stack.stack, "bold")] if len(drawn) > 1 else []
        layers = shown_layers(maps, [layer.layer for layer in stack.layers], _LAYERS if alone else _FEWER_LAYERS)
        short = replace(stack, layers=tuple(layer for layer in stack.layers if layer.layer in layers))
        note = note_row(left_out_note(len(stack.layers) - len(layers)), terminal)
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


def _ranking(rows: Sequence[EffectRow], kinds: Sequence[str], terminal: Terminal) -> Table:
    """A row a head: its effects, and what it reads from the position."""
    names = max(len(row.name) for row in rows)
    columns: list[tuple[str, JustifyMethod, Sequence[Part]]] = [
        ("head", "right", [f"{row.name:>{names}}" for row in rows])
    ]
    for place, kind in enumerate(kinds):
        largest = max((abs(row.values[place] or 0.0) for row in rows), default=0.0)
        cells = [(effect_number(row.values[place], largest) or glyphs(terminal).dot, "bold") for row in rows]
        columns.append((kind, "right", cells))
    reads = ["" if row.reads is None else _short(row.reads, _READ_CELLS, terminal) for row in rows]
    weights = ["" if row.weight is None else f"{row.weight:.2f}" for row in rows]
    labels = [(ascii_safe(row.label or "", terminal), "dim") for row in rows]
    columns += [("reads", "left", reads), ("", "right", weights)]
    if any(row.label for row in rows):
        columns.append(("label", "left", labels))
    return column_table(columns)
