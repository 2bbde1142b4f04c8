"""Findings in a terminal: in ASCII, on narrow terminals, many at once, and with any text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attncli.render.common.cells import cell_width
from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.tokenize.findings import lint_text, nothing_found_text, unreachable_sentence
from attncli.results.tokenize import Source, TokenizedText, TokenStats
from attncli.results.vocabulary import DeadEntry, Finding, Severity, Unreachable
from attncli.tokens.lint import failures

STATS = TokenStats(6, 2, 5, 23, 24, 4.0, 23 / 6, 1.2, 1, 0.2, 1, 1 / 6)
INVISIBLE = Finding("invisible", "warning", "U+200B shows nothing", "take it out", 4, 5, 4, (1,), line=1, column=5)


def _text(text: str | None, pair: str | None = None) -> TokenizedText:
    return TokenizedText(0, "org/gpt", text, (), STATS, pair=pair)


def _space(place: int, severity: Severity = "warning", line: int = 1) -> Finding:
    span = (place, place + 1)
    return Finding("odd_space", severity, "it looks like a space", "write a space", *span, line=line, column=2)


def test_ascii() -> None:
    finding = Finding(
        "round_trip", "note", "“é” comes back as “e”", "it does that to every text", 7, 8, 8, line=2, column=2
    )
    assert lint_text((finding,), _text("first\ncé x"), Terminal(80, unicode=False)) == (
        "1 note | org/gpt\n"
        "\n"
        '2:2 note (round_trip): "\\u{e9}" comes back as "e"\n'
        "    c\\u{e9} x\n"
        "     ^^^^^^\n"
        "    hint: it does that to every text\n"
    )


def test_a_narrow_terminal_shows_what_is_around_the_place() -> None:
    text = "some words before it\u200bwords behind it"
    finding = INVISIBLE._replace(start=20, end=21, column=21)
    assert lint_text((finding,), _text(text), Terminal(30)).splitlines()[2:] == [
        "1:21 warning (invisible):",
        "    U+200B shows nothing",
        "    …efore it\\u{200b}words be…",
        "             ^^^^^^^^",
        "    hint: take it out",
    ]


def test_white_space_at_the_end_is_drawn() -> None:
    finding = Finding(
        "trailing_space", "warning", "the text ends with a newline", "take it out", 4, 6, 4, line=1, column=5
    )
    assert lint_text((finding,), _text("mole \n"), Terminal(80)).splitlines()[3:5] == ["    mole␣⏎", "        ^^"]


def test_many_of_a_kind_are_named_by_their_place() -> None:
    text = "a\u00a0\n" * 20
    shown = lint_text([_space(3 * index + 1, line=index + 1) for index in range(20)], _text(text), Terminal(80))
    assert shown.count("warning (odd_space)") == 3
    assert shown.endswith(
        "    hint: write a space\n"
        "    17 more at 4:2, 5:2, 6:2, 7:2, 8:2, 9:2, 10:2, 11:2, 12:2, 13:2, 14:2, 15:2,\n"
        "    and 5 more\n"
    )


def test_notes_come_last_and_once_a_kind() -> None:
    findings = [_space(0, "note")._replace(column=1), _space(1, "note"), INVISIBLE]
    lines = lint_text(findings, _text("zero\u200bwidth"), Terminal(80)).splitlines()
    assert lines[0] == "1 warning, 2 notes · org/gpt"
    assert [line.split(":")[1][:10] for line in lines if line[:1].isdigit() and "(" in line] == [
        "5 warning ",
        "1 note (od",
    ]
    assert lines[-1] == "    1 more at 1:2"


def test_a_file_is_named_and_can_do_no_harm() -> None:
    text = _text("zero\u200bwidth")._replace(source=Source("a\x1b[2J.txt", 3))
    lines = lint_text((INVISIBLE._replace(line=3),), text, Terminal(80), count=None).splitlines()
    assert lines[0] == "1 warning · text 1 · org/gpt"
    assert lines[2] == r"a\x1b[2J.txt:3:5 warning (invisible): U+200B shows nothing"


def test_texts_without_findings_are_counted() -> None:
    assert nothing_found_text(["org/gpt"], [1234], 5678, Terminal(80)) == "nothing found in 1,234 of 5,678 texts\n"
    assert nothing_found_text(["a", "b"], [1, 0], 1, Terminal(80)) == (
        "a: nothing found in 1 of 1 text\nb: nothing found in 0 of 1 text\n"
    )


def test_ids_without_a_text_have_no_place_to_show() -> None:
    finding = Finding("non_canonical", "warning", "5 6 spells what is cut into 7", "encode it at once", tokens=(3, 4))
    assert lint_text((finding,), _text(None), Terminal(80)) == (
        "1 warning · org/gpt\n"
        "\n"
        "token 3 warning (non_canonical): 5 6 spells what is cut into 7\n"
        "    hint: encode it at once\n"
    )


def test_a_pair_is_named() -> None:
    finding = INVISIBLE._replace(start=1, end=2, segment=1, column=2)
    lines = lint_text((finding,), _text("ab", "x\u200by"), Terminal(80)).splitlines()
    assert lines[2:4] == ["pair 1:2 warning (invisible): U+200B shows nothing", "    x\\u{200b}y"]


def test_a_vocabulary_in_one_sentence() -> None:
    dead = (DeadEntry(1, "[a]", "[a]", "cut", (2, 3)), DeadEntry(4, "B", "B", "normalized", (5,)))
    found = Unreachable(dead, tried=1200, undecided=3, reserved=2)
    sentence = (
        "vocabulary: 2 of 1,200 entries are never produced by their own text: "
        "1 whose text is split into other tokens, 1 whose text is changed first"
    )
    assert unreachable_sentence(found) == sentence
    shown = lint_text((), _text("a"), Terminal(200), unreachable=found)
    assert shown == f"nothing found · org/gpt\n\n{sentence}\n"
    assert (
        unreachable_sentence(found._replace(entries=()))
        == "vocabulary: each of 1,200 entries is produced by its own text"
    )


def test_failures_are_the_warnings() -> None:
    bare = Finding("non_canonical", "warning", "5 6 is 7", "", tokens=(3,))
    pair = INVISIBLE._replace(segment=1)
    assert failures([INVISIBLE, pair, bare, _space(1, "note")]) == [
        "1:5 (invisible): U+200B shows nothing",
        "pair 1:5 (invisible): U+200B shows nothing",
        "token 3 (non_canonical): 5 6 is 7",
    ]
    assert failures([INVISIBLE, pair], "notes.txt") == [
        "notes.txt:1:5 (invisible): U+200B shows nothing",
        "pair 1:5 (invisible): U+200B shows nothing",
    ]


def test_colour_changes_no_character() -> None:
    import re

    text = _text("zero\u200bwidth")
    coloured = lint_text((INVISIBLE,), text, Terminal(80, ColorDepth.TRUE))
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == lint_text((INVISIBLE,), text, Terminal(80))


@pytest.mark.parametrize("unicode", [True, False])
@settings(deadline=None)
@given(data=st.data())
def test_no_line_is_wider_than_the_terminal(unicode: bool, data: st.DataObject) -> None:
    text = data.draw(
        st.text(st.sampled_from("ab é日👍\u0301\u200b\n\t\x1b\u202eא") | st.characters(codec="utf-8"), max_size=60)
    )
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    width = data.draw(st.integers(1, 90))
    finding = Finding("kind", "warning", f"“{text}” is odd", "mend it", start, end, 0)
    shown = lint_text([finding] * 5, _text(text), Terminal(width, unicode=unicode))
    assert all(cell_width(line) <= width for line in shown.splitlines())
    assert all(line.isprintable() or "\u200d" in line or "\u200e" in line for line in shown.split("\n"))
    assert unicode or shown.isascii()


def test_a_long_place_leaves_room_for_what_follows() -> None:
    finding = INVISIBLE._replace(start=2, end=42)
    lines = lint_text((finding,), _text(f"a {'b' * 40} c"), Terminal(24)).splitlines()
    assert lines[4:6] == ["    a bbbbbbbbb… c", "      ^^^^^^^^^^"]
