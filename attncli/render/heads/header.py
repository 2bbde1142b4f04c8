"""Headers and legends of the views of heads.

Above a picture: the model, the stack, the tokens, and notes on rows and columns. Below it: the colour scale, and what
the metrics cover.
"""

from __future__ import annotations

from collections.abc import Sequence

from attncli.render.common.cells import glyphs, shorten
from attncli.render.common.escape import direction_end, name_text, token_text
from attncli.render.common.lines import BOLD, DIM, Line, Style, StyledSpan, flow, joined, wrap
from attncli.render.common.terminal import Terminal
from attncli.render.heads.heatmap import HeatScale
from attncli.render.heads.shaded_text import position_label
from attncli.results.heads import HeadsResult, Layer, Probe, Stack
from attncli.results.patterns import Pattern
from attncli.results.tokens import Token

# At most so many tokens that are no patches (class, distillation and register tokens) are listed by name.
_FEW_NAMES = 2
_SPACE = "␣"
# Cells of the text of a position in a sentence.
LONGEST_POSITION = 32


# --- above a picture


def model_lines(result: HeadsResult, terminal: Terminal) -> list[Line]:
    """The first line of a view: model, device and dtype, and over how many texts or probes the values are means."""
    parts = [
        Line.of(StyledSpan(name_text(result.model, terminal), BOLD)),
        Line.of(result.device),
        Line.of(result.dtype),
    ]
    if result.texts is not None:
        parts.append(Line.of(_mean_words(result.texts, result.probe)))
    return flow(parts, separator=glyphs(terminal).separator, width=terminal.width)


def _mean_words(texts: int, probe: Probe | None) -> str:
    if probe is None:
        return f"mean over {_count_noun(texts, 'text')}"
    return f"mean over {_count_noun(texts, 'probe')}: {probe.tokens} random tokens, {probe.repeats} times"


def stack_lines(stack: Stack, terminal: Terminal) -> list[Line]:
    """The line above each stack: `encoder · 6 layers × 12 heads · 12 tokens · each sees every other`.

    It also says which heads were selected, where that takes few words.
    """
    name, shape = Line.of(StyledSpan(stack.stack, BOLD)), Line.of(_stack_shape(stack.layers, terminal))
    chosen = [Line.of(words)] if (words := _selected_heads(stack)) else []
    return flow(
        [name, shape, *chosen, *_direction_lines(stack, terminal)],
        separator=glyphs(terminal).separator,
        width=terminal.width,
    )


def has_text(stack: Stack) -> bool:
    """Whether rows and columns are tokens of one text, which can be written out, unlike patches and frames."""
    return bool(stack.keys) and not is_cross(stack) and stack.key_medium.kind == "tokens"


def has_single_key(stack: Stack) -> bool:
    """Whether there is only one key, so that all heads look at the same."""
    return len(stack.keys) == 1 and (stack.whole is None or stack.whole[1] == 1)


def single_key_lines(stack: Stack, terminal: Terminal) -> list[Line]:
    """The sentence that stands in the place of a picture where there is only one key."""
    sentence = f"there is one {unit_noun(stack)} to look at, and no head can look elsewhere"
    return wrap(sentence, width=terminal.width)


def unit_noun(stack: Stack) -> str:
    """The noun for one key: token, word, line, patch or frame."""
    return {"patches": "patch", "frames": "frame"}.get(stack.key_medium.kind, stack.unit)


def whole_noun(stack: Stack) -> str:
    """The noun for what the keys are part of: text, picture or sound."""
    return {"patches": "picture", "frames": "sound"}.get(stack.key_medium.kind, "text")


def _selected_heads(stack: Stack) -> str:
    """`head 5 of each layer` or `all heads of layer 2`; empty for all heads of all layers, for a single head, and where
    layers differ in their heads."""
    if any(pattern.head is None for pattern in stack.patterns):
        # A rollout averages all heads.
        return ""
    layers: dict[int, list[int]] = {}
    for head in stack.metrics:
        layers.setdefault(head.layer, []).append(head.head)
    if len(stack.metrics) < 2 or len({tuple(heads) for heads in layers.values()}) > 1:
        return ""
    sizes = {layer.layer: layer.heads for layer in stack.layers if layer.heads}
    everywhere = len(layers) == len(sizes)
    heads = next(iter(layers.values()))
    whole = all(len(heads) == sizes.get(layer) for layer in layers)
    if everywhere and whole:
        return ""
    which = "all heads" if whole else _noun_with_numbers("head", heads)
    return (
        f"{which} of {'each layer' if everywhere and len(layers) > 1 else _noun_with_numbers('layer', sorted(layers))}"
    )


def _noun_with_numbers(noun: str, numbers: Sequence[int]) -> str:
    """`head 5`, `heads 0, 3 and 5`."""
    *most, last = map(str, numbers)
    return f"{noun}s {', '.join(most)} and {last}" if most else f"{noun} {last}"


def tokens_line(tokens: Sequence[Token], terminal: Terminal, *, above_dots: bool = False) -> Line:
    """The text as its tokens, in one line. above_dots: draw spaces as ␣, as dots mean something else in the picture."""
    shown = tokens[: terminal.width]
    if above_dots and terminal.unicode:
        shown = [token._replace(text=token.text.replace(" ", _SPACE)) for token in shown]
    texts = (_ended(token_text(token, terminal)) for token in shown)
    styles = (DIM if token.special else Style() for token in tokens)
    return joined([Line.of(StyledSpan(text, style)) for text, style in zip(texts, styles, strict=False)], " ")


def query_and_key_lines(stack: Stack, terminal: Terminal) -> list[Line]:
    """Cross attention's two texts, that of the rows and that of the columns; nothing for pictures and sounds."""
    if not is_cross(stack):
        return []
    sides = (("rows", stack.queries, stack.query_medium), ("columns", stack.keys, stack.key_medium))
    return [
        joined([Line.of(StyledSpan(f"{name:<7} ", DIM)), tokens_line(tokens, terminal)])
        for name, tokens, medium in sides
        if tokens and medium.kind == "tokens"
    ]


def _ended(text: str) -> str:
    return text + direction_end(text)


def is_cross(stack: Stack) -> bool:
    """Whether it is cross attention: rows and columns are of different sequences."""
    return stack.stack == "cross"


def _stack_shape(layers: Sequence[Layer], terminal: Terminal) -> str:
    with_attention = {layer.heads for layer in layers if layer.heads}
    times = glyphs(terminal).times
    shape = _count_noun(len(layers), "layer")
    if len(with_attention) != 1:
        return f"{shape}, {_count_noun(sum(layer.heads for layer in layers), 'head')}"
    attending = sum(layer.heads > 0 for layer in layers)
    among = "" if attending == len(layers) else f" ({attending} with attention)"
    return f"{shape}{among} {times} {_count_noun(with_attention.pop(), 'head')}"


def _direction_lines(stack: Stack, terminal: Terminal) -> list[Line]:
    queries = len(stack.queries)
    all_queries, all_keys = stack.whole or (queries, len(stack.keys))
    mutual = "each sees every other" if stack.full else "some see later ones"
    sight = "each sees itself and earlier ones" if stack.causal else mutual
    if stack.key_medium.window is not None:
        times, side = glyphs(terminal).times, stack.key_medium.window
        sight = f"each sees its own window of {side} {times} {side}"
    if not queries:
        across = "decoder tokens look at encoder tokens"
        return [Line.of(across if is_cross(stack) else sight.replace("each", "each token", 1))]
    if is_cross(stack):
        verb = "looks at" if queries == 1 else "look at"
        looking = _part_of_whole(queries, all_queries, f"decoder {stack.unit}")
        return [Line.of(f"{looking} {verb} {_keys_words(stack, all_keys, terminal, f'encoder {stack.unit}')}")]
    if stack.key_medium.kind != "tokens":
        return [Line.of(_key_count(stack, terminal)), Line.of(sight)]
    if stack.unit != "token" and (stack.reading or stack.ranking):
        # The query is one position within a word or line, not all of it.
        return [Line.of(f"{_count_noun(all_keys, stack.unit)}, seen from one position"), Line.of(sight)]
    at = "" if len(stack.keys) == all_keys or stack.ranking else f", looking at {len(stack.keys):,} of {all_keys:,}"
    return [Line.of(_part_of_whole(queries, all_queries, stack.unit) + at), Line.of(sight)]


def _part_of_whole(count: int, whole: int, noun: str) -> str:
    """`12 tokens`, or `1 of 12 tokens`."""
    return _count_noun(whole, noun) if count == whole else f"{count:,} of {_count_noun(whole, noun)}"


def _keys_words(stack: Stack, all_keys: int, terminal: Terminal, noun: str) -> str:
    return (
        _part_of_whole(len(stack.keys), all_keys, noun)
        if stack.key_medium.kind == "tokens"
        else _key_count(stack, terminal)
    )


def _key_count(stack: Stack, terminal: Terminal) -> str:
    """The keys of a picture or a sound: `14 × 14 patches and [CLS]`, or `1,500 frames of 0.02 s`."""
    medium, keys = stack.key_medium, stack.keys
    if medium.seconds is not None:
        return f"{_count_noun(len(keys), 'frame')} of {medium.seconds:.3g} s"
    if medium.grid is None:
        return _count_noun(len(keys), "position")
    grid, times = medium.grid, glyphs(terminal).times
    patches = sum(key.index in grid.patches for key in keys)
    others = [key.token for key in keys if key.index not in grid.patches]
    whole = patches == len(grid.patches)
    count = f"{grid.rows} {times} {grid.columns} patches" if whole else _count_noun(patches, "patch", "patches")
    names = ", ".join(others) if len(others) <= _FEW_NAMES else f"{others[0]} {glyphs(terminal).ellipsis} {others[-1]}"
    return f"{count} and {names}" if others else count


def _count_noun(count: int, noun: str, several: str | None = None) -> str:
    return f"{count:,} {noun if count == 1 else several or noun + 's'}"


def position_words(token: Token, terminal: Terminal, line: int | None = None, count: int = 1) -> StyledSpan:
    """A position within a sentence: `cat (token 2)`. count: how many tokens it covers, from `token` on."""
    whole = token_text(token._replace(text=token.text.strip() or token.text), terminal)
    text = shorten(whole, LONGEST_POSITION, glyphs(terminal).cut)
    return StyledSpan(
        f"{text}{direction_end(text)} ({position_label(token.index, count, line, glyphs(terminal).dash)})", BOLD
    )


def norm_lines(weighting: str, terminal: Terminal) -> list[Line]:
    """Above a picture: what its values are, if not plain weights."""
    note = "weights times the norm of what is read there (Kobayashi et al. 2020)" if weighting == "norm" else ""
    return wrap(note, DIM, width=terminal.width)


def unit_lines(stack: Stack, terminal: Terminal) -> list[Line]:
    """Above a picture: what rows and columns are and how they are numbered, where these are not tokens."""
    notes = {
        "word": "rows and columns are words, and their numbers those of their first tokens",
        "line": "rows and columns are lines, numbered from 1",
    }
    return wrap(notes.get(stack.unit, ""), DIM, width=terminal.width)


# --- below a picture


def scale_lines(heat: HeatScale, cell: int = 1) -> list[Line]:
    """Below a picture: its colour or ASCII scale, what its digits mean, and that rows look at columns."""
    notes = ["rows look at columns"]
    if heat.has_digits(cell) and (note := heat.digits_note()):
        notes.append(note)
    return flow(
        [heat.legend(), *(Line.of(StyledSpan(note, DIM)) for note in notes)], separator="   ", width=heat.terminal.width
    )


def scope_lines(stack: Stack, terminal: Terminal, *, weighting: str = "attention") -> list[Line]:
    """Below a picture: what the metrics cover, where that is more than the picture or in other units than it."""
    plain = "of the weights alone, without norms" if weighting == "norm" else ""
    scope = ", and ".join(words for words in (_scope_words(stack), plain) if words)
    return wrap(f"metrics are {scope}" if scope else "", DIM, width=terminal.width)


def _scope_words(stack: Stack) -> str:
    # Means over many texts have no rows and columns.
    part = bool(stack.queries) and stack.whole is not None and stack.whole != (len(stack.queries), len(stack.keys))
    if not part and stack.unit == "token":
        return ""
    scope = f"of the whole {whole_noun(stack)}"
    scope += ", not of the part above" if part else ""
    scope += f", token by token (not {stack.unit} by {stack.unit})" if stack.unit != "token" else ""
    return scope


def pooling_lines(stack: Stack, shown: Pattern, terminal: Terminal) -> list[Line]:
    """With a pooled picture: how many weights are in how many cells. Above one head, below several."""
    if shown.bins is None:
        return []
    times = glyphs(terminal).times
    rows, columns = shown.weights.shape
    whole = f"{len(stack.queries):,} {times} {len(stack.keys):,} weights in {rows} {times} {columns} cells:"
    return flow([Line.of(whole), Line.of("rows averaged, columns summed")], separator=" ", width=terminal.width)
