"""The view of `attn compare` in a terminal: the answer, the matrix with the sentences, the map, and what else fits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

from rich.console import RenderableType

from attncli.render.common.cells import glyphs
from attncli.render.common.console import Flow, render_blocks, sentence, text
from attncli.render.common.escape import ascii_safe
from attncli.render.common.terminal import Terminal
from attncli.render.compare.context import context_rows
from attncli.render.compare.matrix import MatrixLayout, map_rows, matrix_rows, scale_parts, shows_sentences
from attncli.render.compare.path import path_rows
from attncli.render.views.compare import CompareView
from attncli.render.views.compare_answer import answer, said
from attncli.results.compare import CompareResult, State

Block = Sequence[RenderableType]


def compare_text(result: CompareResult, terminal: Terminal) -> str:
    """The result for a terminal of this size, colour depth and character set; no line is wider than the terminal.

    Unless everything was asked for, parts that don't fit the terminal's height are left out, the last ones first.
    """
    view = CompareView(result, unicode=terminal.unicode)
    return render_blocks(_everything(view, terminal) if terminal.full else _screen(view, terminal), terminal)


# --- What fits a screen


def _screen(view: CompareView, terminal: Terminal) -> list[Block]:
    chosen = view.result.chosen
    pictured = next((state for state in chosen if state.state == view.result.best), chosen[-1])
    layout = _layout(pictured, view, terminal)
    # The last state of a causal model predicts the next word, so its states are shown before one is pictured.
    lead = path_rows(view, terminal, pairs=False) if view.result.causal else []
    picture = _first_picture(pictured, view, layout, terminal)
    blocks = [*_answers(chosen, view, terminal), *([lead] if lead else ()), *picture]
    sentences = [] if shows_sentences(view, layout, terminal) else context_rows(view, terminal)
    if len(view.names) < 3:
        blocks.insert(1, sentences)
        sentences = []
    blocks.append(map_rows(pictured, view, terminal, room=terminal.lines - _height(blocks, terminal) - 1))
    if _fits([*blocks, sentences], terminal):
        blocks.insert(1, sentences)
    path = [] if lead else path_rows(view, terminal, pairs=True)
    if not _fits([*blocks, path], terminal):
        path = path_rows(view, terminal, pairs=False)
    for more in (path, _sentences(view.state_sentences(pictured), terminal), _closing(view, terminal)):
        if _fits([*blocks, more], terminal):
            blocks.append(more)
    return blocks


def _fits(blocks: Iterable[Block], terminal: Terminal) -> bool:
    return _height(blocks, terminal) <= terminal.lines


def _height(blocks: Iterable[Block], terminal: Terminal) -> int:
    return render_blocks(blocks, terminal).count("\n")


def _answers(chosen: Sequence[State], view: CompareView, terminal: Terminal) -> Iterator[Block]:
    """The answer and what it rests on; of several states an answer each."""
    if len(chosen) == 1:
        yield _answer_rows(chosen[0], view, terminal)
        return
    answers = [f"State {state.state}: {answer(state, view)}" for state in chosen]
    yield _sentences([view.causal_sentence, *answers], terminal)


def _answer_rows(state: State, view: CompareView, terminal: Terminal) -> Block:
    rows = [ascii_safe(each, terminal) for each in said(state, view)]
    first = ["bold"] if view.causal_sentence or answer(state, view) else []
    return [sentence(each, style=style) for each, style in zip_longest(rows, first, fillvalue="")]


def _layout(state: State, view: CompareView, terminal: Terminal) -> MatrixLayout | None:
    if state.shown is None or len(view.names) < 3:
        return None
    return MatrixLayout.fit(view, terminal.width)


def _first_picture(state: State, view: CompareView, layout: MatrixLayout | None, terminal: Terminal) -> Iterator[Block]:
    """The matrix under the facts, or where it doesn't fit the pairs that are the most and the least similar."""
    heading = _heading(state, view, layout, terminal)
    if layout is not None and state.shown is not None:
        matrix = [heading, *matrix_rows(state.shown, view, layout, terminal)]
        if len(matrix) < terminal.lines:
            yield matrix
            return
    yield [heading, *_without_matrix(state, view, layout, terminal)]


def _without_matrix(state: State, view: CompareView, layout: MatrixLayout | None, terminal: Terminal) -> Block:
    if state.shown is None:
        return _sentences(view.nearest_sentences(state), terminal)
    return _sentences(view.extreme_sentences(state, fits=layout is not None), terminal) if len(view.names) > 2 else []


def _heading(state: State, view: CompareView, layout: MatrixLayout | None, terminal: Terminal) -> RenderableType:
    """`gpt2 · decoder state 12 (the last) · cosine · 0.69 <ramp> 0.89`."""
    (model, *running), _ = view.facts
    # What a computer without a GPU does goes without saying.
    unusual = [] if running == ["cpu", "float32"] else running
    last = view.result.state_count - 1
    place = f"{view.result.stack} state {state.state} {'(the last)' if state.state == last else f'of {last}'}"
    facts = (model, *unusual, place, view.reading, view.measure)
    parts = [text(ascii_safe(fact, terminal), "" if place else "bold") for place, fact in enumerate(facts) if fact]
    if layout is not None and state.shown is not None:
        parts += scale_parts(state.shown, layout, terminal)
    return Flow(parts, glyphs(terminal).separator)


def _closing(view: CompareView, terminal: Terminal) -> Block:
    last = (view.best_sentence, ""), (view.sample_sentence, "dim")
    return [sentence(ascii_safe(each, terminal), indent=2, style=style) for each, style in last if each]


def _sentences(sentences: Iterable[str], terminal: Terminal) -> Block:
    return [sentence(ascii_safe(each, terminal), indent=2) for each in sentences if each]


# --- All that is known


def _everything(view: CompareView, terminal: Terminal) -> list[Block]:
    return [
        *([_answer_rows(view.result.chosen[0], view, terminal)] if len(view.result.chosen) == 1 else ()),
        _facts(view, terminal),
        context_rows(view, terminal),
        *(block for state in view.result.chosen for block in _state_blocks(state, view, terminal)),
        path_rows(view, terminal, pairs=True),
        _closing(view, terminal),
    ]


def _facts(view: CompareView, terminal: Terminal) -> Block:
    separator = glyphs(terminal).separator
    parts = (
        [text(ascii_safe(fact, terminal), "" if place else "bold") for place, fact in enumerate(facts)]
        for facts in view.facts
    )
    return [Flow(each, separator) for each in parts]


def _state_blocks(state: State, view: CompareView, terminal: Terminal) -> Iterator[Block]:
    """A state with its pictures and sentences; of several states with its answer too."""
    title = [text(view.state_title(state.state), "bold")]
    answered = [] if len(view.result.chosen) == 1 else _answer_rows(state, view, terminal)
    layout = _layout(state, view, terminal)
    if layout is not None and state.shown is not None:
        narrow = terminal._replace(width=layout.margin + len(view.names) * layout.cell)
        legend = scale_parts(state.shown, layout, terminal)
        yield [
            *title,
            *answered,
            *matrix_rows(state.shown, view, layout, narrow),
            *([Flow(legend, "   ")] if legend else []),
        ]
    else:
        yield [*title, *answered, *_without_matrix(state, view, layout, terminal)]
    yield _sentences(view.state_sentences(state), terminal)
    yield map_rows(state, view, terminal)
