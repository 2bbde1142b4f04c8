"""The text output of `attn tokenize`: each text as a picture, a table (`--table`) or findings, as it is read.

The table has a row for each token:

    9 tokens (2 special*) · sentence-transformers/all-MiniLM-L6-v2

    #     id  token  text    characters  bytes  word  note
    0    101  [CLS]  [CLS]*           –      –     –  special
    1   2202  take   take           0–4    0–4     0

Columns are as wide as their content. In a narrow terminal the note is left out first, as marks in the text say the
same, then bytes, words and characters; the raw form and the text share the remaining width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from attncli.render.common.cells import Glyphs, cell_width, glyphs
from attncli.render.common.document import lines_to_text
from attncli.render.common.escape import fit_width, printable, visible
from attncli.render.common.lines import DIM, PLAIN, Line, Style, StyledSpan
from attncli.render.common.terminal import Terminal
from attncli.render.tokenize.forms import Form
from attncli.render.tokenize.picture import (
    cut_word_lines,
    header,
    statistics_lines,
    statistics_phrases,
    text_picture,
)
from attncli.render.tokenize.token_cells import GAP, Cell, is_partial_character, token_cells, unknown_tokens
from attncli.results.tokenize import Record, TokenizedText, TokenizeResult
from attncli.results.tokens import Token

#: Columns that are left out, in this order, if the raw form and the text would have fewer than so many cells each.
_OPTIONAL_COLUMNS = {"note": 24, "bytes": 12, "word": 12, "characters": 12}


class RecordText(Form):
    """Texts one after another, with a blank line between them.

    table: tokens as a table.  lint: findings of the texts, at the end those of the vocabulary; of several texts those
    without findings are only counted.  count: the number of texts; None if unknown.
    """

    def __init__(
        self,
        terminal: Terminal,
        *,
        models: Sequence[str] = (),
        table: bool = False,
        lint: bool = False,
        count: int | None = None,
    ) -> None:
        self._terminal = terminal
        self._models = models
        self._table = table
        self._lint = lint
        self._count = count
        self._started = False
        self._texts, self._clean = 0, dict.fromkeys(models, 0)

    def record(self, record: Record) -> str:
        self._texts += 1
        text = "\n".join(block for block in self._blocks(record) if block)
        if not text:
            return ""
        gap = "\n" if self._started else ""
        self._started = True
        return gap + text

    def end(self, summary: TokenizeResult) -> Iterator[str | bytes]:
        if not self._lint:
            return
        from attncli.render.tokenize.findings import nothing_found_text, unreachable_text

        if self._count != 1:
            yield "\n" * self._started + nothing_found_text(
                self._models, list(self._clean.values()), self._texts, self._terminal
            )
            self._started = True
        if summary.unreachable is not None:
            yield "\n" * self._started + unreachable_text(self._models, summary.unreachable, self._terminal)

    def _blocks(self, record: Record) -> Iterator[str]:
        if record.comparison is not None and not (self._table or self._lint):
            from attncli.render.tokenize.aligned import aligned_text

            yield aligned_text(record.texts, record.comparison, self._terminal, count=self._count)
        for text in record.texts:
            if record.comparison is None or self._table or self._lint:
                yield self._picture(text)
            if text.why is not None:
                from attncli.render.tokenize.explanation import explain_text

                yield self._heading(record, text) + explain_text(text.why, self._terminal)

    def _heading(self, record: Record, text: TokenizedText) -> str:
        """The model of an explanation, if there are several models."""
        if record.comparison is None:
            return ""
        return lines_to_text(
            [Line.of(StyledSpan(printable(text.model, unicode=self._terminal.unicode), Style(bold=True)))],
            self._terminal,
        )

    def _picture(self, text: TokenizedText) -> str:
        if self._lint:
            from attncli.render.tokenize.findings import lint_text

            if self._count != 1 and not text.findings:
                self._clean[text.model] += 1
                return ""
            return lint_text(text.findings or (), text, self._terminal, count=self._count)
        if self._table:
            return token_table(text, self._terminal, count=self._count)
        if text.chat is not None:
            from attncli.render.tokenize.chat import chat_text

            return chat_text(text, text.chat, self._terminal, count=self._count)
        return text_picture(text, self._terminal, count=self._count)


# --- The table of tokens


class _Column(NamedTuple):
    """A column of the table: its name, a value for each token, its width, and whether it is aligned right."""

    name: str
    values: list[str]
    width: int
    right: bool


def token_table(text: TokenizedText, terminal: Terminal, *, count: int | None = None) -> str:
    """A header, a row for each token, a line of statistics, and the words of the most tokens.

    count: the number of texts; None if unknown.  No line is wider than the terminal.
    """
    return lines_to_text(_lines(text, count, terminal), terminal)


def _lines(text: TokenizedText, count: int | None, terminal: Terminal) -> Iterator[Line]:
    cells, words = token_cells(text, terminal)
    yield header(text, count, terminal)
    yield Line()
    columns = _fit_columns(_columns(text, cells, terminal), terminal.width)
    yield _line(columns, [column.name for column in columns], [DIM] * len(columns), terminal)
    for index, cell in enumerate(cells):
        yield _row(columns, index, cell.style, terminal)
    if text.text is not None:
        yield Line()
        yield from statistics_lines(statistics_phrases(text.stats), terminal)
        yield from cut_word_lines(words, terminal)


def _columns(text: TokenizedText, cells: Sequence[Cell], terminal: Terminal) -> list[_Column]:
    shown = glyphs(terminal)
    tokens = text.tokens
    notes = _token_notes(text)
    raw = [visible(token.token or str(token.id), unicode=terminal.unicode) for token in tokens]
    columns = [
        _column("#", [str(token.index) for token in tokens], right=True),
        _column("id", [cell.id for cell in cells], right=True),
        _column("token", raw),
        _column("text", [cell.text for cell in cells]),
        _column("characters", _range_texts(tokens, lambda token: (token.start, token.end), shown), right=True),
        _column("bytes", _range_texts(tokens, lambda token: (token.byte_start, token.byte_end), shown), right=True),
        _column("word", [shown.dot if token.word is None else str(token.word) for token in tokens], right=True),
        _column("note", notes),
    ]
    return [column for column in columns if column.name != "note" or any(notes)]


def _column(name: str, values: list[str], *, right: bool = False) -> _Column:
    return _Column(name, values, max(map(cell_width, (name, *values))), right)


def _range_texts(
    tokens: Sequence[Token], place: Callable[[Token], tuple[int | None, int | None]], shown: Glyphs
) -> list[str]:
    """Half-open ranges, as in the JSON; a dash for a token without a place in the text."""
    places = (place(token) for token in tokens)
    return [shown.dot if start is None else f"{start}{shown.dash}{end}" for start, end in places]


def _token_notes(text: TokenizedText) -> list[str]:
    """What is unusual about each token."""
    unknown = unknown_tokens(text)
    return [_token_note(token, index in unknown) for index, token in enumerate(text.tokens)]


def _token_note(token: Token, unknown: bool) -> str:
    if token.special:
        return "special"
    if unknown:
        return "unknown"
    if token.start is not None and token.start == token.end:
        return "not in the text"
    return "part of a character" if is_partial_character(token) else ""


def _fit_columns(columns: list[_Column], width: int) -> list[_Column]:
    """Leave out and narrow columns until a row fits the width."""
    for name, granted in _OPTIONAL_COLUMNS.items():
        if _min_width(columns, granted) <= width:
            break
        columns = [column for column in columns if column.name != name]
    room = width - sum(column.width for column in columns if not _is_elastic(column)) - len(GAP) * (len(columns) - 1)
    raw, text = (column.width for column in columns if _is_elastic(column))
    raw = max(1, min(raw, max(room - text, room // 2)))
    widths = {"token": raw, "text": max(1, min(text, room - raw))}
    return [column._replace(width=widths.get(column.name, column.width)) for column in columns]


def _min_width(columns: Sequence[_Column], granted: int) -> int:
    """The least width of a row, in cells."""
    needed = (min(column.width, granted) if _is_elastic(column) else column.width for column in columns)
    return sum(needed) + len(GAP) * (len(columns) - 1)


def _is_elastic(column: _Column) -> bool:
    return column.name in ("token", "text")


def _row(columns: Sequence[_Column], index: int, style: Style, terminal: Terminal) -> Line:
    """The values of one token: its background colour only under its text; a special token is dim in all columns."""
    other = DIM if style == DIM else PLAIN
    styles = (style if column.name == "text" else other for column in columns)
    return _line(columns, [column.values[index] for column in columns], styles, terminal)


def _line(columns: Sequence[_Column], values: Sequence[str], styles: Iterable[Style], terminal: Terminal) -> Line:
    spans: list[StyledSpan] = []
    for column, value, style in zip(columns, values, styles, strict=True):
        width = min(cell_width(value), column.width)
        content, rest = StyledSpan(fit_width(value, width, terminal), style), StyledSpan(" " * (column.width - width))
        spans += [StyledSpan(GAP if spans else ""), *((rest, content) if column.right else (content, rest))]
    return Line(tuple(spans))
