"""Aligned words of pairs of texts: rows for a terminal, and a table with a row for each link."""

from __future__ import annotations

from itertools import islice

from rich.text import Text

from attncli.render.common.cells import cell_width, glyphs, pad, shorten
from attncli.render.common.console import Rows, row
from attncli.render.common.escape import ascii_safe, printable
from attncli.render.common.terminal import Terminal
from attncli.render.data import Row, Table
from attncli.render.heads.header import note_row, sentence_row
from attncli.render.views.alignment import ALIGNMENT_NOTE, alignment_sentence, pharaoh, shown_pairs
from attncli.results.alignment import AlignedPair, WordLink
from attncli.results.heads import HeadsResult

_COLUMNS = ("record", "source_index", "source_word", "target_index", "target_word", "weight")
#: Lines of the header, the sentence, blank ones, notes and the line that counts what is left out.
_AROUND = 9


def alignment_rows(result: HeadsResult, terminal: Terminal) -> Rows:
    """What aligns the words, and each pair: its links as numbers of words, `0-0 2-1`, and as words."""
    pairs = list(result.aligned_pairs())
    room = len(pairs) if terminal.full else max(1, (terminal.lines - _AROUND) // 2)
    width = max((len(str(pair.record)) for pair in pairs), default=1)
    rows: Rows = [sentence_row(alignment_sentence(result, len(pairs)), terminal), Text()]
    for pair in islice(pairs, room):
        rows += _pair_rows(pair, width, terminal)
    if len(pairs) > room:
        rows.append(Text(f"{glyphs(terminal).ellipsis} {len(pairs) - room:,} more pairs (--full)", "dim"))
    return [*rows, Text(), note_row(ALIGNMENT_NOTE, terminal)]


def _pair_rows(pair: AlignedPair, width: int, terminal: Terminal) -> Rows:
    mark = glyphs(terminal).cut
    indent, room = " " * (width + 2), terminal.width - width - 2
    numbers = row((pad(str(pair.record), width, right=True), "dim"), "  ", shorten(pharaoh(pair), room, mark))
    words = ascii_safe(printable(shown_pairs(pair)), terminal)
    return [numbers, row(indent, (words if cell_width(words) <= room else shorten(words, room, mark), "dim"))]


def alignment_table(result: HeadsResult) -> Table:
    """A row for each link."""
    return _COLUMNS, map(_link_row, result.alignment or ())


def _link_row(link: WordLink) -> Row:
    return link.record, link.source.index, link.source.text, link.target.index, link.target.text, link.weight
