"""Weights over a picture as figures: what stands in them, where colours are, and the same bytes every time."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest

from attncli.results.heads import HeadsResult
from attncli.results.patterns import Medium, Pattern
from tests.render.heads_samples import on_offset, result, stack, tokens
from tests.render.patch_samples import PICTURE, looking, positions, words

pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra figures)")

from attncli.render.figures.heads import heads_figure
from attncli.render.figures.patches import patch_panels

CAPTION = words("[CLS]", "a", "$mole$", "[SEP]")


def texts(made: HeadsResult) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", heads_figure(made, "svg").decode())


@pytest.mark.parametrize(
    ("form", "made"),
    [
        ("svg", looking(query=4)),
        ("svg", looking(heads=4, query=4)),
        ("svg", looking(caption=CAPTION)),
        ("pdf", looking(query=4)),
        ("png", looking(query=4)),
    ],
)
def test_the_same_result_gives_the_same_bytes(made: HeadsResult, form: str) -> None:
    assert heads_figure(made, form) == heads_figure(made, form)


def test_an_only_map_has_the_picture_beside_it() -> None:
    found = texts(looking(query=4))
    assert found[:6] == ["0", "1", "2", "[CLS] 0.50", "0", "1"]
    assert {"some/vit", "where patch 1,0 looks", "head 1.0", "[CLS] 0.50", "attention weight"} < set(found)
    assert "the picture, as the model saw it" in found


def test_each_head_has_a_map_and_so_does_each_word() -> None:
    heads = texts(looking(heads=4, query=0))
    assert [text for text in heads if text.startswith(("head", "where"))] == [
        "where [CLS] looks", "head 1.0", "head 1.1", "head 1.2", "head 1.3"
    ]  # fmt: skip
    assert "the picture, as the model saw it" not in heads
    captioned = texts(looking(caption=CAPTION))
    assert "head cross.1.0: where each word looks" in captioned
    assert [text for text in captioned if text in ("[CLS]", "a", "$mole$", "[SEP]")] == [
        "[CLS]",
        "a",
        "$mole$",
        "[SEP]",
    ]


def test_all_rows_of_a_head_are_told_by_the_class_token() -> None:
    maps = patch_panels(looking(), "svg")
    assert maps is not None
    (panel,) = maps.panels
    assert (maps.about, panel.query_patch, panel.note) == ("where [CLS] looks", None, "[CLS] 0.50")
    np.testing.assert_allclose(panel.values * 42, [[6, 5, 4], [3, 2, 1]], rtol=1e-6)


def test_words_of_several_heads_stay_matrices() -> None:
    assert patch_panels(looking(heads=2, caption=CAPTION), "svg") is None
    assert "mole" in " ".join(texts(looking(heads=2, caption=CAPTION)))


def test_too_many_words_leave_the_first_out() -> None:
    maps = patch_panels(looking(caption=words(*(f"w{place}" for place in range(30)))), "svg")
    assert maps is not None
    assert maps.about.endswith(", the last 24 of 30 maps; -l or -H chooses others")
    assert [panel.title for panel in maps.panels] == [f"w{place}" for place in range(6, 30)]


def test_colours_lie_over_the_grey_of_the_picture() -> None:
    image = pytest.importorskip("PIL.Image")
    drawn = np.asarray(image.open(io.BytesIO(heads_figure(looking(query=0), "png"))).convert("RGB")).astype(int)
    height, width, _ = drawn.shape
    # The left half holds the map; beside it the picture's blue, as it is, is not tinted.
    left, right = drawn[:, : width // 2].reshape(-1, 3), drawn[:, width // 2 :].reshape(-1, 3)
    grey = 0.8 * PICTURE.pixels[0, 0] @ np.array([0.299, 0.587, 0.114])
    strongest = np.array([253, 231, 37]) * 0.9 + grey * 0.1
    assert near(left, strongest) > near(right, strongest) == 0
    assert near(right, PICTURE.pixels[0, 0]) > 0.05 * height * width > near(left, PICTURE.pixels[0, 0])


def near(pixels: np.ndarray, color: np.ndarray) -> int:
    return int((np.abs(pixels - color).max(axis=1) <= 3).sum())


def test_many_heads_of_a_query_are_a_map_of_maps() -> None:
    found = texts(looking(heads=20, query=4))
    assert "where patch 1,0 looks" in found
    assert "head 1.0" not in found


def test_without_a_picture_the_weights_stand_alone() -> None:
    found = texts(looking(query=4, picture=None))
    assert "head 1.0" in found
    assert "the picture, as the model saw it" not in found
    assert [token.text for token in positions()][:2] == ["[CLS]", "0,0"]


def test_bins_of_a_sound_say_from_when_to_when() -> None:
    from attncli.results.patterns import Bins

    medium = Medium("frames", seconds=0.02)
    frames = tokens(*(f"{place * 0.02:.2f}s" for place in range(12)))
    spans = ((0, 6), (6, 12))
    pooled = Pattern(0, 0, on_offset(0, 2), bins=Bins(spans, spans))
    heard = stack(pooled, queries=frames, keys=frames, query_medium=medium, key_medium=medium)
    found = texts(result(heard, chosen=True))
    assert found[:4] == ["0s", "0.2s", "0s", "0.1s"]
    whole = texts(
        result(stack(Pattern(0, 0, on_offset(0)), queries=frames, keys=frames, key_medium=medium), chosen=True)
    )
    assert whole[:2] == ["0.00s", "0.02s"]
