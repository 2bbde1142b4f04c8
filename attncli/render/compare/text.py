"""The view of `attn compare` in a terminal: the sentences, each chosen state's pictures, and the path over states."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from attncli.render.common.cells import cell_width, clusters, crop, glyphs, pad
from attncli.render.common.console import Flow, render_blocks, sentence, text
from attncli.render.common.escape import ascii_safe, direction_end, printable
from attncli.render.common.terminal import Terminal
from attncli.render.compare.matrix import group_style, map_rows, matrix_rows
from attncli.render.views.compare import RANDOM_WORDS, CompareView, Track, cosine_text
from attncli.results.compare import CompareResult, Occurrence, State

#: Sentences up to which all are shown; of more, the first half of this number.
MAX_SENTENCES = 40
_MIN_CONTEXT = 16
#: Marks of values from low to high, and of values below the scale.
_SPARK_BLOCKS, _LOWER = "▁▂▃▄▅▆▇█", "↓"
_SPARK_DIGITS, _LOWER_ASCII = "0123456789", "v"
Block = Sequence[RenderableType]


def compare_text(result: CompareResult, terminal: Terminal) -> str:
    """The result for a terminal of this width, colour depth and character set; no line is wider than the terminal."""
    view = CompareView(result, unicode=terminal.unicode)
    blocks = [
        _header(view, terminal),
        context_rows(view, terminal),
        *(block for state in result.chosen for block in _state_blocks(state, view, terminal)),
        _path_rows(view, terminal),
        _sentences([view.best_sentence], terminal),
        [sentence(ascii_safe(view.sample_sentence, terminal), style="dim")] if view.sample_sentence else [],
    ]
    return render_blocks(blocks, terminal)


def _header(view: CompareView, terminal: Terminal) -> Block:
    separator = glyphs(terminal).separator
    parts = (
        [text(ascii_safe(fact, terminal), "" if place else "bold") for place, fact in enumerate(facts)]
        for facts in view.facts
    )
    return [Flow(each, separator) for each in parts]


def _sentences(sentences: Iterable[str], terminal: Terminal) -> Block:
    return [sentence(ascii_safe(each, terminal), indent=2) for each in sentences if each]


def _state_blocks(state: State, view: CompareView, terminal: Terminal) -> list[Block]:
    title = Text(view.state_title(state.state), "bold")
    sentences = _sentences(view.state_sentences(state), terminal)
    plane = map_rows(state, view, terminal)
    if state.shown is None or len(view.names) < 3:
        return [[title, *_sentences(view.nearest_sentences(state), terminal), *sentences], plane]
    matrix = matrix_rows(state.shown, view, terminal) or _sentences(view.extreme_sentences(state), terminal)
    return [[title, *matrix], sentences, plane]


# --- The sentences of the occurrences


def context_rows(view: CompareView, terminal: Terminal) -> Block:
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


# --- The path over the states


def _path_rows(view: CompareView, terminal: Terminal) -> Block:
    """Sparklines of all pairs together and of single pairs; no rows for a single state."""
    states, summary = view.result.states, view.summary_tracks
    # Random words are far below: with them on the scale, the other tracks would look flat.
    others = [track for track in (*summary, *view.pair_tracks) if track.name != RANDOM_WORDS]
    known = [value for track in others for value in track.values if value is not None]
    if len(states) < 2 or not known:
        return []
    low, high = min(known), max(known)
    marks, lower = (_SPARK_BLOCKS, _LOWER) if terminal.unicode else (_SPARK_DIGITS, _LOWER_ASCII)
    any_lower = any(value is not None and value < low for track in summary for value in track.values)
    title = (
        f"from state {states[0].state} to {states[-1].state}, {marks[0]} {cosine_text(low)} to {marks[-1]} "
        f"{cosine_text(high)}{f', {lower} lower' if any_lower else ''}:"
    )
    rows: Block = [sentence(ascii_safe(title, terminal)), *_track_rows(summary, low, high, terminal)]
    if not view.pair_tracks:
        return rows
    cells = _track_rows(view.pair_tracks, low, high, terminal)
    width = max(cell.cell_len for cell in cells)
    for cell in cells:
        cell.pad_right(width - cell.cell_len)
    gap = "   "
    height = -(-len(cells) // max((terminal.width + len(gap)) // (width + len(gap)), 1))
    return [*rows, Text(), *(Text(gap).join(cells[row::height]) for row in range(height))]


def _track_rows(tracks: Sequence[Track], low: float, high: float, terminal: Terminal) -> list[Text]:
    """`all pairs  ▅▇▇▆  0.90 → 0.93`: a track's name, its values, and the ends of these."""
    names = [ascii_safe(track.name, terminal) for track in tracks]
    width = max(map(cell_width, names))
    rows = []
    for name, (_, values) in zip(names, tracks, strict=True):
        first, *_, last = [value for value in values * 2 if value is not None]
        ends = ascii_safe(f"  {cosine_text(first)} → {cosine_text(last)}", terminal)
        spark = "".join(_spark_mark(value, low, high, terminal) for value in values)
        rows.append(Text.assemble(text(pad(name, width, right=True), "dim"), "  ", (spark, "bold"), ends))
    return rows


def _spark_mark(value: float | None, low: float, high: float, terminal: Terminal) -> str:
    marks, lower = (_SPARK_BLOCKS, _LOWER) if terminal.unicode else (_SPARK_DIGITS, _LOWER_ASCII)
    if value is None or value < low:
        return " " if value is None else lower
    share = (value - low) / (high - low) if high - low > 1e-9 else 1.0
    return marks[min(max(int(share * len(marks)), 0), len(marks) - 1)]
