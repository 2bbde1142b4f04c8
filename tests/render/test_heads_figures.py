"""Figures of heads: what stands in them, and that the same result gives the same bytes."""

from __future__ import annotations

import re
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest

from attncli.render.views.difference import difference_stacks
from attncli.results.heads import HeadsResult
from attncli.results.patterns import Bins, Pattern
from tests.render.difference_samples import compared
from tests.render.heads_samples import even, head, on_offset, pattern, result, stack, tokens

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra figures)")

from attncli.render.figures.axis_labels import AxisLabels  # noqa: E402
from attncli.render.figures.head_patterns import OneHead, Panel  # noqa: E402
from attncli.render.figures.heads import heads_figure  # noqa: E402
from attncli.render.figures.metric_map import metric_maps  # noqa: E402
from attncli.render.figures.panels import FigureText, Scale, compose_figure, render_figure, tick_text  # noqa: E402

FORMS = ("svg", "pdf", "png")
NEXT = pattern("0.1", on_offset(1))


def several(count: int) -> HeadsResult:
    names = [f"{layer}.{index}" for layer in range(count // 4) for index in range(4)]
    heads = tuple(head(name) for name in names)
    return result(stack(*(pattern(name, on_offset(-1)) for name in names), heads=heads), chosen=True)


def svg(made: HeadsResult, **options: str) -> str:
    return heads_figure(made, "svg", **options).decode()


def texts(content: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", content)


@pytest.mark.parametrize(("form", "count"), [("svg", 4), ("pdf", 4), ("png", 4), ("svg", 20)])
def test_the_same_result_gives_the_same_bytes(form: str, count: int) -> None:
    first = heads_figure(several(count), form, title="a title")
    matplotlib.rcParams["font.size"] = 30
    try:
        assert heads_figure(several(count), form, title="a title") == first
        assert matplotlib.rcParams["font.size"] == 30
    finally:
        matplotlib.rcdefaults()
    assert not re.search(rb"\b20[2-9]\d-\d\d-\d\dT|/CreationDate", first)


@pytest.mark.parametrize(("form", "begins"), [("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")])
def test_each_form_is_what_its_ending_says(form: str, begins: bytes) -> None:
    assert heads_figure(result(stack(NEXT), chosen=True), form).startswith(begins)


def test_one_head_has_its_tokens_its_weights_and_a_scale() -> None:
    found = texts(svg(result(stack(NEXT), chosen=True), title="Next & next"))
    assert found[:12] == ["[CLS]", "the", "cat", "sat", "on", "the", "mat", "because", "it", "was", "tired", "[SEP]"]
    assert found[12:24] == found[:12]
    assert found.count("90") == 11
    assert "100" in found
    assert {
        "Next &amp; next",
        "head 0.1, looks at the next token",
        "attention weight (rows look at columns); numbers: hundredths",
        "text: [CLS] the cat sat on the mat because it was tired [SEP]",
    } < {*found}


def test_without_a_title_the_model_stands_above() -> None:
    assert "all-MiniLM-L6-v2" in texts(svg(result(stack(NEXT), chosen=True)))


def test_few_heads_stand_side_by_side_with_their_tokens() -> None:
    found = texts(svg(several(8)))
    assert found.count("because") == 16
    assert [text for text in found if text.startswith("head ")] == [
        f"head {layer}.{each}" for layer in range(2) for each in range(4)
    ]


def test_many_heads_are_a_map() -> None:
    found = texts(svg(several(20)))
    assert "because" not in found
    assert {"head", "layer", "4", "0.0", "4.3"} < {*found}
    assert "rows: queries, columns: keys; to the right and downwards: later tokens" in found


def test_many_heads_of_a_short_text_name_its_tokens_at_the_edges() -> None:
    names = [f"{layer}.{index}" for layer in range(5) for index in range(4)]
    words = tokens("[CLS]", "a", "mole")
    heads = tuple(head(name) for name in names)
    made = stack(*(pattern(name, even(3)) for name in names), heads=heads, queries=words, keys=words)
    found = texts(svg(result(made, chosen=True)))
    assert found.count("mole") == 5 + 4


def test_small_patterns_are_shapes_and_large_ones_a_picture() -> None:
    assert "<image" not in _cells(svg(result(stack(NEXT), chosen=True)))
    size = 80
    words = tokens(*(f"w{index}" for index in range(size)))
    large = stack(pattern("0.1", on_offset(1, size)), queries=words, keys=words)
    assert "<image" in _cells(svg(result(large, chosen=True)))


def _cells(content: str) -> str:
    """The figure without its colour bar, which is a picture of its own."""
    return content[: content.index('id="axes_2"')]


def test_what_a_query_may_not_see_is_left_blank() -> None:
    causal = stack(pattern("0.0", even(causal=True)), causal=True)
    shapes = re.findall(r'clip-path="url[^>]*style="([^"]*)"', _cells(svg(result(causal, chosen=True))))
    assert sum(style == "fill: none" for style in shapes) == 12 * 11 // 2
    assert len(shapes) == 12 * 12


def test_pooled_patterns_have_true_positions_and_say_so() -> None:
    bins = Bins(tuple((start, start + 4) for start in (0, 4, 8)), tuple((start, start + 4) for start in (0, 4, 8)))
    pooled = Pattern(0, 1, even(3), bins)
    found = texts(svg(result(stack(pooled), chosen=True)))
    assert found[:3] == ["0", "5", "10"]
    assert "12 × 12 weights in 3 × 3 cells: rows averaged, columns summed" in " ".join(found)


def test_positions_stand_where_they_are() -> None:
    # Four, four and two tokens a cell: token 6 is the middle of the second.
    side = AxisLabels(["", "", ""], [0, 4, 8, 10], numbered=True)
    assert side.ticks(1.0, horizontal=False) == [(0, "0"), (0.5, "2"), (1, "4"), (1.5, "6"), (2, "8")]
    every = AxisLabels([str(place) for place in range(600)], list(range(100, 701)))
    assert every.ticks(0.01, horizontal=True) == [(place + 0.5, str(place + 100)) for place in range(0, 600, 50)]


def test_lines_are_named_by_their_numbers_and_as_plain_text() -> None:
    lines = tokens("one line\n", "·another\n", "[SEP]")
    made = stack(
        pattern("0.1", even(3)),
        queries=lines,
        keys=lines,
        unit="line",
        query_lines=(1, 3, None),
        key_lines=(1, 3, None),
    )
    found = texts(svg(result(made, chosen=True)))
    assert found[:3] == ["1  one line", "3  ·another", "[SEP]"]


@pytest.mark.parametrize(
    ("value", "written"), [(0.0, "0"), (0.0005, "0.0005"), (2e-5, "2e-5"), (1e-19, "0"), (15.0, "15")]
)
def test_numbers_of_a_scale_stand_for_themselves(value: float, written: str) -> None:
    assert tick_text(value, max(value, 0.001)) == written


def test_a_metric_is_mapped_with_its_values() -> None:
    made = replace(result(stack()), metric="induction")
    assert [each.title for each in metric_maps(made)] == ["induction: weight on what followed earlier copies"]
    assert [each.notes for each in metric_maps(made)] == [["uniform: 0.083"]]
    assert [each.framed for each in metric_maps(made)] == [[(1, 1)]]
    assert "0.68" in texts(svg(made))


def test_means_over_texts_are_maps_of_every_metric() -> None:
    made = replace(result(stack()), texts=3)
    assert len(metric_maps(made)) == 11
    assert "distance: how far away it looks (tokens)" in texts(svg(made))


def test_differences_have_white_at_nothing() -> None:
    values = np.array([[0.5, -0.25], [np.nan, 0.0]])
    scale = Scale.from_values([values])
    assert (scale.low, scale.high, scale.colormap) == (-0.5, 0.5, "PuOr_r")
    panel = Panel("a difference", values, AxisLabels(["a", "b"]), AxisLabels(["a", "b"]))
    found = texts(
        render_figure(lambda: compose_figure(FigureText("x"), [OneHead(panel, "y")]), "svg", texts=["x"]).decode()
    )
    assert {"50", "-25"} < {*found}


@pytest.mark.parametrize("form", FORMS)
def test_any_token_can_be_drawn_without_a_warning(form: str) -> None:
    words = tokens(
        "$x^$", "\\frac{", "你好", "हिन्दी", "👩\u200d👧", "\u202eevil", "<b>&", "%", "\ud800", "", "_", "\x1b[2J"
    )
    made = result(stack(pattern("0.1", on_offset(1)), queries=words, keys=words), chosen=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        content = heads_figure(made, form, title="$\\alpha 你\u2028\x00")
    if form == "svg":
        assert {"$x^$", "你好", r"\u{202e}evil", "&lt;b&gt;&amp;", r"\ud800".replace("ud800", "u{d800}")} < {
            *texts(content.decode())
        }


def test_what_was_compared_is_drawn_as_its_difference() -> None:
    found = texts(svg(replace(compared(pattern("0.1", on_offset(1) - on_offset(-1))), chosen=True)))
    assert {"difference 0.1", "weight in B minus weight in A; numbers: hundredths", "90", "-90", "cat→dog"} < {*found}
    assert "orange: B has more, purple: A has more, white: the same" in found
    maps = metric_maps(replace(compared(), metric="first", stacks=difference_stacks(compared())))
    assert maps[0].values[0].tolist() == [0.0, 0.02, 0.0, -0.3]


def test_pyplot_is_left_alone() -> None:
    heads_figure(result(stack(NEXT), chosen=True), "png")
    assert "matplotlib.pyplot" not in sys.modules
