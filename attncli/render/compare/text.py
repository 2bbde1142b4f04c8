"""The view of `attn compare` in a terminal: the sentences, and for each chosen state a matrix, a map and a verdict."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attncli.render.common.cells import cell_width, clusters, crop, glyphs, pad
from attncli.render.common.document import lines_to_text
from attncli.render.common.escape import direction_end, name_text, printable
from attncli.render.common.lines import BOLD, DIM, Line, Style, StyledSpan, flow, joined, separate_blocks
from attncli.render.common.terminal import Terminal
from attncli.render.compare.matrix import map_lines, matrix_lines
from attncli.render.compare.paths import (
    Tags,
    ascii_safe,
    label_text,
    occurrence_names,
    paragraph,
    path_lines,
    state_title,
)
from attncli.render.compare.verdict import best_lines, sample_line, verdict_lines
from attncli.results.compare import CompareResult, Indices, Occurrence, State

#: Sentences up to which all are shown; of more, the first half of this number.
MAX_SENTENCES = 40
#: Pairs that are listed if the matrix doesn't fit.
_MAX_NAMED_PAIRS = 3
_MIN_CONTEXT = 16
_MARK_STYLE = Style(bold=True, underline=True)


def compare_text(result: CompareResult, terminal: Terminal) -> str:
    """The result for a terminal of this width, colour depth and character set; no line is wider than the terminal."""
    tags = Tags.from_result(result, terminal)
    names = occurrence_names(result)
    blocks = [
        _header(result, terminal),
        context_lines(result, tags, terminal),
        *(block for state in result.chosen for block in _state_blocks(state, result, names, tags, terminal)),
        path_lines(result, terminal),
        best_lines(result, terminal),
        sample_line(result, terminal),
    ]
    return lines_to_text(separate_blocks([block for block in blocks if block]), terminal)


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


def _state_blocks(
    state: State, result: CompareResult, names: tuple[str, ...], tags: Tags, terminal: Terminal
) -> list[list[Line]]:
    title = Line.of(StyledSpan(state_title(state.state, result), BOLD))
    sentences = verdict_lines(state, result, names, terminal)
    plane = map_lines(state, names, tags, terminal)
    if state.shown is None or len(names) < 3:
        return [[title, *_nearest_lines(state, names, terminal), *sentences], plane]
    matrix = matrix_lines(state.shown, names, tags, terminal) or _extreme_pair_lines(state, names, terminal)
    return [[title, *matrix], sentences, plane]


def _nearest_lines(state: State, names: tuple[str, ...], terminal: Terminal) -> list[Line]:
    """Nearest neighbours, in place of a matrix of too many occurrences."""
    if state.shown is not None or state.nearest is None or state.nearest_similarity is None:
        return []
    sampled = np.flatnonzero(state.nearest >= 0)
    order = sampled[np.argsort(-state.nearest_similarity[sampled], kind="stable")]
    some = "" if len(sampled) == len(names) else f", of {len(sampled):,} drawn at random"
    texts = (
        f"{len(names):,} occurrences are too many for a matrix; -o FILE.npz holds their vectors",
        f"nearest neighbours{some}: {_neighbour_list(order[:_MAX_NAMED_PAIRS], state, names)}",
        f"farthest from any: {_neighbour_list(order[::-1][:_MAX_NAMED_PAIRS], state, names)}",
    )
    return [line for text in texts for line in paragraph(ascii_safe(text, terminal), terminal, indent=2)]


def _neighbour_list(indices: Indices, state: State, names: tuple[str, ...]) -> str:
    assert state.nearest is not None
    assert state.nearest_similarity is not None
    return ", ".join(
        f"{names[i]}–{names[int(state.nearest[i])]} {state.nearest_similarity[i]:.2f}" for i in indices.tolist()
    )


def _extreme_pair_lines(state: State, names: tuple[str, ...], terminal: Terminal) -> list[Line]:
    """The most and the least similar pairs, if the matrix doesn't fit."""
    assert state.shown is not None
    rows, columns = np.triu_indices(len(names), k=1)
    values = state.shown[rows, columns]
    order = np.argsort(-values, kind="stable")

    def pairs_text(indices: Indices) -> str:
        return ", ".join(f"{names[rows[i]]}–{names[columns[i]]} {values[i]:.2f}" for i in indices.tolist())

    texts = (
        f"the matrix of {len(names)} has no room here; --json, --format csv and -o FILE.npz hold it",
        f"most alike: {pairs_text(order[:_MAX_NAMED_PAIRS])}",
        f"least alike: {pairs_text(order[::-1][:_MAX_NAMED_PAIRS])}",
    )
    return [line for text in texts for line in paragraph(ascii_safe(text, terminal), terminal, indent=2)]


def context_lines(result: CompareResult, tags: Tags, terminal: Terminal) -> list[Line]:
    """`2 animal  A [mole] dug a tunnel`, followed by the tokens if occurrences are not all single, equal tokens."""
    names = occurrence_names(result)
    shown = range(len(names) if len(names) <= MAX_SENTENCES else MAX_SENTENCES // 2)
    name_width = max(len(names[index]) for index in shown)
    pieces = [_pieces_text(each, terminal) for each in result.occurrences[: len(shown)]]
    pieces_width = (
        0 if _are_single_pieces(result.occurrences) else min(max(map(cell_width, pieces)), terminal.width // 4)
    )
    rest = terminal.width - name_width - 2 - (tags.width + 2 if tags.width else 0)
    room = max(rest - (pieces_width + 2 if pieces_width else 0), _MIN_CONTEXT)
    lines = []
    for index in shown:
        name = StyledSpan(names[index].rjust(name_width), tags.style(index))
        tag = StyledSpan(f"{pad(tags.texts[index], tags.width)}  " if tags.width else "")
        context = context_line(result.occurrences[index], room, terminal)
        gap = " " * max(room - context.width, 0)
        behind = StyledSpan(f"{gap}  {crop(pieces[index], pieces_width)}" if pieces_width else "", DIM)
        lines.append(Line.of(name, "  ", tag, *context.spans, behind))
    if len(shown) < len(names):
        more = f"and {len(names) - len(shown):,} more; --format jsonl lists them all"
        lines.append(Line.of(StyledSpan(ascii_safe(f"… {more}", terminal), DIM)))
    return lines


def _are_single_pieces(occurrences: Sequence[Occurrence]) -> bool:
    """Whether every word is always the same single token."""
    return all(len(each.pieces) == 1 for each in occurrences) and all(
        len({each.pieces for each in occurrences if each.word == word}) == 1
        for word in {each.word for each in occurrences}
    )


def _pieces_text(occurrence: Occurrence, terminal: Terminal) -> str:
    return " + ".join(printable(piece, unicode=terminal.unicode) for piece in occurrence.pieces)


def context_line(occurrence: Occurrence, room: int, terminal: Terminal) -> Line:
    """The sentence with `[brackets]` around the word, in at most `room` cells; the word is never shortened."""
    text, start, end = occurrence.text, occurrence.start, occurrence.end
    before, word, after = (_flat_text(part, terminal) for part in (text[:start], text[start:end], text[end:]))
    before, after = before.lstrip(), after.rstrip()
    left = room - cell_width(word) - 2
    cut = glyphs(terminal).cut
    if cell_width(before) + cell_width(after) > left:
        # The text before a word matters more; in causal models it is all that the word can see.
        share = max(left - cell_width(after), left * 3 // 5)
        if cell_width(before) > share:
            before = cut + _text_end(before, share - 1)
        if cell_width(after) > left - cell_width(before):
            after = crop(after, max(left - cell_width(before) - 1, 0)) + cut
    parts = [Line.of(before), Line.of("[", StyledSpan(word + direction_end(word), _MARK_STYLE), "]"), Line.of(after)]
    return joined(parts).cropped(room, cut)


def _flat_text(text: str, terminal: Terminal) -> str:
    shown = "".join(" " if character in "\n\r\t" else character for character in text)
    return printable(shown, unicode=terminal.unicode)


def _text_end(text: str, width: int) -> str:
    """The longest end of a text that takes at most so many cells."""
    end: list[str] = []
    for piece in reversed(clusters(text)):
        width -= cell_width(piece)
        if width < 0:
            break
        end.append(piece)
    return "".join(reversed(end))
