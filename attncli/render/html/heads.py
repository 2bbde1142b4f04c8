"""The result of `attn heads` as an HTML page: all heads in a grid, and pattern, text and metrics of a chosen one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import cast

import numpy as np

from attncli.render.common.colormap import VIRIDIS_HEX
from attncli.render.common.escape import printable, token_text, visible
from attncli.render.common.terminal import Terminal
from attncli.render.html.page import pack, pack_pixels, page, rounded_metric
from attncli.render.views.difference import DIFFERENCE, compared_facts, difference_stacks
from attncli.render.views.header import SEPARATOR, is_cross, model_facts, pooling_facts, stack_facts
from attncli.render.views.metric_words import label_of, meaning, ordered_labels
from attncli.render.views.overview import Standout, ordered_metrics, standouts
from attncli.render.views.patterns import Axis, axes_of
from attncli.render.views.reading import query_of, rank_text, ranking_view
from attncli.render.views.sentences import Position, Sentence, capitalized, shorten_plain, written
from attncli.results.base import to_dict
from attncli.results.heads import HeadMetrics, HeadsResult, Stack
from attncli.results.patterns import TOKENS, Pattern, Ranking, RowReading
from attncli.results.tokens import Token

#: The name of the weight that heads are ranked by, among their metrics.
WEIGHT = "weight"
#: Heads of a ranking that are listed.
_MAX_RANKED_HEADS = 10
#: Heads that the overview describes.
_MAX_STANDOUTS = 8
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
    data = heads_data(result)
    if title is None:
        # The title already has the model's name.
        data["facts"] = _facts(result)
    kinds = {stack.key_medium.kind for stack in result.stacks}
    kind = next((each for each in ("patches", "frames") if each in kinds), "heads")
    assets = tuple(_extra_assets(data))
    return page(kind, data, title=title or result.model, made_by=result.made_by, extra_assets=assets)


def _extra_assets(data: Mapping[str, object]) -> Iterator[str]:
    """The assets that only some pages need."""
    stacks = cast("list[dict[str, object]]", data["stacks"])
    if any("reading" in stack for stack in stacks):
        yield "heads_reading"
    if data["counted"]:
        yield "positions"
    if data["metric"] is None and not all(stack["blocks"] for stack in stacks):
        yield "heads_metrics"


def heads_data(result: HeadsResult) -> dict[str, object]:
    """What the page's script reads: see `assets/heads.js`."""
    differences = difference_stacks(result)
    stacks = [with_weights(stack) for stack in result.stacks]
    metrics = ordered_metrics(
        sorted({name for stack in (*stacks, *differences) for head in stack.metrics for name in head.values})
    )
    labels = ordered_labels(label for stack in result.stacks for head in stack.metrics for label in head.labels)
    data = [_stack_data(stack, metrics, labels, result.weighting) for stack in stacks]
    data += [_stack_data(stack, metrics, labels, DIFFERENCE) for stack in differences]
    return {
        "facts": _facts(result, printable(result.model)),
        "notes": [printable(text) for text in (*result.warnings, *result.notes)],
        "metric": WEIGHT if any(stack.ranking for stack in stacks) else result.metric,
        "labels": {name: _label_data(name) for name in labels},
        "metrics": [{"name": name, "meaning": meaning(name, TOKENS)} for name in metrics],
        "colors": VIRIDIS_HEX,
        "counted": any(map(_shows_positions, stacks)),
        "stacks": data,
        # A page of a comparison opens with the difference.
        **({"first": len(stacks)} if differences else {}),
        **({} if result.picture is None else {"picture": pack_pixels(result.picture.pixels)}),
    }


def _facts(result: HeadsResult, *model: str) -> list[str]:
    """How the model was run, and what A and B are if two models or texts were compared."""
    facts = [SEPARATOR.join([*model, *model_facts(result)])]
    if result.difference is None:
        return facts
    compared = [f"{name}: {printable(fact)}" for name, fact in compared_facts(result, result.difference)]
    return [*facts, *(compared or ["B: the other text"])]


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
    found = () if weighting in ("rollout", DIFFERENCE) or stack.ranking else standouts(stack, _MAX_STANDOUTS)
    first = next(iter(stack.metrics), None)
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
        "uniform": {layer: _metric_values(values, metrics) for layer, values in stack.baselines.items()},
        "standouts": [_standout_data(one) for one in found],
        **position_data(stack, weighting),
        "blocks": [
            _block_data(layer, list(patterns)) for layer, patterns in groupby(stack.patterns, lambda one: one.layer)
        ],
        **_medium_data(stack, metrics),
        **({} if shown is None or binned else _patch_data(stack)),
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
    raw = (token.text or token.token or str(token.id) for token in (first, last))
    return seconds or " … ".join(visible(shorten_plain(text, _MAX_BIN_CHARACTERS)) for text in raw)


def _token_text(token: Token, unit: str) -> str:
    """A token with visible spaces; a word or a line as plain text."""
    if unit == "token":
        return visible(shorten_plain(token.text or token.token or str(token.id), _MAX_TEXT_CHARACTERS))
    return shorten_plain(Position(token).text, _MAX_TEXT_CHARACTERS)


def _medium_data(stack: Stack, metrics: Sequence[str]) -> dict[str, object]:
    """For a picture or a sound: its kind, and the meanings of metrics for it."""
    medium = stack.key_medium
    if medium.kind == "tokens":
        return {}
    return {"kind": medium.kind, "meanings": {name: meaning(name, medium) for name in metrics}}


def _patch_data(stack: Stack) -> dict[str, object]:
    """The patches of columns in the picture, and of rows if they are patches too; empty if columns are none."""
    keys, queries = stack.key_medium.grid, stack.query_medium.grid
    if keys is None:
        return {}
    return {"patches": {"keys": to_dict(keys), "queries": None if queries is None else to_dict(queries)}}


def _head_rows(
    stack: Stack, metrics: Sequence[str], labels: Sequence[str], weighting: str
) -> Iterator[Sequence[object]]:
    """For each head a list: layer, head, values, indices of labels, and half widths of intervals if there are any."""
    if weighting == "rollout":
        yield from ([pattern.layer, None] for pattern in stack.patterns)
        return
    for head in stack.metrics:
        half_intervals = [] if head.spread is None else [[_half_interval(head, name) for name in metrics]]
        yield [
            head.layer,
            head.head,
            _metric_values(head.values, metrics),
            [labels.index(name) for name in head.labels],
            *half_intervals,
        ]


def _metric_values(values: Mapping[str, float | None], metrics: Sequence[str]) -> list[float | None]:
    return [rounded_metric(values.get(name)) for name in metrics]


def _half_interval(head: HeadMetrics, metric: str) -> float | None:
    """Half the width of the interval around a mean."""
    ends = head.interval(metric)
    return None if ends is None else rounded_metric((ends[1] - ends[0]) / 2)


def _standout_data(found: Standout) -> dict[str, object]:
    return {
        "head": found.head.name,
        "sentence": _spelled(found.sentence),
        "label": found.label,
        "metric": found.metric,
        "value": rounded_metric(found.value),
        "uniform": rounded_metric(found.uniform),
    }


def _spelled(sentence: Sentence) -> str:
    return written(sentence, _spell)


def _spell(content: Token | Position) -> str:
    """A token with visible spaces, or a position with its plain text."""
    if isinstance(content, Position):
        return f"{content.text} ({content.place})"
    return token_text(content, Terminal())


def _block_data(layer: int, patterns: Sequence[Pattern]) -> dict[str, object]:
    """The patterns of all heads of a layer, packed together."""
    packed = pack(np.stack([pattern.weights for pattern in patterns]))
    return {"layer": layer, "heads": [pattern.head for pattern in patterns], **packed.to_dict()}


# --- What one position reads


def with_weights(stack: Stack) -> Stack:
    """If heads are ranked by one weight, the stack with that weight among their metrics; else the stack itself."""
    if stack.ranking is None:
        return stack
    weights = {(head.layer, head.head): head for head in stack.ranking.heads}
    heads = (
        replace(head, values={**head.values, WEIGHT: weights[head.layer, head.head].weight}) for head in stack.metrics
    )
    even = {head.layer: head.uniform for head in stack.ranking.heads}
    baselines = {layer: {**values, WEIGHT: even.get(layer)} for layer, values in stack.baselines.items()}
    return replace(stack, metrics=tuple(heads), baselines=baselines)


def position_data(stack: Stack, weighting: str) -> dict[str, object]:
    """What a position reads, for the page's script; empty if none was requested."""
    if stack.ranking is not None:
        return _ranking_data(stack, stack.ranking, weighting)
    return {} if stack.reading is None else {"reading": _row_data(stack, stack.reading, weighting)}


def _ranking_data(stack: Stack, ranking: Ranking, weighting: str) -> dict[str, object]:
    norms = " × norm of what is read" if weighting == "norm" else ""
    sentence = _spelled(ranking_view(stack, ranking).sentence)
    rows = [
        {
            "head": head.name,
            "sentence": rank_text(head) if head.rank is None else f"place {rank_text(head)} in its row",
            "label": None,
            "metric": WEIGHT,
            "value": rounded_metric(head.weight),
            "uniform": rounded_metric(head.uniform),
        }
        for head in ranking.heads[:_MAX_RANKED_HEADS]
    ]
    meanings = {WEIGHT: f"weight{norms}: {sentence}"}
    reading = {"said": f"{capitalized(sentence)}, by each head"}
    return {"reading": reading, "standouts": rows, "said": "Heads by this weight", "meanings": meanings}


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
        "block": {"heads": [0], **pack(reading.weights[None, None]).to_dict()},
    }
