"""All heads of a small stack as pictures beneath the map."""

from __future__ import annotations

import pytest

from attncli.render.common.cells import cell_width
from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.heads.text import heads_text
from tests.render.heads_samples import HEADS, SGR, even, on_offset, pattern, result, stack

SKETCHES = tuple(pattern(one.name, on_offset(place - 4)) for place, one in enumerate(HEADS))


def shown(terminal: Terminal, count: int = 8, **changes: object) -> str:
    return heads_text(result(stack(sketches=SKETCHES[:count], heads=HEADS[:count], **changes)), terminal)


def test_two_rows_beneath_the_sentences() -> None:
    assert (
        shown(Terminal(60)).split("\n\n", 3)[3].split("\n\n", 1)[1]
        == """\
@             @             @             @
@             @             ==             =+
==             ==             ==             =+
  ==             ==             ==             =+
    ==             ==             ==             =+
      ==             ==             ==             =+
0.0  P        0.1  N        0.2           0.3  F

++             +=             ==             ==
  ++             +=             ==             ==
    ++             +=             ==             ==
      ++             +=             ==             ==
        ++             +=             ==             @
          ++             @             @             @
1.0  S   F    1.1  I        1.2           1.3

0 [ .:-=+*#%@] 0.95   rows look at columns
12 × 12 weights in 6 × 12 cells:
rows averaged, columns summed

Try: attn heads … -H 0.0
"""
    )


def test_half_blocks_in_colour() -> None:
    lines = SGR.sub("", shown(Terminal(60, ColorDepth.TRUE))).splitlines()
    assert sum(line.startswith("▀" * 12) for line in lines) == 12
    assert "  ".join(["▀" * 12] * 4) in lines


def test_what_has_no_room_in_two_rows_is_left_out() -> None:
    assert "rows look at columns" in shown(Terminal(54))
    assert "rows look at columns" not in shown(Terminal(53))
    assert "rows look at columns" in shown(Terminal(53), count=6)
    assert "rows look at columns" not in heads_text(result(stack()), Terminal(80))


def test_pooled_pictures_say_so() -> None:
    sketch = pattern("0.0", even(40))
    keys = tuple(token._replace(index=place) for place, token in enumerate(stack().keys * 4))[:40]
    text = heads_text(result(stack(sketches=(sketch,), heads=HEADS[:1], queries=keys, keys=keys)), Terminal(80))
    assert "40 × 40 weights in 6 × 10 cells: rows averaged, columns summed\n" in text


@pytest.mark.parametrize("color", [ColorDepth.NONE, ColorDepth.TRUE])
@pytest.mark.parametrize("width", range(10, 120, 7))
def test_no_line_is_wider_than_the_terminal(color: ColorDepth, width: int) -> None:
    lines = SGR.sub("", shown(Terminal(width, color))).splitlines()
    assert max(map(cell_width, lines)) <= width


def test_they_are_no_data() -> None:
    assert result(stack(*SKETCHES)).to_dict() != result(stack(sketches=SKETCHES)).to_dict() == result(stack()).to_dict()
