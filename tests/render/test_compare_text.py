"""The text of `attn compare`: odd results, narrow terminals, and any words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from attncli.embeddings.measure import similarities, unit_vectors
from attncli.render.common.cells import cell_width
from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.compare.text import compare_text
from attncli.results.compare import Groups, Occurrence, State
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


def test_a_neighbour_of_another_label_that_is_only_as_near_is_told() -> None:
    told = compare_text(compare_result(), Terminal(80))
    assert "\nNot 2 (animal): it is nearest to 4 (unit), 0.95.\n" in told
    assert "\nNot 4 (unit): 2 (animal) is just as near, 0.95.\n" in told


def test_values_beneath_the_scale_are_marked() -> None:
    low = State(0, False, 1.0, similarity=np.ones((4, 4)), reference=REFERENCE, within=1.0, across=0.5)
    told = compare_text(compare_result(low, last_state()), Terminal(80, unicode=False))
    assert "from state 0 to 1, 0 0.40 to 9 1.00, v lower:\n" in told and "random words  vv  0.25 -> 0.25\n" in told
    within = replace(REFERENCE, baseline=0.45)
    states = (replace(low, reference=within), replace(last_state(), reference=within))
    told = compare_text(compare_result(*states), Terminal(80))
    assert "random words  ▁▁  0.45 → 0.45\n" in told and "lower" not in told


def test_adjusted_values_are_told_from_raw_ones() -> None:
    adjusted = last_state(adjusted=MATRIX - 0.25, adjusted_self_similarity=0.44)
    told = compare_text(compare_result(first_state(), adjusted, adjust="baseline"), Terminal(80))
    assert "\nSelf-similarity 0.44 (raw 0.69), raw explained variance 0.80 (the share that one\n" in told


def test_what_is_said_of_one_word_of_several_names_it() -> None:
    beside = occurrence(5, "a gas", "gas", label="unit")
    five = (*FOUR, beside)
    matrix = np.eye(5) + 0.5 * (1 - np.eye(5))
    last = last_state(matrix, positions=None, explained=None)
    first = State(0, False, 1.0, similarity=matrix, reference=REFERENCE, within=1.0, across=1.0)
    told = compare_text(compare_result(first, last, occurrences=five), Terminal(100))
    assert "\nmole: same label 0.85, other label 0.61: " in told
    assert "\n2 of 4 of mole have their nearest neighbour" in told
    assert "\nmole: labels are farthest apart at state 1: " in told
    assert "\nmole: self-similarity 0.69, " in told
    for track in ("    pairs of mole", " mole: same label", "mole: other label"):
        assert f"\n{track}  █" in told
    # A label is a sense of the first word, and none of another in the same sentence.
    assert "\n5 gas " in told and "\n1 mole: animal " in told


def test_no_word_reaches_the_terminal_as_it_is() -> None:
    words = (
        occurrence(1, "a\x1b[31mb", "a\x1b[31mb"),
        occurrence(2, "a\x1b[31mb", "a\x1b[31mb"),
        occurrence(3, "x", "x"),
    )
    last = last_state(np.eye(3), positions=None, explained=None, senses=None)
    assert "\x1b" not in compare_text(compare_result(first_state(), last, occurrences=words), Terminal(80))


def test_a_narrow_terminal_shows_hundredths() -> None:
    text = compare_text(compare_result(), Terminal(30))
    assert "1 animal   ·  90% 50: 60-" in text and "50 means 0.50" in text
    assert "…rican shrew [mole]" in text


def groups_of(groups: Groups) -> str:
    state = last_state(senses=None, within=None, across=None, groups=groups)
    return compare_text(compare_result(state, occurrences=UNLABELLED, best=None), Terminal(100))


def test_groups_when_they_are_clear_and_why_not() -> None:
    assert "2 clear groups (silhouette 0.70, p = 0.005 against one group): 1, 2; 3, 4." in groups_of(GROUPS)
    unclear = groups_of(Groups((), 0.3, 0.4, why_not="groups would lie too close together"))
    assert "No clear groups: groups would lie too close together (silhouette 0.30" in unclear


def test_too_many_for_a_matrix() -> None:
    many = tuple(occurrence(number, f"mole {number}") for number in range(1, 101))
    nearest = {"nearest": np.arange(100)[::-1].copy(), "nearest_similarity": np.linspace(0, 1, 100)}
    options = {"senses": None, "positions": np.random.default_rng(0).normal(size=(100, 2)), **nearest}
    state = last_state(None, percentile=None, **options)
    text = compare_text(compare_result(state, occurrences=many, best=None), Terminal(80))
    assert "100 occurrences are too many for a matrix; -o FILE.npz holds their vectors" in text
    assert "nearest neighbours: 100–1 1.00, 99–2 0.99, 98–3 0.98" in text and "… and 80 more" in text
    wide = np.clip(similarities(unit_vectors(np.random.default_rng(0).normal(size=(100, 9)))), -1, 1)
    text = compare_text(compare_result(last_state(wide, **options), occurrences=many, best=None), Terminal(80))
    assert "the matrix of 100 has no room here" in text and "least alike:" in text


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


@settings(max_examples=60, deadline=None)
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
    assert not any(ord(character) < 32 and character != "\n" for character in plain)
    compare_text(result, Terminal(width, color, unicode))
