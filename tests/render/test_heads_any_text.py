"""Whatever the tokens and the terminal: no line too wide, no column moved, nothing that acts on a terminal."""

from __future__ import annotations

import unicodedata

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.text import Text

from attncli.metrics import METRICS
from attncli.render.common.cells import cell_width
from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.heads.heatmap import HeatScale
from attncli.render.heads.pattern_grid import fitted_grid, grid_rows
from attncli.render.heads.text import heads_text
from attncli.results.heads import HeadMetrics, HeadsResult, Layer, Stack
from attncli.results.patterns import Pattern
from attncli.results.tokens import Token
from tests.render.heads_samples import SGR, made_up_values, result

#: Ordinary letters, and all that has ever moved a column: wide, combining, joining, right to left, control, lone.
CHARACTERS = st.one_of(
    st.sampled_from("ab Ġ·猫👍❤é\u0301\u200d\ufe0f\u200b\u202e\u2066שלםعא\x1b\x07\x9b\n\t\r\u115f\u1161กำ🇩🇪👩👧\ud800"),
    st.characters(),
)
TOKENS = st.lists(st.text(CHARACTERS, max_size=24), min_size=1, max_size=30)
TERMINALS = st.builds(
    Terminal,
    st.integers(20, 200),
    st.sampled_from(ColorDepth),
    st.booleans(),
    st.sampled_from((10, 24, 99)),
    st.booleans(),
)
LABELS = st.lists(
    st.sampled_from(("previous", "next", "first", "special", "induction", "other")), max_size=2, unique=True
)


def tokens_of(texts: list[str]) -> tuple[Token, ...]:
    return tuple(Token(i, i, text, text, special=i % 5 == 0) for i, text in enumerate(texts))


def weights(seed: int, rows: int, columns: int, causal: bool) -> np.ndarray:
    values = np.random.default_rng(seed).random((rows, columns)) ** 4
    return (np.tril(values) if causal else values).astype(np.float32)


@st.composite
def results(draw: st.DrawFn) -> HeadsResult:
    """One stack of a few layers on any tokens, with any of its heads chosen."""
    seed = draw(st.integers(0, 10_000))
    queries = tokens_of(draw(TOKENS))
    cross = draw(st.booleans())
    keys = tokens_of(draw(TOKENS)) if cross else queries
    layers, heads = draw(st.integers(1, 3)), draw(st.integers(1, 40))
    causal = not cross and draw(st.booleans())
    metrics = tuple(
        HeadMetrics(f"{layer}.{index}", layer, index, tuple(draw(LABELS)), made_up_values(seed + index))
        for layer in range(layers)
        for index in range(heads)
    )
    chosen = draw(st.integers(0, 4))
    patterns = tuple(
        Pattern(one.layer, one.head, weights(seed, len(queries), len(keys), causal)) for one in metrics[:chosen]
    )
    kinds = tuple(Layer(layer, heads) for layer in range(layers))
    baselines = {layer: dict.fromkeys(METRICS, 0.5) for layer in range(layers)}
    name = "cross" if cross else "encoder"
    stack = Stack(name, kinds, queries, keys, metrics, baselines, causal, patterns)
    return result(stack, chosen=bool(chosen), model=draw(st.text(CHARACTERS, max_size=40)))


@given(results(), TERMINALS)
@settings(derandomize=True, deadline=None)
def test_no_line_is_wider_than_the_terminal(of: HeadsResult, terminal: Terminal) -> None:
    for line in SGR.sub("", heads_text(of, terminal)).split("\n"):
        assert cell_width(line) <= terminal.width


@given(results(), TERMINALS)
@settings(derandomize=True, deadline=None)
def test_nothing_acts_on_the_terminal(of: HeadsResult, terminal: Terminal) -> None:
    text = heads_text(of, terminal)
    plain = SGR.sub("", text).replace("\n", "")
    left_to_right_mark, joiner = "\u200e", "\u200d"
    acting = {c for c in plain if unicodedata.category(c)[0] == "C"} - {left_to_right_mark, joiner}
    assert acting == set()
    assert terminal.color is not ColorDepth.NONE or "\x1b" not in text
    assert terminal.unicode or text.isascii()


@given(results().filter(lambda of: of.chosen), TERMINALS)
@settings(derandomize=True, deadline=None)
def test_every_row_of_a_pattern_has_its_cells_in_the_same_places(of: HeadsResult, terminal: Terminal) -> None:
    stack = of.stacks[0]
    grid = fitted_grid(stack, stack.patterns[0], terminal)
    rows, columns = grid.pattern.weights.shape
    # Of the texts, rows alone begin with a dim label.
    texts = [each for each in grid_rows(stack, grid, HeatScale(1.0, terminal)) if isinstance(each, Text)]
    labelled = [each for each in texts if each.spans and each.spans[0].start == 0]
    assert len(labelled) == rows
    assert {each.cell_len for each in labelled} == {grid.margin + columns * grid.cell}
