"""The text of a vocabulary: in ASCII, long lists, entries that are never reached, and any text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attncli.render.common.cells import cell_width
from attncli.render.common.terminal import Terminal
from attncli.render.tokenize.vocabulary_text import vocabulary_text
from attncli.results.vocabulary import DeadEntry, Search, SpecialEntry, Unreachable, Vocabulary, VocabularyEntry

MOLE = VocabularyEntry(16709, "mole", "mole", 4, "6d6f6c65", "word")
NAIVE = VocabularyEntry(7, "naïve", "naïve", 6, "6e61c3af7665", "word")
HALF = VocabularyEntry(8, "ðŁ", "\\xf0\\x9f", 2, "f09f", "partial")

SMALL = Vocabulary(
    model="org/bert",
    algorithm="WordPiece",
    size=1200,
    added=2,
    highest_id=1209,
    holes=((5, 15),),
    word_mark="prefix",
    specials=(
        SpecialEntry(0, "[PAD]"),
        SpecialEntry(1, "[UNK]", ("unknown",)),
        SpecialEntry(2, "[CLS]", ("begins", "ends")),
    ),
    longest=(NAIVE, MOLE),
    spaces=(VocabularyEntry(9, "ĠĠ", "  ", 2, "2020", "space"),),
    kinds={"word": 1100, "continuation": 97, "special": 3, "partial": 1},
    scripts={"Latin": 1000, "Old_Italic": 1},
    duplicates=12,
)


def test_numbers() -> None:
    assert vocabulary_text(SMALL, Terminal(80)) == (
        "1,200 entries · WordPiece · org/bert\n"
        "ids 0–1,209, 10 of them free · 2 added to the model's own 1,198\n"
        "12 spell the same as another\n"
        "\n"
        "kinds       1,100 words · 97 continuations · 3 special · 1 part of characters\n"
        "            (a continuation is marked, a word is not)\n"
        "scripts     Latin 1,000 · Old Italic 1\n"
        "special     [PAD] 0 · [UNK] 1 (unknown) · [CLS] 2 (begins a text, ends a text)\n"
        "longest     naïve (5, 6 bytes) · mole (4)\n"
        "spaces      ␣␣ (2)\n"
    )


def test_ascii() -> None:
    shown = vocabulary_text(SMALL, Terminal(120, unicode=False))
    assert shown.isascii()
    assert "longest     na\\u{ef}ve (5, 6 bytes) | mole (4)\n" in shown
    assert "spaces      __ (2)\n" in shown


def test_entries_that_nothing_encodes_to() -> None:
    dead = [DeadEntry(index + 10, f"[unused{index}]", f"[unused{index}]", "cut", (1, 2)) for index in range(90)]
    del dead[50]
    others = (DeadEntry(500, "...", "...", "cut", (4, 4, 4)), DeadEntry(501, "##!", "!", "duplicate", (3,)))
    found = Unreachable((*dead, *others), tried=1190, undecided=7, reserved=3)
    assert vocabulary_text(SMALL._replace(unreachable=found), Terminal(80)).split("\n\n", 2)[2] == (
        "vocabulary: 91 of 1,190 entries are never produced by their own text: 90 whose\n"
        "text is split into other tokens, 1 whose text becomes another entry\n"
        "\n"
        "90 whose text is split into other tokens\n"
        "[unused0] … [unused49] 10–59 · [unused51] … [unused89] 61–99 · ... 500\n"
        "\n"
        "1 whose text becomes another entry\n"
        "##! 501\n"
    )


def test_long_lists_are_cut() -> None:
    specials = tuple(SpecialEntry(index, f"<s{index}>") for index in range(40))
    scripts = {f"Script{index}": 1 for index in range(20)}
    shown = vocabulary_text(SMALL._replace(specials=specials, scripts=scripts), Terminal(80))
    assert "<s23> 23 · 16 more\n" in shown
    assert "Script11 1 · 8 more\n" in shown


ANY = st.text(st.sampled_from("ab é日👍\u0301\u200b\n\x1b\u202eא") | st.characters(codec="utf-8"), max_size=60)


@pytest.mark.parametrize("unicode", [True, False])
@settings(deadline=None)
@given(text=ANY, width=st.integers(1, 130))
def test_no_line_is_wider_than_the_terminal(unicode: bool, text: str, width: int) -> None:
    entry = VocabularyEntry(7, text, text, 3, "616263", "word")
    found = Unreachable((DeadEntry(1, text, text, "cut", (2,)),), 10, 0, 0)
    vocabulary = SMALL._replace(
        model=text,
        algorithm=text,
        specials=(SpecialEntry(1, text),),
        longest=(entry,),
        searches=(Search(text, entry, (entry,), (entry,), (entry,), 30, (entry,)),),
        unreachable=found,
    )
    shown = vocabulary_text(vocabulary, Terminal(width, unicode=unicode))
    assert all(cell_width(line) <= width for line in shown.splitlines())
    assert "\x1b" not in shown
    assert unicode or shown.isascii()
