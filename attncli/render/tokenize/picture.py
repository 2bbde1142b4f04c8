"""The default view of `attn tokenize` in a terminal: tokens side by side over their ids, with statistics.

    11 tokens (2 special*) · sentence-transformers/all-MiniLM-L6-v2

    [CLS]*  american  sh   │rew    mole │s     em  ┃bed ┃ding┃s     [SEP]*
    101     2137      14021│15603  16709│2015  7861┃8270┃4667┃2015  102

    4 words (runs of non-space) · fertility 2.25 · 3 continued · 3.44 bytes/token
    ┃ 1 word of more than two tokens: embeddings (4)

Words are separated by a gap, tokens of one word by a bar. A row ends where a line of the text does. The characters are
the same with colour and without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from attncli.render.common.cells import cell_width, glyphs, shorten
from attncli.render.common.document import lines_to_text
from attncli.render.common.escape import direction_end, fit_width, printable
from attncli.render.common.lines import BOLD, DIM, Line, StyledSpan
from attncli.render.common.terminal import Terminal
from attncli.render.tokenize.token_cells import GAP, Cell, CutWordSpan, token_cells, without_emphasis, word_bar
from attncli.results.tokenize import SYMBOLS, TokenizedText, TokenStats

#: Words of many tokens that are named, and cells of each.
_MAX_NAMED_WORDS = 5
_WORD_CELLS = 40


def text_picture(text: TokenizedText, terminal: Terminal, *, count: int | None = None) -> str:
    """A header, the tokens over their ids, a line of statistics, and the words of the most tokens.

    count: the number of texts; None if unknown.  No line is wider than the terminal.
    """
    return lines_to_text(_picture(text, count, terminal), terminal)


def header(text: TokenizedText, count: int | None, terminal: Terminal) -> Line:
    """The number of tokens, the text's position, and the model."""
    separator = glyphs(terminal).separator
    special_tokens = sum(token.special for token in text.tokens)
    special = f" ({special_tokens:,} special*)" if special_tokens else ""
    place = text_position(text.record, count)
    tokens = len(text.tokens)
    bold = StyledSpan(f"{tokens:,} token{'' if tokens == 1 else 's'}", BOLD)
    model = StyledSpan(separator + printable(text.model, unicode=terminal.unicode), DIM)
    return Line.of(bold, special + (separator + place if place else ""), model)


def text_position(record: int, count: int | None) -> str:
    """`text 2 of 5`; empty for an only text."""
    if count is None:
        return f"text {record + 1:,}"
    return f"text {record + 1:,} of {count:,}" if count > 1 else ""


def statistics_lines(parts: Iterable[str], terminal: Terminal) -> Iterator[Line]:
    """The phrases on one line, or several if the terminal is narrow."""
    separator = glyphs(terminal).separator
    line = ""
    for part in parts:
        longer = line + separator + part if line else part
        if line and cell_width(longer) > terminal.width:
            yield from _wrapped(line, terminal)
            longer = part
        line = longer
    yield from _wrapped(line, terminal)


def _wrapped(line: str, terminal: Terminal) -> Iterable[Line]:
    """A line, wrapped if it is wider than the terminal."""
    if cell_width(line) <= terminal.width:
        return [Line.of(StyledSpan(line, DIM))]
    from attncli.render.common.lines import flow  # few terminals are so narrow

    return flow(
        [Line.of(StyledSpan(word, DIM)) for word in line.split(" ")], separator=" ", width=terminal.width, indent=2
    )


def _picture(text: TokenizedText, count: int | None, terminal: Terminal) -> Iterator[Line]:
    cells, words = token_cells(text, terminal)
    yield header(text, count, terminal)
    for block in _blocks(cells, terminal):
        yield Line()
        yield from block
    if text.text is not None:
        yield Line()
        yield from statistics_lines(statistics_phrases(text.stats), terminal)
        yield from cut_word_lines(words, terminal)


def _blocks(cells: Iterable[Cell], terminal: Terminal) -> Iterator[tuple[Line, Line]]:
    """The cells in rows as wide as the terminal: a line of texts, and one of ids beneath."""
    texts: list[StyledSpan] = []
    ids: list[StyledSpan] = []
    used = 0
    for cell in cells:
        before = word_bar(cell.in_cut_word, terminal) if cell.continues_word else StyledSpan(GAP)
        width = min(cell.width, terminal.width - len(before.text))
        if texts and (cell.begins_line or used + len(before.text) + width > terminal.width):
            yield Line(tuple(texts)), Line(tuple(ids))
            texts, ids, used = [], [], 0
        if texts or cell.continues_word:
            texts.append(before)
            ids.append(before)
            used += len(before.text)
        texts.append(StyledSpan(fit_width(cell.text, width, terminal), cell.style))
        ids.append(StyledSpan(fit_width(cell.id, width, terminal), without_emphasis(cell.style)))
        used += width
    if texts:
        yield Line(tuple(texts)), Line(tuple(ids))


def statistics_phrases(stats: TokenStats) -> Iterator[str]:
    """The statistics of a text, each as a phrase."""
    yield _counted(stats.words, "word")
    yield from _fertility(stats)
    if stats.continued_words:
        yield f"{stats.continued_words:,} continued"
    if stats.bytes_per_token is not None:
        yield f"{stats.bytes_per_token:.2f} bytes/token"
    if stats.unknown:
        yield f"{stats.unknown:,} unknown{_unknown_caveat(stats)}"


def _fertility(stats: TokenStats) -> Iterator[str]:
    """Fertility, and which words it leaves out; or why there is none."""
    if stats.fertility is None:
        yield from why_no_fertility(stats)
        return
    left_out = words_left_out(stats)
    words, tokens = _counted(stats.spaced_words, "word"), _counted(stats.spaced_tokens, "token")
    yield f"fertility {stats.fertility:.2f}" + (f" ({tokens} for {words}, without {left_out})" if left_out else "")


def why_no_fertility(stats: TokenStats) -> Iterator[str]:
    """Why there is no fertility: no words to count; nothing if there is no text."""
    if unspaced := _unspaced_scripts(stats):
        yield f"no fertility: no spaces between words in {_listed(unspaced)}"
    elif stats.unspaced_scripts:
        yield "no fertility: symbols are not words"


def words_left_out(stats: TokenStats) -> str:
    """What fertility leaves out: `Thai, Han and symbols`."""
    return _listed([*_unspaced_scripts(stats), *(["symbols"] if SYMBOLS in stats.unspaced_scripts else [])])


def _unspaced_scripts(stats: TokenStats) -> list[str]:
    return [script.replace("_", " ") for script in stats.unspaced_scripts if script != SYMBOLS]


def _unknown_caveat(stats: TokenStats) -> str:
    return f" for {unknown_share_text(stats)}, so the other figures look too good" if stats.has_much_unknown else ""


def unknown_share_text(stats: TokenStats) -> str:
    """The share of a text that became unknown tokens."""
    return f"{stats.unknown_characters / stats.characters:.0%} of the text"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def cut_word_lines(words: Sequence[CutWordSpan], terminal: Terminal) -> list[Line]:
    """How many words have more than two tokens, and which have the most; no lines if there are none."""
    if not words:
        return []
    from attncli.render.common.lines import flow  # most texts are drawn without it

    most: dict[str, int] = {}
    for word in sorted(words, key=lambda word: -word.tokens):
        most.setdefault(word.text, word.tokens)
    names = [f"{_short_word(word, terminal)} ({tokens:,})" for word, tokens in list(most.items())[:_MAX_NAMED_WORDS]]
    rest = [f"and {len(most) - len(names):,} more"] if len(most) > len(names) else []
    opening = f" {len(words):,} word{'' if len(words) == 1 else 's'} of more than two tokens:"
    listed = [f"{name}," for name in [*names, *rest][:-1]] + [*names, *rest][-1:]
    parts = [
        Line.of(word_bar(True, terminal), StyledSpan(opening, DIM)),
        *(Line.of(StyledSpan(part, DIM)) for part in listed),
    ]
    return flow(parts, separator=" ", width=terminal.width, indent=2)


def _short_word(word: str, terminal: Terminal) -> str:
    text = shorten(printable(word, unicode=terminal.unicode), _WORD_CELLS, glyphs(terminal).cut)
    return text + direction_end(text)
