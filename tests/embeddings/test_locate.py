"""Words found by their characters, in any script, and never inside other words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncli.embeddings.text_matching import (
    UnmarkedText,
    WordPattern,
    find_word,
    normalize_text,
    remove_brackets,
    similar_words,
    word_forms,
)


def matched(text: str, word: str, *, any_form: bool = False) -> list[str]:
    return [text[start:end] for start, end in find_word(text, WordPattern(word, any_form))]


@pytest.mark.parametrize(
    ("text", "word", "found"),
    [
        ("A mole and a molecule; the mole.", "mole", ["mole", "mole"]),
        ("mole", "mole", ["mole"]),
        ("“mole”, (mole)-mole/mole?", "mole", ["mole"] * 4),
        ("the mole's hill, the moles' hill", "mole", ["mole"]),
        ("mole-like well-known", "well-known", ["well-known"]),
        ("mole_rat xmole mole2", "mole", []),
        ("Mole MOLE moles", "mole", []),
        ("You can, you can't, you can’t", "can", ["can"]),
        ("don’t don't", "don't", ["don’t", "don't"]),
        ("carbon  dioxide and carbon\ndioxide", "carbon dioxide", ["carbon  dioxide", "carbon\ndioxide"]),
        ("👍mole👩‍👩‍👧 mole", "mole", ["mole", "mole"]),
        ("C++ is C++", "C++", ["C++", "C++"]),
        # Scripts without spaces, and Katakana, whose runs are words.
        ("我喜欢鼹鼠。鼹鼠很好", "鼹鼠", ["鼹鼠", "鼹鼠"]),
        ("モルモットは1モルではない", "モル", ["モル"]),
        ("是mole吗", "mole", ["mole"]),
        # A mark belongs to the letter before it.
        ("cafe\u0301 caf\u00e9 cafe", "café", ["cafe\u0301", "caf\u00e9"]),
        ("cafe\u0301 caf\u00e9 cafe", "cafe", ["cafe"]),
        ("हिन्दी हिन्द", "हिन्द", ["हिन्द"]),
        ("두더지가 두더지", "두더지", ["두더지"]),
    ],
)
def test_a_word_is_found_where_its_script_ends_words(text: str, word: str, found: list[str]) -> None:
    assert matched(text, word) == found


@pytest.mark.parametrize(
    ("text", "word", "found"),
    [
        ("Moles dug. MOLE! molecule", "mole", ["Moles", "MOLE"]),
        ("a mole", "moles", ["mole"]),
        ("spies spied spying spy spice", "spy", ["spies", "spied", "spying", "spy"]),
        ("plans planned planning plane", "plan", ["plans", "planned", "planning"]),
        ("the bus, buses, bu", "bus", ["bus", "buses"]),
        ("STRASSE straße", "Straße", ["STRASSE", "straße"]),
        ("두더지가 두더지에게는요네", "두더지", ["두더지"]),
        ("river banks", "river bank", ["river banks"]),
    ],
)
def test_any_form_takes_case_inflections_and_particles(text: str, word: str, found: list[str]) -> None:
    assert matched(text, word, any_form=True) == found


def test_forms_of_a_plural_are_those_of_its_singular() -> None:
    assert {"mole", "moles"} <= word_forms("mole") and word_forms("mole") <= word_forms("moles")
    assert "molecule" not in word_forms("mole")


def test_brackets_point_to_a_word_that_is_sought_and_to_nothing_else() -> None:
    found = remove_brackets("the [bank] of [1] the [Banks]", ["bank"])
    assert found == UnmarkedText("the bank of [1] the Banks", ((0, (4, 8)), (0, (20, 25))))
    assert remove_brackets("[mole] x [spy]", ["spy", "mole"]).marks == ((1, (0, 4)), (0, (7, 10)))
    assert remove_brackets("[mole]cule", ["rat"]) == UnmarkedText("[mole]cule")


def test_nearest_forms_are_other_forms_first() -> None:
    assert similar_words("Moles in molecules dig", "mole") == ["Moles", "molecules"]
    assert similar_words("nothing alike", "mole") == []


@given(st.text(max_size=40), st.booleans())
def test_folding_keeps_the_place_of_every_character(text: str, case: bool) -> None:
    folded = normalize_text(text, case=case)
    if folded.text:
        start, end = folded.original(0, len(folded.text))
        assert start == 0 and end == len(text)


@given(st.text(alphabet="amole [](),.'’-éモ鼠2\u0301", max_size=30), st.booleans())
def test_what_is_found_is_a_form_of_the_word(text: str, any_form: bool) -> None:
    for part in matched(text, "mole", any_form=any_form):
        assert normalize_text(part, case=True).text in word_forms("mole")
