"""The merges of BPE, a row each: rank, pair, the word after it, and the pair that it came before.

                 Ġ m o l e s
    1  m+o       Ġ mo l e s       before l+e (4)
    3  Ġ+mo      Ġmo l e s        before l+e (4)
    4  l+e       Ġmo le s
    7  Ġmo+le    Ġmole s

Where a word is too long for that, what a pair becomes stands in place of the word, and the tokens stand at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from attncli.render.cells import cell_width
from attncli.render.glyphs import glyphs
from attncli.render.layout import joined, padded
from attncli.render.lines import BOLD, DIM, Line, StyledSpan
from attncli.render.terminal import Terminal
from attncli.render.token_text import in_place
from attncli.render.tokenize.explain_pieces import GAP, entries, listed, raw, told
from attncli.results.explanation import Merge, MergedWord, Pair, Symbol, Word

#: So many merges of a word are drawn, and so many characters that have no entry are told of.
_MERGES = 16
_LACKING = 4

#: So many cells of a pair.
_PAIR_CELLS = 20

#: What becomes of a character that has no entry.
_INSTEAD = {
    "byte": ", but its bytes {} are",
    "unknown": ": {} stands for it",
    "dropped": ": it is left out, as there is no unknown token",
}


class Columns(NamedTuple):
    """Cells for ranks and for pairs: the same for all words, so that these can be compared."""

    rank: int
    pair: int

    @property
    def indent(self) -> int:
        """Cells before the word."""
        return self.rank + self.pair + 2 * len(GAP) if self.rank else 0


def columns_of(words: Iterable[Word], terminal: Terminal) -> Columns:
    """What the merges of these words take."""
    pairs = [pair for word in words if isinstance(word, MergedWord) for pair in _first_pairs(word)]
    widest = max((cell_width(_pair(pair, terminal)) for pair in pairs), default=0)
    return Columns(max((len(f"{pair.rank:,}") for pair in pairs), default=0), min(widest, _PAIR_CELLS))


def _first_pairs(word: MergedWord) -> list[Pair]:
    """The pairs of all merges that are drawn."""
    return list(dict.fromkeys(merge.pair for merge in word.merges))[:_MERGES]


def merged_lines(word: MergedWord, columns: Columns, room: int, terminal: Terminal) -> Iterator[Line]:
    """A word from its symbols to its tokens, in lines of at most `room` cells as far as that goes."""
    symbols = [raw(symbol.token, terminal) for symbol in _drawn(word.symbols)]
    fits = columns.indent + cell_width(" ".join(symbols)) <= room
    if fits:
        yield Line.of(" " * columns.indent, " ".join(symbols))
    else:
        yield from listed(symbols, room)
    yield from _lacking(word.symbols, room, terminal)
    steps = list(_words(word, terminal) if fits else _results(word, terminal))
    yield from _rows(steps[:_MERGES], columns, room, terminal)
    if left := sum(step.times for step in steps[_MERGES:]):
        yield Line.of(StyledSpan(f"and {left:,} more merge{'' if left == 1 else 's'}", DIM))
    if not steps:
        yield from told("no pair of these has a rank", room)
    elif left or not fits:
        yield from listed(["=", *entries(word.tokens, terminal)], room)


class _Step(NamedTuple):
    """A merge, the word after it (or what the pair becomes), and how often it applies in a row."""

    merge: Merge
    after: Line
    times: int = 1


def _drawn(symbols: Sequence[Symbol]) -> list[Symbol]:
    return [symbol for symbol in symbols if symbol.how != "dropped"]


def _words(word: MergedWord, terminal: Terminal) -> Iterator[_Step]:
    """The whole word after each merge, what is new in bold."""
    state = {place: raw(symbol.token, terminal) for place, symbol in enumerate(_drawn(word.symbols))}
    for merge in word.merges:
        places = list(state)
        del state[places[places.index(merge.at) + 1]]
        state[merge.at] = raw(merge.result, terminal)
        spans = (StyledSpan(text, BOLD) if place == merge.at else StyledSpan(text) for place, text in state.items())
        yield _Step(merge, joined([Line.of(span) for span in spans], " "))


def _results(word: MergedWord, terminal: Terminal) -> Iterator[_Step]:
    """What each pair becomes; the same one several times in a row is one step."""
    for _, run in groupby(word.merges, key=attrgetter("pair")):
        merges = list(run)
        times = f" {glyphs(terminal).times}{len(merges):,}" if len(merges) > 1 else ""
        result = Line.of(StyledSpan(raw(merges[-1].result, terminal), BOLD), StyledSpan(times, DIM))
        yield _Step(merges[-1], result, len(merges))


def _rows(steps: Sequence[_Step], columns: Columns, room: int, terminal: Terminal) -> Iterator[Line]:
    width = max((step.after.width for step in steps), default=0) + len(GAP)
    for merge, after, _ in steps:
        rank = f"{merge.pair.rank:,}".rjust(columns.rank)
        pair = in_place(_pair(merge.pair, terminal), columns.pair, terminal)
        line = joined([Line.of(StyledSpan(rank, DIM), GAP, pair, GAP), after])
        longer = line if merge.rival is None else _before(merge.rival, padded(line, columns.indent + width), terminal)
        yield longer if longer.width <= room else line


def _before(rival: Pair, line: Line, terminal: Terminal) -> Line:
    return joined([line, Line.of(StyledSpan(f"before {_pair(rival, terminal)} ({rival.rank:,})", DIM))])


def _pair(pair: Pair, terminal: Terminal) -> str:
    return f"{raw(pair.left, terminal)}+{raw(pair.right, terminal)}"


def _lacking(symbols: Sequence[Symbol], room: int, terminal: Terminal) -> Iterator[Line]:
    """The characters that the vocabulary has no entry for, and what stands for them."""
    found: dict[tuple[str, str], list[Symbol]] = {}
    for symbol in symbols:
        if symbol.how != "character":
            found.setdefault((symbol.source, symbol.how), []).append(symbol)
    for (source, how), own in list(found.items())[:_LACKING]:
        tokens = " ".join(dict.fromkeys(raw(symbol.token, terminal) for symbol in own))
        yield from told(f"{raw(source, terminal)} is not in the vocabulary{_INSTEAD[how].format(tokens)}", room)
    if len(found) > _LACKING:
        yield Line.of(StyledSpan(f"nor are {len(found) - _LACKING:,} more", DIM))
