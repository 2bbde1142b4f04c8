"""Sentences, headers and notes of the views of heads as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attncli.render.common.cells import glyphs, shorten
from attncli.render.common.escape import direction_end, name_text, token_text
from attncli.render.common.lines import BOLD, DIM, PLAIN, Line, Rgb, Style, StyledSpan, flow, joined, wrap
from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.views.header import is_cross, model_facts, pooling_facts, stack_facts
from attncli.render.views.metric_words import label_of
from attncli.render.views.sentences import NO_BREAK, Position, Sentence, Words
from attncli.results.heads import HeadsResult, Stack
from attncli.results.patterns import Pattern
from attncli.results.tokens import Token

_SPACE = "␣"
#: Cells of the text of a position in a sentence.
LONGEST_POSITION = 32
#: Cells of a tile with the letter of a label.
_TILE = 3
_BLACK: Rgb = (0, 0, 0)

_STYLES = {"plain": PLAIN, "strong": BOLD, "quiet": DIM}
#: Stand-ins for the symbols in our own words.
_ASCII = str.maketrans({"×": "x", "·": ".", "–": "-", "…": "...", "→": "->", "±": "+-"})


# --- sentences


def plain_words(text: str, terminal: Terminal) -> str:
    """Our own words, in ASCII where the terminal needs it."""
    return text if terminal.unicode else text.translate(_ASCII)


def position_text(position: Position, terminal: Terminal) -> str:
    """`cat (token 2)`, with the text shortened."""
    token = position.token
    whole = token_text(token._replace(text=token.text.strip() or token.text), terminal)
    text = shorten(whole, LONGEST_POSITION, glyphs(terminal).cut)
    return f"{text}{direction_end(text)} ({plain_words(position.place, terminal)})"


def content_text(content: str | Token | Position, terminal: Terminal) -> str:
    """Words, a token or a position as text."""
    if isinstance(content, str):
        return plain_words(content, terminal)
    return position_text(content, terminal) if isinstance(content, Position) else token_text(content, terminal)


def sentence_text(sentence: Iterable[Words], terminal: Terminal) -> str:
    """A sentence on one line, without styles."""
    return "".join(content_text(words.content, terminal) for words in sentence).replace(NO_BREAK, " ")


def sentence_parts(sentence: Iterable[Words], terminal: Terminal) -> list[Line]:
    """The parts of a sentence between which lines may break: words, and whole tokens, positions and strong words."""
    parts: list[list[StyledSpan]] = []
    is_open = False  # whether the next words continue the last part
    for content, role in sentence:
        text = content_text(content, terminal)
        pieces = text.split(" ") if isinstance(content, str) and role != "strong" else [text]
        for place, piece in enumerate(pieces):
            span = StyledSpan(piece.replace(NO_BREAK, " "), _STYLES[role])
            if piece and place == 0 and is_open:
                parts[-1].append(span)
            elif piece:
                parts.append([span])
        is_open = bool(pieces[-1])
    return [Line(tuple(part)) for part in parts]


def sentence_lines(sentence: Iterable[Words], terminal: Terminal, *, indent: int = 0) -> list[Line]:
    """A sentence wrapped to the terminal's width; lines after the first are indented."""
    return flow(sentence_parts(sentence, terminal), separator=" ", width=terminal.width, indent=indent)


def note_lines(note: str, terminal: Terminal, style: Style = DIM) -> list[Line]:
    """A note on a view, wrapped; nothing if it is empty."""
    return wrap(plain_words(note, terminal), style, width=terminal.width)


def _fact_lines(first: StyledSpan, facts: Iterable[str], terminal: Terminal) -> list[Line]:
    parts = [Line.of(first), *(Line.of(plain_words(fact, terminal)) for fact in facts)]
    return flow(parts, separator=glyphs(terminal).separator, width=terminal.width)


# --- above a picture


def model_lines(result: HeadsResult, terminal: Terminal) -> list[Line]:
    """The first line of a view: the model and how it was run."""
    return _fact_lines(StyledSpan(name_text(result.model, terminal), BOLD), model_facts(result), terminal)


def stack_lines(stack: Stack, terminal: Terminal) -> list[Line]:
    """The line above each stack."""
    name, *facts = stack_facts(stack)
    return _fact_lines(StyledSpan(name, BOLD), facts, terminal)


def tokens_line(tokens: Sequence[Token], terminal: Terminal, *, above_dots: bool = False) -> Line:
    """The text as its tokens, in one line. above_dots: draw spaces as ␣, as dots mean something else in the picture."""
    shown = tokens[: terminal.width]
    if above_dots and terminal.unicode:
        shown = [token._replace(text=token.text.replace(" ", _SPACE)) for token in shown]
    texts = [token_text(token, terminal) for token in shown]
    spans = (
        StyledSpan(text + direction_end(text), DIM if token.special else PLAIN)
        for text, token in zip(texts, shown, strict=True)
    )
    return joined(map(Line.of, spans), " ")


def query_and_key_lines(stack: Stack, terminal: Terminal) -> list[Line]:
    """Cross attention's two texts, that of the rows and that of the columns; nothing for pictures and sounds."""
    sides = (("rows", stack.queries, stack.query_medium), ("columns", stack.keys, stack.key_medium))
    return [
        joined([Line.of(StyledSpan(f"{name:<7} ", DIM)), tokens_line(tokens, terminal)])
        for name, tokens, medium in sides
        if is_cross(stack) and tokens and medium.kind == "tokens"
    ]


def pooling_lines(stack: Stack, shown: Pattern, terminal: Terminal) -> list[Line]:
    """With a pooled picture: how many weights are in how many cells. Above one head, below several."""
    facts = (Line.of(plain_words(fact, terminal)) for fact in pooling_facts(stack, shown))
    return flow(facts, separator=" ", width=terminal.width)


def label_line(name: str | None, sentence: Sentence, terminal: Terminal) -> Line:
    """The letter of a label, and what heads with it do."""
    return Line.of(label_tile(name, terminal), f" {sentence_text(sentence, terminal)}")


def label_tile(name: str | None, terminal: Terminal, width: int = _TILE) -> StyledSpan:
    """The letter of a label in the middle of coloured cells; blank without one."""
    if not name:
        return StyledSpan(" " * width)
    label, few = label_of(name), terminal.color is ColorDepth.ANSI
    background = label.basic_color if few else label.color
    # Bold black is grey where there are only sixteen colours.
    style = Style(background and _BLACK, background, bold=not (few and background))
    return StyledSpan(label.letter.center(width), style)
