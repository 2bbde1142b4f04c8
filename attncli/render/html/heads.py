"""The result of `attn heads` as an HTML page: all heads in a grid, and pattern, text and metrics of a chosen one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from math import isnan
from typing import Any

import numpy as np

from attncli.render.common.colormap import VIRIDIS_HEX
from attncli.render.common.escape import printable, visible
from attncli.render.common.numbers import two_digits
from attncli.render.html.effects import (
    effect_meaning,
    effect_sentences,
    effect_standouts,
    first_effect,
    shown_effects,
    with_effects,
)
from attncli.render.html.page import pack, pack_pixels, page, rounded_metric
from attncli.render.html.steps_page import steps_html
from attncli.render.html.tables import page_tables
from attncli.render.views.circuits import with_circuits
from attncli.render.views.difference import DIFFERENCE, compared_facts, difference_stacks
from attncli.render.views.header import (
    CORRECTED,
    CORRECTED_NOTE,
    SEPARATOR,
    is_cross,
    model_facts,
    pooling_facts,
    stack_facts,
)
from attncli.render.views.metric_words import label_of, meaning, ordered_labels
from attncli.render.views.overview import ordered_metrics, shown_labels, standouts
from attncli.render.views.patches import PictureMap, picture_maps
from attncli.render.views.patterns import Axis, axes_of
from attncli.render.views.reading import query_of, rank_text, ranking_view
from attncli.render.views.sentences import Position, capitalized, raw_text, shorten_plain, written
from attncli.render.views.writing import heard_sentence
from attncli.results.base import to_dict
from attncli.results.heads import HeadsResult, Stack
from attncli.results.patterns import TOKENS, Ranking, RowReading
from attncli.results.tokens import Token

#: The name of the weight that heads are ranked by, among their metrics.
_WEIGHT = "weight"
#: Heads of a ranking that are listed, and heads that the overview describes.
_MAX_RANKED_HEADS, _MAX_STANDOUTS = 10, 8
#: Characters of a token, word or line; of the first and the last token of a bin.
_MAX_TEXT_CHARACTERS, _MAX_BIN_CHARACTERS = 160, 24
#: Tokens up to which rows and columns are labelled with texts on any screen.
_MAX_NAMED_TOKENS = 24
_LEGENDS = {
    "attention": "Rows look at columns; a row sums to 1.",
    "norm": "Weights times the norm of what is read there (Kobayashi et al. 2020); rows do not sum to 1.",
    DIFFERENCE: "B minus A, weights and metrics: orange where B has more, purple where A has more.",
    "rollout": "How much of each token (columns) reaches each position (rows), heads averaged (Abnar & Zuidema 2020).",
}


def heads_html(result: HeadsResult, *, title: str | None = None) -> str:
    """The result as one HTML document that needs nothing else.

    Weights are numbers of twelve bits, exact to 1/2730 of their head's largest weight, which the page states; what it
    writes has the digits of the terminal.
    """
    if result.steps is not None:
        return steps_html(result, title=title)
    # Without a title the page has the model's name as its title.
    data = heads_data(result, name_model=title is not None)
    kinds = {stack.key_medium.kind for stack in result.stacks}
    kind = next((each for each in ("patches", "frames") if each in kinds), "heads")
    if any("maps" in stack.get("reading", ()) for stack in data["stacks"]):
        kind = "pictures"  # in a text: what draws patches, and what a position of the text reads of them
    needed = {
        "heads_reading": any("reading" in stack for stack in data["stacks"]),
        "heads_tables": "tables" in data,
        "positions": data["counted"],
        "heads_metrics": data["metric"] is None and not all(stack["blocks"] for stack in data["stacks"]),
    }
    extra_assets = [name for name, is_needed in needed.items() if is_needed]
    return page(kind, data, title=title or result.model, made_by=result.made_by, extra_assets=extra_assets)


def heads_data(result: HeadsResult, *, name_model: bool = True) -> dict[str, Any]:
    """What the page's script reads: see `assets/heads.js`. name_model: whether the facts begin with its name."""
    if result.qk_ov is not None:
        result = with_circuits(result, result.qk_ov)
    differences, tables = difference_stacks(result), page_tables(result, _spell)
    stacks = [_with_weights(stack, stack.ranking) if stack.ranking else with_effects(stack) for stack in result.stacks]
    metrics = ordered_metrics(
        sorted({name for stack in (*stacks, *differences) for head in stack.metrics for name in head.values})
    )
    labels = ordered_labels(
        label for stack in result.stacks for head in stack.metrics for label in shown_labels(head, stack)
    )
    data = [_stack_data(stack, metrics, labels, result.weighting) for stack in stacks]
    if result.receptive_field:
        data = [
            {**each, "legend": f"{each['legend']} {capitalized(CORRECTED_NOTE)}.", "corrected": CORRECTED}
            for each in data
        ]
    data += [_stack_data(stack, metrics, labels, DIFFERENCE) for stack in differences]
    return {
        "facts": _facts(result, [printable(result.model)] if name_model else []),
        "notes": [printable(text) for text in (*result.warnings, *result.notes)],
        "metric": _WEIGHT if any(stack.ranking for stack in stacks) else first_effect(result) or result.metric,
        "labels": {name: _label_data(name) for name in labels},
        "metrics": [{"name": name, "meaning": effect_meaning(name) or meaning(name, TOKENS)} for name in metrics],
        **({} if result.effects is None else {"shows": shown_effects(result.effects)}),
        "colors": VIRIDIS_HEX,
        "counted": any(map(_shows_positions, stacks)),
        "stacks": data,
        # A page of a comparison opens with the difference.
        **({"first": len(stacks)} if differences else {}),
        **({"tables": tables} if tables else {}),
        **({} if result.picture is None else {"picture": pack_pixels(result.picture.pixels)}),
        **({"pictures": [pack_pixels(each.pixels) for each in result.pictures]} if result.pictures else {}),
    }


def _facts(result: HeadsResult, model: Sequence[str]) -> list[str]:
    """How the model was run, and what A and B are if two models or texts were compared."""
    facts = [SEPARATOR.join([*model, *model_facts(result)])]
    if result.generated is not None and result.generated.words:
        facts.append(f"the model heard: {printable(heard_sentence(result.generated))}")
    if result.difference is not None:
        compared = [f"{name}: {printable(fact)}" for name, fact in compared_facts(result, result.difference)]
        facts += compared or ["B: the other text"]
    return [*facts, *effect_sentences(result, _spell)]


def _label_data(name: str) -> dict[str, object]:
    label = label_of(name)
    color = None if label.color is None else "#{:02x}{:02x}{:02x}".format(*label.color)
    return {"letter": label.letter, "target": label.target, "sentence": label.sentence, "color": color}


def _shows_positions(stack: Stack) -> bool:
    """Whether rows and columns are labelled with positions: there are many, or they are bins."""
    binned = any(pattern.bins is not None for pattern in stack.patterns)
    return binned or not stack.patterns or max(len(stack.queries), len(stack.keys)) > _MAX_NAMED_TOKENS


def _stack_data(stack: Stack, metrics: Sequence[str], labels: Sequence[str], weighting: str) -> dict[str, object]:
    shown = next(iter(stack.patterns), None)
    binned = shown is not None and shown.bins is not None
    rows, columns = (_axis_data(axis, binned=binned) for axis in axes_of(stack, shown))
    first = next(iter(stack.metrics), None)
    layers = ((layer, list(patterns)) for layer, patterns in groupby(stack.patterns, lambda one: one.layer))
    return {
        "name": stack.stack,
        "title": SEPARATOR.join(stack_facts(stack)),
        "pooling": " ".join(pooling_facts(stack, shown)) if shown else "",
        "legend": _LEGENDS.get(weighting, ""),
        "causal": stack.causal,
        "layers": [[layer.layer, layer.mixer and printable(layer.mixer)] for layer in stack.layers],
        "rows": rows,
        # Mostly both sides are equal, and one list is enough.
        "columns": None if not is_cross(stack) and rows == columns else columns,
        # The part before `layer.head` in the names of this stack's heads.
        "prefix": "" if first is None else first.name.removesuffix(f"{first.layer}.{first.head}"),
        "heads": list(_head_rows(stack, metrics, labels, weighting)),
        "uniform": {layer: _rounded_metrics(values, metrics) for layer, values in stack.baselines.items()},
        "standouts": _standout_rows(stack, weighting),
        **_position_data(stack, weighting),
        "blocks": [
            {"layer": layer, "heads": [each.head for each in patterns]}
            | pack(np.stack([each.weights for each in patterns]))
            for layer, patterns in layers
        ],
        **_medium_data(stack, metrics, binned=binned),
    }


def _axis_data(axis: Axis, *, binned: bool) -> dict[str, object]:
    """The labels of rows or columns: texts, indices of special tokens, and positions.

    With lines, positions are line numbers, and `lines` has None for a row or column that is no line.
    """
    numbers, tokens = axis.numbers, axis.tokens
    places = [[numbers[a], numbers[b - 1] + 1] for a, b in axis.spans]
    if binned:
        texts = [_bin_text(tokens[a], tokens[b - 1], axis) for a, b in axis.spans]
        return {"texts": texts, "special": [], "places": places, "unit": "token" if axis.lines is None else "line"}
    return {
        "texts": [_token_text(token, axis.unit) for token in tokens],
        "special": [place for place, token in enumerate(tokens) if token.special],
        "places": None if numbers == list(range(len(tokens))) else places,
        **({} if axis.lines is None else {"lines": list(axis.lines)}),
    }


def _bin_text(first: Token, last: Token, axis: Axis) -> str:
    seconds = axis.medium.time_range(first.index, last.index)
    ends = (visible(shorten_plain(raw_text(token), _MAX_BIN_CHARACTERS)) for token in (first, last))
    return seconds or " … ".join(ends)


def _token_text(token: Token, unit: str) -> str:
    """A token with visible spaces; a word or a line as plain text."""
    if unit == "token":
        return visible(shorten_plain(raw_text(token), _MAX_TEXT_CHARACTERS))
    return shorten_plain(Position(token).text, _MAX_TEXT_CHARACTERS)


def _medium_data(stack: Stack, metrics: Sequence[str], *, binned: bool) -> dict[str, object]:
    """For a picture or a sound: its kind, the meanings of metrics for it, and the patches of columns and rows."""
    medium, grid = stack.key_medium, stack.query_medium.grid
    if medium.kind == "tokens":
        return {}
    data: dict[str, object] = {"kind": medium.kind, "meanings": {name: meaning(name, medium) for name in metrics}}
    if medium.grid is not None and stack.patterns and not binned:
        data["patches"] = {"keys": to_dict(medium.grid), "queries": None if grid is None else to_dict(grid)}
    return data


def _head_rows(
    stack: Stack, metrics: Sequence[str], labels: Sequence[str], weighting: str
) -> Iterator[Sequence[object]]:
    """For each head a list: layer, head, values, indices of labels, and half widths of intervals if there are any."""
    if weighting == "rollout":
        yield from ([pattern.layer, None] for pattern in stack.patterns)
        return
    for head in stack.metrics:
        values, marks = (
            _rounded_metrics(head.values, metrics),
            [labels.index(name) for name in shown_labels(head, stack)],
        )
        ends = [] if head.spread is None else [head.interval(name) for name in metrics]
        halves = [None if one is None else rounded_metric((one[1] - one[0]) / 2) for one in ends]
        yield [head.layer, head.head, values, marks, *([] if head.spread is None else [halves])]


def _rounded_metrics(values: Mapping[str, float | None], metrics: Sequence[str]) -> list[float | None]:
    return [rounded_metric(values.get(name)) for name in metrics]


# --- Heads that are listed, and what one position reads


def _listed_head(
    name: str, sentence: str, label: str | None, metric: str, value: float | None, uniform: float | None
) -> dict[str, object]:
    return {
        "head": name,
        "sentence": sentence,
        "label": label,
        "metric": metric,
        "value": rounded_metric(value),
        "uniform": rounded_metric(uniform),
    }


def _standout_rows(stack: Stack, weighting: str) -> list[dict[str, object]]:
    """The heads that stand out, or those with the largest of the weights that heads are ranked by."""
    if stack.effects:
        return effect_standouts(stack, [*stack.effects[0].values], _spell, _MAX_RANKED_HEADS)
    if stack.ranking is None:
        return [
            _listed_head(one.head.name, written(one.sentence, _spell), one.label, one.metric, one.value, one.uniform)
            for one in (() if weighting in ("rollout", DIFFERENCE) else standouts(stack, _MAX_STANDOUTS))
        ]
    rows = []
    for head in stack.ranking.heads[:_MAX_RANKED_HEADS]:
        sentence = rank_text(head) if head.rank is None else f"place {rank_text(head)} in its row"
        rows.append(_listed_head(head.name, sentence, None, _WEIGHT, head.weight, head.uniform))
    return rows


def _spell(content: Token | Position) -> str:
    """A token with visible spaces, or a position with its plain text."""
    if isinstance(content, Position):
        return f"{content.text} ({content.place})"
    return visible(raw_text(content))


def _with_weights(stack: Stack, ranking: Ranking) -> Stack:
    """The stack with the weight that heads are ranked by among their metrics."""
    weights = {(head.layer, head.head): head for head in ranking.heads}
    heads = (
        replace(head, values={**head.values, _WEIGHT: weights[head.layer, head.head].weight}) for head in stack.metrics
    )
    uniform = {head.layer: head.uniform for head in ranking.heads}
    baselines = {layer: {**values, _WEIGHT: uniform.get(layer)} for layer, values in stack.baselines.items()}
    return replace(stack, metrics=tuple(heads), baselines=baselines)


def _position_data(stack: Stack, weighting: str) -> dict[str, object]:
    """What a position reads, for the page's script; empty if none was requested."""
    if stack.ranking is not None:
        norms = " × norm of what is read" if weighting == "norm" else ""
        sentence = written(ranking_view(stack, stack.ranking).sentence, _spell)
        reading = {"said": f"{capitalized(sentence)}, by each head"}
        return {
            "reading": reading, "said": "Heads by this weight", "meanings": {_WEIGHT: f"weight{norms}: {sentence}"}
        }  # fmt: skip
    if stack.effects:
        return {"said": "Heads with the largest effects"}
    if stack.reading is None:
        return {}
    maps = picture_maps(stack, stack.reading.weights.tolist())
    drawn = [_map_data(each) for each in maps]
    return {"reading": _row_data(stack, stack.reading, weighting) | ({"maps": drawn} if drawn else {})}


def _map_data(shown: PictureMap) -> dict[str, object]:
    """A map over a picture: its weights row by row, None where it has no token."""
    values = [None if isnan(weight) else weight for weight in shown.patches.weights.ravel().tolist()]
    title = f"{capitalized(shown.title)}: {two_digits(shown.share)} of the weight"
    return {"picture": shown.picture, "said": title, "columns": shown.grid.columns, "weights": values}


def _row_data(stack: Stack, reading: RowReading, weighting: str) -> dict[str, object]:
    many = f"mean of {reading.heads:,} heads" if reading.heads > 1 else f"head {stack.metrics[0].name}"
    norms = ", weight × norm of what is read (Kobayashi et al. 2020)" if weighting == "norm" else ""
    top = []
    for key in reading.top:
        # The key's position, weight, weight under uniform attention, and the head that reads it most.
        number = stack.keys[key.place].index if reading.lines is None else reading.lines[key.place]
        top.append([number, key.place, key.weight, key.uniform, key.head, key.head_weight])
    return {
        "said": f"Where {_spell(query_of(reading))} looks: {many}{norms}",
        "own": list(reading.own),
        "unseen": [place for place, seen in enumerate(reading.visible.tolist()) if not seen],
        "top": top,
        "block": {"heads": [0], **pack(reading.weights[None, None])},
    }
