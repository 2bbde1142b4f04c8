"""Rankings of heads, and the sentences below them.

Below a map of heads: those that stand out by a metric, each with a sentence (`standouts` picks them, `sentence_lines`
lays them out; sentences of labels are in `attncli.metrics`). With one query and one key (`--query`, `--key`): all
heads by that weight (`ranking_lines`), which `_unlisted_heads_line` and `_hidden_key_lines` end or replace with a
sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from attncli.metrics import METRICS
from attncli.render.common.cells import bar, bar_scale, glyphs, shorten
from attncli.render.common.escape import direction_end, unit_text
from attncli.render.common.lines import BOLD, DIM, Line, StyledSpan, beside_or_below, flow, joined, padded, split_words
from attncli.render.common.numbers import decimals_for, two_digits, weight_number
from attncli.render.common.terminal import Terminal
from attncli.render.heads.head_map import head_map
from attncli.render.heads.header import LONGEST_POSITION, has_single_key, position_words, stack_lines
from attncli.render.heads.heatmap import HeatScale
from attncli.render.heads.metric_words import label_of, label_sentence, metric_and_uniform, ordered_labels
from attncli.results.heads import HeadMetrics, Stack
from attncli.results.patterns import HeadWeight, Ranking

# For heads without a label: the metric, whether its smallest or largest value counts, and the sentence.
_EXTREMES: tuple[tuple[str, Callable[..., HeadMetrics], str], ...] = tuple(
    (name, choose, sentence)
    for name, metric in METRICS.items()
    for choose, sentence in ((min, metric.smallest), (max, metric.largest))
    if sentence
)

_MOST_PER_LABEL = 2
# A metric tells of a head from so many times uniform attention's value on.
_LEAST_LIFT = 1.5
# An extreme is told of a head where it differs from uniform attention by at least this share of its value.
_LEAST_DIFFERENCE = 0.1


@dataclass(frozen=True, slots=True)
class Standout:
    """A head, the metric by which it stands out, the sentence about it, and its label if that is the reason."""

    head: HeadMetrics
    metric: str
    sentence: str
    label: str | None = None

    @property
    def value(self) -> float | None:
        return self.head.values.get(self.metric)


def standouts(stack: Stack, limit: int, terminal: Terminal, *, always: str | None = None) -> tuple[Standout, ...]:
    """At most `limit` heads: the strongest two of each label in turn, then the extremes if there is room.

    always: a label of which the strongest head is listed even if no head has enough of it.
    """
    if has_single_key(stack):
        return ()
    unlabelled = [] if always is None else _strongest_unlabelled(stack, always)
    labelled = [*_labelled(stack, limit - len(unlabelled), terminal), *unlabelled]
    taken = {standout.head.name for standout in labelled}
    # With few heads, the extremes would only list all of them.
    room = min(limit - len(labelled), len(stack.metrics) // 2)
    return (*labelled, *_extremes(stack, taken)[: max(room, 0)])


def _labelled(stack: Stack, limit: int, terminal: Terminal) -> list[Standout]:
    names = ordered_labels(head.labels[0] for head in stack.metrics if head.labels)
    chosen: dict[str, Standout] = {}
    for standout in _round_robin([_strongest(stack, name, terminal) for name in names]):
        if len(chosen) == limit:
            break
        chosen.setdefault(standout.head.name, standout)
    return sorted(chosen.values(), key=lambda standout: names.index(standout.label or ""))


def _strongest(stack: Stack, label: str, terminal: Terminal) -> list[Standout]:
    """The heads whose first label this is, the largest value first."""
    heads = [head for head in stack.metrics if head.labels[:1] == (label,) and head.values.get(label) is not None]
    heads.sort(key=lambda head: -(head.values[label] or 0.0))
    return [
        Standout(head, label, label_sentence(head, label, stack, terminal), label) for head in heads[:_MOST_PER_LABEL]
    ]


def _strongest_unlabelled(stack: Stack, label: str) -> list[Standout]:
    """The head with the largest value of the label's metric, if that was measured and no head has the label."""
    heads = [head for head in stack.metrics if head.values.get(label) is not None]
    if not heads or any(label in head.labels for head in stack.metrics):
        return []
    strongest = max(heads, key=lambda head: head.values[label] or 0.0)
    even = stack.baselines.get(strongest.layer, {}).get(label) or 0.0
    tells = (strongest.values[label] or 0.0) > _LEAST_LIFT * even
    sentence = f"strongest {label}, no label" if tells else f"no head does {label}: the largest"
    return [Standout(strongest, label, sentence)]


def _round_robin(queues: Sequence[Sequence[Standout]]) -> Iterator[Standout]:
    for rank in range(max(map(len, queues), default=0)):
        yield from (queue[rank] for queue in queues if rank < len(queue))


def _extremes(stack: Stack, taken: set[str]) -> list[Standout]:
    found: dict[str, Standout] = {}
    for metric, choose, sentence in _EXTREMES:
        heads = [head for head in stack.metrics if head.values.get(metric) is not None]
        head = choose(heads, key=lambda head: head.values[metric]) if heads else None
        # If it is listed already, skip it: of the second best the sentence would not be true.
        if head is not None and head.name not in taken and _differs_from_uniform(stack, head, metric):
            found.setdefault(head.name, Standout(head, metric, sentence))
    return list(found.values())


def _differs_from_uniform(stack: Stack, head: HeadMetrics, metric: str) -> bool:
    """Whether a head's value is far enough from uniform attention's to be told of."""
    uniform, value = stack.baselines.get(head.layer, {}).get(metric), head.values[metric]
    return uniform is None or value is None or abs(value - uniform) > _LEAST_DIFFERENCE * abs(uniform)


def sentence_lines(found: tuple[Standout, ...], stack: Stack, terminal: Terminal) -> list[Line]:
    """A line per head with sentence and numbers in columns; on narrow terminals the numbers are below the sentence."""
    name_width = max(len(standout.head.name) for standout in found)
    sentences = [_head_and_sentence(standout, name_width, terminal) for standout in found]
    parts = [_value_and_uniform(standout, stack, terminal) for standout in found]
    numbers = [joined(pair, ", ") for pair in parts]
    column = max(line.width for line in sentences) + 2
    if column + max(line.width for line in numbers) <= terminal.width:
        pairs = zip(sentences, numbers, strict=True)
        return [joined([padded(sentence, column), values]) for sentence, values in pairs]
    rows = [_wrapped_sentence(one, name_width, pair, terminal) for one, pair in zip(found, parts, strict=True)]
    return [line for row in rows for line in row]


def _head_and_sentence(standout: Standout, name_width: int, terminal: Terminal) -> Line:
    return joined([_head_name(standout, name_width, terminal), Line.of(standout.sentence)], "  ")


def _head_name(standout: Standout, name_width: int, terminal: Terminal) -> Line:
    tile = label_of(standout.label).tile(3, terminal) if standout.label else StyledSpan("   ")
    return Line.of(tile, " ", StyledSpan(standout.head.name.rjust(name_width), BOLD))


def _wrapped_sentence(standout: Standout, name_width: int, numbers: Sequence[Line], terminal: Terminal) -> list[Line]:
    """The sentence wrapped, with the numbers below it, for narrow terminals."""
    name = _head_name(standout, name_width, terminal)
    sentence = flow([name, *split_words(standout.sentence)], separator=" ", width=terminal.width, indent=name.width + 1)
    values = flow(numbers, separator=", ", width=terminal.width - name.width - 1)
    return [*sentence, *(joined([Line.of(" " * (name.width + 1)), line]) for line in values)]


def _value_and_uniform(standout: Standout, stack: Stack, terminal: Terminal) -> list[Line]:
    uniform = stack.baselines.get(standout.head.layer, {}).get(standout.metric)
    interval = standout.head.interval(standout.metric)
    return metric_and_uniform(standout.metric, standout.value, uniform, terminal, interval)


_CELL_WIDTHS = (5, 2, 1)


_BAR = 20


_ROOM_FOR_BARS = 64


def ranking_lines(
    stack: Stack, ranking: Ranking, terminal: Terminal, *, weighting: str = "attention", top: int = 10
) -> list[Line]:
    """The query and the key, the map of the heads' weights, and the `top` heads with the key's rank in their rows."""
    weights = {(head.layer, head.head): head.weight for head in ranking.heads}
    heat = HeatScale(max(weights.values(), default=0.0), terminal, weighting == "norm").without_signs()
    drawn: set[int] = set()

    def cell(head: tuple[int, int], width: int) -> StyledSpan:
        drawn.add(width)
        return heat.cell(weights[head], width) if head in weights else StyledSpan(" " * width)

    lines = [*stack_lines(stack, terminal), *_ranking_title(ranking, terminal, weighting), Line()]
    if all(head.rank is None for head in ranking.heads):
        return [*lines, *_hidden_key_lines(stack, ranking, terminal)]
    table = [*_ranking_rows(ranking, heat, top), *_unlisted_heads_line(ranking, top)]
    if len(ranking.heads) == 1:
        return [*lines, *table]
    grid = head_map(stack, cell, _CELL_WIDTHS, terminal)
    picture = [*grid, Line(), *_ranking_legend(heat, digits=any(map(heat.has_digits, drawn)))]
    together = beside_or_below(picture, table, width=terminal.width)
    if len(together) > max(len(picture), len(table)):
        # The ranking is below the map, maybe a screen away from the title.
        together = [*picture, Line(), *_ranking_subtitle(ranking, terminal), *table]
    return [*lines, *together]


def _ranking_legend(heat: HeatScale, *, digits: bool) -> list[Line]:
    """Below the map: the scale, and what the digits mean, if there are any."""
    note = heat.digits_note() if digits else ""
    notes = [Line.of(StyledSpan(note, DIM))] if note else []
    return flow([heat.legend(), *notes], separator="   ", width=heat.terminal.width)


def _query_and_key(ranking: Ranking, terminal: Terminal) -> tuple[StyledSpan, StyledSpan]:
    """The query and the key in words; a key that is a line is named by its number."""
    query = position_words(ranking.query, terminal, ranking.query_line, ranking.query_tokens)
    if ranking.key_line is None:
        return query, position_words(ranking.key, terminal, count=ranking.key_tokens)
    text = shorten(unit_text(ranking.key, "line", terminal), LONGEST_POSITION, glyphs(terminal).cut)
    return query, StyledSpan(f"line {ranking.key_line:,} ({text}{direction_end(text)})", BOLD)


def _ranking_title(ranking: Ranking, terminal: Terminal, weighting: str) -> list[Line]:
    """Above the map: `how much it (token 8) looks at cat (token 2), by the weight of each head`."""
    norms = weighting == "norm"
    by = "by each head's weight times the norm of what it reads there" if norms else "by the weight of each head"
    query, key = (Line.of(words) for words in _query_and_key(ranking, terminal))
    looks_at, end = Line.of(StyledSpan("looks at", DIM)), StyledSpan(",", DIM)
    parts = [*split_words("how much", DIM), query, looks_at, Line((*key.spans, end)), *split_words(by, DIM)]
    return flow(parts, separator=" ", width=terminal.width)


def _ranking_subtitle(ranking: Ranking, terminal: Terminal) -> list[Line]:
    """Above a ranking that is far below the title: `it (token 8) looks at cat (token 2)`."""
    query, key = (Line.of(StyledSpan(words.text)) for words in _query_and_key(ranking, terminal))
    return flow([query, Line.of(StyledSpan("looks at", DIM)), key], separator=" ", width=terminal.width)


def _ranking_rows(ranking: Ranking, heat: HeatScale, top: int) -> list[Line]:
    """A heading and a row per head."""
    shown = ranking.heads[:top]
    name = max(len("head"), *(len(head.name) for head in ranking.heads))
    weight = max(len("weight"), *(len(_ranked_weight_text(head.weight, heat)) for head in shown))
    cells = _BAR if heat.terminal.width >= _ROOM_FOR_BARS else 0
    scale = f"  {bar_scale(two_digits(heat.full), cells)}" if cells else ""
    uniform = "  uniform" if ranking.heads[0].uniform is not None else ""
    heading = Line.of(StyledSpan(f"{'head':>{name}}  {'weight':>{weight}}{scale}{uniform}  place in its row", DIM))
    return [heading, *(_ranking_row(head, (name, weight, cells), heat) for head in shown)]


def _ranked_weight_text(weight: float | None, heat: HeatScale) -> str:
    return "" if weight is None else weight_number(weight, decimals_for(heat.full))


def _ranking_row(head: HeadWeight, widths: tuple[int, int, int], heat: HeatScale) -> Line:
    """widths: of the head's name, its weight and the bar."""
    name, weight, cells = widths
    filled = f"  {bar(heat.share(head.weight), cells, heat.terminal)}" if cells else ""
    uniform = "" if head.uniform is None else f"  {_ranked_weight_text(head.uniform, heat):>7}"
    return Line.of(
        f"{head.name:>{name}}",
        StyledSpan(f"  {_ranked_weight_text(head.weight, heat):>{weight}}", BOLD),
        filled,
        StyledSpan(uniform, DIM),
        f"  {'not seen' if head.rank is None else f'{head.rank:,} of {head.keys:,}'}",
    )


def _hidden_key_lines(stack: Stack, ranking: Ranking, terminal: Terminal) -> list[Line]:
    """In place of a ranking: why no head can give the key any weight."""
    query, key = _query_and_key(ranking, terminal)
    later = stack.causal and ranking.key.index > ranking.query.index
    why = "comes later, and each token sees earlier ones alone" if later else "is hidden from it by the model's mask"
    words = [Line.of(key), *split_words(f"{why}: no head looks there from"), Line.of(query)]
    return flow(words, separator=" ", width=terminal.width)


def _unlisted_heads_line(ranking: Ranking, top: int) -> list[Line]:
    """Below a ranking: how many heads are not listed."""
    more = len(ranking.heads) - top
    return [Line.of(StyledSpan(f"and {more:,} more (--top K)", DIM))] if more > 0 else []
