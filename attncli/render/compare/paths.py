"""The way through the states: a sparkline for every pair where these are few, and for what is said of all."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

from attncli.render.cells import cell_width
from attncli.render.compare.names import ascii_safe, figure, label_text, occurrence_names, paragraph
from attncli.render.layout import joined, padded
from attncli.render.lines import BOLD, DIM, Line, StyledSpan
from attncli.render.terminal import Terminal
from attncli.results.compare import CompareResult, State

_BLOCKS = "▁▂▃▄▅▆▇█"
_DIGITS = "0123456789"
#: Values beneath what is drawn to scale.
_LOWER, _LOWER_ASCII = "↓", "v"
#: With more occurrences than this, pairs are too many to be looked at one by one.
_MOST_IN_PAIRS = 6
#: The track of the baseline.
RANDOM_WORDS = "random words"


class Track(NamedTuple):
    """One value at every state."""

    name: str
    values: tuple[float | None, ...]


def path_lines(result: CompareResult, terminal: Terminal) -> list[Line]:
    """Nothing of a single state."""
    states = result.states
    if len(states) < 2:
        return []
    summary, pairs = summary_tracks(result, terminal), pair_tracks(result)
    if len(result.occurrences) == 2:
        # One pair is all pairs.
        pairs = []
    # Random words are far below: on one scale with them, nothing would be seen of the others.
    others = [track for track in (*summary, *pairs) if track.name != RANDOM_WORDS]
    known = [value for track in others for value in track.values if value is not None]
    if not known:
        return []
    low, high = min(known), max(known)
    name = max(cell_width(track.name) for track in summary)
    marks = _BLOCKS if terminal.unicode else _DIGITS
    drawn = [_track_line(track, name, low, high, terminal) for track in summary]
    lower = _LOWER if terminal.unicode else _LOWER_ASCII
    beneath = f", {lower} lower" if any(_is_lower(track, low) for track in summary) else ""
    title = (
        f"from state {states[0].state} to {states[-1].state}, {marks[0]} {figure(low, terminal)} "
        f"to {marks[-1]} {figure(high, terminal)}{beneath}:"
    )
    return [*paragraph(ascii_safe(title, terminal), terminal), *drawn, *_in_columns(pairs, low, high, terminal)]


def summary_tracks(result: CompareResult, terminal: Terminal) -> list[Track]:
    """What is said of all pairs together, state by state; of several words, of the first."""
    states = result.states
    word = label_text(result.word, terminal)
    every, of = ("all pairs", "") if len(result.words) == 1 else (f"pairs of {word}", f"{word}: ")
    if result.adjust == "none":
        means = tuple(state.self_similarity for state in states)
        random = tuple(None if state.reference is None else state.reference.baseline for state in states)
    else:
        # Adjusted vectors have no scale in common with raw ones, and random words are about 0.
        means, random = tuple(state.adjusted_self_similarity for state in states), ()
    tracks = [
        Track(every, means),
        Track(f"{of}same label", tuple(state.within for state in states)),
        Track(f"{of}other label", tuple(state.across for state in states)),
        Track(RANDOM_WORDS, random),
    ]
    return [track for track in tracks if any(value is not None for value in track.values)]


def pair_tracks(result: CompareResult) -> list[Track]:
    """Each pair state by state, where these are few."""
    names = occurrence_names(result)
    if len(names) > _MOST_IN_PAIRS or any(state.shown is None for state in result.states):
        return []
    return [
        Track(f"{names[a]}–{names[b]}", tuple(_at(state, a, b) for state in result.states))
        for a, b in combinations(range(len(names)), 2)
    ]


def _at(state: State, a: int, b: int) -> float:
    assert state.shown is not None
    return float(state.shown[a, b])


def _track_line(track: Track, name: int, low: float, high: float, terminal: Terminal) -> Line:
    first, last = (next(v for v in values if v is not None) for values in (track.values, track.values[::-1]))
    ends = ascii_safe(f"{figure(first, terminal)} → {figure(last, terminal)}", terminal)
    spark = "".join(_mark(value, low, high, terminal) for value in track.values)
    return Line.of(
        StyledSpan(ascii_safe(track.name, terminal).rjust(name), DIM), "  ", StyledSpan(spark, BOLD), "  ", ends
    )


def _mark(value: float | None, low: float, high: float, terminal: Terminal) -> str:
    marks = _BLOCKS if terminal.unicode else _DIGITS
    if value is None:
        return " "
    if value < low:
        return _LOWER if terminal.unicode else _LOWER_ASCII
    share = (value - low) / (high - low) if high - low > 1e-9 else 1.0
    return marks[min(max(int(share * len(marks)), 0), len(marks) - 1)]


def _is_lower(track: Track, low: float) -> bool:
    return any(value is not None and value < low for value in track.values)


def _in_columns(tracks: Sequence[Track], low: float, high: float, terminal: Terminal) -> list[Line]:
    if not tracks:
        return []
    name = max(cell_width(track.name) for track in tracks)
    cells = [_track_line(track, name, low, high, terminal) for track in tracks]
    width = max(cell.width for cell in cells)
    columns = max((terminal.width + 3) // (width + 3), 1)
    rows = -(-len(cells) // columns)
    return [
        Line(),
        *(joined([padded(cell, width) for cell in cells[row::rows]], "   ") for row in range(rows)),
    ]
