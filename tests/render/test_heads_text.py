"""The three views of `attn heads`: the same in ASCII and in colours, and what is left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.heads.text import heads_text
from attncli.results.heads import HeadsResult
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


def in_ascii(text: str) -> str:
    """The same picture in the characters that stand in for ours."""
    for character, stand_in in {
        "  ·": "  .",
        " ·  ": " .  ",
        " · ": " | ",
        "×": "x",
        "heads …": "heads ...",
        "…": "~",
    }.items():
        text = text.replace(character, stand_in)
    return text


MAP = result(stack())
SEVERAL = result(stack(*FOUR), chosen=True)
ONE = result(stack(FOUR[1]), chosen=True)


def test_patterns_without_a_choice_leave_the_map_alone() -> None:
    assert heads_text(result(stack(*FOUR)), UNICODE) == heads_text(MAP, UNICODE)


@pytest.mark.parametrize("found", [MAP, SEVERAL, ONE], ids=["map", "several", "one"])
def test_ascii_says_the_same(found: HeadsResult) -> None:
    assert heads_text(found, ASCII) == in_ascii(heads_text(found, UNICODE)) != heads_text(found, UNICODE)


@pytest.mark.parametrize("depth", [ColorDepth.ANSI, ColorDepth.EIGHT_BIT, ColorDepth.TRUE])
def test_colours_change_no_character_of_the_map(depth: ColorDepth) -> None:
    colored = heads_text(MAP, Terminal(80, depth))
    assert [line.rstrip() for line in SGR.sub("", colored).splitlines()] == heads_text(MAP, UNICODE).splitlines()


def test_sixteen_colours_draw_patterns_in_ink() -> None:
    assert SGR.sub("", heads_text(ONE, Terminal(80, ColorDepth.ANSI))) == heads_text(ONE, UNICODE)


def test_a_stack_without_a_chosen_head_is_left_out() -> None:
    cross = stack(stack="cross", heads=(head("cross.0.0"),))
    assert heads_text(result(stack(FOUR[1]), cross, chosen=True), UNICODE) == heads_text(ONE, UNICODE)


def test_a_choice_without_a_pattern_shows_the_map() -> None:
    assert heads_text(result(stack(), chosen=True), UNICODE) == heads_text(MAP, UNICODE)


def test_a_model_name_is_only_shown() -> None:
    first = heads_text(result(stack(), model="evil\x1b[2Jé"), UNICODE).splitlines()[0]
    assert first == r"evil\x1b[2Jé"
    assert heads_text(result(stack(), model="é"), ASCII).splitlines()[0] == r"\xe9"


def test_one_weight_is_a_number_and_no_picture() -> None:
    one = np.full((1, 1), 0.125, dtype=np.float32)
    part = {"queries": tokens("a")[:1], "keys": tokens("b")[:1], "whole": (8, 8)}
    lines = heads_text(result(stack(Pattern(0, 0, one), Pattern(0, 1, one), **part), chosen=True), UNICODE).splitlines()
    assert lines[4].split() == ["weight", "0.125", "weight", "0.125"]
    assert not any("rows look at columns" in line for line in lines)
    rolled = replace(result(stack(Pattern(1, None, one), **part), chosen=True), weighting="rollout")
    text = heads_text(rolled, UNICODE)
    assert text.endswith("rollout up to layer 1\n0.125 of b (token 0) reaches a (token 0) (heads averaged)\n")
