"""The statistics of one or several tokenizers in a terminal, each figure with its meaning.

    3 texts · org/bert

    tokens                    16  without added special tokens
    fertility               1.14  tokens per word; 1: no word is split; lower is better
    …

    by script  tokens  words  characters  bytes/token  fertility  continued  unknown
    Latin          16     14          70         4.38       1.14      14.3%     0.0%
    Han             6      –           7         3.17          –          –    28.6%

Several tokenizers have columns side by side, on the same texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from attncli.render.common.cells import cell_width, glyphs, pad
from attncli.render.common.document import lines_to_text
from attncli.render.common.escape import fit_width, name_text, visible
from attncli.render.common.lines import BOLD, DIM, PLAIN, Line, Style, StyledSpan, flow, joined, separate_blocks
from attncli.render.common.terminal import Terminal
from attncli.results.statistics import CutWord, Parity, ScriptStatistics, TokenizerStatistics
from attncli.results.tokenize import MUCH_UNKNOWN, TokenizedText, TokenStats

#: A row of a table: its label, and a value for each column.
Row = tuple[str, Sequence[str]]
_GAP = "  "
#: Cells beside the values from which on meanings stand there, and not beneath the row.
_MIN_MEANING_CELLS = 30
#: Cells of a model's name above a column, and of the beginning of a text.
_MAX_NAME_CELLS = 24
#: Replacements of characters beyond ASCII in our own words.
_ASCII_LETTERS = str.maketrans({"é": "e", "α": "alpha", "–": "-"})


class _Figure(NamedTuple):
    """A row of the table: its name, its value for each tokenizer, and its meaning.

    always: whether it is shown even if no tokenizer has it (`is_known`).  tells: whether it says something, unless all
    is asked for.
    """

    name: str
    value: Callable[[TokenizerStatistics], str]
    meaning: str
    always: bool = True
    is_known: Callable[[TokenizerStatistics], bool] = bool
    tells: Callable[[TokenizerStatistics], bool] = bool


class TextLine(NamedTuple):
    """A text's row in the statistics: the model, the text's number and beginning, and its figures."""

    model: str
    name: str
    stats: TokenStats


def text_line(text: TokenizedText, terminal: Terminal) -> TextLine:
    """The row of a text."""
    begins = visible((text.text or "")[:_MAX_NAME_CELLS], unicode=terminal.unicode)
    more = text.text is not None and len(text.text) > _MAX_NAME_CELLS
    whole = begins + glyphs(terminal).cut * more
    return TextLine(
        text.model,
        f"{text.record + 1} {fit_width(whole, min(cell_width(whole), _MAX_NAME_CELLS), terminal)}",
        text.stats,
    )


def statistics_text(
    statistics: Sequence[TokenizerStatistics],
    parity: Sequence[Parity],
    terminal: Terminal,
    texts: Sequence[TextLine] = (),
) -> str:
    """The figures of one tokenizer, or of several in columns; by script where there are several scripts.

    parity: of each tokenizer but the first, in their order.  texts: those with a row of their own, for each tokenizer.
    No line is wider than the terminal.
    """
    by_text = (
        [_text_table(each, texts, terminal, with_name=len(statistics) > 1) for each in statistics] if texts else []
    )
    blocks = [_heading(statistics, terminal), *by_text, _figure_lines(statistics, parity, terminal)]
    if len({script.script for each in statistics for script in each.scripts}) > 1:
        blocks += (
            [_script_table(statistics[0], terminal)]
            if len(statistics) == 1
            else _script_tables(statistics, parity, terminal)
        )
    if unknown_notes := list(_unknown_text_lines(statistics, terminal)):
        blocks.append(unknown_notes)
    blocks += [
        _cut_word_lines(each, terminal, with_name=len(statistics) > 1) for each in statistics if each.most_cut_words
    ]
    return lines_to_text(separate_blocks(blocks), terminal)


def _heading(statistics: Sequence[TokenizerStatistics], terminal: Terminal) -> list[Line]:
    texts = max((each.texts for each in statistics), default=0)
    count = StyledSpan(f"{texts:,} text{'' if texts == 1 else 's'}", BOLD)
    names = [Line.of(StyledSpan(name_text(each.model, terminal), DIM)) for each in statistics]
    return flow([Line.of(count), *names], separator=glyphs(terminal).separator, width=terminal.width)


def _text_table(
    statistics: TokenizerStatistics, texts: Sequence[TextLine], terminal: Terminal, *, with_name: bool
) -> list[Line]:
    names = ("tokens", "words", "bytes/token", "fertility", "unknown")
    rows = [(text.name, _text_values(text.stats, terminal)) for text in texts if text.model == statistics.model]
    table = figure_table("by text", names, rows, terminal)
    return [Line.of(StyledSpan(name_text(statistics.model, terminal), DIM)), *table] if with_name else table


def _text_values(text: TokenStats, terminal: Terminal) -> list[str]:
    return [
        f"{text.tokens:,}",
        f"{text.spaced_words:,}",
        _decimal(text.bytes_per_token, terminal),
        _decimal(text.fertility, terminal),
        f"{text.unknown:,}",
    ]


def _figure_lines(
    statistics: Sequence[TokenizerStatistics], parity: Sequence[Parity], terminal: Terminal
) -> list[Line]:
    """The table of all figures."""
    figures = [figure for figure in _known_figures(terminal) if _is_shown(figure, statistics, terminal)]
    rows = [(figure.name, [figure.value(each) for each in statistics]) for figure in figures]
    meanings = [figure.meaning for figure in figures]
    if parity:
        rows.append(("parity", [_decimal(1.0, terminal), *(_decimal(each.tokens, terminal) for each in parity)]))
        meanings.append(_parity_meaning(parity))
    names = _column_names(statistics, terminal) if len(statistics) > 1 else []
    return figure_table("", names, rows, terminal, meanings=[_ascii_safe(meaning, terminal) for meaning in meanings])


def _is_shown(figure: _Figure, statistics: Sequence[TokenizerStatistics], terminal: Terminal) -> bool:
    """Whether a figure says something of one of the tokenizers, or all are asked for."""
    if not (figure.always or any(map(figure.is_known, statistics))):
        return False
    return terminal.full or any(map(figure.tells, statistics))


def _known_figures(terminal: Terminal) -> Iterator[_Figure]:
    def number(value: float | None) -> str:
        return _decimal(value, terminal)

    yield _Figure("tokens", lambda s: f"{s.total.tokens:,}", "without added special tokens")
    yield _Figure("special tokens", lambda s: f"{s.total.special_tokens:,}", "added by the tokenizer")
    yield _Figure(
        "words", lambda s: f"{s.total.words:,}", "runs of non-space, in scripts that put spaces between words"
    )
    yield _Figure("characters", lambda s: f"{s.total.characters:,}", "")
    yield _Figure("bytes", lambda s: f"{s.total.bytes:,}", "in UTF-8")
    yield _Figure(
        "fertility", lambda s: number(s.total.fertility), "tokens per word; 1: no word is split; lower is better"
    )
    yield _Figure(
        "continued words",
        lambda s: _share(s.total.continued_words_share, terminal),
        "words of several tokens, without punctuation; lower is better",
    )
    yield _Figure("bytes/token", lambda s: number(s.total.bytes_per_token), "higher is better")
    yield _Figure("characters/token", lambda s: number(s.total.characters_per_token), "higher is better")
    yield _Figure(
        "unknown",
        lambda s: f"{s.total.unknown:,}",
        "tokens for text that is not in the vocabulary; 0 is best",
        tells=lambda s: s.total.unknown > 0,
    )
    yield _Figure(
        "unknown text",
        lambda s: _share(s.total.unknown_characters_share, terminal),
        "characters that became these; 0 is best",
        tells=lambda s: s.total.unknown > 0,
    )
    yield _Figure("distinct tokens", lambda s: f"{s.total.distinct_tokens:,}", "in these texts")
    yield _Figure("vocabulary", lambda s: _count(s.vocabulary_size, terminal), "tokens in total")
    yield _Figure(
        _ascii_safe("Rényi efficiency", terminal),
        lambda s: number(s.total.renyi_efficiency),
        "how evenly the distinct tokens are used, 0 to 1 (α = 2.5); higher is better",
        always=False,
        is_known=lambda s: s.total.renyi_efficiency is not None,
    )
    yield from _length_figures(terminal)


def _length_figures(terminal: Terminal) -> Iterator[_Figure]:
    yield _Figure(
        "shortest text",
        lambda s: _count(s.lengths.minimum, terminal),
        "tokens, with added special tokens",
        tells=_has_several,
    )
    yield _Figure("median text", lambda s: _median(s.lengths.median, terminal), "", tells=_has_several)
    yield _Figure("longest text", lambda s: _count(s.lengths.maximum, terminal), "", tells=_has_several)
    yield _Figure("model limit", lambda s: _count(s.lengths.max_length, terminal), "tokens")
    yield _Figure(
        "longer texts",
        lambda s: f"{s.lengths.longer:,}",
        "with more tokens than the model limit",
        tells=lambda s: s.lengths.longer > 0,
    )


def _has_several(statistics: TokenizerStatistics) -> bool:
    return statistics.texts > 1


def _parity_meaning(parity: Sequence[Parity]) -> str:
    means = "tokens per token of the first one; below 1: fewer tokens"
    lost = any(each.tokens is None for each in parity)
    return f"{means}; none where much of the text became unknown tokens" if lost else means


def _script_table(statistics: TokenizerStatistics, terminal: Terminal) -> list[Line]:
    names = ("tokens", "words", "characters", "bytes/token", "fertility", "continued", "unknown")
    rows = [(_script_name(script.script), _script_values(script, terminal)) for script in statistics.scripts]
    return figure_table("by script", names, rows, terminal)


def _script_values(script: ScriptStatistics, terminal: Terminal) -> list[str]:
    return [
        f"{script.tokens:,}",
        _count(script.words, terminal),
        f"{script.characters:,}",
        _decimal(script.bytes_per_token, terminal),
        _decimal(script.fertility, terminal),
        _share(script.continued_words_share, terminal),
        _share(script.unknown_characters_share, terminal),
    ]


def _script_name(script: str) -> str:
    return script.replace("_", " ")


def _script_tables(
    statistics: Sequence[TokenizerStatistics], parity: Sequence[Parity], terminal: Terminal
) -> Iterator[list[Line]]:
    """A table for each figure: a row a script, a column a tokenizer."""
    names = _column_names(statistics, terminal)
    scripts = list(dict.fromkeys(script.script for each in statistics for script in each.scripts))
    by_name = [{script.script: script for script in each.scripts} for each in statistics]

    def rows(value: Callable[[ScriptStatistics], str]) -> list[Row]:
        none = glyphs(terminal).dot
        return [
            (_script_name(name), [value(scripts_of[name]) if name in scripts_of else none for scripts_of in by_name])
            for name in scripts
        ]

    tables: dict[str, Sequence[Row]] = {
        "tokens": rows(lambda script: f"{script.tokens:,}"),
        "parity": [(_script_name(name), _parity_values(name, by_name[0], parity, terminal)) for name in scripts],
        "fertility": rows(lambda script: _decimal(script.fertility, terminal)),
        "bytes/token": rows(lambda script: _decimal(script.bytes_per_token, terminal)),
        "unknown": rows(lambda script: _share(script.unknown_characters_share, terminal)),
    }
    side = max(map(cell_width, (*tables, *scripts)))
    for title, table in tables.items():
        if title != "parity" or parity:
            yield figure_table(pad(title, side), names, table, terminal)


def _parity_values(
    name: str, reference: Mapping[str, ScriptStatistics], parity: Sequence[Parity], terminal: Terminal
) -> list[str]:
    """The parity of one script: of the first tokenizer to itself, then of the others to it."""
    first = 1.0 if name in reference and reference[name].tokens else None
    return [_decimal(ratio, terminal) for ratio in (first, *(each.scripts.get(name) for each in parity))]


def _unknown_text_lines(statistics: Sequence[TokenizerStatistics], terminal: Terminal) -> Iterator[Line]:
    """Which tokenizers look better than they are, as one unknown token may replace a long text."""
    for each in statistics:
        if sentence := _unknown_text_sentence(each):
            words = [f"{name_text(each.model, terminal)}:", *sentence.split()]
            yield from flow([Line.of(word) for word in words], separator=" ", width=terminal.width)


def _unknown_text_sentence(statistics: TokenizerStatistics) -> str:
    """How much of the text became unknown tokens; empty if that is little."""
    whole, scripts = statistics.total, statistics.scripts
    if not whole.characters:
        share = whole.unknown_share or 0.0
        return f"{share:.0%} of its tokens are unknown" if share >= MUCH_UNKNOWN else ""
    shares = {each.script: each.unknown_characters_share or 0.0 for each in scripts}
    much = [f"{_script_name(script)} {share:.0%}" for script, share in shares.items() if share >= MUCH_UNKNOWN]
    if not much and (whole.unknown_characters_share or 0.0) < MUCH_UNKNOWN:
        return ""
    which = f" ({', '.join(much)})" if much and len(scripts) > 1 else ""
    share = whole.unknown_characters_share or 0.0
    return (
        f"{share:.0%} of the text became unknown tokens{which}: its other figures {'there ' if which else ''}look "
        "too good"
    )


def _cut_word_lines(statistics: TokenizerStatistics, terminal: Terminal, *, with_name: bool) -> list[Line]:
    whose = f" with {name_text(statistics.model, terminal)}" if with_name else ""
    words = [
        Line.of("  " * (not index), _cut_word_text(word, terminal))
        for index, word in enumerate(statistics.most_cut_words)
    ]
    listed = flow(words, separator=glyphs(terminal).separator, width=terminal.width, indent=2)
    return [Line.of(StyledSpan(f"words of the most tokens{whose}", BOLD)), *listed]


def _cut_word_text(word: CutWord, terminal: Terminal) -> str:
    text = visible(word.word, unicode=terminal.unicode)
    if word.characters > len(word.word):
        text += glyphs(terminal).cut
    count = f" {word.tokens:,}"
    return fit_width(text, min(cell_width(text), max(terminal.width - len(count) - 2, 1)), terminal) + count


def _column_names(statistics: Sequence[TokenizerStatistics], terminal: Terminal) -> list[str]:
    """The models' names above columns; of long ones the ends, which differ most."""
    most = min(_MAX_NAME_CELLS, max(terminal.width // 3, 8))
    return [_name_end(name_text(each.model, terminal), most, glyphs(terminal).cut) for each in statistics]


def _name_end(name: str, width: int, cut: str) -> str:
    start = 0
    while cell_width(name[start:]) > width - bool(start):
        start += 1
    return cut * bool(start) + name[start:]


def _ascii_safe(text: str, terminal: Terminal) -> str:
    return text if terminal.unicode else text.translate(_ASCII_LETTERS)


def _decimal(value: float | None, terminal: Terminal) -> str:
    return glyphs(terminal).dot if value is None else f"{value:,.2f}"


def _share(value: float | None, terminal: Terminal) -> str:
    return glyphs(terminal).dot if value is None else f"{value:.1%}"


def _count(value: int | None, terminal: Terminal) -> str:
    return glyphs(terminal).dot if value is None else f"{value:,}"


def _median(value: float | None, terminal: Terminal) -> str:
    return glyphs(terminal).dot if value is None else f"{value:,.1f}".removesuffix(".0")


# --- Tables


def figure_table(
    title: str, names: Sequence[str], rows: Sequence[Row], terminal: Terminal, meanings: Sequence[str] = ()
) -> list[Line]:
    """A table of rows under column names, in several parts if it is too wide.

    meanings: one a row, beside the first part or beneath its rows.
    """
    side = max(cell_width(label) for label in (title, *(label for label, _ in rows)))
    cells = list(zip(*(values for _, values in rows), strict=True))
    headed = [(name, column) for name, column in zip(names or [""] * len(cells), cells, strict=True)]
    lines: list[Line] = []
    for number, part in enumerate(_column_groups(headed, terminal.width - side)):
        if lines:
            lines.append(Line())
        if names:
            lines.append(_table_row(title, side, [(name, _column_width(name, column)) for name, column in part], BOLD))
        for index, (label, _) in enumerate(rows):
            row = _table_row(
                label, side, [(column[index], _column_width(name, column)) for name, column in part], PLAIN
            )
            lines += _with_meaning(row, meanings[index] if meanings and not number else "", terminal)
    return lines


def _column_groups(
    columns: Sequence[tuple[str, Sequence[str]]], room: int
) -> Iterator[list[tuple[str, Sequence[str]]]]:
    """The columns in parts of at most `room` cells; a part has at least one column."""
    part: list[tuple[str, Sequence[str]]] = []
    taken = 0
    for name, column in columns:
        width = len(_GAP) + _column_width(name, column)
        if part and taken + width > room:
            yield part
            part, taken = [], 0
        part.append((name, column))
        taken += width
    if part:
        yield part


def _column_width(name: str, column: Iterable[str]) -> int:
    return max(cell_width(text) for text in (name, *column))


def _table_row(label: str, side: int, cells: Iterable[tuple[str, int]], style: Style) -> Line:
    values = [StyledSpan(_GAP + pad(text, width, right=True), style) for text, width in cells]
    return Line.of(StyledSpan(pad(label, side), style), *values)


def _with_meaning(row: Line, meaning: str, terminal: Terminal) -> list[Line]:
    room = terminal.width - row.width - len(_GAP)
    if not meaning:
        return [row]
    words = [Line.of(StyledSpan(word, DIM)) for word in meaning.split()]
    fits_beside = room >= _MIN_MEANING_CELLS
    lines = flow(words, separator=" ", width=room if fits_beside else max(terminal.width - 2, 1))
    if not fits_beside:
        return [row, *(joined([Line.of(_GAP), line]) for line in lines)]
    return [joined([row if not index else Line.of(" " * row.width), line], _GAP) for index, line in enumerate(lines)]
