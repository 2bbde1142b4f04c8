"""What one position reads, out of a result: bars and a strip of the text, or the map of one weight by every head."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from attncli.render.figures.fonts import drawable
from attncli.render.figures.head_maps import HeadMap, HeadMaps
from attncli.render.figures.head_reading import Bar, Bars, Strip
from attncli.render.figures.naming import head_title, key_side, label_text, place_text
from attncli.render.figures.patches import mean_map
from attncli.render.figures.sheet import Caption, Part
from attncli.render.heads.heatmap import pooled_evenly, spans_of
from attncli.render.heads.numbers import weight_number
from attncli.results.heads import HeadsResult, Stack
from attncli.results.patterns import KeyRead, Pattern, Ranking, Reading

#: Cells that a strip of a long text has.
_MOST_CELLS = 160
_NORMS = "weight × norm of what is read (Kobayashi et al. 2020)"

UNIFORM = "black line across a bar: what attention spread evenly over all that it may see would give"


def position_parts(result: HeadsResult, stack: Stack, form: str) -> list[Part]:
    """What one position reads in one stack: of all keys, or of one by every head."""
    if stack.ranking is not None:
        return [_ranking_maps(result, stack, stack.ranking, form)]
    assert stack.reading is not None
    if (mean := mean_map(result, stack, stack.reading, form)) is not None:
        return [Caption(mean.maps.about), mean]
    return _reading_parts(result, stack, stack.reading, form)


def _reading_parts(result: HeadsResult, stack: Stack, reading: Reading, form: str) -> list[Part]:
    """The keys that a position reads most, and all of them in their places."""
    legend = _NORMS if result.weighting == "norm" else "attention weight"
    many = f", mean of {reading.heads:,} heads" if reading.heads > 1 else ""
    bars = [_bar(stack, reading, key, form) for key in reading.top]
    parts: list[Part] = [Caption(_looks(stack, reading, form))]
    if bars:
        parts.append(Bars(bars, f"{legend}{many}"))
    if len(stack.keys) > 1:
        parts.append(_strip(stack, reading, form, f"{legend}{many}"))
    return parts


def _looks(stack: Stack, reading: Reading, form: str) -> str:
    """`Where it (token 8) looks: the mean of 72 heads`."""
    who = place_text(reading.query, form, reading.query_line, reading.query_tokens)
    if reading.heads > 1:
        return f"where {who} looks: the mean of {reading.heads:,} heads"
    head = stack.metrics[0]
    only = Pattern(head.layer, head.head, np.zeros((1, 1), dtype=np.float32))
    return f"where {who} looks in {head_title(stack, only)}"


def _bar(stack: Stack, reading: Reading, key: KeyRead, form: str) -> Bar:
    token = stack.keys[key.place]
    line = None if reading.lines is None else reading.lines[key.place]
    text = label_text(token, stack.unit, form, line)
    name = text if stack.unit == "line" or stack.key_medium.kind != "tokens" else f"{token.index:,}  {text}"
    return Bar(name, key.weight, key.uniform, f"{key.head}  {weight_number(key.head_weight)}" * (reading.heads > 1))


def _strip(stack: Stack, reading: Reading, form: str, legend: str) -> Strip:
    """All keys as cells, several in each where there are many; blank where the position sees none."""
    whole = Pattern(0, None, reading.weights[None])
    pooled = pooled_evenly(whole, 1, _MOST_CELLS)
    spans = spans_of(pooled).columns
    seen = np.array([[reading.visible[start:end].any() for start, end in spans]])
    values = np.where(seen, pooled.weights.astype(np.float64), np.nan)
    own = next((at for at, (_, end) in enumerate(spans) if reading.own and reading.own[0] < end), None)
    side = key_side(stack, pooled, form)
    return Strip(_strip_title(stack, len(spans)), values, side, own, drawable("looks from here", form), legend)


def _strip_title(stack: Stack, cells: int) -> str:
    unit, whole = (stack.unit, "text") if stack.key_medium.kind == "tokens" else ("frame", "sound")
    if cells == len(stack.keys):
        return f"the whole {whole}, a cell for each {unit}"
    return f"the whole {whole}: {len(stack.keys):,} {unit}s in {cells} cells, each the sum of its {unit}s"


def _ranking_maps(result: HeadsResult, stack: Stack, ranking: Ranking, form: str) -> HeadMaps:
    """One weight by every head."""
    norms = " × norm of what is read" if result.weighting == "norm" else ""
    query = place_text(ranking.query, form, count=ranking.query_tokens)
    key = place_text(ranking.key, form, count=ranking.key_tokens)
    title = f"how much {query} looks at {key}: weight{norms} of each head"
    values = {(head.layer, head.head): head.weight for head in ranking.heads}
    return HeadMaps([HeadMap.of(title, values, _ranking_notes(stack, ranking, query, key))])


def _ranking_notes(stack: Stack, ranking: Ranking, query: str, key: str) -> Sequence[str]:
    first = ranking.heads[0]
    if all(head.rank is None for head in ranking.heads):
        later = stack.causal and ranking.key.index > ranking.query.index
        why = "comes later, and each token sees earlier ones alone" if later else "is hidden by the model's mask"
        return [f"{key} {why}: no head looks there from {query}"]
    place = "" if first.rank is None else f", place {first.rank:,} of {first.keys:,} in its row"
    most = f"largest: head {first.name} with {_short(first.weight)}{place}"
    even = [head.uniform for head in ranking.heads if head.uniform is not None]
    return [most, f"uniform: {span_text(even)} with attention spread evenly"] if even else [most]


def span_text(values: Iterable[float]) -> str:
    """A number, or from the smallest to the largest of several."""
    found = list(dict.fromkeys(map(_short, sorted(values))))
    return found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}"


def _short(value: float) -> str:
    """Three digits behind the point, or two that count where it is small."""
    return weight_number(value) if value >= 0.01 or not value else f"{value:.2g}"
