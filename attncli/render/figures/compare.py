"""The result of `attn compare` as a figure: the matrix and map of each chosen state, and the path over the states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from attncli.errors import UsageError
from attncli.render.common.colormap import LABEL_COLORS
from attncli.render.common.escape import printable
from attncli.render.figures.axis_labels import AxisLabels, draw_labels
from attncli.render.figures.panels import (
    Box,
    Scale,
    axes_at,
    draw_cells,
    draw_color_bar,
    draw_numbers,
    render_figure,
)
from attncli.render.figures.text_layout import drawable, room_for, type_size, write_line
from attncli.render.views.compare import RANDOM_WORDS, CompareView, Track
from attncli.results.compare import CompareResult, Matrix, State

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Inches.
_MATRIX_SIDE, _LARGEST_CELL = 4.2, 0.42
_MAP_SIZE, _PATH_SIZE = (3.4, 2.6), (5.2, 2.6)
_TITLE, _EDGE, _GAP, _BELOW = 0.5, 0.3, 0.7, 0.85
#: Occurrences up to which each has its name on the map.
_MAX_NAMED = 60
_PLAIN_COLOR = (11 / 255, 99 / 255, 176 / 255)
#: Line styles of the means over pairs, without the colours of labels; and of random words.
_SUMMARY_STYLES, _RANDOM_STYLE = (("0", "-"), ("0", "--"), ("0", ":")), ("0.5", "-.")
#: Inches of a line of the key, and of the mark before its text.
_KEY_LINE, _KEY_MARK = 0.17, 0.3


Color = tuple[float, float, float]


class OccurrenceNames(NamedTuple):
    """Each occurrence's number, its number with its tag, its colour, and the key of colours (empty without labels)."""

    numbers: Sequence[str]
    tagged: Sequence[str]
    colors: Sequence[Color]
    key: Mapping[str, Color]

    @property
    def key_width(self) -> float:
        """Inches."""
        return room_for([*self.key], 7.5) + _KEY_MARK if self.key else 0.0


def compare_figure(result: CompareResult, form: str, *, title: str | None = None) -> bytes:
    """The chosen states beneath one another, as `svg`, `pdf` or `png`; beneath them the path over several states.

    Raises UsageError for one or two occurrences at one state, which give no figure.
    """
    view = CompareView(result)
    words = " / ".join(result.words)
    title = drawable(printable(title or f"{words} in context, {result.model}"), form)
    names = _occurrence_texts(view, form)
    # A single pair has only one value.
    states = [
        state for state in result.chosen if len(names.numbers) > 2 and (state.shown is not None or _has_map(state))
    ]
    if not states and len(result.states) < 2:
        raise UsageError(
            "a figure needs three occurrences, or several states", hint="give more sentences, or --state all"
        )
    tracks = [track._replace(name=drawable(track.name, form)) for track in view.summary_tracks]
    return render_figure(
        lambda: _compose_figure(view, states, names, tracks, title), form, texts=[title, *names.tagged]
    )


def _occurrence_texts(view: CompareView, form: str) -> OccurrenceNames:
    tagged = [drawable(f"{name} {tag}".strip(), form) for name, tag in zip(view.names, view.tags, strict=True)]
    if not view.has_groups:
        return OccurrenceNames(view.names, tagged, [_PLAIN_COLOR] * len(tagged), {})
    colors = [_label_color(view.group(index)) for index in range(len(tagged))]
    key = {drawable(text, form) or "no label": _label_color(place) for place, text in enumerate(view.groups)}
    return OccurrenceNames(view.names, tagged, colors, key)


def _label_color(place: int) -> Color:
    red, green, blue = LABEL_COLORS[place % len(LABEL_COLORS)]
    return red / 255, green / 255, blue / 255


def _has_map(state: State) -> bool:
    return state.positions is not None and state.explained is not None


def _compose_figure(
    view: CompareView, states: Sequence[State], names: OccurrenceNames, tracks: Sequence[Track], title: str
) -> Figure:
    cell = min(_LARGEST_CELL, _MATRIX_SIDE / len(names.numbers))
    room = room_for(names.tagged, type_size(cell))
    side = cell * len(names.numbers)
    height = room + max(side, _MAP_SIZE[1] if any(map(_has_map, states)) else 0) + _BELOW + 0.35
    path = _PATH_SIZE[1] + 0.9 if len(view.result.states) > 1 else 0
    beside = _GAP + _MAP_SIZE[0] + names.key_width if any(map(_has_map, states)) else 0
    width = _EDGE + room + max(side, 2.4) + beside + _EDGE
    scale = _shared_scale(states)
    figure = Figure(
        figsize=(max(width, (_PATH_SIZE[0] + 1.9) if path else 0, 3.4), _TITLE + len(states) * height + path)
    )
    write_line(figure, title)
    for place, state in enumerate(states):
        top = _TITLE + place * height
        write_line(figure, view.state_title(state.state), top=top, size=9.5)
        _draw_matrix(figure, state, names, scale, Box(_EDGE + room, top + 0.3 + room, side, side), cell)
        _draw_map(figure, state, names, Box(_EDGE + room + max(side, 2.4) + _GAP, top + 0.3 + room, *_MAP_SIZE))
    if path:
        _draw_path(figure, view, tracks, Box(_EDGE + 0.4, _TITLE + len(states) * height + 0.35, *_PATH_SIZE))
    return figure


def _shared_scale(states: Sequence[State]) -> Scale:
    """One scale for all states, from the least to the greatest of their values."""
    matrices = [_off_diagonal(state.shown) for state in states if state.shown is not None]
    if not matrices:
        return Scale.between(0, 1)
    return Scale.between(
        min(float(np.nanmin(each)) for each in matrices), max(float(np.nanmax(each)) for each in matrices)
    )


def _off_diagonal(matrix: Matrix) -> Matrix:
    """The matrix with nan on its diagonal."""
    return np.where(np.eye(len(matrix), dtype=bool), np.nan, matrix)


def _draw_matrix(figure: Figure, state: State, names: OccurrenceNames, scale: Scale, box: Box, cell: float) -> None:
    if state.shown is None:
        return
    values = _off_diagonal(state.shown)
    axes = axes_at(figure, box)
    picture = draw_cells(axes, values, scale)
    draw_labels(axes, AxisLabels(names.tagged), AxisLabels(names.tagged), cell=cell)
    draw_numbers(axes, values, scale, cell=cell)
    draw_color_bar(
        figure, picture, Box(box.left, box.top + box.height + 0.18, max(min(box.width, 2.6), 2.2), 0.1), "cosine"
    )


def _draw_map(figure: Figure, state: State, names: OccurrenceNames, box: Box) -> None:
    """The map of the first two principal components, with equal units on both axes."""
    if state.positions is None or state.explained is None:
        return
    axes = axes_at(figure, box)
    x, y = state.positions.T
    axes.scatter(x, y, c=names.colors, s=26, edgecolors="black", linewidths=0.5, zorder=2)
    if len(names.numbers) <= _MAX_NAMED:
        for name, place in zip(names.numbers, state.positions.tolist(), strict=True):
            axes.annotate(name, place, xytext=(4, 3), textcoords="offset points", size=7.5)
    _draw_key(axes, names.key, most=int(box.height / _KEY_LINE))
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.12)
    axes.tick_params(labelsize=7, length=2)
    for axis, number, share in ((axes.xaxis, 1, state.explained[0]), (axes.yaxis, 2, state.explained[1])):
        axis.set_label_text(f"component {number} ({share:.0%} of the variance)", size=8)


def _draw_key(axes: Axes, key: Mapping[str, Color], *, most: int) -> None:
    """The key of label colours beside a map, at most `most` labels."""
    marks = [
        Line2D([], [], linestyle="", marker="o", color=color, markeredgecolor="black", markeredgewidth=0.5, label=text)
        for text, color in [*key.items()][:most]
    ]
    if marks:
        axes.legend(
            handles=marks, fontsize=7.5, frameon=False, loc="upper left", bbox_to_anchor=(1, 1), handletextpad=0.1
        )


def _draw_path(figure: Figure, view: CompareView, tracks: Sequence[Track], box: Box) -> None:
    """Single pairs as thin lines, means over pairs and random words as thick ones."""
    axes = axes_at(figure, box)
    states = [state.state for state in view.result.states]
    for track in view.pair_tracks:
        axes.plot(states, np.array(track.values, dtype=float), color="0.7", linewidth=0.6, zorder=1)
    for place, track in enumerate(tracks):
        color, style = _RANDOM_STYLE if track.name == RANDOM_WORDS else _SUMMARY_STYLES[place % len(_SUMMARY_STYLES)]
        axes.plot(
            states, np.array(track.values, dtype=float), style, color=color, linewidth=1.6, label=track.name, zorder=2
        )
    axes.legend(fontsize=7.5, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    step = -(-len(states) // 16)
    axes.set_xticks(states[::step], [str(state) for state in states[::step]])
    axes.tick_params(labelsize=7.5, length=2)
    axes.set_xlabel("state", size=8)
    axes.set_ylabel("similarity", size=8)
    axes.grid(axis="y", linewidth=0.4, color="0.85")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
