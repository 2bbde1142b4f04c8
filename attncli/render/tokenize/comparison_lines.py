"""What several tokenizers make of a text, beneath the picture of it: numbers side by side, and where they part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from attncli.render.cells import cell_width
from attncli.render.glyphs import glyphs
from attncli.render.layout import flow, joined
from attncli.render.lines import BOLD, DIM, Line, Style, StyledSpan
from attncli.render.terminal import Terminal
from attncli.render.tokenize.aligned_columns import tokens_line
from attncli.render.tokenize.cells import GAP, Cell
from attncli.render.tokenize.picture import unknown_text, why_no_fertility, without_words
from attncli.results.comparison import Comparison, TokenDifference
from attncli.results.tokenize import TokenizedText, TokenStats

#: So many differences are listed.
_LISTED = 10

#: Marks what is not cut alike, with and without colour.
MARK = "~"
MARKED = Style(fg=(0xD5, 0x5E, 0x00), bold=True)

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


def statistics_table(
    texts: Sequence[TokenizedText], comparison: Comparison, keys: Sequence[str], terminal: Terminal
) -> Iterator[Line]:
    """A row a measure, a column a model; as many tables under one another as the width asks for."""
    rows = list(_rows(texts, comparison, keys, terminal))
    head = max(cell_width(name) for name, _ in rows)
    values = [[row[1][index] for row in rows] for index in range(len(keys))]
    widths = [max(map(cell_width, (key, *column))) for key, column in zip(keys, values, strict=True)]
    fitting = max(1, (terminal.width - head) // (max(widths) + len(GAP)))
    for first in range(0, len(keys), fitting):
        if first:
            yield Line()
        shown = range(first, min(first + fitting, len(keys)))
        yield Line.of(" " * head, *(StyledSpan(GAP + _right(keys[index], widths[index]), BOLD) for index in shown))
        for name, numbers in rows:
            cells = (GAP + _right(numbers[index], widths[index]) for index in shown)
            yield Line.of(StyledSpan(name + " " * (head - cell_width(name)), DIM), *cells)


def figure_notes(texts: Sequence[TokenizedText], keys: Sequence[str], terminal: Terminal) -> Iterator[Line]:
    """What the numbers leave out, and which of them flatter: one unknown token may stand for a long stretch."""
    stats = texts[0].stats
    notes = [*why_no_fertility(stats)] if stats.fertility is None else []
    if not notes and stats.unspaced_scripts:
        notes.append(f"fertility is without {without_words(stats)}")
    for text, key in zip(texts, keys, strict=True):
        if text.stats.flattered:
            notes.append(f"{key} has unknown tokens for {unknown_text(text.stats)}, which flatters its other figures")
    for note in notes:
        words = [Line.of(StyledSpan(word, DIM)) for word in note.split(" ")]
        yield from flow(words, separator=" ", width=terminal.width, indent=2)


def difference_lines(
    comparison: Comparison, cells: Sequence[Sequence[Cell]], keys: Sequence[str], terminal: Terminal
) -> Iterator[Line]:
    """Which stretches are not cut alike, and how each model cuts them; or that there is none."""
    found = comparison.differences
    for model in range(1, len(keys)):
        if all(difference.segment.same_cuts[model] for difference in found):
            yield from _like_the_first(comparison, model, keys, terminal)
    if found:
        count = f" {len(found):,} place{'' if len(found) == 1 else 's'} not cut alike:"
        yield Line.of(StyledSpan(MARK, MARKED), StyledSpan(count, DIM))
    for difference in found[:_LISTED]:
        yield from _difference(difference, cells, keys, terminal)
    if len(found) > _LISTED:
        yield Line.of(StyledSpan(f"  and {len(found) - _LISTED:,} more", DIM))


def invented_lines(texts: Sequence[TokenizedText], keys: Sequence[str], terminal: Terminal) -> Iterator[Line]:
    """Which models have tokens that stand for nothing of the text, as those count among tokens and not among cuts."""
    for text, key in zip(texts, keys, strict=True):
        count = sum(token.start is not None and token.start == token.end for token in text.tokens)
        if count:
            tokens = f"{count:,} token{'' if count == 1 else 's'}"
            parts = [
                f"{key} has {tokens} for no character of the text",
                "(a space put before it):",
                "counted, but no cut",
            ]
            yield from flow(
                [Line.of(StyledSpan(part, DIM)) for part in parts], separator=" ", width=terminal.width, indent=2
            )


def _rows(
    texts: Sequence[TokenizedText], comparison: Comparison, keys: Sequence[str], terminal: Terminal
) -> Iterator[tuple[str, list[str]]]:
    stats = [text.stats for text in texts]
    for name, count in _COUNTS:
        yield name, [f"{count(each):,}" for each in stats]
    for name, ratio in _RATIOS:
        yield name, [_number(ratio(each), terminal) for each in stats]
    parity = [row[0] for row in comparison.parity]
    yield f"parity to {keys[0]}", [_number(value, terminal) for value in parity]
    yield f"cuts shared with {keys[0]}", [_number(value, terminal) for value in comparison.agreement[0]]


def _number(value: float | None, terminal: Terminal) -> str:
    return glyphs(terminal).dash if value is None else f"{value:.2f}"


def _right(text: str, width: int) -> str:
    return " " * (width - cell_width(text)) + text


def _like_the_first(comparison: Comparison, model: int, keys: Sequence[str], terminal: Terminal) -> list[Line]:
    place = comparison.ids[model]
    says = f"{keys[model]} cuts the text as {keys[0]} does"
    if place is None:
        parts = [f"{says}, and its ids are the same"]
    else:
        ids = ["nothing" if token is None else str(token.id) for token in (place.first, place.other)]
        parts = [f"{says}, but its ids differ,", f"first at token {place.position}:", f"{ids[0]} and {ids[1]}"]
    return flow([Line.of(part) for part in parts], separator=" ", width=terminal.width, indent=2)


def _difference(
    difference: TokenDifference, cells: Sequence[Sequence[Cell]], keys: Sequence[str], terminal: Terminal
) -> list[Line]:
    """The place, and each way to cut it with the models that do so."""
    segment = difference.segment
    ways = [_way(cells[model][first:last], terminal) for model, (first, last) in enumerate(segment.tokens)]
    # Shades, case and space within a token make no other way to cut.
    spelled = [[token.text.strip().casefold() for token in tokens] for tokens in difference.pieces]
    order = sorted(range(len(keys)), key=lambda model: (spelled.index(spelled[model]), model))
    parts = [Line.of(StyledSpan(f"  {segment.start}{glyphs(terminal).dash}{segment.end}", DIM))]
    for _, run in groupby(order, key=lambda model: spelled[model]):
        models = list(run)
        parts.append(
            joined([Line.of(StyledSpan(",".join(keys[model] for model in models), BOLD), " "), ways[models[0]]])
        )
    return flow(parts, separator=GAP, width=terminal.width, indent=6)


def _way(cells: Sequence[Cell], terminal: Terminal) -> Line:
    return tokens_line(cells, terminal) if cells else Line.of(StyledSpan("nothing", DIM))
