"""What texts, tokens and heads are called in figures."""

from __future__ import annotations

from collections.abc import Sequence

from attncli.render.escape import visible
from attncli.render.figures.fonts import drawable
from attncli.render.figures.sheet import Words
from attncli.render.figures.sides import Side
from attncli.render.heads.differing import DIFFERENCE
from attncli.render.heads.header import is_cross, model_lines, stack_lines
from attncli.render.heads.heatmap import spans_of
from attncli.render.heads.metric_words import label_of
from attncli.render.heads.running import line_numbers, numbered, plain_text, running
from attncli.render.html.words import PAGE, SEPARATOR, plain, printed
from attncli.results.heads import HeadsResult, Stack
from attncli.results.patterns import Medium, Pattern
from attncli.results.tokenize import Token

_LONGEST_TOKEN, _LONGEST_LINE = 18, 34
#: Frames of a sound that are named one by one.
_MOST_MOMENTS = 16


def visible_line(text: str) -> str:
    """A title: spaces stay spaces."""
    return visible(text).replace("·", " ") if " " in text else visible(text)


def words_of(result: HeadsResult, form: str, title: str | None, notes: Sequence[str] = ()) -> Words:
    """Title, model, shape and text; of an only stack. Several have their own above each."""
    model = plain(model_lines(result, PAGE))
    known = stack_facts(result.stacks[0]) if len(result.stacks) == 1 else []
    known.append(model.removeprefix(f"{printed(result.model)}{SEPARATOR}") if title is None else model)
    said = [drawable(each, form) for each in known]
    return Words(drawable(visible_line(title or result.model), form), said, [drawable(note, form) for note in notes])


def stack_facts(stack: Stack) -> list[str]:
    """What there is to see in a stack, and the text, where its keys are one."""
    shape = plain(stack_lines(stack, PAGE))
    whole = stack.whole is None or stack.whole[1] == len(stack.keys)
    text = running(stack.keys) if whole and stack.key_medium.kind == "tokens" and not is_cross(stack) else ""
    return [shape, f"text: {text}"] if text else [shape]


def key_side(stack: Stack, pattern: Pattern, form: str) -> Side:
    """What stands above the columns of a pattern."""
    return _side(stack, stack.keys, stack.key_medium, stack.key_lines, pattern, 1, form)


def query_side(stack: Stack, pattern: Pattern, form: str) -> Side:
    """What stands beside its rows."""
    return _side(stack, stack.queries, stack.query_medium, stack.query_lines, pattern, 0, form)


def _side(
    stack: Stack,
    tokens: Sequence[Token],
    medium: Medium,
    lines: Sequence[int | None] | None,
    pattern: Pattern,
    axis: int,
    form: str,
) -> Side:
    spans = (spans_of(pattern).rows, spans_of(pattern).columns)[axis]
    numbers: list[float] = [*(line_numbers(lines) if lines is not None else (token.index for token in tokens))]
    numbers.append(numbers[-1] + 1)
    seconds = medium.seconds
    if seconds is not None:
        numbers = [number * seconds for number in numbers]
    starts = [numbers[a] for a, _ in spans] + [numbers[spans[-1][1]]]
    unit = "" if seconds is None else "s"
    if pattern.bins is not None or (seconds is not None and len(tokens) > _MOST_MOMENTS):
        return Side([f"{start:g}{unit}" for start in starts[:-1]], starts, unit, numbered=True)
    of_line = lines if lines is not None else [None] * len(tokens)
    texts = [label_text(token, stack.unit, form, line) for token, line in zip(tokens, of_line, strict=True)]
    return Side(texts, starts, unit)


def label_text(token: Token, unit: str, form: str, line: int | None = None) -> str:
    """A token as it is, a word, or a line behind its number."""
    if unit == "token":
        return drawable(_cut(visible(token.text or token.token or str(token.id)), _LONGEST_TOKEN), form)
    text = " ".join(plain_text(token).split())
    if line is not None:
        return drawable(_cut(f"{line:,}  {text}", _LONGEST_LINE), form)
    return drawable(_cut(text, _LONGEST_TOKEN if unit == "word" else _LONGEST_LINE), form)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def head_title(stack: Stack, pattern: Pattern) -> str:
    """`head 5.1, looks at the next token`."""
    head = next((one for one in stack.metrics if (one.layer, one.head) == (pattern.layer, pattern.head)), None)
    if head is None:
        return f"rollout to layer {pattern.layer}"
    said = "".join(f", {label_of(label).sentence}" for label in head.labels[:1])
    return f"{'' if head.name.startswith(DIFFERENCE) else 'head '}{head.name}{said}"


def place_text(token: Token, form: str, line: int | None = None, count: int = 1) -> str:
    """A position as it is called in a sentence: its text and its number, or those of its `count` tokens."""
    text = " ".join(plain_text(token).split()) or visible(token.text or token.token)
    return drawable(f"{_cut(text, _LONGEST_LINE)} ({numbered(token.index, count, line)})", form)
