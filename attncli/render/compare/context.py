"""The sentences of `attn compare` with their word in brackets, in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from attncli.render.common.cells import cell_width, clusters, crop, pad
from attncli.render.common.colormap import LABEL_COLORS, has_colormap, text_color_on
from attncli.render.common.console import rgb_style, text
from attncli.render.common.escape import ascii_safe, direction_end, printable
from attncli.render.common.terminal import Terminal
from attncli.render.views.compare import CompareView
from attncli.results.compare import Occurrence

#: Sentences up to which all are shown; of more, the first half of this number.
MAX_SENTENCES = 40
_MIN_CONTEXT = 16


def group_style(view: CompareView, index: int, terminal: Terminal) -> str | Style:
    """The colour of an occurrence's group; bold without groups or colours."""
    if not (has_colormap(terminal.color) and view.has_groups):
        return "bold"
    color = LABEL_COLORS[view.group(index) % len(LABEL_COLORS)]
    return rgb_style(text_color_on(color), color)


def context_rows(view: CompareView, terminal: Terminal) -> Sequence[RenderableType]:
    """`2 animal  A [mole] dug a tunnel`, followed by the tokens if occurrences are not all single, equal tokens."""
    count = len(view.names)
    shown = view.result.occurrences[: count if count <= MAX_SENTENCES else MAX_SENTENCES // 2]
    pieces = [" + ".join(printable(piece, unicode=terminal.unicode) for piece in each.pieces) for each in shown]
    tokens = {(each.word, each.pieces) for each in view.result.occurrences}
    # Whether every word is always the same single token.
    alike = all(len(each) == 1 for _, each in tokens) and len(tokens) == len({word for word, _ in tokens})
    pieces_width = 0 if alike else min(max(map(cell_width, pieces)), terminal.width // 4)
    tag_width = max(map(cell_width, view.tags))
    widths = [max(map(len, view.names[: len(shown)])), tag_width, pieces_width]
    room = max(terminal.width - sum(width + 2 for width in widths if width), _MIN_CONTEXT)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    for index, each in enumerate(shown):
        name = text(view.names[index], group_style(view, index, terminal))
        tag = [text(pad(view.tags[index], tag_width))] if tag_width else []
        context = context_line(each, room, view)
        context.pad_right(room - context.cell_len if pieces_width else 0)
        behind = [text(crop(pieces[index], pieces_width), "dim")] if pieces_width else []
        table.add_row(name, *tag, context, *behind)
    if len(shown) == count:
        return [table]
    more = f"… and {count - len(shown):,} more; --format jsonl lists them all"
    return [table, Text(ascii_safe(more, terminal), "dim")]


def context_line(occurrence: Occurrence, room: int, view: CompareView) -> Text:
    """The sentence with `[brackets]` around the word, in at most `room` cells; the word is never shortened."""
    sentence, start, end = occurrence.text, occurrence.start, occurrence.end
    before, word, after = map(view.flat, (sentence[:start], sentence[start:end], sentence[end:]))
    before, after = before.lstrip(), after.rstrip()
    left = room - cell_width(word) - 2
    cut = "…" if view.unicode else "~"
    if cell_width(before) + cell_width(after) > left:
        # The text before a word matters more; in causal models it is all that the word can see.
        share = max(left - cell_width(after), left * 3 // 5)
        if cell_width(before) > share:
            before = cut + _text_end(before, share - 1)
        if cell_width(after) > left - cell_width(before):
            after = crop(after, max(left - cell_width(before) - 1, 0)) + cut
    marked = text(word + direction_end(word), "bold underline")
    line = Text.assemble(text(before), "[", marked, "]", text(after))
    line.truncate(room, overflow="ellipsis")
    return line


def _text_end(text: str, width: int) -> str:
    """The longest end of a text that takes at most so many cells."""
    end: list[str] = []
    for piece in reversed(clusters(text)):
        width -= cell_width(piece)
        if width < 0:
            break
        end.append(piece)
    return "".join(reversed(end))
