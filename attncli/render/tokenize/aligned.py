"""One text under several tokenizers in a terminal: a row of tokens for each, aligned where all of them cut.

    2 tokenizers
    A  sentence-transformers/all-MiniLM-L6-v2
    B  openai-community/gpt2

    A  [CLS]*  the   mole   s     [SEP]*
       101     1996  16709│2015  102
    B          the  ␣m  │oles
               1169  285│4316
                     ~~~~~~~~~~

Beneath each block `~` marks the segments that not all models cut alike. Statistics side by side and a list of these
segments follow. The characters are the same with colour and without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attncli.render.common.cells import cell_width, glyphs
from attncli.render.common.document import lines_to_text
from attncli.render.common.lines import BOLD, DIM, Line, StyledSpan
from attncli.render.common.terminal import Terminal
from attncli.render.tokenize.comparison_lines import (
    MARK,
    MARK_STYLE,
    AlignedColumn,
    aligned_columns,
    difference_lines,
    model_keys,
    shortened_name,
    statistics_notes,
    statistics_table,
    textless_token_lines,
)
from attncli.render.tokenize.picture import text_position
from attncli.render.tokenize.token_cells import GAP, Cell, token_cells
from attncli.results.comparison import Comparison
from attncli.results.tokenize import TokenizedText


def aligned_text(
    texts: Sequence[TokenizedText], comparison: Comparison, terminal: Terminal, *, count: int | None = None
) -> str:
    """The models, their tokens aligned, their statistics side by side, and where they cut differently.

    texts: the text under each model, in the order of the comparison.  count: the number of texts; None if unknown.

    No line is wider than the terminal.
    """
    return lines_to_text(_lines(texts, comparison, count, terminal), terminal)


def _lines(
    texts: Sequence[TokenizedText], comparison: Comparison, count: int | None, terminal: Terminal
) -> Iterator[Line]:
    keys = model_keys(comparison.models, terminal)
    cells = [token_cells(text, terminal)[0] for text in texts]
    yield from _header(comparison, keys, count, terminal)
    yield from _blocks(comparison, cells, keys, terminal)
    yield Line()
    yield from statistics_table(texts, comparison, keys, terminal)
    yield from statistics_notes(texts, keys, terminal)
    yield Line()
    yield from difference_lines(comparison, cells, keys, terminal)
    yield from textless_token_lines(texts, keys, terminal)


def _header(comparison: Comparison, keys: Sequence[str], count: int | None, terminal: Terminal) -> Iterator[Line]:
    separator = glyphs(terminal).separator
    place = text_position(comparison.record, count)
    keys_are_names = list(keys) == list(comparison.models)
    names = separator + separator.join(keys) if keys_are_names else ""
    title = StyledSpan(f"{len(keys)} tokenizers", BOLD)
    yield Line.of(title, separator + place if place else "", StyledSpan(names, DIM))
    for key, model in zip(keys, comparison.models, strict=True):
        if not keys_are_names:
            name = shortened_name(model, terminal.width - cell_width(key) - len(GAP), terminal)
            yield Line.of(StyledSpan(key, BOLD), GAP, StyledSpan(name, DIM))


def _blocks(
    comparison: Comparison, cells: Sequence[Sequence[Cell]], keys: Sequence[str], terminal: Terminal
) -> Iterator[Line]:
    """The columns in blocks as wide as the terminal, each after a blank line."""
    margin = max(map(cell_width, keys)) + len(GAP)
    # The bar before the first column of a block is in the margin's last cell.
    width = max(terminal.width - margin, 1)
    block: list[AlignedColumn] = []
    used = 0
    for column in aligned_columns(comparison, cells, width, terminal):
        needed = len(column.before.text) + column.width
        if block and (column.begins_line or used + needed > width):
            yield from _block(block, keys, margin)
            block, used = [], 0
        used += needed if block else column.width
        block.append(column)
    if block:
        yield from _block(block, keys, margin)


def _block(block: Sequence[AlignedColumn], keys: Sequence[str], margin: int) -> Iterator[Line]:
    yield Line()
    for model, key in enumerate(keys):
        texts = [column.rows[model].texts for column in block]
        ids = [column.rows[model].ids for column in block]
        if not any(line.plain.strip() for line in ids):
            continue  # this model has no token in the block
        yield _row(block, texts, [StyledSpan(key, BOLD), StyledSpan(" " * (margin - cell_width(key)))])
        yield _row(block, ids, [StyledSpan(" " * margin)])
    if any(column.differs for column in block):
        yield _marks(block, margin)


def _row(block: Sequence[AlignedColumn], parts: Sequence[Line], start: Sequence[StyledSpan]) -> Line:
    """The margin and the parts; if a word continues from the block before, its bar is in the margin."""
    spans = list(start)
    for index, (column, part) in enumerate(zip(block, parts, strict=True)):
        if index:
            spans.append(column.before)
        elif column.before.text.strip():
            spans[-1:] = [StyledSpan(spans[-1].text[: -len(column.before.text)]), column.before]
        spans.extend(part.spans)
    return Line(tuple(spans))


def _marks(block: Sequence[AlignedColumn], margin: int) -> Line:
    spans = [StyledSpan(" " * margin)]
    for index, column in enumerate(block):
        gap = " " * len(column.before.text) if index else ""
        spans.append(StyledSpan(gap + " " * column.width) if not column.differs else StyledSpan(gap))
        if column.differs:
            spans.append(StyledSpan(MARK * column.width, MARK_STYLE))
    return Line(tuple(spans))
