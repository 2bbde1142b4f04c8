"""The text of `attn compare`: odd results, narrow terminals, and any words."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from unicodedata import category

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attncli.embeddings.measure import similarities, unit_vectors
from attncli.render.common.cells import cell_width
from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.compare.text import compare_text
from attncli.render.views.compare import CompareView
from attncli.render.views.compare_answer import answer, difference_texts
from attncli.results.compare import (
    CompareResult,
    Groups,
    HeldOut,
    Matrix,
    Miss,
    Neighbours,
    Occurrence,
    PairDistance,
    Permutation,
    Senses,
    State,
    WordFigures,
)
from tests.render.compare_samples import (
    FOUR,
    GROUPS,
    MATRIX,
    REFERENCE,
    SENSES,
    UNLABELLED,
    compare_result,
    first_state,
    last_state,
    occurrence,
)

FULL = Terminal(80, full=True)
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
        (compare_result(), FULL, ["\n2 (animal) is nearest to 4 (unit): 0.95.\n",
                                  "\n4 (unit) is just as near to 2 (animal): 0.95.\n"]),
        # Values beneath the scale of the path.
        (compare_result(LOW, last_state()), FULL._replace(unicode=False),
         ["Mean cosine from state 0 to 1 (0 0.40, 9 1.00, v lower)\n", "random words  vv  0.25 -> 0.25\n"]),
        (compare_result(replace(LOW, reference=WITHIN), replace(last_state(), reference=WITHIN)), FULL,
         ["random words  ▁▁  0.45 → 0.45\n", "█ 1.00)\n"]),
        (compare_result(first_state(), ADJUSTED, adjust="baseline"), FULL,
         ["\nSelf-similarity 0.44 (raw 0.69), raw explained variance 0.80 (share that one\n"]),
        # What is said of one word of several. A label is a sense of the first word alone.
        (TWO_WORDS, FULL._replace(width=100), [
            "mole: the senses don't come apart: 2 of 4 are nearest to their own label (1.3 by chance).\n",
            "\nmole: the labels are farthest apart at state 1: ", "\nmole: self-similarity 0.69, ",
            "\n    pairs of mole  █", "\n mole: same label  █", "\nmole: other label  █", "\n5 gas ",
            "\n1 mole: animal ",
        ]),
        # Little room: hundredths, and sentences cut before the word.
        (compare_result(), Terminal(30), ["1 animal   ·  90  50  60\n", "50 means 0.50", "…rican shrew [mole]"]),
        (grouped(GROUPS), FULL,
         ["The occurrences form 2 groups: 1, 2; 3, 4.\n",
          "\n2 clear groups: 1, 2; 3, 4 (silhouette 0.70, p = 0.005 against a single group).\n"]),
        (grouped(Groups((), 0.3, 0.4, why_not="the groups would overlap")), FULL,
         ["\nThere are no clear groups: the groups would overlap (silhouette 0.30"]),
        # Too many for a matrix, or for the width.
        (of_many(None, percentile=None), Terminal(80), [
            "100 occurrences are too many for a matrix; -o FILE.npz contains their vectors.\n",
            "Most similar to their nearest neighbour: 100–1 1.00, 99–2 0.99, 98–3 0.98.",
        ]),
        (of_many(None, percentile=None), FULL, ["… and 80 more"]),
        (of_many(WIDE), Terminal(80), [
            "The matrix of 100 occurrences is too large for the screen; --json, --format csv\n", "Least similar:",
        ]),
        (of_many(WIDE), Terminal(420), ["too large for the screen; --full shows it.\n"]),
    ],
)  # fmt: skip
def test_what_is_told(result: CompareResult, terminal: Terminal, told: list[str]) -> None:
    text = compare_text(result, terminal)
    assert [part for part in told if part not in text] == []


SCREEN = """\
The senses don't come apart: 2 of 4 are nearest to their own label (1.3 by
chance).
Same label 0.85, other label 0.61: difference 0.24 (permutation test over all 6
labelings: p = 0.33, the smallest possible).

tiny · encoder state 1 (the last) · cosine
             1     2     3     4
1 animal     ·  0.90  0.50  0.60   A [mole] dug
2 animal  0.90     ·  0.40  0.95   American shrew [mole]
3 unit    0.50  0.40     ·  0.80   One [mole] of gas
4 unit    0.60  0.95  0.80     ·   a [mole] weighs 18 grams

Map (two principal components with 60 % and 20 % of the variance)
│                1 animal                                                │
│                                                                        │
│                                                3 unit                  │
│                                                                        │
│                                                                        │
│                                                                        │
│                                        4 unit                          │
│                                                                        │
│                        2 animal                                        │
"""


def test_a_screen_begins_with_the_answer() -> None:
    assert compare_text(compare_result(), Terminal(80)) == SCREEN


def senses(right: int, p: float, *misses: Miss, smallest: float | None = None) -> Senses:
    """smallest: the p that an exact test of so few occurrences can't go below; None for a test that can."""
    permutation = Permutation(p, 5000, False, 0.0002) if smallest is None else Permutation(p, 90, True, smallest)
    return SENSES._replace(neighbours=Neighbours(right, 4, 1 / 3, misses), permutation=permutation)


def matrix(*values: float) -> Matrix:
    """The symmetric matrix of three occurrences with these similarities of 1–2, 1–3 and 2–3."""
    one_two, one_three, two_three = values
    return np.array([[1, one_two, one_three], [one_two, 1, two_three], [one_three, two_three, 1]])


def unlabelled(values: Matrix) -> tuple[State, CompareResult]:
    state = last_state(values, senses=None, within=None, across=None)
    return state, compare_result(state, occurrences=UNLABELLED[: len(values)], best=None)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (last_state(senses=senses(4, 0.01)), "The senses come apart: 4 of 4 are nearest to their own label."),
        (
            last_state(senses=senses(3, 0.01, Miss(1, 3, 0.95, False))),
            "The senses mostly come apart: 3 of 4 are nearest to their own label, but 2 (animal) is nearer to 4 (unit).",  # noqa: E501
        ),
        (
            last_state(senses=senses(3, 0.2, Miss(1, 3, 0.95, False))),
            "The senses don't come apart: 3 of 4 are nearest to their own label (1.3 by chance).",
        ),
        (
            last_state(senses=senses(3, 0.067, Miss(1, 3, 0.95, False), smallest=0.067)),
            "The senses partly come apart: 3 of 4 are nearest to their own label (1.3 by chance), but 2 (animal) is nearer to 4 (unit). They are too few for a sure answer.",  # noqa: E501
        ),
        (
            last_state(senses=senses(3, 0.13, Miss(1, 3, 0.95, False), smallest=0.067)),
            "The senses don't come apart: 3 of 4 are nearest to their own label (1.3 by chance).",
        ),
        (
            last_state(senses=senses(2, 0.067, smallest=0.067)),
            "The senses don't come apart: 2 of 4 are nearest to their own label (1.3 by chance).",
        ),
        (
            last_state(senses=SENSES._replace(neighbours=None, why_no_p="no label has two occurrences")),
            "The labels can't be compared: no label has two occurrences.",
        ),
    ],
)
def test_labels_are_answered_by_nearest_neighbours(state: State, said: str) -> None:
    assert answer(state, CompareView(compare_result(state))) == said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (matrix(0.9, 0.5, 0.6), "3 stands apart (at most 0.60); 1 and 2 are the most similar (0.90)."),
        (
            matrix(0.9, 0.89, 0.5),
            "No occurrence stands apart: 1 and 2 are the most similar (0.90), 2 and 3 the least similar (0.50).",
        ),
        (matrix(0.5, 0.5, 0.5), "All pairs are equally similar (0.50)."),
        (np.array([[1, 0.9991], [0.9991, 1]]), "The cosine of mole in 1 and in 2 is 0.9991."),
    ],
)
def test_without_labels_the_odd_one_is_named(values: Matrix, said: str) -> None:
    state, result = unlabelled(values)
    assert answer(state, CompareView(result)) == said


def test_words_are_answered_by_their_own_similarity() -> None:
    words = (WordFigures("mole", 4, 0.7, None, {"gas": 0.4}), WordFigures("gas", 1, None, None, {"mole": 0.4}))
    state = last_state(ALIKE, senses=None, words=words)
    view = CompareView(compare_result(state, occurrences=FIVE))
    assert answer(state, view) == "mole is more similar to itself (0.70) than to gas (0.40)."
    assert answer(replace(state, words=words[::-1]), view) == "gas occurs once; its mean cosine is that to mole (0.40)."


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_the_difference_of_two_means_adds_up(first: float, second: float) -> None:
    one, other, apart = difference_texts(first, second)
    assert Decimal(one) - Decimal(other) == Decimal(apart)
    assert abs(float(one) - first) <= 0.005 + 1e-12


def test_without_colour_no_mark_touches_a_digit() -> None:
    for width in (30, 80):
        rows = compare_text(compare_result(), Terminal(width)).splitlines()
        cells = [row for row in rows if row[:1].isdigit() and "·" in row]
        assert len(cells) == 4
        assert not any(re.search(r"\d[.:=+*#%@-](?!\d)", row) for row in cells)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (200, 60)])
@pytest.mark.parametrize("color", [ColorDepth.NONE, ColorDepth.TRUE])
def test_six_sentences_fit_the_screen(width: int, height: int, color: ColorDepth) -> None:
    six = tuple(occurrence(number, f"a mole in sentence {number}", label="ab"[number % 2]) for number in range(1, 7))
    values = similarities(unit_vectors(np.random.default_rng(1).normal(size=(6, 4))))
    places = np.random.default_rng(2).normal(size=(6, 2))
    result = compare_result(last_state(values, positions=places), occurrences=six)
    text = compare_text(result, Terminal(width, color, height=height))
    assert text.count("\n") <= height - 2
    assert "Map (" in text
    assert len(compare_text(result, Terminal(width, color, height=height, full=True))) > len(text)


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


# --- Causal models, groups, and the best state


def test_a_causal_model_says_first_what_it_cant_know() -> None:
    result = compare_result(first_state(), last_state(), causal=True, same_prefix=((0, 1), (2, 3)))
    view = CompareView(result)
    told = "A causal model can't know what follows mole (1 and 2; 3 and 4 share everything before it)."
    assert view.causal_sentence == told
    lines = compare_text(result, Terminal(200)).splitlines()
    assert lines[0].startswith(f"{told} The senses don't come apart: 2 of 4")
    # Its states are shown before one of them is pictured.
    path, matrix = (
        next(place for place, line in enumerate(lines) if line.startswith(start)) for start in ("Mean cosine", "tiny ·")
    )
    assert path < matrix
    many = replace(result, same_prefix=tuple((n, n + 1) for n in range(3)) * 2)
    assert "; and 3 more groups share everything" in CompareView(many).causal_sentence


@pytest.mark.parametrize(
    "options", [{"causal": False}, {"echo": True}, {"template": "{sentence} {word}"}, {"occurrences": MANY}]
)
def test_where_nothing_is_unknown_nothing_is_said(options: dict[str, object]) -> None:
    options = {"causal": True, **options}
    if options.get("occurrences") is MANY:
        options["occurrences"] = tuple(occurrence(number, "A dug mole.") for number in range(1, 5))
    assert CompareView(compare_result(last_state(), **options)).causal_sentence == ""


@pytest.mark.parametrize(
    ("p", "said"),
    [
        (0.01, "mole differs between old.txt and new.txt."),
        (0.3, "mole does not differ clearly between old.txt and new.txt."),
        (None, "mole can't be tested for a difference between old.txt and new.txt: there are few."),
    ],
)
def test_groups_are_answered_by_their_test(p: float | None, said: str) -> None:
    test = None if p is None else Permutation(p, 100, False, 0.01)
    change = SENSES._replace(labels=("old.txt", "new.txt"), permutation=test, why_no_p=None if p else "there are few")
    distances = (PairDistance("old.txt", "new.txt", 4, 0.3875),)
    state = last_state(senses=None, change=change, distances=distances)
    names = ["old.txt", "new.txt"] * 2
    groups = tuple(each._replace(label=None, group=name) for each, name in zip(FOUR, names, strict=True))
    view = CompareView(compare_result(state, occurrences=groups))
    assert answer(state, view) == said
    assert "Average pairwise distance 0.39 (1 - cosine)." in compare_text(view.result, Terminal(120))
    assert view.tags == ("old.txt", "new.txt", "old.txt", "new.txt")


def test_distances_of_labels_are_listed_up_to_eight() -> None:
    distances = tuple(PairDistance("a", str(number), 4, 0.25) for number in range(10))
    told = CompareView(compare_result(last_state())).state_sentences(last_state(distances=distances))
    assert told[0].startswith("Average pairwise distances (1 - cosine): a–0 0.25, a–1 0.25")
    assert "and 2 more." in told[0]


def test_the_best_state_is_told_with_other_occurrences() -> None:
    result = compare_result(first_state(), last_state(), best=1, held_out=HeldOut(0.21, 1, 17, 20))
    assert CompareView(result).best_sentence.endswith(
        "Chosen on a random half of the occurrences of each label (state 1 in 17 of 20 cases), it separates the other "
        "half by 0.21 (mean over 20 halvings)."
    )
