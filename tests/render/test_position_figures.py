"""Figures of what one position reads, and of one weight by every head."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from attncli.results.heads import HeadsResult
from tests.render.heads_samples import pattern
from tests.render.position_samples import ranked, with_row

pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra figures)")

from attncli.render.figures.heads import heads_figure


def texts(made: HeadsResult) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", heads_figure(made, "svg").decode())


def test_the_keys_that_are_read_most_are_bars_with_the_heads_that_read_them() -> None:
    found = texts(with_row())
    assert {"where sat (token 3) looks: the mean of 8 heads", "attention weight, mean of 8 heads"} < {*found}
    start = found.index("0  [CLS]")
    assert found[start : start + 4] == ["0  [CLS]", "2  ·cat", "3  ·sat", "1  the"]
    assert {"most by head", "0.400", "0.0  0.800", "0.250", "0.1  0.500"} < {*found}
    assert "looks from here" in found


def test_a_long_text_is_a_strip_with_positions() -> None:
    found = texts(with_row(640))
    assert "the whole text: 640 tokens in 160 cells, each the sum of its tokens" in found
    assert {"0", "200", "400", "600"} < {*found}
    assert "w639" not in found


def test_one_weight_by_every_head_is_a_map() -> None:
    made = ranked(0.1, 0.25, 0.68, 0.02, 0.03, 0.04, 0.05, 0.06)
    row = pattern("0.0", np.array([[0.1]], dtype=np.float32))
    made = replace(made, stacks=(replace(made.stacks[0], patterns=(row,)),))
    found = texts(made)
    assert "how much sat (token 0) looks at cat (token 1): weight of each head" in " ".join(found)
    assert "largest: head 0.2 with 0.680, place 3 of 8 in its row" in found
    assert "uniform: 0.125 with attention spread evenly" in found
    assert {"layer", "head", "0.68", "0.25"} < {*found}
