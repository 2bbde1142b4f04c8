"""A word in its sentences as a figure: for each chosen state the matrix and the map, and the path over the states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from attncli.errors import UsageError
from attncli.render.compare.names import LABEL_COLORS, Tags, occurrence_names, state_title
from attncli.render.compare.paths import RANDOM_WORDS, pair_tracks, summary_tracks
from attncli.render.escape import printable
from attncli.render.figures.fonts import drawable
from attncli.render.figures.lettering import heading, room_for, type_size
from attncli.render.figures.panels import Box, Scale, axes_at, cells, color_bar, numbers
from attncli.render.figures.saving import drawn
from attncli.render.figures.sides import Side, labels
from attncli.render.html.words import PAGE
from attncli.results.compare import CompareResult, State

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Inches.
_MATRIX, _LARGEST_CELL = 4.2, 0.42
_MAP, _PATH = (3.4, 2.6), (5.2, 2.6)
_TITLE, _EDGE, _GAP, _BELOW = 0.5, 0.3, 0.7, 0.85
#: More occurrences than this have no names on the map.
_MOST_NAMED = 60
_PLAIN = (11 / 255, 99 / 255, 176 / 255)
_SUMMARY = (_PLAIN, (0.0, 0.5, 0.36), (0.72, 0.31, 0.0))


class Names(NamedTuple):
    """What each occurrence is called, and the colour of its label."""

    numbers: Sequence[str]
    tagged: Sequence[str]
    colors: Sequence[tuple[float, float, float]]


def compare_figure(result: CompareResult, form: str, *, title: str | None = None) -> bytes:
    """The chosen states above one another, as `svg`, `pdf` or `png`; beneath them the path where there is one.

    Raises UsageError where there is nothing to draw: one or two occurrences at one state.
    """
    words = " / ".join(result.words)
    title = drawable(printable(title or f"{words} in context, {result.model}"), form)
    names = _names(result, form)
    # The one value of a pair is no picture.
    states = [state for state in result.chosen if len(names.numbers) > 2 and _is_drawn(state)]
    if not states and len(result.states) < 2:
        raise UsageError(
            "a figure needs three occurrences, or several states", hint="give more sentences, or --state all"
        )
    return drawn(lambda: _figure(result, states, names, title), form, texts=[title, *names.tagged])


def _names(result: CompareResult, form: str) -> Names:
    tags, numbers_ = Tags.of(result, PAGE), occurrence_names(result)
    tagged = [drawable(f"{name} {tag}".strip(), form) for name, tag in zip(numbers_, tags.texts, strict=True)]
    places = [tags.groups.index(text) % len(LABEL_COLORS) for text in tags.texts]
    colors = [tuple(part / 255 for part in LABEL_COLORS[place]) if tags.told_apart else _PLAIN for place in places]
    return Names(numbers_, tagged, colors)  # type: ignore[arg-type]


def _is_drawn(state: State) -> bool:
    return state.shown is not None or _mapped(state)


def _mapped(state: State) -> bool:
    return state.positions is not None and state.explained is not None


def _figure(result: CompareResult, states: Sequence[State], names: Names, title: str) -> Figure:
    cell = min(_LARGEST_CELL, _MATRIX / len(names.numbers))
    room = room_for(names.tagged, type_size(cell))
    side = cell * len(names.numbers)
    height = room + max(side, _MAP[1] if any(map(_mapped, states)) else 0) + _BELOW + 0.35
    path = _PATH[1] + 0.9 if len(result.states) > 1 else 0
    width = _EDGE + room + max(side, 2.4) + (_GAP + _MAP[0] if any(map(_mapped, states)) else 0) + _EDGE
    figure = Figure(figsize=(max(width, (_PATH[0] + 1.9) if path else 0, 3.4), _TITLE + len(states) * height + path))
    heading(figure, title)
    for place, state in enumerate(states):
        top = _TITLE + place * height
        heading(figure, state_title(state.state, result), top=top, size=9.5)
        _matrix(figure, state, names, Box(_EDGE + room, top + 0.3 + room, side, side), cell)
        _map(figure, state, names, Box(_EDGE + room + max(side, 2.4) + _GAP, top + 0.3 + room, *_MAP))
    if path:
        _path(figure, result, Box(_EDGE + 0.4, _TITLE + len(states) * height + 0.35, *_PATH))
    return figure


def _matrix(figure: Figure, state: State, names: Names, box: Box, cell: float) -> None:
    """Colours from the least to the greatest value off the diagonal, which says nothing."""
    if state.shown is None:
        return
    values = np.asarray(state.shown, dtype=np.float64)
    between = values[~np.eye(len(values), dtype=bool)]
    scale = Scale.between(float(between.min()), float(between.max()))
    axes = axes_at(figure, box)
    picture = cells(axes, values, scale)
    labels(axes, Side(names.tagged), Side(names.tagged), cell=cell)
    numbers(axes, values, scale, cell=cell)
    color_bar(figure, picture, Box(box.left, box.top + box.height + 0.18, max(min(box.width, 2.6), 2.2), 0.1), "cosine")


def _map(figure: Figure, state: State, names: Names, box: Box) -> None:
    """The first two principal components, one unit on both axes."""
    if state.positions is None or state.explained is None:
        return
    axes = axes_at(figure, box)
    x, y = state.positions.T
    axes.scatter(x, y, c=names.colors, s=26, edgecolors="black", linewidths=0.5, zorder=2)
    if len(names.numbers) <= _MOST_NAMED:
        for name, place in zip(names.numbers, state.positions.tolist(), strict=True):
            axes.annotate(name, place, xytext=(4, 3), textcoords="offset points", size=7.5)
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.12)
    axes.tick_params(labelsize=7, length=2)
    for axis, number, share in ((axes.xaxis, 1, state.explained[0]), (axes.yaxis, 2, state.explained[1])):
        axis.set_label_text(f"component {number} ({share:.0%} of the variance)", size=8)


def _path(figure: Figure, result: CompareResult, box: Box) -> None:
    """Single pairs as thin lines, means over pairs as thick ones, random words beneath."""
    axes = axes_at(figure, box)
    states = [state.state for state in result.states]
    for track in pair_tracks(result) if len(result.occurrences) > 2 else []:
        axes.plot(states, _known(track.values), color="0.6", linewidth=0.6, zorder=1)
    summary = summary_tracks(result)
    for place, track in enumerate(summary):
        random = track.name == RANDOM_WORDS
        color, style = ("0.35", "--") if random else (_SUMMARY[place % len(_SUMMARY)], "-")
        axes.plot(states, _known(track.values), style, color=color, linewidth=1.6, label=track.name, zorder=2)
    _frame(axes, states)
    axes.legend(fontsize=7.5, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _known(values: Sequence[float | None]) -> list[float]:
    return [np.nan if value is None else value for value in values]


def _frame(axes: Axes, states: Sequence[int]) -> None:
    step = -(-len(states) // 16)
    axes.set_xticks(states[::step], [str(state) for state in states[::step]])
    axes.tick_params(labelsize=7.5, length=2)
    axes.set_xlabel("state", size=8)
    axes.set_ylabel("similarity", size=8)
    axes.grid(axis="y", linewidth=0.4, color="0.85")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
