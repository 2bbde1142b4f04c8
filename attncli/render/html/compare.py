"""The result of `attn compare` as an HTML page: matrix, map and path over states, each linked to the sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attncli.render.common.colormap import VIRIDIS_HEX
from attncli.render.common.escape import printable
from attncli.render.compare.paths import (
    LABEL_COLORS,
    RANDOM_WORDS,
    Tags,
    Track,
    occurrence_names,
    pair_tracks,
    state_title,
    summary_tracks,
)
from attncli.render.compare.verdict import best_lines, sample_line, verdict_lines
from attncli.render.html.page import PAGE, SEPARATOR, joined_text, pack_finely, page, rounded, rounded_all
from attncli.results.compare import CompareResult, Matrix, Occurrence, State

#: Characters of a sentence on either side of the word.
_MAX_CONTEXT = 240


def compare_html(result: CompareResult, *, title: str | None = None) -> str:
    """The result as one HTML document that needs nothing else."""
    words = " / ".join(result.words)
    return page("compare", compare_data(result), title=title or f"{words} in context", made_by=result.made_by)


def compare_data(result: CompareResult) -> dict[str, object]:
    """What the page's script reads: see `assets/compare.js`."""
    tags, names = Tags.from_result(result, PAGE), occurrence_names(result)
    facts = [printable(result.model), result.device, result.dtype, f"{result.stack}, states 0–{result.state_count - 1}"]
    best = joined_text(best_lines(result, PAGE))
    return {
        "facts": [SEPARATOR.join(facts)],
        "notes": [printable(text) for text in (*result.warnings, *result.notes)]
        + [joined_text([line]) for line in sample_line(result, PAGE)],
        "colors": VIRIDIS_HEX,
        "groups": [[text, _label_color(place)] for place, text in enumerate(tags.groups)] if tags.has_groups else [],
        "occurrences": [
            _occurrence_data(each, name, tag, tags)
            for each, name, tag in zip(result.occurrences, names, tags.texts, strict=True)
        ],
        "states": [_state_data(state, result, names) for state in result.chosen],
        "path": _path_data(result),
        "best": best,
    }


def _label_color(place: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*LABEL_COLORS[place % len(LABEL_COLORS)])


def _occurrence_data(occurrence: Occurrence, name: str, tag: str, tags: Tags) -> dict[str, object]:
    text, start, end = occurrence.text, occurrence.start, occurrence.end
    before, after = text[max(start - _MAX_CONTEXT, 0) : start], text[end : end + _MAX_CONTEXT]
    return {
        "name": name,
        "tag": tag,
        "group": tags.groups.index(tag) if tags.has_groups else None,
        "text": [
            ("…" if start > _MAX_CONTEXT else "") + printable(_flat_text(before)),
            printable(_flat_text(text[start:end])),
            printable(_flat_text(after)) + ("…" if len(text) > end + _MAX_CONTEXT else ""),
        ],
        "pieces": [printable(piece) for piece in occurrence.pieces],
    }


def _flat_text(text: str) -> str:
    return "".join(" " if character in "\n\r\t" else character for character in text)


def _state_data(state: State, result: CompareResult, names: Sequence[str]) -> dict[str, object]:
    shown = state.shown
    return {
        "title": state_title(state.state, result),
        "said": [joined_text([line]) for line in verdict_lines(state, result, names, PAGE)],
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


def _path_data(result: CompareResult) -> dict[str, object] | None:
    """The tracks over the states; None for a single state."""
    if len(result.states) < 2:
        return None
    pairs = [] if len(result.occurrences) == 2 else pair_tracks(result)
    tracks = [*((track, "summary") for track in summary_tracks(result, PAGE)), *((track, "pair") for track in pairs)]
    return {
        "states": [state.state for state in result.states],
        "tracks": [_track_data(track, kind) for track, kind in tracks],
    }


def _track_data(track: Track, kind: str) -> dict[str, object]:
    kind = "random" if track.name == RANDOM_WORDS else kind
    return {"name": track.name, "kind": kind, "values": rounded_all(track.values)}
