"""Figures of a word in its sentences."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from attncli.errors import UsageError
from attncli.results.compare import CompareResult
from tests.render.compare_samples import FOUR, UNLABELLED, compare_result, first_state, last_state, occurrence

pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra figures)")

from attncli.render.figures import panels
from attncli.render.figures.compare import compare_figure


def texts(made: CompareResult, **options: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", compare_figure(made, "svg", **options).decode())


@pytest.mark.parametrize("form", ["svg", "pdf", "png"])
def test_the_same_result_gives_the_same_bytes(form: str) -> None:
    assert compare_figure(compare_result(), form) == compare_figure(compare_result(), form)


def test_a_state_has_its_matrix_and_its_map_and_all_have_a_path() -> None:
    found = texts(compare_result())
    assert {"animal", "unit"} < {*found}
    assert {"mole in context, tiny", "1 animal", "4 unit", "0.95"} < {*found}
    assert {"component 1 (60% of the variance)", "component 2 (20% of the variance)"} < {*found}
    assert {"all pairs", "same label", "other label", "random words", "state", "mean cosine"} < {*found}
    said = "The senses don't come apart: 2 of 4 are nearest to their own label (1.3 by chance), at state "
    assert [text for text in found if text.startswith("The ")] == [f"{said}1, after layer 0 (the last)"]
    found = texts(replace(compare_result(last_state(), replace(last_state(), state=2)), state_count=3))
    # Answers are too long to stand side by side.
    assert {"state 1, after layer 0", "state 2, after layer 1 (the last)"} < {*found}


def test_all_states_have_one_scale_and_no_diagonal(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Any, Any]] = []

    def draw_matrix(figure: Any, values: Any, sides: Any, scale: Any, **options: Any) -> Any:
        seen.append((values, scale))
        return panels.draw_matrix(figure, values, sides, scale, **options)

    monkeypatch.setattr("attncli.render.figures.compare.draw_matrix", draw_matrix)
    low = np.array([[1, 0.5, 0.6, 0.6], [0.5, 1, 0.6, 0.6], [0.6, 0.6, 1, 0.6], [0.6, 0.6, 0.6, 1]])
    flat = {"positions": None, "explained": None}
    one, other = last_state(low, **flat), replace(last_state(low + 0.3, **flat), state=2)
    found = texts(replace(compare_result(one, other), state_count=3))
    assert [scale[:2] for _, scale in seen] == [pytest.approx((0.5, 0.9))] * 2
    assert all(np.isnan(np.diag(values)).all() for values, _ in seen)
    assert not {"1.00", "1.30"} & {*found}


def test_colours_of_labels_have_a_key_and_no_other_meaning() -> None:
    drawn = compare_figure(compare_result(), "svg").decode()
    # Points and their key alone; curves are told apart by their dashes.
    orange = drawn.count("fill: #e69f00")
    assert orange == drawn.count("#e69f00") > 0
    unlabelled = compare_result(occurrences=UNLABELLED)
    assert "no label" not in texts(unlabelled)


def test_a_pair_is_a_path_alone() -> None:
    flat = last_state(positions=None, explained=None)
    two = compare_result(first_state(), flat, occurrences=FOUR[:2])
    assert "1 animal" not in texts(two)
    assert "all pairs" in texts(two)
    with pytest.raises(UsageError, match="a figure needs at least three occurrences or several states"):
        compare_figure(compare_result(flat, occurrences=FOUR[:1]), "svg")


def test_labels_may_hold_anything() -> None:
    nasty = tuple(
        occurrence(index, "a mole", label=text) for index, text in enumerate(("$x^$", "<b>", "你好", "\x1b"), 1)
    )
    assert {"1 $x^$", "2 &lt;b&gt;", "3 你好", r"4 \x1b"} < {*texts(compare_result(occurrences=nasty))}
