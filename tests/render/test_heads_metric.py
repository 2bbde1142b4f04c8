"""One metric of all heads: the map and the ranking, exact text at 80 columns."""

from __future__ import annotations

from dataclasses import replace

import pytest

from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.heads.text import heads_text
from tests.render.heads_samples import HEADS, SGR, head, result, stack
from tests.render.patch_samples import looking


def shown(metric: str, terminal: Terminal, **changes: object) -> str:
    return heads_text(replace(result(stack(**changes)), metric=metric), terminal)  # type: ignore[arg-type]


def test_values_on_the_map_and_in_their_order() -> None:
    assert (
        shown("previous", Terminal(80))
        == """\
all-MiniLM-L6-v2 · cpu · float32
encoder · 2 layers × 4 heads · 12 tokens · each sees every other
[CLS] the cat sat on the mat because it was tired [SEP]

previous: weight on the previous token
layer   0     1     2     3    head
    0 @0.91 .0.08 .0.08 .0.08
    1 .0.08 .0.08 .0.08 .0.08

0 [ .:=*#%@] 0.91

0.0   0.91  ████████████████████  uniform 0.08
0.1   0.08  █▉                    uniform 0.08
0.2   0.08  █▉                    uniform 0.08
0.3   0.08  █▉                    uniform 0.08
1.0   0.08  █▉                    uniform 0.08
1.1   0.08  █▉                    uniform 0.08
1.2   0.08  █▉                    uniform 0.08
1.3   0.08  █▉                    uniform 0.08
"""
    )


def test_ascii_bars() -> None:
    assert "0.0   0.91  ####################  uniform 0.08\n" in shown("previous", Terminal(80, unicode=False))


def test_colours_say_the_same() -> None:
    colored = SGR.sub("", shown("previous", Terminal(80, color=ColorDepth.TRUE)))
    assert "    0  0.91  0.08  0.08  0.08 " in colored.splitlines()


def test_what_nothing_shows() -> None:
    heads = tuple(replace(head, values={**head.values, "induction": None}) for head in HEADS)
    assert shown("induction", Terminal(80), heads=heads).endswith("copies\nnothing shows induction in this text\n")


@pytest.mark.parametrize("width", range(1, 60))
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(map(len, shown("entropy", Terminal(width)).splitlines())) <= width


def test_patches_are_called_so() -> None:
    shown_ = heads_text(replace(looking(2), metric="previous", chosen=False), Terminal(80))
    assert "\nprevious: weight on the patch to the left\n" in shown_
    nothing = replace(looking(1).stacks[0], metrics=(head("1.0", induction=None),))
    text = heads_text(replace(result(nothing), metric="induction"), Terminal(80))
    assert text.endswith("nothing shows induction in this picture\n")


def test_a_unit_stands_behind_what_is_said() -> None:
    assert "\nentropy: how widely a row spreads its weight (nats)\n" in shown("entropy", Terminal(80))
