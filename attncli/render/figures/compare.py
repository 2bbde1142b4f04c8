"""The result of `attn compare` as a figure: the matrix and map of each chosen state, and the path over the states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from attncli.errors import UsageError
from attncli.render.common.escape import printable
from attncli.render.figures.axis_labels import AxisLabels
from attncli.render.figures.panels import (
    COLOR_BAR_WIDTH,
    EDGE,
    Array,
    Scale,
    axes_at,
    draw_color_bar,
    draw_matrix,
    draw_numbers,
    render_figure,
)
from attncli.render.figures.text_layout import (
    CAPTION_SIZE,
    LABEL_SIZE,
    SMALL_SIZE,
    TITLE_SIZE,
    drawable,
    room_for,
    type_size,
    write_line,
)
from attncli.render.views.compare import RANDOM_WORDS, CompareView, group_color
from attncli.render.views.compare_answer import answer
from attncli.results.compare import CompareResult, State

#: Inches: the side of a matrix at most and at least (with its colour bar), and its largest cells.
_MATRIX_SIDE, _MIN_MATRIX_SIDE, _LARGEST_CELL = 4.2, 2.4, 0.42
_MAP_SIZE, _PATH_SIZE = (3.4, 2.6), (5.2, 2.6)
#: Inches: above the states, above a matrix, below it, beside it, and right of the path (its legend).
_TITLE, _STATE_TITLE, _BELOW, _GAP, _LEGEND = 0.5, 0.35, 0.85, 0.7, 1.9
_MARGIN, _MIN_WIDTH = 0.3, 3.4
#: Occurrences up to which each has its name on the map.
_MAX_NAMED = 60
_PLAIN_COLOR = "#0b63b0"
#: Line styles of the means over pairs, without the colours of labels; and of random words.
_SUMMARY_STYLES, _RANDOM_STYLE = (("0", "-"), ("0", "--"), ("0", ":")), ("0.5", "-.")
#: Inches of a line of the key, and of the mark before its text.
_KEY_LINE, _KEY_MARK = 0.17, 0.3
#: Width over height, as of slides.
_ASPECT = 16 / 9
#: Ticks of the path, at most.
_MAX_STATE_TICKS = 16


class _Names(NamedTuple):
    """Each occurrence's number, its number with its tag, its colour, and the key of colours (empty without labels)."""

    numbers: Sequence[str]
    tagged: Sequence[str]
    colors: Sequence[str]
    key: Mapping[str, str]


def compare_figure(result: CompareResult, form: str, *, title: str | None = None) -> bytes:
    """The chosen states as small multiples, as `svg`, `pdf` or `png`; beneath them the path over several states.

    Raises UsageError for one or two occurrences at one state, which give no figure.
    """
    view = CompareView(result)
    causal = f" ({view.causal_sentence.rstrip('.')})" if view.causal_sentence else ""
    named = title or f"{' / '.join(result.words)} in context, {result.model}{causal}"
    title = drawable(printable(named), form)
    # A single pair has only one value.
    chosen = result.chosen if len(view.names) > 2 else ()
    states = [state for state in chosen if state.shown is not None or _has_map(state)]
    if not states and len(result.states) < 2:
        raise UsageError(
            "a figure needs at least three occurrences or several states", hint="give more sentences, or --state all"
        )
    return render_figure(lambda: _draw_figure(view, states, title, form), form)


def _occurrence_names(view: CompareView, form: str) -> _Names:
    tagged = [drawable(f"{name} {tag}".strip(), form) for name, tag in zip(view.names, view.tags, strict=True)]
    if not view.has_groups:
        return _Names(view.names, tagged, [_PLAIN_COLOR] * len(tagged), {})
    colors = [group_color(view.group(index)) for index in range(len(tagged))]
    key = {drawable(text, form) or "no label": group_color(place) for place, text in enumerate(view.groups)}
    return _Names(view.names, tagged, colors, key)


def _has_map(state: State) -> bool:
    return state.positions is not None and state.explained is not None


def _draw_figure(view: CompareView, states: Sequence[State], title: str, form: str) -> Figure:
    names = _occurrence_names(view, form)
    cell = min(_LARGEST_CELL, _MATRIX_SIDE / len(names.numbers))
    room, side = room_for(names.tagged, type_size(cell)), cell * len(names.numbers)
    has_maps, has_path = any(map(_has_map, states)), len(view.result.states) > 1
    height = room + max(side, _MAP_SIZE[1] if has_maps else 0) + _BELOW + _STATE_TITLE
    matrix_end = _MARGIN + room + max(side, _MIN_MATRIX_SIDE)
    key = room_for([*names.key], SMALL_SIZE) + _KEY_MARK if names.key else 0.0
    width = matrix_end + (_GAP + _MAP_SIZE[0] + key if has_maps else 0) + _MARGIN
    headings = [drawable(each, form) for each in _headings(states, view)]
    width = max([width, *(room_for([each], CAPTION_SIZE) + 2 * EDGE for each in headings)])
    below = _PATH_SIZE[1] + 0.9 if has_path else 0
    columns = _column_count(len(states), width, height, below)
    rows = ceil(len(states) / columns)
    whole = max(width * columns, (_PATH_SIZE[0] + _LEGEND) if has_path else 0, _MIN_WIDTH)
    figure = Figure(figsize=(whole, _TITLE + rows * height + below))
    write_line(figure, title, top=0.12, left=EDGE, size=TITLE_SIZE)
    scale = _shared_scale(states)
    for place, state in enumerate(states):
        row, column = divmod(place, columns)
        top, left = _TITLE + row * height, column * width
        write_line(figure, headings[place], top=top, left=left + EDGE, size=CAPTION_SIZE)
        if state.shown is not None:
            corner = left + _MARGIN + room, top + 0.3 + room
            _draw_similarity(figure, _off_diagonal(state.shown), names, scale, view.measure, corner=corner, cell=cell)
        if _has_map(state):
            _draw_map(axes_at(figure, left + matrix_end + _GAP, top + 0.3 + room, *_MAP_SIZE), state, names)
    if has_path:
        top = _TITLE + rows * height + 0.35
        _draw_path(axes_at(figure, _MARGIN + 0.4, top, *_PATH_SIZE), view, form)
    return figure


def _column_count(count: int, width: float, height: float, below: float) -> int:
    """How many blocks of this size stand side by side, so that the whole is nearest to 16:9. below: its last row."""
    most = range(1, max(count, 1) + 1)
    return min(most, key=lambda columns: abs(width * columns / (ceil(count / columns) * height + below) - _ASPECT))


def _headings(states: Sequence[State], view: CompareView) -> list[str]:
    """The answer of a single state; of several, which each is, since answers are too long side by side."""
    if len(states) == 1:
        return [_heading(states[0], view)]
    return [view.state_title(state.state) for state in states]


def _heading(state: State, view: CompareView) -> str:
    """The answer, and of which state it is: `The senses come apart: …, at state 6, after layer 5 (the last)`."""
    said, title = answer(state, view).rstrip("."), view.state_title(state.state)
    return f"{said}, at {title}" if said else title


def _shared_scale(states: Sequence[State]) -> Scale:
    """One sequential scale for all states, from the least to the greatest of their values."""
    values = [_off_diagonal(state.shown) for state in states if state.shown is not None]
    low, high = (float(np.nanmin(values)), float(np.nanmax(values))) if values else (0.0, 1.0)
    return Scale(low, high) if high - low > 1e-9 else Scale(low - 0.5, high + 0.5)


def _off_diagonal(matrix: Array) -> Array:
    """The matrix with nan on its diagonal."""
    return np.where(np.eye(len(matrix), dtype=bool), np.nan, matrix)


def _draw_similarity(
    figure: Figure,
    values: Array,
    names: _Names,
    scale: Scale,
    measure: str,
    *,
    corner: tuple[float, float],
    cell: float,
) -> None:
    sides = AxisLabels(names.tagged), AxisLabels(names.tagged)
    axes, picture = draw_matrix(figure, values, sides, scale, corner=corner, cell=cell)
    draw_numbers(axes, picture, values, cell=cell)
    (left, top), side = corner, len(values) * cell
    draw_color_bar(figure, picture, measure, (left, top + side + 0.18), width=max(min(side, COLOR_BAR_WIDTH), 2.2))


def _draw_map(axes: Axes, state: State, names: _Names) -> None:
    """The map of the first two principal components, with equal units on both axes."""
    assert state.positions is not None
    assert state.explained is not None
    x, y = state.positions.T
    axes.scatter(x, y, c=names.colors, s=26, edgecolors="black", linewidths=0.5, zorder=2)
    if len(names.numbers) <= _MAX_NAMED:
        for name, place in zip(names.numbers, state.positions.tolist(), strict=True):
            axes.annotate(name, place, xytext=(4, 3), textcoords="offset points", size=SMALL_SIZE)
    marks = [
        Line2D([], [], linestyle="", marker="o", color=color, markeredgecolor="black", markeredgewidth=0.5, label=text)
        for text, color in [*names.key.items()][: int(_MAP_SIZE[1] / _KEY_LINE)]
    ]
    if marks:
        corner: dict[str, object] = {"loc": "upper left", "bbox_to_anchor": (1, 1), "handletextpad": 0.1}
        axes.legend(handles=marks, fontsize=SMALL_SIZE, frameon=False, **corner)
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.12)
    axes.tick_params(labelsize=7, length=2)
    for axis, number, share in ((axes.xaxis, 1, state.explained[0]), (axes.yaxis, 2, state.explained[1])):
        axis.set_label_text(f"component {number} ({share:.0%} of the variance)", size=LABEL_SIZE)


def _draw_path(axes: Axes, view: CompareView, form: str) -> None:
    """Single pairs as thin lines, means over pairs and random words as thick ones."""
    states = [state.state for state in view.result.states]
    for track in view.pair_tracks:
        axes.plot(states, np.array(track.values, dtype=float), color="0.7", linewidth=0.6, zorder=1)
    for place, track in enumerate(view.summary_tracks):
        color, style = _RANDOM_STYLE if track.name == RANDOM_WORDS else _SUMMARY_STYLES[place % len(_SUMMARY_STYLES)]
        values, name = np.array(track.values, dtype=float), drawable(track.name, form)
        axes.plot(states, values, style, color=color, linewidth=1.6, label=name, zorder=2)
    axes.legend(fontsize=SMALL_SIZE, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    step = -(-len(states) // _MAX_STATE_TICKS)
    axes.set_xticks(states[::step], [str(state) for state in states[::step]])
    axes.tick_params(labelsize=SMALL_SIZE, length=2)
    axes.set_xlabel("state", size=LABEL_SIZE)
    axes.set_ylabel("mean cosine", size=LABEL_SIZE)
    axes.grid(axis="y", linewidth=0.4, color="0.85")
    axes.spines[["top", "right"]].set_visible(False)
