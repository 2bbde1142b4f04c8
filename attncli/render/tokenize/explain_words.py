"""What the model of a tokenizer did with one pre-token, as lines of `--why`, in a layout for each kind of model.

BPE: the merges, one a row: rank, pair, the word after it, and the pair that it was preferred to.

                 Ġ m o l e s
    1  m+o       Ġ mo l e s       before l+e (4)
    3  Ġ+mo      Ġmo l e s        before l+e (4)
    4  l+e       Ġmo le s
    7  Ġmo+le    Ġmole s

If a word is too long for that, each row has only what the pair becomes, and the tokens follow at the end.

WordPiece    bio       not biopsy, biops, biop
             ##psy
Unigram      -12.45    ▁mo -3.39  l -3.29  e -2.16  s -3.61
             -20.01    ▁ -2.04  m -5.09  o -3.82  l -3.29  e -2.16  s -3.61
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from attncli.render.common.cells import cell_width, clusters, glyphs
from attncli.render.common.escape import direction_end, fit_width, visible
from attncli.render.common.lines import BOLD, DIM, Line, Style, StyledSpan, flow, joined, padded
from attncli.render.common.terminal import Terminal
from attncli.results.explanation import (
    Entry,
    LookedUpWord,
    Match,
    MatchedWord,
    Merge,
    MergedWord,
    Pair,
    Path,
    ScoredWord,
    Symbol,
    Word,
)

GAP = "  "
#: Pieces that are listed.
MAX_PIECES = 60
#: Characters of one piece.
_MAX_PIECE_CHARACTERS = 1000
#: Merges of a word that are drawn, and characters without an entry that are named.
_MAX_MERGES = 16
#: Cells of a pair.
_PAIR_CELLS = 20
#: What replaces a character without an entry.
_FALLBACKS = {
    "byte": ", but its bytes {} are",
    "unknown": ": {} stands for it",
    "dropped": ": it is dropped, because there is no unknown token",
}


def is_vocabulary_word(word: Word) -> bool:
    """Whether the word is itself a vocabulary entry and was used unchanged."""
    match word:
        case MergedWord(symbols=symbols):
            return word.whole or (len(symbols) == 1 and symbols[0].how == "character")
        case MatchedWord():
            return len(word.matches) == 1 and not word.unknown
        case LookedUpWord():
            return not word.unknown
    return False


def word_lines(word: Word, columns: MergeColumns, room: int, terminal: Terminal) -> list[Line]:
    """What the model did with a word, in lines of at most `room` cells where possible."""
    match word:
        case MergedWord():
            return list(merge_lines(word, columns, room, terminal))
        case MatchedWord():
            return list(_matched_lines(word, room, terminal))
        case ScoredWord():
            return list(_scored_lines(word, room, terminal))
        case LookedUpWord():
            return _unknown_lines(word, "because it is not in the vocabulary", room, terminal)


def _matched_lines(word: MatchedWord, room: int, terminal: Terminal) -> Iterator[Line]:
    """A row for each match, with the longer candidates that aren't in the vocabulary."""
    if word.too_long:
        yield from _unknown_lines(
            word, f"because it has {len(word.form):,} characters, more than the model's limit", room, terminal
        )
        return
    (last, *_) = entry_texts(word.tokens[-1:], terminal)
    tokens = [last if match.token is None else piece_text(match.token, terminal) for match in word.matches]
    column = min(max(map(cell_width, tokens)), room // 2) + len(GAP)
    for match, token in zip(word.matches, tokens, strict=True):
        misses = [Line.of(StyledSpan(text, DIM)) for text in _miss_texts(match, terminal)]
        yield from label_block(
            Line.of(StyledSpan(token, BOLD)), flow(misses, separator=" ", width=room - column), column
        )


def _miss_texts(match: Match, terminal: Terminal) -> list[str]:
    if not match.missed:
        return []
    more = match.missed - len(match.misses)
    names = [piece_text(text, terminal) for text in match.misses] + ([f"and {more:,} more"] if more else [])
    outcome = ["so", "the", "whole", "word", "is", "unknown"] if match.token is None else []
    return ["not", *(f"{text}," for text in names[:-1]), names[-1] + ("," if outcome else ""), *outcome]


def _scored_lines(word: ScoredWord, room: int, terminal: Terminal) -> Iterator[Line]:
    """The best path and the runner-up: the sum of scores, then each piece with its score."""
    paths = [word.best] if word.runner_up is None else [word.best, word.runner_up]
    column = max(len(f"{path.score:.2f}") for path in paths) + len(GAP)
    for path, style in zip(paths, (BOLD, DIM), strict=False):
        total = Line.of(StyledSpan(f"{path.score:.2f}".rjust(column - len(GAP)), style))
        yield from label_block(total, _path_lines(path, style, room - column, terminal), column)
    yield from _unknown_piece_lines(word, room, terminal)


def _path_lines(path: Path, style: Style, room: int, terminal: Terminal) -> list[Line]:
    scores = (StyledSpan(f" {piece.score:.2f}", DIM) for piece in path.pieces[:MAX_PIECES])
    texts = (StyledSpan(piece_text(piece.text, terminal), style) for piece in path.pieces[:MAX_PIECES])
    parts = [Line.of(text, score) for text, score in zip(texts, scores, strict=True)]
    if len(path.pieces) > MAX_PIECES:
        parts.append(Line.of(StyledSpan(f"and {len(path.pieces) - MAX_PIECES:,} more", DIM)))
    return flow(parts, separator=GAP, width=room)


def _unknown_piece_lines(word: ScoredWord, room: int, terminal: Terminal) -> Iterator[Line]:
    """The pieces that aren't in the vocabulary, and what replaces them."""
    missing = dict.fromkeys(piece_text(piece.text, terminal) for piece in word.best.pieces if piece.unknown)
    if missing:
        yield from flow(
            [*sentence_lines("not in the vocabulary:", room), *piece_lines([*missing], room)], separator=" ", width=room
        )
        yield from piece_lines(["=", *entry_texts(word.tokens, terminal)], room)


def _unknown_lines(word: Word, reason: str, room: int, terminal: Terminal) -> list[Line]:
    """The unknown token, and why the word became it."""
    token = Line.of(StyledSpan(" ".join(entry_texts(word.tokens, terminal)), BOLD))
    column = token.width + len(GAP)
    return label_block(token, sentence_lines(reason, room - column), column)


# --- The merges of BPE


class MergeColumns(NamedTuple):
    """Cells of ranks and of pairs, the same for all words."""

    rank: int
    pair: int

    @property
    def indent(self) -> int:
        """Cells before the word."""
        return self.rank + self.pair + 2 * len(GAP) if self.rank else 0


def merge_columns(words: Iterable[Word], terminal: Terminal) -> MergeColumns:
    """The columns that the merges of these words need."""
    pairs = [pair for word in words if isinstance(word, MergedWord) for pair in _drawn_pairs(word)]
    widest = max((cell_width(_pair_text(pair, terminal)) for pair in pairs), default=0)
    return MergeColumns(max((len(f"{pair.rank:,}") for pair in pairs), default=0), min(widest, _PAIR_CELLS))


def _drawn_pairs(word: MergedWord) -> list[Pair]:
    """The pairs of all merges that are drawn."""
    return list(dict.fromkeys(merge.pair for merge in word.merges))[:_MAX_MERGES]


def merge_lines(word: MergedWord, columns: MergeColumns, room: int, terminal: Terminal) -> Iterator[Line]:
    """A word from its symbols to its tokens, in lines of at most `room` cells where possible."""
    symbols = [piece_text(symbol.token, terminal) for symbol in _used_symbols(word.symbols)]
    fits = columns.indent + cell_width(" ".join(symbols)) <= room
    if fits:
        yield Line.of(" " * columns.indent, " ".join(symbols))
    else:
        yield from piece_lines(symbols, room)
    yield from _missing_character_lines(word.symbols, room, terminal)
    steps = list(_word_states(word, terminal) if fits else _pair_results(word, terminal))
    yield from _merge_rows(steps[:_MAX_MERGES], columns, room, terminal)
    if left := sum(step.times for step in steps[_MAX_MERGES:]):
        yield Line.of(StyledSpan(f"and {left:,} more merge{'' if left == 1 else 's'}", DIM))
    if not steps:
        yield from sentence_lines("none of these pairs has a rank", room)
    elif left or not fits:
        yield from piece_lines(["=", *entry_texts(word.tokens, terminal)], room)


class _MergeRow(NamedTuple):
    """A merge, the word after it (or what the pair becomes), and how often it is applied in succession."""

    merge: Merge
    after: Line
    times: int = 1


def _used_symbols(symbols: Sequence[Symbol]) -> list[Symbol]:
    return [symbol for symbol in symbols if symbol.how != "dropped"]


def _word_states(word: MergedWord, terminal: Terminal) -> Iterator[_MergeRow]:
    """The whole word after each merge, the merged piece in bold."""
    state = {place: piece_text(symbol.token, terminal) for place, symbol in enumerate(_used_symbols(word.symbols))}
    for merge in word.merges:
        places = list(state)
        del state[places[places.index(merge.at) + 1]]
        state[merge.at] = piece_text(merge.result, terminal)
        spans = (StyledSpan(text, BOLD) if place == merge.at else StyledSpan(text) for place, text in state.items())
        yield _MergeRow(merge, joined([Line.of(span) for span in spans], " "))


def _pair_results(word: MergedWord, terminal: Terminal) -> Iterator[_MergeRow]:
    """What each pair becomes; the same pair several times in succession is one row."""
    for _, run in groupby(word.merges, key=attrgetter("pair")):
        merges = list(run)
        times = f" {glyphs(terminal).times}{len(merges):,}" if len(merges) > 1 else ""
        result = Line.of(StyledSpan(piece_text(merges[-1].result, terminal), BOLD), StyledSpan(times, DIM))
        yield _MergeRow(merges[-1], result, len(merges))


def _merge_rows(steps: Sequence[_MergeRow], columns: MergeColumns, room: int, terminal: Terminal) -> Iterator[Line]:
    width = max((step.after.width for step in steps), default=0) + len(GAP)
    for merge, after, _ in steps:
        rank = f"{merge.pair.rank:,}".rjust(columns.rank)
        pair = fit_width(_pair_text(merge.pair, terminal), columns.pair, terminal)
        line = joined([Line.of(StyledSpan(rank, DIM), GAP, pair, GAP), after])
        longer = (
            line if merge.rival is None else _with_rival(merge.rival, padded(line, columns.indent + width), terminal)
        )
        yield longer if longer.width <= room else line


def _with_rival(rival: Pair, line: Line, terminal: Terminal) -> Line:
    return joined([line, Line.of(StyledSpan(f"before {_pair_text(rival, terminal)} ({rival.rank:,})", DIM))])


def _pair_text(pair: Pair, terminal: Terminal) -> str:
    return f"{piece_text(pair.left, terminal)}+{piece_text(pair.right, terminal)}"


def _missing_character_lines(symbols: Sequence[Symbol], room: int, terminal: Terminal) -> Iterator[Line]:
    """The characters without a vocabulary entry, and what replaces them."""
    found: dict[tuple[str, str], list[Symbol]] = {}
    for symbol in symbols:
        if symbol.how != "character":
            found.setdefault((symbol.source, symbol.how), []).append(symbol)
    for (source, how), group in list(found.items())[:_MAX_MISSING]:
        tokens = " ".join(dict.fromkeys(piece_text(symbol.token, terminal) for symbol in group))
        yield from sentence_lines(
            f"{piece_text(source, terminal)} is not in the vocabulary{_FALLBACKS[how].format(tokens)}", room
        )
    if len(found) > _MAX_MISSING:
        yield Line.of(StyledSpan(f"nor are {len(found) - _MAX_MISSING:,} more", DIM))


# --- Pieces and sentences as lines


def piece_text(text: str, terminal: Terminal) -> str:
    """A piece of a text or of a vocabulary, safe for a terminal, that doesn't affect the text around it."""
    shown = visible(text, unicode=terminal.unicode)
    # A character of zero width would combine with the text before it.
    shown = f"◌{shown}" if shown and cell_width(shown[0]) == 0 else shown
    return shown + direction_end(shown)


def entry_texts(tokens: Iterable[Entry], terminal: Terminal) -> list[str]:
    return [piece_text(entry.token, terminal) for entry in tokens]


def piece_lines(texts: Sequence[str], room: int, *, separator: str = " ") -> list[Line]:
    """Pieces on as many lines as they need; of many, the first ones and the number of the others."""
    parts = [Line.of(part) for text in texts[:MAX_PIECES] for part in split_to_width(text, room)]
    if len(texts) > MAX_PIECES:
        parts.append(Line.of(StyledSpan(f"and {len(texts) - MAX_PIECES:,} more", DIM)))
    return flow(parts, separator=separator, width=room)


def split_to_width(text: str, room: int) -> Iterator[str]:
    """A piece in parts that fit on a line, up to `_MAX_PIECE_CHARACTERS`."""
    part = ""
    for cluster in clusters(text[:_MAX_PIECE_CHARACTERS]):
        if part and cell_width(part + cluster) > room:
            yield part
            part = ""
        part += cluster
    yield part + ("" if len(text) <= _MAX_PIECE_CHARACTERS else "...")


def sentence_lines(sentence: str, room: int) -> list[Line]:
    """A sentence of ours, dim and wrapped between words."""
    parts = (Line.of(part) for word in sentence.split(" ") for part in split_to_width(word, room))
    words = flow(parts, separator=" ", width=room)
    return [Line.of(StyledSpan(line.plain, DIM)) for line in words]


def label_block(head: Line, block: Sequence[Line], column: int) -> list[Line]:
    """A block of lines indented to `column`, with a label before its first line; above it if the label is too wide."""
    indented = [joined([Line.of(" " * column), line]) for line in block]
    if head.width >= column or not block:
        return [head, *indented]
    return [joined([padded(head, column), block[0]]), *indented[1:]]


_MAX_MISSING = 4
