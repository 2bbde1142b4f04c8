"""What stands above every picture of heads: the model, and what each stack looks from and at."""

from __future__ import annotations

from collections.abc import Sequence

from attncli.render.common.cells import glyphs, shorten
from attncli.render.common.escape import direction_end, name_text, token_text
from attncli.render.common.lines import BOLD, DIM, Line, Style, StyledSpan, flow, joined
from attncli.render.common.terminal import Terminal
from attncli.render.heads.heatmap import Heat
from attncli.render.heads.shaded_text import numbered
from attncli.results.heads import HeadsResult, Layer, Probe, Stack
from attncli.results.patterns import Pattern
from attncli.results.tokens import Token

# Class, distillation and register tokens that are named one by one.
_FEW_NAMES = 2
_SPACE = "␣"


def model_lines(result: HeadsResult, terminal: Terminal) -> list[Line]:
    """The model, the device and the dtype; and what its values are means over, if they are."""
    parts = [
        Line.of(StyledSpan(name_text(result.model, terminal), BOLD)),
        Line.of(result.device),
        Line.of(result.dtype),
    ]
    if result.texts is not None:
        parts.append(Line.of(_averaged(result.texts, result.probe)))
    return flow(parts, separator=glyphs(terminal).separator, width=terminal.width)


def _averaged(texts: int, probe: Probe | None) -> str:
    if probe is None:
        return f"mean over {_count(texts, 'text')}"
    return f"mean over {_count(texts, 'probe')}: {probe.tokens} random tokens, {probe.repeats} times"


def stack_lines(stack: Stack, terminal: Terminal) -> list[Line]:
    """`encoder · 6 layers × 12 heads · 12 tokens · each sees every other`; the heads that were chosen, if in words."""
    name, shape = Line.of(StyledSpan(stack.stack, BOLD)), Line.of(_shape(stack.layers, terminal))
    chosen = [Line.of(words)] if (words := _chosen(stack)) else []
    return flow(
        [name, shape, *chosen, *_direction(stack, terminal)], separator=glyphs(terminal).separator, width=terminal.width
    )


def has_text(stack: Stack) -> bool:
    """Whether rows and columns are the tokens of one text, which can be written out. Patches and frames are counted."""
    return bool(stack.keys) and not is_cross(stack) and stack.key_medium.kind == "tokens"


def is_alone(stack: Stack) -> bool:
    """Whether there is one key alone to look at, so that heads can't be told apart by where they look."""
    return len(stack.keys) == 1 and (stack.whole is None or stack.whole[1] == 1)


def alone_lines(stack: Stack, terminal: Terminal) -> list[Line]:
    """What there is to say of such a stack."""
    said = f"there is one {unit_noun(stack)} to look at, and no head can look elsewhere"
    return flow(map(Line.of, said.split()), separator=" ", width=terminal.width)


def unit_noun(stack: Stack) -> str:
    """What one of its keys is called: a token, a word, a line, a patch or a frame."""
    return {"patches": "patch", "frames": "frame"}.get(stack.key_medium.kind, stack.unit)


def whole_noun(stack: Stack) -> str:
    """What its keys are of: a text, a picture or a sound."""
    return {"patches": "picture", "frames": "sound"}.get(stack.key_medium.kind, "text")


def _chosen(stack: Stack) -> str:
    """`head 5 of each layer`, `all heads of layer 2`; nothing where all heads of all layers are there, or only one, or
    others in every layer."""
    if any(pattern.head is None for pattern in stack.patterns):
        # A rollout is of all of them.
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
    which = "all heads" if whole else _listed("head", heads)
    return f"{which} of {'each layer' if everywhere and len(layers) > 1 else _listed('layer', sorted(layers))}"


def _listed(noun: str, numbers: Sequence[int]) -> str:
    """`head 5`, `heads 0, 3 and 5`."""
    *most, last = map(str, numbers)
    return f"{noun}s {', '.join(most)} and {last}" if most else f"{noun} {last}"


def tokens_line(tokens: Sequence[Token], terminal: Terminal, *, above_dots: bool = False) -> Line:
    """The text as its tokens. above_dots: whether dots stand for something else in what follows: spaces are none."""
    shown = tokens[: terminal.width]
    if above_dots and terminal.unicode:
        shown = [token._replace(text=token.text.replace(" ", _SPACE)) for token in shown]
    texts = (_ended(token_text(token, terminal)) for token in shown)
    styles = (DIM if token.special else Style() for token in tokens)
    return joined([Line.of(StyledSpan(text, style)) for text, style in zip(texts, styles, strict=False)], " ")


def both_texts(stack: Stack, terminal: Terminal) -> list[Line]:
    """The text of the rows and that of the columns, where these are two; nothing of pictures and sounds."""
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
    """Whether the rows are tokens of another text than the columns."""
    return stack.stack == "cross"


def _shape(layers: Sequence[Layer], terminal: Terminal) -> str:
    with_attention = {layer.heads for layer in layers if layer.heads}
    times = glyphs(terminal).times
    shape = _count(len(layers), "layer")
    if len(with_attention) != 1:
        return f"{shape}, {_count(sum(layer.heads for layer in layers), 'head')}"
    attending = sum(layer.heads > 0 for layer in layers)
    among = "" if attending == len(layers) else f" ({attending} with attention)"
    return f"{shape}{among} {times} {_count(with_attention.pop(), 'head')}"


def _direction(stack: Stack, terminal: Terminal) -> list[Line]:
    queries = len(stack.queries)
    all_queries, all_keys = stack.whole or (queries, len(stack.keys))
    sight = "each sees itself and earlier ones" if stack.causal else "each sees every other"
    if stack.key_medium.window is not None:
        times, side = glyphs(terminal).times, stack.key_medium.window
        sight = f"each sees its own window of {side} {times} {side}"
    if not queries:
        across = "decoder tokens look at encoder tokens"
        return [Line.of(across if is_cross(stack) else sight.replace("each", "each token", 1))]
    if is_cross(stack):
        verb = "looks at" if queries == 1 else "look at"
        looking = _part(queries, all_queries, f"decoder {stack.unit}")
        return [Line.of(f"{looking} {verb} {_seen(stack, all_keys, terminal, f'encoder {stack.unit}')}")]
    if stack.key_medium.kind != "tokens":
        return [Line.of(_amount(stack, terminal)), Line.of(sight)]
    if stack.unit != "token" and (stack.reading or stack.ranking):
        # The query is a position in one of them, and not all of it.
        return [Line.of(f"{_count(all_keys, stack.unit)}, seen from one position"), Line.of(sight)]
    at = "" if len(stack.keys) == all_keys or stack.ranking else f", looking at {len(stack.keys):,} of {all_keys:,}"
    return [Line.of(_part(queries, all_queries, stack.unit) + at), Line.of(sight)]


def _part(count: int, whole: int, noun: str) -> str:
    """`12 tokens`, or `1 of 12 tokens`."""
    return _count(whole, noun) if count == whole else f"{count:,} of {_count(whole, noun)}"


def _seen(stack: Stack, all_keys: int, terminal: Terminal, noun: str) -> str:
    return _part(len(stack.keys), all_keys, noun) if stack.key_medium.kind == "tokens" else _amount(stack, terminal)


def _amount(stack: Stack, terminal: Terminal) -> str:
    """What there is to look at, where it is no text: `14 × 14 patches and [CLS]`, or `1,500 frames of 0.02 s`."""
    medium, keys = stack.key_medium, stack.keys
    if medium.seconds is not None:
        return f"{_count(len(keys), 'frame')} of {medium.seconds:.3g} s"
    if medium.grid is None:
        return _count(len(keys), "position")
    grid, times = medium.grid, glyphs(terminal).times
    patches = sum(key.index in grid.patches for key in keys)
    beside = [key.token for key in keys if key.index not in grid.patches]
    whole = patches == len(grid.patches)
    count = f"{grid.rows} {times} {grid.columns} patches" if whole else _count(patches, "patch", "patches")
    named = ", ".join(beside) if len(beside) <= _FEW_NAMES else f"{beside[0]} {glyphs(terminal).ellipsis} {beside[-1]}"
    return f"{count} and {named}" if beside else count


def _count(count: int, noun: str, several: str | None = None) -> str:
    return f"{count:,} {noun if count == 1 else several or noun + 's'}"


# Cells of a word or a line in a sentence.
_LONGEST_PLACE = 32


def place_words(token: Token, terminal: Terminal, line: int | None = None, count: int = 1) -> StyledSpan:
    """A position as it is called in a sentence: its text and its number, or those of its `count` tokens."""
    whole = token_text(token._replace(text=token.text.strip() or token.text), terminal)
    text = shorten(whole, _LONGEST_PLACE, glyphs(terminal).cut)
    return StyledSpan(
        f"{text}{direction_end(text)} ({numbered(token.index, count, line, glyphs(terminal).dash)})", BOLD
    )


def scale_lines(heat: Heat, cell: int = 1) -> list[Line]:
    """What a colour or a character of a picture means, and which way to read it."""
    notes = ["rows look at columns"]
    if heat.has_digits(cell) and (said := heat.digits_note()):
        notes.append(said)
    return flow(
        [heat.scale(), *(Line.of(StyledSpan(note, DIM)) for note in notes)], separator="   ", width=heat.terminal.width
    )


def norm_lines(weighting: str, terminal: Terminal) -> list[Line]:
    """What patterns hold, if not plain weights."""
    said = "weights times the norm of what is read there (Kobayashi et al. 2020)"
    return _dim_lines(said if weighting == "norm" else "", terminal)


def unit_lines(stack: Stack, terminal: Terminal) -> list[Line]:
    """What the numbers of rows and columns count, where these are not tokens."""
    said = {
        "word": "rows and columns are words, and their numbers those of their first tokens",
        "line": "rows and columns are lines, numbered from 1",
    }
    return _dim_lines(said.get(stack.unit, ""), terminal)


def scope_lines(stack: Stack, terminal: Terminal, *, weighting: str = "attention") -> list[Line]:
    """What the metrics are of, where the picture shows less than that, or something else than tokens or weights."""
    plain = "of the weights alone, without norms" if weighting == "norm" else ""
    said = ", and ".join(words for words in (_scope(stack), plain) if words)
    return _dim_lines(f"metrics are {said}" if said else "", terminal)


def _scope(stack: Stack) -> str:
    # Means over many texts have no rows and columns.
    part = bool(stack.queries) and stack.whole is not None and stack.whole != (len(stack.queries), len(stack.keys))
    if not part and stack.unit == "token":
        return ""
    said = f"of the whole {whole_noun(stack)}"
    said += ", not of the part above" if part else ""
    said += f", token by token (not {stack.unit} by {stack.unit})" if stack.unit != "token" else ""
    return said


def _dim_lines(text: str, terminal: Terminal) -> list[Line]:
    if not text:
        return []
    return flow([Line.of(StyledSpan(word, DIM)) for word in text.split()], separator=" ", width=terminal.width)


def pooling_lines(stack: Stack, shown: Pattern, terminal: Terminal) -> list[Line]:
    """How many weights a cell stands for, where it is more than one."""
    if shown.bins is None:
        return []
    times = glyphs(terminal).times
    rows, columns = shown.weights.shape
    whole = f"{len(stack.queries):,} {times} {len(stack.keys):,} weights in {rows} {times} {columns} cells:"
    return flow([Line.of(whole), Line.of("rows averaged, columns summed")], separator=" ", width=terminal.width)
