"""The script of characters, and a text's runs of one script."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncli.results.tokenize import SYMBOLS
from attncli.tokens.scripts import COMMON, NEUTRAL, UNSPACED, script_of, script_runs

SCRIPTS = {
    "a": "Latin",
    "é": "Latin",
    "ß": "Latin",
    "ﬁ": "Latin",
    "я": "Cyrillic",
    "λ": "Greek",
    "ש": "Hebrew",
    "ع": "Arabic",
    "ह": "Devanagari",
    "ไ": "Thai",
    "日": "Han",
    "ひ": "Hiragana",
    "カ": "Katakana",
    "ｶ": "Katakana",
    "한": "Hangul",
    "\u1112": "Hangul",
    "7": "Common",
    " ": "Common",
    "ー": "Common",
    "👍": "Symbols",
    "🏽": "Symbols",
    "🇹": "Symbols",
    "★": "Symbols",
    "♥": "Symbols",
    "°": "Common",
    "©": "Common",
    "℃": "Common",
    "㎏": "Common",
    "→": "Common",
    "€": "Common",
    "\ufffd": "Common",
    "\u200d": "Inherited",
    "\u0301": "Inherited",
    "\ue000": "Unknown",
    "\u0378": "Unknown",
}


@pytest.mark.parametrize(("character", "script"), SCRIPTS.items())
def test_script_of_a_character(character: str, script: str) -> None:
    assert script_of(character) == script


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("", []),
        ("hello", [("Latin", "hello")]),
        ("123 !", [("Common", "123 !")]),
        ("\u0301", [("Common", "\u0301")]),
        ("  hi", [("Latin", "  hi")]),
        ("e\u0301 1", [("Latin", "e\u0301 1")]),
        ("我用Python写", [("Han", "我用"), ("Latin", "Python"), ("Han", "写")]),
        # A space goes with what follows, and so does what clings to that.
        ("写 (hi)", [("Han", "写"), ("Latin", " (hi)")]),
        ("нет,  (ok) 3 写", [("Cyrillic", "нет,"), ("Latin", "  (ok) 3"), ("Han", " 写")]),
        ("x,写", [("Latin", "x,"), ("Han", "写")]),
        ("日本語です。", [("Han", "日本語"), ("Hiragana", "です。")]),
        ("Tокен", [("Latin", "T"), ("Cyrillic", "окен")]),
        ("a\ue000б", [("Latin", "a\ue000"), ("Cyrillic", "б")]),
        # Symbols take the space before them and what joins them, and nothing else.
        ("👍", [("Symbols", "👍")]),
        ("ok 👍🏽 👩\u200d👧 so", [("Latin", "ok"), ("Symbols", " 👍🏽 👩\u200d👧"), ("Latin", " so")]),
        ("नमस्ते\n👍", [("Devanagari", "नमस्ते"), ("Symbols", "\n👍")]),
        ("a ❤️! б", [("Latin", "a"), ("Symbols", " ❤️"), ("Latin", "!"), ("Cyrillic", " б")]),
        ("写👍 (hi)", [("Han", "写"), ("Symbols", "👍"), ("Latin", " (hi)")]),
        ("5 ★ 7", [("Common", "5"), ("Symbols", " ★"), ("Common", " 7")]),
        ("5★ 写", [("Common", "5"), ("Symbols", "★"), ("Han", " 写")]),
    ],
)
def test_runs(text: str, runs: list[tuple[str, str]]) -> None:
    assert [(run.script, text[run.start : run.end]) for run in script_runs(text)] == runs


TEXTS = st.lists(st.sampled_from([*SCRIPTS, " ", "\n", ".", "("]) | st.characters(codec="utf-8"), max_size=30)


@given(text=TEXTS.map("".join))
def test_runs_are_the_text(text: str) -> None:
    runs = list(script_runs(text))
    assert "".join(text[run.start : run.end] for run in runs) == text
    assert all(before.end == after.start and before.script != after.script for before, after in pairwise(runs))
    for run in runs:
        found = {script_of(character) for character in text[run.start : run.end]}.difference(NEUTRAL)
        assert found <= {run.script} - {COMMON}
        assert found or run.script != SYMBOLS


def test_every_script_is_known() -> None:
    # Python names letters of a script after it: whatever is a letter for it has a script here.
    letters = (chr(code) for code in range(0x20000) if unicodedata.category(chr(code)) in ("Ll", "Lu", "Lt"))
    assert {letter for letter in letters if script_of(letter) == "Unknown"} == set()
    assert set(map(script_of, "ไລខမབᥐᦀᨠꪀ𑜀日ひカㄅꀀ𗀀𛅰𘬀ᬅꦄ")) | {SYMBOLS} == UNSPACED
