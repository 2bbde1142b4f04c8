"""What the model did with one pre-token, as lines: of its own look for each kind of model.

WordPiece    bio       not biopsy, biops, biop
             ##psy
Unigram      -12.45    ▁mo -3.39  l -3.29  e -2.16  s -3.61
             -20.01    ▁ -2.04  m -5.09  o -3.82  l -3.29  e -2.16  s -3.61
"""

from __future__ import annotations

from collections.abc import Iterator

from attncli.render.cells import cell_width
from attncli.render.layout import flow
from attncli.render.lines import BOLD, DIM, Line, Style, StyledSpan
from attncli.render.terminal import Terminal
from attncli.render.tokenize.explain_merges import Columns, merged_lines
from attncli.render.tokenize.explain_pieces import GAP, MANY, beside, entries, listed, raw, told
from attncli.results.explanation import LookedUpWord, Match, MatchedWord, MergedWord, Path, ScoredWord, Word


def is_whole(word: Word) -> bool:
    """Whether there is nothing to tell: the vocabulary has the word, and it was taken as it is."""
    match word:
        case MergedWord(symbols=symbols):
            return word.whole or (len(symbols) == 1 and symbols[0].how == "character")
        case MatchedWord():
            return len(word.matches) == 1 and not word.unknown
        case LookedUpWord():
            return not word.unknown
    return False


def word_lines(word: Word, columns: Columns, room: int, terminal: Terminal) -> list[Line]:
    """What the model did with a word, in lines of at most `room` cells as far as that goes."""
    match word:
        case MergedWord():
            return list(merged_lines(word, columns, room, terminal))
        case MatchedWord():
            return list(_matched(word, room, terminal))
        case ScoredWord():
            return list(_scored(word, room, terminal))
        case LookedUpWord():
            return _becomes(word, "as it is not in the vocabulary", room, terminal)


def _matched(word: MatchedWord, room: int, terminal: Terminal) -> Iterator[Line]:
    """A row a match, with the longer candidates that the vocabulary lacks."""
    if word.too_long:
        yield from _becomes(
            word, f"as it has {len(word.form):,} characters, more than the model looks at", room, terminal
        )
        return
    (last, *_) = entries(word.tokens[-1:], terminal)
    tokens = [last if match.token is None else raw(match.token, terminal) for match in word.matches]
    column = min(max(map(cell_width, tokens)), room // 2) + len(GAP)
    for match, token in zip(word.matches, tokens, strict=True):
        misses = [Line.of(StyledSpan(text, DIM)) for text in _misses(match, terminal)]
        yield from beside(Line.of(StyledSpan(token, BOLD)), flow(misses, separator=" ", width=room - column), column)


def _misses(match: Match, terminal: Terminal) -> list[str]:
    if not match.missed:
        return []
    more = match.missed - len(match.misses)
    named = [raw(text, terminal) for text in match.misses] + ([f"and {more:,} more"] if more else [])
    outcome = ["so", "the", "whole", "word", "is", "unknown"] if match.token is None else []
    return ["not", *(f"{text}," for text in named[:-1]), named[-1] + ("," if outcome else ""), *outcome]


def _scored(word: ScoredWord, room: int, terminal: Terminal) -> Iterator[Line]:
    """The best path and the runner-up: the sum of scores, then each piece with its own."""
    paths = [word.best] if word.runner_up is None else [word.best, word.runner_up]
    column = max(len(f"{path.score:.2f}") for path in paths) + len(GAP)
    for path, style in zip(paths, (BOLD, DIM), strict=False):
        total = Line.of(StyledSpan(f"{path.score:.2f}".rjust(column - len(GAP)), style))
        yield from beside(total, _path(path, style, room - column, terminal), column)
    yield from _unknown_pieces(word, room, terminal)


def _path(path: Path, style: Style, room: int, terminal: Terminal) -> list[Line]:
    scores = (StyledSpan(f" {piece.score:.2f}", DIM) for piece in path.pieces[:MANY])
    texts = (StyledSpan(raw(piece.text, terminal), style) for piece in path.pieces[:MANY])
    parts = [Line.of(text, score) for text, score in zip(texts, scores, strict=True)]
    if len(path.pieces) > MANY:
        parts.append(Line.of(StyledSpan(f"and {len(path.pieces) - MANY:,} more", DIM)))
    return flow(parts, separator=GAP, width=room)


def _unknown_pieces(word: ScoredWord, room: int, terminal: Terminal) -> Iterator[Line]:
    """What became of pieces that the vocabulary lacks."""
    lacking = dict.fromkeys(raw(piece.text, terminal) for piece in word.best.pieces if piece.unknown)
    if lacking:
        yield from flow([*told("not in the vocabulary:", room), *listed([*lacking], room)], separator=" ", width=room)
        yield from listed(["=", *entries(word.tokens, terminal)], room)


def _becomes(word: Word, reason: str, room: int, terminal: Terminal) -> list[Line]:
    """The unknown token, and why it is that."""
    token = Line.of(StyledSpan(" ".join(entries(word.tokens, terminal)), BOLD))
    column = token.width + len(GAP)
    return beside(token, told(reason, room - column), column)
