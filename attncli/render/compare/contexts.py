"""The sentences, each on a line, with the word marked and what it was cut into."""

from __future__ import annotations

from collections.abc import Sequence

from attncli.render.cells import cell_width, clusters, crop, pad
from attncli.render.compare.names import Tags, ascii_safe, occurrence_names
from attncli.render.escape import printable
from attncli.render.glyphs import glyphs
from attncli.render.layout import joined
from attncli.render.lines import DIM, Line, Style, StyledSpan
from attncli.render.terminal import Terminal
from attncli.render.token_text import direction_end
from attncli.results.compare import CompareResult, Occurrence

#: Sentences that are shown; of more, the first half as many.
MOST_SHOWN = 40
_LEAST_CONTEXT = 16
_MARK = Style(bold=True, underline=True)


def context_lines(result: CompareResult, tags: Tags, terminal: Terminal) -> list[Line]:
    """`2 animal  A [mole] dug a tunnel`, and behind it the pieces where occurrences are cut in different ways."""
    names = occurrence_names(result)
    shown = range(len(names) if len(names) <= MOST_SHOWN else MOST_SHOWN // 2)
    name_width = max(len(names[index]) for index in shown)
    pieces = [_pieces(each, terminal) for each in result.occurrences[: len(shown)]]
    pieces_width = 0 if _cut_alike(result.occurrences) else min(max(map(cell_width, pieces)), terminal.width // 4)
    rest = terminal.width - name_width - 2 - (tags.width + 2 if tags.width else 0)
    room = max(rest - (pieces_width + 2 if pieces_width else 0), _LEAST_CONTEXT)
    lines = []
    for index in shown:
        name = StyledSpan(names[index].rjust(name_width), tags.style(index))
        tag = StyledSpan(f"{pad(tags.texts[index], tags.width)}  " if tags.width else "")
        context = in_context(result.occurrences[index], room, terminal)
        gap = " " * max(room - context.width, 0)
        behind = StyledSpan(f"{gap}  {crop(pieces[index], pieces_width)}" if pieces_width else "", DIM)
        lines.append(Line.of(name, "  ", tag, *context.spans, behind))
    if len(shown) < len(names):
        more = f"and {len(names) - len(shown):,} more; --format jsonl lists them all"
        lines.append(Line.of(StyledSpan(ascii_safe(f"… {more}", terminal), DIM)))
    return lines


def _cut_alike(occurrences: Sequence[Occurrence]) -> bool:
    """Whether every word is cut in one way and into one piece: then there is nothing to say about pieces."""
    return all(len(each.pieces) == 1 for each in occurrences) and all(
        len({each.pieces for each in occurrences if each.word == word}) == 1
        for word in {each.word for each in occurrences}
    )


def _pieces(occurrence: Occurrence, terminal: Terminal) -> str:
    return " + ".join(printable(piece, unicode=terminal.unicode) for piece in occurrence.pieces)


def in_context(occurrence: Occurrence, room: int, terminal: Terminal) -> Line:
    """The sentence with `[brackets]` around the word, in at most `room` cells: cut at both ends, never at the word."""
    text, start, end = occurrence.text, occurrence.start, occurrence.end
    before, word, after = (_plain(part, terminal) for part in (text[:start], text[start:end], text[end:]))
    before, after = before.lstrip(), after.rstrip()
    left = room - cell_width(word) - 2
    cut = glyphs(terminal).cut
    if cell_width(before) + cell_width(after) > left:
        # What stands before a word says more than what follows, in models that read from left to right all of it.
        share = max(left - cell_width(after), left * 3 // 5)
        if cell_width(before) > share:
            before = cut + _end_of(before, share - 1)
        if cell_width(after) > left - cell_width(before):
            after = crop(after, max(left - cell_width(before) - 1, 0)) + cut
    parts = [Line.of(before), Line.of("[", StyledSpan(word + direction_end(word), _MARK), "]"), Line.of(after)]
    return joined(parts).cropped(room, cut)


def _plain(text: str, terminal: Terminal) -> str:
    shown = "".join(" " if character in "\n\r\t" else character for character in text)
    return printable(shown, unicode=terminal.unicode)


def _end_of(text: str, width: int) -> str:
    """The longest end of a text that takes at most so many cells."""
    kept: list[str] = []
    for piece in reversed(clusters(text)):
        width -= cell_width(piece)
        if width < 0:
            break
        kept.append(piece)
    return "".join(reversed(kept))
