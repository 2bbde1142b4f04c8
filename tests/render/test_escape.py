"""What comes out of `visible` and `printable` never does anything to a terminal but show."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from attncli.render.common.cells import cell_width
from attncli.render.common.escape import printable, visible

#: Any text, half characters and all, with more of what is dangerous than chance would bring.
ANY = st.text(
    st.characters(categories=None)
    | st.sampled_from(
        "\x1b\x00\x07\x7f\x85\x9b\u202e\u2066\u200b\u200d\u200e\ufeff\u00ad\u2028\ud800\udfff\u0301\ufe0f👩👍❤"
        "\U0001f3fd\u1161 "
    )
)

FAMILY = "\U0001f469\u200d\U0001f469\u200d\U0001f467"
FLAME = "\u2764\ufe0f\u200d\U0001f525"


@pytest.mark.parametrize(
    ("text", "shown", "in_ascii"),
    [
        (" mole", "␣mole", "_mole"),
        ("a\n\t b", "a⏎⇥␣b", r"a\n\t_b"),
        ("\r\x00\x1b[31m\x7f", r"\r\x00\x1b[31m\x7f", r"\r\x00\x1b[31m\x7f"),
        ("\x9b\u202e\u200b\ufeff", r"\u{9b}\u{202e}\u{200b}\u{feff}", r"\u{9b}\u{202e}\u{200b}\u{feff}"),
        ("\xa0\u3000\u2028\xad", r"\u{a0}\u{3000}\u{2028}\u{ad}", r"\u{a0}\u{3000}\u{2028}\u{ad}"),
        ("\ud83d", r"\u{d83d}", r"\u{d83d}"),
        ("\ue000\u0378\U000e0041", r"\u{e000}\u{378}\u{e0041}", r"\u{e000}\u{378}\u{e0041}"),
        ("é日👍", "é日👍", r"\u{e9}\u{65e5}\u{1f44d}"),
        ("e\u0301", "e\u0301", r"e\u{301}"),
        ("\u0301e", "◌\u0301e", r"\u{301}e"),
        (" \u0301\u0302", "␣◌\u0301\u0302", r"_\u{301}\u{302}"),
        (FAMILY, FAMILY, r"\u{1f469}\u{200d}\u{1f469}\u{200d}\u{1f467}"),
        (FLAME, FLAME, r"\u{2764}\u{fe0f}\u{200d}\u{1f525}"),
        ("✌\U0001f3fd", "✌\U0001f3fd", r"\u{270c}\u{1f3fd}"),
        ("👍\U0001f3fda\U0001f3fd", "👍\U0001f3fda\\u{1f3fd}", r"\u{1f44d}\u{1f3fd}a\u{1f3fd}"),
        ("\u1161", "◌\u1161", r"\u{1161}"),
        ("a\u200d👩", r"a\u{200d}👩", r"a\u{200d}\u{1f469}"),
        ("a\u200db\u200d", r"a\u{200d}b\u{200d}", r"a\u{200d}b\u{200d}"),
        ("\ufe0fa\ufe0f\ufe0f", "\\u{fe0f}a\ufe0f\\u{fe0f}", r"\u{fe0f}a\u{fe0f}\u{fe0f}"),
        ("\u3164\u2800", r"\u{3164}\u{2800}", r"\u{3164}\u{2800}"),
        ("", "", ""),
    ],
)
def test_visible(text: str, shown: str, in_ascii: str) -> None:
    assert (visible(text), visible(text, unicode=False)) == (shown, in_ascii)


def test_printable_keeps_spaces_and_is_one_line() -> None:
    assert printable("my model\n\x1b[2J é\u0301 \u202eevil") == r"my model\n\x1b[2J é" + "\u0301" + r" \u{202e}evil"
    assert printable("é 1", unicode=False) == r"\u{e9} 1"
    assert printable(f"{FAMILY} ok") == f"{FAMILY} ok"


@given(ANY)
@example("\u0301")
@example("\U0001f469\u200d")
def test_nothing_unsafe_comes_through(text: str) -> None:
    for shown in (visible(text), printable(text)):
        shown.encode("utf-8")
        for before, character, after in zip(f" {shown}", shown, f"{shown[1:]} ", strict=False):
            category = unicodedata.category(character)
            if character == "\u200d":
                assert unicodedata.category(before) in ("So", "Sk", "Mn") and unicodedata.category(after) == "So"
            else:
                assert category[0] not in "CZ" or character == " "


@given(ANY)
def test_a_token_shows_something_of_each_of_its_characters(text: str) -> None:
    assert " " not in visible(text)
    assert len(visible(text)) >= len(text)
    assert not text or cell_width(visible(text)) > 0


@given(ANY)
def test_ascii_is_ascii(text: str) -> None:
    shown = visible(text, unicode=False)
    assert shown.isascii() and shown.isprintable() and " " not in shown


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E)))
def test_plain_ascii_is_left_alone(text: str) -> None:
    assert visible(text) == visible(text, unicode=False) == printable(text) == text
