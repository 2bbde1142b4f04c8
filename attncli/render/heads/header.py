"""What stands above every picture of heads: the model, and what each stack looks from and at."""

from __future__ import annotations

from collections.abc import Sequence

from attncli.render.glyphs import glyphs
from attncli.render.layout import flow, joined
from attncli.render.lines import Line, Span, Style
from attncli.render.terminal import Terminal
from attncli.render.token_text import direction_end, name_text, token_text
from attncli.results.heads import HeadsResult, Layer, Probe, Stack
from attncli.results.tokens import Token

_BOLD, _DIM = Style(bold=True), Style(dim=True)


def model_lines(result: HeadsResult, terminal: Terminal) -> list[Line]:
    """The model, the device and the dtype; and what its values are means over, if they are."""
    parts = [Line.of(Span(name_text(result.model, terminal), _BOLD)), Line.of(result.device), Line.of(result.dtype)]
    if result.texts is not None:
        parts.append(Line.of(_averaged(result.texts, result.probe)))
    return flow(parts, separator=glyphs(terminal).separator, width=terminal.width)


def _averaged(texts: int, probe: Probe | None) -> str:
    if probe is None:
        return f"mean over {_count(texts, 'text')}"
    return f"mean over {_count(texts, 'probe')}: {probe.tokens} random tokens, {probe.repeats} times"


def stack_lines(stack: Stack, terminal: Terminal) -> list[Line]:
    """`encoder · 6 layers × 12 heads · 12 tokens · each sees every other`."""
    name, shape = Line.of(Span(stack.stack, _BOLD)), Line.of(_shape(stack.layers, terminal))
    return flow([name, shape, *_direction(stack)], separator=glyphs(terminal).separator, width=terminal.width)


def tokens_line(tokens: Sequence[Token], terminal: Terminal) -> Line:
    """The text as its tokens."""
    texts = (_ended(token_text(token, terminal)) for token in tokens[: terminal.width])
    styles = (_DIM if token.special else Style() for token in tokens)
    return joined([Line.of(Span(text, style)) for text, style in zip(texts, styles, strict=False)], " ")


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


def _direction(stack: Stack) -> list[Line]:
    queries = len(stack.queries)
    all_queries, all_keys = stack.whole or (queries, len(stack.keys))
    sight = "each sees itself and earlier ones" if stack.causal else "each sees every other"
    if not queries:
        across = "decoder tokens look at encoder tokens"
        return [Line.of(across if is_cross(stack) else sight.replace("each", "each token", 1))]
    if is_cross(stack):
        verb = "looks at" if queries == 1 else "look at"
        looking = _part(queries, all_queries, f"decoder {stack.unit}")
        return [Line.of(f"{looking} {verb} {_part(len(stack.keys), all_keys, f'encoder {stack.unit}')}")]
    at = "" if len(stack.keys) == all_keys or stack.ranking else f" at {len(stack.keys):,} of {all_keys:,}"
    return [Line.of(_part(queries, all_queries, stack.unit) + at), Line.of(sight)]


def _part(count: int, whole: int, noun: str) -> str:
    """`12 tokens`, or `1 of 12 tokens`."""
    return _count(whole, noun) if count == whole else f"{count:,} of {_count(whole, noun)}"


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
