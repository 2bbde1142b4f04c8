"""Parts of the comparison of several tokenizers: short keys for models, aligned columns, statistics and differences."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, zip_longest
from string import ascii_uppercase
from typing import NamedTuple

from attncli.render.common.cells import cell_width, crop, glyphs
from attncli.render.common.escape import SLASHES, direction_end, fit_width, printable
from attncli.render.common.lines import BOLD, DIM, Line, Style, StyledSpan, flow, joined
from attncli.render.common.terminal import Terminal
from attncli.render.tokenize.picture import unknown_share_text, why_no_fertility, words_left_out
from attncli.render.tokenize.token_cells import GAP, Cell, word_bar
from attncli.results.comparison import Comparison, Segment, TokenDifference
from attncli.results.tokenize import TokenizedText, TokenStats

#: Cells of model names that are used as keys, on terminals of at least the second width.
_MAX_SHORT_NAME, _MIN_NAME_WIDTH = 10, 60
#: Differences that are listed.
_MAX_DIFFERENCES = 10
#: Marks segments that not all models cut alike.
MARK = "~"
MARK_STYLE = Style(fg=(0xD5, 0x5E, 0x00), bold=True)
_COUNTS: tuple[tuple[str, Callable[[TokenStats], int]], ...] = (
    ("tokens", lambda stats: stats.tokens),
    ("special*", lambda stats: stats.special_tokens),
    ("continued words", lambda stats: stats.continued_words),
    ("unknown", lambda stats: stats.unknown),
)
_RATIOS: tuple[tuple[str, Callable[[TokenStats], float | None]], ...] = (
    ("fertility", lambda stats: stats.fertility),
    ("bytes/token", lambda stats: stats.bytes_per_token),
)


# --- Keys for models


def model_keys(models: Sequence[str], terminal: Terminal) -> list[str]:
    """A key for each model; the names themselves, if they are short and all different."""
    names = [printable(model, unicode=terminal.unicode) for model in models]
    if (
        len(set(names)) == len(names)
        and terminal.width >= _MIN_NAME_WIDTH
        and max(map(cell_width, names)) <= _MAX_SHORT_NAME
    ):
        return names
    return [_letter_key(index) for index in range(len(models))]


def _letter_key(index: int) -> str:
    """A to Z, then A2 to Z2 and so on."""
    round_, place = divmod(index, len(ascii_uppercase))
    return ascii_uppercase[place] + (str(round_ + 1) if round_ else "")


def shortened_name(name: str, width: int, terminal: Terminal) -> str:
    """A model's name in at most `width` cells. Cut at the beginning: folders and owners first."""
    name = printable(name, unicode=terminal.unicode)
    if cell_width(name) <= width:
        return name
    cut = glyphs(terminal).cut
    for slash in re.finditer(SLASHES, name):
        shorter = cut + name[slash.start() :]
        if cell_width(shorter) <= width:
            return shorter
    end = crop(re.split(SLASHES, name)[-1][::-1], width - 1)[::-1]
    return cut + end


# --- Aligned columns


class AlignedRow(NamedTuple):
    """One model's tokens in a column: texts over ids, both `width` cells wide."""

    texts: Line
    ids: Line
    width: int


class AlignedColumn(NamedTuple):
    """A segment of the text, or a part of one that is too wide for the terminal.

    rows: one a model.  before: separator to the column before it.  differs: not all models cut the segment alike.
    begins_line: a line of the text ends before it.
    """

    rows: tuple[AlignedRow, ...]
    width: int
    before: StyledSpan
    differs: bool
    begins_line: bool


def aligned_columns(
    comparison: Comparison, cells: Sequence[Sequence[Cell]], width: int, terminal: Terminal
) -> Iterator[AlignedColumn]:
    """The text in columns of at most `width` cells.

    cells: those of each model, an entry a token.
    """
    previous: Segment | None = None
    for segment in comparison.segments:
        segment_cells = [drawn[first:last] for drawn, (first, last) in zip(cells, segment.tokens, strict=True)]
        inside = word_bar(False, terminal)
        before = inside if previous is not None and _is_within_word(previous, segment) else StyledSpan(GAP)
        begins_line = previous is not None and _is_line_start(previous, segment)
        wrapped = [list(_wrapped(drawn, width, inside)) for drawn in segment_cells]
        for part in zip_longest(*wrapped, fillvalue=()):
            yield _column(part, before, segment, begins_line, terminal)
            before, begins_line = inside, False
        previous = segment


def _is_within_word(previous: Segment, segment: Segment) -> bool:
    """Whether a word continues from one segment to the next."""
    if previous.added or segment.added or previous.sequence != segment.sequence:
        return False
    return not previous.text[-1:].isspace() and not segment.text[:1].isspace()


def _is_line_start(previous: Segment, segment: Segment) -> bool:
    if previous.added or segment.added or previous.sequence != segment.sequence:
        return False
    ended = "\n" in previous.text[len(previous.text.rstrip()) :] and not segment.text.startswith("\n")
    begun = segment.text.strip() and "\n" in segment.text[: -len(segment.text.lstrip())]
    return ended or bool(begun)


def _wrapped(cells: Sequence[Cell], width: int, inside: StyledSpan) -> Iterator[tuple[Cell, ...]]:
    """The cells in rows of at most `width` cells; a wider one has a row of its own."""
    row: list[Cell] = []
    used = 0
    for cell in cells:
        needed = len(inside.text) + min(cell.width, width)
        if row and used + needed > width:
            yield tuple(row)
            row, used = [], 0
        used += needed if row else needed - len(inside.text)
        row.append(cell._replace(width=min(cell.width, width)))
    if row:
        yield tuple(row)


def _column(
    part: Sequence[Sequence[Cell]], before: StyledSpan, segment: Segment, begins_line: bool, terminal: Terminal
) -> AlignedColumn:
    inside = word_bar(False, terminal)
    width = max(sum(cell.width for cell in row) + len(inside.text) * max(len(row) - 1, 0) for row in part)
    rows = tuple(_row(row, width, inside, terminal) for row in part)
    return AlignedColumn(rows, width, before, segment.differs, begins_line)


def _row(cells: Sequence[Cell], width: int, inside: StyledSpan, terminal: Terminal) -> AlignedRow:
    """The cells of one model, the last one padded to the width of the column."""
    if not cells:
        return AlignedRow(Line.of(" " * width), Line.of(" " * width), width)
    texts: list[StyledSpan] = []
    ids: list[StyledSpan] = []
    left = width
    for index, cell in enumerate(cells):
        room = left if index == len(cells) - 1 else cell.width
        style = cell.style._replace(bold=False)
        texts.append(StyledSpan(fit_width(cell.text, room, terminal), style))
        ids.append(StyledSpan(fit_width(cell.id, room, terminal), style))
        left -= room + len(inside.text)
        if index < len(cells) - 1:
            texts.append(inside)
            ids.append(inside)
    return AlignedRow(Line(tuple(texts)), Line(tuple(ids)), width)


# --- Statistics and differences


def statistics_table(
    texts: Sequence[TokenizedText], comparison: Comparison, keys: Sequence[str], terminal: Terminal
) -> Iterator[Line]:
    """A row a measure, a column a model; columns that don't fit follow in further tables."""
    rows = list(_statistics_rows(texts, comparison, keys, terminal))
    head = max(cell_width(name) for name, _ in rows)
    values = [[row[1][index] for row in rows] for index in range(len(keys))]
    widths = [max(map(cell_width, (key, *column))) for key, column in zip(keys, values, strict=True)]
    fitting = max(1, (terminal.width - head) // (max(widths) + len(GAP)))
    for first in range(0, len(keys), fitting):
        if first:
            yield Line()
        shown = range(first, min(first + fitting, len(keys)))
        yield Line.of(
            " " * head, *(StyledSpan(GAP + _right_aligned(keys[index], widths[index]), BOLD) for index in shown)
        )
        for name, numbers in rows:
            cells = (GAP + _right_aligned(numbers[index], widths[index]) for index in shown)
            yield Line.of(StyledSpan(name + " " * (head - cell_width(name)), DIM), *cells)


def _statistics_rows(
    texts: Sequence[TokenizedText], comparison: Comparison, keys: Sequence[str], terminal: Terminal
) -> Iterator[tuple[str, list[str]]]:
    stats = [text.stats for text in texts]
    for name, count in _COUNTS:
        if terminal.full or any(map(count, stats)):
            yield name, [f"{count(each):,}" for each in stats]
    for name, ratio in _RATIOS:
        yield name, [_number_text(ratio(each), terminal) for each in stats]
    parity = [row[0] for row in comparison.parity]
    yield f"parity to {keys[0]}", [_number_text(value, terminal) for value in parity]
    yield f"same splits as {keys[0]}", [_number_text(value, terminal) for value in comparison.agreement[0]]


def _number_text(value: float | None, terminal: Terminal) -> str:
    return glyphs(terminal).dot if value is None else f"{value:.2f}"


def _right_aligned(text: str, width: int) -> str:
    return " " * (width - cell_width(text)) + text


def statistics_notes(texts: Sequence[TokenizedText], keys: Sequence[str], terminal: Terminal) -> Iterator[Line]:
    """What fertility leaves out, and which statistics look too good: one unknown token may replace a long text."""
    stats = texts[0].stats
    notes = [*why_no_fertility(stats)] if stats.fertility is None else []
    if not notes and stats.unspaced_scripts:
        notes.append(f"fertility leaves out {words_left_out(stats)}")
    for text, key in zip(texts, keys, strict=True):
        if text.stats.has_much_unknown:
            notes.append(
                f"{key} has unknown tokens for {unknown_share_text(text.stats)}, so its other figures look too good"
            )
    for note in notes:
        words = [Line.of(StyledSpan(word, DIM)) for word in note.split(" ")]
        yield from flow(words, separator=" ", width=terminal.width, indent=2)


def difference_lines(
    comparison: Comparison, cells: Sequence[Sequence[Cell]], keys: Sequence[str], terminal: Terminal
) -> Iterator[Line]:
    """The segments that are not cut alike, and how each model cuts them; or that there are none."""
    differences = comparison.differences
    for model in range(1, len(keys)):
        if all(difference.segment.same_cuts[model] for difference in differences):
            yield from _same_cuts_lines(comparison, model, keys, terminal)
    if differences:
        count = f" {len(differences):,} difference{'' if len(differences) == 1 else 's'} in splitting:"
        yield Line.of(StyledSpan(MARK, MARK_STYLE), StyledSpan(count, DIM))
    for difference in differences[:_MAX_DIFFERENCES]:
        yield from _one_difference(difference, cells, keys, terminal)
    if len(differences) > _MAX_DIFFERENCES:
        yield Line.of(StyledSpan(f"  and {len(differences) - _MAX_DIFFERENCES:,} more", DIM))


def _same_cuts_lines(comparison: Comparison, model: int, keys: Sequence[str], terminal: Terminal) -> list[Line]:
    place = comparison.ids[model]
    sentence = f"{keys[model]} splits the text as {keys[0]} does"
    if place is None:
        parts = [f"{sentence}, and its ids are the same"]
    else:
        ids = ["nothing" if token is None else str(token.id) for token in (place.first, place.other)]
        parts = [f"{sentence}, but its ids differ,", f"first at token {place.position}:", f"{ids[0]} and {ids[1]}"]
    return flow([Line.of(part) for part in parts], separator=" ", width=terminal.width, indent=2)


def _one_difference(
    difference: TokenDifference, cells: Sequence[Sequence[Cell]], keys: Sequence[str], terminal: Terminal
) -> list[Line]:
    """The segment's place, and each way to cut it with the models that do so."""
    segment = difference.segment
    cuts = [_cut_line(cells[model][first:last], terminal) for model, (first, last) in enumerate(segment.tokens)]
    # Case and spaces within a token make no other way to cut.
    spelled = [[token.text.strip().casefold() for token in tokens] for tokens in difference.pieces]
    order = sorted(range(len(keys)), key=lambda model: (spelled.index(spelled[model]), model))
    parts = [Line.of(StyledSpan(f"  {segment.start}{glyphs(terminal).dash}{segment.end}", DIM))]
    for _, run in groupby(order, key=lambda model: spelled[model]):
        models = list(run)
        parts.append(
            joined([Line.of(StyledSpan(",".join(keys[model] for model in models), BOLD), " "), cuts[models[0]]])
        )
    return flow(parts, separator=GAP, width=terminal.width, indent=6)


def _cut_line(cells: Sequence[Cell], terminal: Terminal) -> Line:
    return tokens_line(cells, terminal) if cells else Line.of(StyledSpan("nothing", DIM))


def tokens_line(cells: Sequence[Cell], terminal: Terminal) -> Line:
    """The texts of some tokens in one line, without padding."""
    spans: list[StyledSpan] = []
    for index, cell in enumerate(cells):
        if index:
            spans.append(word_bar(False, terminal))
        spans.append(StyledSpan(cell.text + direction_end(cell.text), cell.style._replace(bold=False)))
    return Line(tuple(spans))


def textless_token_lines(texts: Sequence[TokenizedText], keys: Sequence[str], terminal: Terminal) -> Iterator[Line]:
    """Which models have tokens without a character of the text; these count as tokens, but make no cut."""
    for text, key in zip(texts, keys, strict=True):
        count = sum(token.start is not None and token.start == token.end for token in text.tokens)
        if count:
            tokens = f"{count:,} token{'' if count == 1 else 's'}"
            parts = [
                f"{key} has {tokens} without a character of the text",
                "(a space put before it):",
                "counted, but not a split",
            ]
            yield from flow(
                [Line.of(StyledSpan(part, DIM)) for part in parts], separator=" ", width=terminal.width, indent=2
            )
