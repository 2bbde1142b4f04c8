"""What one position reads: colours, lines, small weights, and lines of the text."""

from __future__ import annotations

from dataclasses import replace

from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.heads.text import heads_text
from attncli.render.views.sentences import Position
from attncli.results.patterns import Pattern
from tests.render.heads_samples import SGR
from tests.render.position_samples import WORDS, placed, position, ranked, reading_of

WEIGHTS = [0.4, 0.05, 0.2, 0.1, 0.02, 0.03, 0.08, 0.12]
READ = position(reading_of(WORDS, WEIGHTS, 5, top=3), WORDS)


def test_colours_are_behind_the_text_and_the_query_is_underlined() -> None:
    text = heads_text(READ, Terminal(80, ColorDepth.TRUE))
    (shaded,) = (line for line in text.splitlines() if SGR.sub("", line).endswith("s [SEP]"))
    assert SGR.sub("", shaded) == "[CLS] the cat sat embedding" + "s [SEP]"
    assert shaded.startswith("\x1b[38;2;0;0;0;48;2;253;231;37m[CLS]\x1b[0m ")
    assert "\x1b[1;4;38;2;255;255;255;48;2;72;29;111mding\x1b[0m" in shaded
    # The row of ink is for those who see no colours; what points at the query is for all.
    assert SGR.sub("", text.splitlines()[-2]) == "                       ▲▲▲▲ looks from here"


def test_sixteen_colours_have_ink_and_an_underline() -> None:
    lines = heads_text(READ, Terminal(80, ColorDepth.ANSI)).splitlines()
    assert "\x1b[1;4mding\x1b[0m" in lines[-4]
    assert lines[-3] == "@@@@@ ...====::::      ....: -----"


def test_what_comes_later_has_no_shade_and_no_rank() -> None:
    seen = [True, True, True, False, False, False, False, False]
    of = position(reading_of(WORDS, [0.4, 0.4, 0.2, 0, 0, 0, 0, 0], 2, visible=seen), WORDS, causal=True)
    text = heads_text(of, Terminal(80, ColorDepth.TRUE))
    assert "\x1b[2m sat embeddings\x1b[0m \x1b[2m[SEP]\x1b[0m" in text.splitlines()[-3]
    plain = heads_text(of, Terminal(80)).splitlines()
    assert plain[-4:-2] == ["[CLS] the >cat< sat embeddings [SEP]", "@@@@@ @@@======"]
    # Three keys are seen, beneath their heading.
    assert plain[-2] == "          ▲▲▲▲▲ looks from here"
    assert len(plain[4 : plain.index("", 4)]) == 1 + 3


def test_rows_end_where_lines_of_the_text_do() -> None:
    keys = placed("a", " b", "\n", "\n", "c", " d\n", "e")
    of = position(reading_of(keys, [0.5, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05], 0, top=1), keys)
    lines = heads_text(of, Terminal(80)).splitlines()[-10:-1]
    assert lines == [">a< b⏎", "@@@:::", "▲▲▲ looks from here", "⏎", ":", "c d", ":..", "e", "."]


def test_a_position_of_several_tokens_is_called_by_all_of_them() -> None:
    text = heads_text(position(replace(READ.stacks[0].reading, query_tokens=3), WORDS), Terminal(80))
    assert "\nwhere ding (tokens 5–7) looks, mean of all 8 heads\n" in text
    assert Position(WORDS[2]._replace(index=1234)).place == "token 1,234"
    assert Position(WORDS[2], line=7, length=3).place == "tokens 2–4, line 7"
    of = ranked(0.5, 0.25)
    (shown,) = of.stacks
    ranking = replace(shown.ranking, query_tokens=2, key_tokens=4)
    text = heads_text(replace(of, stacks=(replace(shown, ranking=ranking),)), Terminal(80, unicode=False))
    assert "\nsat (tokens 0-1) looks at cat (tokens 1-4)\n" in text


def test_what_stands_in_no_line_has_no_number_on_the_strip() -> None:
    keys = placed("[CLS]", "first\n", "second\n", "third", "[SEP]")
    reading = reading_of(keys, [0.4, 0.3, 0.1, 0.1, 0.1], 4, lines=(None, 1, 2, 3, None))
    lines = heads_text(position(reading, keys, unit="line"), Terminal(80)).splitlines()
    assert lines[-3:-1] == ["   1  2  3", "            ▲ looks from here"]


def test_the_ranking_stands_beside_its_map_where_there_is_room() -> None:
    of = ranked(0.01, 0.02, 0.5, 0.03, 0.25, 0.04, 0.05, 0.1)
    lines = heads_text(of, Terminal(120)).splitlines()
    assert lines[4].endswith("head" + " " * 4 + "head  weight  0               0.50  uniform  place in its row")
    assert "████████████████████    0.125  3 of 8" in lines[5]


def test_one_head_needs_no_map() -> None:
    of = ranked(0.5)
    lines = heads_text(of, Terminal(80)).splitlines()
    assert lines[3:] == ["", "head  weight  0               0.50  uniform  place in its row",
                         " 0.0   0.500  ████████████████████    0.125  1 of 8"]  # fmt: skip


def test_small_weights_are_told_apart() -> None:
    of = ranked(0.0312, 0.0004, 3e-12, 0.0)
    assert heads_text(replace(of, top=4), Terminal(80)).splitlines()[-5:] == [
        "head   weight  0              0.031  uniform  place in its row",
        " 0.0   0.0312  ████████████████████   0.1250  1 of 8",
        " 0.1   0.0004  ▎                      0.1250  2 of 8",
        " 0.2  3.0e-12  ▏                      0.1250  3 of 8",
        " 0.3        0                         0.1250  4 of 8",
    ]
    few = position(reading_of(WORDS, [0.04, 0.0003, 2e-7, 0, 0, 0, 0, 0], 5, top=3), WORDS)
    assert heads_text(few, Terminal(80)).splitlines()[4:8] == [
        "        weight  0               0.04  uniform  top head",
        "1 the   0.0003  ▏                      0.1250  0.1 (6.0e-4)",
        "2 ␣cat  2.0e-7  ▏                      0.1250  0.2 (4.0e-7)",
        "[CLS] 0.040: special tokens, which take the weight that no other token needs",
    ]


def test_a_key_that_is_a_line_is_called_by_its_number() -> None:
    of = ranked(0.5, query="x", key="  a line of many words that goes on and on\n")
    (stack,) = of.stacks
    lined = replace(stack, unit="line", ranking=replace(stack.ranking, query_line=4, key_line=2))  # type: ignore[arg-type]
    assert heads_text(replace(of, stacks=(lined,)), Terminal(100)).splitlines()[1:4] == [
        "encoder · bidirectional · 2 layers × 4 heads · 8 lines, seen from one position",
        "how much x (token 0, line 4) looks at line 2 (a line of many words that goes …), by the weight of",
        "each head",
    ]


def test_a_rollout_is_told_by_its_keys() -> None:
    reading = reading_of(WORDS, WEIGHTS, 5, top=2)
    reading = replace(reading, uniform=None, top=tuple(key._replace(head=None, uniform=None) for key in reading.top))
    rolled = replace(position(reading, WORDS, patterns=(Pattern(1, None, reading.weights[None]),)), weighting="rollout")
    assert (
        heads_text(rolled, Terminal(80, unicode=False))
        == """\
all-MiniLM-L6-v2
encoder | bidirectional | 2 layers x 4 heads | 1 of 8 tokens
rollout up to layer 1: how much of each token reaches ding (token 5), heads
averaged

         weight  0               0.40
0 [CLS]   0.400  ####################
2 _cat    0.200  ##########

[CLS] the cat sat embed>ding<s [SEP]
@@@@@ ...====::::      ......: -----
                       ^^^^^^ arrives here
0 [ .:-=+*#%@] 0.40
"""
    )


def test_what_points_at_the_query_stands_on_the_side_with_room() -> None:
    keys = placed("a" * 25, " b")
    lines = heads_text(position(reading_of(keys, [0.5, 0.5], 1, top=1), keys), Terminal(30)).splitlines()
    assert "          looks from here ▲▲▲" in lines
