"""Similarity over the states of a model as sparklines, and the names of occurrences, states and labels in all views."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

from attncli.render.common.cells import cell_width, glyphs, shorten
from attncli.render.common.colormap import has_colormap, text_color_on
from attncli.render.common.escape import direction_end, name_text, printable
from attncli.render.common.lines import BOLD, DIM, Line, Rgb, Style, StyledSpan, flow, joined, padded
from attncli.render.common.terminal import Terminal
from attncli.results.compare import CompareResult, State

# The colours of Okabe & Ito (2008), distinguishable by colour-blind readers, without black; used as backgrounds.
LABEL_COLORS: tuple[Rgb, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
_MAX_LABEL = 14
_SPARK_BLOCKS = "▁▂▃▄▅▆▇█"
_SPARK_DIGITS = "0123456789"
#: Marks of values below the scale.
_LOWER, _LOWER_ASCII = "↓", "v"
#: Occurrences up to which each pair is drawn.
_MAX_PAIRED = 6
#: The name of the baseline's track.
RANDOM_WORDS = "random words"


def occurrence_names(result: CompareResult) -> tuple[str, ...]:
    """The number of each occurrence's sentence, with a letter if the sentence has several occurrences (`3a`, `3b`)."""
    counts = Counter(each.sentence for each in result.occurrences)
    seen: Counter[int] = Counter()
    names = []
    for each in result.occurrences:
        seen[each.sentence] += 1
        names.append(f"{each.sentence}{_letter_suffix(seen[each.sentence]) if counts[each.sentence] > 1 else ''}")
    return tuple(names)


def _letter_suffix(number: int) -> str:
    letters = ""
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return letters


class Tags(NamedTuple):
    """The text beside each occurrence's number: its label, or its word if there are several words.

    Labels are senses of the first word: of several words, only its occurrences show them (`bank: money`).
    """

    texts: tuple[str, ...]
    groups: tuple[str, ...]
    colored: bool

    @classmethod
    def from_result(cls, result: CompareResult, terminal: Terminal) -> Tags:
        several = len(result.words) > 1
        labels = [each.label if each.word == result.word else None for each in result.occurrences]
        parts = zip((each.word if several else None for each in result.occurrences), labels, strict=True)
        texts = tuple(label_text(": ".join(filter(None, part)), terminal) for part in parts)
        by_word = sorted(range(len(texts)), key=lambda index: result.words.index(result.occurrences[index].word))
        return cls(texts, tuple(dict.fromkeys(texts[index] for index in by_word)), has_colormap(terminal.color))

    @property
    def width(self) -> int:
        return max(map(cell_width, self.texts), default=0)

    @property
    def has_groups(self) -> bool:
        return len(self.groups) > 1

    def style(self, index: int) -> Style:
        """The colour of an occurrence's group; bold without groups or colours."""
        if not (self.colored and self.has_groups):
            return BOLD
        color = LABEL_COLORS[self.groups.index(self.texts[index]) % len(LABEL_COLORS)]
        return Style(fg=text_color_on(color), bg=color)


def label_text(label: str, terminal: Terminal) -> str:
    """A label or a word, safe for a terminal and short enough for a column."""
    text = shorten(printable(label, unicode=terminal.unicode), _MAX_LABEL, glyphs(terminal).cut)
    return text + direction_end(text)


def paragraph(text: str, terminal: Terminal, *, indent: int = 0, style: Style | None = None) -> list[Line]:
    """A sentence wrapped between words."""
    words = [Line.of(StyledSpan(word, style) if style else word) for word in text.split()]
    return flow(words, separator=" ", width=terminal.width, indent=indent)


def ascii_safe(text: str, terminal: Terminal) -> str:
    """Our own words, in ASCII if the terminal has nothing else."""
    if terminal.unicode:
        return text
    for mark, plain in (("→", "->"), ("–", "-"), ("−", "-"), ("×", "x"), ("…", "...")):
        text = text.replace(mark, plain)
    return name_text(text, terminal)


def cosine_text(value: float | None, terminal: Terminal) -> str:
    """A cosine to two digits; a dash where there is none."""
    if value is None:
        return glyphs(terminal).dash
    text = f"{value:.2f}"
    return text.removeprefix("-") if float(text) == 0 else text


def percent_text(share: float) -> str:
    """A share in per cent, from 99 on to a tenth; never rounded to 0 or 100 %."""
    if share >= 0.99:
        return "100 %" if share == 1 else f"{min(100 * share, 99.9):.1f} %"
    whole = round(100 * share)
    return "under 1 %" if whole == 0 and share > 0 else f"{whole} %"


def state_title(state: int, result: CompareResult) -> str:
    """`state 3, after layer 2`."""
    where = "before layer 0" if state == 0 else f"after layer {state - 1}"
    last = " (the last)" if state and state == result.state_count - 1 else ""
    return f"state {state}, {where}{last}"


class Track(NamedTuple):
    """One value at every state."""

    name: str
    values: tuple[float | None, ...]


def path_lines(result: CompareResult, terminal: Terminal) -> list[Line]:
    """Sparklines of all pairs together and of single pairs; no lines for a single state."""
    states = result.states
    if len(states) < 2:
        return []
    summary, pairs = summary_tracks(result, terminal), pair_tracks(result)
    if len(result.occurrences) == 2:
        # One pair is all pairs.
        pairs = []
    # Random words are far below: with them on the scale, the other tracks would look flat.
    others = [track for track in (*summary, *pairs) if track.name != RANDOM_WORDS]
    known = [value for track in others for value in track.values if value is not None]
    if not known:
        return []
    low, high = min(known), max(known)
    name = max(cell_width(track.name) for track in summary)
    marks = _SPARK_BLOCKS if terminal.unicode else _SPARK_DIGITS
    drawn = [_track_line(track, name, low, high, terminal) for track in summary]
    lower = _LOWER if terminal.unicode else _LOWER_ASCII
    beneath = f", {lower} lower" if any(_is_lower(track, low) for track in summary) else ""
    title = (
        f"from state {states[0].state} to {states[-1].state}, {marks[0]} {cosine_text(low, terminal)} "
        f"to {marks[-1]} {cosine_text(high, terminal)}{beneath}:"
    )
    return [*paragraph(ascii_safe(title, terminal), terminal), *drawn, *_in_columns(pairs, low, high, terminal)]


def summary_tracks(result: CompareResult, terminal: Terminal) -> list[Track]:
    """Means over all pairs state by state; with several words, over those of the first."""
    states = result.states
    word = label_text(result.word, terminal)
    all_pairs, prefix = ("all pairs", "") if len(result.words) == 1 else (f"pairs of {word}", f"{word}: ")
    if result.adjust == "none":
        means = tuple(state.self_similarity for state in states)
        random = tuple(None if state.reference is None else state.reference.baseline for state in states)
    else:
        # Adjusted vectors aren't comparable with raw ones, and random words are about 0.
        means, random = tuple(state.adjusted_self_similarity for state in states), ()
    tracks = [
        Track(all_pairs, means),
        Track(f"{prefix}same label", tuple(state.within for state in states)),
        Track(f"{prefix}other label", tuple(state.across for state in states)),
        Track(RANDOM_WORDS, random),
    ]
    return [track for track in tracks if any(value is not None for value in track.values)]


def pair_tracks(result: CompareResult) -> list[Track]:
    """Each pair state by state; no tracks if there are many occurrences."""
    names = occurrence_names(result)
    if len(names) > _MAX_PAIRED or any(state.shown is None for state in result.states):
        return []
    return [
        Track(f"{names[a]}–{names[b]}", tuple(_similarity(state, a, b) for state in result.states))
        for a, b in combinations(range(len(names)), 2)
    ]


def _similarity(state: State, a: int, b: int) -> float:
    assert state.shown is not None
    return float(state.shown[a, b])


def _track_line(track: Track, name: int, low: float, high: float, terminal: Terminal) -> Line:
    first, last = (next(v for v in values if v is not None) for values in (track.values, track.values[::-1]))
    ends = ascii_safe(f"{cosine_text(first, terminal)} → {cosine_text(last, terminal)}", terminal)
    spark = "".join(_spark_mark(value, low, high, terminal) for value in track.values)
    return Line.of(
        StyledSpan(ascii_safe(track.name, terminal).rjust(name), DIM), "  ", StyledSpan(spark, BOLD), "  ", ends
    )


def _spark_mark(value: float | None, low: float, high: float, terminal: Terminal) -> str:
    marks = _SPARK_BLOCKS if terminal.unicode else _SPARK_DIGITS
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
