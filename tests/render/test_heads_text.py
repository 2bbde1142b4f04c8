"""The three pictures of `attn heads` at 80 columns, to the character."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.heads.text import heads_text
from attncli.results.patterns import Pattern
from tests.render.heads_samples import SGR, even, head, on_offset, pattern, result, stack, tokens

UNICODE = Terminal(80)
ASCII = Terminal(80, unicode=False)

FOUR = (
    pattern("0.0", on_offset(-1)),
    pattern("0.1", on_offset(1)),
    pattern("0.2", even()),
    pattern("0.3", on_offset(-12)),
)

OVERVIEW = """\
all-MiniLM-L6-v2 · cpu · float32
encoder · 2 layers × 4 heads · 12 tokens · each sees every other
[CLS] the cat sat on the mat because it was tired [SEP]

layer  0  1  2  3  head
    0  P  N  ·  F
    1  S  I  ·  ·

 P  previous token   N  next token   F  first token   S  special tokens
 I  what followed earlier copies   ·  none of these

 P  0.0  looks at the previous token            previous 0.91, uniform 0.08
 N  0.1  looks at the next token                next 0.83, uniform 0.08
 F  0.3  looks at the first token               first 0.71, uniform 0.08
 S  1.0  looks at special tokens                special 0.93, uniform 0.17
 I  1.1  looks at what followed earlier copies  induction 0.68, uniform 0.08
    1.2  looks at the fewest tokens             entropy 0.31, uniform 2.48
    0.2  spreads over the most tokens           entropy 2.41, uniform 2.48
    1.3  looks the farthest                     distance 6.25, uniform 3.97

Try: attn heads … -H 0.0 to see that head, -l 0 to see all heads of its layer
"""

FOUR_HEADS = """\
all-MiniLM-L6-v2 · cpu · float32
encoder · 2 layers × 4 heads · 12 tokens · each sees every other
[CLS] the cat sat on the mat because it was tired [SEP]

@              .%             ............   @
%.              .%            ............   %.
 %.              .%           ............   % .
  %.              .%          ............   %  .
   %.              .%         ............   %   .
    %.              .%        ............   %    .
     %.              .%       ............   %     .
      %.              .%      ............   %      .
       %.              .%     ............   %       .
        %.              .%    ............   %        .
         %.              .%   ............   %         .
          %.              @   ............   %          .
0.0  P         0.1  N         0.2            0.3  F
previous 0.91  next 0.83      entropy 2.41   first 0.71
entropy 0.40   entropy 0.52   distance 4.10  entropy 1.20

 P  previous token   N  next token   F  first token
uniform attention: entropy 2.48, distance 3.97, previous 0.08, next 0.08,
  first 0.08

0 [ .:-=+*#%@] 1.00   rows look at columns
"""

ONE_HEAD = """\
all-MiniLM-L6-v2 · cpu · float32
encoder · 2 layers × 4 heads · 12 tokens · each sees every other
head 0.1   N  looks at the next token

           [CLS] the  cat  sat  on   the  mat beca… it   was tired [SEP]
 0 [CLS]    .10. %90%
 1 the           .10. %90%
 2 cat                .10. %90%
 3 sat                     .10. %90%
 4 on                           .10. %90%
 5 the                               .10. %90%
 6 mat                                    .10. %90%
 7 because                                     .10. %90%
 8 it                                               .10. %90%
 9 was                                                   .10. %90%
10 tired                                                      .10. %90%
11 [SEP]                                                           @100

0 [ .:=*#%@] 1.00   rows look at columns   100 means 1.00

                 here  uniform
entropy          0.52     2.48  how widely a row spreads its weight (nats)
distance         3.97     3.97  how far away it looks (tokens)
confidence       0.08     0.08  largest weight of a row
previous         0.08     0.08  weight on the previous token
current          0.08     0.08  weight on the token itself
next             0.83     0.08  weight on the next token
first            0.08     0.08  weight on the first token
special          0.17     0.17  weight on special tokens
virtual_sink     0.00     0.00  weight that no token gets
duplicate        0.08     0.08  weight on earlier copies of the token
induction        0.08     0.08  weight on what followed earlier copies
"""


def in_ascii(text: str) -> str:
    """The same picture in the characters that stand in for ours."""
    for character, stand_in in {"  ·": "  .", " · ": " | ", "×": "x", "heads …": "heads ...", "…": "~"}.items():
        text = text.replace(character, stand_in)
    return text


def test_without_a_choice_it_shows_the_map_of_all_heads() -> None:
    assert heads_text(result(stack()), UNICODE) == OVERVIEW


def test_patterns_without_a_choice_leave_the_map_alone() -> None:
    assert heads_text(result(stack(*FOUR)), UNICODE) == OVERVIEW


def test_several_heads_are_small_pictures() -> None:
    assert heads_text(result(stack(*FOUR), chosen=True), UNICODE) == FOUR_HEADS


def test_one_head_is_its_labelled_pattern() -> None:
    assert heads_text(result(stack(FOUR[1]), chosen=True), UNICODE) == ONE_HEAD


def test_ascii_says_the_same() -> None:
    assert heads_text(result(stack()), ASCII) == in_ascii(OVERVIEW)
    assert heads_text(result(stack(*FOUR), chosen=True), ASCII) == in_ascii(FOUR_HEADS)
    assert heads_text(result(stack(FOUR[1]), chosen=True), ASCII) == in_ascii(ONE_HEAD)


@pytest.mark.parametrize("depth", [ColorDepth.ANSI, ColorDepth.EIGHT_BIT, ColorDepth.TRUE])
def test_colours_change_no_character_of_the_map(depth: ColorDepth) -> None:
    colored = heads_text(result(stack()), Terminal(80, depth))
    assert [line.rstrip() for line in SGR.sub("", colored).splitlines()] == OVERVIEW.splitlines()


def test_special_tokens_are_dim_in_the_text() -> None:
    line = heads_text(result(stack()), Terminal(80, ColorDepth.TRUE)).splitlines()[2]
    assert line == "\x1b[2m[CLS]\x1b[0m the cat sat on the mat because it was tired \x1b[2m[SEP]\x1b[0m"


def test_sixteen_colours_draw_patterns_in_ink() -> None:
    colored = heads_text(result(stack(FOUR[1]), chosen=True), Terminal(80, ColorDepth.ANSI))
    assert SGR.sub("", colored) == ONE_HEAD


def test_stacks_stand_under_one_another() -> None:
    cross = stack(stack="cross", heads=(head("cross.0.0"), head("cross.0.1")), queries=tokens("Die", "Katze"))
    text = heads_text(result(stack(), cross), UNICODE)
    chosen = "cross · 2 layers × 4 heads · heads 0 and 1 of layer 0"
    assert f"\n{chosen}\n2 decoder tokens look at 12 encoder tokens\n\nlayer" in text
    assert text.count("[CLS] the cat") == 1
    assert text.count("Try:") == 1


def test_a_stack_without_a_chosen_head_is_left_out() -> None:
    cross = stack(stack="cross", heads=(head("cross.0.0"),))
    assert heads_text(result(stack(FOUR[1]), cross, chosen=True), UNICODE) == ONE_HEAD


def test_a_choice_without_a_pattern_shows_the_map() -> None:
    assert heads_text(result(stack(), chosen=True), UNICODE) == OVERVIEW


def test_a_model_name_is_only_shown() -> None:
    first = heads_text(result(stack(), model="evil\x1b[2Jé"), UNICODE).splitlines()[0]
    assert first == r"evil\x1b[2Jé · cpu · float32"
    assert heads_text(result(stack(), model="é"), ASCII).splitlines()[0] == r"\xe9 | cpu | float32"


def test_one_weight_is_a_number_and_no_picture() -> None:
    one = np.full((1, 1), 0.125, dtype=np.float32)
    part = {"queries": tokens("a")[:1], "keys": tokens("b")[:1], "whole": (8, 8)}
    lines = heads_text(result(stack(Pattern(0, 0, one), Pattern(0, 1, one), **part), chosen=True), UNICODE).splitlines()
    assert lines[5].split() == ["weight", "0.125", "weight", "0.125"]
    assert not any("rows look at columns" in line for line in lines)
    rolled = replace(result(stack(Pattern(1, None, one), **part), chosen=True), weighting="rollout")
    text = heads_text(rolled, UNICODE)
    assert text.endswith("rollout up to layer 1\n0.125 of b (token 0) reaches a (token 0) (heads averaged)\n")
