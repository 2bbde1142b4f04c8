"""Figures of heads: what stands in them, where colours are, and that the same result gives the same bytes."""

from __future__ import annotations

import io
import re
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest

from attncli.render.views.difference import difference_stacks
from attncli.results.heads import HeadsResult
from attncli.results.patterns import Bins, Medium, Pattern
from tests.render.difference_samples import compared
from tests.render.heads_samples import even, head, on_offset, pattern, result, stack, tokens
from tests.render.patch_samples import PICTURE, looking, words
from tests.render.position_samples import ranked, with_row

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra figures)")

from attncli.render.figures.axis_labels import AxisLabels  # noqa: E402
from attncli.render.figures.heads import heads_figure  # noqa: E402
from attncli.render.figures.metric_map import metric_maps  # noqa: E402
from attncli.render.figures.panels import Scale, tick_text  # noqa: E402

FORMS = ("svg", "pdf", "png")
NEXT = pattern("0.1", on_offset(1))
CAPTION = words("[CLS]", "a", "$mole$", "[SEP]")


def several(count: int, size: int = 12) -> HeadsResult:
    names = [f"{layer}.{index}" for layer in range(count // 4) for index in range(4)]
    changes = {} if size == 12 else dict.fromkeys(("queries", "keys"), tokens("[CLS]", "a", "mole"))
    made = stack(*(pattern(name, on_offset(-1, size)) for name in names), heads=tuple(map(head, names)), **changes)
    return result(made, chosen=True)


def svg(made: HeadsResult, **options: str) -> str:
    return heads_figure(made, "svg", **options).decode()


def texts(made: HeadsResult, **options: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg(made, **options))


# --- the same bytes, in every form


@pytest.mark.parametrize(
    ("made", "form"),
    [
        *((several(4), form) for form in FORMS),
        (several(20), "svg"),
        *((looking(query=4), form) for form in FORMS),
        (looking(heads=4, query=4), "svg"),
        (looking(caption=CAPTION), "svg"),
    ],
)
def test_the_same_result_gives_the_same_bytes(made: HeadsResult, form: str) -> None:
    first = heads_figure(made, form, title="a title")
    matplotlib.rcParams["font.size"] = 30
    try:
        assert heads_figure(made, form, title="a title") == first
        assert matplotlib.rcParams["font.size"] == 30
    finally:
        matplotlib.rcdefaults()
    assert first.startswith({"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}[form])
    assert not re.search(rb"\b20[2-9]\d-\d\d-\d\dT|/CreationDate", first)
    assert "matplotlib.pyplot" not in sys.modules


@pytest.mark.parametrize("form", FORMS)
def test_any_token_can_be_drawn_without_a_warning(form: str) -> None:
    nasty = tokens(
        "$x^$", "\\frac{", "你好", "हिन्दी", "👩\u200d👧", "\u202eevil", "<b>&", "%", "\ud800", "", "_", "\x1b[2J"
    )
    made = result(stack(NEXT, queries=nasty, keys=nasty), chosen=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        heads_figure(made, form, title="$\\alpha 你\u2028\x00")
    if form == "svg":
        assert {"$x^$", "你好", r"\u{202e}evil", "&lt;b&gt;&amp;", r"\u{d800}"} < {*texts(made)}


def test_fonts_are_those_of_the_texts_that_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    from attncli.render.figures import text_layout

    monkeypatch.setattr(text_layout, "_installed", lambda: [("STIXGeneral", "other")])
    default = text_layout._font_characters
    monkeypatch.setattr(text_layout, "_font_characters", lambda path: {*"你"} if path == "other" else default(path))
    made = result(stack(NEXT), chosen=True)
    assert "STIXGeneral" not in svg(made)
    assert re.search(r"DejaVu Sans.{1,9}STIXGeneral", svg(made, title="你"))


# --- patterns


def test_one_head_has_its_tokens_its_weights_and_a_scale() -> None:
    found = texts(result(stack(NEXT), chosen=True), title="Next & next")
    assert found[:12] == ["[CLS]", "the", "cat", "sat", "on", "the", "mat", "because", "it", "was", "tired", "[SEP]"]
    assert found[12:24] == found[:12]
    assert (found.count("90"), found.count("100")) == (11, 1)
    assert {
        "Next &amp; next",
        "all-MiniLM-L6-v2",
        "head 0.1, looks at the next token",
        "attention weight (rows look at columns); numbers: hundredths",
        "text: [CLS] the cat sat on the mat because it was tired [SEP]",
    } < {*found}


def test_few_heads_stand_side_by_side_and_many_are_tiles() -> None:
    few, many, short = texts(several(8)), texts(several(20)), texts(several(20, 3))
    assert few.count("because") == 16
    assert [text for text in few if text.startswith("head ")] == [f"head {a}.{b}" for a in range(2) for b in range(4)]
    assert "because" not in many
    assert {"head", "layer", "4", "0.0", "4.3"} < {*many}
    assert "rows: queries, columns: keys; to the right and downwards: later tokens" in many
    # The tokens of a short text stand at the edges.
    assert short.count("mole") == 5 + 2 * 4


def test_small_patterns_are_shapes_and_large_ones_a_picture() -> None:
    assert "<image" not in _cells(svg(result(stack(NEXT), chosen=True)))
    many = tokens(*(f"w{index}" for index in range(80)))
    large = stack(pattern("0.1", on_offset(1, 80)), queries=many, keys=many)
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
    bins = Bins(*[tuple((start, start + 4) for start in (0, 4, 8))] * 2)
    found = texts(result(stack(Pattern(0, 1, even(3), bins)), chosen=True))
    assert found[:3] == ["0", "5", "10"]
    assert "12 × 12 weights in 3 × 3 cells: rows averaged, columns summed" in " ".join(found)


def test_positions_stand_where_they_are() -> None:
    # Four, four and two tokens a cell: token 6 is the middle of the second.
    side = AxisLabels(["", "", ""], [0, 4, 8, 10], numbered=True)
    assert side.ticks(1.0, horizontal=False) == [(0, "0"), (0.5, "2"), (1, "4"), (1.5, "6"), (2, "8")]
    every = AxisLabels([str(place) for place in range(600)], list(range(100, 701)))
    assert every.ticks(0.01, horizontal=True) == [(place + 0.5, str(place + 100)) for place in range(0, 600, 50)]


def test_lines_are_named_by_their_numbers_and_as_plain_text() -> None:
    lines = dict.fromkeys(("queries", "keys"), tokens("one line\n", "␣another\n", "[SEP]"))
    numbers = dict.fromkeys(("query_lines", "key_lines"), (1, 3, None))
    made = stack(pattern("0.1", even(3)), unit="line", **lines, **numbers)
    assert texts(result(made, chosen=True))[:3] == ["1  one line", "3  ␣another", "[SEP]"]


@pytest.mark.parametrize(
    ("value", "written"), [(0.0, "0"), (0.0005, "0.0005"), (2e-5, "2e-5"), (1e-19, "0"), (15.0, "15")]
)
def test_numbers_of_a_scale_stand_for_themselves(value: float, written: str) -> None:
    assert tick_text(value, max(value, 0.001)) == written


def test_what_was_compared_is_drawn_as_its_difference_with_white_at_nothing() -> None:
    found = texts(replace(compared(pattern("0.1", on_offset(1) - on_offset(-1))), chosen=True))
    assert {"difference 0.1", "weight in B minus weight in A; numbers: hundredths", "90", "-90", "cat→dog"} < {*found}
    assert "orange: B has more, purple: A has more, white: the same" in found
    scale = Scale.from_values(np.array([[0.5, -0.25], [np.nan, 0.0]]))
    assert (scale.low, scale.high, scale.colors["cmap"]) == (-0.5, 0.5, "PuOr_r")


# --- metrics


def test_a_metric_is_mapped_with_its_values_and_means_over_texts_with_every_metric() -> None:
    made = replace(result(stack()), metric="induction")
    (map_,) = metric_maps(made)
    assert map_.title == "induction: weight on what followed earlier copies"
    assert (map_.notes, map_.framed) == (["uniform: 0.083"], [(1, 1)])
    assert {"0.68", "red frame: a head that earns the label of this metric"} < {*texts(made)}
    every = replace(result(stack()), texts=3)
    assert len(metric_maps(every)) == 11
    assert "distance: how far away it looks (tokens)" in texts(every)
    (changes,) = metric_maps(replace(compared(), metric="first", stacks=difference_stacks(compared())))
    assert [changes.values[0, head] for head in range(4)] == [0.0, 0.02, 0.0, -0.3]


# --- one position


def test_the_keys_that_are_read_most_are_bars_with_the_heads_that_read_them() -> None:
    found = texts(with_row())
    assert {"where sat (token 3) looks: the mean of 8 heads", "attention weight, mean of 8 heads"} < {*found}
    start = found.index("0  [CLS]")
    assert found[start : start + 4] == ["0  [CLS]", "2  ␣cat", "3  ␣sat", "1  the"]
    assert {"most by head", "0.400", "0.0  0.800", "0.250", "0.1  0.500", "looks from here"} < {*found}


def test_a_long_text_is_a_strip_with_positions() -> None:
    found = texts(with_row(640))
    assert "the whole text: 640 tokens in 160 cells, each the sum of its tokens" in found
    assert {"0", "200", "400", "600"} < {*found}
    assert "w639" not in found


def test_one_weight_by_every_head_is_a_map() -> None:
    made = ranked(0.1, 0.25, 0.68, 0.02, 0.03, 0.04, 0.05, 0.06)
    row = pattern("0.0", np.array([[0.1]], dtype=np.float32))
    found = texts(replace(made, stacks=(replace(made.stacks[0], patterns=(row,)),)))
    assert "how much sat (token 0) looks at cat (token 1): weight of each head" in " ".join(found)
    assert "largest: head 0.2 with 0.680, place 3 of 8 in its row" in found
    assert {"uniform: 0.125 with attention spread evenly", "layer", "head", "0.68", "0.25"} < {*found}


# --- pictures and sounds


def test_an_only_map_has_the_picture_beside_it() -> None:
    found = texts(looking(query=4))
    assert found[:6] == ["0", "1", "2", "[CLS] 0.50", "0", "1"]
    assert {"some/vit", "where patch 1,0 looks", "head 1.0", "attention weight"} < {*found}
    assert "the picture, as the model saw it" in found
    assert {"where [CLS] looks", "[CLS] 0.50"} < {*texts(looking())}
    assert "the picture, as the model saw it" not in texts(looking(query=4, picture=None))


def test_each_head_or_each_word_of_a_caption_has_a_map() -> None:
    heads = texts(looking(heads=4, query=0))
    assert [text for text in heads if text.startswith(("head", "where"))] == [
        "where [CLS] looks", "head 1.0", "head 1.1", "head 1.2", "head 1.3"
    ]  # fmt: skip
    assert "the picture, as the model saw it" not in heads
    captioned = texts(looking(caption=CAPTION))
    assert "head cross.1.0: where each word looks" in captioned
    assert [text for text in captioned if text in ("[CLS]", "a", "$mole$", "[SEP]")] == [
        "[CLS]", "a", "$mole$", "[SEP]"
    ]  # fmt: skip
    # Words of several heads stay matrices; of many words, the first have no map.
    assert "where each word looks" not in " ".join(texts(looking(heads=2, caption=CAPTION)))
    many = texts(looking(caption=words(*(f"w{place}" for place in range(30)))))
    assert ", the last 24 of 30 maps; -l or -H chooses others" in " ".join(many)
    assert [text for text in many if re.fullmatch(r"w\d+", text)] == [f"w{place}" for place in range(6, 30)]


def test_many_heads_of_a_query_are_a_map_of_maps() -> None:
    found = texts(looking(heads=20, query=4))
    assert "where patch 1,0 looks" in found
    assert "head 1.0" not in found


def test_colours_lie_over_the_grey_of_the_picture() -> None:
    image = pytest.importorskip("PIL.Image")
    drawn = np.asarray(image.open(io.BytesIO(heads_figure(looking(query=0), "png"))).convert("RGB")).astype(int)
    height, width, _ = drawn.shape
    # The left half holds the map; beside it the picture's blue, as it is, is not tinted.
    left, right = drawn[:, : width // 2].reshape(-1, 3), drawn[:, width // 2 :].reshape(-1, 3)
    grey = 0.8 * PICTURE.pixels[0, 0] @ np.array([0.299, 0.587, 0.114])
    strongest = np.array([253, 231, 37]) * 0.9 + grey * 0.1
    assert _near(left, strongest) > _near(right, strongest) == 0
    assert _near(right, PICTURE.pixels[0, 0]) > 0.05 * height * width > _near(left, PICTURE.pixels[0, 0])


def _near(pixels: np.ndarray, color: np.ndarray) -> int:
    return int((np.abs(pixels - color).max(axis=1) <= 3).sum())


def test_bins_of_a_sound_say_from_when_to_when() -> None:
    medium = Medium("frames", seconds=0.02)
    frames = tokens(*(f"{place * 0.02:.2f}s" for place in range(12)))
    options = {"queries": frames, "keys": frames, "key_medium": medium}
    pooled = Pattern(0, 0, on_offset(0, 2), bins=Bins(*[((0, 6), (6, 12))] * 2))
    binned = result(stack(pooled, query_medium=medium, **options), chosen=True)
    assert texts(binned)[:4] == ["0s", "0.2s", "0s", "0.1s"]
    whole = result(stack(Pattern(0, 0, on_offset(0)), **options), chosen=True)
    assert texts(whole)[:2] == ["0.00s", "0.02s"]
