"""Sentences, headers and notes of the views of heads as rows for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.style import Style
from rich.text import Text

from attncli.render.common.cells import glyphs, shorten
from attncli.render.common.console import Flow, Part, Rows, StyledText, rgb_style, row, sentence, text
from attncli.render.common.escape import ascii_safe, direction_end, name_text, token_text
from attncli.render.common.terminal import ColorDepth, Rgb, Terminal
from attncli.render.views.header import is_cross, model_facts, pooling_facts, stack_facts
from attncli.render.views.metric_words import label_of
from attncli.render.views.sentences import NO_BREAK, Position, Sentence, Words
from attncli.results.heads import HeadsResult, Stack
from attncli.results.patterns import Pattern
from attncli.results.tokens import Token

#: Cells of the text of a position in a sentence.
LONGEST_POSITION = 32
#: Cells of a tile with the letter of a label.
_TILE = 3
_BLACK: Rgb = (0, 0, 0)
_STYLES = {"plain": "", "strong": "bold", "quiet": "dim"}


# --- sentences


def content_text(content: str | Token | Position, terminal: Terminal) -> str:
    """Words, a token, or a position (`cat (token 2)`, the text shortened) as text."""
    if isinstance(content, str):
        return ascii_safe(content.replace(NO_BREAK, " "), terminal)
    if isinstance(content, Token):
        return token_text(content, terminal)
    token = content.token
    whole = token_text(token._replace(text=token.text.strip() or token.text), terminal)
    short = shorten(whole, LONGEST_POSITION, glyphs(terminal).cut)
    return f"{short}{direction_end(short)} ({ascii_safe(content.place, terminal)})"


def sentence_text(sentence: Iterable[Words], terminal: Terminal) -> str:
    """A sentence on one line, without styles."""
    return "".join(content_text(content, terminal) for content, _ in sentence)


def sentence_parts(sentence: Iterable[Words], terminal: Terminal) -> list[Text]:
    """The parts of a sentence between which lines may break: words, and whole tokens, positions and strong words."""
    parts: list[list[Part]] = []
    is_open = False  # whether the next words continue the last part
    for content, role in sentence:
        pieces = content.split(" ") if isinstance(content, str) and role != "strong" else [content]
        for place, piece in enumerate(pieces):
            part = content_text(piece, terminal), _STYLES[role]
            if piece and place == 0 and is_open:
                parts[-1].append(part)
            elif piece:
                parts.append([part])
        is_open = bool(pieces[-1])
    return [row(*part) for part in parts]


def sentence_row(sentence: Iterable[Words], terminal: Terminal) -> Flow:
    """A sentence wrapped to the terminal's width."""
    return Flow(sentence_parts(sentence, terminal), " ")


def note_row(note: str, terminal: Terminal, style: str = "dim") -> Flow:
    """A note on a view, wrapped; no row if it is empty."""
    return sentence(ascii_safe(note, terminal), style=style)


def _fact_row(first: Text, facts: Iterable[str], terminal: Terminal) -> Flow:
    return Flow([first, *(text(ascii_safe(fact, terminal)) for fact in facts)], glyphs(terminal).separator)


# --- above a picture


def model_row(result: HeadsResult, terminal: Terminal) -> Flow:
    """The first line of a view: the model and how it was run."""
    facts = model_facts(result, full=terminal.full)
    return _fact_row(text(name_text(result.model, terminal), "bold"), facts, terminal)


def stack_row(stack: Stack, terminal: Terminal) -> Flow:
    """The line above each stack."""
    name, *facts = stack_facts(stack)
    return _fact_row(text(name, "bold"), facts, terminal)


def tokens_row(tokens: Sequence[Token], terminal: Terminal) -> Text:
    """The text as its tokens, in one line."""
    shown = tokens[: terminal.width]
    texts = [token_text(token, terminal) for token in shown]
    return Text(" ").join(
        text(content + direction_end(content), "dim" if token.special else "")
        for content, token in zip(texts, shown, strict=True)
    )


def query_and_key_rows(stack: Stack, terminal: Terminal) -> Rows:
    """Cross attention's two texts, that of the rows and that of the columns; nothing for pictures and sounds."""
    sides = (("rows", stack.queries, stack.query_medium), ("columns", stack.keys, stack.key_medium))
    return [
        row((f"{name:<7} ", "dim"), tokens_row(tokens, terminal))
        for name, tokens, medium in sides
        if is_cross(stack) and tokens and medium.kind == "tokens"
    ]


def pooling_row(stack: Stack, shown: Pattern, terminal: Terminal) -> Flow:
    """With a pooled picture: how many weights are in how many cells. Above one head, below several."""
    return Flow((text(ascii_safe(fact, terminal)) for fact in pooling_facts(stack, shown)), " ")


def label_row(name: str | None, sentence: Sentence, terminal: Terminal) -> Text:
    """The letter of a label, and what heads with it do."""
    return row(label_tile(name, terminal), f" {sentence_text(sentence, terminal)}")


def label_tile(name: str | None, terminal: Terminal, width: int = _TILE) -> StyledText:
    """The letter of a label in the middle of coloured cells; blank without one."""
    if not name:
        return " " * width, ""
    label, few = label_of(name), terminal.color is ColorDepth.ANSI
    background = label.basic_color if few else label.color
    # Bold black is grey where there are only sixteen colours.
    style = rgb_style(background and _BLACK, background) + Style(bold=not (few and background) or None)
    return label.letter.center(width), style
