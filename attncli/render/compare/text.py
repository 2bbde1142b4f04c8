"""What `attn compare` shows in a terminal: sentences, and for each chosen state a matrix, a map and what they say."""

from __future__ import annotations

import numpy as np

from attncli.render.compare.contexts import context_lines
from attncli.render.compare.matrix import matrix_lines
from attncli.render.compare.names import Tags, ascii_safe, label_text, occurrence_names, paragraph, state_title
from attncli.render.compare.paths import path_lines
from attncli.render.compare.plot import map_lines
from attncli.render.compare.verdict import best_lines, sample_line, verdict_lines
from attncli.render.document import lower
from attncli.render.glyphs import glyphs
from attncli.render.layout import apart, flow
from attncli.render.lines import BOLD, Line, StyledSpan
from attncli.render.terminal import Terminal
from attncli.render.token_text import name_text
from attncli.results.compare import CompareResult, Indices, State

#: Pairs that are named where a matrix has no room.
_NAMED_PAIRS = 3


def compare_text(result: CompareResult, terminal: Terminal) -> str:
    """The result for a terminal of this width, colour depth and character set; no line is wider than the terminal."""
    tags = Tags.of(result, terminal)
    names = occurrence_names(result)
    blocks = [
        _header(result, terminal),
        context_lines(result, tags, terminal),
        *(block for state in result.chosen for block in _state(state, result, names, tags, terminal)),
        path_lines(result, terminal),
        best_lines(result, terminal),
        sample_line(result, terminal),
    ]
    return lower(apart([block for block in blocks if block]), terminal)


def _header(result: CompareResult, terminal: Terminal) -> list[Line]:
    separator = glyphs(terminal).separator
    model = [
        Line.of(StyledSpan(name_text(result.model, terminal), BOLD)),
        Line.of(result.device),
        Line.of(result.dtype),
    ]
    words = " / ".join(label_text(word, terminal) for word in result.words)
    count = len(result.occurrences)
    about = [
        Line.of(StyledSpan(words, BOLD)),
        Line.of(f"{count:,} occurrence{'s' if count != 1 else ''}"),
        Line.of(f"{result.stack}, states 0{glyphs(terminal).dash}{result.state_count - 1}"),
    ]
    if any(len(each.pieces) > 1 for each in result.occurrences):
        about.append(Line.of(f"{result.pool} of the pieces" if result.pool == "mean" else f"{result.pool} piece"))
    return [line for parts in (model, about) for line in flow(parts, separator=separator, width=terminal.width)]


def _state(
    state: State, result: CompareResult, names: tuple[str, ...], tags: Tags, terminal: Terminal
) -> list[list[Line]]:
    title = Line.of(StyledSpan(state_title(state.state, result), BOLD))
    said = verdict_lines(state, result, names, terminal)
    plane = map_lines(state, names, tags, terminal)
    if state.shown is None or len(names) < 3:
        return [[title, *_too_many(state, names, terminal), *said], plane]
    matrix = matrix_lines(state.shown, names, tags, terminal) or _in_pairs(state, names, terminal)
    return [[title, *matrix], said, plane]


def _too_many(state: State, names: tuple[str, ...], terminal: Terminal) -> list[Line]:
    """Instead of a matrix: who is nearest to whom."""
    if state.shown is not None or state.nearest is None or state.nearest_similarity is None:
        return []
    looked = np.flatnonzero(state.nearest >= 0)
    order = looked[np.argsort(-state.nearest_similarity[looked], kind="stable")]
    some = "" if len(looked) == len(names) else f", of {len(looked):,} drawn at random"
    texts = (
        f"{len(names):,} occurrences are too many for a matrix; -o FILE.npz holds their vectors",
        f"nearest neighbours{some}: {_nearest(order[:_NAMED_PAIRS], state, names)}",
        f"farthest from any: {_nearest(order[::-1][:_NAMED_PAIRS], state, names)}",
    )
    return [line for text in texts for line in paragraph(ascii_safe(text, terminal), terminal, indent=2)]


def _nearest(indices: Indices, state: State, names: tuple[str, ...]) -> str:
    assert state.nearest is not None
    assert state.nearest_similarity is not None
    return ", ".join(
        f"{names[i]}–{names[int(state.nearest[i])]} {state.nearest_similarity[i]:.2f}" for i in indices.tolist()
    )


def _in_pairs(state: State, names: tuple[str, ...], terminal: Terminal) -> list[Line]:
    """The most and the least alike, where the matrix has no room."""
    assert state.shown is not None
    rows, columns = np.triu_indices(len(names), k=1)
    values = state.shown[rows, columns]
    order = np.argsort(-values, kind="stable")

    def named(indices: Indices) -> str:
        return ", ".join(f"{names[rows[i]]}–{names[columns[i]]} {values[i]:.2f}" for i in indices.tolist())

    texts = (
        f"the matrix of {len(names)} has no room here; --json, --format csv and -o FILE.npz hold it",
        f"most alike: {named(order[:_NAMED_PAIRS])}",
        f"least alike: {named(order[::-1][:_NAMED_PAIRS])}",
    )
    return [line for text in texts for line in paragraph(ascii_safe(text, terminal), terminal, indent=2)]
