"""The pattern of one head: narrow terminals, odd characters, and pooling."""

from __future__ import annotations

import numpy as np

from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.heads.pattern_grid import column_headings
from attncli.render.heads.text import heads_text
from attncli.results.heads import Stack
from attncli.results.patterns import Weights
from attncli.results.tokens import Token
from tests.render.heads_samples import SENTENCE, even, head, on_offset, pattern, result, stack, tokens

LRM = "\u200e"


def picture(of: Stack, width: int = 80, *, unicode: bool = True, color: ColorDepth = ColorDepth.NONE) -> list[str]:
    """The lines between the title and the scale."""
    lines = heads_text(result(of, chosen=True), Terminal(width, color, unicode, height=99)).splitlines()
    start = lines.index("") + 1
    return lines[start : lines.index("", start)]


def of_words(*words: str, weights: Weights | None = None, causal: bool = False) -> Stack:
    texts = tokens(*words)
    weights = on_offset(-1, len(texts)) if weights is None else weights
    return stack(pattern("0.0", weights), queries=texts, keys=texts, causal=causal)


def test_a_key_that_is_seen_but_not_looked_at_is_dark_not_blank() -> None:
    of = of_words("a", "b", "c", weights=np.eye(3, dtype=np.float32), causal=True)
    dark, bright = "\x1b[48;2;68;1;84m       \x1b[0m", "\x1b[38;2;0;0;0;48;2;253;231;37m  100  \x1b[0m"
    assert picture(of, color=ColorDepth.TRUE)[2:] == [
        f"\x1b[2m1 \x1b[0mb {dark}{bright}",
        # Cells of one style are written together.
        f"\x1b[2m2 \x1b[0mc {dark.replace(' ' * 7, ' ' * 14)}{bright}",
    ]


def test_tokens_across_never_touch() -> None:
    assert column_headings(["abcde", "fghij", "k", "abcdefgh"], 5, 2, Terminal()) == ["abcde fgh…  k  abcdef…"]
    assert column_headings(["abcde", "fgh", "ij"], 5, 0, Terminal()) == ["abcde fgh  ij  "]


def test_tokens_go_downwards_where_there_is_no_room_across() -> None:
    assert picture(of_words("one", "two", "three"), 17) == [
        "           t",
        "           h",
        "       o t r",
        "       n w e",
        "       e o e",
        "0 one  @@",
        "1 two  %%..",
        "2 thr…   %%..",
    ]


def test_a_token_that_is_too_tall_is_cut() -> None:
    words = ["antidisestablishmentarianism", *("a" for _ in range(20))]
    headings = picture(of_words(*words))[:10]
    assert "".join(line[20] for line in headings) == "antidises…"
    assert "".join(line[22:].strip() for line in headings[:9]) == ""
    assert headings[9].split() == ["…", *("a" for _ in range(20))]


def test_without_room_for_tokens_columns_are_numbered() -> None:
    words = [f"w{i}" for i in range(40)]
    lines = picture(of_words(*words))
    assert lines[0] == "       0    5    10   15   20   25   30   35"
    assert lines[1] == " 0 w0  @"
    assert lines[2] == " 1 w1  %."
    assert lines[40] == "39 w39 " + " " * 38 + "%."


def test_a_long_pattern_is_pooled_and_labelled_with_true_positions() -> None:
    words = tokens(*(f"w{i}" for i in range(100)))
    of = stack(pattern("0.0", on_offset(0, 100)), queries=words, keys=words)
    text = heads_text(result(of, chosen=True), Terminal(40, height=60))
    assert "\n100 × 100 weights in 10 × 10 cells:\nrows averaged, columns summed\n" in text
    lines = picture(of, 40)
    assert len(lines) == 11
    assert lines[:3] == [
        "                 0   20  40  60  80",
        "  0–9 w0 w1 w2 … @@",
        "10–19 w10 w11 w…   @@",
    ]


def test_columns_of_another_text_are_listed_where_they_are_only_numbered() -> None:
    keys, queries = tokens(*(f"key{i}" for i in range(40))), tokens("Ja", "Nein")
    weights = np.zeros((2, 40), dtype=np.float32)
    weights[:, 3] = 1
    of = stack(pattern("0.0", weights), stack="cross", queries=queries, keys=keys, heads=(head("cross.0.0"),))
    text = heads_text(result(of, chosen=True), Terminal(80))
    assert "\n0 Ja      @\n1 Nein    @\n\ncolumns:  0 key0  1 key1  2 key2  3 key3" in text
    assert all(f"{i} key{i}" in text for i in range(40))


def test_many_queries_of_few_keys_are_pooled_by_rows_alone() -> None:
    queries = tokens(*(f"q{i}" for i in range(90)))
    weights = np.full((90, 2), 0.5, dtype=np.float32)
    of = stack(pattern("0.0", weights), stack="cross", queries=queries, keys=tokens("ja", "nein"))
    lines = picture(of)
    assert lines[0].split() == ["ja", "nein"]
    assert lines[1].split()[:2] == ["0–2", "q0"]
    assert "90 × 2 weights in 23 × 2 cells" in heads_text(result(of, chosen=True), Terminal(80, height=99))


def test_wide_and_combining_characters_keep_the_columns() -> None:
    assert picture(of_words("猫", "e\u0301", "\u0301x", "👍")) == [
        "       猫      e\u0301     ◌\u0301x     👍",
        "0 猫   100      ·      ·      ·",
        "1 e\u0301     90     10      ·      ·",
        "2 ◌\u0301x     ·     90     10      ·",
        "3 👍     ·      ·     90     10",
    ]


def test_combining_characters_stay_with_their_base_downwards() -> None:
    words = ["猫猫", "e\u0301e", *("ok" for _ in range(17))]
    assert picture(of_words(*words))[:2] == [
        "        猫e\u0301 " + "o " * 16 + "o",
        "        猫e " + "k " * 16 + "k",
    ]


def test_right_to_left_text_moves_nothing_beside_it() -> None:
    lines = picture(of_words("שלום", "x"))
    assert lines[0].startswith("        שלום" + LRM)
    assert lines[1].startswith("0 שלום" + LRM + " ")
    assert LRM not in lines[2]


def test_control_characters_are_escapes() -> None:
    lines = picture(of_words("\x1b[31m", "a\nb", "\u202eevil"))
    assert [line.split()[1] for line in lines[1:]] == [r"\x1b[31m", "a⏎b", r"\u{202e}evil"]
    ascii_lines = picture(of_words("é", "a\nb"), unicode=False)
    assert [line.split()[1] for line in ascii_lines[1:]] == [r"\u{e9}", r"a\nb"]


def test_a_token_without_a_text_shows_its_raw_form_or_its_id() -> None:
    nameless = (Token(0, 7, "Ġ", ""), Token(1, 42, "", ""))
    of = stack(pattern("0.0", on_offset(-1, 2)), queries=nameless, keys=nameless)
    assert [line.split()[1] for line in picture(of)[1:]] == ["Ġ", "42"]


def test_metrics_without_a_value_are_dots() -> None:
    of = stack(pattern("0.2", even()), heads=(head("0.2", induction=None, distance=123.456),), baselines={})
    text = heads_text(result(of, chosen=True), Terminal(80, full=True))
    assert "\ninduction           ·        ·  weight on what followed earlier copies\n" in text
    assert "\ndistance        123.5        ·  how far away it looks (tokens)\n" in text
    assert "\ninduction           .        .  " in heads_text(
        result(of, chosen=True), Terminal(80, unicode=False, full=True)
    )


def test_a_narrow_terminal_leaves_the_meanings_out() -> None:
    text = heads_text(result(stack(pattern("0.2", even())), chosen=True), Terminal(59, full=True))
    assert "\nentropy          2.41     2.48\n" in text


def test_one_token_is_enough() -> None:
    of = stack(pattern("0.0", np.ones((1, 1), dtype=np.float32)), queries=tokens("a"), keys=tokens("a"))
    assert picture(of) == ["       a", "0 a   100"]


def test_metrics_say_what_they_are_of_where_less_is_shown() -> None:
    whole = stack(pattern("0.2", even()), whole=(12, 12))
    assert "metrics are of" not in heads_text(result(whole, chosen=True), Terminal(80))
    cropped = stack(pattern("0.2", even()[3:6]), queries=SENTENCE[3:6], whole=(12, 12))
    said = "\nmetrics are of the whole text, not of the part above\n                 here  uniform\n"
    assert said in heads_text(result(cropped, chosen=True), Terminal(80, full=True))
    several = stack(*(pattern(f"0.{i}", even()[3:6]) for i in (1, 2)), queries=SENTENCE[3:6], whole=(12, 12))
    assert "\nmetrics are of the whole text, not of the part above\nuniform attention: " in heads_text(
        result(several, chosen=True), Terminal(80)
    )


def test_what_is_hidden_is_said_to_be() -> None:
    part = SENTENCE[1:-1]
    one = head("0.0", "special", "first", special=0.9, first=0.8)
    shown = stack(pattern("0.0", even()[1:-1, 1:-1]), heads=(one,), queries=part, keys=part, whole=(12, 12))
    text = heads_text(result(shown, chosen=True), Terminal(100))
    assert (
        "S  attends mostly to special tokens (not shown)\n F  attends mostly to the first token (not shown)\n" in text
    )
    assert "\nmetrics are of the whole text, not of the part above\n" in text
