"""Two models or texts compared: signs without colours, small changes, and what did not change."""

from __future__ import annotations

import numpy as np
import pytest

from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.heads.heatmap import SignedHeatScale
from attncli.render.heads.text import heads_text
from tests.render.difference_samples import compared, moved_weights
from tests.render.heads_samples import pattern


def test_small_pictures_without_colours_have_a_sign_and_a_digit() -> None:
    of = compared(pattern("1.2", moved_weights()), pattern("0.3", -moved_weights() / 2))
    assert (
        heads_text(of, Terminal(60, unicode=False))
        == """\
all-MiniLM-L6-v2
encoder | bidirectional | 2 layers x 4 heads | 12 tokens
[CLS] the cat sat on the mat because it was tired [SEP]
against [CLS] the dog sat on the mat because it was tired [~

+9    -9
+9    -9
+9    -9
+9    -9
+9    -9
+9    -9
+9    -9
+9    -9
+9    -9
+9    -9
+9    -9
+9    -9
1.2
change 0.530

-4    +4
-4    +4
-4    +4
-4    +4
-4    +4
-4    +4
-4    +4
-4    +4
-4    +4
-4    +4
-4    +4
-4    +4
0.3
change 0.250

+9 means +0.50, -9 means -0.50
+ where the other text has more   rows look at columns
"""
    )


@pytest.mark.parametrize("color", ColorDepth)
@pytest.mark.parametrize("unicode", [True, False])
@pytest.mark.parametrize("width", range(1, 130, 3))
def test_every_cell_has_its_width(color: ColorDepth, unicode: bool, width: int) -> None:
    heat = SignedHeatScale(0.5, Terminal(80, color, unicode))
    for weight in (-0.5, -0.26, -0.001, 0.0, 0.3, 0.5, 1.0):
        if width >= heat.min_width:
            assert len(heat.cell(weight, width)[0]) == width


def test_signs_are_symmetric() -> None:
    heat = SignedHeatScale(0.9, Terminal(80))
    assert [heat.ascii_text(weight) for weight in (-0.9, -0.5, -0.04, 0.04, 0.5, 0.9)] == [
        "-9",
        "-5",
        "  ",
        "  ",
        "+5",
        "+9",
    ]


def test_nothing_to_compare_is_said() -> None:
    heads = tuple(one._replace(total_variation=None, largest=None) for one in compared().difference.stacks[0].heads)  # type: ignore[union-attr]
    assert heads_text(compared(by_total_variation=False, heads=heads), Terminal(80)).endswith(
        "nothing in common can be compared\n"
    )


def test_heads_that_did_not_change_are_not_ranked() -> None:
    same = tuple(one._replace(total_variation=0.0) for one in compared().difference.stacks[0].heads)  # type: ignore[union-attr]
    assert heads_text(compared(heads=same), Terminal(80)).endswith("mean of its rows\nno head changed\n")
    some = (compared().difference.stacks[0].heads[0], *same[1:])  # type: ignore[union-attr]
    assert heads_text(compared(heads=some), Terminal(80)).splitlines()[-2:] == [
        "",
        "1.2  0.530  ████████████████████  first 0.083 → 0.493",
    ]


def test_no_change_at_all_is_no_crash() -> None:
    text = heads_text(compared(pattern("1.2", np.zeros((12, 12), dtype=np.float32))), Terminal(80))
    assert "head 1.2" in text


def test_cells_have_real_numbers_where_they_fit() -> None:
    heat = SignedHeatScale(0.5, Terminal(80))
    shown = {width: heat.cell(-0.126, width)[0] + heat.cell(0.5, width)[0] for width in (3, 4, 5, 6, 7)}
    assert shown == {
        3: "-2 +9 ",
        4: "-13 +50 ",
        5: "-.13 +.50 ",
        6: "-0.13 +0.50 ",
        7: " -0.13  +0.50 ",
    }
    assert [SignedHeatScale(full, Terminal(80)).cell(full, 7)[0].strip() for full in (0.042, 0.0042, 0.0004)] == [
        "+0.042",
        "+.0042",
        "+9",
    ]
    assert SignedHeatScale(0.5, Terminal(80)).cell(0.001, 6)[0].strip() == ""


def test_signs_never_touch_the_number_before() -> None:
    weights = np.where(np.indices((12, 12)).sum(axis=0) % 2, 0.4, -0.3).astype(np.float32)
    for width in (60, 80, 100, 140):
        rows = heads_text(compared(pattern("1.2", weights)), Terminal(width)).splitlines()
        (row,) = [line for line in rows if line.strip().startswith("4 on")] or [rows[10]]
        assert len(row.split()) > 10 and not any(cell[1:].strip("+-") != cell[1:] for cell in row.split()[2:])


def test_hundredths_say_what_they_are() -> None:
    text = heads_text(compared(pattern("1.2", moved_weights())), Terminal(66, height=60))
    assert "+50 means +0.50" in text and "\n 1 the     +50  +2 -50\n" in text


def test_small_changes_are_no_zeros() -> None:
    one = compared().difference.stacks[0].heads[0]  # type: ignore[union-attr]
    small = one._replace(
        total_variation=4e-5, values={**one.values, "first": 0.083304}, changes={**one.changes, "first": 4e-6}
    )
    text = heads_text(compared(heads=(small,)), Terminal(80))
    assert "  4e-5\n" in text and "1.2  4.0e-5  ████████████████████  first 0.083300 → 0.083304\n" in text
    full = heads_text(compared(pattern("1.2", moved_weights()), heads=(small,)), Terminal(80, height=60))
    assert "\nhead 1.2  change 4.0e-5\n" in full
    assert "\nfirst           0.083    0.083  +4.0e-6\n" in full
