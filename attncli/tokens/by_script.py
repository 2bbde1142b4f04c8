"""The tokens and words of one text, counted by script.

A text falls into runs of one script (`attncli.tokens.scripts`). Characters, bytes, words and tokens all belong to the
run that they begin in, so that a token of two scripts counts under the first, and the scripts add up to the whole. A
word that goes on from a script with spaces into one without (`Python写`) ends where that begins.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

from attncli.tokens.scripts import COMMON, UNSPACED, ScriptRun, script_runs

Span = tuple[int, int]

_WORD = re.compile(r"\S+")


class RunCounts(NamedTuple):
    """What begins in one run of one script. `words` is 0 where a script puts no space between them.

    unknown_characters: those of the run that unknown tokens took the place of, wherever these begin.
    """

    script: str
    characters: int
    bytes: int
    tokens: int
    unknown: int
    words: int
    continued: int
    unknown_characters: int = 0


class CountedText(NamedTuple):
    """The runs of a text, the places of its words, and the number of tokens that each of these is cut into."""

    runs: tuple[RunCounts, ...]
    words: Sequence[Span]
    pieces: Sequence[int]


def count_by_script(text: str, spans: Sequence[Span | None], unknown: Sequence[bool]) -> CountedText:
    """Count the tokens of a text by script.

    spans: the characters of each token, in the order of the text; None where it was not to be found there.
    unknown: whether each token is the unknown one.
    """
    runs = list(script_runs(text)) or [ScriptRun(COMMON, 0, 0)]
    words = list(_words(text, runs))
    pieces = _pieces(sorted(span for span in spans if span is not None), words)
    starts = _starts(spans)
    counts = zip(
        (run.script for run in runs),
        (run.end - run.start for run in runs),
        (_size(text[run.start : run.end]) for run in runs),
        _by_run(runs, starts),
        _by_run(runs, [start for start, lost in zip(starts, unknown, strict=True) if lost]),
        _by_run(runs, [start for start, _ in words]),
        _by_run(runs, [start for (start, _), count in zip(words, pieces, strict=True) if count > 1]),
        _taken(runs, [span for span, lost in zip(spans, unknown, strict=True) if lost and span is not None]),
        strict=True,
    )
    return CountedText(tuple(RunCounts(*each) for each in counts), words, pieces)


def covered(text: str, spans: Sequence[Span | None]) -> tuple[str, list[Span | None], bool]:
    """As much of a text as its tokens cover, their places in that, and whether more than space was left out."""
    found = [span for span in spans if span is not None]
    first, last = min((start for start, _ in found), default=0), max((end for _, end in found), default=0)
    moved = [span and (span[0] - first, span[1] - first) for span in spans]
    return text[first:last], moved, last - first < len(text.strip())


def _starts(spans: Sequence[Span | None]) -> list[int]:
    """Where each token begins; one that was not found again, where the one before it ends."""
    starts, reach = [], 0
    for span in spans:
        if span is None:
            starts.append(reach)
        else:
            start, reach = span
            starts.append(start)
    return starts


def _words(text: str, runs: Iterable[ScriptRun]) -> Iterator[Span]:
    """The words of all scripts that put spaces between them; they end where another one begins."""
    for unspaced, neighbours in groupby(runs, key=lambda run: run.script in UNSPACED):
        if not unspaced:
            stretch = list(neighbours)
            yield from (word.span() for word in _WORD.finditer(text, stretch[0].start, stretch[-1].end))


def _pieces(spans: Iterable[Span], words: Sequence[Span]) -> list[int]:
    """How many tokens each word is cut into: a token is of the first word that it touches.

    spans: the tokens in the order of the text.
    """
    pieces = [0] * len(words)
    ends = [end for _, end in words]
    word, last = 0, len(words)
    for start, end in spans:
        while word < last and ends[word] <= start:
            word += 1
        if word == last:
            break
        if start < end and words[word][0] < end:
            pieces[word] += 1
    return pieces


def _by_run(runs: Sequence[ScriptRun], places: Sequence[int]) -> list[int]:
    """How many places are in each run; what is behind the last one belongs to it."""
    if len(runs) == 1:
        return [len(places)]
    ordered = sorted(places)
    borders = [0, *(bisect_left(ordered, run.start) for run in runs[1:]), len(ordered)]
    return [after - before for before, after in pairwise(borders)]


def _taken(runs: Sequence[ScriptRun], spans: Iterable[Span]) -> list[int]:
    """How many characters of each run some spans take, each counted once."""
    taken = [0] * len(runs)
    starts = [run.start for run in runs]
    reach = 0
    for start, end in sorted(spans):
        start = max(start, reach)
        index = max(bisect_right(starts, start) - 1, 0)
        while index < len(runs) and start < end:
            until = min(end, runs[index].end)
            taken[index] += max(until - start, 0)
            start, index = max(until, start), index + 1
        reach = max(reach, end)
    return taken


def _size(text: str) -> int:
    """Its bytes in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8"))
