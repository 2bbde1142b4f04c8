"""The result of `attn heads` as an HTML page: all heads in a grid, and pattern, text and metrics of a chosen one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import cast

import numpy as np

from attncli.choices import METRICS
from attncli.render.common.colormap import VIRIDIS_HEX
from attncli.render.common.escape import printable, visible
from attncli.render.heads.difference_view import DIFFERENCE, difference_stacks
from attncli.render.heads.header import is_cross, model_lines, pooling_lines, stack_lines
from attncli.render.heads.metric_words import MEANINGS, label_of, meaning, ordered_labels
from attncli.render.heads.ranking import Standout, standouts
from attncli.render.heads.shaded_text import line_numbers, plain_text, position_label, text_excerpt
from attncli.render.html.page import PAGE, SEPARATOR, joined_text, pack, pack_pixels, page, rounded_metric
from attncli.results.base import to_dict
from attncli.results.heads import HeadMetrics, HeadsResult, Stack
from attncli.results.patterns import KeyRead, Medium, Pattern, Ranking, RowReading, Span
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
        facts = joined_text(model_lines(result, PAGE)).removeprefix(f"{printable(result.model)}{SEPARATOR}")
        data["facts"] = [facts, *_compared_facts(result)]
    kinds = {stack.key_medium.kind for stack in result.stacks}
    kind = next((each for each in ("patches", "frames") if each in kinds), "heads")
    return page(
        kind, data, title=title or result.model, made_by=result.made_by, extra_assets=tuple(_extra_assets(data))
    )


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
    names = {name for stack in (*stacks, *differences) for head in stack.metrics for name in head.values}
    metrics = [*(name for name in METRICS if name in names), *sorted(names - set(METRICS))]
    labels = _label_names(result)
    data = [_stack_data(stack, metrics, labels, result.weighting) for stack in stacks]
    data += [_stack_data(stack, metrics, labels, DIFFERENCE) for stack in differences]
    return {
        "facts": [joined_text(model_lines(result, PAGE)), *_compared_facts(result)],
        "notes": [printable(text) for text in (*result.warnings, *result.notes)],
        "metric": WEIGHT if any(stack.ranking for stack in stacks) else result.metric,
        "labels": {name: _label_data(name) for name in labels},
        "metrics": [{"name": name, "meaning": MEANINGS.get(name, "")} for name in metrics],
        "colors": VIRIDIS_HEX,
        "counted": any(map(_shows_positions, stacks)),
        "stacks": data,
        # A page of a comparison opens with the difference.
        **({"first": len(stacks)} if differences else {}),
        **({} if result.picture is None else {"picture": pack_pixels(result.picture.pixels)}),
    }


def _compared_facts(result: HeadsResult) -> list[str]:
    """What A and B are, if two models or texts were compared."""
    if result.difference is None:
        return []
    if result.difference.kind == "models":
        return [f"A: {printable(result.model)}", f"B: {printable(result.difference.model)}"]
    here, there = result.stacks[0].keys, result.difference.stacks[0].keys
    return [f"A: {text_excerpt(here)}", f"B: {text_excerpt(there)}"] if here and there else ["B: the other text"]


def _label_names(result: HeadsResult) -> list[str]:
    return ordered_labels(label for stack in result.stacks for head in stack.metrics for label in head.labels)


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
    bins = shown.bins if shown else None
    rows = _axis_data(stack, stack.queries, stack.query_medium, stack.query_lines, bins.rows if bins else None)
    columns = _axis_data(stack, stack.keys, stack.key_medium, stack.key_lines, bins.columns if bins else None)
    found = () if weighting in ("rollout", DIFFERENCE) or stack.ranking else standouts(stack, _MAX_STANDOUTS, PAGE)
    return {
        "name": stack.stack,
        "title": joined_text(stack_lines(stack, PAGE)),
        "pooling": joined_text(pooling_lines(stack, shown, PAGE)) if shown else "",
        "legend": _LEGENDS.get(weighting, ""),
        "causal": stack.causal,
        "layers": [[layer.layer, layer.mixer and printable(layer.mixer)] for layer in stack.layers],
        "rows": rows,
        # Mostly both sides are equal, and one list is enough.
        "columns": None if not is_cross(stack) and rows == columns else columns,
        "prefix": _prefix(stack),
        "heads": list(_head_rows(stack, metrics, labels, weighting)),
        "uniform": {layer: _metric_values(values, metrics) for layer, values in stack.baselines.items()},
        "standouts": [_standout_data(one, stack) for one in found],
        **position_data(stack, weighting),
        "blocks": [
            _block_data(layer, list(patterns)) for layer, patterns in groupby(stack.patterns, lambda one: one.layer)
        ],
        **_medium_data(stack, metrics),
        **({} if shown is None or shown.bins is not None else _patch_data(stack)),
    }


def _axis_data(
    stack: Stack,
    tokens: Sequence[Token],
    medium: Medium,
    lines: Sequence[int | None] | None,
    spans: Sequence[Span] | None,
) -> dict[str, object]:
    """The labels of rows or columns: texts, indices of special tokens, and positions.

    With lines, positions are line numbers, and `lines` has None for a row or column that is no line.
    """
    numbers = [token.index for token in tokens] if lines is None else line_numbers(lines)
    if spans is not None:
        texts = [_bin_text(tokens[a], tokens[b - 1], medium) for a, b in spans]
        places = [[numbers[a], numbers[b - 1] + 1] for a, b in spans]
        return {"texts": texts, "special": [], "places": places, "unit": "token" if lines is None else "line"}
    ranges = [[number, number + 1] for number in numbers]
    return {
        "texts": [_token_text(token, stack.unit) for token in tokens],
        "special": [place for place, token in enumerate(tokens) if token.special],
        "places": None if numbers == list(range(len(tokens))) else ranges,
        **({} if lines is None else {"lines": list(lines)}),
    }


def _bin_text(first: Token, last: Token, medium: Medium) -> str:
    seconds = medium.time_range(first.index, last.index)
    texts = [
        visible(_shorten(token.text or token.token or str(token.id), _MAX_BIN_CHARACTERS)) for token in (first, last)
    ]
    return seconds or " … ".join(texts)


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


def _token_text(token: Token, unit: str) -> str:
    """A token with visible spaces; a word or a line as plain text."""
    if unit == "token":
        return visible(_shorten(token.text or token.token or str(token.id), _MAX_TEXT_CHARACTERS))
    return _shorten(" ".join(plain_text(token).split()), _MAX_TEXT_CHARACTERS)


def _shorten(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _prefix(stack: Stack) -> str:
    """The part before `layer.head` in the names of this stack's heads."""
    first = next(iter(stack.metrics), None)
    return "" if first is None else first.name.removesuffix(f"{first.layer}.{first.head}")


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


def _standout_data(found: Standout, stack: Stack) -> dict[str, object]:
    uniform = stack.baselines.get(found.head.layer, {}).get(found.metric)
    return {
        "head": found.head.name,
        "sentence": found.sentence,
        "label": found.label,
        "metric": found.metric,
        "value": rounded_metric(found.value),
        "uniform": rounded_metric(uniform),
    }


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
        return _ranking_data(stack.ranking, weighting)
    return {} if stack.reading is None else {"reading": _row_data(stack, stack.reading, weighting)}


def _ranking_data(ranking: Ranking, weighting: str) -> dict[str, object]:
    norms = " × norm of what is read" if weighting == "norm" else ""
    sentence = f"how much {_query_text(ranking)} looks at {_position_text(ranking.key, count=ranking.key_tokens)}"
    rows = [
        {
            "head": head.name,
            "sentence": "not seen" if head.rank is None else f"place {head.rank:,} of {head.keys:,} in its row",
            "label": None,
            "metric": WEIGHT,
            "value": rounded_metric(head.weight),
            "uniform": rounded_metric(head.uniform),
        }
        for head in ranking.heads[:_MAX_RANKED_HEADS]
    ]
    meanings = {WEIGHT: f"weight{norms}: {sentence}"}
    reading = {"said": f"{sentence[0].upper()}{sentence[1:]}, by each head"}
    return {"reading": reading, "standouts": rows, "said": "Heads by this weight", "meanings": meanings}


def _row_data(stack: Stack, reading: RowReading, weighting: str) -> dict[str, object]:
    many = f"mean of {reading.heads:,} heads" if reading.heads > 1 else f"head {stack.metrics[0].name}"
    norms = ", weight × norm of what is read (Kobayashi et al. 2020)" if weighting == "norm" else ""
    packed = pack(reading.weights[None, None])
    return {
        "said": f"Where {_query_text(reading)} looks: {many}{norms}",
        "own": list(reading.own),
        "unseen": [place for place, seen in enumerate(reading.visible.tolist()) if not seen],
        "top": [_key_data(stack, key, reading) for key in reading.top],
        "block": {"heads": [0], **packed.to_dict()},
    }


def _key_data(stack: Stack, key: KeyRead, reading: RowReading) -> list[object]:
    """The key's position, weight, weight under uniform attention, and the head that reads it most with its weight."""
    line = None if reading.lines is None else reading.lines[key.place]
    number = stack.keys[key.place].index if reading.lines is None else line
    return [number, key.place, key.weight, key.uniform, key.head, key.head_weight]


def _query_text(reading: RowReading | Ranking) -> str:
    return _position_text(reading.query, reading.query_line, reading.query_tokens)


def _position_text(token: Token, line: int | None = None, count: int = 1) -> str:
    text = " ".join(plain_text(token).split())
    return f"{text} ({position_label(token.index, count, line)})"
