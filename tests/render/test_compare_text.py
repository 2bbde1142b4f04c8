"""`attn compare` in a terminal: exact pictures of results written by hand, and what holds for any."""

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

LABELLED = """\
tiny · cpu · float32
mole · 4 occurrences · encoder, states 0–1

1  animal  A [mole] dug
2  animal  American shrew [mole]
3  unit    One [mole] of gas
4  unit    a [mole] weighs 18 grams

state 1, after layer 0 (the last)
             1     2     3     4
1 animal     ·  0.90% 0.50: 0.60-
2 animal  0.90%    ·  0.40  0.95@
3 unit    0.50: 0.40     ·  0.80#
4 unit    0.60- 0.95@ 0.80#    ·

0.40 [ .:-=+*#%@] 0.95

Cosine from 0.40 (2–3) to 0.95 (2–4); random words have 0.25, and even the least
  is higher than 40 % of random pairs.
Same label 0.85, other label 0.61: 0.24 apart (permutation test over all 6
  labelings: p = 0.33, and with so few none below 0.33 is possible).
Silhouette 0.40 (1: apart, 0: overlapping).
2 of 4 have their nearest neighbour among their own label (chance: 1.33).
Not 2 (animal): it is nearest to 4 (unit), 0.95.
Not 4 (unit): 2 (animal) is just as near, 0.95.
Self-similarity 0.69, explained variance 0.80 (the share that one vector
  explains).

a map in two principal components, 60 % and 20 % of the variance:
│                1 animal                                                │
│                                                                        │
│                                                3 unit                  │
│                                                                        │
│                                                                        │
│                                                                        │
│                                        4 unit                          │
│                                                                        │
│                        2 animal                                        │

from state 0 to 1, ▁ 0.40 to █ 1.00, ↓ lower:
   all pairs  █▄  1.00 → 0.69
  same label  █▇  1.00 → 0.85
 other label  █▃  1.00 → 0.61
random words  ↓↓  0.10 → 0.25

1–2  █▇  1.00 → 0.90   1–4  █▃  1.00 → 0.60   2–4  ██  1.00 → 0.95
1–3  █▂  1.00 → 0.50   2–3  █▁  1.00 → 0.40   3–4  █▆  1.00 → 0.80

Labels are farthest apart at state 1: 0.85 and 0.61 (the largest of 2, chosen
  afterwards).

Random pairs: 10,000 of 1,200 words in 300 sentences of attncli, no two of one
sentence.
"""


def test_labelled_sentences_in_full() -> None:
    assert compare_text(compare_result(), Terminal(80)) == LABELLED


def test_ascii_says_the_same() -> None:
    text = compare_text(compare_result(), Terminal(80, unicode=False))
    assert text.isascii()
    assert "1-2  98  1.00 -> 0.90" in text and "tiny | cpu | float32" in text and "(2-3) to 0.95" in text


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


def test_pieces_are_shown_where_words_are_cut() -> None:
    cut = (*FOUR[:3], FOUR[3]._replace(pieces=("mo", "##le")))
    text = compare_text(compare_result(occurrences=cut), Terminal(80))
    assert "mo + ##le" in text and "mean of the pieces" in text


def test_several_occurrences_of_a_sentence_have_letters() -> None:
    one = "the mole and a mole"
    two = (occurrence(1, one), occurrence(1, one)._replace(start=15, end=19))
    matrix = np.array([[1, 0.9999], [0.9999, 1]])
    state = last_state(matrix, senses=None, positions=None, percentile=None)
    text = compare_text(compare_result(state, occurrences=two, best=None, sample=None), Terminal(80))
    assert "1a  the [mole] and a mole" in text and "1b  the mole and a [mole]" in text
    assert "Cosine of 1a and 1b: 0.9999." in text


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


def test_colours_mark_labels_and_cells() -> None:
    text = compare_text(compare_result(), Terminal(80, ColorDepth.TRUE))
    assert "48;2;230;159;0" in text and "48;2;253;231;37" in text


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
