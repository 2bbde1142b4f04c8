"""What one position reads: the text shaded by it, and the keys that it reads most."""

from __future__ import annotations

from itertools import islice

from attncli.render.heads.header import stack_lines, unit_noun
from attncli.render.heads.heatmap import Heat
from attncli.render.heads.key_table import key_table
from attncli.render.heads.one_head import title_lines
from attncli.render.heads.patch_view import head_maps, reading_map
from attncli.render.heads.ranking import place_words, ranking_lines
from attncli.render.heads.shaded_text import ARRIVES, HERE, Shaded, shaded_text
from attncli.render.heads.strip import strip_lines
from attncli.render.layout import flow
from attncli.render.lines import BOLD, DIM, Line, Style, StyledSpan
from attncli.render.terminal import Terminal
from attncli.render.token_text import token_text
from attncli.results.heads import HeadsResult, Stack
from attncli.results.patterns import Reading

# A text of more rows is told by its top keys in their places, and drawn as a strip.
_MOST_ROWS = 20
# So many heads have a map of a picture each.
_FEW_HEADS = 16


def position_lines(result: HeadsResult, stack: Stack, terminal: Terminal) -> list[Line]:
    """What one position reads in one stack: of all keys, or of one by every head."""
    if stack.ranking is not None:
        return ranking_lines(stack, stack.ranking, terminal, weighting=result.weighting, top=result.top)
    assert stack.reading is not None
    if stack.key_medium.grid is not None:
        return _on_picture(result, stack, stack.reading, terminal)
    return _reading_lines(stack, stack.reading, terminal, result.weighting)


def _on_picture(result: HeadsResult, stack: Stack, reading: Reading, terminal: Terminal) -> list[Line]:
    """The position, the map of the patches that it reads, and one for each of a few heads, else the top patches."""
    query = reading.query if stack.query_medium.grid is not None else None
    lines = [*stack_lines(stack, terminal), *_title(stack, reading, terminal, result.weighting)]
    lines += reading_map(stack, reading.weights.tolist(), query, result.picture, terminal)
    if 1 < len(stack.patterns) <= _FEW_HEADS:
        return [*lines, Line(), *head_maps(stack, result.picture, terminal)]
    heat = Heat(max(reading.weights.tolist(), default=0.0), terminal, relative=result.weighting == "norm")
    return [*lines, Line(), *key_table(stack, reading, heat, in_context=False)]


def _reading_lines(stack: Stack, reading: Reading, terminal: Terminal, weighting: str) -> list[Line]:
    """The position, the text or a strip of it, and the top keys with the heads that read them most."""
    heat = Heat(max(reading.weights.tolist(), default=0.0), terminal, relative=weighting == "norm")
    shades = reading.lines is None and stack.key_medium.kind == "tokens"
    here = ARRIVES if weighting == "rollout" else HERE
    text = _whole_text(stack, reading, heat, here) if shades else None
    lines = [*stack_lines(stack, terminal), *_title(stack, reading, terminal, weighting), Line()]
    table = key_table(stack, reading, heat, in_context=text is None and stack.key_medium.kind == "tokens")
    if text is None:
        return [*lines, *table, Line(), *strip_lines(stack, reading, heat, here)]
    return [*lines, *text, Line(), heat.scale(), Line(), *table]


def _whole_text(stack: Stack, reading: Reading, heat: Heat, here: str) -> list[Line] | None:
    """The text shaded; None where it takes too many rows."""
    seen = zip(reading.weights.tolist(), reading.visible.tolist(), strict=True)
    cells = [
        Shaded(key, weight if visible else None, is_query=place in reading.own)
        for place, (key, (weight, visible)) in enumerate(zip(stack.keys, seen, strict=True))
    ]
    rows = list(islice(shaded_text(cells, heat, here), _MOST_ROWS + 1))
    return None if len(rows) > _MOST_ROWS else [line for row in rows for line in row]


def _title(stack: Stack, reading: Reading, terminal: Terminal, weighting: str) -> list[Line]:
    """`where it (token 8) looks, mean of all 72 heads`; the name of an only head and its labels first."""
    if weighting == "rollout":
        return _rollout_title(stack, reading, terminal)
    looks = [Line.of(StyledSpan("where", DIM)), Line.of(_place(stack, reading, terminal))]
    words = [Line.of(StyledSpan(word, DIM)) for word in _of_heads(stack, reading, weighting).split()]
    title = flow([*looks, *words], separator=" ", width=terminal.width)
    return [*title_lines(stack.metrics[0], stack, terminal), *title] if reading.heads == 1 else title


def _rollout_title(stack: Stack, reading: Reading, terminal: Terminal) -> list[Line]:
    """`rollout up to layer 5: how much of each token reaches it (token 8), heads averaged`."""
    name = Line.of(StyledSpan(f"rollout up to layer {stack.patterns[0].layer}:", BOLD))
    before, after = (
        [Line.of(StyledSpan(word, DIM)) for word in words.split()]
        for words in (f"how much of each {unit_noun(stack)} reaches", "heads averaged")
    )
    place = Line.of(_place(stack, reading, terminal), StyledSpan(",", DIM))
    return flow([name, *before, place, *after], separator=" ", width=terminal.width)


def _place(stack: Stack, reading: Reading, terminal: Terminal) -> StyledSpan:
    if stack.query_medium.kind != "patches":
        return place_words(reading.query, terminal, reading.query_line, reading.query_tokens)
    name = token_text(reading.query, terminal)
    return StyledSpan(name if reading.query.special else f"patch {name}", Style(bold=True))


def _of_heads(stack: Stack, reading: Reading, weighting: str) -> str:
    """What the weights are means of, and what they are, if not plain weights."""
    means = [f"its {len(reading.own)} tokens"] if len(reading.own) > 1 and stack.unit == "token" else []
    if reading.heads > 1:
        means.append(f"{'all ' * _are_all(stack, reading)}{reading.heads:,} heads")
    many = f", mean of {' and '.join(means)}" if means else ""
    norms = ", weights times the norm of what is read (Kobayashi et al. 2020)" if weighting == "norm" else ""
    return f"looks{many}{norms}"


def _are_all(stack: Stack, reading: Reading) -> bool:
    return reading.heads == sum(layer.heads for layer in stack.layers)
