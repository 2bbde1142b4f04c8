"""Whatever the tokens and the terminal: readings and differences stay within its width and act on nothing."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from attncli.render.common.cells import cell_width
from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.heads.heatmap import HeatScale
from attncli.render.heads.shaded_text import ShadedToken, shaded_text
from attncli.render.heads.text import heads_text
from attncli.results.heads import HeadChange, HeadsDifference, HeadsResult, StackDifference
from attncli.results.patterns import HeadWeight, KeyRead, Pattern, Ranking, RowReading
from attncli.results.tokens import Token
from tests.render.heads_samples import SGR, made_up_values
from tests.render.test_heads_any_text import CHARACTERS, TERMINALS, TOKENS, results, tokens_of, weights


@st.composite
def texts(draw: st.DrawFn) -> tuple[Token, ...]:
    """Tokens that touch or don't, or of which nobody knows where they stand; few or many."""
    tokens = tokens_of(draw(TOKENS) * draw(st.sampled_from((1, 1, 40))))
    placed, place = [], 0
    for index, token in enumerate(tokens):
        place += draw(st.integers(0, 1)) if index < 60 else 1
        placed.append(token._replace(index=index, start=place, end=place + len(token.text)))
        place += len(token.text)
    return tuple(placed) if draw(st.booleans()) else tokens


@st.composite
def readings(draw: st.DrawFn) -> HeadsResult:
    """What any of the tokens reads of the others, or how heads rank by one weight."""
    of = draw(results())
    keys = draw(texts())
    query = draw(st.integers(0, len(keys) - 1))
    row = weights(draw(st.integers(0, 99)), 1, len(keys), False)[0]
    visible = np.arange(len(keys)) <= (query if draw(st.booleans()) else len(keys))
    order = [place for place in np.argsort(-row).tolist() if visible[place]][: draw(st.integers(1, 12))]
    name = of.stacks[0].metrics[0].name
    top = tuple(KeyRead(place, float(row[place]), draw(st.sampled_from((None, 0.1))), name, 0.9) for place in order)
    lines = tuple(range(1, len(keys) + 1)) if draw(st.booleans()) else None
    heads = draw(st.integers(1, 2))
    reading = RowReading(keys[query], heads, row, None, visible, top, (query,), lines and lines[query], lines)
    ranked = tuple(
        HeadWeight(head.name, head.layer, head.head, 0.01 * rank, draw(st.sampled_from((None, 0.1))), rank + 1, 9999)
        for rank, head in enumerate(of.stacks[0].metrics)
    )
    changes = {"reading": reading} if draw(st.booleans()) else {"ranking": Ranking(keys[query], keys[-1], ranked)}
    stack = replace(of.stacks[0], queries=(keys[query],), keys=keys, whole=(len(keys), len(keys)), **changes)
    return replace(of, stacks=(stack,), weighting=draw(st.sampled_from(("attention", "norm"))))


@st.composite
def differences(draw: st.DrawFn) -> HeadsResult:
    """Any result beside another one of its shape."""
    of = draw(results())
    (stack,) = of.stacks
    seed = draw(st.integers(0, 99))
    heads = tuple(
        HeadChange(
            head.name, head.layer, head.head, draw(st.sampled_from((None, 0.5))), (), made_up_values(seed),
            {name: None if value is None else 40 * (value - 0.5) for name, value in made_up_values(seed).items()},
            draw(st.sampled_from((None, "first"))),
        )
        for head in stack.metrics
    )  # fmt: skip
    random = np.random.default_rng(seed)
    patterns = tuple(
        Pattern(one.layer, one.head, (one.weights - random.random(one.weights.shape)).astype(np.float32))
        for one in stack.patterns
    )
    there = tokens_of(draw(st.lists(st.text(CHARACTERS), min_size=len(stack.queries), max_size=len(stack.queries))))
    keys = there if stack.queries == stack.keys else stack.keys
    other = StackDifference(stack.stack, there, keys, heads, patterns)
    metric = draw(st.sampled_from((None, "distance", "first")))
    kind = draw(st.sampled_from(("models", "texts")))
    return replace(
        of, difference=HeadsDifference(kind, draw(st.text(CHARACTERS)), metric, draw(st.booleans()), (other,))
    )


PICTURES = st.one_of(readings(), differences())


@given(PICTURES, TERMINALS)
@settings(derandomize=True, deadline=None)
def test_no_line_is_wider_than_the_terminal(of: HeadsResult, terminal: Terminal) -> None:
    for line in SGR.sub("", heads_text(of, terminal)).split("\n"):
        assert cell_width(line) <= terminal.width


@given(PICTURES, TERMINALS)
@settings(derandomize=True, deadline=None)
def test_nothing_acts_on_the_terminal(of: HeadsResult, terminal: Terminal) -> None:
    text = heads_text(of, terminal)
    plain = SGR.sub("", text).replace("\n", "")
    left_to_right_mark, joiner = "\u200e", "\u200d"
    assert {c for c in plain if unicodedata.category(c)[0] == "C"} <= {left_to_right_mark, joiner}
    assert terminal.color is not ColorDepth.NONE or "\x1b" not in text
    assert terminal.unicode or text.isascii()


@given(texts(), TERMINALS)
@settings(derandomize=True, deadline=None)
def test_ink_stands_beneath_its_token(tokens: tuple[Token, ...], terminal: Terminal) -> None:
    """Whatever the characters: the rows of ink and of text are as wide as one another, and no row is cut."""
    heat = HeatScale(1.0, terminal._replace(color=ColorDepth.NONE))
    for row in shaded_text([ShadedToken(token, 1.0) for token in tokens], heat):
        text, ink = row
        assert cell_width(text.plain) == cell_width(ink.plain) <= terminal.width
        cells = [sign for sign in text.plain for _ in range(cell_width(sign))]
        assert set(ink.plain) <= {" ", "@"}
        # What has no ink is a gap between two tokens.
        assert all(mark == "@" or cell == " " for cell, mark in zip(cells, ink.plain, strict=False))
