"""The result of `attn compare` as an HTML page: matrix, map and path over states, each linked to the sentences."""

from __future__ import annotations

import numpy as np

from attncli.render.common.colormap import VIRIDIS_HEX
from attncli.render.common.escape import printable
from attncli.render.html.page import pack_finely, page, rounded, rounded_all
from attncli.render.views.compare import RANDOM_WORDS, CompareView, group_color
from attncli.render.views.compare_answer import said
from attncli.render.views.header import SEPARATOR
from attncli.results.compare import CompareResult, Matrix, State

#: Characters of a sentence on either side of the word.
_MAX_CONTEXT = 240


def compare_html(result: CompareResult, *, title: str | None = None) -> str:
    """The result as one HTML document that needs nothing else."""
    words = " / ".join(result.words)
    return page("compare", compare_data(result), title=title or f"{words} in context", made_by=result.made_by)


def compare_data(result: CompareResult) -> dict[str, object]:
    """What the page's script reads: see `assets/compare.js`."""
    view = CompareView(result)
    (model, device, dtype), (_, _, states, *_) = view.facts
    notes = [*map(printable, (*result.warnings, *result.notes)), view.sample_sentence]
    return {
        "facts": [SEPARATOR.join(filter(None, [model, device, dtype, states, view.reading]))],
        "notes": [note for note in notes if note],
        "measure": view.measure,
        "colors": VIRIDIS_HEX,
        "groups": [[tag, group_color(place)] for place, tag in enumerate(view.groups)] if view.has_groups else [],
        "occurrences": [_occurrence_data(index, view) for index in range(len(view.names))],
        "states": [_state_data(state, view) for state in result.chosen],
        "path": _path_data(view),
        "best": view.best_sentence,
    }


def _occurrence_data(index: int, view: CompareView) -> dict[str, object]:
    occurrence = view.result.occurrences[index]
    text, start, end = occurrence.text, occurrence.start, occurrence.end
    before, after = text[max(start - _MAX_CONTEXT, 0) : start], text[end : end + _MAX_CONTEXT]
    return {
        "name": view.names[index],
        "tag": view.tags[index],
        "group": view.group(index) if view.has_groups else None,
        "text": [
            ("…" if start > _MAX_CONTEXT else "") + view.flat(before),
            view.flat(text[start:end]),
            view.flat(after) + ("…" if len(text) > end + _MAX_CONTEXT else ""),
        ],
        "pieces": [printable(piece) for piece in occurrence.pieces],
    }


def _state_data(state: State, view: CompareView) -> dict[str, object]:
    shown = state.shown
    return {
        "title": view.state_title(state.state),
        "answer": said(state, view),
        "said": view.state_sentences(state),
        "similarity": None if shown is None else pack_finely(shown),
        "scale": None if shown is None else _scale_ends(shown),
        "percentile": None if state.percentile is None else pack_finely(state.percentile),
        "map": None if state.positions is None else [rounded_all(row) for row in state.positions.tolist()],
        "explained": None if state.explained is None else rounded_all(state.explained),
    }


def _scale_ends(matrix: Matrix) -> list[float | None]:
    """The least and the greatest value off the diagonal."""
    values = matrix[~np.eye(len(matrix), dtype=bool)]
    return [rounded(float(values.min())), rounded(float(values.max()))] if values.size else [0, 1]


def _path_data(view: CompareView) -> dict[str, object] | None:
    """The tracks over the states; None for a single state."""
    if len(view.result.states) < 2:
        return None
    tracks = [(track, "random" if track.name == RANDOM_WORDS else "summary") for track in view.summary_tracks]
    tracks += [(track, "pair") for track in view.pair_tracks]
    data = [{"name": track.name, "kind": kind, "values": rounded_all(track.values)} for track, kind in tracks]
    return {"states": [state.state for state in view.result.states], "tracks": data}
