"""What a model wrote (`--generate`), in a terminal: a row for each new token."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from attncli.render.common.cells import cell_width, glyphs, shorten
from attncli.render.common.console import Part, Rows, column_table, first_to_fit
from attncli.render.common.escape import token_text
from attncli.render.common.terminal import Terminal
from attncli.render.heads.header import note_row, sentence_row
from attncli.render.views.writing import WrittenRow, reading_note, strongest_head, written_rows, written_sentence
from attncli.results.generated import Generated
from attncli.results.tokens import Token

#: The fewest and the most cells of a token, and the width from which readings of all heads together are shown, and
#: runner-ups.
_LEAST_TOKEN, _MOST_TOKEN = 4, 16
_ROOM_FOR_MEANS, _ROOM_FOR_RUNNER_UP = 76, 56
#: Cells between columns.
_GAP = 2

#: A heading, how its cells are justified, and the cells.
_Column = tuple[str, JustifyMethod, Sequence[Part]]


def generated_rows(generated: Generated, terminal: Terminal, *, pictures: bool = False) -> Rows:
    """The text that was written, a row for each of its tokens, and what the columns are."""
    rows = written_rows(generated)
    variants = (
        _generated(generated, rows, count, terminal, pictures=pictures)
        for count in range(len(rows), min(len(rows), 3) - 1, -1)
    )
    return first_to_fit(variants, terminal, terminal.lines - 1)


def _generated(
    generated: Generated, rows: Sequence[WrittenRow], count: int, terminal: Terminal, *, pictures: bool
) -> Rows:
    """With the first `count` rows."""
    more = f"and {len(rows) - count:,} more tokens (--full)" if count < len(rows) else ""
    shown: Rows = [sentence_row(written_sentence(generated), terminal), Text(), _table(rows[:count], terminal)]
    shown += [note_row(more, terminal), Text(), note_row(reading_note(generated, pictures=pictures), terminal)]
    head = strongest_head(rows)
    hint = f"-H {head} to see that head, --full for the map of all heads"
    if pictures:
        hint = "--query -1 to see what the last token reads, --full for all heads"
    hint = f"Try: attn heads {glyphs(terminal).ellipsis} {hint}"
    return shown if head is None or len(hint) > terminal.width else [*shown, Text(), Text(hint, "dim")]


def _table(rows: Sequence[WrittenRow], terminal: Terminal) -> Table:
    """The columns that there is room for, with tokens cut so that they fit."""
    columns = _columns(rows, _LEAST_TOKEN, terminal)
    for cells in range(_MOST_TOKEN, _LEAST_TOKEN, -1):
        wide = _columns(rows, cells, terminal)
        if sum(_width(heading, parts) + _GAP for heading, _, parts in wide) - _GAP <= terminal.width:
            columns = wide
            break
    return column_table(columns)


def _width(heading: str, parts: Sequence[Part]) -> int:
    return max(cell_width(each if isinstance(each, str) else str(each[0])) for each in (heading, *parts))


def _columns(rows: Sequence[WrittenRow], cells: int, terminal: Terminal) -> list[_Column]:
    """cells: the most of a token."""

    def tokens(heading: str, token: Callable[[WrittenRow], Token | None], style: str = "") -> _Column:
        found = [token(row) for row in rows]
        return heading, "left", [("" if each is None else _short(each, cells, terminal), style) for each in found]

    def numbers(number: Callable[[WrittenRow], str], style: str = "dim") -> _Column:
        return "", "right", [(number(row), style) for row in rows]

    columns = [tokens("token", lambda row: row.token, "bold"), numbers(lambda row: row.probability, "")]
    if any(row.time for row in rows):
        columns.append(("word's time", "left", [row.time for row in rows]))
    if terminal.width >= _ROOM_FOR_RUNNER_UP:
        columns += [tokens("runner-up", lambda row: row.runner_up), numbers(lambda row: row.runner_up_probability)]
    if terminal.width >= _ROOM_FOR_MEANS:
        columns += [tokens("looked at", lambda row: row.key), numbers(lambda row: row.key_weight)]
    columns.append(("head", "right", [row.head for row in rows]))
    return [*columns, tokens("reads", lambda row: row.head_key), numbers(lambda row: row.head_weight)]


def _short(token: Token, cells: int, terminal: Terminal) -> str:
    return shorten(token_text(token, terminal), cells, glyphs(terminal).cut)
