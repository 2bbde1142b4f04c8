"""The text of `attn compare`: odd results, narrow terminals, and any words."""

from __future__ import annotations

from dataclasses import replace
from unicodedata import category

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attncli.embeddings.measure import similarities, unit_vectors
from attncli.render.common.cells import cell_width
from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.compare.text import compare_text
from attncli.results.compare import CompareResult, Groups, Matrix, Occurrence, State
from tests.render.compare_samples import (
    FOUR,
    GROUPS,
    MATRIX,
    REFERENCE,
    UNLABELLED,
    compare_result,
    first_state,
    last_state,
    occurrence,
)

LOW = State(0, False, 1.0, similarity=np.ones((4, 4)), reference=REFERENCE, within=1.0, across=0.5)
WITHIN = replace(REFERENCE, baseline=0.45)
ADJUSTED = last_state(adjusted=MATRIX - 0.25, adjusted_self_similarity=0.44)
FIVE = (*FOUR, occurrence(5, "a gas", "gas", label="unit"))
ALIKE = np.eye(5) + 0.5 * (1 - np.eye(5))
TWO_WORDS = compare_result(
    State(0, False, 1.0, similarity=ALIKE, reference=REFERENCE, within=1.0, across=1.0),
    last_state(ALIKE, positions=None, explained=None),
    occurrences=FIVE,
)
MANY = tuple(occurrence(number, f"mole {number}") for number in range(1, 101))
UNLIKE = {
    "senses": None,
    "positions": np.random.default_rng(0).normal(size=(100, 2)),
    "nearest": np.arange(100)[::-1].copy(),
    "nearest_similarity": np.linspace(0, 1, 100),
}
WIDE = np.clip(similarities(unit_vectors(np.random.default_rng(0).normal(size=(100, 9)))), -1, 1)


def grouped(groups: Groups) -> CompareResult:
    state = last_state(senses=None, within=None, across=None, groups=groups)
    return compare_result(state, occurrences=UNLABELLED, best=None)


def of_many(similarity: Matrix | None, **options: object) -> CompareResult:
    return compare_result(last_state(similarity, **UNLIKE, **options), occurrences=MANY, best=None)


@pytest.mark.parametrize(
    ("result", "terminal", "told"),
    [
        # A neighbour of another label that is only as near.
        (compare_result(), Terminal(80), ["\nNot 2 (animal): it is nearest to 4 (unit), 0.95.\n",
                                          "\nNot 4 (unit): 2 (animal) is just as near, 0.95.\n"]),
        # Values beneath the scale of the path.
        (compare_result(LOW, last_state()), Terminal(80, unicode=False),
         ["from state 0 to 1, 0 0.40 to 9 1.00, v lower:\n", "random words  vv  0.25 -> 0.25\n"]),
        (compare_result(replace(LOW, reference=WITHIN), replace(last_state(), reference=WITHIN)), Terminal(80),
         ["random words  ▁▁  0.45 → 0.45\n", "█ 1.00:\n"]),
        (compare_result(first_state(), ADJUSTED, adjust="baseline"), Terminal(80),
         ["\nSelf-similarity 0.44 (raw 0.69), raw explained variance 0.80 (the share that one\n"]),
        # What is said of one word of several. A label is a sense of the first word alone.
        (TWO_WORDS, Terminal(100), [
            "\nmole: same label 0.85, other label 0.61: ", "\n2 of 4 of mole have their nearest neighbour",
            "\nmole: labels are farthest apart at state 1: ", "\nmole: self-similarity 0.69, ",
            "\n    pairs of mole  █", "\n mole: same label  █", "\nmole: other label  █", "\n5 gas ",
            "\n1 mole: animal ",
        ]),
        # Little room: hundredths, and sentences cut before the word.
        (compare_result(), Terminal(30), ["1 animal   ·  90% 50: 60-", "50 means 0.50", "…rican shrew [mole]"]),
        (grouped(GROUPS), Terminal(100),
         ["2 clear groups (silhouette 0.70, p = 0.005 against one group): 1, 2; 3, 4."]),
        (grouped(Groups((), 0.3, 0.4, why_not="groups would lie too close together")), Terminal(100),
         ["No clear groups: groups would lie too close together (silhouette 0.30"]),
        # Too many for a matrix, or for the width.
        (of_many(None, percentile=None), Terminal(80), [
            "100 occurrences are too many for a matrix; -o FILE.npz holds their vectors",
            "nearest neighbours: 100–1 1.00, 99–2 0.99, 98–3 0.98", "… and 80 more",
        ]),
        (of_many(WIDE), Terminal(80), ["the matrix of 100 has no room here", "least alike:"]),
    ],
)  # fmt: skip
def test_what_is_told(result: CompareResult, terminal: Terminal, told: list[str]) -> None:
    text = compare_text(result, terminal)
    assert [part for part in told if part not in text] == []


RANDOM_TEXT = st.text(max_size=25)


@st.composite
def occurrences(draw: st.DrawFn) -> tuple[Occurrence, ...]:
    found = []
    for number in range(draw(st.integers(2, 9))):
        before, word, after = draw(RANDOM_TEXT), draw(st.text(min_size=1, max_size=9)), draw(RANDOM_TEXT)
        pieces = tuple(draw(st.lists(st.text(max_size=8), min_size=1, max_size=3)))
        label = draw(st.none() | st.text(max_size=20))
        text = before + word + after
        found.append(Occurrence(number + 1, "w", text, len(before), len(before + word), word, pieces, (0,), label))
    return tuple(found)


@settings(deadline=None)
@given(occurrences(), st.integers(20, 130), st.booleans(), st.sampled_from(ColorDepth), st.integers(0, 9))
def test_no_line_is_wider_than_the_terminal(
    some: tuple[Occurrence, ...], width: int, unicode: bool, color: ColorDepth, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    matrix = similarities(unit_vectors(chance.normal(size=(len(some), 4))))
    state = last_state(matrix, senses=None, positions=chance.normal(size=(len(some), 2)))
    result = compare_result(first_state().__class__(0, False, 0.5), state, occurrences=some, best=None)
    plain = compare_text(result, Terminal(width, ColorDepth.NONE, unicode))
    assert all(cell_width(line) <= width for line in plain.splitlines())
    assert unicode or plain.isascii()
    assert not any(category(character) == "Cc" and character != "\n" for character in plain)
    compare_text(result, Terminal(width, color, unicode))
